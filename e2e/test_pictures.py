"""What the README shows: pictures of an attendee's and an organiser's page, as they really are.

They land in target/e2e/pictures; `PICTURES=docs/pictures e2e/run PROGRAM test_pictures.py` takes those
that are kept."""

import os
import pathlib
import struct

import pytest
from playwright.sync_api import expect

SIZE = {"width": 1100, "height": 900}


@pytest.fixture
def take():
    here = pathlib.Path(__file__).parent
    folder = here.parent / os.environ.get("PICTURES", "target/e2e/pictures")
    folder.mkdir(parents=True, exist_ok=True)

    def picture(window, name):
        file = folder / f"{name}.png"
        window.page.evaluate("scrollTo(0, 0)")
        window.page.screenshot(path=file, animations="disabled", caret="hide")
        width, height = struct.unpack(">II", file.read_bytes()[16:24])
        assert (width, height) == (SIZE["width"], SIZE["height"])

    return picture


@pytest.fixture
def concert(own_service):
    """An event that some have booked and paid."""
    event = own_service.event(
        "Chamber choir: spring programme", capacity=180, price=1500, minutes=15, days=30,
        description="Works from four centuries. Doors open half an hour before.",
    )
    guests = [own_service.user(name, balance=200_000) for name in ("anna", "boris", "chen", "dana")]
    for number in range(24):
        guest = guests[number * 7 % 4]
        booking = guest.book(event, 1 + number * 5 % 6)
        if number % 5:
            guest.post(f"/events/{event['id']}/confirm", bookingId=booking["id"])
    return event


def test_pictures_for_the_readme(own_service, visitor, concert, take):
    attendee = visitor(own_service, size=SIZE).sign_in_as(own_service.user("emil"))
    attendee.open("/user")  # from the next page on, times are in the reader's zone
    attendee.book(concert, 2)
    expect(attendee.main.get_by_role("timer")).to_be_visible()
    take(attendee, "attendee")
    organiser = visitor(own_service, size=SIZE, dark=True).sign_in_as(own_service.admin)
    organiser.open("/user")
    organiser.open(f"/admin/events/{concert['id']}")
    expect(organiser.main.get_by_role("table", name="Bookings")).to_be_visible()
    take(organiser, "organiser")

"""An organiser watches an event: what others do arrives without a reload, and disturbs nobody."""

import pytest
from playwright.sync_api import expect

from visitor import PHONE

MARKUP = "<b>&\"'"


@pytest.fixture
def organiser(visitor, service):
    def open_window(**options):
        return visitor(**options).sign_in_as(service.admin)

    return open_window


def test_what_others_do_arrives_and_leaves_the_reader_alone(organiser, service):
    event = service.event(capacity=60)
    user, other = service.user(), service.user()
    first = [other.book(event, 1)["id"] for _ in range(5)][0]
    window = organiser(size={"width": 1280, "height": 500})
    page = window.page
    window.open(f"/admin/events/{event['id']}")
    page.locator("summary").click()
    link = page.locator(f"#booking-{first} a")
    link.focus()
    page.wait_for_timeout(600)  # what follows input doesn't count as a shift
    place = link.bounding_box()["y"]
    before = window.shift()

    for expected in range(6, 9):
        newest = user.book(event, 1)["id"]
        expect(page.locator("#held")).to_have_text(str(expected))
        expect(page.get_by_role("link", name="Show them")).to_be_visible()
    assert page.locator("details").evaluate("it => it.open"), "what was opened stays open"
    expect(link).to_be_focused()
    assert abs(link.bounding_box()["y"] - place) < 1, "what is read stays where it is"
    assert window.shift() == before, "nothing has moved"

    # Whoever has left the table gets them.
    page.locator("#q").focus()
    expect(page.locator("tbody tr[id]").first).to_have_id(f"booking-{newest}")
    expect(page.locator(f"#booking-{newest}")).to_contain_text(user.login)
    expect(page.get_by_role("link", name="Show them")).to_have_count(0)
    link.focus()
    user.post(f"/bookings/{newest}/cancel")
    expect(page.locator(f"#booking-{newest}")).to_have_count(0)
    given_back = page.locator("details td:nth-child(3)")
    expect(given_back.get_by_text("1", exact=True)).to_have_count(1)
    expect(page.locator("#held")).to_have_text("7")
    expect(link).to_be_focused()


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(organiser, service, language, dark):
    event = service.event(f"{MARKUP}{'Неразрывное' * 15}", capacity=60, price=50)
    user = service.user(balance=10_000)
    for seats in [1] * 26 + [3]:
        paid = user.book(event, seats)["id"]
        user.post(f"/events/{event['id']}/confirm", bookingId=paid)
    user.book(event, 2)
    window = organiser(language=language, dark=dark, size=PHONE)
    for path in [
        f"/admin/events/{event['id']}",
        f"/admin/events/{event['id']}?state=paid",
        f"/admin/bookings?q={user.login}&event={event['id']}",
        "/admin/bookings?q=nothing",
    ]:
        window.open(path)
        for summary in window.page.locator("summary").all():
            summary.click()
        assert window.axe_faults() == [], path
        assert window.overflow() <= 0, path

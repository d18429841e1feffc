"""The start page: small, quick, of one piece, and alive."""

import re

from playwright.sync_api import expect

from visitor import PHONE

WIRE_BYTES_MAX = 60 * 1024


def test_whole_start_page_is_small(visitor):
    newcomer = visitor()
    assert newcomer.open("/") == 200
    expect(newcomer.page.get_by_role("heading", level=1)).to_be_visible()
    assert newcomer.wire_bytes() < WIRE_BYTES_MAX


def test_start_page_loads_its_own_files_only_once(visitor):
    reader = visitor()
    reader.open("/")
    kept = [request for request in reader.finished if "/assets/" in request.url]
    assert kept, "the page has a style sheet at least"
    for request in kept:
        assert "immutable" in request.response().header_value("cache-control"), request.url


def test_start_page_can_be_used_after_one_round_trip(visitor):
    """The style sheet and the scripts are on their way for ever."""
    newcomer = visitor()
    newcomer.page.route("**/assets/**", lambda route: None)
    newcomer.page.goto("/", wait_until="commit")
    newcomer.follow(newcomer.words.sign_in)
    expect(newcomer.page).to_have_url(re.compile("/sign-in"))


def test_seats_on_the_start_page_follow_what_others_do(visitor, service):
    # Of the soonest, so that it is shown whatever else is there.
    event = service.event(capacity=10, days=0.002)
    reader = visitor()
    reader.open("/")
    card = reader.main.get_by_role("listitem").filter(has_text=event["name"])
    left = reader.words.left
    expect(card).to_contain_text(left.format(free=10, capacity=10))
    bar = card.locator("rect")
    before = bar.bounding_box()["width"]
    booking = service.user().book(event, 7)
    expect(card).to_contain_text(left.format(free=3, capacity=10))
    assert bar.bounding_box()["width"] > before
    service.admin.post(f"/bookings/{booking['id']}/cancel")
    expect(card).to_contain_text(left.format(free=10, capacity=10))
    assert reader.shift() == 0, "nothing else has moved"


def test_demo_users_sign_in_by_one_click(visitor):
    newcomer = visitor(size=PHONE)
    newcomer.open("/sign-in")
    newcomer.press("Sign in as user")
    expect(newcomer.page).to_have_url(re.compile("/user$"))
    expect(newcomer.page.get_by_role("banner")).to_contain_text("user")
    newcomer.page.get_by_role("button", name=newcomer.words.sign_out).click()
    expect(newcomer.page.get_by_role("link", name=newcomer.words.sign_in).first).to_be_visible()


def test_language_is_the_browsers_until_another_is_chosen(visitor):
    reader = visitor(language="ru")
    reader.open("/")
    html = reader.page.locator("html")
    expect(html).to_have_attribute("lang", "ru")
    expect(reader.page.get_by_role("link", name="Мероприятия", exact=True)).to_be_visible()
    reader.page.get_by_role("button", name="English").click()
    expect(html).to_have_attribute("lang", "en")
    reader.open("/sign-up")
    expect(html).to_have_attribute("lang", "en")
    expect(reader.main.get_by_role("button", name="Register")).to_be_visible()

"""What happens on open pages by itself."""

import re

import pytest
from playwright.sync_api import expect

# The shortest payment window there is, and what may come on top of it.
WINDOW_OVER_MS = 90_000

# Collects what a screen reader announces.
LISTEN = """
window.announced = [];
document.addEventListener('DOMContentLoaded', () =>
  new MutationObserver(() => {
    const words = document.getElementById('status').textContent;
    if (words && words !== window.announced.at(-1)) window.announced.push(words);
  }).observe(document.getElementById('status'), { childList: true, characterData: true, subtree: true }));
"""
# A browser whose calendar is an hour fast.
WRONG_CALENDAR = """
const HOUR = 3600e3, now = Date.now;
Date.now = () => now() + HOUR;
Date = new Proxy(Date, {
  construct: (date, given) => given.length ? new date(...given) : new date(now() + HOUR),
});
"""


def stays(window):
    """Marks the page, so that it can be told from one that was loaded again."""
    window.page.evaluate("window.marked = true")


def has_stayed(window):
    return window.page.evaluate("window.marked === true")


def test_two_browsers_see_each_others_seats(visitor, service):
    event = service.event(capacity=30)
    one, other = (visitor().sign_in_as(service.user()) for _ in range(2))
    left = one.words.left
    one.open(event["page"])
    stays(one)
    booking = other.book(event, 4)
    expect(one.main).to_contain_text(left.format(free=26, capacity=30))
    assert has_stayed(one)
    stays(other)
    one.book(event, 3)
    expect(other.main).to_contain_text(left.format(free=23, capacity=30))
    assert has_stayed(other)
    stays(one)
    other.open(f"/user/bookings/{booking}")
    other.main.get_by_text(other.words.cancel).click()
    other.press(other.words.cancel_now)
    expect(one.main).to_contain_text(left.format(free=27, capacity=30))
    assert has_stayed(one)


def test_an_open_page_shows_that_nothing_is_left_and_keeps_still(visitor, service):
    event = service.event(capacity=20)
    attendee = visitor().sign_in_as(service.user())
    attendee.open(event["page"])
    attendee.fill(attendee.words.seats, "3")
    stays(attendee)
    note = attendee.main.get_by_text("Sold out", exact=True)
    expect(note).to_be_hidden()
    buyer = service.user()
    booking = buyer.book(event, 20)
    expect(attendee.main).to_contain_text(attendee.words.left.format(free=0, capacity=20))
    expect(note).to_be_visible()
    buyer.post(f"/bookings/{booking['id']}/cancel")
    expect(attendee.main).to_contain_text(attendee.words.left.format(free=20, capacity=20))
    expect(note).to_be_hidden()
    expect(attendee.main.get_by_label(attendee.words.seats)).to_have_value("3")
    assert has_stayed(attendee)
    assert attendee.shift() == 0, "nothing else has moved"


def test_a_page_catches_up_after_the_service_was_away(own_service, visitor):
    event, buyer = own_service.event(capacity=20), own_service.user()
    attendee = visitor(own_service).sign_in_as(own_service.user())
    attendee.expected_failures |= {"net::ERR_CONNECTION_REFUSED", "net::ERR_INCOMPLETE_CHUNKED_ENCODING"}
    attendee.open(event["page"])
    stays(attendee)
    own_service.stop()
    own_service.start_again()
    buyer.book(event, 5)
    caught_up = attendee.words.left.format(free=15, capacity=20)
    expect(attendee.main).to_contain_text(caught_up, timeout=30_000)
    assert has_stayed(attendee)


def test_a_page_whose_stream_was_refused_tries_again(visitor, service):
    """So does a service that has as many streams open as it can, or is about to stop."""
    event = service.event(capacity=20)
    attendee = visitor().sign_in_as(service.user())
    attendee.expected_statuses = {503}
    refused = []

    def refuse_once(route):
        if refused:
            route.continue_()
        else:
            refused.append(route)
            route.fulfill(status=503, headers={"Retry-After": "1"}, body="")

    attendee.page.route("**/live*", refuse_once)
    attendee.open(event["page"])
    service.user().book(event, 5)
    caught_up = attendee.words.left.format(free=15, capacity=20)
    expect(attendee.main).to_contain_text(caught_up, timeout=30_000)
    assert refused


def test_a_countdown_goes_by_the_servers_time(visitor, service):
    event = service.event(minutes=30)
    attendee = visitor().sign_in_as(service.user())
    attendee.page.add_init_script(WRONG_CALENDAR)
    booking = attendee.book(event, 1)
    attendee.open(f"/user/bookings/{booking}")
    timer = attendee.main.get_by_role("timer")
    expect(timer).to_have_text(re.compile(r"^(30:00|29:\d\d)$"))
    shown = timer.inner_text()
    expect(timer).not_to_have_text(shown)
    expect(timer).to_have_text(re.compile(r"^29:\d\d$"))
    expect(timer).to_have_attribute("aria-live", "off")


def test_a_countdown_is_announced_at_milestones_only(visitor, service):
    event = service.event(price=10, minutes=30)
    attendee = visitor().sign_in_as(service.user())
    booking = attendee.book(event, 1)
    attendee.page.clock.install()
    attendee.page.add_init_script(LISTEN)
    attendee.open(f"/user/bookings/{booking}")
    timer = attendee.main.get_by_role("timer")
    hold = attendee.main.locator(".hold")
    for minutes_passed, shown in [(20, "9:"), (6, "3:"), (3, "0:")]:
        expect(hold).not_to_have_class(re.compile("urgent"))
        attendee.page.clock.fast_forward(minutes_passed * 60_000)
        expect(timer).to_have_text(re.compile(f"^{shown}"))
    expect(hold).to_have_class(re.compile("urgent"))
    attendee.page.clock.fast_forward(30_000)
    assert attendee.page.evaluate("window.announced") == [
        "5 minutes left to pay.", "1 minute left to pay.", "30 seconds left to pay.",
    ]
    # The hold is over when the server says so, and it doesn't yet: the page has asked.
    attendee.page.clock.fast_forward(30_000)
    with attendee.page.expect_response(lambda response: f"/user/bookings/{booking}" in response.url):
        attendee.page.clock.fast_forward(3_000)
    expect(attendee.main.get_by_role("button", name=attendee.words.confirm)).to_be_visible()


def test_a_hold_that_nobody_pays_leaves_every_page_by_itself(visitor, service):
    """The one test that waits for a payment window, so all that belongs to it is here."""
    event, long = service.event(capacity=9, price=10, minutes=1), service.event(minutes=30)
    user, other = service.user(), service.user()
    watcher = visitor().sign_in_as(service.user())
    on_list, on_booking = visitor().sign_in_as(user), visitor(language="ru").sign_in_as(user)
    plain, late = (visitor(scripts=False).sign_in_as(other) for _ in range(2))
    # That the booking is over is what its page wants to hear.
    on_booking.expected_statuses = {410}
    on_list.page.add_init_script(LISTEN)

    on_list.book(long, 1)
    expired = on_list.book(event, 4)
    on_list.go_to(on_list.words.bookings)
    stays(on_list)
    hold = on_list.main.get_by_role("listitem").filter(has_text=event["name"])
    calm = on_list.main.get_by_role("listitem").filter(has_text=long["name"])
    expect(hold.get_by_role("timer")).to_have_text(re.compile(r"^(1:00|0:\d\d)$"))
    look = "hold => getComputedStyle(hold).backgroundColor + getComputedStyle(hold).borderColor"
    assert hold.evaluate(look) != calm.evaluate(look), "the last minute doesn't look like any other"
    on_booking.open(f"/user/bookings/{expired}")
    stays(on_booking)
    of_plain = plain.book(event, 2)
    plain.go_to(plain.words.bookings)
    late.open(f"/user/bookings/{of_plain}")
    watcher.open(event["page"])
    stays(watcher)
    expect(watcher.main).to_contain_text(watcher.words.left.format(free=3, capacity=9))

    expect(hold).to_have_count(0, timeout=WINDOW_OVER_MS)
    told = on_list.main.get_by_role("listitem").filter(has_text=on_list.words.expired)
    expect(told).to_contain_text(str(expired))
    expect(calm).to_be_visible()
    assert has_stayed(on_list)
    expect(on_booking.main).to_contain_text(on_booking.words.expired, timeout=WINDOW_OVER_MS)
    expect(on_booking.main.get_by_role("button", name=on_booking.words.confirm)).to_have_count(0)
    assert has_stayed(on_booking)
    expect(watcher.main).to_contain_text(
        watcher.words.left.format(free=9, capacity=9), timeout=WINDOW_OVER_MS
    )
    assert has_stayed(watcher)
    announced = on_list.page.evaluate("window.announced")
    assert announced == ["30 seconds left to pay.", told.inner_text()]

    # Without scripts a page stays as it is until its reader looks again, or tries too late.
    with late.page.expect_navigation() as answered:
        late.main.get_by_role("button", name=late.words.confirm).click()
    assert answered.value.status == 410
    expect(late.main.get_by_role("alert")).to_contain_text(late.words.expired)
    plain.follow(plain.words.look_again)
    gone = plain.main.get_by_role("listitem").filter(has_text=plain.words.expired)
    expect(gone).to_contain_text(str(of_plain))
    expect(plain.main.get_by_role("listitem").filter(has_text=event["name"])).to_have_count(0)


@pytest.mark.parametrize("language", ["en", "ru"])
def test_a_search_finds_while_it_is_typed(visitor, service, language):
    event = service.event()
    attendee = visitor(language=language).sign_in_as(service.user())
    attendee.open("/user")
    stays(attendee)
    attendee.main.get_by_label(attendee.words.search).press_sequentially(event["name"])
    expect(attendee.main.get_by_role("listitem")).to_have_count(1)
    expect(attendee.main.get_by_role("link", name=event["name"])).to_be_visible()
    assert has_stayed(attendee)


def test_looks_that_fail_leave_a_countdown_running(visitor, service):
    event = service.event(minutes=30)
    attendee = visitor().sign_in_as(service.user())
    attendee.expected_statuses = {503}
    attendee.book(event, 1)
    attendee.page.route(f"**{event['page']}*", lambda route: route.fulfill(status=503, body=""))
    attendee.page.clock.install()
    timer = attendee.main.get_by_role("timer")
    for _ in range(4):
        with attendee.page.expect_response(lambda response: response.status == 503):
            attendee.page.clock.run_for(3_000)
    expect(timer).to_have_text(re.compile(r"^29:[0-4]\d$"))


def test_whoever_has_signed_out_elsewhere_is_told_by_the_open_page(visitor, service):
    event = service.event()
    attendee = visitor().sign_in_as(service.user())
    attendee.expected_statuses = {401}
    attendee.book(event, 1)
    attendee.go_to(attendee.words.bookings)
    expect(attendee.main.get_by_role("listitem")).to_have_count(1)
    other = attendee.context.request.post("/sign-out")
    assert other.ok
    expect(attendee.page).to_have_url(re.compile(r"/sign-in\?next="))


@pytest.mark.parametrize("path", ["/user", "/admin"])
def test_a_search_can_be_come_back_to(visitor, service, path):
    event, other = service.event(), service.event()
    user = service.admin if path == "/admin" else service.user()
    seeker = visitor().sign_in_as(user)
    seeker.open(path)
    seeker.page.locator("#q").press_sequentially(event["name"])
    link = seeker.main.get_by_role("link", name=event["name"], exact=True)
    expect(seeker.main.get_by_role("listitem")).to_have_count(1)
    expect(seeker.page).to_have_url(re.compile(re.escape(f"q={event['name']}")))
    link.click()
    expect(seeker.main.get_by_role("heading", level=1)).to_have_text(event["name"])
    seeker.page.go_back()
    expect(seeker.page.locator("#q")).to_have_value(event["name"])
    expect(seeker.main.get_by_role("listitem")).to_have_count(1)
    expect(seeker.main.get_by_role("link", name=other["name"])).to_have_count(0)
    # And it stays that in another language.
    seeker.page.get_by_role("button", name="Русский").click()
    expect(seeker.page.locator("html")).to_have_attribute("lang", "ru")
    expect(seeker.main.get_by_role("listitem")).to_have_count(1)

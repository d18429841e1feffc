"""Everybody can use every page: what axe sees, small screens, and a keyboard without a mouse."""

import re

import pytest
from playwright.sync_api import expect

from service import PASSWORD, unique
from visitor import PHONE

LANGUAGES = pytest.mark.parametrize("language", ["en", "ru"])
SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
# Nowhere to break it, and more than fits on a line.
LONG = "Неразрывное" * 15


def visit_all_pages(visitor, service, look, markup="", **options):
    """Shows every page that attendees can meet in every state that it can be in, with names that are
    long and have markup in them, and collects what a look at it finds."""
    name = f"{unique('')}{markup}{LONG}"[:200]
    event = service.event(name, capacity=60, price=50, description=markup + LONG, days=0.02)
    free, full = service.event(days=0.02), service.event(capacity=1, days=0.02)
    user = service.user(f"{unique('')}{markup}"[:64], balance=100)
    newcomer, attendee = visitor(**options), visitor(**options).sign_in_as(user)
    words = attendee.words
    found = []

    def at(window, what):
        found.extend(f"{what}: {fault}" for fault in look(window))

    for path in ["/", "/sign-in", "/sign-up", "/nothing-is-here"]:
        newcomer.open(path)
        at(newcomer, path)
    newcomer.open("/sign-in")
    newcomer.fill(words.login, user.login)
    newcomer.fill(words.password, "not the password")
    newcomer.press(words.sign_in)
    at(newcomer, "/sign-in refused")
    newcomer.open("/sign-up")
    newcomer.fill(words.login, user.login)
    newcomer.fill(words.password, PASSWORD)
    newcomer.press(words.register)
    at(newcomer, "/sign-up refused")

    for path in [
        "/", "/user", "/user?q=nothing-is-called-so", "/user/bookings", "/user/account", event["page"],
    ]:
        attendee.open(path)
        at(attendee, f"{path} before booking")
    user.book(full, 1)
    attendee.open(full["page"])
    at(attendee, "sold out")
    attendee.fill(words.seats, "1")
    attendee.press(words.book)
    at(attendee, "sold out a moment ago")
    paid, short = attendee.book(event, 1), attendee.book(event, 2)
    at(attendee, "event with holds")
    attendee.open(f"/user/bookings/{paid}")
    at(attendee, "hold")
    attendee.main.get_by_role("button", name=words.confirm).click()
    expect(attendee.main.get_by_role("timer")).to_have_count(0)
    attendee.main.get_by_text(words.cancel).click()
    at(attendee, "paid booking")
    attendee.open(f"/user/bookings/{short}")
    at(attendee, "hold, money is short")
    attendee.main.get_by_role("button", name=words.confirm).click()
    at(attendee, "too little money")
    cancelled = user.book(free, 1)["id"]
    user.post(f"/bookings/{cancelled}/cancel")
    for path in [f"/user/bookings/{cancelled}", f"/user/bookings?seen={cancelled}", "/user/account"]:
        attendee.open(path)
        at(attendee, f"{path} after bookings")
    return found


@LANGUAGES
@SCHEMES
def test_axe_finds_nothing(visitor, service, language, dark):
    found = visit_all_pages(
        visitor, service, lambda window: window.axe_faults(), language=language, dark=dark
    )
    assert not found, "\n".join(found)


@LANGUAGES
def test_nothing_is_wider_than_a_phone(visitor, service, language):
    def too_wide(window):
        overflow = window.overflow()
        return [f"{overflow} px too wide"] if overflow > 0 else []

    found = visit_all_pages(visitor, service, too_wide, language=language, size=PHONE)
    assert not found, "\n".join(found)


@LANGUAGES
def test_every_page_says_its_language_and_where_one_is(visitor, service, language):
    def unnamed(window):
        titles, headings = window.page.title(), window.page.get_by_role("heading", level=1).count()
        is_right = window.page.locator("html").get_attribute("lang") == language
        return [] if is_right and titles and headings == 1 else [f"{titles=} {headings=} {is_right=}"]

    found = visit_all_pages(visitor, service, unnamed, language=language, scripts=False)
    assert not found, "\n".join(found)


@LANGUAGES
def test_everything_can_be_done_by_keyboard(visitor, service, language):
    event = service.event(price=40, days=0.02)
    attendee = visitor(language=language)
    words, page, main, keys = attendee.words, attendee.page, attendee.main, attendee.page.keyboard

    def control(role, name):
        return main.get_by_role(role, name=name, exact=isinstance(name, str)).first

    def choose(role, name):
        attendee.tab_to(control(role, name))
        keys.press("Enter")

    attendee.open("/")
    # The first thing there is leads past what stands on every page.
    keys.press("Tab")
    keys.press("Enter")
    expect(main).to_be_focused()
    choose("link", words.register)
    expect(page).to_have_url(re.compile("/sign-up"))
    attendee.tab_to(main.get_by_label(words.login, exact=True))
    keys.type(unique("keys"))
    attendee.tab_to(main.get_by_label(words.password, exact=True))
    keys.type(PASSWORD)
    keys.press("Enter")
    expect(page).to_have_url(re.compile("/user$"))

    attendee.tab_to(main.get_by_label(words.search))
    keys.type(event["name"])
    keys.press("Enter")
    expect(main.get_by_role("listitem")).to_have_count(1)
    choose("link", event["name"])
    attendee.tab_to(main.get_by_label(words.seats))
    keys.press("ArrowUp")
    keys.press("Enter")
    expect(control("link", words.to_payment)).to_be_visible()
    expect(main).to_contain_text(words.two_seats)
    choose("link", words.to_payment)
    expect(page).to_have_url(re.compile("/user/bookings/"))
    choose("button", words.pay_in)
    expect(main).not_to_contain_text(words.short)
    choose("button", words.confirm)
    expect(main.get_by_text(words.paid, exact=True)).to_be_visible()
    attendee.tab_to(main.locator("summary"))
    keys.press("Enter")
    choose("button", words.cancel_now)
    expect(main.get_by_text(words.cancelled, exact=True)).to_be_visible()
    attendee.tab_to(page.get_by_role("button", name=words.sign_out))
    keys.press("Enter")
    expect(page.get_by_role("link", name=words.sign_in).first).to_be_visible()

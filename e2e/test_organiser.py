"""Organisers' journeys, with scripts and by plain forms alone, and that everybody can go them."""

import re

import pytest
from playwright.sync_api import expect

from service import unique
from test_access import LANGUAGES, LONG, SCHEMES
from test_booking import SCRIPTS
from visitor import PHONE


def card(organiser, name):
    """The event's entry in the list, found by its name."""
    words, main = organiser.words, organiser.main
    organiser.open("/admin")
    organiser.fill(words.search, name)
    main.get_by_role("button", name=words.search_now).first.click()
    expect(main.get_by_role("listitem")).to_have_count(1)
    return main.get_by_role("listitem")


@LANGUAGES
@SCRIPTS
def test_an_event_is_created_edited_and_cancelled_with_refunds(visitor, service, language, scripts):
    organiser = visitor(language=language, scripts=scripts).sign_in_as(service.admin)
    words, main, name = organiser.words, organiser.main, unique("Concert")
    organiser.open("/user")
    organiser.go_to(words.organise)
    organiser.follow(words.new_event)
    # A script has told the browser's zone; without one it has to be typed.
    zone = main.get_by_label(words.zone)
    expect(zone).to_have_value("Europe/Moscow" if scripts else "UTC")
    organiser.fill(words.name, name)
    organiser.fill(words.description, "One\nTwo")
    organiser.fill(words.zone, "Europe/Berlin")
    organiser.fill(words.date, "2090-03-26T02:30")
    organiser.fill(words.capacity, "40")
    organiser.fill(words.price, "40")
    organiser.press(words.create)
    date = main.get_by_label(words.date)
    expect(date).to_have_accessible_description(re.compile(re.escape(words.skipped)))
    expect(date).to_have_value("2090-03-26T02:30")
    organiser.fill(words.zone, "Europe/Moscow")
    organiser.fill(words.date, "2090-07-01T19:30")
    with organiser.page.expect_navigation(url=re.compile(r"/admin/events/\d+$")) as created:
        organiser.press(words.create)
    event = {"id": int(created.value.url.rsplit("/", 1)[1])}
    when = words.when if scripts else words.when.replace("19:30 UTC+3", "16:30 UTC")
    expect(card(organiser, name)).to_contain_text(when)
    expect(main.get_by_role("listitem")).to_contain_text(words.left.format(free=40, capacity=40))

    buyer, holder = service.user(balance=100), service.user()
    paid = buyer.book(event, 2)
    buyer.post(f"/events/{event['id']}/confirm", bookingId=paid["id"])
    holder.book(event, 1)
    organiser.follow(words.edit + name)
    expect(main.get_by_label(words.description)).to_have_value("One\nTwo")
    organiser.fill(words.capacity, "2")
    organiser.press(words.save)
    expect(main.get_by_label(words.capacity)).to_have_accessible_description(
        re.compile(re.escape(words.below_booked))
    )
    organiser.fill(words.capacity, "3")
    with organiser.page.expect_navigation(url=re.compile(r"/admin/events/\d+$")):
        organiser.press(words.save)
    expect(card(organiser, name)).to_contain_text(words.left.format(free=0, capacity=3))
    changed = service.admin.get(f"/events/{event['id']}")
    assert (changed["description"], changed["date"]) == ("One\nTwo", "2090-07-01T16:30:00Z")

    organiser.follow(words.cancel_event + name)
    expect(main).to_contain_text(words.refunded)
    main.get_by_label(words.sure).check()
    organiser.press(words.cancel_event_now)
    expect(organiser.page).to_have_url(re.compile(r"/cancel\?of=2$"))
    if not scripts:
        # Whoever has no scripts looks again by themselves.
        while not main.get_by_text(words.all_released).is_visible():
            organiser.page.reload()
    expect(main).to_contain_text(words.all_released, timeout=15_000)
    assert buyer.get("/account/get")["balance"] == 100
    assert buyer.get("/bookings") == holder.get("/bookings") == []


@SCRIPTS
def test_a_user_is_paid_in_for_and_becomes_an_admin(visitor, service, scripts):
    user = service.user()
    organiser = visitor(scripts=scripts).sign_in_as(service.admin)
    words, main = organiser.words, organiser.main
    organiser.open(f"/admin/users?q={user.login}")
    organiser.follow(user.login)
    organiser.fill(words.amount, "1500")
    organiser.press(words.pay_in)
    expect(main.get_by_text("1,500", exact=True)).to_be_visible()
    assert user.get("/account/get")["balance"] == 1500
    organiser.press(words.make_admin)
    expect(main.get_by_text(words.admin, exact=True)).to_be_visible()
    user.sign_in(user.login, "correct horse battery")
    window = visitor(scripts=scripts).sign_in_as(user)
    assert window.open("/admin") == 200


def test_the_list_keeps_up_and_keeps_still(visitor, service):
    name = unique("Watched")
    event = service.event(name, capacity=20)
    organiser = visitor().sign_in_as(service.admin)
    card(organiser, name)
    organiser.page.evaluate("window.marked = true")
    service.user().book(event, 5)
    main = organiser.main
    expect(main).to_contain_text(organiser.words.left.format(free=15, capacity=20), timeout=10_000)
    expect(main).to_contain_text("Bookings to be paid: 1")
    assert organiser.page.evaluate("window.marked === true")
    assert organiser.shift() == 0


def test_an_open_page_stays_in_its_zone(visitor, service):
    """The first page that somebody opens can't know theirs; it doesn't change under their eyes."""
    event = service.event(capacity=10, days=0.002)
    newcomer = visitor()
    newcomer.open("/")
    card = newcomer.main.get_by_role("listitem").filter(has_text=event["name"])
    expect(card).to_contain_text(newcomer.words.left.format(free=10, capacity=10))
    first = card.get_by_role("time").inner_text()
    service.user().book(event, 4)
    expect(card).to_contain_text(newcomer.words.left.format(free=6, capacity=10))
    assert card.get_by_role("time").inner_text() == first
    assert first.endswith(" UTC")
    newcomer.page.reload()
    expect(card.get_by_role("time")).to_contain_text("UTC+3")


def visit_all_pages(visitor, service, look, **options):
    """Shows organisers' pages in every state, with names that are long and have markup in them, and
    collects what a look at each finds."""
    organiser = visitor(**options).sign_in_as(service.admin)
    words, found = organiser.words, []
    name = f"{unique('')}<b>{LONG}"[:200]
    event = service.event(name, price=40, description=LONG, days=0.02)
    gone = service.event(name, days=0.02)
    service.admin.post(f"/events/{gone['id']}/cancel")
    user = service.user(unique("<b>" + LONG)[-64:], balance=50)
    user.book(event, 1)
    user_id = user.get("/auth")["id"]

    def at(path, do=None):
        organiser.open(path)
        if do:
            with organiser.page.expect_navigation():
                do()
        found.extend(f"{path}: {fault}" for fault in look(organiser))

    def refuse_form():
        organiser.page.locator("main form").evaluate("form => form.noValidate = true")
        for field in [words.capacity, words.price, words.window]:
            organiser.fill(field, "-1")
        organiser.fill(words.zone, "Nowhere")
        organiser.fill(words.name, " ")
        organiser.main.get_by_role("button").click()

    def refuse_cancelling():
        organiser.page.locator("main form").evaluate("form => form.noValidate = true")
        organiser.press(words.cancel_event_now)

    of_event, of_gone = (f"/admin/events/{it['id']}" for it in [event, gone])
    for path in [
        "/admin", "/admin?all=1", "/admin?q=nothing-is-called-so", "/admin/events/new",
        f"{of_event}/edit", f"{of_event}/cancel", f"{of_gone}/edit", f"{of_gone}/cancel", of_event,
        of_gone, "/admin/checks", f"/admin/bookings?q={user.login}", "/admin/bookings?q=nobody",
        "/admin/users", f"/admin/users?q={user.login}", "/admin/users?q=nobody",
        f"/admin/users/{user_id}", "/admin/users/1",
    ]:
        at(path)
    if options.get("scripts", True):
        at("/admin/events/new", refuse_form)
        at(f"{of_event}/edit", refuse_form)
        at(f"{of_event}/cancel", refuse_cancelling)
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

"""Attendees' journeys. Each is gone with scripts and by plain forms alone."""

import re

import pytest
from playwright.sync_api import expect

from service import PASSWORD, unique

LANGUAGES = pytest.mark.parametrize("language", ["en", "ru"])
SCRIPTS = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])


@LANGUAGES
@SCRIPTS
def test_register_book_pay_in_confirm(visitor, service, language, scripts):
    event = service.event(capacity=40, price=40)
    attendee = visitor(language=language, scripts=scripts)
    words, page, main = attendee.words, attendee.page, attendee.main

    attendee.open("/")
    attendee.follow(words.register)
    login = unique("attendee")
    attendee.fill(words.login, login)
    attendee.fill(words.password, PASSWORD)
    attendee.press(words.register)
    expect(page).to_have_url(re.compile("/user$"))
    expect(page.get_by_role("banner")).to_contain_text(login)

    attendee.fill(words.search, event["name"].upper())
    attendee.press(words.search_now)
    expect(main.get_by_role("listitem")).to_have_count(1)
    attendee.follow(event["name"])
    expect(main).to_contain_text(words.left.format(free=40, capacity=40))
    attendee.fill(words.seats, "2")
    attendee.press(words.book)
    expect(main).to_contain_text(words.left.format(free=38, capacity=40))
    attendee.follow(words.to_payment)

    # The money is short: the page says so and by how much, and a try costs nothing.
    expect(main).to_contain_text(words.held)
    expect(main).to_contain_text(f"{words.short} 80.")
    main.get_by_role("button", name=words.confirm).click()
    expect(main.get_by_role("alert")).to_contain_text(words.too_little)
    expect(main.get_by_role("alert")).to_contain_text(words.still_held)
    expect(main).to_contain_text(words.held)

    # What is missing is suggested, and paying it in leads back to the hold.
    booking = page.url.split("/bookings/")[1].split("/")[0]
    attendee.press(words.pay_in)
    expect(page).to_have_url(re.compile(f"/user/bookings/{booking}$"))
    expect(main.get_by_role("timer")).to_be_visible()
    expect(main).not_to_contain_text(words.short)
    main.get_by_role("button", name=words.confirm).click()
    expect(main.get_by_text(words.paid, exact=True)).to_be_visible()
    expect(main.get_by_role("timer")).to_have_count(0)

    # Loading the page again doesn't pay again.
    page.reload()
    attendee.go_to(words.bookings)
    expect(main.get_by_role("listitem")).to_have_count(1)
    expect(main.get_by_role("listitem")).to_contain_text([event["name"]])
    expect(main.get_by_role("listitem")).to_contain_text([words.two_seats])
    expect(main.get_by_text(words.paid, exact=True)).to_be_visible()
    attendee.go_to(words.account)
    rows = main.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text(words.payment)
    expect(rows.nth(1)).to_contain_text(words.paid_in)
    expect(rows.nth(0).get_by_role("cell").last).to_have_text("0")
    expect(rows.nth(1).get_by_role("cell").last).to_have_text("80")


@SCRIPTS
def test_a_hold_that_is_cancelled_frees_its_seats(visitor, service, scripts):
    event = service.event(capacity=5)
    attendee = visitor(scripts=scripts).sign_in_as(service.user())
    words, main = attendee.words, attendee.main
    booking = attendee.book(event, 4)
    attendee.open(f"/user/bookings/{booking}")
    main.get_by_text(words.cancel).click()
    attendee.press(words.cancel_now)
    expect(main.get_by_text(words.cancelled, exact=True)).to_be_visible()
    attendee.open(event["page"])
    expect(main).to_contain_text(words.left.format(free=5, capacity=5))


@SCRIPTS
def test_a_paid_booking_that_is_cancelled_is_refunded(visitor, service, scripts):
    event = service.event(capacity=5, price=30)
    attendee = visitor(scripts=scripts).sign_in_as(service.user(balance=100))
    words, main = attendee.words, attendee.main
    booking = attendee.book(event, 2)
    attendee.open(f"/user/bookings/{booking}")
    main.get_by_role("button", name=words.confirm).click()
    expect(main.get_by_text(words.paid, exact=True)).to_be_visible()
    main.get_by_text(words.cancel).click()
    attendee.press(words.cancel_now)
    expect(main.get_by_text(words.cancelled, exact=True)).to_be_visible()
    attendee.go_to(words.account)
    newest = main.get_by_role("table").locator("tbody tr").first
    expect(newest).to_contain_text(words.refund)
    expect(newest.get_by_role("cell").last).to_have_text("100")


@LANGUAGES
@SCRIPTS
def test_sold_out_while_the_form_is_open(visitor, service, language, scripts):
    event = service.event(capacity=4)
    attendee = visitor(language=language, scripts=scripts).sign_in_as(service.user())
    words, main = attendee.words, attendee.main
    attendee.open(event["page"])
    attendee.fill(words.seats, "3")

    # Somebody takes too many for this wish, and then the rest.
    service.user().book(event, 3)
    with attendee.page.expect_navigation() as answered:
        attendee.press(words.book)
    assert answered.value.status == 409
    expect(main.get_by_text(words.one_left).first).to_be_visible()
    expect(main.get_by_label(words.seats)).to_have_value("3")
    expect(main).to_contain_text(words.left.format(free=1, capacity=4))

    service.user().book(event, 1)
    attendee.fill(words.seats, "1")
    with attendee.page.expect_navigation() as answered:
        attendee.press(words.book)
    assert answered.value.status == 409
    expect(main.get_by_text(words.sold_out).first).to_be_visible()
    expect(main).to_contain_text(words.left.format(free=0, capacity=4))


@SCRIPTS
def test_a_form_that_is_sent_twice_takes_effect_once(visitor, service, scripts):
    """As by a double click, or when the answer was lost and the browser is told to send it again."""
    event = service.event(capacity=9, price=10)
    attendee = visitor(scripts=scripts).sign_in_as(service.user(balance=50))
    words, main = attendee.words, attendee.main

    def send_again(sent):
        kind = {"Content-Type": sent.header_value("content-type")}
        again = attendee.context.request.post(sent.url, data=sent.post_data, headers=kind)
        assert again.ok, again.status

    attendee.open(event["page"])
    with attendee.page.expect_request(lambda request: request.method == "POST") as booked:
        attendee.press(words.book)
    attendee.follow(words.to_payment)
    send_again(booked.value)
    with attendee.page.expect_request(lambda request: request.method == "POST") as confirmed:
        main.get_by_role("button", name=words.confirm).click()
    expect(main.get_by_text(words.paid, exact=True)).to_be_visible()
    send_again(confirmed.value)
    attendee.open("/user/account")
    attendee.fill(words.amount, "7")
    with attendee.page.expect_request(lambda request: request.method == "POST") as paid_in:
        attendee.press(words.pay_in)
    rows = main.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(3)
    send_again(paid_in.value)

    attendee.open("/user/account")
    expect(rows).to_have_count(3)
    expect(rows.first.get_by_role("cell").last).to_have_text("47")
    attendee.open("/user/bookings")
    expect(main.get_by_role("listitem")).to_have_count(1)


@LANGUAGES
@SCRIPTS
def test_what_was_typed_stays_when_it_is_refused(visitor, service, language, scripts):
    taken = service.user().login
    newcomer = visitor(language=language, scripts=scripts)
    words, main = newcomer.words, newcomer.main
    newcomer.open("/sign-up")
    newcomer.fill(words.login, taken)
    newcomer.fill(words.password, PASSWORD)
    newcomer.press(words.register)
    login = main.get_by_label(words.login)
    expect(login).to_have_value(taken)
    expect(login).to_have_attribute("aria-invalid", "true")
    expect(login).to_have_accessible_description(re.compile(re.escape(words.taken)))
    expect(main.get_by_label(words.password)).to_have_value("")

    newcomer.open("/sign-in")
    newcomer.fill(words.login, taken)
    newcomer.fill(words.password, "not the password")
    newcomer.press(words.sign_in)
    expect(main.get_by_role("alert")).to_contain_text(words.wrong_credentials)
    expect(login).to_have_value(taken)


@SCRIPTS
def test_whoever_has_to_sign_in_gets_where_they_wanted(visitor, service, scripts):
    event, user = service.event(), service.user()
    attendee = visitor(scripts=scripts)
    attendee.open(event["page"])
    expect(attendee.page).to_have_url(re.compile("/sign-in"))
    attendee.fill(attendee.words.login, user.login)
    attendee.fill(attendee.words.password, PASSWORD)
    attendee.press(attendee.words.sign_in)
    expect(attendee.page).to_have_url(re.compile(f"{event['page']}$"))
    attendee.page.get_by_role("button", name=attendee.words.sign_out).click()
    attendee.open(event["page"])
    expect(attendee.page).to_have_url(re.compile("/sign-in"))

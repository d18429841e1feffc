"""What others typed is only ever text, and only the site's own pages can do anything in somebody's
name."""

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from service import PASSWORD, unique
from test_access import visit_all_pages

# What would be asked for, and would run, if markup in a name were taken for markup.
MARKUP = "\"><img/src=/nothing/onerror=document.title='broken'></title><script>document.title='broken'</script>"
# A port of this machine is the same site to a browser, which sends cookies there; a name isn't.
ELSEWHERE = pytest.mark.parametrize("elsewhere", ["http://127.0.0.1:1", "http://elsewhere.example"])


def test_markup_in_whatever_users_type_is_shown_as_text(visitor, service):
    def taken_for_markup(window):
        found = window.page.locator("img, main script, head > :not(meta, title, link, style, script), main style").count()
        is_broken = window.page.title() == "broken"
        return [f"{found} elements, {is_broken=}"] if found or is_broken else []

    found = visit_all_pages(visitor, service, taken_for_markup, markup=MARKUP)
    assert not found, "\n".join(found)


def test_markup_in_a_query_is_shown_as_text(visitor, service):
    attendee = visitor().sign_in_as(service.user())
    attendee.page.goto(f"/user?q={quote(MARKUP)}")
    expect(attendee.main.get_by_label(attendee.words.search)).to_have_value(MARKUP)
    expect(attendee.main).to_contain_text(MARKUP)
    for path in ["/sign-in?next=", "/sign-up?next=", "/user/bookings?seen=", "/user/account?after=", "/?"]:
        attendee.page.goto(path + quote(MARKUP))
        expect(attendee.page.locator("img")).to_have_count(0)


@ELSEWHERE
def test_no_form_can_be_sent_from_elsewhere(visitor, service, elsewhere):
    """Every form of every page, each sent by a page of somebody else's to a user who is signed in."""
    event, user = service.event(capacity=9, price=10), service.user(balance=10)
    paid, held, short = (user.book(event, 1)["id"] for _ in range(3))
    victim = visitor().sign_in_as(user)
    forms = set()
    user.post(f"/events/{event['id']}/confirm", bookingId=paid)
    for path in [
        "/", "/sign-in", "/sign-up", "/user", event["page"], "/user/bookings", "/user/account",
        *(f"/user/bookings/{booking}" for booking in (paid, held, short)),
    ]:
        victim.open(path)
        forms |= set(
            victim.page.locator("form[method=post]").evaluate_all(
                "forms => forms.map(form => form.getAttribute('action'))"
            )
        )
    assert len(forms) >= 9, forms

    victim.origins.append(elsewhere)
    victim.page.route(
        f"{elsewhere}/",
        lambda route: route.fulfill(
            content_type="text/html",
            body="".join(
                f"""<form method=post action="{service.origin}{action}"><input name=seats value=1>
                <input name=delta value=5><input name=login value={unique("forged")}>
                <input name=password value="{PASSWORD}"><input name=language value=ru>
                <button>{action}</button></form>"""
                for action in sorted(forms)
            ),
        ),
    )
    for action in sorted(forms):
        victim.open(f"{elsewhere}/")
        with victim.page.expect_navigation() as answered:
            victim.page.get_by_role("button", name=action, exact=True).click()
        assert answered.value.status == 403, action

    victim.open("/user/bookings")
    expect(victim.main.get_by_role("listitem")).to_have_count(3)
    expect(victim.main.get_by_text(victim.words.held, exact=True)).to_have_count(2)
    expect(victim.page.locator("html")).to_have_attribute("lang", "en")
    assert user.get("/account/get") == {"balance": 0}


def test_a_session_from_before_the_sign_in_does_not_survive_it(visitor, service):
    user, intruder = service.user(), service.user()
    # Somebody has planted a session of their own.
    victim = visitor().sign_in_as(intruder)
    victim.open("/sign-in")
    victim.fill(victim.words.login, user.login)
    victim.fill(victim.words.password, PASSWORD)
    victim.press(victim.words.sign_in)
    expect(victim.page.get_by_role("banner")).to_contain_text(user.login)
    cookies = [cookie for cookie in victim.context.cookies() if cookie["name"] == "session_id"]
    assert len(cookies) == 1 and cookies[0]["value"] != intruder.session
    assert cookies[0]["httpOnly"] and cookies[0]["sameSite"] == "Lax"
    # And one that never was is not taken up.
    victim.context.clear_cookies()
    planted = visitor()
    planted.context.add_cookies([{"name": "session_id", "value": "planted", "url": service.origin}])
    planted.open("/user")
    expect(planted.page).to_have_url(re.compile("/sign-in"))

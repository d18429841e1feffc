//! From the list of events to a paid booking, or one that isn't, by plain forms.

use std::time::Duration;

use eventbooker_testkit::client::PASSWORD;

use crate::browser::{Browser, Page};
use crate::site::{ALICE_ID, Site};
use crate::start::{demo, event};

pub fn signed_in(site: &Site, login: &str, language: &'static str) -> Browser {
    let mut browser = Browser::new(site.client(), language);
    let page = browser.open("/sign-in");
    let page = browser.submit(&page, "/sign-in", &[("login", login), ("password", PASSWORD)]);
    assert_eq!(page.path, "/user");
    browser
}

pub fn book(browser: &mut Browser, event: i64, seats: &str) -> Page {
    let page = browser.open(&format!("/user/events/{event}"));
    browser.submit(&page, &format!("/user/events/{event}/book"), &[("seats", seats)])
}

/// The page of the first hold that an event's page shows.
pub fn hold(browser: &mut Browser, page: &Page) -> Page {
    browser.open(&page.attribute("#own .hold a.button", "href"))
}

#[test]
fn events_are_listed_and_found_page_by_page() {
    let site = Site::start();
    let admin = site.client_of("admin");
    for number in 1..=30 {
        event(&admin, &format!("Run {number:02} & more"), 5, 0);
    }
    event(&admin, "Choir", 5, 0);
    let mut alice = signed_in(&site, "alice", "en");
    let page = alice.open("/user?q=run");
    assert_eq!(page.all("#found li").len(), 24);
    assert_eq!(page.attribute("#q", "value"), "run");
    assert_eq!(page.text("#found [role=status]"), "24 events on this page");
    assert!(page.has("h1 ~ #found h2 ~ ul h3") && !page.has("[aria-live=polite]:not(#status)"));
    let next = alice.open(&page.attribute("a[rel=next]", "href"));
    assert_eq!(next.all("#found li").len(), 6);
    assert!(!next.has("a[rel=next]"));
    assert_eq!(next.attribute("#q", "value"), "run");
    assert_eq!(alice.open("/user?q=CHOIR").text("#found h3"), "Choir");
    let nothing = alice.open("/user?q=opera").text("#found");
    assert_eq!(nothing, "No upcoming event has “opera” in its name.");
    assert_eq!(alice.open("/user?after=x").status, 400);
    site.finish();
}

#[test]
fn seats_are_booked_paid_in_for_confirmed_and_given_back() {
    let site = demo();
    let admin = site.client_of("admin");
    let id = event(&admin, "Green run", 10, 1500);
    let mut alice = signed_in(&site, "alice", "en");
    let page = book(&mut alice, id, "2");
    assert_eq!((page.status, &*page.path), (200, &*format!("/user/events/{id}")));
    let banner = page.text("#own .hold");
    assert!(banner.contains("Held for you") && banner.contains("2 seats, 3,000"), "{banner}");
    assert_eq!(page.attribute("[data-countdown]", "data-countdown"), "600");
    assert_eq!(page.text(".clock"), "10:00");
    assert!(page.text(".seats").contains("Seats left: 8 of 10"));

    let page = hold(&mut alice, &page);
    let booking = page.path.clone();
    assert!(page.text(".notice").starts_with("Your account is short of 3,000."));
    // Confirming all the same is refused in words, and the hold is what it was.
    let refused = alice.submit(&page, &format!("{booking}/confirm"), &[]);
    assert_eq!(refused.status, 402);
    assert!(refused.text("[role=alert]").contains("costs 3,000, but your account holds 0"));
    assert!(refused.has("[data-countdown]"));
    // Paying in leads back to the booking.
    let deposit = "/user/account/deposit";
    assert_eq!(refused.attribute("#delta", "value"), "3000");
    let page = alice.submit(&refused, deposit, &[("delta", "4000")]);
    assert_eq!((&*page.path, page.status), (&*booking, 200));
    assert!(!page.has(".notice") && page.text(".facts").contains("4,000"));
    let form = page.form(&format!("{booking}/confirm"), &[]);
    let page = alice.submit(&page, &format!("{booking}/confirm"), &[]);
    assert_eq!((&*page.path, page.status), (&*booking, 200));
    assert_eq!(page.text(".tag"), "Paid");
    // A second click, or a reload of the answer, changes nothing.
    let again = alice.send("POST", &format!("{booking}/confirm"), Some(&form));
    assert_eq!((again.status, again.header("location")), (303, Some(&*booking)));
    assert_eq!(alice.open("/user/account").text(".lead"), "1,000");

    let page = alice.submit(&page, &format!("{booking}/cancel"), &[]);
    assert_eq!(page.text(".tag"), "Cancelled");
    let page = alice.open("/user/account");
    assert_eq!(page.text(".lead"), "4,000");
    let rows = page.all("tbody tr").len();
    assert_eq!(rows, 3);
    assert!(page.text("tbody").contains("Refund") && page.text("tbody").contains("\u{2212}3,000"));
    site.finish();
}

#[test]
fn a_double_click_books_once() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let id = event(&admin, "Green run", 10, 0);
    let mut alice = signed_in(&site, "alice", "en");
    let page = alice.open(&format!("/user/events/{id}"));
    let action = format!("/user/events/{id}/book");
    let form = page.form(&action, &[("seats", "3")]);
    for _ in 0..3 {
        assert_eq!(alice.send("POST", &action, Some(&form)).status, 303);
    }
    assert_eq!(admin.event(id)["freeSeats"], 7);
    // The same form with another number is another wish, and has to be looked at again.
    let page = alice.submit(&page, &action, &[("seats", "4")]);
    assert_eq!(page.status, 422);
    assert!(page.text("[role=alert]").contains("sent before"));
    assert!(!page.has("#count-wrong, #count[aria-invalid]"), "the number isn't wrong");
    assert_eq!(page.attribute("#count", "value"), "4");
    let page = alice.submit(&page, &action, &[]);
    assert_eq!((page.status, admin.event(id)["freeSeats"].as_i64()), (200, Some(3)));
    site.finish();
}

#[test]
fn whoever_comes_too_late_is_told_how_many_seats_are_left() {
    let site = Site::start();
    let [admin, _, bob] = site.clients();
    for (language, few, none) in [
        ("en", "Only 2 seats are left.", "Sold out a moment ago: no seats are left."),
        ("ru", "Осталось только 2 места.", "Места только что закончились: свободных больше нет."),
    ] {
        let id = event(&admin, "Green run", 10, 0);
        let mut alice = signed_in(&site, "alice", language);
        let open = alice.open(&format!("/user/events/{id}"));
        assert_eq!(bob.book(id, 8).status, 201);
        let action = format!("/user/events/{id}/book");
        let page = alice.submit(&open, &action, &[("seats", "5")]);
        assert_eq!(page.status, 409);
        assert_eq!(page.text("#count-wrong"), few);
        assert_eq!(page.text("[role=alert]"), few, "it is said once");
        assert_eq!(page.attribute("#count", "value"), "5");
        assert!(page.has("[data-sold-out][hidden]"));
        assert_eq!(bob.book(id, 2).status, 201);
        let mut page = alice.submit(&page, &action, &[("seats", "2")]);
        assert_eq!((page.status, &*page.text("#count-wrong")), (409, none));
        assert!(!page.has("[data-sold-out][hidden]"));
        for typed in ["0", "101", "-1", "two", ""] {
            page = alice.submit(&page, &action, &[("seats", typed)]);
            assert_eq!(page.status, 422, "{typed}");
            assert!(page.text("#count-wrong").contains("100"), "{typed}");
            assert_eq!(page.attribute("#count", "value"), typed);
        }
    }
    let nothing = signed_in(&site, "alice", "en").open("/user/events/999");
    assert_eq!(nothing.status, 404);
    site.finish();
}

#[test]
fn an_expired_hold_leaves_the_list_with_a_word_why() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let id = event(&admin, "Green run", 10, 700);
    for (language, expired, cancelled) in [
        ("en", "has expired: it wasn’t paid in time", "was cancelled"),
        ("ru", "истекла: её не оплатили вовремя", "отменена"),
    ] {
        let mut alice = signed_in(&site, "alice", language);
        let on_event = book(&mut alice, id, "2");
        let both_on_event = book(&mut alice, id, "1");
        let link = format!("#own a[href='{}']", both_on_event.attribute("#own", "hx-get"));
        assert!(both_on_event.has(&link), "without scripts a link asks again");
        let list = alice.open("/user/bookings");
        assert_eq!(list.all("#own li.card").len(), 2);
        let again = list.attribute("#own", "hx-get");
        assert_eq!(again, list.all("#own p a").last().unwrap().value().attr("href").unwrap());
        let first: i64 = on_event
            .attribute("#own a.button", "href")
            .rsplit_once('/')
            .unwrap()
            .1
            .parse()
            .unwrap();
        admin.cancel(first);
        let list = alice.open(&again);
        assert_eq!(list.all("#own li.card").len(), 1);
        assert!(list.text(&format!("#fate-{first}")).contains(cancelled));

        site.pass(Duration::from_secs(541));
        let page = alice.open("/user/bookings");
        assert_eq!(page.attribute("[data-countdown]", "data-countdown"), "59");
        assert!(page.has(".hold.urgent"));
        site.pass(Duration::from_secs(60));
        let list = alice.open(&again);
        assert!(!list.has("#own li.card"));
        assert!(list.text(&format!("#fate-{}", first + 1)).contains(expired));
        // What was told is told again, until somebody opens the page anew.
        let again = list.attribute("#own", "hx-get");
        assert!(alice.open(&again).has(&format!("#fate-{first}")));
        assert!(!alice.open("/user/bookings").has("[id^=fate]"));
        let event_page = alice.open(&both_on_event.attribute("#own", "hx-get"));
        assert!(event_page.text("#own").contains(expired));

        let page = alice.open(&format!("/user/bookings/{}", first + 1));
        assert_eq!(page.status, 410);
        assert!(page.text("[role=alert]").contains(expired));
    }
    site.finish();
}

#[test]
fn somebody_elses_booking_is_nowhere() {
    let site = Site::start();
    let [admin, _, bob] = site.clients();
    let id = event(&admin, "Green run", 10, 0);
    let booking = bob.book(id, 2).id();
    let mut alice = signed_in(&site, "alice", "en");
    assert_eq!(alice.open(&format!("/user/bookings/{booking}")).status, 404);
    assert_eq!(alice.open("/user/bookings/999").status, 404);
    for action in ["confirm", "cancel"] {
        let answer = alice.send("POST", &format!("/user/bookings/{booking}/{action}"), Some(""));
        assert_eq!(answer.status, 404);
    }
    let asked = format!("/user/bookings?seen={booking}&seen=999&seen=x");
    assert!(!alice.open(&asked).has("[id^=fate]"), "nothing is told of it");
    assert_eq!(bob.cancel(booking).status, 200);
    assert!(!alice.open(&asked).has("[id^=fate]"), "nor when it has ended");
    let mut organiser = signed_in(&site, "admin", "en");
    assert_eq!(organiser.open(&format!("/user/bookings/{booking}")).status, 200);

    // Nor when nothing is left of it. What its owner's page asks about, it tells its owner only.
    let hold = bob.book(id, 2).id();
    let mut owner = signed_in(&site, "bob", "en");
    let again = owner.open("/user/bookings").attribute("#own", "hx-get");
    site.pass(Duration::from_secs(601));
    let fate = format!("#fate-{hold}");
    assert!(owner.open(&again).has(&fate));
    let (_, signature) = again.split_once("&signed=").expect("a signature");
    for path in [
        format!("/user/bookings?seen={hold}"),
        format!("/user/events/{id}?seen={hold}"),
        format!("/user/bookings?seen={hold}&seen=999&signed={signature}"),
        again.clone(),
    ] {
        assert!(!alice.open(&path).has("[id^=fate]"), "{path}");
    }
    assert!(!owner.open(&format!("/user/bookings?seen={hold}")).has(&fate), "unsigned");
    site.finish();
}

#[test]
fn paying_in_is_for_demos_and_organisers() {
    let site = Site::start();
    let mut alice = signed_in(&site, "alice", "ru");
    let page = alice.open("/user/account");
    assert!(!page.has("form[action='/user/account/deposit']"));
    assert!(page.text("main").contains("Счета пользователей пополняют организаторы."));
    let refused = alice.send("POST", "/user/account/deposit", Some("delta=5"));
    assert_eq!(refused.status, 403);
    let admin = site.client_of("admin");
    for _ in 0..27 {
        assert_eq!(admin.deposit_for(ALICE_ID, 10).status, 200);
    }
    let page = alice.open("/user/account");
    assert_eq!(page.all("tbody tr").len(), 25);
    let page = alice.open(&page.attribute("a[rel=next]", "href"));
    assert_eq!(page.all("tbody tr").len(), 2);
    assert!(!page.has("a[rel=next]"));

    let mut organiser = signed_in(&site, "admin", "en");
    let mut page = organiser.open("/user/account");
    for typed in ["0", "-5", "much", "", "99999999999999999999"] {
        page = organiser.submit(&page, "/user/account/deposit", &[("delta", typed)]);
        assert_eq!(page.status, 422, "{typed}");
        assert!(page.text("#delta-wrong").contains("above 0"));
        assert_eq!(page.attribute("#delta", "value"), typed);
    }
    let form = page.form("/user/account/deposit", &[("delta", "40")]);
    for _ in 0..2 {
        organiser.send("POST", "/user/account/deposit", Some(&form));
    }
    assert_eq!(organiser.open("/user/account").text(".lead"), "40", "paid in once");
    site.finish();
}

/// Whatever can be typed is shown as it was typed.
#[test]
fn nothing_that_was_typed_becomes_part_of_a_page() {
    const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    const LOGIN: &str = "<b>\"'&{{7*7}}</b>";
    let site = demo();
    let admin = site.client_of("admin");
    let id = event(&admin, EVIL, 5, 10);
    let mut browser = Browser::new(site.client(), "en");
    let page = browser.open("/sign-up");
    let typed = [("login", LOGIN), ("password", "long enough"), ("first_name", EVIL)];
    let page = browser.submit(&page, "/sign-up", &typed);
    assert_eq!(page.status, 200);
    assert!(page.text(".who").contains(LOGIN));
    let booked = book(&mut browser, id, EVIL);
    assert_eq!((booked.status, booked.attribute("#count", "value")), (422, EVIL.to_owned()));
    let booked = book(&mut browser, id, "1");
    let booking = hold(&mut browser, &booked).path.clone();
    let query: String = form_urlencoded::byte_serialize(EVIL.as_bytes()).collect();
    let refused =
        browser.send("POST", "/user/account/deposit", Some(&format!("delta={query}&next={query}")));
    assert_eq!(refused.status, 422);
    let mut pages = vec![String::from_utf8(refused.body).unwrap()];
    for path in [
        "/",
        "/upcoming",
        "/user",
        "/user/bookings",
        "/user/account",
        &*booking,
        &format!("/user/events/{id}"),
        &format!("/user?q={query}"),
        &format!("/sign-in?next={query}"),
        &format!("/sign-up?next={query}"),
        &format!("/user/bookings?seen={query}"),
        &format!("/user?x={query}"),
        &format!("/{query}"),
        "/user?q=%00%FF",
    ] {
        let page = browser.open(path);
        pages.push(String::from_utf8(page.answer.body).unwrap());
    }
    let mut stranger = Browser::new(site.client(), "ru");
    let page = stranger.open("/sign-in");
    let page =
        stranger.submit(&page, "/sign-in", &[("login", EVIL), ("password", EVIL), ("next", EVIL)]);
    assert_eq!(page.attribute("#login", "value"), EVIL);
    pages.push(String::from_utf8(page.answer.body).unwrap());
    let page = stranger.open("/sign-up");
    let page = stranger.submit(
        &page,
        "/sign-up",
        &[
            ("login", EVIL),
            ("password", "x"),
            ("email", EVIL),
            ("first_name", EVIL),
            ("last_name", EVIL),
            ("next", EVIL),
        ],
    );
    assert_eq!(page.status, 422);
    pages.push(String::from_utf8(page.answer.body).unwrap());
    let mut shown = 0;
    for page in pages {
        assert!(
            !page.contains("<img") && !page.contains("<script>") && !page.contains("<b>"),
            "{page}"
        );
        shown += page.matches("alert(1)").count();
    }
    assert!(shown > 10, "it was shown, {shown} times");
    site.finish();
}

//! An event's and a booking's page as things change around them, and for whoever looks at them.

use std::time::Duration;

use eventbooker_store::StoreError;
use serde_json::json;

use crate::booking::{book, hold, signed_in};
use crate::browser::Page;
use crate::site::{ALICE_ID, Site};
use crate::start::{demo, event};

#[test]
fn an_admin_is_told_whose_booking_it_is_and_who_pays() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let id = event(&admin, "Green run", 10, 700);
    for (language, [confirm, short, back]) in [
        (
            "en",
            [
                "Confirm and charge the owner’s account (700)",
                "The owner’s account is short of 700.",
                "the money comes back to the owner’s account",
            ],
        ),
        (
            "ru",
            [
                "Подтвердить и списать со счёта владельца (700)",
                "На счету владельца не хватает 700.",
                "деньги вернутся на счёт владельца",
            ],
        ),
    ] {
        let path = format!("/user/bookings/{}", alice.book(id, 1).id());
        let own = signed_in(&site, "alice", language).open(&path);
        assert!(!own.has(".facts a") && !own.text("main").contains(confirm));
        let mut organiser = signed_in(&site, "admin", language);
        let page = organiser.open(&path);
        let owner = format!(".facts a[href='/admin/users/{ALICE_ID}']");
        assert_eq!(page.text(&owner), "alice");
        let action = format!("{path}/confirm");
        let button = format!("form[action='{action}'] button");
        assert_eq!(page.text(&button), confirm);
        assert!(page.text(".notice").starts_with(short) && !page.has("#delta"));
        let refused = organiser.submit(&page, &action, &[]);
        assert_eq!(refused.status, 402);
        let own = ["your account", "вашем счету", "за вами"];
        let said = refused.text("main").to_lowercase();
        assert!(!own.iter().any(|word| said.contains(word)), "{said}");

        assert_eq!(admin.deposit_for(ALICE_ID, 700).status, 200);
        let page = organiser.open(&path);
        let page = organiser.submit(&page, &action, &[]);
        assert_eq!((page.status, alice.balance()), (200, 0));
        assert!(page.text("details").contains(back));
        organiser.submit(&page, &format!("{path}/cancel"), &[]);
        assert_eq!(alice.balance(), 700);
        assert_eq!(alice.confirm(id, alice.book(id, 1).id()).status, 200);
    }
    site.finish();
}

/// The forms on it are left alone as long as nothing has changed.
#[test]
fn a_bookings_page_is_looked_up_again_until_it_is_over() {
    let site = demo();
    let admin = site.client_of("admin");
    for (language, cancelled, over) in [
        ("en", "The event has been cancelled.", "Cancelled"),
        ("ru", "Мероприятие отменено.", "Отменена"),
    ] {
        let id = event(&admin, "Green run", 10, 700);
        let mut alice = signed_in(&site, "alice", language);
        let page = book(&mut alice, id, "2");
        let page = hold(&mut alice, &page);
        let client = admin.with_session(alice.session());
        let look = |again: &str| {
            let ask = client.ask("GET", again).header("Accept", "text/html");
            ask.header("Accept-Language", language).header("HX-Request", "true").answer()
        };
        let again = page.attribute("#clock", "hx-get");
        assert!(page.attribute("#clock", "hx-trigger").contains("look from:body"));
        let same = look(&again);
        assert_eq!((same.status, &*same.body), (204, &b""[..]));
        assert_eq!(alice.open(&again).status, 200, "a reader gets a page");

        assert_eq!(client.deposit(2000).status, 200);
        assert_eq!(look(&again).status, 200, "it can be paid now");
        let page = alice.open(&again);
        let again = page.attribute("#clock", "hx-get");
        assert_eq!(look(&again).status, 204);
        let booking: i64 = page.path.split(['/', '?']).nth(3).unwrap().parse().unwrap();
        assert_eq!(client.confirm(id, booking).status, 200);
        assert_eq!(look(&again).status, 200, "it is paid");
        let again = alice.open(&again).attribute("#clock", "hx-get");
        assert_eq!(look(&again).status, 204);

        // A page as it stands between the event's end and the booking's.
        let mut release = {
            let mut held = site.hold_next_save();
            let admin = admin.with_session(admin.session());
            let cancelling =
                std::thread::spawn(move || admin.post(&format!("/events/{id}/cancel"), &json!({})));
            site.until_held(&mut held);
            let release = site.hold_next_save();
            held.let_go();
            assert_eq!(cancelling.join().unwrap().status, 200);
            release
        };
        site.until_held(&mut release);
        assert_eq!(look(&again).status, 200);
        let page = alice.open(&again);
        assert!(page.text(".notice").contains(cancelled), "{}", page.text("main"));
        release.let_go();
        site.pass(Duration::from_secs(1));
        let page = alice.open(&again);
        assert_eq!(page.text(".tag"), over);
        assert!(page.text(".notice").contains(cancelled) && !page.has("#clock"));
    }
    site.finish();
}

/// Whoever doesn't know what became of a form sends it again, and it takes effect once.
#[test]
fn a_form_of_which_nobody_knows_what_became_keeps_its_key() {
    let site = demo();
    let admin = site.client_of("admin");
    let id = event(&admin, "Green run", 10, 700);
    let mut alice = signed_in(&site, "alice", "en");
    let page = book(&mut alice, id, "2");
    let first = hold(&mut alice, &page);
    let actions = ["confirm", "cancel"].map(|form| format!("{}/{form}", first.path));
    let actions = [actions[0].clone(), actions[1].clone(), "/user/account/deposit".to_owned()];
    let keys = |page: &Page| {
        actions.each_ref().map(|action| page.value(&format!("form[action='{action}'] [name=key]")))
    };
    for sent in [0, 1] {
        let unknown = || StoreError::OutcomeUnknown("nobody heard the answer".to_owned());
        site.faults().object(move |_| Some(unknown()));
        let page = alice.submit(&first, &actions[sent], &[]);
        assert_eq!(page.status, 503);
        assert!(page.text("[role=alert]").contains("isn’t known"), "{}", page.text("main"));
        let again = alice.submit(&page, &actions[sent], &[]);
        site.faults().object(|_| None);
        for form in 0..3 {
            let keeps = form == sent;
            assert_eq!(keys(&page)[form] == keys(&first)[form], keeps, "{form} after {sent}");
            assert_eq!(keys(&again)[form] == keys(&first)[form], keeps, "{form} after {sent}");
        }
        let [confirm, cancel, deposit] = keys(&page);
        assert!(confirm != cancel && cancel != deposit && deposit != confirm);
    }
    site.finish();
}

#[test]
fn nothing_is_said_of_money_where_none_is_asked_for() {
    let site = Site::start();
    let id = event(&site.client_of("admin"), "Green run", 10, 0);
    for (language, money, [held, confirmed]) in [
        ("en", ["pay", "paid", "money"], ["To be confirmed", "Confirmed"]),
        ("ru", ["оплат", "плач", "деньг"], ["Ждёт подтверждения", "Подтверждена"]),
    ] {
        let mut alice = signed_in(&site, "alice", language);
        let on_event = book(&mut alice, id, "1");
        let page = hold(&mut alice, &on_event);
        assert_eq!(page.text(".tag"), held);
        let list = alice.open("/user/bookings");
        let path = page.path.clone();
        let page_paid = alice.submit(&page, &format!("{path}/confirm"), &[]);
        assert_eq!(page_paid.text(".tag"), confirmed);
        let mut said: Vec<String> = [&page, &list, &page_paid].map(|page| page.text("main")).into();
        said.extend(["#own", ".facts", "[data-open]"].map(|part| on_event.text(part)));
        said.extend(
            ["data-say300", "data-say60", "data-say30"].map(|at| page.attribute(".clock", at)),
        );
        for text in said {
            let words = text.to_lowercase();
            assert!(!money.iter().any(|word| words.contains(word)), "{text}");
        }
        let body = format!("/user/bookings/{}/cancel", path.rsplit_once('/').unwrap().1);
        assert_eq!(alice.submit(&page_paid, &body, &[]).status, 200);
    }
    site.finish();
}

#[test]
fn a_cancelled_event_is_not_sold_out() {
    let site = Site::start();
    let [admin, bob, _] = site.clients();
    let (full, open) = (event(&admin, "Green run", 2, 0), event(&admin, "Choir", 2, 0));
    assert_eq!(bob.book(full, 2).status, 201);
    let shown = |page: &Page, selector: &str| {
        let hidden = |part: &scraper::ElementRef<'_>| part.value().attr("hidden").is_some();
        page.all(selector).iter().any(|part| !hidden(part))
    };
    for (language, tag, words) in [
        ("en", "Cancelled", "The event has been cancelled."),
        ("ru", "Отменено", "Мероприятие отменено."),
    ] {
        let mut alice = signed_in(&site, "alice", language);
        let page = alice.open(&format!("/user/events/{full}"));
        assert!(shown(&page, "[data-sold-out]") && !shown(&page, "[data-cancelled]"));
        // A script shows the one for the other as soon as it hears of it.
        let page = alice.open(&format!("/user/events/{open}"));
        assert!(page.has("[data-live] [data-open] form") && !shown(&page, "[data-cancelled]"));
        assert!(page.text("[data-live] [data-cancelled]").contains(words));

        let id = event(&admin, "Opera", 2, 0);
        assert_eq!(bob.book(id, 2).status, 201);
        assert_eq!(admin.post(&format!("/events/{id}/cancel"), &json!({})).status, 200);
        let page = alice.open(&format!("/user/events/{id}"));
        assert!(shown(&page, "[data-cancelled]") && !page.has("[data-open]"));
        assert!(!page.has("[data-sold-out]"));
        let page = alice.open("/user?q=opera");
        let card = format!("li[data-live='{id}']");
        assert_eq!(page.text(&format!("{card} [data-cancelled]")), tag);
        assert!(shown(&page, &format!("{card} [data-cancelled]")));
        assert!(!shown(&page, &format!("{card} [data-open]")));
        let page = alice.open("/user?q=choir");
        assert!(shown(&page, "[data-open]") && !shown(&page, "[data-cancelled]"));
    }
    site.finish();
}

#[test]
fn a_hold_that_ends_while_its_page_is_open_is_told_when_its_form_is_sent() {
    let site = demo();
    let admin = site.client_of("admin");
    let id = event(&admin, "Green run", 10, 0);
    let mut alice = signed_in(&site, "alice", "en");
    let page = book(&mut alice, id, "2");
    let page = hold(&mut alice, &page);
    site.pass(Duration::from_secs(601));
    for action in ["confirm", "cancel"] {
        let gone = alice.submit(&page, &format!("{}/{action}", page.path), &[]);
        assert_eq!(gone.status, 410);
        assert!(gone.text("[role=alert]").contains("has expired"));
    }
    site.finish();
}

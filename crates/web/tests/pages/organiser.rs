//! Organisers create, edit and cancel events, by plain forms.

use std::time::Duration;

use eventbooker_store::StoreError;
use eventbooker_testkit::client::Client;
use serde_json::{Value, json};

use crate::booking::signed_in;
use crate::browser::{Browser, Page};
use crate::site::{ALICE_ID, Site};
use crate::start::event;

const SAVE: &str = "/admin/events/new/save";

/// A browser of the organiser, in a zone.
fn organiser(site: &Site, language: &'static str, zone: &str) -> Browser {
    let mut browser = signed_in(site, "admin", language);
    browser.set_cookie("zone", zone);
    browser
}

/// Sends a form that is to be taken, and says which event it led to.
fn save(browser: &mut Browser, page: &Page, action: &str, typed: &[(&str, &str)]) -> i64 {
    let answer = browser.send("POST", action, Some(&page.form(action, typed)));
    assert_eq!(answer.status, 303, "{}", String::from_utf8_lossy(&answer.body));
    let location = answer.header("location").expect("a location");
    let id = location.strip_prefix("/admin/events/").expect("an event's page");
    id.parse().expect("a number")
}

fn edit_path(id: i64) -> (String, String) {
    (format!("/admin/events/{id}/edit"), format!("/admin/events/{id}/edit/save"))
}

fn full(client: &Client, id: i64) -> Value {
    client.get(&format!("/events/{id}")).json()
}

#[test]
fn an_event_is_created_in_the_organisers_zone() {
    let site = Site::start();
    let mut admin = organiser(&site, "en", "Europe/Berlin");
    let page = admin.open("/admin/events/new");
    assert_eq!(page.value("#zone"), "Europe/Berlin");
    assert_eq!((&*page.value("#price"), &*page.value("#paymentTTL")), ("0", "30"));
    let typed = [
        ("name", "  Choir  "),
        ("description", "Two hours.\r\n\r\nBring a friend."),
        ("date", "2090-07-01T19:30"),
        ("capacity", "120"),
        ("price", "1500"),
        ("paymentTTL", "45"),
    ];
    let form = page.form(SAVE, &typed);
    let id = save(&mut admin, &page, SAVE, &typed);
    let event = full(&site.client(), id);
    assert_eq!(
        event,
        json!({"id": id, "name": "Choir", "description": "Two hours.\n\nBring a friend.",
               "date": "2090-07-01T17:30:00Z", "capacity": 120, "freeSeats": 120, "price": 1500,
               "paymentTTL": 45, "pendingBookings": 0, "confirmedBookings": 0})
    );
    // A double click creates one, and leads to it again.
    let again = admin.send("POST", SAVE, Some(&form));
    assert_eq!(again.header("location"), Some(&*format!("/admin/events/{id}")));
    let page = admin.open(&format!("/admin/events/{id}"));
    assert_eq!((page.status, &*page.text("h1")), (200, "Choir"));
    assert!(page.text("main").contains("1 July 2090, 19:30 UTC+2"));
    let list = admin.open("/admin");
    assert_eq!(list.all("#found li").len(), 1);
    assert_eq!(list.text("#found time"), "1 July 2090, 19:30 UTC+2");
    assert!(list.text("footer").contains("Times: Europe/Berlin"));

    // Another zone than the reader's, no date at all, and the first of two hours of one name.
    for (date, zone, instant) in [
        ("2090-07-01T19:30", "asia/tokyo", Some("2090-07-01T10:30:00Z")),
        ("", "Europe/Berlin", None),
        ("2026-10-25T02:30", "Europe/Berlin", Some("2026-10-25T00:30:00Z")),
    ] {
        let page = admin.open("/admin/events/new");
        let typed = [("name", "Run"), ("date", date), ("zone", zone), ("capacity", "1")];
        let id = save(&mut admin, &page, SAVE, &typed);
        assert_eq!(full(&site.client(), id)["date"].as_str(), instant);
        let page = admin.open(&edit_path(id).0);
        let shown = match date {
            "2026-10-25T02:30" => "25 October 2026, 02:30 UTC+2",
            "" => "",
            _ => "1 July 2090, 12:30 UTC+2",
        };
        assert_eq!(page.text("fieldset time"), shown);
    }
    site.finish();
}

#[test]
fn without_a_zone_times_are_in_utc_and_say_so() {
    let site = Site::start();
    for cookie in [None, Some("Europe/Nowhere"), Some("%%")] {
        let mut admin = signed_in(&site, "admin", "ru");
        if let Some(zone) = cookie {
            admin.set_cookie("zone", zone);
        }
        let page = admin.open("/admin/events/new");
        assert_eq!(page.value("#zone"), "UTC");
        assert!(page.text("footer").contains("Время: UTC"));
        // Its parts stay so when they are looked up again.
        let told = page.attribute("body", "hx-headers:inherited");
        assert_eq!(told, r#"{"Time-Zone":"UTC"}"#);
    }
    site.finish();
}

/// What is wrong with each field, and what was typed into it.
fn assert_wrong(page: &Page, wrong: &[(&str, &str, &str)]) {
    for (field, typed, words) in wrong {
        assert_eq!(page.attribute(&format!("#{field}"), "aria-invalid"), "true", "{field}");
        let described = page.attribute(&format!("#{field}"), "aria-describedby");
        assert!(described.contains(&format!("{field}-wrong")), "{field}");
        assert_eq!(page.value(&format!("#{field}")), *typed, "{field}");
        let told = page.text(&format!("#{field}-wrong"));
        assert!(told.contains(words), "{field}: {told}");
    }
    assert_eq!(page.all("[aria-invalid]").len(), wrong.len(), "nothing else is wrong");
    assert!(page.has("[role=alert]"));
}

#[test]
fn every_bad_field_of_an_event_is_told_where_it_is_with_what_was_typed() {
    let site = Site::start();
    let long = "x".repeat(201);
    let longer = "д".repeat(10_001);
    for (language, words) in [
        (
            "en",
            [
                "1 to 200 characters",
                "At most 10,000 characters",
                "doesn’t exist",
                "1 to 1,000,000,000",
                "0 to 1,000,000,000,000",
                "1 to 43,200",
                "no such time zone",
                "such as 2030-05-17 19:30",
                "in the future",
            ],
        ),
        (
            "ru",
            [
                "от 1 до 200 знаков",
                "Не больше 10\u{a0}000 знаков",
                "его не бывает",
                "от 1 до 1\u{a0}000\u{a0}000\u{a0}000",
                "от 0 до 1\u{a0}000\u{a0}000\u{a0}000\u{a0}000",
                "от 1 до 43\u{a0}200",
                "часового пояса нет",
                "например 2030-05-17 19:30",
                "в будущем",
            ],
        ),
    ] {
        let words = words.map(|words| words.replace('\u{a0}', " "));
        let [name, description, skipped, capacity, price, window, zone, no_date, past] = &words;
        let mut admin = organiser(&site, language, "Europe/Berlin");
        let page = admin.open("/admin/events/new");
        let typed = [
            ("name", &*long),
            ("description", &*longer),
            ("date", "2090-03-26T02:30"),
            ("capacity", "0"),
            ("price", "-1"),
            ("paymentTTL", "43201"),
        ];
        let page = admin.submit(&page, SAVE, &typed);
        assert_eq!((page.status, &*page.path), (422, SAVE));
        assert_wrong(
            &page,
            &[
                ("name", &long, name),
                ("description", &longer, description),
                ("date", "2090-03-26T02:30", skipped),
                ("capacity", "0", capacity),
                ("price", "-1", price),
                ("paymentTTL", "43201", window),
            ],
        );
        let rest = [
            ("name", "Run"),
            ("description", "\n <b>"),
            ("date", "2020-01-01T00:00"),
            ("capacity", "many"),
            ("price", ""),
            ("paymentTTL", "1.5"),
        ];
        let page = admin.submit(&page, SAVE, &rest);
        assert_eq!(page.status, 422);
        assert_eq!(page.value("#description").trim(), "<b>");
        assert_wrong(
            &page,
            &[
                ("date", "2020-01-01T00:00", past),
                ("capacity", "many", capacity),
                ("price", "", price),
                ("paymentTTL", "1.5", window),
            ],
        );
        let well = [("capacity", "5"), ("price", "0"), ("paymentTTL", "5"), ("date", "soon")];
        let page = admin.submit(&page, SAVE, &well);
        assert_wrong(&page, &[("date", "soon", no_date)]);
        let page = admin.submit(&page, SAVE, &[("date", ""), ("zone", "Mars/Olympus")]);
        assert_wrong(&page, &[("zone", "Mars/Olympus", zone)]);
        assert!(page.text("title").starts_with(&*page.text("h1")));
        let page = admin.submit(&page, SAVE, &[("name", " "), ("zone", "UTC")]);
        assert_wrong(&page, &[("name", " ", name)]);
    }
    assert_eq!(site.client().get("/events").json(), json!([]), "nothing was created");
    site.finish();
}

/// The longest description that the API takes, of letters that take the most bytes in a form.
#[test]
fn a_form_may_be_as_long_as_an_event_can_be() {
    let site = Site::start();
    let mut admin = organiser(&site, "en", "UTC");
    let page = admin.open("/admin/events/new");
    let description = "🎭".repeat(10_000);
    let typed = [("name", "Mask"), ("description", &*description), ("capacity", "1")];
    let id = save(&mut admin, &page, SAVE, &typed);
    assert_eq!(full(&site.client(), id)["description"], *description);
    let (path, action) = edit_path(id);
    let page = admin.open(&path);
    save(&mut admin, &page, &action, &[("capacity", "2")]);
    assert_eq!(full(&site.client(), id)["description"], *description);
    // Whoever isn't an admin sends none of that length.
    let mut alice = signed_in(&site, "alice", "en");
    let long = format!("name={}", "x".repeat(100 * 1024));
    assert_eq!(alice.send("POST", SAVE, Some(&long)).status, 403);
    assert_eq!(alice.send("POST", "/user/account/deposit", Some(&long)).status, 413);
    site.finish();
}

#[test]
fn only_what_was_changed_in_the_form_is_changed() {
    let site = Site::start();
    let client = site.client_of("admin");
    // Seconds, line ends of the other kind, and spaces inside: a form can't show them all.
    let event = json!({"name": "Green  run", "date": "2090-05-01T18:00:30.5Z", "capacity": 10,
                       "price": 700, "paymentTTL": 10, "description": "One\r\ntwo\rthree"});
    let id = client.post("/events", &event).id();
    let before = full(&client, id);
    let mut one = organiser(&site, "en", "Asia/Kathmandu");
    let mut other = organiser(&site, "ru", "UTC");
    let (path, action) = edit_path(id);
    let [of_one, of_other] = [&mut one, &mut other].map(|browser| browser.open(&path));
    assert_eq!(of_one.value("#date"), "2090-05-01T23:45");
    assert_eq!(of_one.value("#zone"), "Asia/Kathmandu");
    assert_eq!(of_one.text("fieldset time"), "1 May 2090, 23:45 UTC+5:45");

    // A form that is sent as it stands changes nothing.
    let page = one.open(&path);
    assert_eq!(save(&mut one, &page, &action, &[]), id);
    assert_eq!(full(&client, id), before);
    // Two edit at once: neither takes back what the other has changed.
    save(&mut one, &of_one, &action, &[("capacity", "12"), ("price", "800")]);
    save(&mut other, &of_other, &action, &[("name", "Blue run")]);
    let after = full(&client, id);
    assert_eq!((&after["name"], &after["capacity"]), (&json!("Blue run"), &json!(12)));
    assert_eq!((&after["price"], &after["date"]), (&json!(800), &before["date"]));
    assert_eq!(after["description"], before["description"]);

    // The same time in another zone is another time.
    let page = one.open(&path);
    save(&mut one, &page, &action, &[("zone", "Europe/Moscow"), ("paymentTTL", "20")]);
    let after = full(&client, id);
    assert_eq!(
        (&after["date"], &after["paymentTTL"]),
        (&json!("2090-05-01T20:45:00Z"), &json!(20))
    );
    let page = one.open(&path);
    save(&mut one, &page, &action, &[("description", ""), ("date", "2090-06-01T00:00")]);
    let after = full(&client, id);
    assert_eq!(
        (&after["description"], &after["date"]),
        (&json!(""), &json!("2090-05-31T18:15:00Z"))
    );
    site.finish();
}

#[test]
fn an_event_that_is_edited_keeps_what_is_booked() {
    let site = Site::start();
    let [client, alice, _] = site.clients();
    let id = event(&client, "Green run", 10, 700);
    let booking = alice.book(id, 4);
    let mut admin = organiser(&site, "en", "UTC");
    let (path, action) = edit_path(id);
    let page = admin.open(&path);
    assert!(page.text("form").contains("What is booked already keeps its price and its deadline."));
    // Too few seats, and a date that can't go.
    let page = admin.submit(&page, &action, &[("capacity", "3"), ("name", "Short run")]);
    assert_eq!(page.status, 409);
    assert_wrong(&page, &[("capacity", "3", "Seats held or sold: 4.")]);
    assert_eq!(page.value("#name"), "Short run");
    let page = admin.submit(&page, &action, &[("capacity", "x"), ("date", "")]);
    assert_eq!(page.status, 422);
    let wrong = [("capacity", "x", "whole number"), ("date", "", "keeps one")];
    assert_wrong(&page, &wrong);
    let page = admin.submit(&page, &action, &[("capacity", "4"), ("date", "2020-01-01T00:00")]);
    assert_wrong(&page, &[("date", "2020-01-01T00:00", "in the future")]);
    let again = [("date", "2090-05-01T18:00"), ("zone", "UTC"), ("price", "900")];
    let form = page.form(&action, &again);
    save(&mut admin, &page, &action, &again);
    let after = full(&client, id);
    assert_eq!((&after["name"], &after["freeSeats"]), (&json!("Short run"), &json!(0)));
    let booked = alice.get("/bookings").json()[0].clone();
    assert_eq!(
        (&booked["amount"], &booked["expiresAt"]),
        (&json!(2800), &booking.json()["expiresAt"])
    );
    // Once more is once: what has been changed since isn't taken back.
    client.ask("PATCH", &format!("/events/{id}")).json(&json!({"price": 1000})).answer();
    assert_eq!(admin.send("POST", &action, Some(&form)).status, 303);
    assert_eq!(full(&client, id)["price"], 1000);

    // A cancelled one isn't edited any more.
    let page = admin.open(&path);
    client.post(&format!("/events/{id}/cancel"), &json!({}));
    let refused = admin.submit(&page, &action, &[("name", "Long run")]);
    assert_eq!(refused.status, 409);
    assert!(refused.text("[role=alert]").contains("The event has been cancelled."));
    let page = admin.open(&path);
    assert!(page.text(".notice").contains("cancelled") && !page.has("main form"));
    assert_eq!(admin.open("/admin/events/999/edit").status, 404);
    assert_eq!(admin.send("POST", "/admin/events/999/edit/save", Some("name=x")).status, 404);
    site.finish();
}

#[test]
fn an_event_is_cancelled_with_all_its_bookings() {
    let site = Site::start();
    let [client, alice, bob] = site.clients();
    client.deposit_for(ALICE_ID, 5000);
    for (language, asks, progress, done) in [
        (
            "en",
            [
                "2 bookings that wait for their payment are released.",
                "1 paid booking is released and refunded. Refunded in all: 1,400.",
                "Tick this",
            ],
            ["2 bookings are still to be released.", "Released: 1 of 3"],
            "none of its bookings is left",
        ),
        (
            "ru",
            [
                "Будут сняты 2 брони, ждущие оплаты.",
                "Будет снята 1 оплаченная бронь, деньги за неё вернутся. Всего к возврату: 1 400.",
                "Отметьте здесь",
            ],
            ["Осталось снять 2 брони", "Снято: 1 из 3"],
            "броней больше не осталось",
        ),
    ] {
        let id = event(&client, "Green run", 10, 700);
        let paid = alice.book(id, 2).id();
        assert_eq!(alice.confirm(id, paid).status, 200);
        assert_eq!(alice.balance(), 3600);
        alice.book(id, 1);
        let of_bob = bob.book(id, 3).id();
        let mut admin = organiser(&site, language, "UTC");
        let path = format!("/admin/events/{id}/cancel");
        let action = format!("{path}/confirm");
        let page = admin.open(&path);
        assert!(page.text("main").contains(asks[0]), "{}", page.text("main"));
        assert!(page.text("main").contains(asks[1]), "{}", page.text("main"));
        // Not without being sure.
        let page = admin.submit(&page, &action, &[]);
        assert_eq!((page.status, page.text("#sure-wrong").contains(asks[2])), (422, true));
        assert_eq!(client.event(id)["cancelledAt"], Value::Null);

        // Several can't be released at once just now; whoever gives one back does part of the work.
        site.faults().object(|changes| {
            let away = || StoreError::Away("not just now".to_owned());
            (changes.bookings_changed.len() > 1).then(away)
        });
        let form = page.form(&action, &[("sure", "yes")]);
        let answer = admin.send("POST", &action, Some(&form));
        let progress_path = answer.header("location").expect("a location").to_owned();
        assert_eq!((answer.status, &*progress_path), (303, &*format!("{path}?of=3")));
        // When that has been tried.
        site.pass(Duration::ZERO);
        assert_eq!(bob.cancel(of_bob).status, 200);
        let page = admin.open(&progress_path);
        let told = page.text("#progress");
        assert!(progress.iter().all(|words| told.contains(words)), "{told}");
        assert_eq!(page.attribute("#progress [hx-get]", "hx-get"), progress_path);
        let bar = ["value", "max"].map(|name| page.attribute("progress", name));
        assert_eq!(bar, ["1", "3"]);
        // Without the number that stands in the address, and with one that can't be.
        for query in ["", "?of=1", "?of=x", "?of=-1"] {
            let page = admin.open(&format!("{path}{query}"));
            assert!(page.text("#progress").contains(progress[0]) && !page.has("progress"));
        }
        let card = admin.open("/admin").text(&format!("#event-{id}"));
        assert!(card.contains(progress[0]), "{card}");
        site.faults().object(|_| None);
        site.pass(Duration::from_secs(5));
        let page = admin.open(&progress_path);
        assert!(page.text("#progress").contains(done), "{}", page.text("main"));
        assert!(!page.has("#progress [hx-get]"), "nothing is looked for any more");
        assert_eq!(alice.balance(), 5000, "the money is back");
        // A second click changes nothing.
        let again = admin.send("POST", &action, Some(&form));
        assert_eq!(again.header("location"), Some(&*progress_path));
        let list = admin.open("/admin");
        let card = list.text(&format!("#event-{id}"));
        assert!(card.contains(done), "{card}");
        assert!(!list.has(&format!("a[href='{path}']")));
    }
    assert_eq!(signed_in(&site, "admin", "en").open("/admin/events/999/cancel").status, 404);
    site.finish();
}

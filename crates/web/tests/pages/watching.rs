//! An event as its organiser watches it: numbers, chart, table, search.

use std::time::Duration;

use eventbooker_testkit::client::{Client, PASSWORD};
use scraper::Selector;
use serde_json::json;

use crate::booking::signed_in;
use crate::browser::{Browser, Page};
use crate::site::{ALICE_ID, Site};
use crate::start::event;

/// The numbers of the bookings that a table shows.
fn numbers(page: &Page) -> Vec<i64> {
    let links = page.all("tbody tr[id] td:first-child a");
    links.iter().map(|link| link.text().collect::<String>().parse().expect("a number")).collect()
}

/// The chart's table: booked, given back, held, sold.
fn spans(page: &Page) -> Vec<[u32; 4]> {
    let cells = Selector::parse("td.number").expect("a selector");
    let rows = page.all("details tbody tr");
    rows.iter()
        .map(|row| {
            let numbers = row.select(&cells).map(|cell| cell.text().collect::<String>());
            let numbers: Vec<u32> = numbers.map(|text| text.parse().expect("a number")).collect();
            numbers.try_into().expect("four columns")
        })
        .collect()
}

/// The least `y` that a path comes to, which is how far up it goes.
fn top(path: &str) -> u32 {
    let tops = path.split('V').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().expect("a number")
    });
    tops.min().unwrap_or(1000)
}

fn register(site: &Site, login: &str) -> Client {
    let user = json!({"login": login, "password": PASSWORD, "email": "", "first_name": "",
                      "last_name": ""});
    assert_eq!(site.client().post("/register", &user).status, 200, "{login}");
    site.client_of(login)
}

#[test]
fn seats_are_told_in_numbers_as_a_bar_and_in_words() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let id = event(&admin, "Green run", 60, 1500);
    admin.deposit_for(ALICE_ID, 100_000);
    let paid = alice.book(id, 15).id();
    assert_eq!(alice.confirm(id, paid).status, 200);
    let held = bob.book(id, 6).id();
    for (language, words, states) in [
        ("en", "Of 60 seats, 15 are sold, 6 held and 39 free.", ["To be paid", "Paid"]),
        (
            "ru",
            "Всего мест: 60; продано: 15, в брони: 6, свободно: 39.",
            ["Ждёт оплаты", "Оплачена"],
        ),
    ] {
        let mut organiser = signed_in(&site, "admin", language);
        let page = organiser.open(&format!("/admin/events/{id}"));
        assert_eq!((page.status, &*page.text("h1")), (200, "Green run"));
        for (part, number) in [("sold", "15"), ("held", "6"), ("free", "39")] {
            assert_eq!(page.text(&format!("#{part}")), number);
        }
        assert_eq!(page.text("#bar-words"), words);
        assert_eq!(page.attribute(".parts rect.sold", "width"), "25");
        assert_eq!(page.attribute(".parts rect.held", "x"), "25");
        assert_eq!(page.attribute(".parts rect.held", "width"), "10");
        let takings = page.text("#takings").replace(' ', ",");
        assert_eq!(takings, "22,500");
        for link in ["edit", "cancel", "bookings.csv"] {
            assert!(page.has(&format!("a[href='/admin/events/{id}/{link}']")), "{link}");
        }

        assert_eq!(numbers(&page), [held, paid], "the newest first");
        let rows = page.all("tbody tr[id]");
        let row = |place: usize| rows[place].text().collect::<Vec<_>>().join(" ");
        assert!(row(0).contains("bob") && row(0).contains(states[0]), "{}", row(0));
        assert!(row(1).contains("alice") && row(1).contains(states[1]), "{}", row(1));
        assert_eq!(page.all("[data-countdown]").len(), 1);
        assert_eq!(page.attribute("[data-countdown]", "data-countdown"), "600");
        assert_eq!(page.text("[data-countdown]"), "10:00");
        // What is looked up again is this part of this page.
        assert_eq!(page.attribute("#watch", "hx-get"), page.path);
        assert_eq!(page.attribute("#watch", "hx-select"), "#watch");
        // And a table that somebody has opened stays open.
        assert!(page.attribute("meta[name=htmx-config]", "content").contains(r#""open""#));
        assert!(organiser.open(&format!("/user/bookings/{held}")).has("form[action$=cancel]"));
    }
    site.finish();
}

#[test]
fn bookings_are_shown_page_by_page_and_by_state() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let id = event(&admin, "Green run", 100, 0);
    let mut ids: Vec<i64> = (0..30).map(|_| alice.book(id, 1).id()).collect();
    for booking in &ids[..2] {
        assert_eq!(alice.confirm(id, *booking).status, 200);
    }
    ids.reverse();
    let mut organiser = signed_in(&site, "admin", "en");
    let path = format!("/admin/events/{id}");
    let first = organiser.open(&path);
    assert_eq!(numbers(&first), ids[..25]);
    let second = organiser.open(&first.attribute("a[rel=next]", "href"));
    assert_eq!(numbers(&second), ids[25..]);
    assert!(!second.has("a[rel=next]"));
    assert_eq!(second.attribute("#watch", "hx-get"), second.path);
    // What is booked meanwhile doesn't move what a later page shows.
    let newer = alice.book(id, 1).id();
    assert_eq!(numbers(&organiser.open(&second.path)), ids[25..]);
    assert_eq!(numbers(&organiser.open(&path))[0], newer);
    assert!(second.has(&format!("#watch a[href='{path}']")));

    // Nor, while somebody is in the table, what the first one shows.
    let still = first.attribute("[data-still]", "data-still");
    let page = organiser.open(&still);
    assert_eq!(numbers(&page), ids[..25]);
    assert!(page.text(".two-lines").contains("Newer bookings have come."));
    assert_eq!(page.attribute(".two-lines a", "href"), path);
    assert_eq!(page.attribute("[data-still]", "data-still"), still);
    assert_eq!(page.attribute("[data-still]", "data-again"), path);
    assert!(!first.has(".two-lines a"));
    let none = organiser.open(&format!("{still}&state=paid"));
    assert!(!none.has(".two-lines a"), "what is newer isn't paid");

    let paid = organiser.open(&format!("{path}?state=paid"));
    assert_eq!(numbers(&paid), ids[28..]);
    assert_eq!(paid.text("#watch a[aria-current]"), "Paid");
    let held = organiser.open(&format!("{path}?state=held"));
    let next = organiser.open(&held.attribute("a[rel=next]", "href"));
    assert_eq!(next.path, format!("{path}?state=held&after={}", ids[23]));
    assert_eq!(numbers(&next), ids[24..28]);
    assert_eq!(next.attribute("#watch", "hx-get"), next.path);
    // An expired hold leaves the table at once.
    site.pass(Duration::from_secs(600));
    assert_eq!(numbers(&organiser.open(&path)), ids[28..]);
    assert!(organiser.open(&format!("{path}?state=held")).text("#watch").contains("no such"));
    assert_eq!(organiser.open(&format!("{path}?after=x")).status, 400);
    assert_eq!(organiser.open(&format!("{path}?state=x")).status, 200);
    for path in ["/admin/events/999", "/admin/events/999/bookings.csv"] {
        assert_eq!(organiser.open(path).status, 404);
    }
    site.finish();
}

#[test]
fn a_chart_shows_what_its_journal_tells() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let id = event(&admin, "Green run", 60, 0);
    let minute = Duration::from_secs(60);
    let mut organiser = signed_in(&site, "admin", "en");
    let path = format!("/admin/events/{id}");
    let page = organiser.open(&path);
    assert_eq!(spans(&page), [[0, 0, 0, 0]]);
    assert_eq!((&*page.attribute("path.sold", "d"), &*page.attribute("path.held", "d")), ("", ""));

    let first = alice.book(id, 8).id();
    alice.book(id, 12);
    site.pass(minute);
    assert_eq!(alice.confirm(id, first).status, 200);
    site.pass(2 * minute);
    let cancelled = alice.book(id, 20).id();
    assert_eq!(alice.cancel(cancelled).status, 200);
    let page = organiser.open(&path);
    let told = [[20, 0, 20, 0], [0, 0, 12, 8], [0, 0, 12, 8], [20, 20, 12, 8]];
    assert_eq!(spans(&page), told);
    // The bars: 20 at most, 8 of them sold.
    assert_eq!(top(&page.attribute("path.sold", "d")), 600);
    assert_eq!(top(&page.attribute("path.held", "d")), 0);
    assert!(page.attribute("path.sold", "d").starts_with("M10 1000V600h8V1000z"));
    assert!(page.attribute("path.held", "d").starts_with("M0 1000V0h8V1000zM10 600V0h8V600z"));
    assert_eq!(page.text(".scale"), "20 0");
    let words = page.text("#chart-words");
    assert!(
        words.starts_with("Seats held and sold, from ") && words.ends_with("20 at most, 20 now.")
    );
    let mut russian = signed_in(&site, "admin", "ru");
    assert!(russian.open(&path).text("#chart-words").contains("сейчас 20"));
    // Seven minutes later the second hold has expired.
    site.pass(7 * minute);
    assert_eq!(spans(&organiser.open(&path)).last(), Some(&[0, 12, 0, 8]));
    // Hours later spans are longer, and nothing is lost.
    site.pass(120 * minute);
    let spans = spans(&organiser.open(&path));
    let sums = spans.iter().fold([0; 2], |[booked, back], row| [booked + row[0], back + row[1]]);
    assert_eq!((sums, spans.last()), ([40, 32], Some(&[0, 0, 0, 8])));
    assert!(spans.len() <= 60, "{}", spans.len());
    site.finish();
}

/// Whatever happens in whatever order, the chart ends with the seats that are taken.
#[test]
fn a_chart_ends_with_what_is_occupied() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let id = event(&admin, "Green run", 40, 0);
    let mut organiser = signed_in(&site, "admin", "en");
    let mut dice: u64 = 7;
    let mut throw = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut bookings = Vec::new();
    for _ in 0..25 {
        for _ in 0..4 {
            let chosen = usize::try_from(throw(1 + bookings.len() as u64)).unwrap();
            match (throw(5), bookings.get(chosen)) {
                (0, Some(booking)) => drop(alice.cancel(*booking)),
                (1, Some(booking)) => drop(alice.confirm(id, *booking)),
                (2, _) => site.pass(Duration::from_secs(30 * throw(15))),
                _ => {
                    let booked = alice.book(id, 1 + throw(5).cast_signed());
                    if booked.status == 201 {
                        bookings.push(booked.id());
                    }
                }
            }
        }
        let page = organiser.open(&format!("/admin/events/{id}"));
        let occupied = 40 - admin.event(id)["freeSeats"].as_u64().unwrap();
        let [_, _, held, sold] = *spans(&page).last().unwrap();
        assert_eq!(u64::from(held + sold), occupied);
        let number = |part: &str| page.text(part).parse::<u32>().expect("a number");
        assert_eq!((number("#held"), number("#sold")), (held, sold));
        assert_eq!(u64::from(number("#free")), 40 - occupied);
    }
    assert!(bookings.len() > 20, "something has happened: {}", bookings.len());
    site.finish();
}

#[test]
fn a_cancelled_event_says_how_far_its_release_has_come() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let id = event(&admin, "Green run", 60, 0);
    for _ in 0..2 {
        alice.book(id, 2);
    }
    let mut organiser = signed_in(&site, "admin", "en");
    let path = format!("/admin/events/{id}");
    let mut held = site.hold_next_save();
    let cancelling = {
        let admin = admin.with_session(admin.session());
        std::thread::spawn(move || admin.post(&format!("/events/{id}/cancel"), &json!({})))
    };
    site.until_held(&mut held);
    assert!(!organiser.open(&path).has("#watch .notice"), "it isn't cancelled yet");
    let mut release = site.hold_next_save();
    held.let_go();
    assert_eq!(cancelling.join().unwrap().status, 200);
    site.until_held(&mut release);
    let page = organiser.open(&path);
    assert!(page.text("#watch .notice").ends_with("2 bookings are still to be released."));
    assert_eq!((&*page.text("#free"), &*page.text("#held")), ("0", "4"));
    assert!(!page.has("a[href$='/edit'], a[href$='/cancel']"));
    release.let_go();
    site.pass(Duration::from_secs(1));
    let page = organiser.open(&path);
    assert!(page.text("#watch .notice").ends_with("All its bookings are released."));
    assert_eq!((&*page.text("#free"), &*page.text("#held")), ("0", "0"));
    site.finish();
}

#[test]
fn bookings_are_found_by_number_and_by_owner() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let (id, other) = (event(&admin, "Green run", 60, 0), event(&admin, "Choir", 60, 0));
    let first = alice.book(id, 1).id();
    let elsewhere = alice.book(other, 2).id();
    let bobs = bob.book(id, 3).id();
    let cancelled = bob.book(id, 4).id();
    assert_eq!(bob.cancel(cancelled).status, 200);
    // A login may be a number.
    let numeric = register(&site, &first.to_string()).book(other, 5).id();
    let mut organiser = signed_in(&site, "admin", "en");
    let page = organiser.open(&format!("/admin/events/{id}"));
    let [form] = page.all("main form")[..] else { panic!("one form, for searching") };
    assert_eq!(form.value().attr("action"), Some("/admin/bookings"));
    assert_eq!(page.attribute("main form input[name=event]", "value"), id.to_string());

    let mut look = |query: &str| organiser.open(&format!("/admin/bookings?{query}"));
    assert!(!look("").has("#found p, #found table"), "nobody has asked for anything");
    for query in [format!("q={elsewhere}"), format!("q=%23{elsewhere}+"), format!("q=№{elsewhere}")]
    {
        let query = query.replace('№', "%E2%84%96");
        let page = look(&query);
        assert_eq!(numbers(&page), [elsewhere], "{query}");
        let row = page.text(&format!("#booking-{elsewhere}"));
        assert!(row.contains("Choir") && row.contains("alice") && row.contains("To be confirmed"));
        assert!(page.has(&format!("a[href='/user/bookings/{elsewhere}']")));
    }
    assert_eq!(numbers(&look(&format!("q={first}"))), [first, numeric], "by number, then by login");
    assert_eq!(numbers(&look("q=alice")), [elsewhere, first]);
    assert_eq!(numbers(&look(&format!("q=alice&event={id}"))), [first]);
    assert_eq!(numbers(&look("q=+bob+")), [bobs], "what was cancelled isn't live");
    let page = look(&format!("q={elsewhere}&event={id}"));
    assert_eq!(page.text(".notice"), format!("Booking {elsewhere} is for another event."));
    assert_eq!(numbers(&page), [elsewhere]);
    assert_eq!(page.attribute("input[name=event]", "value"), id.to_string());
    let page = look(&format!("q={cancelled}"));
    assert!(page.text(&format!("#booking-{cancelled}")).contains("Cancelled"));
    for (query, words) in [
        ("q=999", "Nothing was found for “999”."),
        ("q=-5", "Nothing was found for “-5”."),
        ("q=ALICE", "Nothing was found for “ALICE”."),
        ("q=admin", "admin has no bookings that"),
        ("q=%00", "Nothing was found"),
    ] {
        assert!(look(query).text("#found").contains(words), "{query}");
    }
    assert!(look(&format!("q=bob&event={other}")).text("#found").contains("of this event"));
    assert_eq!(look("q=alice&after=x").status, 400);

    // Many of one owner's come page by page.
    for _ in 0..30 {
        alice.book(id, 1);
    }
    let page = look(&format!("q=alice&event={id}"));
    assert_eq!(numbers(&page).len(), 25);
    let next = page.attribute("a[rel=next]", "href");
    assert!(next.contains("event=") && numbers(&organiser.open(&next)).ends_with(&[first]));

    site.pass(Duration::from_secs(600));
    let page = organiser.open(&format!("/admin/bookings?q={first}"));
    assert!(page.text(".notice").contains(&format!("Booking {first} has expired")));
    assert!(numbers(&page).is_empty());
    let mut russian = signed_in(&site, "admin", "ru");
    assert!(russian.open("/admin/bookings?q=999").text("#found").contains("ничего не нашлось"));
    site.finish();
}

#[test]
fn only_organisers_watch() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let id = event(&admin, "Green run", 60, 0);
    let booking = alice.book(id, 1).id();
    let mut attendee = signed_in(&site, "alice", "en");
    let mut stranger = Browser::new(site.client(), "en");
    for path in [
        format!("/admin/events/{id}"),
        format!("/admin/events/{id}/bookings.csv"),
        format!("/admin/bookings?q={booking}"),
        "/admin/events/999".to_owned(),
    ] {
        let refused = attendee.open(&path);
        assert_eq!((refused.status, &*refused.text("h1")), (403, "Not allowed"), "{path}");
        let led = stranger.open(&path).path;
        assert!(led.starts_with("/sign-in?next=%2Fadmin%2F"), "{path}: {led}");
    }
    site.finish();
}

/// Logins, names of events, and what is searched for.
#[test]
fn nothing_that_was_typed_becomes_part_of_an_organisers_page() {
    const EVIL: &str = "</title></svg><script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    const LOGIN: &str = "</td><b>\"'alert(1)</b>";
    let site = Site::start();
    let admin = site.client_of("admin");
    let id = event(&admin, EVIL, 5, 10);
    register(&site, LOGIN).book(id, 1);
    let evil: String = form_urlencoded::byte_serialize(EVIL.as_bytes()).collect();
    let login: String = form_urlencoded::byte_serialize(LOGIN.as_bytes()).collect();
    let mut organiser = signed_in(&site, "admin", "en");
    let mut shown = 0;
    for path in [
        format!("/admin/events/{id}"),
        format!("/admin/events/{id}?state={evil}"),
        format!("/admin/bookings?q={evil}"),
        format!("/admin/bookings?q={evil}&event={id}"),
        format!("/admin/bookings?q={login}&event={id}"),
        format!("/admin/bookings?q={login}&event={evil}"),
    ] {
        let page = organiser.open(&path);
        assert_eq!(page.status, 200);
        if path.contains(&login) {
            assert!(page.text("tbody").contains(LOGIN), "{path}");
        }
        let text = String::from_utf8(page.answer.body).unwrap();
        let breaks_out = ["<img", "<script>", "<b>", "</title></svg>"];
        assert!(!breaks_out.iter().any(|markup| text.contains(markup)), "{text}");
        shown += text.matches("alert(1)").count();
    }
    assert!(shown > 10, "it was shown, {shown} times");
    site.finish();
}

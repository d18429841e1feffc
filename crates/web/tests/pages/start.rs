//! The start page, what it loads, and the language it speaks.

use std::time::Duration;

use eventbooker_testkit::Options;
use eventbooker_testkit::client::Client;
use eventbooker_web::{DemoUser, WebSettings};
use serde_json::json;

use crate::browser::Browser;
use crate::site::Site;

const DEMO_USERS: [DemoUser; 1] =
    [DemoUser { login: "alice", password: eventbooker_testkit::client::PASSWORD }];

pub fn demo() -> Site {
    let mut options = Options::default();
    options.settings.users_may_deposit = true;
    Site::with(options, WebSettings { demo_users: &DEMO_USERS, ..WebSettings::default() })
}

pub fn event(admin: &Client, name: &str, capacity: i64, price: i64) -> i64 {
    let event = json!({"name": name, "date": "2090-05-01T18:00:00Z", "capacity": capacity,
                       "price": price, "paymentTTL": 10, "description": name});
    let answer = admin.post("/events", &event);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.id()
}

#[test]
fn the_start_page_shows_what_lies_ahead_in_either_language() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let soon = json!({"name": "Over by then", "date": "2026-02-01T00:00:00Z", "capacity": 2,
                      "paymentTTL": 1});
    admin.post("/events", &soon);
    let id = event(&admin, "Green run", 60, 1500);
    assert_eq!(alice.book(id, 39).status, 201);
    for (language, seats, price, when) in [
        ("en", "Seats left: 21 of 60", "1,500 per seat", "1 May 2090, 18:00 UTC"),
        ("ru", "Свободно мест: 21 из 60", "1 500 за место", "1 мая 2090 г., 18:00 UTC"),
    ] {
        let mut browser = Browser::new(site.client(), language);
        let page = browser.open("/");
        assert_eq!(page.status, 200);
        assert_eq!(page.attribute("html", "lang"), language);
        assert_eq!(page.text("#upcoming h3"), "Over by then Green run");
        let card = page.text("#upcoming li:last-child");
        assert!(card.contains(seats) && card.contains(price) && card.contains(when), "{card}");
        assert_eq!(page.attribute("#upcoming li:last-child rect", "width"), "65");
        assert_eq!(
            page.attribute("#upcoming li:last-child time", "datetime"),
            "2090-05-01T18:00:00Z"
        );
        assert!(page.has("a[href='/sign-in']") && page.has("a[href='/sign-up']"));
        assert!(!page.has("form[action='/sign-in']"), "this is no demo");

        let part = browser.open(&page.attribute("#upcoming", "hx-get"));
        assert_eq!(part.text("#upcoming"), page.text("#upcoming"));
        assert!(part.answer.body.len() < page.answer.body.len());
    }
    // What has begun isn't ahead any more.
    site.pass(Duration::from_secs(60 * 24 * 3600));
    let page = Browser::new(site.client(), "en").open("/");
    assert_eq!(page.text("#upcoming h3"), "Green run");
    site.finish();
}

#[test]
fn a_page_without_events_says_so() {
    let site = Site::start();
    let page = Browser::new(site.client(), "en").open("/");
    assert_eq!(page.text("#upcoming"), "There are no upcoming events.");
    site.finish();
}

/// Fewer bytes than many a single picture has.
#[test]
fn the_start_page_and_all_that_it_loads_is_small_and_kept_for_a_year() {
    let site = demo();
    let admin = site.client_of("admin");
    for number in 0..12 {
        event(&admin, &format!("Event number {number}, with a name of some length"), 500, 900);
    }
    let page = Browser::new(site.client(), "ru").open("/");
    let mut bytes = page.answer.body.len();
    // The style sheet stands in it, so that it can be used before anything else has arrived.
    assert_eq!((page.all("link[href], script[src]").len(), page.all("head > style").len()), (3, 1));
    let page = Browser::new(site.client(), "ru").open("/sign-in");
    let assets = page.all("link[href], script[src]");
    assert_eq!((assets.len(), page.all("style").len()), (4, 0));
    for asset in assets {
        let path = asset.value().attr("src").or(asset.value().attr("href")).expect("an address");
        let packed = site.client().ask("GET", path).header("Accept-Encoding", "br, gzip").answer();
        assert_eq!(packed.status, 200, "{path}");
        assert_eq!(packed.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert_eq!(packed.header("vary"), Some("accept-encoding"));
        let kind = packed.header("content-type").expect("a kind").to_owned();
        bytes += packed.body.len();
        for coding in ["", "gzip;q=0", "br"] {
            let plain = site.client().ask("GET", path).header("Accept-Encoding", coding).answer();
            assert_eq!(plain.header("content-encoding"), None);
            assert_eq!(plain.header("content-type"), Some(&*kind));
            assert!(plain.body.len() > packed.body.len());
        }
        // Another version's page may ask; nobody keeps the answer.
        let (before, extension) = path.rsplit_once('.').expect("an extension");
        let (stem, _) = before.rsplit_once('.').expect("a hash");
        let other = site.client().get(&format!("{stem}.0123456789abcdef.{extension}"));
        assert_eq!((other.status, other.header("cache-control")), (200, Some("no-cache")));
    }
    assert!(bytes < 60 * 1024, "{bytes} bytes");
    for path in ["/assets/nothing.js", "/assets/app.js", "/assets/%FF", "/assets/htmx.LICENSE"] {
        site.client().get(path).problem(404, "not-found");
    }
    site.finish();
}

#[test]
fn the_language_can_be_switched_and_one_is_led_back() {
    let site = Site::start();
    let mut browser = Browser::new(site.client(), "en-GB,en;q=0.9");
    let page = browser.open("/sign-in?next=%2Fuser%2Fbookings");
    assert_eq!(page.text("h1"), "Sign in");
    let page = browser.submit(&page, "/language", &[("language", "ru")]);
    assert_eq!(page.path, "/sign-in?next=%2Fuser%2Fbookings");
    assert_eq!(page.text("h1"), "Войти");
    assert_eq!(page.attribute("button[value=ru]", "aria-pressed"), "true");
    let page = browser.submit(&page, "/language", &[("language", "en")]);
    assert_eq!(page.text("h1"), "Sign in");
    // Nobody is led elsewhere, and what isn't spoken changes nothing.
    for back in ["//evil.example/", "https://evil.example/", "/\\evil.example"] {
        let page = browser.submit(&page, "/language", &[("language", "xx"), ("back", back)]);
        assert_eq!((&*page.path, &*page.attribute("html", "lang")), ("/", "en"));
    }
    site.finish();
}

#[test]
fn failures_are_pages_for_browsers_and_problems_for_programs() {
    let site = Site::start();
    for (language, title) in [("en", "Nothing here"), ("ru", "Здесь ничего нет")] {
        let mut browser = Browser::new(site.client(), language);
        for path in ["/nothing", "/events/999", "/problems/nothing", "/assets/nothing.css"] {
            let page = browser.open(path);
            assert_eq!((page.status, &*page.text("h1")), (404, title), "{path}");
            site.client().get(path).problem(404, "not-found");
        }
        let page = browser.open("/bookings");
        assert_eq!(page.status, 401);
        assert!(page.has("a[href='/sign-in']"));
        assert!(!browser.open("/nothing").has(".who"), "whether somebody is signed in isn't known");
    }
    // A form from another site.
    let forged = site
        .client()
        .ask("POST", "/sign-in")
        .header("Accept", "text/html")
        .header("Origin", "https://evil.example")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(b"login=alice")
        .answer();
    assert_eq!(
        (forged.status, forged.header("content-type")),
        (403, Some("text/html; charset=utf-8"))
    );
    let not_a_form = site.client().post("/sign-in", &json!({"login": "alice"}));
    not_a_form.problem(415, "unsupported-media-type");
    site.finish();
}

//! What organisers look through: events, users, and what can be done with one user.

use eventbooker_testkit::client::Client;
use serde_json::json;

use crate::booking::signed_in;
use crate::browser::{Browser, Page};
use crate::site::{ALICE_ID, Site};
use crate::start::event;

fn names(page: &Page) -> Vec<String> {
    let names = page.all("#found h2").into_iter();
    names.map(|name| name.text().collect::<String>()).collect()
}

#[test]
fn events_are_listed_soonest_first_and_past_ones_when_asked_for() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let soon = json!({"name": "Over by then", "date": "2026-02-01T00:00:00Z", "capacity": 2,
                      "paymentTTL": 1});
    assert_eq!(admin.post("/events", &soon).status, 201);
    let undated = json!({"event_name": "Some day", "price": 5, "total_slots": 3});
    assert_eq!(admin.post("/events/create", &undated).status, 200);
    let run = event(&admin, "Green run", 60, 1500);
    assert_eq!(alice.book(run, 39).status, 201);
    let off = event(&admin, "Rained off", 5, 0);
    assert_eq!(admin.post(&format!("/events/{off}/cancel"), &json!({})).status, 200);
    let mut browser = signed_in(&site, "admin", "en");
    let page = browser.open("/admin");
    assert_eq!(names(&page), ["Over by then", "Green run", "Rained off", "Some day"]);
    let card = page.text(&format!("#event-{run}"));
    for words in ["1 May 2090", "Seats left: 21 of 60", "to be paid: 1", "Paid bookings: 0"] {
        assert!(card.contains(words), "{card}");
    }
    assert_eq!(page.attribute(&format!("#event-{run} rect"), "width"), "65");
    for way in ["", "/edit", "/cancel"] {
        assert!(page.has(&format!("#event-{run} a[href='/admin/events/{run}{way}']")));
    }
    let card = page.text(&format!("#event-{off}"));
    assert!(card.contains("Cancelled") && card.contains("none of its bookings is left"), "{card}");
    for link in ["/admin/events/new", "/admin/users", "/admin/checks"] {
        assert!(page.has(&format!("a[href='{link}']")), "{link}");
    }
    assert!(page.has("form[action='/admin/bookings'] input[name=q]"));
    assert!(page.text("#count").starts_with("4 events"));

    site.pass(std::time::Duration::from_secs(60 * 24 * 3600));
    let mut browser = signed_in(&site, "admin", "en");
    let page = browser.open("/admin");
    assert_eq!(names(&page), ["Green run", "Rained off", "Some day"]);
    let page = browser.open(&page.attribute("a[href^='/admin?all']", "href"));
    assert_eq!(names(&page), ["Over by then", "Green run", "Rained off", "Some day"]);
    assert!(page.text("#found li:first-child").contains("Has begun"));
    assert!(page.has("a[href='/admin']"));
    assert_eq!(browser.open("/admin/").path, "/admin");
    site.finish();
}

#[test]
fn events_are_found_page_by_page() {
    let site = Site::start();
    let admin = site.client_of("admin");
    for number in 1..=26 {
        event(&admin, &format!("Run {number:02} & more"), 5, 0);
    }
    event(&admin, "Choir", 5, 0);
    let mut browser = signed_in(&site, "admin", "ru");
    for all in ["", "&all=1"] {
        let page = browser.open(&format!("/admin?q=run{all}"));
        assert_eq!(names(&page).len(), 24);
        assert_eq!(page.text("#count"), "24 мероприятия на этой странице");
        let next = browser.open(&page.attribute("a[rel=next]", "href"));
        assert_eq!(names(&next), ["Run 25 & more", "Run 26 & more"]);
        assert!(!next.has("a[rel=next]"));
        assert_eq!(next.value("#q"), "run");
        assert_eq!(next.has("input[name=all]"), !all.is_empty());
        // What looks again looks for the same.
        let again = browser.open(&next.attribute("#found [hx-get]", "hx-get"));
        assert_eq!(names(&again), names(&next));
    }
    assert_eq!(browser.open("/admin?q=opera").text("#count"), "0 мероприятий на этой странице");
    assert_eq!(browser.open("/admin?after=x").status, 400);
    site.finish();
}

fn user_path(id: i64) -> String {
    format!("/admin/users/{id}")
}

#[test]
fn users_are_listed_page_by_page_and_found_by_login() {
    let site = Site::start();
    for number in 1..=50 {
        let user = json!({"login": format!("guest{number}"), "password": "long enough",
                          "email": "", "first_name": "Vera", "last_name": ""});
        assert_eq!(site.client().post("/register", &user).status, 200);
    }
    let mut browser = signed_in(&site, "admin", "en");
    let page = browser.open("/admin/users");
    assert_eq!(page.all("tbody tr").len(), 50);
    assert_eq!(page.text("tbody tr:first-child"), "1 admin Zoë Grün Admin");
    assert_eq!(page.text("tbody tr:nth-child(2)"), "2 alice Zoë Grün User");
    let page = browser.open(&page.attribute("a[rel=next]", "href"));
    assert_eq!(
        page.text("tbody"),
        "51 guest48 Vera User 52 guest49 Vera User 53 guest50 Vera User"
    );
    assert!(!page.has("a[rel=next]"));
    let none = browser.open("/admin/users?after=53");
    assert!(none.text("main").contains("There are no more users.") && !none.has("table"));
    for (search, found) in
        [("alice", true), ("%20alice%20", true), ("Alice", false), ("ali", false)]
    {
        let page = browser.open(&format!("/admin/users?q={search}"));
        assert_eq!(page.has("tbody tr"), found, "{search}");
        assert_eq!(page.text("main").contains("There is no user"), !found);
    }
    assert_eq!(browser.open("/admin/users?after=x").status, 400);
    assert_eq!(browser.open("/admin/users/").path, "/admin/users");
    let page = browser.open(&user_path(ALICE_ID));
    assert_eq!(page.text("h1"), "alice");
    assert!(page.text(".facts").contains("alice@example.org"));
    assert!(page.has("a[href='/admin/bookings?q=alice']"));
    for nobody in ["999", "0", "-1", "-9223372036854775808", "9223372036854775807"] {
        let path = format!("/admin/users/{nobody}");
        assert_eq!(browser.open(&path).status, 404, "{nobody}");
        for (form, field) in [("deposit", "delta=5"), ("role", "role=admin")] {
            let answer = browser.send("POST", &format!("{path}/{form}"), Some(field));
            assert_eq!(answer.status, 404, "{nobody}");
        }
    }
    assert_eq!(browser.open("/admin/users/x").status, 400);
    site.finish();
}

#[test]
fn a_role_is_given_and_taken_and_its_bearer_signs_in_again() {
    let site = Site::start();
    for (language, admin, user) in
        [("en", "Admin", "User"), ("ru", "Администратор", "Пользователь")]
    {
        let mut browser = signed_in(&site, "admin", language);
        let mut alice = signed_in(&site, "alice", language);
        assert_eq!(alice.open("/admin").status, 403);
        let path = user_path(ALICE_ID);
        let action = format!("{path}/role");
        let page = browser.open(&path);
        let form = page.form(&action, &[]);
        let page = browser.submit(&page, &action, &[]);
        assert_eq!((page.status, &*page.path, &*page.text(".tag")), (200, &*path, admin));
        assert!(alice.open("/user").path.starts_with("/sign-in"), "alice has to sign in again");
        assert_eq!(signed_in(&site, "alice", language).open("/admin").status, 200);
        // A double click gives what was given.
        assert_eq!(browser.send("POST", &action, Some(&form)).status, 303);
        assert_eq!(browser.open(&path).text(".tag"), admin);
        let page = browser.submit(&page, &action, &[]);
        assert_eq!(page.text(".tag"), user);
        assert_eq!(signed_in(&site, "alice", language).open("/admin").status, 403);
        for role in ["", "king"] {
            let page = browser.submit(&page, &action, &[("role", role)]);
            assert_eq!((page.status, page.has("#role-wrong")), (422, true));
        }
    }
    site.finish();
}

#[test]
fn nobody_takes_their_own_role_away() {
    let site = Site::start();
    let mut browser = signed_in(&site, "admin", "en");
    let page = browser.open("/admin/users/1");
    assert!(!page.has("form[action='/admin/users/1/role']"));
    assert!(page.text("main").contains("only be changed by another admin"));
    let refused = browser.send("POST", "/admin/users/1/role", Some("role=user"));
    assert_eq!(refused.status, 422);
    assert!(String::from_utf8_lossy(&refused.body).contains("id=\"role-wrong\""));
    assert_eq!(browser.open("/admin").status, 200, "still an admin, and signed in");
    site.finish();
}

#[test]
fn an_organiser_pays_in_for_a_user_once() {
    let site = Site::start();
    let alice: Client = site.client_of("alice");
    let mut browser: Browser = signed_in(&site, "admin", "en");
    let path = user_path(ALICE_ID);
    let action = format!("{path}/deposit");
    let mut page = browser.open(&path);
    assert_eq!(page.text(".lead"), "0");
    for typed in ["0", "-5", "much", "", "99999999999999999999"] {
        page = browser.submit(&page, &action, &[("delta", typed)]);
        assert_eq!(page.status, 422, "{typed}");
        assert!(page.text("#delta-wrong").contains("above 0"));
        assert_eq!(
            (&*page.value("#delta"), &*page.attribute("#delta", "aria-invalid")),
            (typed, "true")
        );
    }
    let form = page.form(&action, &[("delta", "1500")]);
    for _ in 0..3 {
        let answer = browser.send("POST", &action, Some(&form));
        assert_eq!((answer.status, answer.header("location")), (303, Some(&*path)));
    }
    assert_eq!(alice.balance(), 1500, "paid in once");
    assert_eq!(browser.open(&path).text(".lead"), "1,500");
    // The same form with another amount is another wish, and has to be looked at again.
    let refused = browser.submit(&page, &action, &[("delta", "20")]);
    assert_eq!((refused.status, refused.text("#delta-wrong").contains("sent before")), (422, true));
    browser.submit(&refused, &action, &[]);
    assert_eq!(alice.balance(), 1520);
    let page = browser.submit(&page, &action, &[("delta", &i64::MAX.to_string())]);
    assert_eq!(page.status, 422);
    assert_eq!(alice.balance(), 1520);
    site.finish();
}

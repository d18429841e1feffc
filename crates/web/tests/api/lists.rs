//! Lists: order, limit, what follows, search.

use eventbooker_testkit::client::{Answer, Client};
use serde_json::json;

use crate::site::Site;

fn create(admin: &Client, name: &str, date: &str) -> i64 {
    let event = json!({"name": name, "date": date, "capacity": 9, "paymentTTL": 30});
    admin.post("/events", &event).id()
}

/// The path of the next page, if there is one.
pub fn next(answer: &Answer) -> Option<String> {
    let link = answer.header("link")?;
    let path = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    Some(path.unwrap_or_else(|| panic!("{link}")).to_owned())
}

/// The pages that the links lead to, from this one on.
pub fn pages(client: &Client, first: &str) -> Vec<Vec<i64>> {
    let mut pages = Vec::new();
    let mut path = Some(first.to_owned());
    while let Some(at) = path {
        let answer = client.get(&at);
        pages.push(answer.ids());
        path = next(&answer);
        assert!(pages.len() < 10, "the links run in a circle");
    }
    pages
}

#[test]
fn events_come_soonest_first_in_pages() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let last = create(&admin, "Night run", "2027-03-01T00:00:00Z");
    let first = create(&admin, "Green run", "2026-02-01T00:00:00Z");
    let same_time = create(&admin, "Choir & orchestra", "2026-02-01T00:00:00Z");
    let middle = create(&admin, "RUN 100%", "2026-08-01T00:00:00Z");
    let anybody = site.client();
    assert_eq!(pages(&anybody, "/events"), [[first, same_time, middle, last]]);
    assert_eq!(pages(&anybody, "/events?limit=4"), [[first, same_time, middle, last]]);
    assert_eq!(
        pages(&anybody, "/events?limit=3"),
        [vec![first, same_time, middle], vec![last]],
        "a page says that there is more only if there is"
    );
    assert_eq!(pages(&anybody, "/events?limit=2"), [[first, same_time], [middle, last]]);
    assert_eq!(pages(&anybody, &format!("/events?after={middle}")), [[last]]);

    // The search goes on in the next page, and its text is no pattern.
    assert_eq!(pages(&anybody, "/events?limit=1&q=run"), [[first], [middle], [last]]);
    assert_eq!(pages(&anybody, "/events?q=choir+%26"), [[same_time]]);
    assert_eq!(pages(&anybody, "/events?q=100%25"), [[middle]]);
    assert_eq!(pages(&anybody, "/events?q=%25"), [[middle]]);
    assert_eq!(pages(&anybody, "/events?q=_"), [[0_i64; 0]]);
    assert_eq!(pages(&anybody, "/events?q=").len(), 1);
    site.finish();
}

/// Anybody may ask for lists, so what a page can take is bounded.
#[test]
fn a_page_is_small() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let event = admin.create_event(9, 0, 30);
    for (path, max) in [
        ("/events", 200),
        ("/bookings", 200),
        (&format!("/events/{event}/bookings"), 200),
        ("/events/get", 1000),
        ("/book/get", 1000),
        ("/account/history", 200),
    ] {
        assert_eq!(admin.get(&format!("{path}?limit={max}")).status, 200);
        let refused = admin.get(&format!("{path}?limit={}", max + 1));
        refused.problem_of_fields(400, "invalid-value", &["limit"]);
    }
    let openapi = admin.get("/openapi.json").json();
    for (path, max) in [
        ("/events", 200),
        ("/bookings", 200),
        ("/events/{id}/bookings", 200),
        ("/events/get", 1000),
        ("/book/get", 1000),
        ("/account/history", 200),
    ] {
        let parameters = openapi["paths"][path]["get"]["parameters"].as_array().expect("a list");
        let limit = parameters.iter().find(|one| one["name"] == "limit").expect("a limit");
        assert_eq!(limit["schema"]["maximum"], max, "{path}");
    }
    site.finish();
}

#[test]
fn bookings_come_newest_first_in_pages() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let event = admin.create_event(100, 0, 30);
    let other = admin.create_event(100, 0, 30);
    let one = alice.book(event, 1).id();
    let elsewhere = alice.book(other, 1).id();
    let foreign = bob.book(event, 1).id();
    let two = alice.book(event, 1).id();
    let three = alice.book(event, 1).id();
    alice.confirm(event, two);
    let of_event = format!("/events/{event}/bookings");
    assert_eq!(alice.get("/bookings").ids(), [three, two, elsewhere, one]);
    assert_eq!(alice.get(&of_event).ids(), [three, two, one]);
    assert_eq!(admin.get(&of_event).ids(), [three, two, foreign, one]);
    assert_eq!(admin.get("/bookings").ids(), [0_i64; 0]);
    let in_pages = |client: &Client, path: &str| pages(client, path).concat();
    assert_eq!(in_pages(&alice, "/bookings?limit=1"), [three, two, elsewhere, one]);
    assert_eq!(in_pages(&alice, &format!("{of_event}?limit=2")), [three, two, one]);
    assert_eq!(in_pages(&admin, &format!("{of_event}?limit=2")), [three, two, foreign, one]);

    alice.cancel(three);
    assert_eq!(alice.get("/bookings").ids(), [two, elsewhere, one], "cancelled is not live");
    site.client().get("/bookings").problem(401, "unauthenticated");
    site.client().get(&of_event).problem(401, "unauthenticated");
    alice.get(&format!("/events/{}/bookings", other + 1)).problem(404, "not-found");
    site.finish();
}

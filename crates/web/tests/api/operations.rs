//! What operators' machines are told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::site::Site;

const FIRST_RECOUNT: Duration = Duration::from_secs(10 * 60);
const NEXT_RECOUNT: Duration = Duration::from_secs(24 * 3600);

/// What `/ready` says when the next recount is over, which rests between its pages.
fn ready_after_recount(site: &Site, due: Duration) -> Value {
    let ready = || {
        let answer = site.client().get("/ready");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let before = ready();
    site.pass(due);
    for _ in 0..100 {
        site.pass(Duration::from_millis(1));
        let after = ready();
        if after != before {
            return after;
        }
    }
    panic!("no recount has ended");
}

#[test]
fn ready_tells_when_the_rows_were_recounted_and_how_much_does_not_add_up() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let event = admin.create_event(10, 0, 7 * 24 * 60);
    assert_eq!(alice.book(event, 2).status, 201);
    assert_eq!(site.client().get("/ready").json(), json!({"status": "ready"}), "none has run");

    let sound = ready_after_recount(&site, FIRST_RECOUNT);
    assert_eq!(
        sound,
        json!({"status": "ready", "recount": {"at": "2026-01-01T00:10:00Z", "findings": 0}})
    );

    let database = site.database();
    assert_eq!(database.change("UPDATE tallies SET occupied = occupied + 1", ()), 1);
    let damaged = ready_after_recount(&site, NEXT_RECOUNT);
    assert_eq!(damaged["status"], "ready", "sound rows can still be used");
    assert_eq!(damaged["recount"]["findings"], 1);
    assert_eq!(alice.book(event, 1).status, 201);

    assert_eq!(database.change("UPDATE tallies SET occupied = occupied - 1", ()), 1);
    assert_eq!(ready_after_recount(&site, NEXT_RECOUNT)["recount"]["findings"], 0);
    site.finish();
}

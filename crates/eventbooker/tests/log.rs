//! What the service says about itself, and what it never says.

#![allow(missing_docs, reason = "a test")]

use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::Installation;
use serde_json::json;

const MARK: &str = "mark-me-not";

/// A driver logs what it asks, if it is let.
#[test]
fn what_people_tell_is_not_logged_however_much_is() {
    let program = env!("CARGO_BIN_EXE_eventbooker");
    let installation = Installation::on(program, Database::postgres());
    for log in ["debug", "info,tokio_postgres::query=debug"] {
        let server = installation.serve(&["--log", log]);
        let body = json!({
            "login": format!("{MARK}-{}", log.len()), "password": MARK, "first_name": MARK,
            "last_name": MARK, "email": format!("{MARK}@example.org"),
        });
        assert_eq!(server.client().post("/register", &body).status, 200);
        server.begin_stop();
        let logged = server.stopped();
        assert!(!logged.contains(MARK), "{logged}");
    }
}

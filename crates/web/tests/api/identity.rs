//! Users and sessions: register, sign in, sign out, and who may do what.

use std::time::Duration;

use eventbooker_testkit::client::{Answer, Client, PASSWORD};
use eventbooker_testkit::clock::just_before;
use serde_json::{Value, json};

use crate::site::{ALICE_ID, Site};

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

pub fn credentials(login: &str, password: &str) -> Value {
    json!({"login": login, "password": password})
}

pub fn profile(login: &str) -> Value {
    json!({"login": login, "password": PASSWORD, "email": "c@example.org",
           "first_name": "Carol", "last_name": "C"})
}

fn is_signed_in(client: &Client) -> bool {
    let answer = client.get("/auth");
    if answer.status == 200 {
        return true;
    }
    answer.problem(401, "unauthenticated");
    false
}

/// The attributes of the cookie that an answer sets, and its value.
fn cookie(answer: &Answer) -> (String, Vec<String>) {
    let header = answer.header("set-cookie").expect("it sets a cookie");
    let mut parts = header.split("; ").map(str::to_owned);
    let value = parts.next().unwrap().strip_prefix("session_id=").expect("its name").to_owned();
    (value, parts.collect())
}

#[test]
fn a_user_registers_and_signs_in_and_out() {
    let site = Site::start();
    let nobody = site.client();
    assert!(!is_signed_in(&nobody));
    let registered = nobody.post("/register", &profile("carol"));
    assert_eq!((registered.status, registered.json()), (200, json!({"id": 4})));
    nobody.post("/register", &profile("carol")).problem(409, "login-taken");
    assert_eq!(nobody.post("/register", &profile("Carol")).status, 200, "case matters");

    for method in ["GET", "POST"] {
        let signed_in = nobody.post("/login", &credentials("carol", PASSWORD));
        assert_eq!((signed_in.status, signed_in.json()), (200, json!({"status": "ok"})));
        let carol = nobody.with_session(signed_in.session().as_deref());
        assert!(is_signed_in(&carol));
        let signed_out = carol.ask(method, "/logout").answer();
        assert_eq!((signed_out.status, signed_out.json()), (200, json!({"status": "ok"})));
        assert!(!is_signed_in(&carol), "the session has ended on the server");
        let (value, attributes) = cookie(&signed_out);
        assert_eq!(value, "");
        assert!(attributes.contains(&"Max-Age=0".to_owned()), "{attributes:?}");
        assert_eq!(carol.ask(method, "/logout").answer().status, 200, "twice is once");
    }
    site.finish();
}

#[test]
fn a_profile_that_breaks_rules_is_told_every_one() {
    let site = Site::start();
    let bad = json!({"login": "a b", "password": "short", "email": "nowhere",
                     "first_name": "\u{7}", "last_name": "x".repeat(101)});
    site.client().post("/register", &bad).problem_of_fields(
        422,
        "validation-failed",
        &["login", "email", "first_name", "last_name", "password"],
    );
    let unreadable = json!({"login": 1, "role": "admin"});
    site.client().post("/register", &unreadable).problem_of_fields(
        400,
        "invalid-value",
        &["login", "email", "first_name", "last_name", "password", "role"],
    );
    assert_eq!(site.database().number("SELECT count(*) FROM users"), 3);
    site.finish();
}

#[test]
fn a_proxy_learns_who_asks() {
    let site = Site::start();
    let answer = site.client_of("alice").get("/auth");
    let told = |name: &str| {
        let value = answer.headers.get(name).unwrap_or_else(|| panic!("no {name}"));
        String::from_utf8(value.as_bytes().to_vec()).expect("UTF-8")
    };
    assert_eq!(told("x-user-id"), ALICE_ID.to_string());
    assert_eq!(told("x-user"), "alice");
    assert_eq!(told("x-email"), "alice@example.org");
    assert_eq!(told("x-first-name"), "Zoë");
    assert_eq!(told("x-last-name"), "Grün");
    assert_eq!(
        answer.json(),
        json!({"id": ALICE_ID, "login": "alice", "email": "alice@example.org",
               "first_name": "Zoë", "last_name": "Grün", "role": "user"})
    );
    assert_eq!(site.client_of("admin").get("/auth").json()["role"], "admin");
    site.finish();
}

#[test]
fn the_cookie_is_for_this_site_and_no_script() {
    let site = Site::start();
    let plain = site.client().post("/login", &credentials("alice", PASSWORD));
    let (value, attributes) = cookie(&plain);
    assert!(value.len() >= 32, "a token that nobody guesses: {value}");
    assert_eq!(attributes, ["Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Lax"]);
    let over_tls = site
        .client()
        .ask("POST", "/login")
        .header("X-Forwarded-Proto", "https")
        .json(&credentials("alice", PASSWORD))
        .answer();
    let (other, attributes) = cookie(&over_tls);
    assert_eq!(attributes, ["Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Lax", "Secure"]);
    assert_ne!(value, other);
    let kept = site.database().numbers("SELECT length(token_digest) FROM sessions");
    assert_eq!(kept, [32, 32], "only digests are kept");
    site.finish();
}

#[test]
fn signing_in_renews_the_session() {
    let site = Site::start();
    let first = site.client_of("alice");
    let elsewhere = site.client_of("alice");
    let second = first.post("/login", &credentials("alice", PASSWORD));
    let second = first.with_session(second.session().as_deref());
    assert!(is_signed_in(&second));
    assert!(!is_signed_in(&first), "the session that it replaced is dead");
    assert!(is_signed_in(&elsewhere), "others go on");

    // Somebody planted a cookie in the browser and waits for its owner to sign in.
    let fixed = site.client().with_session(Some("fixed"));
    let answer = fixed.post("/login", &credentials("alice", PASSWORD));
    assert_ne!(answer.session().as_deref(), Some("fixed"));
    assert!(!is_signed_in(&fixed), "the planted cookie was not taken over");

    // A failed sign-in ends nothing.
    second.post("/login", &credentials("alice", "wrong password")).problem(401, "unauthenticated");
    assert!(is_signed_in(&second));
    site.finish();
}

#[test]
fn a_session_ends_by_itself() {
    let site = Site::start();
    let alice = site.client_of("alice");
    site.pass(just_before(WEEK));
    assert!(is_signed_in(&alice));
    site.pass(Duration::from_secs(3600));
    assert!(!is_signed_in(&alice));
    assert_eq!(site.database().number("SELECT count(*) FROM sessions"), 0);
    site.finish();
}

#[test]
fn another_site_can_neither_sign_out_nor_change_anything() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let foreign = [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "https://elsewhere.example"),
        ("Origin", "null"),
    ];
    let event =
        json!({"name": "n", "date": "2090-05-01T18:00:00Z", "capacity": 2, "paymentTTL": 1});
    for (name, value) in foreign {
        for path in ["/events", "/login", "/register", "/logout", "/bookings/1/cancel"] {
            let refused = admin.ask("POST", path).header(name, value).json(&event).answer();
            refused.problem(403, "cross-site");
        }
        let ignored = admin.ask("GET", "/logout").header(name, value).answer();
        assert_eq!((ignored.status, ignored.header("set-cookie")), (200, None));
    }
    let linked =
        admin.ask("GET", "/logout").header("Referer", "https://elsewhere.example/").answer();
    assert_eq!((linked.status, linked.header("set-cookie")), (200, None));
    assert!(is_signed_in(&admin));
    assert_eq!(admin.get("/events").json(), json!([]));

    let own = site.client().base().to_owned();
    for (name, value) in [("Sec-Fetch-Site", "same-origin"), ("Origin", &*own)] {
        assert_eq!(
            admin.ask("POST", "/events").header(name, value).json(&event).answer().status,
            201
        );
    }
    assert_eq!(
        admin.ask("GET", "/logout").header("Referer", &format!("{own}/user")).answer().status,
        200
    );
    assert!(!is_signed_in(&admin), "an own link signs out");
    site.finish();
}

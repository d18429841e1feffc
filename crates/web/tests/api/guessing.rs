//! How often one may guess, and what can be learned from it.

use std::time::Duration;

use eventbooker_testkit::Options;
use eventbooker_testkit::client::{Answer, Ask, Client, PASSWORD};
use eventbooker_testkit::clock::{MOMENT, just_before};
use eventbooker_web::WebSettings;

use crate::identity::{credentials, profile};
use crate::site::Site;

fn guess(client: &Client, login: &str) -> Answer {
    client.post("/login", &credentials(login, "wrong password"))
}

/// How long an answer that is over a rate limit says to wait.
pub fn limited(answer: &Answer) -> Duration {
    answer.problem(429, "rate-limited");
    let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.expect("seconds"))
}

/// The address that a proxy says a request came from.
fn from_address<'a>(client: &'a Client, path: &str, address: &str) -> Ask<'a> {
    client.ask("POST", path).header("X-Forwarded-For", address)
}

#[test]
fn a_wrong_password_and_an_unknown_login_look_the_same() {
    let site = Site::start();
    let wrong = guess(&site.client(), "alice");
    let unknown = guess(&site.client(), "nobody");
    wrong.problem(401, "unauthenticated");
    assert_eq!(wrong.body, unknown.body);
    let headers = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.remove("date");
        headers.remove("traceparent");
        headers
    };
    assert_eq!(headers(&wrong), headers(&unknown));
    let long = site.client().post("/login", &credentials(&"x".repeat(1000), &"y".repeat(5000)));
    assert_eq!(long.body, unknown.body, "nor can it be seen how long a login may be");
    site.finish();
}

#[test]
fn failed_sign_ins_with_one_login_are_limited() {
    let settings = WebSettings { failed_sign_ins_per_login: 3, ..WebSettings::default() };
    let site = Site::with(Options::default(), settings);
    let client = site.client();
    for _ in 0..5 {
        assert_eq!(client.post("/login", &credentials("alice", PASSWORD)).status, 200);
    }
    for _ in 0..3 {
        guess(&client, "alice").problem(401, "unauthenticated");
    }
    let wait = limited(&guess(&client, "alice"));
    assert_eq!(wait, Duration::from_secs(20), "a third of a minute for one more");
    // Nor does the right password help a guesser who has run out of guesses.
    limited(&client.post("/login", &credentials("alice", PASSWORD)));
    guess(&client, "bob").problem(401, "unauthenticated");
    // An unknown login is limited as a known one is.
    for _ in 0..3 {
        guess(&client, "nobody").problem(401, "unauthenticated");
    }
    assert_eq!(limited(&guess(&client, "nobody")), wait);

    site.pass(just_before(wait));
    limited(&guess(&client, "alice"));
    site.pass(MOMENT);
    assert_eq!(client.post("/login", &credentials("alice", PASSWORD)).status, 200);
    guess(&client, "alice").problem(401, "unauthenticated");
    limited(&guess(&client, "alice"));
    site.finish();
}

#[test]
fn failed_sign_ins_from_one_address_are_limited() {
    let settings = WebSettings {
        failed_sign_ins_per_address: 3,
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        ..WebSettings::default()
    };
    let site = Site::with(Options::default(), settings);
    let client = site.client();
    let from = |address: &str, login: &str, password: &str| {
        from_address(&client, "/login", address).json(&credentials(login, password)).answer()
    };
    for number in 0..3 {
        let login = format!("guess-{number}");
        from("203.0.113.7", &login, "wrong password").problem(401, "unauthenticated");
    }
    limited(&from("203.0.113.7", "alice", PASSWORD));
    // What stands further out than the proxy was written by the client itself.
    limited(&from("198.51.100.1, 203.0.113.7", "alice", PASSWORD));
    assert_eq!(from("203.0.113.8", "alice", PASSWORD).status, 200);
    site.pass(Duration::from_secs(20));
    assert_eq!(from("203.0.113.7", "alice", PASSWORD).status, 200);
    site.finish();
}

#[test]
fn registrations_from_one_address_are_limited() {
    let settings = WebSettings {
        registrations_per_address: 2,
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        ..WebSettings::default()
    };
    let site = Site::with(Options::default(), settings);
    let client = site.client();
    let from = |address: &str, login: &str| {
        from_address(&client, "/register", address).json(&profile(login)).answer()
    };
    assert_eq!(from("203.0.113.7", "c1").status, 200);
    assert_eq!(from("203.0.113.7", "c2").status, 200);
    assert_eq!(limited(&from("203.0.113.7", "c3")), Duration::from_secs(30));
    assert_eq!(from("203.0.113.8", "c3").status, 200);
    site.pass(Duration::from_secs(30));
    assert_eq!(from("203.0.113.7", "c4").status, 200);
    site.finish();
}

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eventbooker_core::identity::Role;
use eventbooker_testkit::ManualClock;
use eventbooker_testkit::clock::{MOMENT, just_before};
use serde_json::json;

use super::*;
use crate::keys::{Keys, PublicKey, SigningKey};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The keys of a service: its own one is `seed`, and each service is trusted with its keys.
fn keys(seed: u8, trusted: &[(Context, &[u8])]) -> Keys {
    let publics = |seeds: &[u8]| -> Vec<PublicKey> {
        seeds.iter().map(|seed| key(*seed).public().clone()).collect()
    };
    let trusted: BTreeMap<_, _> =
        trusted.iter().map(|(service, seeds)| (*service, publics(seeds))).collect();
    Keys::new(key(seed), trusted)
}

const TRUSTED: &[(Context, &[u8])] =
    &[(Context::Identity, &[1]), (Context::Events, &[2]), (Context::Bookings, &[4])];

struct Stage {
    clock: Arc<ManualClock>,
}

impl Stage {
    fn new() -> Self {
        Self { clock: Arc::default() }
    }

    fn tokens(&self, keys: Keys) -> Tokens {
        Tokens::new(Arc::new(Keyring::of(keys)), Arc::clone(&self.clock) as _)
    }

    fn of(&self, seed: u8) -> Tokens {
        self.tokens(keys(seed, TRUSTED))
    }
}

fn ann() -> Person {
    let profile = Profile {
        login: "ann".into(),
        email: "ann@example.org".into(),
        first_name: "Анна".into(),
        last_name: "O'Neill".into(),
    };
    Person { id: UserId::new(i64::MAX), profile, role: Role::Admin }
}

/// A token with other claims or another head than the program would make, signed properly.
fn made_up(seed: u8, head: &serde_json::Value, claims: &serde_json::Value) -> String {
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(head), part(claims));
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

#[test]
fn a_service_is_who_its_key_says_it_is() {
    let stage = Stage::new();
    let (book, events) = (stage.of(4), stage.of(2));
    let token = book.service_token(Context::Bookings, Context::Events);
    assert_eq!(events.check_service(&token, Context::Events), Ok(Context::Bookings));
    assert_eq!(events.check_service(&token, Context::Accounts), Err(Unproven::OtherAudience));
    // Whoever says to be somebody else is not.
    let token = book.service_token(Context::Identity, Context::Events);
    assert_eq!(events.check_service(&token, Context::Events), Err(Unproven::UnknownKey));
    // Nobody trusts the account here, nor whoever has come from elsewhere.
    for stranger in [3, 9] {
        let token = stage.of(stranger).service_token(Context::Accounts, Context::Events);
        assert_eq!(events.check_service(&token, Context::Events), Err(Unproven::UnknownKey));
    }
}

#[test]
fn a_service_token_is_good_for_a_minute() {
    let stage = Stage::new();
    let (book, events) = (stage.of(4), stage.of(2));
    let token = book.service_token(Context::Bookings, Context::Events);
    let check = || events.check_service(&token, Context::Events);
    stage.clock.advance(just_before(SERVICE_TOKEN_LIFE + SERVICE_TOKEN_LEEWAY));
    assert_eq!(check(), Ok(Context::Bookings));
    stage.clock.advance(MOMENT);
    assert_eq!(check(), Err(Unproven::Expired));
}

#[test]
fn one_signature_serves_for_half_a_minute_and_one_key() {
    let stage = Stage::new();
    let book = stage.of(4);
    let token = || book.service_token(Context::Bookings, Context::Events);
    let first = token();
    assert_ne!(first, book.service_token(Context::Bookings, Context::Accounts));
    stage.clock.advance(just_before(SERVICE_TOKEN_USE));
    assert_eq!(token(), first);
    stage.clock.advance(MOMENT);
    let second = token();
    assert_ne!(second, first);
    book.keyring.set(keys(5, TRUSTED));
    assert_ne!(token(), second);
}

#[test]
fn an_identity_is_what_auth_says_and_nobody_else() {
    let stage = Stage::new();
    let (auth, book) = (stage.of(1), stage.of(4));
    let late = stage.clock.now().plus(Duration::from_secs(3600));
    let token = auth.sign_identity(&ann(), stage.clock.now(), late);
    assert_eq!(book.check_identity(&token).map(|it| it.person), Ok(ann()));
    // The book signs as if it were auth.
    let token = book.sign_identity(&ann(), stage.clock.now(), late);
    assert_eq!(auth.check_identity(&token).map(|it| it.person), Err(Unproven::UnknownKey));
    // Or in its own name.
    let head = json!({"typ": IDENTITY_TYPE, "alg": "EdDSA", "kid": key(4).public().id()});
    let mut claims = json!({
        "iss": "book", "iat": 1_767_225_600, "exp": 1_767_225_602.0, "id": 1, "login": "ann",
        "email": "", "first_name": "", "last_name": "", "role": "admin",
    });
    assert_eq!(auth.check_identity(&made_up(4, &head, &claims)), Err(Unproven::UnknownKey));
    claims["iss"] = json!("auth");
    let head = json!({"typ": IDENTITY_TYPE, "alg": "EdDSA", "kid": key(1).public().id()});
    assert!(auth.check_identity(&made_up(1, &head, &claims)).is_ok());
    // One kind is not the other.
    let token = auth.service_token(Context::Identity, Context::Bookings);
    assert_eq!(book.check_identity(&token).map(|it| it.person), Err(Unproven::Malformed));
    let token = auth.sign_identity(&ann(), stage.clock.now(), late);
    assert_eq!(book.check_service(&token, Context::Bookings), Err(Unproven::Malformed));
}

#[test]
fn an_identity_ends_after_its_life_or_with_its_session() {
    let stage = Stage::new();
    let (auth, book) = (stage.of(1), stage.of(4));
    let half = Duration::from_millis(500);
    let seen_at = stage.clock.now();
    let token = auth.sign_identity(&ann(), seen_at, seen_at.plus(Duration::from_secs(60)));
    let short = auth.sign_identity(&ann(), seen_at, seen_at.plus(half));
    stage.clock.advance(just_before(half + IDENTITY_LEEWAY));
    assert_eq!(book.check_identity(&short).map(|it| it.person), Ok(ann()));
    stage.clock.advance(MOMENT);
    assert_eq!(book.check_identity(&short).map(|it| it.person), Err(Unproven::Expired));
    stage.clock.advance(just_before(IDENTITY_LIFE.saturating_sub(half)));
    assert_eq!(book.check_identity(&token).map(|it| it.person), Ok(ann()));
    stage.clock.advance(MOMENT);
    assert_eq!(book.check_identity(&token).map(|it| it.person), Err(Unproven::Expired));
}

#[test]
fn a_clock_that_is_ahead_is_noticed() {
    let (behind, ahead) = (Stage::new(), Stage::new());
    ahead.clock.advance(SERVICE_TOKEN_LEEWAY);
    let (events, book) = (behind.of(2), ahead.of(4));
    let token = book.service_token(Context::Bookings, Context::Events);
    assert_eq!(events.check_service(&token, Context::Events), Ok(Context::Bookings));
    ahead.clock.advance(SERVICE_TOKEN_USE);
    let token = book.service_token(Context::Bookings, Context::Events);
    assert_eq!(events.check_service(&token, Context::Events), Err(Unproven::FromTheFuture));
}

#[test]
fn what_is_no_proper_token_is_worth_nothing() {
    let stage = Stage::new();
    let events = stage.of(2);
    let kid = key(4).public().id().to_owned();
    let head = json!({"typ": SERVICE_TOKEN_TYPE, "alg": "EdDSA", "kid": kid});
    let now = stage.clock.now().as_micros() / 1_000_000;
    let claims = json!({"iss": "book", "aud": "events", "iat": now, "exp": now + 60});
    let check = |token: &str| events.check_service(token, Context::Events);
    assert_eq!(check(&made_up(4, &head, &claims)), Ok(Context::Bookings));
    assert_eq!(check(&made_up(3, &head, &claims)), Err(Unproven::Forged));
    let changed = |value: &serde_json::Value, name: &str, to: serde_json::Value| {
        let mut value = value.clone();
        value[name] = to;
        value
    };
    let heads = [
        ("typ", json!(IDENTITY_TYPE), Unproven::Malformed),
        ("typ", json!(null), Unproven::Malformed),
        ("alg", json!("HS256"), Unproven::Malformed),
        ("alg", json!("none"), Unproven::Malformed),
        ("crit", json!(["b64"]), Unproven::Malformed),
        ("kid", json!("0000000000000000"), Unproven::UnknownKey),
        ("kid", json!(null), Unproven::UnknownKey),
    ];
    for (name, to, why) in heads {
        let head = changed(&head, name, to);
        assert_eq!(check(&made_up(4, &head, &claims)), Err(why), "{head}");
    }
    let claims_changed = [
        ("iss", json!("events"), Unproven::UnknownKey),
        ("iss", json!("nobody"), Unproven::Malformed),
        ("aud", json!(["events", "account"]), Unproven::Malformed),
        ("aud", json!("account"), Unproven::OtherAudience),
        ("exp", json!(now + 61), Unproven::LastsTooLong),
        ("exp", json!(1e300), Unproven::LastsTooLong),
        ("exp", json!("soon"), Unproven::Malformed),
        ("exp", json!(null), Unproven::Malformed),
        ("iat", json!(null), Unproven::Malformed),
        ("iat", json!(-1e300), Unproven::LastsTooLong),
    ];
    for (name, to, why) in claims_changed {
        let claims = changed(&claims, name, to);
        assert_eq!(check(&made_up(4, &head, &claims)), Err(why), "{claims}");
    }
    for nonsense in ["", ".", "..", "a.b.c", "Bearer", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
        assert_eq!(check(nonsense), Err(Unproven::Malformed), "{nonsense}");
    }
}

#[test]
fn keys_are_rotated_without_a_gap() {
    let stage = Stage::new();
    let trusting = |book: &'static [u8]| keys(2, &[(Context::Bookings, book)]);
    let (book, events) = (stage.tokens(keys(4, &[])), stage.tokens(trusting(&[4])));
    let token = || book.service_token(Context::Bookings, Context::Events);
    let check = |token: &str| events.check_service(token, Context::Events);
    let old = token();
    events.keyring.set(trusting(&[4, 5]));
    assert_eq!(check(&token()), Ok(Context::Bookings));
    book.keyring.set(keys(5, &[]));
    let new = token();
    assert_eq!([check(&old), check(&new)], [Ok(Context::Bookings); 2]);
    events.keyring.set(trusting(&[5]));
    assert_eq!(check(&old), Err(Unproven::UnknownKey));
    assert_eq!(check(&new), Ok(Context::Bookings));
}

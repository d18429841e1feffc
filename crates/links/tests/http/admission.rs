//! Who is let in to which route, and what becomes of the others: a status, a line in the log, and
//! nothing in the database.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use eventbooker_core::identity::{Person, Profile, Role};
use eventbooker_core::{Context, UserId};
use eventbooker_engine::Clock;
use eventbooker_links::keys::{Keyring, Keys};
use eventbooker_links::tokens::Tokens;
use eventbooker_testkit::ManualClock;
use eventbooker_testkit::clock::PATIENCE;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::log::Log;
use super::side::{Nobody, Side, key, keys};

/// Each route, whose it is, who may call it, and the items of a batch that would be of use.
fn routes() -> Vec<(Method, &'static str, Context, Vec<Context>, Value)> {
    use Context::{Accounts, Bookings, Events, Identity};
    let item = |step: &str| {
        json!({"items": [{"booking": 1, "event": 1, "user": 1, "seats": 1, "amount": 5,
            "attempt": 1, "step": step, "why": "cancelled"}]})
    };
    let look = |look: &str| json!({"items": [{"look": look, "id": 1, "login": "ann", "user": 1}]});
    let notice = json!({"items": [{"notice": "event-cancelled", "event": 1, "booking": 1}]});
    let all_but_auth = vec![Events, Accounts, Bookings];
    vec![
        (Method::POST, "/internal/v1/events/steps", Events, vec![Bookings], item("cancel")),
        (Method::POST, "/internal/v1/account/steps", Accounts, vec![Bookings], item("refund")),
        (Method::POST, "/internal/v1/book/notices", Bookings, vec![Events], notice),
        (Method::POST, "/internal/v1/auth/look", Identity, all_but_auth, look("person-by-login")),
        (Method::POST, "/internal/v1/events/look", Events, vec![Bookings], look("event")),
        (
            Method::POST,
            "/internal/v1/account/look",
            Accounts,
            vec![Identity, Bookings],
            look("account"),
        ),
        (Method::POST, "/internal/v1/book/look", Bookings, vec![Events], look("booking-route")),
        (Method::GET, "/internal/openapi.json", Events, Context::ALL.to_vec(), Value::Null),
    ]
}

fn from_whom(body: &Value, from: Context) -> Value {
    let mut body = body.clone();
    body["from"] = json!(from.name());
    body
}

struct Stage {
    clock: Arc<ManualClock>,
    side: Side,
    address: SocketAddr,
    log: Log,
}

struct Heard {
    status: StatusCode,
    kind: String,
    challenge: bool,
    /// Whether it says when to come back.
    comes_back: bool,
    body: Bytes,
}

impl Stage {
    async fn set(log: Log) -> Self {
        let clock: Arc<ManualClock> = Arc::default();
        let mut side = Side::whole(&(Arc::clone(&clock) as Arc<dyn Clock>)).await;
        let address = side.listen().await;
        Self { clock, side, address, log }
    }

    fn tokens(&self, keys: Keys) -> Tokens {
        Tokens::new(Arc::new(Keyring::of(keys)), Arc::clone(&self.clock) as _)
    }

    async fn call(
        &self,
        method: &Method,
        path: &str,
        token: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Heard {
        let http = legacy::Client::builder(TokioExecutor::new()).build_http();
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::<Bytes>::from(body.into())).unwrap();
        let response = http.request(request).await.unwrap();
        let kind = response.headers().get(header::CONTENT_TYPE);
        Heard {
            status: response.status(),
            kind: kind.map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default(),
            comes_back: response.headers().contains_key(header::RETRY_AFTER),
            challenge: response.headers().contains_key(header::WWW_AUTHENTICATE),
            body: response.into_body().collect().await.unwrap().to_bytes(),
        }
    }
}

impl Stage {
    /// A call is refused with these words, which are in the log once.
    async fn refuses(
        &self,
        (method, path): (&Method, &str),
        body: &Value,
        (what, token): (&str, Option<String>),
        (status, detail): (StatusCode, &str),
    ) {
        // One second after the other, so that nothing is left out of the log.
        self.clock.advance(Duration::from_secs(1));
        let heard = self.call(method, path, token.as_deref(), body.to_string()).await;
        assert_eq!(heard.status, status, "{path}: {what}");
        assert_eq!(heard.kind, "application/problem+json", "{path}: {what}");
        assert_eq!(heard.challenge, status == StatusCode::UNAUTHORIZED, "{path}: {what}");
        let problem: Value = serde_json::from_slice(&heard.body).unwrap();
        let said = problem["detail"].as_str().unwrap();
        assert!(said.contains(detail), "{path}: {what}: {said}");
        let lines = self.log.take();
        assert_eq!(lines.len(), 1, "{path}: {what}: {lines:?}");
        assert!(lines[0].contains(said) && lines[0].contains(path), "{lines:?}");
        assert!(lines[0].contains("peer=127.0.0.1:"), "{lines:?}");
    }
}

fn somebody() -> Person {
    let profile = Profile {
        login: "ann".into(),
        email: String::new(),
        first_name: String::new(),
        last_name: String::new(),
    };
    Person { id: UserId::new(1), profile, role: Role::Admin }
}

#[test]
fn every_route_is_tried() {
    let described: Value = serde_json::from_str(&eventbooker_links::description::json()).unwrap();
    for path in described["paths"].as_object().unwrap().keys() {
        assert!(routes().iter().any(|(_, tried, ..)| tried == path), "{path}");
    }
}

#[tokio::test]
async fn only_whoever_may_call_a_route_is_let_in() {
    let (log, _listening) = Log::listen();
    let stage = Stage::set(log).await;
    for (method, path, of, callers, body) in routes() {
        let rows = stage.side.rows();
        let from = callers[0];
        let body = from_whom(&body, from);
        let caller = stage.tokens(keys(from));
        let mut refused: Vec<(&str, Option<String>, StatusCode, &str)> = Vec::new();
        let bearer = |token: &str| Some(format!("Bearer {token}"));
        let unauthorized = StatusCode::UNAUTHORIZED;
        refused.push(("no token", None, unauthorized, "there is no token"));
        for nonsense in ["", "Bearer", "Bearer ", "Basic Ym9vaw==", "Bearer a.b.c"] {
            refused.push(("nonsense", Some(nonsense.to_owned()), unauthorized, "this is no token"));
        }
        for other in Context::ALL.into_iter().filter(|other| !callers.contains(other)) {
            let token = stage.tokens(keys(other)).service_token(other, of);
            refused.push(("another service", bearer(&token), StatusCode::FORBIDDEN, "no business"));
            // And if it says that it were one who may.
            let token = stage.tokens(keys(other)).service_token(from, of);
            refused.push(("a liar", bearer(&token), unauthorized, "its key is not known"));
        }
        // Every context is here, so the description has no other audience.
        for other in Context::ALL.into_iter().filter(|other| *other != of && method == Method::POST)
        {
            let token = caller.service_token(from, other);
            refused.push(("other audience", bearer(&token), unauthorized, "for another service"));
        }
        let identity = stage.tokens(keys(Context::Identity));
        let identity =
            identity.sign_identity(&somebody(), stage.clock.now(), stage.clock.now().plus(DAY));
        refused.push(("an identity", bearer(&identity), unauthorized, "this is no token"));
        let stranger = Keys::new(key(from, 1), keys(from).trusted().clone());
        let token = stage.tokens(stranger).service_token(from, of);
        refused.push(("unknown key", bearer(&token), unauthorized, "its key is not known"));
        let token = caller.service_token(from, of);
        let (message, signature) = token.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("Bearer {message}.{other}{}", &signature[1..]);
        refused.push(("forged", Some(forged), unauthorized, "its signature is wrong"));
        for (what, token, status, detail) in refused {
            stage.refuses((&method, path), &body, (what, token), (status, detail)).await;
        }
        let early = bearer(&caller.service_token(from, of));
        stage.clock.advance(Duration::from_secs(65));
        let expired = (unauthorized, "it has expired");
        stage.refuses((&method, path), &body, ("expired", early), expired).await;
        assert_eq!(stage.side.rows(), rows, "{path}: nothing has happened");

        for from in callers {
            let token = stage.tokens(keys(from)).service_token(from, of);
            let token = format!("Bearer {token}");
            let body = from_whom(&body, from).to_string();
            let heard = stage.call(&method, path, Some(&token), body).await;
            assert_eq!(heard.status, StatusCode::OK, "{path}: {:?}", heard.body);
            let heard: Value = serde_json::from_slice(&heard.body).unwrap();
            assert_eq!(heard["results"][0]["trouble"], Value::Null, "{path}: {heard}");
        }
        let has_changed = stage.side.rows() > rows;
        assert_eq!(has_changed, path.ends_with("/steps"), "{path}: who is let in has its way");
    }
    assert_eq!(stage.log.take(), Vec::<String>::new());
    stage.side.stop().await;
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn nothing_of_a_body_is_waited_for_before_the_token_is_right() {
    let (log, _listening) = Log::listen();
    let stage = Stage::set(log).await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    let head =
        "POST /internal/v1/events/steps HTTP/1.1\r\nhost: events\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut heard = [0; 12];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut heard)).await;
    read.expect("the body doesn't come").unwrap();
    assert_eq!(&heard, b"HTTP/1.1 401");
    stage.side.stop().await;
}

#[tokio::test]
async fn a_key_that_was_rotated_out_opens_nothing() {
    let (log, _listening) = Log::listen();
    let stage = Stage::set(log).await;
    let path = "/internal/v1/events/steps";
    let token = stage.tokens(keys(Context::Bookings));
    let token = format!("Bearer {}", token.service_token(Context::Bookings, Context::Events));
    let body = json!({"from": "book", "items": []}).to_string();
    let call = || stage.call(&Method::POST, path, Some(&token), body.clone());
    assert_eq!(call().await.status, StatusCode::OK);
    let mut trusted = keys(Context::Events).trusted().clone();
    trusted.insert(Context::Bookings, vec![key(Context::Bookings, 1).public().clone()]);
    stage.side.keyring.set(Keys::new(key(Context::Events, 0), trusted));
    assert_eq!(call().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(stage.log.take().len(), 1);
    stage.side.stop().await;
}

#[tokio::test]
async fn whoever_tries_all_doors_does_not_fill_the_log() {
    let (log, _listening) = Log::listen();
    let stage = Stage::set(log).await;
    for _ in 0..2 {
        for _ in 0..25 {
            let heard = stage.call(&Method::POST, "/internal/v1/events/steps", None, "").await;
            assert_eq!(heard.status, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(stage.log.take().len(), 10);
        stage.clock.advance(Duration::from_secs(1));
    }
    stage.side.stop().await;
}

#[tokio::test]
async fn a_call_that_is_no_batch_is_refused_as_a_whole() {
    let (log, _listening) = Log::listen();
    let stage = Stage::set(log).await;
    let rows = stage.side.rows();
    let path = "/internal/v1/account/steps";
    let tokens = stage.tokens(keys(Context::Bookings));
    let token = || {
        let token = tokens.service_token(Context::Bookings, Context::Accounts);
        format!("Bearer {token}")
    };
    let refund = json!({"booking": 1, "event": 1, "user": 1, "seats": 1, "amount": 5, "attempt": 1,
        "step": "refund"});
    let many = json!({"from": "book", "items": vec![refund.clone(); 257]}).to_string();
    let large = format!("{{\"from\":\"book\",\"pad\":\"{}\"}}", "x".repeat(1024 * 1024));
    let bodies = [
        ("", StatusCode::BAD_REQUEST),
        ("null", StatusCode::BAD_REQUEST),
        ("{\"from\":\"book\"}", StatusCode::BAD_REQUEST),
        ("{\"items\":[]}", StatusCode::BAD_REQUEST),
        ("{\"from\":\"nobody\",\"items\":[]}", StatusCode::BAD_REQUEST),
        ("{\"from\":\"events\",\"items\":[]}", StatusCode::FORBIDDEN),
        (&many, StatusCode::PAYLOAD_TOO_LARGE),
        (&large, StatusCode::PAYLOAD_TOO_LARGE),
    ];
    for (body, status) in bodies {
        let heard = stage.call(&Method::POST, path, Some(&token()), body.to_owned()).await;
        assert_eq!(heard.status, status, "{}", &body[..body.len().min(80)]);
    }
    let elsewhere = [
        (Method::POST, "/internal/v2/account/steps", StatusCode::NOT_FOUND),
        (Method::POST, "/internal/v1/account/nothing", StatusCode::NOT_FOUND),
        (Method::GET, "/health", StatusCode::NOT_FOUND),
        (Method::GET, path, StatusCode::METHOD_NOT_ALLOWED),
    ];
    for (method, path, status) in elsewhere {
        let heard = stage.call(&method, path, Some(&token()), "").await;
        assert_eq!((heard.status, &*heard.kind), (status, "application/problem+json"), "{path}");
    }
    assert_eq!(stage.side.rows(), rows);
    // As many as may be are heard.
    let most = json!({"from": "book", "items": vec![refund; 256]}).to_string();
    let heard = stage.call(&Method::POST, path, Some(&token()), most).await;
    assert_eq!(heard.status, StatusCode::OK);
    stage.side.stop().await;
}

#[tokio::test]
async fn an_item_that_is_not_understood_leaves_the_others_alone() {
    let (log, _listening) = Log::listen();
    let stage = Stage::set(log).await;
    let token = stage.tokens(keys(Context::Bookings));
    let token = token.service_token(Context::Bookings, Context::Events);
    let item = json!({"booking": 1, "event": 1, "user": 1, "seats": 1, "amount": 5, "attempt": 1,
        "step": "cancel", "why": "expired", "of a later release": [{}]});
    let with = |name: &str, value: Value| {
        let mut item = item.clone();
        item[name] = value;
        item
    };
    let table = [
        (item.clone(), json!({"released": {}})),
        (with("step", json!("occupy")), json!({"refused": {"why": "withdrawn"}})),
        (with("step", json!("upgrade")), Value::Null),
        (with("step", json!("refund")), Value::Null),
        (with("step", json!("settle")), Value::Null),
        (with("why", json!("too dear")), Value::Null),
        (with("why", Value::Null), Value::Null),
        (with("booking", json!("1")), Value::Null),
        (with("seats", json!(0)), Value::Null),
        (with("seats", json!(-1)), Value::Null),
        (with("amount", json!(-1)), Value::Null),
        (json!(7), Value::Null),
        (with("trace", json!("no trace")), json!({"released": {}})),
        (with("booking", json!(2)), json!({"released": {}})),
    ];
    // The second is only right once the first has happened.
    for batch in [&table[..1], &table[1..]] {
        let items: Vec<&Value> = batch.iter().map(|(item, _)| item).collect();
        let body = json!({"from": "book", "items": items}).to_string();
        let path = "/internal/v1/events/steps";
        let token = format!("Bearer {token}");
        let heard = stage.call(&Method::POST, path, Some(&token), body).await;
        assert_eq!(heard.status, StatusCode::OK);
        let heard: Value = serde_json::from_slice(&heard.body).unwrap();
        let results = heard["results"].as_array().unwrap();
        assert_eq!(results.len(), batch.len());
        for ((item, expected), result) in batch.iter().zip(results) {
            if expected.is_null() {
                assert!(result["trouble"].is_string(), "{item}: {result}");
            } else {
                assert_eq!(result, expected, "{item}");
            }
        }
    }
    stage.side.stop().await;
}

#[tokio::test]
async fn whoever_can_save_nothing_is_away() {
    let (log, _listening) = Log::listen();
    let stage = Stage::set(log).await;
    stage.side.engine.stop().await;
    let token = stage.tokens(keys(Context::Bookings));
    let token = format!("Bearer {}", token.service_token(Context::Bookings, Context::Events));
    let (_, path, _, _, body) = routes().remove(0);
    let body = from_whom(&body, Context::Bookings).to_string();
    let heard = stage.call(&Method::POST, path, Some(&token), body).await;
    assert_eq!(heard.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(heard.comes_back);
    stage.side.stop().await;
}

#[tokio::test]
async fn a_service_has_the_routes_of_its_own_context_only() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
    let (log, _listening) = Log::listen();
    let nobody = Nobody::anywhere();
    let mut side = Side::of(Context::Events, [nobody.address; 4], &clock).await;
    let address = side.listen().await;
    let stage = Stage { clock: Arc::default(), side, address, log };
    let tokens = stage.tokens(keys(Context::Bookings));
    let mut statuses = Vec::new();
    for of in [Context::Events, Context::Accounts] {
        let token = format!("Bearer {}", tokens.service_token(Context::Bookings, of));
        let body = json!({"from": "book", "items": []}).to_string();
        let path = format!("/internal/v1/{of}/steps");
        statuses.push(stage.call(&Method::POST, &path, Some(&token), body).await.status);
        let described = stage.call(&Method::GET, "/internal/openapi.json", Some(&token), "").await;
        statuses.push(described.status);
    }
    let (ok, away) = (StatusCode::OK, StatusCode::NOT_FOUND);
    assert_eq!(statuses, [ok, ok, away, StatusCode::UNAUTHORIZED]);
    stage.side.stop().await;
}

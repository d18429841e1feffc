//! Services that run apart: who asks is what `auth` has signed, and each serves its own paths only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use eventbooker_core::identity::{Profile, Role};
use eventbooker_core::{Context, Money, UserId};
use eventbooker_engine::{Clock as _, NewUser};
use eventbooker_links::keys::{Keyring, Keys, SigningKey};
use eventbooker_links::tokens::{IDENTITY_LEEWAY, IDENTITY_LIFE, Tokens};
use eventbooker_testkit::client::PASSWORD;
use eventbooker_testkit::clock::{MOMENT, ManualClock, just_before};
use eventbooker_testkit::service::ADMIN;
use eventbooker_testkit::{Split, outcome};
use eventbooker_web::{Extras, Web, WebSettings, application};
use http_body_util::BodyExt as _;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use tower::ServiceExt as _;

const USER_HEADERS: [&str; 6] =
    ["x-identity", "x-user-id", "x-user", "x-email", "x-first-name", "x-last-name"];

fn key_of(context: Context) -> SigningKey {
    let seed = Context::ALL.iter().position(|it| *it == context).unwrap();
    SigningKey::from_seed(&[u8::try_from(seed).unwrap(); 32])
}

/// Four services, and who trusts whom.
struct Apart {
    split: Split,
    session: String,
    /// What the processes go by, whatever their databases say.
    machines: Arc<ManualClock>,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// What a proxy hands on of it.
    fn told(&self) -> HeaderMap {
        let told = USER_HEADERS.into_iter().filter_map(|name| {
            Some((HeaderName::from_static(name), self.headers.get(name)?.clone()))
        });
        told.collect()
    }
}

impl Apart {
    /// With a user `ann` who has signed in and has 200 in the account.
    async fn start() -> Self {
        let split = Split::start().await;
        let auth = split.engine(Context::Identity);
        let profile = Profile {
            login: "ann".to_owned(),
            email: "ann@example.org".to_owned(),
            first_name: "Анна".to_owned(),
            last_name: "O’Neill".to_owned(),
        };
        let new = NewUser { profile, role: Role::User, password: PASSWORD.to_owned() };
        let ann = outcome(auth.register(new, None).await).unwrap();
        let signed_in = auth.sign_in("ann".to_owned(), PASSWORD.to_owned(), None).await.unwrap();
        let session = signed_in.unwrap().token.reveal().to_owned();
        let accounts = split.engine(Context::Accounts);
        let paid_in = accounts.deposit(ADMIN, ann.id, Money::from_minor(200), None).await;
        outcome(paid_in).unwrap();
        let machines = Arc::new(ManualClock::at(split.clock.now()));
        Self { split, session, machines }
    }

    /// Time passes everywhere.
    fn advance(&self, span: Duration) {
        self.split.clock.advance(span);
        self.machines.advance(span);
    }

    fn tokens(&self, signing: SigningKey) -> Arc<Tokens> {
        let trusted = Context::ALL.map(|it| (it, vec![key_of(it).public().clone()]));
        let keys = Keys::new(signing, BTreeMap::from(trusted));
        let clock = Arc::clone(&self.machines) as _;
        Arc::new(Tokens::new(Arc::new(Keyring::of(keys)), clock))
    }

    /// A fresh service over a context's engine, as a replica is.
    async fn ask(&self, context: Context, request: Request<Body>) -> Reply {
        self.ask_signing(context, key_of(context), request).await
    }

    async fn ask_signing(
        &self,
        context: Context,
        signing: SigningKey,
        request: Request<Body>,
    ) -> Reply {
        let tokens = Some(self.tokens(signing));
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let extras = Extras { tokens, ..Extras::default() };
        let engine = self.split.engine(context).clone();
        let web = Web::of(engine, WebSettings::default(), metrics, extras);
        let (parts, body) = application(web).oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// What `auth` says of whoever has this session.
    async fn auth(&self, path: &str, session: Option<&str>) -> Reply {
        self.ask(Context::Identity, look(path, &cookie(session))).await
    }

    /// What the account service answers to somebody who comes with these headers.
    async fn balance(&self, headers: &HeaderMap) -> Reply {
        self.ask(Context::Accounts, look("/account/get", headers)).await
    }
}

fn cookie(session: Option<&str>) -> HeaderMap {
    let pair = session.map(|session| {
        let value = HeaderValue::try_from(format!("session_id={session}")).unwrap();
        (axum::http::header::COOKIE, value)
    });
    pair.into_iter().collect()
}

fn look(path: &str, headers: &HeaderMap) -> Request<Body> {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    *request.headers_mut() = headers.clone();
    request
}

#[tokio::test]
async fn who_has_signed_in_at_one_service_is_known_to_the_others() {
    let apart = Apart::start().await;
    let session = Some(apart.session.as_str());
    let told = apart.auth("/auth", session).await.told();
    let names: Vec<_> = USER_HEADERS.iter().filter(|name| told.contains_key(**name)).collect();
    assert_eq!(names.len(), USER_HEADERS.len(), "{told:?}");
    let balance = apart.balance(&told).await;
    assert_eq!(
        (balance.status, balance.json()),
        (StatusCode::OK, serde_json::json!({"balance": 200}))
    );
    // The session is nobody's where there are no users.
    assert_eq!(apart.balance(&cookie(session)).await.status, StatusCode::UNAUTHORIZED);
    // Programs without keys may be told less; what is signed suffices.
    let signed: HeaderMap =
        [(HeaderName::from_static("x-identity"), told["x-identity"].clone())].into_iter().collect();
    assert_eq!(apart.balance(&signed).await.status, StatusCode::OK);
    apart.split.stop().await;
}

#[tokio::test]
async fn nobody_may_ask_a_proxy_if_the_proxy_says_so() {
    let apart = Apart::start().await;
    assert_eq!(apart.auth("/auth", None).await.status, StatusCode::UNAUTHORIZED);
    for session in [None, Some("no session")] {
        let nobody = apart.auth("/auth?optional=true", session).await;
        assert_eq!((nobody.status, nobody.told().len()), (StatusCode::NO_CONTENT, 0));
        let served = apart.balance(&nobody.told()).await;
        assert_eq!(served.status, StatusCode::UNAUTHORIZED);
    }
    let known = apart.auth("/auth?optional=true", Some(&apart.session)).await;
    assert_eq!((known.status, known.told().len()), (StatusCode::OK, USER_HEADERS.len()));
    apart.split.stop().await;
}

/// Each of them is a 401 that says why, and nothing has happened.
#[tokio::test]
async fn forged_and_stale_words_are_worth_nothing() {
    let apart = Apart::start().await;
    let session = apart.session.as_str();
    let good = apart.auth("/auth", Some(session)).await.told();
    let with = |name: &'static str, value: &str| {
        let mut headers = good.clone();
        headers.insert(name, HeaderValue::try_from(value).unwrap());
        headers
    };
    let without_word = |name: &'static str, value: &'static str| -> HeaderMap {
        [(HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect()
    };
    // Signed by a service that isn't auth, and by auth of another installation.
    let mut by_others = Vec::new();
    for signing in [key_of(Context::Bookings), SigningKey::from_seed(&[99; 32])] {
        let request = look("/auth", &cookie(Some(session)));
        let signed = apart.ask_signing(Context::Identity, signing, request).await;
        by_others.push(signed.told());
    }
    let word = good["x-identity"].to_str().unwrap();
    let (head, signature) = word.rsplit_once('.').unwrap();
    // Its last letter says less than others, and not any will do there.
    let (most, rest) = signature.split_at(80);
    let turned: String = most.chars().rev().chain(rest.chars()).collect();
    let mut cases = vec![
        (without_word("x-user-id", "1"), "count only beside"),
        (without_word("x-user", "admin"), "count only beside"),
        (without_word("x-email", "ann@example.org"), "count only beside"),
        (with("x-user-id", "1000000"), "is not whom"),
        (with("x-identity", &format!("{head}.{turned}")), "signature"),
        (with("x-identity", "nonsense"), "no token"),
        (with("x-identity", ""), "no token"),
    ];
    cases.extend(by_others.into_iter().map(|headers| (headers, "key is not known")));
    for (headers, why) in cases {
        let refused = apart.balance(&headers).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{headers:?}");
        let detail = refused.json()["detail"].to_string();
        assert!(detail.contains(why), "{detail}");
        let request = Request::put("/account/deposit").body(Body::from(r#"{"delta": 5}"#)).unwrap();
        let (mut parts, body) = request.into_parts();
        parts.headers = headers;
        let put = apart.ask(Context::Accounts, Request::from_parts(parts, body)).await;
        assert_eq!(put.status, StatusCode::UNAUTHORIZED);
    }
    let account = apart.split.engine(Context::Accounts).account(UserId::new(1)).await.unwrap();
    assert_eq!((account.balance.as_minor(), account.entries), (200, 1), "nothing has happened");
    apart.split.stop().await;
}

#[tokio::test]
async fn a_word_is_good_for_a_moment_and_no_longer_than_the_session() {
    let apart = Apart::start().await;
    let session = Some(apart.session.as_str());
    let told = apart.auth("/auth", session).await.told();
    apart.advance(just_before(IDENTITY_LIFE + IDENTITY_LEEWAY));
    assert_eq!(apart.balance(&told).await.status, StatusCode::OK);
    apart.advance(MOMENT);
    let late = apart.balance(&told).await;
    assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE, "whoever it is stays signed in");
    assert_eq!(late.headers["retry-after"], "1");
    assert_eq!(late.json()["type"], "/problems/overloaded");
    assert_eq!(
        apart.balance(&apart.auth("/auth", session).await.told()).await.status,
        StatusCode::OK
    );

    let week = Duration::from_secs(7 * 24 * 3600);
    let left = Duration::from_millis(300);
    let passed = IDENTITY_LIFE + IDENTITY_LEEWAY;
    apart.advance(week.saturating_sub(passed + left));
    let last = apart.auth("/auth", session).await.told();
    apart.advance(left + IDENTITY_LEEWAY);
    let late = apart.balance(&last).await;
    assert_eq!(late.status, StatusCode::SERVICE_UNAVAILABLE, "the session is over");
    assert_eq!(apart.auth("/auth", session).await.status, StatusCode::UNAUTHORIZED, "and so");
    apart.split.stop().await;
}

/// A database server's clock decides deadlines, and a word between two processes isn't its business.
#[tokio::test]
async fn a_word_is_judged_by_the_clocks_of_machines() {
    let apart = Apart::start().await;
    apart.split.clock.advance(Duration::from_secs(3600));
    let told = apart.auth("/auth", Some(&apart.session)).await.told();
    assert_eq!(apart.balance(&told).await.status, StatusCode::OK);
    apart.machines.advance(IDENTITY_LIFE + IDENTITY_LEEWAY);
    assert_eq!(apart.balance(&told).await.status, StatusCode::SERVICE_UNAVAILABLE);
    apart.split.stop().await;
}

/// A crowd that came in one second is spread over later ones; and whatever a proxy keeps is good when it is used.
#[tokio::test]
async fn a_proxy_is_told_how_long_to_keep_a_word() {
    let apart = Apart::start().await;
    let ask = async || {
        let reply = apart.auth("/auth", Some(&apart.session)).await;
        let keep = reply.headers["x-accel-expires"].to_str().unwrap().parse::<u64>().unwrap();
        (keep, reply.told())
    };
    let mut kept = BTreeMap::<u64, u32>::new();
    for _ in 0..20 {
        *kept.entry(ask().await.0).or_default() += 1;
        apart.advance(MOMENT);
    }
    assert_eq!(kept, BTreeMap::from([(1, 10), (2, 10)]));

    // nginx's seconds are whole ones, and the one in which it asked isn't counted. What it was told may have
    // been half a second old, and a clock that is ahead is as good as time that has passed.
    let (keep, told) = ask().await;
    let remembered = Duration::from_millis(500);
    apart.advance(remembered + Duration::from_secs(keep + 1) + IDENTITY_LEEWAY);
    assert_eq!(apart.balance(&told).await.status, StatusCode::OK);

    let nobody = apart.auth("/auth?optional=true", None).await;
    assert_eq!(nobody.status, StatusCode::NO_CONTENT);
    assert!(!nobody.headers.contains_key("x-accel-expires"));
    apart.split.stop().await;
}

#[tokio::test]
async fn who_has_signed_out_is_nobody_within_five_seconds() {
    let apart = Apart::start().await;
    let session = Some(apart.session.as_str());
    let told = apart.auth("/auth", session).await.told();
    let request = Request::post("/logout");
    let (mut parts, body) = request.body(Body::empty()).unwrap().into_parts();
    parts.headers = cookie(session);
    let out = apart.ask(Context::Identity, Request::from_parts(parts, body)).await;
    assert_eq!(out.status, StatusCode::OK);
    assert_eq!(apart.auth("/auth", session).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(apart.balance(&told).await.status, StatusCode::OK, "it has been said");
    apart.advance(just_before(IDENTITY_LIFE + IDENTITY_LEEWAY));
    assert_eq!(apart.balance(&told).await.status, StatusCode::OK);
    apart.advance(MOMENT);
    assert_eq!(apart.balance(&told).await.status, StatusCode::SERVICE_UNAVAILABLE);
    apart.split.stop().await;
}

/// Of every described path and of pages: whoever has the rows serves it, and nobody else.
#[tokio::test]
async fn each_service_serves_its_own_paths() {
    let apart = Apart::start().await;
    let everywhere =
        ["/health", "/ready", "/metrics", "/openapi.json", "/docs/", "/problems/sold-out"];
    let own = [
        ("/auth", Context::Identity),
        ("/sign-in", Context::Identity),
        ("/admin/users", Context::Identity),
        ("/events", Context::Events),
        ("/events/get", Context::Events),
        ("/events/live?id=1", Context::Events),
        ("/", Context::Events),
        ("/user", Context::Events),
        ("/admin", Context::Events),
        ("/admin/checks", Context::Events),
        ("/account/get", Context::Accounts),
        ("/user/account", Context::Accounts),
        ("/bookings", Context::Bookings),
        ("/book/get", Context::Bookings),
        ("/events/1/bookings", Context::Bookings),
        ("/user/bookings", Context::Bookings),
        ("/user/events/1", Context::Bookings),
    ];
    for context in Context::ALL {
        let ask = async |path: &str| apart.ask(context, look(path, &HeaderMap::new())).await;
        for path in everywhere {
            assert!(ask(path).await.status.is_success(), "{path} of {context}");
        }
        for (path, owner) in own {
            let reply = ask(path).await;
            let is_unknown = reply.status == StatusCode::NOT_FOUND
                && String::from_utf8_lossy(&reply.body).contains("there is no such page");
            assert_eq!(is_unknown, context != owner, "{path} of {context}: {}", reply.status);
        }
        // Clients know one address, so all is described everywhere.
        let described = ask("/openapi.json").await.json();
        for path in ["/auth", "/events", "/account/get", "/bookings"] {
            assert!(described["paths"].get(path).is_some(), "{path} of {context}");
        }
    }
    apart.split.stop().await;
}

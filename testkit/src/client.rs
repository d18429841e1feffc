//! A client of a service, over HTTP, as a program or a browser would be one.
//!
//! Absent on purpose: redirects that are followed, and cookies that are kept by themselves. A test
//! sees what the service said.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{HeaderMap, Request};
use ureq::{Agent, Body, BodyReader};

use crate::clock::PATIENCE;

/// The cookie that holds a session's token.
const SESSION_COOKIE: &str = "session_id";
/// The service closes connections that idle, after 10 s at the soonest; one that has idled nearly as
/// long isn't used again.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// A client of one service. A clone has connections of its own and the same session.
pub struct Client {
    agent: Agent,
    base: String,
    session: Option<String>,
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self { session: self.session.clone(), ..Self::new(&self.base) }
    }
}

impl Client {
    /// A client that is not signed in, of the service at `http://…`.
    pub fn new(base: &str) -> Self {
        Self { agent: agent(PATIENCE), base: base.to_owned(), session: None }
    }

    /// The same client, that waits for an answer for so long.
    #[must_use]
    pub fn waiting_for(&self, patience: Duration) -> Self {
        Self { agent: agent(patience), ..self.clone() }
    }

    /// The same client with this session, or with none.
    #[must_use]
    pub fn with_session(&self, session: Option<&str>) -> Self {
        Self { session: session.map(str::to_owned), ..self.clone() }
    }

    /// The same client with the session of a user, who signs in.
    #[must_use]
    pub fn signed_in(&self, login: &str, password: &str) -> Self {
        let client = self.with_session(None);
        let answer = client.post("/login", &json!({"login": login, "password": password}));
        assert_eq!(answer.status, 200, "{answer:?}");
        let session = answer.session().expect("a sign-in sets the cookie");
        client.with_session(Some(&session))
    }

    /// The same client with the session of a user who registers first.
    #[must_use]
    pub fn registered(&self, login: &str) -> Self {
        let user = json!({"login": login, "password": PASSWORD, "email": "",
                          "first_name": "", "last_name": ""});
        let answer = self.post("/register", &user);
        assert_eq!(answer.status, 200, "{answer:?}");
        self.signed_in(login, PASSWORD)
    }

    /// The session's token.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Where the service is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request that is still to be sent.
    pub fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        let mut ask = Ask {
            client: self,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        };
        if let Some(session) = &self.session {
            ask = ask.header("Cookie", &format!("{SESSION_COOKIE}={session}"));
        }
        ask
    }

    /// Answers a `GET`.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).answer()
    }

    /// Answers a `POST` of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path).json(body).answer()
    }

    /// Creates an event that lies well ahead, as an admin. Returns its number.
    pub fn create_event(&self, capacity: i64, price: i64, window_minutes: i64) -> i64 {
        let event = json!({"name": "Green run", "date": "2090-05-01T18:00:00Z", "price": price,
                           "capacity": capacity, "paymentTTL": window_minutes});
        let answer = self.post("/events", &event);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.id()
    }

    /// Books seats.
    pub fn book(&self, event: i64, seats: i64) -> Answer {
        self.post(&format!("/events/{event}/book"), &json!({"seats": seats}))
    }

    /// Confirms a booking.
    pub fn confirm(&self, event: i64, booking: i64) -> Answer {
        self.post(&format!("/events/{event}/confirm"), &json!({"bookingId": booking}))
    }

    /// Cancels a booking.
    pub fn cancel(&self, booking: i64) -> Answer {
        self.ask("POST", &format!("/bookings/{booking}/cancel")).body(b"").answer()
    }

    /// Books seats and pays for them at once.
    pub fn purchase(&self, event: i64, seats: i64) -> Answer {
        self.post("/book/create", &json!({"event_id": event, "seats": seats}))
    }

    /// Pays into the own account.
    pub fn deposit(&self, delta: i64) -> Answer {
        self.ask("PUT", "/account/deposit").json(&json!({"delta": delta})).answer()
    }

    /// Pays into a user's account.
    pub fn deposit_for(&self, user: i64, delta: i64) -> Answer {
        let deposit = json!({"delta": delta, "user_id": user});
        self.ask("PUT", "/account/deposit").json(&deposit).answer()
    }

    /// What the own account holds.
    pub fn balance(&self) -> i64 {
        let answer = self.get("/account/get");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["balance"].as_i64().expect("a number")
    }

    /// An event as it stands.
    pub fn event(&self, id: i64) -> Value {
        let answer = self.get(&format!("/events/{id}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The value of a metric, or of one of its samples, such as `requests_total{status="2xx"}`.
    pub fn metric(&self, sample: &str) -> f64 {
        let answer = self.get("/metrics");
        let text = String::from_utf8(answer.body).expect("text");
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().expect("a number")
    }

    /// The live stream of an event, from after a version if one was seen.
    pub fn live(&self, event: i64, last_seen: Option<i64>) -> LiveStream {
        let mut ask = self.ask("GET", &format!("/events/{event}/live"));
        if let Some(version) = last_seen {
            ask = ask.header("Last-Event-ID", &version.to_string());
        }
        Self::stream(ask)
    }

    /// The live stream of how events stand.
    pub fn live_counts(&self, events: &[i64]) -> LiveStream {
        let ids: Vec<String> = events.iter().map(|id| format!("id={id}")).collect();
        Self::stream(self.ask("GET", &format!("/events/live?{}", ids.join("&"))))
    }

    fn stream(ask: Ask<'_>) -> LiveStream {
        let response = ask.send_head().expect("the stream begins");
        assert_eq!(response.status(), 200);
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("text/event-stream"));
        LiveStream { lines: BufReader::new(response.into_body().into_reader()) }
    }
}

fn agent(patience: Duration) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_global(Some(patience))
        .max_idle_age(IDLE_MAX)
        .build();
    config.into()
}

/// The password of every user that tests register.
pub const PASSWORD: &str = "correct horse battery";

/// A request on its way.
#[must_use = "it has not been sent"]
pub struct Ask<'a> {
    client: &'a Client,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Ask<'_> {
    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With an idempotency key.
    pub fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    /// With a JSON body.
    pub fn json(self, body: &Value) -> Self {
        let body = body.to_string();
        self.header("Content-Type", "application/json").body(body.as_bytes())
    }

    /// With a JSON body that is called a form, as curl calls every body unless it is told otherwise.
    pub fn json_as_form(self, body: &Value) -> Self {
        let body = body.to_string();
        self.header("Content-Type", "application/x-www-form-urlencoded").body(body.as_bytes())
    }

    /// With a body of any bytes.
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_owned());
        self
    }

    /// Sends it and reads the whole answer.
    pub fn send(self) -> Result<Answer, ureq::Error> {
        let response = self.send_head()?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(u64::MAX).read_to_vec()?;
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Sends it and reads the answer, which has to come.
    pub fn answer(self) -> Answer {
        let what = format!("{} {}", self.method, self.path);
        self.send().unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    fn send_head(self) -> Result<ureq::http::Response<Body>, ureq::Error> {
        let mut request = Request::builder()
            .method(self.method.as_str())
            .uri(format!("{}{}", self.client.base, self.path));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        match self.body {
            Some(body) => self.client.agent.run(request.body(body)?),
            None => self.client.agent.run(request.body(())?),
        }
    }
}

/// What a service answered.
#[derive(Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {:?} {}", self.status, self.headers, body)
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The number of what the body shows.
    pub fn id(&self) -> i64 {
        self.json()["id"].as_i64().unwrap_or_else(|| panic!("no id in {self:?}"))
    }

    /// The numbers of what the body lists.
    pub fn ids(&self) -> Vec<i64> {
        assert_eq!(self.status, 200, "{self:?}");
        let list = self.json();
        let items = list.as_array().unwrap_or_else(|| panic!("no list in {self:?}")).iter();
        items.map(|item| item["id"].as_i64().expect("a number")).collect()
    }

    /// A header's value, if it is there once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        assert!(values.next().is_none(), "{name} stands twice: {self:?}");
        Some(value)
    }

    /// The session that the answer sets.
    pub fn session(&self) -> Option<String> {
        let cookie = self.header("set-cookie")?;
        let (pair, _) = cookie.split_once(';')?;
        pair.strip_prefix(SESSION_COOKIE)?.strip_prefix('=').map(str::to_owned)
    }

    /// Fails unless this is a problem of that status and kind with all that a problem must have.
    /// Returns its body.
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        let problem = self.any_problem();
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{self:?}");
        problem
    }

    /// Fails unless this is a problem with all that a problem must have. Returns its body.
    pub fn any_problem(&self) -> Value {
        assert!(self.status >= 400, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["type"].as_str().is_some_and(|kind| kind.starts_with("/problems/")));
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{self:?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        assert_eq!(problem["error"], problem["detail"], "{self:?}");
        if matches!(self.status, 429 | 503) {
            let wait = self.header("retry-after").and_then(|wait| wait.parse::<u32>().ok());
            assert!(wait.is_some_and(|wait| wait >= 1), "{self:?}");
        }
        problem
    }

    /// Fails unless this is a problem that lists exactly these fields.
    pub fn problem_of_fields(&self, status: u16, slug: &str, fields: &[&str]) {
        let problem = self.problem(status, slug);
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        let found: Vec<&str> = errors.iter().filter_map(|error| error["field"].as_str()).collect();
        assert_eq!(found, fields, "{self:?}");
        for error in errors {
            assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        }
    }
}

/// An event's live stream.
pub struct LiveStream {
    lines: BufReader<BodyReader<'static>>,
}

/// One message of a live stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its id; 0 if it has none.
    pub id: i64,
    /// What it says.
    pub data: Value,
}

impl LiveStream {
    /// The next message; `None` when the stream has ended, which it has to do in good order.
    pub fn next_message(&mut self) -> Option<Message> {
        let mut id = None;
        let mut data = None;
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("the stream doesn't break off") == 0 {
                assert!(id.is_none() && data.is_none(), "it ended in the middle of a message");
                return None;
            }
            let line = line.strip_suffix('\n').expect("it ended in the middle of a line");
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.parse().expect("a version"));
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(text).expect("JSON"));
            } else if line.is_empty()
                && let Some(data) = data.take()
            {
                return Some(Message { id: id.unwrap_or_default(), data });
            }
        }
    }
}

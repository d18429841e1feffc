//! A client whose neighbour is away, is slow, or talks nonsense.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Ask};
use eventbooker_core::events::Seats;
use eventbooker_core::{BookingId, Context, EventId, Money, UserId};
use eventbooker_engine::{Availability, NoAnswer, Participate as _};
use eventbooker_links::client::{Client, STEPS_WITHIN};
use eventbooker_links::wire::looks::{Look, Seen};
use eventbooker_testkit::ManualClock;
use eventbooker_testkit::clock::{MOMENT, PATIENCE, just_before};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::log::Log;
use super::side::{Nobody, client};

/// A listener that says the same to everybody, whatever it is asked.
struct Parrot {
    address: SocketAddr,
    calls: Arc<AtomicUsize>,
    /// So many calls are hung up on.
    deaf: Arc<AtomicUsize>,
    says: watch::Sender<Option<String>>,
}

impl Parrot {
    /// Without anything to say it keeps whoever asks waiting.
    async fn start(says: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let [calls, deaf] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let (says, heard) = watch::channel(says.map(str::to_owned));
        tokio::spawn({
            let (calls, deaf) = (Arc::clone(&calls), Arc::clone(&deaf));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (calls, deaf) = (Arc::clone(&calls), Arc::clone(&deaf));
                    tokio::spawn(answer(stream, calls, deaf, heard.clone()));
                }
            }
        });
        Self { address, calls, deaf, says }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn answer(
    mut stream: TcpStream,
    calls: Arc<AtomicUsize>,
    deaf: Arc<AtomicUsize>,
    mut says: watch::Receiver<Option<String>>,
) {
    let mut read = Vec::new();
    // A batch of one or two ends so.
    while !read.ends_with(b"}]}") {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
    calls.fetch_add(1, Ordering::SeqCst);
    if deaf.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        return;
    }
    let Ok(answer) = says.wait_for(Option::is_some).await.map(|says| says.clone()) else { return };
    let _ = stream.write_all(answer.unwrap().as_bytes()).await;
}

fn http(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

const SETTLED: &str = r#"{"results":[{"settled":{}}]}"#;

fn settle() -> Request {
    Request {
        booking_id: BookingId::new(7),
        event_id: EventId::new(3),
        user_id: UserId::new(1),
        begun: None,
        seats: Seats::new(2),
        amount: Money::from_minor(80),
        attempt: 1,
        ask: Ask::Settle,
        trace: None,
    }
}

struct Stage {
    clock: Arc<ManualClock>,
    client: Client,
}

impl Stage {
    /// Somebody asks, and goes away before there is an answer.
    async fn goes_away_while_asking(&self, parrot: &Parrot) {
        let before = parrot.calls();
        let called = async {
            while parrot.calls() == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            answer = self.ask() => panic!("nobody has answered: {answer:?}"),
            called = tokio::time::timeout(PATIENCE, called) => called.unwrap(),
        }
    }

    fn to(address: SocketAddr) -> Self {
        let clock = Arc::new(ManualClock::default());
        let client =
            client(Context::Bookings, Context::Events, address, &(Arc::clone(&clock) as _));
        Self { clock, client }
    }

    async fn ask(&self) -> Result<Answer, NoAnswer> {
        let asked = [settle()];
        tokio::time::timeout(PATIENCE, self.client.steps(&asked)).await.unwrap().remove(0)
    }

    async fn silence(&self) -> String {
        match self.ask().await {
            Err(NoAnswer::Silence { why, .. }) => why,
            other => panic!("{:.200}", format!("{other:?}")),
        }
    }

    fn is_away(&self) -> bool {
        self.client.availability() != Availability::Available
    }
}

#[tokio::test]
async fn what_nobody_can_read_is_no_answer_to_anything() {
    let large = format!("{{\"results\":[\"{}\"]}}", "x".repeat(4 * 1024 * 1024));
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"results\":[";
    let table = [
        (String::new(), "events can't be reached: "),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "events can't be reached: "),
        (short.to_owned(), "events broke off: "),
        (http("200 OK", ""), "events answered what nobody can read: "),
        (http("200 OK", "<html>"), "events answered what nobody can read: "),
        (http("200 OK", "{}"), "events answered what nobody can read: "),
        (http("200 OK", r#"{"results":[]}"#), "events answered 0 of 1"),
        (
            http("200 OK", r#"{"results":[{"settled":{}},{"settled":{}}]}"#),
            "events answered 2 of 1",
        ),
        (http("200 OK", &large), "events broke off: length limit exceeded"),
        (
            http("401 Unauthorized", r#"{"detail":"it has\nexpired"}"#),
            "events answered 401: it hasexpired",
        ),
        (http("503 Service Unavailable", "later"), "events answered 503: no reason"),
        (http("302 Found", ""), "events answered 302: no reason"),
        (http("204 No Content", ""), "events answered 204: no reason"),
    ];
    for (says, expected) in table {
        let parrot = Parrot::start(Some(&says)).await;
        let why = Stage::to(parrot.address).silence().await;
        assert!(why.starts_with(expected), "{expected} {}", &why[..why.len().min(200)]);
        assert_eq!(parrot.calls(), 1, "it is up to the caller to ask again: {expected}");
    }
}

#[tokio::test]
async fn what_a_neighbour_has_trouble_with_is_not_silence() {
    let says = http("200 OK", r#"{"results":[{"trouble":"the slot is missing"}]}"#);
    let parrot = Parrot::start(Some(&says)).await;
    let stage = Stage::to(parrot.address);
    for _ in 0..6 {
        let trouble = NoAnswer::Trouble("the slot is missing".to_owned());
        assert_eq!(stage.ask().await, Err(trouble));
    }
    assert!(!stage.is_away(), "whoever says something is there");
}

#[tokio::test]
async fn a_look_that_nobody_hears_is_made_twice() {
    for (deaf, is_seen) in [(1, true), (2, false)] {
        let says = http("200 OK", r#"{"results":[{"events":[]}]}"#);
        let parrot = Parrot::start(Some(&says)).await;
        parrot.deaf.store(deaf, Ordering::SeqCst);
        let stage = Stage::to(parrot.address);
        let looks = [Look::Event { id: 1 }];
        let seen = tokio::time::timeout(PATIENCE, stage.client.look(&looks)).await.unwrap();
        assert_eq!(seen[0].is_ok(), is_seen, "{seen:?}");
        assert_eq!(parrot.calls(), 2);
    }
}

#[tokio::test]
async fn nobody_has_to_read_a_novel() {
    let novel = "x".repeat(100_000);
    for body in [format!(r#"{{"{novel}":{{}}}}"#), format!(r#"{{"trouble":"{novel}"}}"#)] {
        let says = http("200 OK", &format!(r#"{{"results":[{body}]}}"#));
        let parrot = Parrot::start(Some(&says)).await;
        match Stage::to(parrot.address).ask().await {
            Err(NoAnswer::Trouble(why)) => assert!(why.len() < 1000, "{}", why.len()),
            _ => panic!("that is trouble"),
        }
    }
}

#[tokio::test]
async fn nobody_waits_longer_than_the_limit() {
    let parrot = Parrot::start(None).await;
    let stage = Stage::to(parrot.address);
    let mut asked = std::pin::pin!(stage.ask());
    let waits = async {
        while parrot.calls() == 0 {
            tokio::task::yield_now().await;
        }
        stage.clock.until_asleep(1).await;
        stage.clock.advance(just_before(STEPS_WITHIN));
        stage.clock.until_asleep(1).await;
    };
    tokio::select! {
        biased;
        answer = &mut asked => panic!("too early: {answer:?}"),
        waited = tokio::time::timeout(PATIENCE, waits) => waited.unwrap(),
    }
    stage.clock.advance(MOMENT);
    let silence = Err(NoAnswer::silence("events said nothing in time"));
    assert_eq!(asked.await, silence);
}

#[tokio::test]
async fn a_neighbour_that_is_away_is_not_called_until_it_is_due() {
    let (log, _listening) = Log::listen();
    let parrot = Parrot::start(Some("")).await;
    let stage = Stage::to(parrot.address);
    for calls in 1..=5 {
        assert!(!stage.is_away());
        let Err(NoAnswer::Silence { until, .. }) = stage.ask().await else { panic!("silence") };
        assert_eq!((parrot.calls(), until.is_some()), (calls, calls == 5));
    }
    assert!(stage.is_away());
    let Availability::AwayUntil(until) = stage.client.availability() else { panic!("away") };
    let silence = NoAnswer::Silence { why: "events is away".to_owned(), until: Some(until) };
    assert_eq!(stage.ask().await, Err(silence), "there is no use in asking before");
    assert_eq!(parrot.calls(), 5);
    let lines = log.take();
    assert!(lines.len() == 1 && lines[0].contains("events"), "{lines:?}");

    parrot.says.send_replace(Some(http("200 OK", SETTLED)));
    let Availability::AwayUntil(probe_at) = stage.client.availability() else { panic!("away") };
    stage.clock.set(probe_at.minus(Duration::from_micros(1)));
    stage.silence().await;
    assert_eq!(parrot.calls(), 5);
    stage.clock.set(probe_at);
    assert_eq!(stage.ask().await, Ok(Answer::Settled));
    assert!(!stage.is_away());
    assert_eq!(parrot.calls(), 6);
}

#[tokio::test]
async fn a_probe_that_nobody_waits_for_leaves_the_way_free_for_another() {
    let parrot = Parrot::start(Some("")).await;
    let stage = Stage::to(parrot.address);
    while !stage.is_away() {
        stage.silence().await;
    }
    parrot.says.send_replace(None);
    stage.clock.advance(Duration::from_secs(2));
    stage.goes_away_while_asking(&parrot).await;
    parrot.says.send_replace(Some(http("200 OK", SETTLED)));
    assert_eq!(stage.ask().await, Ok(Answer::Settled));
}

/// Somebody closes a page again and again before it is there.
#[tokio::test]
async fn who_goes_away_says_nothing_of_the_neighbour() {
    let parrot = Parrot::start(None).await;
    let stage = Stage::to(parrot.address);
    for _ in 0..20 {
        stage.goes_away_while_asking(&parrot).await;
        assert!(!stage.is_away());
    }
}

#[tokio::test]
async fn a_crowd_that_looks_takes_turns() {
    const CROWD: usize = 100;
    let parrot = Parrot::start(None).await;
    let Stage { clock, client } = Stage::to(parrot.address);
    let client = Arc::new(client);
    let look = |client: Arc<Client>| async move { client.look(&[Look::Event { id: 3 }]).await };
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..CROWD {
        crowd.spawn(look(Arc::clone(&client)));
    }
    // Those who look and those who wait, each with a limit.
    let all_are_there = clock.until_asleep(CROWD);
    tokio::time::timeout(PATIENCE, all_are_there).await.unwrap();
    while parrot.calls() < 64 {
        tokio::task::yield_now().await;
    }
    // Steps don't wait for looks.
    let client = Arc::clone(&client);
    let step = tokio::spawn(async move { client.steps(&[settle()]).await });
    while parrot.calls() < 65 {
        tokio::task::yield_now().await;
    }
    parrot.says.send_replace(Some(http("200 OK", r#"{"results":[{"events":[]}]}"#)));
    for seen in crowd.join_all().await {
        assert_eq!(seen, [Ok(Seen::Events(Vec::new()))]);
    }
    drop(step);
    assert_eq!(parrot.calls(), CROWD + 1);
}

#[tokio::test]
async fn nobody_listens() {
    let nobody = Nobody::anywhere();
    let why = Stage::to(nobody.address).silence().await;
    assert!(why.starts_with("events can't be reached: "), "{why}");
    assert!(why.contains("refused"), "{why}");
}

#[tokio::test]
async fn each_question_has_an_answer_of_its_own() {
    let nobody = Nobody::anywhere();
    let stage = Stage::to(nobody.address);
    // More than fit into one call.
    let answers = stage.client.steps(&vec![settle(); 300]).await;
    assert_eq!(answers.len(), 300);
    assert!(answers.iter().all(|answer| matches!(answer, Err(NoAnswer::Silence { .. }))));
}

#[tokio::test]
async fn nothing_is_asked_of_nobody() {
    let parrot = Parrot::start(None).await;
    let stage = Stage::to(parrot.address);
    assert_eq!(stage.client.steps(&[]).await, []);
    assert_eq!(parrot.calls(), 0);
}

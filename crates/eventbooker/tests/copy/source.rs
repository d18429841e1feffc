//! An embedded installation with everything in it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use eventbooker_core::bookings::participant::{Memory, MemoryKey, Participant, Remembered};
use eventbooker_core::{BookingId, Timestamp};
use eventbooker_store::{Access, Answer as Kept, Changes, LastIds, SagaStep};
use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::rows;
use eventbooker_testkit::server::{Installation, Server};
use serde_json::{Value, json};

/// The users' numbers.
pub(crate) const ALICE: i64 = 2;
/// Who comes after the three with passwords, and has been paying in for a long time.
const FIRST_OF_MANY: i64 = 4;
/// More than are copied at once.
const MANY: i64 = 2_300;

pub(crate) fn installed(database: Database) -> Installation {
    Installation::on(env!("CARGO_BIN_EXE_eventbooker"), database)
}

/// The users `admin`, `alice` and `bob`, one event, and a hold.
pub(crate) fn small() -> Installation {
    let source = installed(Database::embedded());
    for (login, role) in [("admin", "admin"), ("alice", "user"), ("bob", "user")] {
        source.add_user(login, role);
    }
    let server = source.serve(&[]);
    let event = server.client_of("admin").create_event(9, 40, 30);
    well(&server.client_of("admin").deposit_for(ALICE, 100));
    well(&server.client_of("alice").book(event, 1));
    well(&server.client_of("alice").purchase(event, 1));
    server.terminate();
    source
}

/// What happened in an installation that has everything.
pub(crate) struct Everything {
    pub(crate) source: Installation,
    /// The event that costs something.
    pub(crate) event: i64,
    /// Alice's hold.
    pub(crate) held: i64,
    /// Bob's booking with a key.
    pub(crate) keyed: Answer,
    /// A booking that refunds elsewhere.
    pub(crate) refunding: i64,
    /// The last booking that was made, and is gone.
    pub(crate) gone: i64,
    pub(crate) alice: String,
    pub(crate) bob: String,
}

impl Everything {
    pub(crate) fn new() -> Self {
        let source = small();
        let server = source.serve(&[]);
        let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
        let bob = server.client_of("bob");
        let event = admin.create_event(12, 10, 30);
        let free = admin.create_event(5, 0, 30);
        let held = alice.book(event, 2).id();
        let confirmed = alice.book(event, 1).id();
        well(&alice.confirm(event, confirmed));
        let refunded = alice.book(event, 3).id();
        well(&alice.confirm(event, refunded));
        well(&alice.cancel(refunded));
        let refunding = alice.purchase(event, 1).id();
        // Too little money, and too few seats.
        well(&bob.purchase(event, 1));
        well(&alice.purchase(free, 6));
        let keyed = book_once(&bob, free);
        well(&keyed);
        let gone = bob.book(free, 2).id();
        let (alice, bob) = [&alice, &bob].map(|it| it.session().unwrap().to_owned()).into();
        server.terminate();
        expire(&source, gone, free);
        refund_elsewhere(source.database(), refunding);
        fill(source.database(), refunding);
        source.check();
        Self { source, event, held, keyed, refunding, gone, alice, bob }
    }
}

/// Bob's booking, which has its effect once.
pub(crate) fn book_once(bob: &Client, event: i64) -> Answer {
    let path = format!("/events/{event}/book");
    bob.ask("POST", &path).key("once").json(&json!({"seats": 1})).answer()
}

/// Lets a hold's time run out.
fn expire(source: &Installation, booking: i64, event: i64) {
    let past = format!("UPDATE bookings SET expires_at = created_at + 1 WHERE id = {booking}");
    assert_eq!(source.database().change(&past), 1);
    let server = source.serve(&[]);
    let give_up = Instant::now() + PATIENCE;
    while server.client().event(event)["pendingBookings"] != 1 {
        assert!(Instant::now() < give_up, "the hold doesn't end");
        sleep(Duration::from_millis(10));
    }
    server.terminate();
}

/// Has a booking in the middle of a saga whose next step is somebody else's.
fn refund_elsewhere(database: &Database, booking: i64) {
    let due = 4_000_000_000_000_000_i64;
    database.change(&format!("UPDATE bookings SET state = -3 WHERE id = {booking}"));
    let errand = format!(
        "INSERT INTO errands (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
         SELECT id, event_id, user_id, 12, {due}, 3, 'the bank is closed', false
         FROM bookings WHERE id = {booking}"
    );
    assert_eq!(database.change(&errand), 1);
}

/// Adds many rows wherever that needs no sense.
fn fill(database: &Database, booking: i64) {
    let booking_id = BookingId::new(booking);
    let step = |number| SagaStep {
        booking_id,
        asked: "refund".to_owned(),
        answered: format!("not yet, {number}"),
        denial: None,
        at: rows::at(9),
    };
    // Older memories and answers, and answers of a clock that is ahead, are removed.
    let now = Timestamp::from_micros(database.number("SELECT max(created_at) FROM bookings"));
    let memory = |attempt| Remembered {
        key: MemoryKey { participant: Participant::Accounts, booking_id, attempt },
        memory: Memory::Withdrawn,
        at: now,
        begun: None,
    };
    let answer = |scope| Kept { created_at: now, ..rows::answer(scope, "key", 0) };
    let many = Changes {
        users_added: (0..MANY)
            .map(|number| rows::user(FIRST_OF_MANY + number, &format!("user-{number}")))
            .collect(),
        sessions_added: (0..99).map(|it| rows::session(it, FIRST_OF_MANY, 1 << 32)).collect(),
        postings: (1..=MANY).map(|it| rows::deposit(FIRST_OF_MANY, it, 3, 3 * it)).collect(),
        accounts_changed: vec![rows::account(FIRST_OF_MANY, 3 * MANY, MANY)],
        answers_added: (0..MANY).map(answer).collect(),
        saga_steps: (0..MANY).map(step).collect(),
        memories_added: (1..1_100).map(memory).collect(),
        last_ids: LastIds { user: Some(FIRST_OF_MANY + MANY), ..LastIds::default() },
        ..Changes::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = database.open(Access::Tool).await.expect("the database opens");
        rows::save(&*store, many).await;
    });
}

fn well(answer: &Answer) {
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

/// What a service answers, but for what depends on the time.
pub(crate) fn said(server: &Server, everything: &Everything) -> Vec<(String, Value)> {
    let Everything { event, alice, bob, .. } = everything;
    let event_paths = [format!("/events/{event}"), format!("/events/{event}/bookings")];
    let paths = ["/events", "/events/get", "/bookings", "/book/get", "/account/get"];
    let mut said = Vec::new();
    for session in [alice, bob] {
        let client = server.client().with_session(Some(session));
        let others = ["/account/history", "/auth"].map(str::to_owned);
        let paths = paths.map(str::to_owned).into_iter().chain(event_paths.clone()).chain(others);
        for path in paths {
            let answer = client.get(&path);
            well(&answer);
            let mut body = answer.json();
            forget_the_time(&mut body);
            said.push((path, body));
        }
    }
    said
}

fn forget_the_time(body: &mut Value) {
    match body {
        Value::Array(items) => items.iter_mut().for_each(forget_the_time),
        Value::Object(members) => {
            members.remove("expiresInSeconds");
            members.values_mut().for_each(forget_the_time);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

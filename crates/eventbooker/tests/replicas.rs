//! Several replicas of the real program on one PostgreSQL database.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::SeededEntropy;
use eventbooker_testkit::client::{Answer, Client};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};
use eventbooker_testkit::wire::Wire;
use serde_json::json;

const REPLICAS: usize = 3;
const USERS: usize = 10;
const CLIENTS: usize = 500;
/// Without locks they stumble over each other, which takes time.
const CLIENTS_WITHOUT_LOCKS: usize = 60;
const DEEDS: usize = 8;
const HOT_SEATS: i64 = 1_000;
const OTHER_EVENTS: usize = 200;
/// How often a replica looks what is due next, if nobody tells it.
const LOOK_EVERY_SECONDS: i64 = 5;
/// With all replicas but one killed, what falls due has ended within this.
const LATE_MICROS_MAX: i64 = 2_000_000;

fn installation() -> Installation {
    Installation::on(env!("CARGO_BIN_EXE_eventbooker"), Database::postgres())
}

/// Registers users through one replica. Returns their sessions, which have to do on all.
fn sessions(server: &Server) -> Vec<String> {
    let register = |number| server.client().registered(&format!("user-{number}"));
    (0..USERS).map(|number| register(number).session().unwrap().to_owned()).collect()
}

/// Does this and that on one replica. Returns how often each status was answered.
fn busy(client: &Client, events: &[i64], seed: u64) -> BTreeMap<u16, usize> {
    let entropy = SeededEntropy::new(seed);
    let mut held = Vec::new();
    let mut statuses = BTreeMap::new();
    for _ in 0..DEEDS {
        let other = 1 + entropy.below(OTHER_EVENTS);
        let event = if entropy.below(2) == 0 { events[0] } else { events[other] };
        let answer = match entropy.below(8) {
            0..4 => client.book(event, 1),
            4 | 5 => client.purchase(event, 1),
            6 => held.pop().map_or_else(|| client.book(event, 1), |(_, id)| client.cancel(id)),
            _ => held
                .pop()
                .map_or_else(|| client.book(event, 2), |(event, id)| client.confirm(event, id)),
        };
        if answer.status == 201 {
            held.push((event, answer.id()));
        }
        *statuses.entry(answer.status).or_default() += 1;
    }
    statuses
}

/// Lets many clients at all replicas. Returns how often each status was answered.
fn storm(
    servers: &[Server],
    sessions: &[String],
    events: &[i64],
    clients: usize,
) -> BTreeMap<u16, usize> {
    let all = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for number in 0..clients {
            let base = servers[number % servers.len()].base();
            let client = Client::new(base).with_session(Some(&sessions[number % USERS]));
            let all = &all;
            let work = move || {
                for (status, count) in busy(&client, events, number as u64) {
                    *all.lock().unwrap().entry(status).or_default() += count;
                }
            };
            let builder = thread::Builder::new().stack_size(256 * 1024);
            builder.spawn_scoped(scope, work).expect("the system gives a few threads");
        }
    });
    all.into_inner().unwrap()
}

fn create_events(admin: &Client) -> Vec<i64> {
    let mut events = vec![admin.create_event(HOT_SEATS, 0, 600)];
    events.extend((0..OTHER_EVENTS).map(|_| admin.create_event(20, 5, 600)));
    events
}

#[test]
fn replicas_sell_no_seat_twice() {
    let installation = installation();
    installation.add_user("admin", "admin");
    let servers: Vec<Server> = (0..REPLICAS).map(|_| installation.serve(&UNLIMITED)).collect();
    let admin = servers[0].client_of("admin");
    let events = create_events(&admin);
    let sessions = sessions(&servers[1]);
    for session in &sessions {
        let user = servers[2].client().with_session(Some(session)).get("/auth").id();
        assert_eq!(admin.deposit_for(user, 200).status, 200);
    }
    let statuses = storm(&servers, &sessions, &events, CLIENTS);
    println!("{statuses:?}");
    for (status, count) in &statuses {
        let expected = [200, 201, 402, 409, 429, 503].contains(status);
        assert!(expected, "{status} was answered {count} times");
    }
    assert!(statuses[&201] > CLIENTS, "hardly anything was booked: {statuses:?}");
    for server in servers {
        server.terminate();
    }
    installation.check();
}

/// The same must fail without what keeps replicas apart: the lock on an event's row, and the key that
/// tells two entries of one version apart.
#[test]
fn without_locks_seats_are_sold_twice() {
    let database = Database::postgres();
    let wire = Wire::without_row_locks(database.port());
    let installation = Installation::on(env!("CARGO_BIN_EXE_eventbooker"), database);
    installation.add_user("admin", "admin");
    installation.database().change("ALTER TABLE journal DROP CONSTRAINT journal_pkey");
    let url = installation.database().url_through(wire.port());
    let flags = [UNLIMITED.as_slice(), &["--database", &url]].concat();
    let servers: Vec<Server> = (0..REPLICAS).map(|_| installation.serve(&flags)).collect();
    let events = create_events(&servers[0].client_of("admin"));
    storm(&servers, &sessions(&servers[1]), &events, CLIENTS_WITHOUT_LOCKS);
    for server in servers {
        server.terminate();
    }
    assert!(wire.swaps() > 0);
    let hot = events[0];
    let database = installation.database();
    let kept = database.number(&format!("SELECT sum(seats) FROM slots WHERE event_id = {hot}"));
    let counted = database.number(&format!("SELECT occupied FROM tallies WHERE event_id = {hot}"));
    assert_ne!(kept, counted, "every seat was counted, though nothing kept replicas apart");
}

/// Each hold is ended once, whoever looks after it; and whoever is left goes on.
#[test]
fn deadlines_are_kept_by_whoever_is_left() {
    let installation = installation();
    installation.add_user("admin", "admin");
    let mut servers: Vec<Server> = (0..REPLICAS).map(|_| installation.serve(&UNLIMITED)).collect();
    let event = servers[0].client_of("admin").create_event(300, 0, 600);
    let session = servers[0].client().registered("ann").session().unwrap().to_owned();
    let hold = |server: &Server, count: usize| {
        let client = server.client().with_session(Some(&session));
        for _ in 0..count {
            assert_eq!(client.book(event, 1).status, 201);
        }
    };
    let database = installation.database();
    let expire = |seconds: i64| {
        let soon = format!(
            "UPDATE bookings SET expires_at =
               (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + {seconds} * 1000000"
        );
        assert!(database.change(&soon) > 0);
        database.number("SELECT max(expires_at) FROM bookings")
    };
    let free_seats = |server: &Server| server.client().event(event)["freeSeats"].as_i64().unwrap();
    for server in &servers {
        hold(server, 100);
    }
    expire(1);
    let begun = Instant::now();
    while free_seats(&servers[0]) < 300 {
        assert!(begun.elapsed() < PATIENCE, "holds outlive their deadline");
    }
    let ended = "SELECT count(*) FROM journal WHERE kind = 4";
    assert_eq!(database.number(ended), 300, "each has ended once");

    // By then everybody has looked what is due next, as with any deadline that is minutes away.
    for server in &servers {
        hold(server, 50);
    }
    let deadline = expire(LOOK_EVERY_SECONDS + 2);
    let last = servers.pop().unwrap();
    for server in servers {
        server.kill();
    }
    let begun = Instant::now();
    while free_seats(&last) < 300 {
        assert!(begun.elapsed() < PATIENCE, "nobody ends what is due");
        thread::sleep(Duration::from_millis(10));
    }
    let late = database.number("SELECT max(at) FROM journal WHERE kind = 4") - deadline;
    println!("{late} µs after the deadline");
    assert!((0..=LATE_MICROS_MAX).contains(&late), "{late} µs after the deadline");
    last.terminate();
    installation.check();
}

/// What one replica has answered under a key, another answers again; and a session ends on all.
#[test]
fn a_key_is_a_key_on_every_replica() {
    let installation = installation();
    installation.add_user("admin", "admin");
    let servers: Vec<Server> = (0..2).map(|_| installation.serve(&UNLIMITED)).collect();
    let event = servers[0].client_of("admin").create_event(9, 0, 600);
    let session = servers[0].client().registered("ann").session().unwrap().to_owned();
    let clients: Vec<Client> =
        servers.iter().map(|server| server.client().with_session(Some(&session))).collect();
    let book = |client: &Client| -> Answer {
        let path = format!("/events/{event}/book");
        client.ask("POST", &path).json(&json!({"seats": 2})).key("once").answer()
    };
    let [first, again] = [book(&clients[0]), book(&clients[1])];
    assert_eq!((first.status, &first.body), (201, &again.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(clients[1].event(event)["freeSeats"], 7);
    // Whoever signs out here is signed out there, as soon as what was remembered is forgotten.
    assert_eq!(clients[0].ask("POST", "/logout").body(b"").answer().status, 200);
    let begun = Instant::now();
    while clients[1].get("/bookings").status == 200 {
        assert!(begun.elapsed() < PATIENCE, "a session outlives its end");
        thread::sleep(Duration::from_millis(50));
    }
    for server in servers {
        server.terminate();
    }
    installation.check();
}

/// A page hears of what another replica did within a second. Each change is made only when the one
/// before was heard of, so that none can hide behind another.
#[test]
fn pages_see_within_a_second_what_another_replica_did() {
    const CHANGES: i64 = 20;
    let installation = installation();
    installation.add_user("admin", "admin");
    let servers: Vec<Server> = (0..2).map(|_| installation.serve(&UNLIMITED)).collect();
    let event = servers[0].client_of("admin").create_event(100, 0, 600);
    let buyer = servers[0].client().registered("ann");
    let mut page = servers[1].client().live_counts(&[event]);
    let mut journal = servers[1].client().live(event, None);
    assert_eq!(page.next_message().unwrap().data["version"], 1);
    assert_eq!(journal.next_message().unwrap().id, 1);
    let mut waits = Vec::new();
    for version in 2..2 + CHANGES {
        assert_eq!(buyer.book(event, 1).status, 201);
        let begun = Instant::now();
        assert_eq!(page.next_message().unwrap().data["version"], version);
        waits.push(begun.elapsed());
        assert_eq!(journal.next_message().unwrap().id, version);
    }
    // The machine may be busy now and then; what is promised is what nearly always holds.
    waits.sort_unstable();
    println!("{waits:?}");
    assert!(waits[waits.len() / 2] < Duration::from_secs(1), "{waits:?}");
    for server in servers {
        server.terminate();
    }
    installation.check();
}

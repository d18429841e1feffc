//! `kill -9` at random moments under load: what was answered is kept, what was not answered has
//! happened once or never, money is where the bookings say, and holds whose deadline passed
//! meanwhile are gone at once.
//!
//! The seed is printed; `CRASH_SEED=…` runs the same choices again, as far as the machine's own
//! timing lets it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use eventbooker_testkit::SeededEntropy;
use eventbooker_testkit::attendee::{Attendee, Clients, Event};
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, UNLIMITED};

const ROUNDS: usize = 50;
const CLIENTS: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// From the first 200 of `/ready` until holds that ended while the service was down are gone.
const GONE_MAX: Duration = Duration::from_secs(1);

/// Lets the deadlines of some holds pass while the service is down. Returns which.
fn let_time_pass(database: &Database, entropy: &SeededEntropy) -> BTreeSet<i64> {
    let mut passed = BTreeSet::new();
    for id in database.numbers("SELECT id FROM bookings WHERE state = 2") {
        if entropy.below(3) == 0 {
            let past = format!("UPDATE bookings SET expires_at = created_at + 1 WHERE id = {id}");
            assert_eq!(database.change(&past), 1);
            passed.insert(id);
        }
    }
    passed
}

/// Waits until no row of these holds is left.
fn assert_gone_in_time(database: &Database, passed: &BTreeSet<i64>) -> Duration {
    let ready = Instant::now();
    loop {
        let rows = database.numbers("SELECT id FROM bookings WHERE expires_at = created_at + 1");
        let left: Vec<_> = rows.iter().filter(|id| passed.contains(id)).collect();
        let took = ready.elapsed();
        if left.is_empty() {
            return took;
        }
        assert!(took < GONE_MAX, "{} holds outlive their deadline", left.len());
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_was_answered_survives_being_killed() {
    let seed = std::env::var("CRASH_SEED").ok().map_or_else(
        || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
        |seed| seed.parse().expect("a number"),
    );
    println!("CRASH_SEED={seed}");
    let entropy = SeededEntropy::new(seed);
    let installation = Installation::with_users(env!("CARGO_BIN_EXE_eventbooker"));
    installation.add_user("carol", "user");
    installation.add_user("dave", "user");
    let database = installation.database();

    let server = installation.serve(&UNLIMITED);
    let admin = server.client_of("admin");
    // Seats run out in the first, and money for the second; the third costs nothing.
    let events = [(30, 7), (100_000, 3), (100_000, 0)]
        .map(|(seats, price)| Event { id: admin.create_event(seats, price, 600), price });
    let mut attendees = CLIENTS.map(|login| Attendee::new(&server, login, entropy.draw()));
    server.terminate();

    let (mut expired, mut slowest) = (0, Duration::ZERO);
    for round in 0..ROUNDS {
        let server = installation.serve(&UNLIMITED);
        let clients: Vec<Clients> =
            attendees.iter().map(|attendee| attendee.clients(&server)).collect();
        thread::scope(|scope| {
            for (attendee, clients) in attendees.iter_mut().zip(&clients) {
                scope.spawn(|| attendee.work(clients, &events));
            }
            thread::sleep(Duration::from_millis(20 + entropy.below(250) as u64));
            server.kill();
        });

        // In half of the rounds nobody but the service itself opens what the crash left behind.
        let passed =
            if round % 2 == 0 { let_time_pass(database, &entropy) } else { BTreeSet::new() };
        expired += passed.len();
        for attendee in &mut attendees {
            attendee.known.bookings.retain(|id, _| !passed.contains(id));
        }

        let server = installation.serve(&UNLIMITED);
        slowest = slowest.max(assert_gone_in_time(database, &passed));
        for attendee in &mut attendees {
            let rows = attendee.rows(database);
            attendee.settle(&attendee.clients(&server), &rows);
            // A booking of which only the answer was lost may have expired since; the answer, asked
            // for again, still tells of it.
            attendee.known.bookings.retain(|id, _| !passed.contains(id));
            // Everything that was answered is there as it was answered, and nothing else is.
            assert_eq!(attendee.rows(database), attendee.known, "round {round}");
        }
        if let Some(id) = passed.first() {
            let anybody = server.client_of("alice");
            anybody.confirm(events[0].id, *id).problem(410, "hold-expired");
        }
        installation.check();
        server.kill();
    }

    let total = |count: fn(&Attendee) -> usize| attendees.iter().map(count).sum::<usize>();
    let answered = total(|attendee| attendee.tally.answered);
    let counts = [
        ("replayed", total(|attendee| attendee.tally.replayed)),
        ("found", total(|attendee| attendee.tally.found)),
        ("expired", expired),
        ("purchased", total(|attendee| attendee.tally.purchased)),
        ("sold out", total(|attendee| attendee.tally.sold_out)),
        ("short of money", total(|attendee| attendee.tally.short)),
        ("refunded", total(|attendee| attendee.tally.refunded)),
        ("deposited", total(|attendee| attendee.tally.deposited)),
    ];
    println!("{answered} answers; {counts:?}; slowest {slowest:?}");
    assert!(answered > ROUNDS, "the service was killed before it did anything");
    assert!(expired > ROUNDS / 2, "hardly a deadline passed");
    for (what, count) in &counts[3..] {
        assert!(*count > 0, "nothing was {what}");
    }
}

//! Turns: writers that meet on PostgreSQL wait for each other before a batch is formed, and for nobody
//! else.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_core::{EventId, Timestamp};
use eventbooker_store::postgres::{Clock, PostgresStore};
use eventbooker_store::{Access, Changes, IdRange, LastIds, Store as _, Wants, Writer};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::postgres::{Schema, numbers};
use eventbooker_testkit::rows::{at, event, save};
use tokio::time::timeout;

const LANE: usize = 0;
/// Bookings that a batch of these tests wants to make.
const CROWD: u32 = 40;

/// Transactions that have begun and wait for what they are told next, and those that wait for a lock.
const OPEN: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE application_name = current_setting('application_name') AND state = 'idle in transaction'";
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE application_name = current_setting('application_name') AND wait_event_type = 'Lock'";

struct Pair {
    schema: Schema,
    _store: PostgresStore,
    one: Box<dyn Writer>,
    other: Box<dyn Writer>,
}

impl Pair {
    /// Two writers that have an event in common and don't know of each other.
    async fn apart() -> Self {
        let schema = Schema::new();
        let store = schema.open(Access::Tool, Clock::Given).await.expect("it opens");
        save(&store, Changes { events_added: vec![event(1)], ..Changes::default() }).await;
        let one = store.writer().await.expect("a writer");
        let other = store.writer().await.expect("a writer");
        Self { schema, _store: store, one, other }
    }

    /// Two writers that have each seen the other at work.
    async fn met() -> Self {
        let mut pair = Self::apart().await;
        for _ in 0..2 {
            batch(&mut *pair.one, CROWD).await;
            batch(&mut *pair.other, CROWD).await;
        }
        pair
    }

    fn count(&self, query: &str) -> i64 {
        numbers(self.schema.url(), query)[0]
    }
}

/// Changes the event in a batch that may make so many bookings; the numbers that it had for them, all
/// of which it uses.
async fn batch(writer: &mut dyn Writer, bookings: u32) -> IdRange {
    let event_id = EventId::new(1);
    let wants = Wants { events: vec![event_id], new_bookings: bookings, ..Wants::default() };
    let loaded = writer.load(&wants, at(0)).await.expect("it loads");
    let mut tally = loaded.events[0].tally;
    tally.version += 1;
    let last_ids = LastIds { booking: Some(loaded.booking_ids.end - 1), ..LastIds::default() };
    let tallies_changed = vec![(event_id, tally)];
    let changes = Changes { tallies_changed, last_ids, ..Changes::default() };
    writer.save(&changes).await.expect("it saves");
    loaded.booking_ids
}

fn later(millis: u64) -> Timestamp {
    at(0).plus(Duration::from_millis(millis))
}

#[tokio::test]
async fn writers_that_have_met_wait_for_each_other() {
    let mut pair = Pair::met().await;
    pair.one.take_turn(LANE, at(0)).await;
    let Pair { schema, one, other, .. } = &mut pair;
    let ((), ()) = tokio::join!(
        async {
            other.take_turn(LANE, at(0)).await;
            // Behind the other's batch, and with a turn of its own.
            assert_eq!(numbers(schema.url(), OPEN), [1]);
            batch(&mut **other, CROWD).await;
        },
        async {
            let waits = async {
                while numbers(schema.url(), WAITING) != [1] {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, waits).await.expect("it waits for its turn");
            batch(&mut **one, CROWD).await;
        }
    );
    assert_eq!(pair.count(OPEN), 0);
}

#[tokio::test]
async fn lanes_of_other_numbers_have_turns_of_their_own() {
    let mut pair = Pair::met().await;
    pair.one.take_turn(LANE, at(0)).await;
    pair.other.take_turn(LANE + 1, at(0)).await;
    assert_eq!(pair.count(OPEN), 2);
}

#[tokio::test]
async fn who_has_met_nobody_lately_begins_at_once() {
    let mut pair = Pair::apart().await;
    for _ in 0..3 {
        batch(&mut *pair.one, CROWD).await;
    }
    pair.one.take_turn(LANE, at(0)).await;
    assert_eq!(pair.count(OPEN), 0, "there has been nobody else");
    batch(&mut *pair.other, CROWD).await;
    batch(&mut *pair.one, CROWD).await;
    pair.one.take_turn(LANE, later(1_000)).await;
    assert_eq!(pair.count(OPEN), 1, "there is somebody");
    batch(&mut *pair.one, CROWD).await;
    pair.one.take_turn(LANE, later(1_001)).await;
    assert_eq!(pair.count(OPEN), 0, "they have gone");
}

/// Numbers of a turn are taken before it begins, so that it keeps nobody from theirs; one that needs
/// more than that gives itself up.
#[tokio::test]
async fn a_turn_keeps_nobody_from_numbers() {
    let mut pair = Pair::met().await;
    pair.one.take_turn(LANE, at(0)).await;
    let others = Wants { new_bookings: 100 * CROWD, ..Wants::default() };
    let others = pair.other.load(&others, at(0)).await.expect("it loads").booking_ids;
    pair.other.release().await.expect("it gives up");
    let own = batch(&mut *pair.one, 1_000 * CROWD).await;
    assert!(own.end - own.next >= i64::from(1_000 * CROWD), "{own:?}");
    assert!(own.next >= others.end || own.end <= others.next, "{own:?} and {others:?}");
    assert_eq!(pair.count(OPEN), 0);
}

/// A replica that stands still must not stop the others.
#[tokio::test]
async fn a_turn_that_is_kept_for_long_is_done_without() {
    let mut pair = Pair::met().await;
    pair.one.take_turn(LANE, at(0)).await;
    pair.other.take_turn(LANE, at(0)).await;
    assert_eq!(pair.count(OPEN), 1, "only the one who keeps it");
    batch(&mut *pair.other, CROWD).await;
    batch(&mut *pair.one, CROWD).await;
    batch(&mut *pair.other, CROWD).await;
    pair.other.take_turn(LANE, at(0)).await;
    assert_eq!(pair.count(OPEN), 0, "nor is another one waited for so soon");
    batch(&mut *pair.other, CROWD).await;
}

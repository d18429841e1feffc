//! More questions than a participant can answer: they wait, and none of them is asked in vain.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::bookings::errand::{Errand, LEASE};
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Denial};
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_engine::{Neighbours, NoAnswer, Participate, Place};
use eventbooker_store::StoreError;
use eventbooker_testkit::clock::NEW_YEAR;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::{Outcome, steps_only};
use tokio::task::JoinSet;

use super::pair::{Act, Ids, tasks_take_turns};
use super::solo::Solo;

/// Calls to one participant at the same time, and questions in each.
const CALLS_MAX: usize = 2;
const TOGETHER_MAX: usize = 256;
/// Tasks that sleep by the clock in an engine.
const SLEEPERS: usize = 4;

/// It is sold out; but the first calls to it hang.
#[derive(Default)]
pub(crate) struct BoxOffice {
    hanging: AtomicUsize,
    asked: Mutex<BTreeMap<BookingId, usize>>,
}

impl BoxOffice {
    pub(crate) fn hanging_for_ever() -> Self {
        Self { hanging: usize::MAX.into(), ..Self::default() }
    }

    fn asked(&self) -> BTreeMap<BookingId, usize> {
        self.asked.lock().expect("nobody panics").clone()
    }
}

#[async_trait]
impl Participate for BoxOffice {
    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
        for request in &requests {
            *self.asked.lock().expect("nobody panics").entry(request.booking_id).or_default() += 1;
        }
        let left = |n: usize| n.checked_sub(1);
        if self.hanging.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            std::future::pending::<()>().await;
        }
        requests.iter().map(|_| Ok(Answer::NotOccupied(Denial::NoSuchEvent))).collect()
    }
}

async fn sold_out(office: &Arc<BoxOffice>, prepare: impl FnOnce(&Database)) -> Solo {
    let events = Place::Elsewhere(steps_only(office) as _);
    Solo::start_on(Neighbours { events, ..Neighbours::default() }, prepare).await
}

/// A purchase of this user's.
fn purchase(solo: &Solo, user: i64) -> impl Future<Output = Outcome<State>> + use<> {
    let (event, user, booking) = (EventId::new(1), UserId::new(user), BookingId::new(user));
    Act::Purchase.run(solo.engine.clone(), Ids { event, user, booking })
}

/// Purchases of so many users: of the first, each has a call of its own, in which it is asked; the
/// others wait behind them.
async fn queue_up(solo: &Solo, office: &BoxOffice, users: usize) -> JoinSet<Outcome<State>> {
    let mut clients = JoinSet::new();
    for (user, waiting) in (1..).zip(1..=users) {
        clients.spawn(purchase(solo, user));
        solo.until("it is asked, or waits", async || {
            office.asked().len() == waiting.min(CALLS_MAX) && solo.errands().await.len() == waiting
        })
        .await;
    }
    // Whoever waits for an answer has begun to.
    solo.clock.until_asleep(SLEEPERS + CALLS_MAX + users).await;
    tasks_take_turns().await;
    clients
}

/// As many calls as there may be hang, and ten more questions wait behind them until the lease of each has ended. Then
/// none of them is asked by whoever had it: each is asked once, after it was taken up again.
#[tokio::test]
async fn what_has_waited_too_long_is_not_asked() {
    let office = Arc::new(BoxOffice { hanging: CALLS_MAX.into(), ..BoxOffice::default() });
    let solo = sold_out(&office, |_| {}).await;
    let clients = queue_up(&solo, &office, CALLS_MAX + 10).await;

    // The lane stands still, so that nothing can be taken up.
    let mut held = solo.faults.hold_next_save();
    solo.clock.advance(LEASE);
    held.reached().await;
    tasks_take_turns().await;
    assert_eq!(office.asked().len(), CALLS_MAX, "nobody would hear the answers");
    held.let_go();

    solo.until("all are answered", async || {
        solo.clock.advance(Duration::from_millis(1));
        solo.errands().await.is_empty()
    })
    .await;
    let times: Vec<usize> = office.asked().into_values().collect();
    assert_eq!(times, [[2; CALLS_MAX].as_slice(), &[1; 10]].concat());
    for answer in clients.join_all().await {
        // They have lost their patience; some a moment before the answer came.
        assert!(matches!(answer, Ok(State::Occupying | State::Cancelled)), "{answer:?}");
    }
    solo.engine.stop().await;
}

/// Questions that were put back have not been tried.
#[tokio::test]
async fn what_was_not_asked_has_not_failed() {
    let office = Arc::new(BoxOffice::hanging_for_ever());
    let solo = sold_out(&office, |_| {}).await;
    let mut clients = queue_up(&solo, &office, 5).await;
    // The calls have been given up, and what waits behind them can't be answered within its lease.
    solo.clock.advance(Duration::from_secs(6));
    let is_taken_up = |errand: &Errand| errand.token == 2;
    let taken_up = async || solo.errands().await.iter().any(is_taken_up);
    solo.until("one is taken up again", taken_up).await;
    let errand = solo.errands().await.into_iter().find(is_taken_up).expect("a moment ago");
    assert_eq!((errand.tries, errand.trouble), (1, None));
    clients.shutdown().await;
    solo.engine.stop().await;
}

/// Leaves so many sagas behind, whose errands nobody carries.
pub(crate) fn leave(database: &Database, count: i64) {
    // The insert leads: one store wants its numbers before it, the other behind it.
    let numbers = format!(
        "FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
               SELECT i FROM n) numbers"
    );
    let then = NEW_YEAR.as_micros();
    database.change(&format!(
        "INSERT INTO bookings
           (id, event_id, user_id, seats, payment, amount, attempt, state, created_at, expires_at)
           SELECT i, 1, i, 1, 1, 0, 0, 1, {then}, {then} {numbers};
         INSERT INTO errands
           (booking_id, event_id, user_id, token, due_at, tries, trouble, parked)
           SELECT i, 1, i, 1, {then}, 1, NULL, false {numbers}"
    ));
}

/// Sagas that were left behind, far more than can be asked for within a lease. Only as many are
/// taken up as can be asked soon, and all of them come to their end.
#[tokio::test]
async fn no_more_is_taken_up_than_can_be_asked() {
    const LEFT: i64 = 5000;
    let office = Arc::new(BoxOffice { hanging: CALLS_MAX.into(), ..BoxOffice::default() });
    let solo = sold_out(&office, |database| leave(database, LEFT)).await;
    // Nothing more happens until time passes.
    solo.clock.until_asleep(SLEEPERS + CALLS_MAX).await;
    let taken_up = solo.errands().await.iter().filter(|errand| errand.token > 1).count();
    let at_work = CALLS_MAX * TOGETHER_MAX;
    assert!(taken_up >= at_work && taken_up <= 3 * at_work, "{taken_up}");

    solo.until("all end", async || {
        solo.clock.advance(Duration::from_millis(100));
        tasks_take_turns().await;
        solo.errands().await.is_empty()
    })
    .await;
    assert_eq!(office.asked().len(), usize::try_from(LEFT).expect("positive"));
    solo.engine.stop().await;
}

/// Answers that came together are acted on together, unless one of them can't be: that is tried again,
/// and is in no other's way.
#[tokio::test]
async fn an_answer_that_cannot_be_acted_on_is_in_no_others_way() {
    const LEFT: i64 = 100;
    let office = Arc::new(BoxOffice::default());
    let solo = sold_out(&office, |database| leave(database, LEFT)).await;
    let damaged = BookingId::new(50);
    solo.faults.object(move |changes| {
        let is_damaged = |booking: &Booking| booking.id == damaged;
        let objection = || StoreError::Refused("a test wants this".to_owned());
        changes.bookings_changed.iter().any(is_damaged).then(objection)
    });
    solo.until("all others end", async || solo.errands().await.len() == 1).await;
    let why = Some("its answer could not be acted on".to_owned());
    solo.until("it fails", async || solo.errands().await.iter().any(|it| it.trouble == why)).await;
    assert_eq!(solo.errands().await.remove(0).booking_id, damaged);
    solo.faults.object(|_| None);
    solo.until("it ends", async || {
        solo.clock.advance(Duration::from_millis(1));
        solo.errands().await.is_empty()
    })
    .await;
    solo.engine.stop().await;
}

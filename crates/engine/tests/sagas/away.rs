//! A participant that is known to be away: nothing is begun that would only wait for it, whoever has
//! begun is told so at once, and what waits goes on when it is back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::bookings::State;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Denial};
use eventbooker_core::{BookingId, Context, EventId, Timestamp, UserId};
use eventbooker_engine::{Availability, Neighbours, NoAnswer, Participate, Place, Refusal};
use eventbooker_testkit::clock::{NEW_YEAR, PATIENCE};
use eventbooker_testkit::{Outcome, refused, steps_only};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::pair::{Act, Ids, tasks_take_turns};
use super::queue::leave;
use super::solo::Solo;

const SECOND: Duration = Duration::from_secs(1);

/// It has no such event, or is away.
#[derive(Default)]
struct Office {
    away_until: Mutex<Option<Timestamp>>,
    asked: Mutex<Vec<BookingId>>,
    /// When there is one, a call waits for its turn.
    turns: Option<Semaphore>,
}

impl Office {
    fn is_away_until(&self, instant: Option<Timestamp>) {
        *self.away_until.lock().expect("nobody panics") = instant;
    }

    fn asked(&self) -> Vec<BookingId> {
        self.asked.lock().expect("nobody panics").clone()
    }
}

#[async_trait]
impl Participate for Office {
    fn availability(&self) -> Availability {
        let until = *self.away_until.lock().expect("nobody panics");
        until.map_or(Availability::Available, Availability::AwayUntil)
    }

    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
        let asked = requests.iter().map(|request| request.booking_id);
        self.asked.lock().expect("nobody panics").extend(asked);
        if let Some(turns) = &self.turns {
            turns.acquire().await.expect("it is never closed").forget();
        }
        let until = *self.away_until.lock().expect("nobody panics");
        let answer = || match until {
            Some(until) => {
                Err(NoAnswer::Silence { why: "the office is shut".to_owned(), until: Some(until) })
            }
            None => Ok(Answer::NotOccupied(Denial::NoSuchEvent)),
        };
        requests.iter().map(|_| answer()).collect()
    }
}

async fn with_events_at(office: &Arc<Office>) -> Solo {
    let events = Place::Elsewhere(steps_only(office) as _);
    Solo::start(Neighbours { events, ..Neighbours::default() }).await
}

fn act(solo: &Solo, act: Act) -> impl Future<Output = Outcome<State>> + use<> {
    let (event, user, booking) = (EventId::new(1), UserId::new(1), BookingId::new(1));
    act.run(solo.engine.clone(), Ids { event, user, booking })
}

#[tokio::test]
async fn nothing_is_begun_that_would_only_wait() {
    let office = Arc::new(Office::default());
    let solo = with_events_at(&office).await;
    let until = solo.engine.now().plus(SECOND * 3);
    office.is_away_until(Some(until));
    let saves = solo.faults.saves_tried();
    for wish in [Act::Book, Act::Purchase] {
        let answer = timeout(PATIENCE, act(&solo, wish)).await.expect("it is answered at once");
        assert_eq!(answer, Err(refused(Refusal::Away { service: Context::Events, until })));
    }
    assert_eq!(solo.faults.saves_tried(), saves, "there is nothing to save");
    assert_eq!(office.asked(), []);
    office.is_away_until(None);
    assert_eq!(act(&solo, Act::Purchase).await, Ok(State::Cancelled));
    solo.engine.stop().await;
}

/// Nobody knows yet that it is away when the saga begins. Whoever waits is told as soon as somebody does,
/// though no time has passed.
#[tokio::test]
async fn whoever_has_begun_waits_for_nobody_who_is_away() {
    let office = Arc::new(Office { turns: Some(Semaphore::new(0)), ..Office::default() });
    let solo = with_events_at(&office).await;
    let client = tokio::spawn(act(&solo, Act::Purchase));
    solo.until("it is asked", async || office.asked().len() == 1).await;
    tasks_take_turns().await;
    assert!(!client.is_finished());
    let until = solo.engine.now().plus(SECOND * 3);
    office.is_away_until(Some(until));
    office.turns.as_ref().expect("it has").add_permits(1);
    let answer = timeout(PATIENCE, client).await.expect("it is answered at once");
    assert_eq!(answer.expect("a client doesn't panic"), Ok(State::Occupying));
    // The next is told without anybody being asked.
    let cancelled = timeout(PATIENCE, act(&solo, Act::Cancel)).await;
    assert_eq!(cancelled.expect("it is answered at once"), Ok(State::Releasing));
    solo.engine.stop().await;
}

/// What waits isn't asked for, nor taken up, but left alone until there is somebody to ask; and then not
/// all of it in the same moment.
#[tokio::test]
async fn what_waits_goes_on_soon_after_they_are_back() {
    const LEFT: usize = 100;
    let office = Arc::new(Office::default());
    let probe_at = NEW_YEAR.plus(SECOND * 3);
    office.is_away_until(Some(probe_at));
    let events = Place::Elsewhere(steps_only(&office) as _);
    let neighbours = Neighbours { events, ..Neighbours::default() };
    let solo = Solo::start_on(neighbours, |database| leave(database, 100)).await;
    let put_off = async || solo.errands().await.iter().all(|it| it.due_at >= probe_at);
    solo.until("they are left alone", put_off).await;
    let errands = solo.errands().await;
    assert!(errands.iter().all(|it| (it.token, it.tries) == (1, 1)), "nobody has tried");
    let trouble: BTreeSet<_> = errands.iter().map(|it| it.trouble.as_deref()).collect();
    assert_eq!(trouble, [Some("events is away")].into());
    let due: BTreeSet<Timestamp> = errands.iter().map(|it| it.due_at).collect();
    assert!(due.iter().all(|due_at| *due_at <= probe_at.plus(SECOND)) && due.len() > LEFT / 2);
    assert_eq!(office.asked(), []);

    office.is_away_until(None);
    solo.clock.set(probe_at.plus(SECOND));
    solo.until("all end", async || solo.errands().await.is_empty()).await;
    assert_eq!(office.asked().len(), LEFT);
    solo.engine.stop().await;
}

/// As many as may be, and one less. What is under way goes on.
#[tokio::test]
async fn only_so_many_sagas_are_under_way() {
    const MAX: i64 = 100_000;
    let office = Arc::new(Office::default());
    let events = Place::Elsewhere(steps_only(&office) as _);
    let neighbours = Neighbours { events, ..Neighbours::default() };
    let later = NEW_YEAR.plus(SECOND * 3600).as_micros();
    let solo = Solo::start_on(neighbours, |database| {
        leave(database, MAX);
        // Their numbers are out of the way of new ones, and one of them is the operator's.
        database.change(&format!(
            "UPDATE bookings SET id = id + 1000000;
             UPDATE errands SET booking_id = booking_id + 1000000, due_at = {later};
             UPDATE errands SET parked = true WHERE booking_id = 1000007"
        ));
    })
    .await;
    solo.until("they are counted", async || solo.faults.looks_for_errands() > 0).await;
    tasks_take_turns().await;
    let user = UserId::new(1);
    let buy = async || {
        let (event, booking) = (EventId::new(1), BookingId::new(1));
        Act::Purchase.run(solo.engine.clone(), Ids { event, user, booking }).await
    };
    assert_eq!(buy().await, Ok(State::Cancelled), "there is room for one");
    solo.database.change("UPDATE errands SET parked = false WHERE booking_id = 1000007");
    let crowded = async || buy().await == Err(refused(Refusal::Crowded));
    solo.until("it is crowded", async || {
        solo.clock.advance(SECOND * 2);
        tasks_take_turns().await;
        crowded().await
    })
    .await;
    let saves = solo.faults.saves_tried();
    assert!(crowded().await);
    assert_eq!(solo.faults.saves_tried(), saves);
    solo.engine.stop().await;
}

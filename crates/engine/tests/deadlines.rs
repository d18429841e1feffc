//! Deadlines: never early, never late for anybody, and every hold ends exactly once.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use eventbooker_core::bookings::{Booking, CancelRefusal, ConfirmRefusal};
use eventbooker_core::events::JournalKind;
use eventbooker_core::{BookingId, EventId, Timestamp};
use eventbooker_engine::{Batch, Command, Engine, Lane, Refusal, Rules, Settings};
use eventbooker_store::{StoreError, Wants};
use eventbooker_testkit::clock::{MOMENT, PATIENCE, just_before};
use eventbooker_testkit::service::{attendee, outcome};
use eventbooker_testkit::{Failure, Fault, Options, Outcome, Service, begin, refused};
use futures_util::future::join_all;
use tokio::task::JoinSet;

const WINDOW: Duration = Duration::from_secs(60);
/// How long the deadline clock waits after the store failed it.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// How long it leaves a hold alone at first that it can't end.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// It looks at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Waits until something is so that will be so in a moment.
async fn until(is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to be so");
}

/// An event with a window of [`WINDOW`], and so many holds on it, one seat and one user each.
async fn with_holds(service: &Service, count: i64) -> (EventId, Vec<Booking>) {
    let event_id = service.create_event(count, 0, 1).await;
    let holds = join_all((1..=count).map(|user| service.book(user, event_id, 1))).await;
    (event_id, holds.into_iter().map(|hold| hold.expect("there is room")).collect())
}

/// What races the deadline.
#[derive(Debug, Clone, Copy)]
enum Racer {
    Confirm,
    Cancel,
}

impl Racer {
    async fn run(self, engine: Engine, hold: Booking) -> Outcome<BookingId> {
        let (owner, id) = (attendee(hold.user_id.get()), hold.id);
        let answer = match self {
            Self::Confirm => engine.confirm(owner, None, id, None).await,
            Self::Cancel => engine.cancel(owner, id, None).await,
        };
        outcome(answer).map(|at| at.booking.id)
    }

    fn wins_as(self) -> JournalKind {
        match self {
            Self::Confirm => JournalKind::Confirmed,
            Self::Cancel => JournalKind::Cancelled,
        }
    }

    /// Whether this is how it is told that it came too late.
    fn loses_with(self, failure: &Failure) -> bool {
        let expired = match self {
            Self::Confirm => refused(ConfirmRefusal::Expired),
            Self::Cancel => refused(CancelRefusal::Expired),
        };
        *failure == expired || *failure == refused(Refusal::BookingGone)
    }
}

/// So many holds with one deadline are confirmed or cancelled one moment before it, while the
/// clock is set to it when `answered` of them have been answered. Returns how many made it.
async fn one_round(service: &Service, racer: Racer, count: i64, answered: usize) -> usize {
    let (event_id, holds) = with_holds(service, count).await;
    let deadline = holds[0].expires_at;
    service.clock.set(deadline.minus(MOMENT));

    let mut racers = JoinSet::new();
    for hold in &holds {
        racers.spawn(racer.run(service.engine().clone(), *hold));
    }
    let mut winners = Vec::new();
    for number in 0..=holds.len() {
        if number == answered {
            service.clock.set(deadline);
        }
        let Some(outcome) = racers.join_next().await else { break };
        match outcome.expect("a racer doesn't panic") {
            Ok(id) => winners.push(id),
            Err(failure) => assert!(racer.loses_with(&failure), "{failure:?}"),
        }
    }
    service.settle().await;
    assert_ended_once(service, event_id, racer, deadline, &winners).await;
    assert_eq!(service.event(event_id).await.tally.pending_bookings, 0, "every hold has ended");
    winners.len()
}

/// By the journal, each hold ended once: as the racer's if it was told yes, else by its deadline.
async fn assert_ended_once(
    service: &Service,
    event_id: EventId,
    racer: Racer,
    deadline: Timestamp,
    winners: &[BookingId],
) {
    let mut endings: BTreeMap<BookingId, Vec<JournalKind>> = BTreeMap::new();
    for entry in service.store().journal(event_id, 1, 10_000).await.expect("read") {
        let of_hold = endings.entry(entry.booking_id.expect("about a booking")).or_default();
        if entry.kind == JournalKind::Held {
            continue;
        }
        of_hold.push(entry.kind);
        let expired = entry.kind == JournalKind::Expired;
        assert_eq!(
            expired,
            entry.at >= deadline,
            "a deadline is neither early nor late: {entry:?}"
        );
    }
    for (id, endings) in endings {
        let expected = if winners.contains(&id) { racer.wins_as() } else { JournalKind::Expired };
        assert_eq!(endings, [expected], "booking {id}");
    }
}

async fn race(racer: Racer, rounds: usize, holds: i64) {
    // Small batches, so that the deadline falls between two of them and not only around all.
    let settings = Settings { batch_commands_max: 16, ..Options::default().settings };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let count = usize::try_from(holds).expect("few holds");
    let mut won = 0;
    for round in 0..rounds {
        let answered = match round {
            // Whatever the machine does in the others, these two have one outcome each.
            0 => 0,
            1 => count,
            _ => service.entropy().below(count + 1),
        };
        let winners = one_round(&service, racer, holds, answered).await;
        assert!(round != 0 || winners == 0, "at the deadline it is too late");
        assert!(round != 1 || winners == count, "before the deadline it isn't");
        won += winners;
    }
    assert!(won > 0 && won < rounds * count, "both outcomes occur");
    service.finish().await;
}

#[tokio::test]
async fn ten_thousand_confirmations_race_the_deadline() {
    race(Racer::Confirm, 100, 100).await;
}

#[tokio::test]
async fn cancellations_race_the_deadline() {
    race(Racer::Cancel, 30, 100).await;
}

/// At the deadline nothing confirms or cancels the hold, whether or not the clean-up has run.
#[tokio::test]
async fn a_deadline_is_exact_and_needs_no_clean_up() {
    let service = Service::start().await;
    let (event_id, holds) = with_holds(&service, 4).await;
    service.pass(just_before(WINDOW)).await;
    let owners = holds.iter().map(|hold| attendee(hold.user_id.get())).collect::<Vec<_>>();
    assert!(service.confirm(owners[0], holds[0].id).await.is_ok());
    assert!(service.cancel(owners[1], holds[1].id).await.is_ok());
    assert_eq!(service.free_seats(event_id).await, 1);

    service.faults.fail_due_holds(1);
    service.pass(MOMENT).await;
    let rows = service.store().bookings(vec![holds[2].id, holds[3].id]).await.expect("read");
    assert_eq!(rows, holds[2..], "the clean-up has not run");
    let late = service.confirm(owners[2], holds[2].id).await;
    assert_eq!(late, Err(refused(ConfirmRefusal::Expired)));
    let late = service.cancel(owners[3], holds[3].id).await;
    assert_eq!(late, Err(refused(CancelRefusal::Expired)));
    let shown = service.engine().bookings_of_user(holds[2].user_id, None, None, 9).await;
    assert_eq!(shown.map(|page| page.bookings), Ok(vec![]), "nor is a hold shown that has ended");

    service.pass(AFTER_FAILURE).await;
    assert_eq!(service.store().bookings(vec![holds[2].id, holds[3].id]).await, Ok(vec![]));
    assert_eq!(service.free_seats(event_id).await, 3);
    for hold in &holds[2..] {
        let gone = Err(refused(Refusal::BookingGone));
        assert_eq!(service.confirm(owners[2], hold.id).await, gone);
        assert_eq!(service.cancel(owners[2], hold.id).await, gone);
    }
    service.finish().await;
}

#[tokio::test]
async fn holds_end_on_time_without_any_traffic() {
    let service = Service::start().await;
    let (first, _) = with_holds(&service, 3).await;
    service.pass(WINDOW / 2).await;
    let (second, _) = with_holds(&service, 2).await;
    service.pass(just_before(WINDOW / 2)).await;
    assert_eq!(service.free_seats(first).await, 0, "a deadline is never early");
    service.pass(MOMENT).await;
    assert_eq!(service.free_seats(first).await, 3);
    assert_eq!(service.free_seats(second).await, 0);
    service.pass(WINDOW / 2).await;
    assert_eq!(service.free_seats(second).await, 2);
    service.finish().await;
}

/// More than one slice of them.
#[tokio::test]
async fn a_thousand_holds_end_in_the_same_instant() {
    let service = Service::start().await;
    let (event_id, _) = with_holds(&service, 1_000).await;
    service.pass(WINDOW).await;
    assert_eq!(service.free_seats(event_id).await, 1_000);
    service.finish().await;
}

#[tokio::test]
async fn two_replicas_end_each_hold_once() {
    let service = Service::with(Options { engines: 2, ..Options::default() }).await;
    let (event_id, _) = with_holds(&service, 100).await;
    service.pass(WINDOW).await;
    assert_eq!(service.event(event_id).await.tally.version, 201, "created, held, expired");
    service.finish().await;
}

#[tokio::test]
async fn holds_that_fell_due_while_the_service_was_down_end_when_it_starts() {
    let mut service = Service::start().await;
    let (event_id, holds) = with_holds(&service, 3).await;
    let owner = attendee(1);
    assert!(service.confirm(owner, holds[0].id).await.is_ok());
    service.restart(just_before(WINDOW)).await;
    assert_eq!(service.free_seats(event_id).await, 0);
    service.restart(MOMENT).await;
    assert_eq!(service.free_seats(event_id).await, 2);
    assert_eq!(service.confirm(owner, holds[1].id).await, Err(refused(Refusal::BookingGone)));
    service.finish().await;
}

#[tokio::test]
async fn a_store_that_fails_an_expiry_is_asked_again() {
    let full = || StoreError::Full("no room".to_owned());
    let away = || StoreError::Away("gone".to_owned());
    let faults = [full(), away(), full()].map(Fault::Refuse);
    let failures = faults.len() + 2;
    let service = Service::start().await;
    let (event_id, _) = with_holds(&service, 3).await;
    for fault in faults {
        service.faults.next_save(fault);
    }
    service.faults.fail_due_holds(2);
    service.clock.advance(WINDOW);
    let mut waits = 0;
    loop {
        service.settle().await;
        if service.free_seats(event_id).await == 3 {
            break;
        }
        waits += 1;
        assert!(waits <= failures, "it asks again after each of {failures} failures");
        service.clock.advance(AFTER_FAILURE);
    }
    // It may have been woken once more by the holds, but not again and again.
    assert!(waits >= failures - 1, "it waits between failures");
    service.finish().await;
}

#[tokio::test]
async fn an_expiry_whose_outcome_nobody_heard_happens_once() {
    let service = Service::start().await;
    let (event_id, _) = with_holds(&service, 3).await;
    service.faults.next_save(Fault::LoseAnswer);
    service.pass(WINDOW).await;
    service.pass(AFTER_FAILURE).await;
    assert_eq!(service.event(event_id).await.tally.version, 7, "created, 3 held, 3 expired");
    service.finish().await;
}

#[tokio::test]
async fn a_damaged_hold_keeps_no_sound_one_from_ending() {
    let service = Service::start().await;
    let (event_id, holds) = with_holds(&service, 3).await;
    let (elsewhere, _) = with_holds(&service, 1).await;
    let damaged = holds[1].id;
    service.sql(&format!("UPDATE slots SET booking_id = -{damaged} WHERE booking_id = {damaged}"));
    service.pass(WINDOW).await;
    let tally = service.event(event_id).await.tally;
    let left = (tally.pending_bookings, tally.occupied.get());
    assert_eq!(left, (1, 1), "the damaged one is left");
    assert_eq!(service.free_seats(elsewhere).await, 1);

    // It is left alone from now on, and holds that come later still end on time.
    let later = service.create_event(1, 0, 1).await;
    assert!(service.book(9, later, 1).await.is_ok());
    service.pass(WINDOW).await;
    assert_eq!(service.free_seats(later).await, 1);

    // Until somebody mends it.
    service.sql(&format!("UPDATE slots SET booking_id = {damaged} WHERE booking_id = -{damaged}"));
    service.pass(LEFT_ALONE * 2).await;
    assert_eq!(service.free_seats(event_id).await, 3);
    service.finish().await;
}

/// As when an operator takes a right away for a while, or mends a row.
#[tokio::test]
async fn what_can_be_ended_again_is_ended() {
    let service = Service::start().await;
    let (event_id, _) = with_holds(&service, 3).await;
    service.faults.object(|changes| {
        let refused = || StoreError::Refused("permission denied".to_owned());
        (!changes.bookings_removed.is_empty()).then(refused)
    });
    service.pass(WINDOW).await;
    assert_eq!(service.free_seats(event_id).await, 0);
    // It is tried again, less and less often.
    for wait in [LEFT_ALONE, 2 * LEFT_ALONE] {
        let tried = service.faults.saves_tried();
        service.pass(just_before(wait)).await;
        assert_eq!(service.faults.saves_tried(), tried, "too early after {wait:?}");
        service.pass(LOOK_EVERY).await;
        assert!(service.faults.saves_tried() > tried, "too late after {wait:?}");
    }
    service.faults.object(|_| None);
    service.pass(4 * LEFT_ALONE).await;
    assert_eq!(service.free_seats(event_id).await, 3);
    service.finish().await;
}

/// Whoever finds that another replica was first leaves it the next ones, too.
#[tokio::test]
async fn whoever_was_second_waits_a_moment() {
    let service = Service::with(Options { engines: 2, ..Options::default() }).await;
    let (event_id, _) = with_holds(&service, 3).await;
    let mut held = service.faults.hold_next_save();
    let before = service.faults.looks_for_due_holds();
    service.clock.advance(WINDOW);
    held.reached().await;
    until(async || service.faults.looks_for_due_holds() >= before + 2).await;
    held.let_go();
    service.settle().await;
    assert_eq!(service.free_seats(event_id).await, 3);
    let looks = service.faults.looks_for_due_holds();
    service.pass(just_before(AFTER_FAILURE)).await;
    assert_eq!(service.faults.looks_for_due_holds(), looks);
    service.pass(MOMENT).await;
    assert_eq!(service.faults.looks_for_due_holds(), looks + 1, "one of them was second");
    service.finish().await;
}

/// Keeps its lane from going on until it is told to let go.
struct Stuck {
    event_id: EventId,
    reached: mpsc::Sender<()>,
    let_go: mpsc::Receiver<()>,
}

impl Command for Stuck {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Event(self.event_id)
    }

    fn wants(&self, _: &Rules, _: &mut Wants) {
        self.reached.send(()).expect("somebody waits for it");
        self.let_go.recv().expect("whoever holds the lane lets it go");
    }

    fn decide(&self, _: &mut Batch) -> Result<(), Refusal> {
        Ok(())
    }
}

/// As when another replica has stopped with an event locked.
#[tokio::test]
async fn a_lane_that_does_not_get_on_keeps_no_other_from_ending_holds() {
    let settings = Settings { lanes: 2, ..Options::default().settings };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let (slow, _) = with_holds(&service, 1).await;
    let (other, _) = with_holds(&service, 1).await;
    let ((reached, was_reached), (go, let_go)) = (mpsc::channel(), mpsc::channel());
    let stuck = service.engine().submit(Stuck { event_id: slow, reached, let_go }, None);
    let stuck = begin(stuck).await;
    until(async || was_reached.try_recv().is_ok()).await;
    // The second time, the stuck lane has been at work for a while.
    for _ in 0..2 {
        service.clock.advance(WINDOW);
        until(async || service.free_seats(other).await == 1).await;
        assert!(service.book(9, other, 1).await.is_ok());
    }
    assert_eq!(service.free_seats(slow).await, 0);
    go.send(()).expect("the lane waits");
    assert!(stuck.await.is_ok());
    service.settle().await;
    assert_eq!(service.free_seats(slow).await, 1);
    service.finish().await;
}

/// Whoever pays at once has no deadline, so nobody is woken for it; a hold is noted once.
#[tokio::test]
async fn nobody_is_woken_for_what_is_paid_already() {
    let service = Service::start().await;
    let event_id = service.create_event(100, 0, 1).await;
    let looks = service.faults.looks_for_due_holds();
    for user in 1..=20 {
        service.purchase(user, event_id, 1).await.expect("there is room");
    }
    service.settle().await;
    assert_eq!(service.faults.looks_for_due_holds(), looks);
    let hold = service.book(1, event_id, 1).await.expect("there is room");
    service.pass(WINDOW).await;
    assert_eq!(service.free_seats(event_id).await, 80, "{hold:?} is over");
    assert!(service.faults.looks_for_due_holds() > looks);
    service.finish().await;
}

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::participant::{Duty, Memory, MemoryKey, Participant, Request, duty};
use super::saga::{Answer, Ask, Denial};
use super::*;
use crate::accounts::InsufficientFunds;
use crate::events::{OccupyRefusal, PaymentWindow};
use crate::identity::Role;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
const WINDOW: PaymentWindow = PaymentWindow::from_minutes(1);

fn booking(state: State, amount: i64) -> Booking {
    let (id, event_id, user_id) = (BookingId::new(1), EventId::new(1), UserId::new(1));
    let begun = Booking::begin(id, event_id, user_id, Seats::new(2), Payment::Later, NOW);
    Booking { state, amount: Money::from_minor(amount), expires_at: deadline(), ..begun }
}

fn deadline() -> Timestamp {
    NOW.plus(WINDOW.as_duration())
}

fn a_moment_before(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros() - 1)
}

#[test]
fn confirming_is_a_ladder_and_the_first_guard_wins() {
    use ConfirmRefusal as R;
    use State as S;
    let last = a_moment_before(deadline());
    let table = [
        (S::Occupying, 0, NOW, Ok(Step::UnderWay), S::Occupying),
        (S::Occupied, 0, NOW, Ok(Step::Taken), S::Completing),
        (S::Occupied, 5, NOW, Ok(Step::Taken), S::Paying),
        (S::Occupied, 5, last, Ok(Step::Taken), S::Paying),
        (S::Occupied, 0, deadline(), Err(R::Expired), S::Occupied),
        (S::Occupied, 5, deadline(), Err(R::Expired), S::Occupied),
        (S::Paying, 5, deadline(), Ok(Step::UnderWay), S::Paying),
        (S::Completing, 5, deadline(), Ok(Step::UnderWay), S::Completing),
        (S::Complete, 5, NOW, Ok(Step::Repeated), S::Complete),
        (S::Complete, 0, deadline(), Ok(Step::Repeated), S::Complete),
        (S::Refunding, 5, NOW, Err(R::Cancelled), S::Refunding),
        (S::Releasing, 5, NOW, Err(R::Cancelled), S::Releasing),
        (S::Expiring, 5, NOW, Err(R::Expired), S::Expiring),
        (S::Cancelled, 0, NOW, Err(R::Cancelled), S::Cancelled),
        (S::Cancelled, 5, deadline(), Err(R::Cancelled), S::Cancelled),
    ];
    for (state, amount, at, answer, after) in table {
        let mut booking = booking(state, amount);
        assert_eq!(booking.confirm(at), answer, "{state:?}, {amount}, {at:?}");
        assert_eq!(booking.state, after, "{state:?}, {amount}, {at:?}");
    }
}

#[test]
fn cancelling_is_a_ladder_and_the_first_guard_wins() {
    use State as S;
    let last = a_moment_before(deadline());
    let expired = Err(CancelRefusal::Expired);
    let table = [
        (S::Occupying, 0, NOW, Ok(Step::Taken), S::Releasing),
        (S::Occupied, 5, last, Ok(Step::Taken), S::Releasing),
        (S::Occupied, 5, deadline(), expired, S::Occupied),
        (S::Paying, 5, NOW, Ok(Step::Taken), S::Refunding),
        (S::Paying, 5, deadline(), Ok(Step::Taken), S::Refunding),
        (S::Completing, 5, NOW, Ok(Step::Taken), S::Refunding),
        (S::Completing, 0, deadline(), Ok(Step::Taken), S::Releasing),
        (S::Complete, 5, NOW, Ok(Step::Taken), S::Refunding),
        (S::Complete, 5, deadline(), Ok(Step::Taken), S::Refunding),
        (S::Complete, 0, NOW, Ok(Step::Taken), S::Releasing),
        (S::Refunding, 5, NOW, Ok(Step::UnderWay), S::Refunding),
        (S::Releasing, 5, NOW, Ok(Step::UnderWay), S::Releasing),
        (S::Expiring, 5, NOW, expired, S::Expiring),
        (S::Cancelled, 5, NOW, Ok(Step::Repeated), S::Cancelled),
        (S::Cancelled, 5, deadline(), Ok(Step::Repeated), S::Cancelled),
    ];
    for (state, amount, at, answer, after) in table {
        let mut booking = booking(state, amount);
        assert_eq!(booking.cancel(at), answer, "{state:?}, {amount}, {at:?}");
        assert_eq!(booking.state, after, "{state:?}, {amount}, {at:?}");
    }
}

#[test]
fn only_holds_expire_and_only_at_their_deadline() {
    for state in State::ALL {
        let mut early = booking(state, 5);
        assert!(!early.expire(a_moment_before(deadline())), "{state:?}");
        assert_eq!(early.state, state);
        let mut due = booking(state, 5);
        assert_eq!(due.expire(deadline()), state == State::Occupied, "{state:?}");
        let after = if state == State::Occupied { State::Expiring } else { state };
        assert_eq!(due.state, after);
    }
}

const SOLD_OUT: Denial = Denial::Seats(OccupyRefusal::SoldOut);
const POOR: Denial =
    Denial::Money(InsufficientFunds { balance: Money::ZERO, amount: Money::from_minor(5) });

const ANSWERS: [Answer; 7] = [
    Answer::Occupied { amount: Money::from_minor(8), window: WINDOW },
    Answer::NotOccupied(SOLD_OUT),
    Answer::Charged,
    Answer::NotCharged(POOR),
    Answer::Settled,
    Answer::Refunded,
    Answer::Released,
];

/// Every state with every answer, paid later and at once: what isn't in the table is out of turn.
#[test]
fn an_answer_moves_the_saga_where_the_table_says() {
    use Payment as P;
    use State as S;
    let [occupied, not_occupied, charged, not_charged, settled, refunded, released] = ANSWERS;
    let free = Answer::Occupied { amount: Money::ZERO, window: WINDOW };
    let table = [
        (S::Occupying, P::Later, occupied, Some(S::Occupied)),
        (S::Occupying, P::Later, free, Some(S::Occupied)),
        (S::Occupying, P::AtOnce, occupied, Some(S::Paying)),
        (S::Occupying, P::AtOnce, free, Some(S::Completing)),
        (S::Occupying, P::Later, not_occupied, None),
        (S::Occupying, P::AtOnce, not_occupied, Some(S::Cancelled)),
        (S::Paying, P::Later, charged, Some(S::Completing)),
        (S::Paying, P::AtOnce, charged, Some(S::Completing)),
        (S::Paying, P::Later, not_charged, Some(S::Occupied)),
        (S::Paying, P::AtOnce, not_charged, Some(S::Releasing)),
        (S::Completing, P::Later, settled, Some(S::Complete)),
        (S::Completing, P::AtOnce, settled, Some(S::Complete)),
        (S::Refunding, P::Later, refunded, Some(S::Releasing)),
        (S::Refunding, P::AtOnce, refunded, Some(S::Releasing)),
        (S::Releasing, P::Later, released, Some(S::Cancelled)),
        (S::Releasing, P::AtOnce, released, Some(S::Cancelled)),
        (S::Expiring, P::Later, released, None),
        (S::Expiring, P::AtOnce, released, None),
    ];
    for state in S::ALL {
        for payment in [P::Later, P::AtOnce] {
            for answer in ANSWERS.into_iter().chain([free]) {
                let before = Booking { payment, ..booking(state, 5) };
                let row =
                    table.iter().find(|row| (row.0, row.1, row.2) == (state, payment, answer));
                let wanted = match row {
                    Some((_, _, _, after)) => Ok(*after),
                    None => Err(saga::OutOfTurn { state, answer }),
                };
                let heard = before.hear(answer, NOW).map(|after| after.map(|after| after.state));
                assert_eq!(heard, wanted, "{state:?}, {payment:?}, {answer:?}");
            }
        }
    }
}

#[test]
fn seats_bring_their_price_and_the_deadline() {
    let later = Timestamp::from_micros(NOW.as_micros() + 5);
    let window_over = later.plus(WINDOW.as_duration());
    for payment in [Payment::Later, Payment::AtOnce] {
        let (id, event_id, user_id) = (BookingId::new(1), EventId::new(1), UserId::new(1));
        let begun = Booking::begin(id, event_id, user_id, Seats::new(2), payment, NOW);
        assert_eq!((begun.state, begun.amount), (State::Occupying, Money::ZERO));
        let heard = begun.hear(ANSWERS[0], later).expect("in turn").expect("still there");
        assert_eq!((heard.amount, heard.expires_at), (Money::from_minor(8), window_over));
        assert_eq!(heard.created_at, NOW);
        assert_eq!(heard.is_due(window_over), payment == Payment::Later);
        // Nobody chose to give these seats back, so they don't count as cancelled.
        let paying = Booking { state: State::Paying, ..heard };
        let refused =
            paying.hear(Answer::NotCharged(POOR), later).expect("in turn").expect("there");
        let counts_until = if payment == Payment::Later { window_over } else { NOW };
        assert_eq!(refused.expires_at, counts_until);
    }
}

/// Walks on from a booking in every way that participants can answer, until it is at rest or gone.
fn walk(booking: Booking, steps: usize) {
    if booking.is_at_rest() {
        return;
    }
    assert!(steps < State::ALL.len(), "{:?} leads to no end", booking.state);
    let free = Answer::Occupied { amount: Money::ZERO, window: WINDOW };
    let mut heard = 0;
    for answer in ANSWERS.into_iter().chain([free]) {
        let Ok(after) = booking.hear(answer, NOW) else { continue };
        heard += 1;
        if let Some(after) = after {
            walk(after, steps + 1);
        }
    }
    assert!(heard > 0, "{:?} asks, and hears nothing", booking.state);
}

/// Whatever participants answer, a saga comes to its end, from any state and without going in
/// circles; and one that is at rest hears nothing.
#[test]
fn every_saga_can_end() {
    for state in State::ALL {
        for payment in [Payment::Later, Payment::AtOnce] {
            let booking = Booking { payment, ..booking(state, 5) };
            walk(booking, 0);
            let hears = ANSWERS.into_iter().any(|answer| booking.hear(answer, NOW).is_ok());
            assert_eq!(hears, state.ask().is_some(), "{state:?}");
        }
    }
}

#[test]
fn only_the_owner_and_admins_find_a_booking() {
    let booking = booking(State::Occupied, 0);
    let table = [(1, Role::User, true), (2, Role::User, false), (2, Role::Admin, true)];
    for (user, role, open) in table {
        assert_eq!(booking.is_open_to(Actor { user_id: UserId::new(user), role }), open);
    }
}

#[test]
fn a_booking_has_from_one_seat_to_the_limit() {
    let limits = HoldLimits { seats_per_booking_max: 7, ..HoldLimits::default() };
    let tighter = HoldLimits { held_seats_max: Some(3), ..limits };
    assert_eq!(check_seats(&tighter, 4), Err(BookRefusal::SeatsOutOfRange { max: 3 }));
    for seats in [1, 7] {
        assert_eq!(check_seats(&limits, seats).map(|s| i64::from(s.get())), Ok(seats));
    }
    for seats in [0, -1, 8, i64::MAX, i64::MIN, 1 << 32] {
        assert_eq!(check_seats(&limits, seats), Err(BookRefusal::SeatsOutOfRange { max: 7 }));
    }
}

#[test]
fn hold_limits_count_holds_and_seats_until_their_deadlines() {
    let limits =
        HoldLimits { seats_per_booking_max: 100, holds_max: Some(2), held_seats_max: Some(10) };
    let held = |seats, ends_in_s: i64| Holding {
        seats: Seats::new(seats),
        expires_at: Timestamp::from_micros(NOW.as_micros() + ends_in_s * 1_000_000),
        kind: HoldingKind::Held,
    };
    let cancelled =
        |seats, ends_in_s: i64| Holding { kind: HoldingKind::Cancelled, ..held(seats, ends_in_s) };
    let asked = |seats| Holding { kind: HoldingKind::Asked, ..held(seats, 0) };
    let at = |s: i64| Timestamp::from_micros(NOW.as_micros() + s * 1_000_000);
    let refused = |s| Err(BookRefusal::HoldLimit { retry_at: at(s) });
    // What is answered to a booking that is paid later, and to one that is paid at once.
    let table = [
        (vec![], 10, [Ok(()), Ok(())]),
        (vec![held(1, 60)], 9, [Ok(()), Ok(())]),
        (vec![held(1, 60)], 10, [refused(60), Ok(())]),
        (vec![held(1, 60), held(1, 30)], 1, [refused(30), Ok(())]),
        (vec![held(1, 60), cancelled(1, 30)], 1, [refused(30), Ok(())]),
        (vec![cancelled(1, 60), cancelled(1, 30)], 1, [refused(30), refused(30)]),
        (vec![held(1, 30), cancelled(9, 60)], 2, [refused(30), refused(60)]),
        (vec![held(1, 60), held(1, 0)], 1, [Ok(()), Ok(())]),
        (vec![held(1, 60), cancelled(9, -5)], 9, [Ok(()), Ok(())]),
        (vec![cancelled(u32::MAX, 60)], u32::MAX, [refused(60), refused(60)]),
        // Nobody knows how long what is only asked for will be held: it is looked at again soon.
        (vec![asked(1)], 9, [Ok(()), Ok(())]),
        (vec![asked(1)], 10, [refused(1), refused(1)]),
        (vec![asked(1), held(1, 60)], 1, [refused(1), Ok(())]),
        (vec![asked(1), cancelled(1, 60)], 1, [refused(1), refused(1)]),
        (vec![asked(1), asked(1)], 1, [refused(1), refused(1)]),
    ];
    for (holdings, seats, answers) in table {
        let answer = |payment| admit(&limits, &holdings, Seats::new(seats), payment, NOW);
        assert_eq!([Payment::Later, Payment::AtOnce].map(answer), answers, "{holdings:?}");
    }
    let lifted = HoldLimits { holds_max: None, held_seats_max: None, ..limits };
    assert_eq!(lifted.holdings_needed(), None);
    let many = vec![held(9, 60); 1000];
    assert_eq!(admit(&lifted, &many, Seats::new(9), Payment::Later, NOW), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// The newest `holdings_needed` holdings decide as all of them would.
    #[test]
    fn a_bounded_number_of_holdings_is_enough(
        seats in prop::collection::vec(1u32..20, 0..40),
        holds_max in prop::option::of(1u32..10),
        held_seats_max in prop::option::of(1u32..30),
        asked in 1u32..20,
    ) {
        let limits = HoldLimits { seats_per_booking_max: 100, holds_max, held_seats_max };
        let kind = HoldingKind::Held;
        let holding = |&n| Holding { seats: Seats::new(n), expires_at: deadline(), kind };
        let holdings: Vec<Holding> = seats.iter().map(holding).collect();
        let needed = limits.holdings_needed().map_or(0, |n| n as usize).min(holdings.len());
        let admitted = |holdings| {
            admit(&limits, holdings, Seats::new(asked), Payment::Later, NOW)
        };
        let (some, all) = (admitted(&holdings[..needed]), admitted(&holdings));
        prop_assert_eq!(some.is_ok(), all.is_ok());
    }

    /// Whatever is tried in whatever order, whatever participants answer, and whatever of it is lost
    /// or comes late: whenever a booking is at rest its seats and its money are where its state says,
    /// and a hold is left at most once, by its owner before the deadline or by the clock at it.
    #[test]
    fn seats_and_money_follow_the_state(
        at_once in any::<bool>(),
        price in 0..3_i64,
        steps in prop::collection::vec((0..12_u8, any::<bool>(), 0..120_000_000_i64), 1..40),
    ) {
        let (id, event_id, user_id) = (BookingId::new(1), EventId::new(1), UserId::new(1));
        let payment = if at_once { Payment::AtOnce } else { Payment::Later };
        let begun = Booking::begin(id, event_id, user_id, Seats::new(2), payment, NOW);
        let mut booking = Some(begun);
        let mut participants = Participants::of(Money::from_minor(price));
        let mut asked = Vec::new();
        for (step, willing, after_us) in steps {
            let now = Timestamp::from_micros(NOW.as_micros() + after_us);
            let was = booking;
            match (step, &mut booking) {
                (0, Some(booking)) => drop(booking.confirm(now)),
                (1, Some(booking)) => drop(booking.cancel(now)),
                (2, Some(booking)) => drop(booking.expire(now)),
                (3..=9, Some(moving)) => {
                    let Some(request) = moving.request() else { continue };
                    asked.push(request);
                    let answer = participants.serve(request, willing).expect("it makes sense");
                    // Some answers are lost.
                    if step <= 6 {
                        booking = moving.hear(answer, now).expect("it was asked for");
                    }
                }
                // A copy of some question comes late, and nobody hears the answer.
                _ => {
                    let late = usize::try_from(after_us).expect("positive") % asked.len().max(1);
                    asked.get(late).map(|request| participants.serve(*request, willing));
                }
            }
            let left = |booking: &Option<Booking>| booking.map(|booking| booking.state);
            if left(&was) == Some(State::Occupied) && left(&booking) != Some(State::Occupied) {
                let was_due = was.is_some_and(|was| was.expires_at <= now);
                prop_assert_eq!(left(&booking) == Some(State::Expiring), was_due);
            }
            let Participants { has_seats, is_charged, .. } = participants;
            match left(&booking) {
                Some(State::Occupied) => prop_assert!(has_seats && !is_charged),
                Some(State::Complete) => prop_assert!(has_seats && is_charged == (price > 0)),
                None | Some(State::Cancelled) => prop_assert!(!has_seats && !is_charged),
                Some(
                    State::Occupying | State::Paying | State::Completing | State::Refunding
                    | State::Releasing | State::Expiring,
                ) => {}
            }
        }
    }
}

/// Whoever has the seats and the money of one booking, with what they remember of it.
struct Participants {
    price: Money,
    memories: BTreeMap<MemoryKey, Memory>,
    has_seats: bool,
    is_charged: bool,
}

impl Participants {
    fn of(price: Money) -> Self {
        Self { price, memories: BTreeMap::new(), has_seats: false, is_charged: false }
    }

    /// Answers, unless the question makes no sense.
    fn serve(&mut self, request: Request, willing: bool) -> Option<Answer> {
        let (key, ask) = (request.memory_key(), request.ask);
        let was_taken = match key.participant {
            Participant::Events => self.has_seats,
            Participant::Accounts => self.is_charged,
        };
        let memory = self.memories.get(&key).copied();
        let undone = match key.participant {
            Participant::Events => Answer::Released,
            Participant::Accounts => Answer::Refunded,
        };
        match duty(memory, ask, Some(was_taken)) {
            Duty::Say(answer) => Some(answer),
            Duty::Balk | Duty::Look => None,
            Duty::Entomb => {
                self.memories.insert(key, Memory::Withdrawn);
                Some(undone)
            }
            Duty::Undo => {
                assert!(was_taken && (ask == Ask::Refund || !self.is_charged), "{ask}");
                match key.participant {
                    Participant::Events => self.has_seats = false,
                    Participant::Accounts => self.is_charged = false,
                }
                self.memories.insert(key, Memory::Withdrawn);
                Some(undone)
            }
            Duty::Decide => {
                let answer = self.decide(ask, willing);
                self.memories.extend(Memory::of(answer).map(|memory| (key, memory)));
                Some(answer)
            }
        }
    }

    fn decide(&mut self, ask: Ask, willing: bool) -> Answer {
        match ask {
            Ask::Occupy if willing => {
                assert!(!self.has_seats, "they are occupied once");
                self.has_seats = true;
                Answer::Occupied { amount: self.price, window: WINDOW }
            }
            Ask::Occupy => Answer::NotOccupied(SOLD_OUT),
            Ask::Charge if willing => {
                assert!(self.has_seats && !self.is_charged, "it is charged once, for seats");
                self.is_charged = true;
                Answer::Charged
            }
            Ask::Charge => Answer::NotCharged(POOR),
            Ask::Settle => Answer::Settled,
            Ask::Refund | Ask::Release(_) => panic!("{ask} is no step forward"),
        }
    }
}

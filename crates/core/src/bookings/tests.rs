use proptest::prelude::*;

use super::*;
use crate::identity::Role;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
const WINDOW: PaymentWindow = PaymentWindow::from_minutes(1);

fn booking(state: State, amount: i64) -> Booking {
    let price = (Seats::new(2), Money::from_minor(amount));
    let hold =
        Booking::hold(BookingId::new(1), EventId::new(1), UserId::new(1), price, WINDOW, NOW);
    Booking { state, ..hold }
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
    let short = R::InsufficientFunds { balance: Money::ZERO, amount: Money::from_minor(5) };
    let table = [
        (S::Occupied, 0, NOW, Ok(Step::Taken), S::Complete),
        (S::Occupied, 0, last, Ok(Step::Taken), S::Complete),
        (S::Occupied, 0, deadline(), Err(R::Expired), S::Occupied),
        (S::Occupied, 5, NOW, Err(short), S::Occupied),
        (S::Occupied, 5, deadline(), Err(R::Expired), S::Occupied),
        (S::Complete, 5, NOW, Ok(Step::Repeated), S::Complete),
        (S::Complete, 0, deadline(), Ok(Step::Repeated), S::Complete),
        (S::Cancelled, 0, NOW, Err(R::Cancelled), S::Cancelled),
        (S::Cancelled, 5, deadline(), Err(R::Cancelled), S::Cancelled),
    ];
    for (state, amount, at, answer, after) in table {
        let mut booking = booking(state, amount);
        assert_eq!(booking.confirm(Money::ZERO, at), answer, "{state:?}, {amount}, {at:?}");
        assert_eq!(booking.state, after, "{state:?}, {amount}, {at:?}");
    }
}

#[test]
fn cancelling_is_a_ladder_and_the_first_guard_wins() {
    use State as S;
    let last = a_moment_before(deadline());
    let table = [
        (S::Occupied, last, Ok(Step::Taken), S::Cancelled),
        (S::Occupied, deadline(), Err(CancelRefusal::Expired), S::Occupied),
        (S::Complete, NOW, Ok(Step::Taken), S::Cancelled),
        (S::Complete, deadline(), Ok(Step::Taken), S::Cancelled),
        (S::Cancelled, NOW, Ok(Step::Repeated), S::Cancelled),
        (S::Cancelled, deadline(), Ok(Step::Repeated), S::Cancelled),
    ];
    for (state, at, answer, after) in table {
        let mut booking = booking(state, 0);
        assert_eq!(booking.cancel(at), answer, "{state:?} at {at:?}");
        assert_eq!(booking.state, after, "{state:?} at {at:?}");
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
    };
    let at = |s: i64| Timestamp::from_micros(NOW.as_micros() + s * 1_000_000);
    let refused = |s| Err(BookRefusal::HoldLimit { retry_at: at(s) });
    let table: [(Vec<Holding>, u32, Result<(), BookRefusal>); 7] = [
        (vec![], 10, Ok(())),
        (vec![held(1, 60)], 9, Ok(())),
        (vec![held(1, 60)], 10, refused(60)),
        (vec![held(1, 60), held(1, 30)], 1, refused(30)),
        (vec![held(1, 60), held(1, 0)], 1, Ok(())),
        (vec![held(1, 60), held(9, -5)], 9, Ok(())),
        (vec![held(u32::MAX, 60)], u32::MAX, refused(60)),
    ];
    for (holdings, seats, answer) in table {
        assert_eq!(admit(&limits, &holdings, Seats::new(seats), NOW), answer, "{holdings:?}");
    }
    let lifted = HoldLimits { holds_max: None, held_seats_max: None, ..limits };
    assert_eq!(lifted.holdings_needed(), None);
    assert_eq!(admit(&lifted, &vec![held(9, 60); 1000], Seats::new(9), NOW), Ok(()));
}

proptest! {
    /// The newest `holdings_needed` holdings decide as all of them would.
    #[test]
    fn a_bounded_number_of_holdings_is_enough(
        seats in prop::collection::vec(1u32..20, 0..40),
        holds_max in prop::option::of(1u32..10),
        held_seats_max in prop::option::of(1u32..30),
        asked in 1u32..20,
    ) {
        let limits = HoldLimits { seats_per_booking_max: 100, holds_max, held_seats_max };
        let holdings: Vec<Holding> =
            seats.iter().map(|&n| Holding { seats: Seats::new(n), expires_at: deadline() }).collect();
        let needed = limits.holdings_needed().map_or(0, |n| n as usize).min(holdings.len());
        let some = admit(&limits, &holdings[..needed], Seats::new(asked), NOW);
        let all = admit(&limits, &holdings, Seats::new(asked), NOW);
        prop_assert_eq!(some.is_ok(), all.is_ok());
    }

    /// Whatever is tried in whatever order, a hold leaves `Occupied` at most once, and never at or
    /// after its deadline.
    #[test]
    fn a_hold_ends_once(steps in prop::collection::vec((any::<bool>(), 0i64..120_000_000), 1..20)) {
        let mut booking = booking(State::Occupied, 0);
        let mut endings = 0;
        for (confirm, after_us) in steps {
            let at = Timestamp::from_micros(NOW.as_micros() + after_us);
            let was = booking.state;
            let _ = if confirm {
                booking.confirm(Money::ZERO, at).is_ok()
            } else {
                booking.cancel(at).is_ok()
            };
            if was == State::Occupied && booking.state != State::Occupied {
                endings += 1;
                prop_assert!(at < deadline());
            }
        }
        prop_assert!(endings <= 1);
    }
}

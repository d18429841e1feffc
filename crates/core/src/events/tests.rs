use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);
const LATER: Timestamp = Timestamp::from_micros(2_000_000);

fn draft() -> Draft {
    Draft {
        name: "Green run".into(),
        description: String::new(),
        starts_at: Some(LATER),
        capacity: 10,
        price_minor: 5,
        payment_window_minutes: 30,
    }
}

fn event(capacity: u32, occupied: u32) -> Event {
    let plan = Draft { capacity: i64::from(capacity), ..draft() }.check(NOW).expect("a good draft");
    let (mut event, _) = Event::create(EventId::new(1), plan, NOW);
    if occupied > 0 {
        event.occupy(BookingId::new(1), Seats::new(occupied), NOW).expect("room for the setup");
    }
    event
}

#[test]
fn a_draft_is_held_against_every_rule_at_once() {
    use PlanFault as F;
    let long = "x".repeat(NAME_CHARS_MAX + 1);
    let very_long = "x".repeat(DESCRIPTION_CHARS_MAX + 1);
    let table: Vec<(Draft, Vec<PlanFault>)> = vec![
        (draft(), vec![]),
        (Draft { name: "  ".into(), ..draft() }, vec![F::NameEmpty]),
        (Draft { name: long, ..draft() }, vec![F::NameTooLong]),
        (Draft { name: "a\nb".into(), ..draft() }, vec![F::NameNotPlain]),
        (Draft { description: very_long, ..draft() }, vec![F::DescriptionTooLong]),
        (Draft { description: "a\u{0}b".into(), ..draft() }, vec![F::DescriptionNotPlain]),
        (Draft { description: "a\n\tb".into(), ..draft() }, vec![]),
        (Draft { starts_at: None, ..draft() }, vec![]),
        (Draft { starts_at: Some(NOW), ..draft() }, vec![F::StartsInPast]),
        (Draft { capacity: 0, ..draft() }, vec![F::CapacityOutOfRange]),
        (Draft { capacity: -1, ..draft() }, vec![F::CapacityOutOfRange]),
        (Draft { capacity: i64::from(CAPACITY_MAX), ..draft() }, vec![]),
        (Draft { capacity: i64::from(CAPACITY_MAX) + 1, ..draft() }, vec![F::CapacityOutOfRange]),
        (Draft { capacity: i64::MAX, ..draft() }, vec![F::CapacityOutOfRange]),
        (Draft { price_minor: -1, ..draft() }, vec![F::PriceOutOfRange]),
        (Draft { price_minor: PRICE_MINOR_MAX, ..draft() }, vec![]),
        (Draft { price_minor: PRICE_MINOR_MAX + 1, ..draft() }, vec![F::PriceOutOfRange]),
        (Draft { payment_window_minutes: 0, ..draft() }, vec![F::PaymentWindowOutOfRange]),
        (Draft { payment_window_minutes: 43_200, ..draft() }, vec![]),
        (Draft { payment_window_minutes: 43_201, ..draft() }, vec![F::PaymentWindowOutOfRange]),
        (
            Draft { name: String::new(), capacity: 0, price_minor: -1, ..draft() },
            vec![F::NameEmpty, F::CapacityOutOfRange, F::PriceOutOfRange],
        ),
    ];
    for (draft, faults) in table {
        assert_eq!(draft.check(NOW).err().unwrap_or_default(), faults, "{draft:?}");
    }
}

#[test]
fn occupying_is_a_ladder_and_the_first_guard_wins() {
    use OccupyRefusal as R;
    // capacity, occupied, asked for, at -> refusal
    let table = [
        (10, 0, 1, NOW, None),
        (10, 0, 10, NOW, None),
        (10, 9, 1, NOW, None),
        (10, 9, 2, NOW, Some(R::TooFewSeats { free: Seats::new(1) })),
        (10, 10, 1, NOW, Some(R::SoldOut)),
        (10, 10, 100, NOW, Some(R::SoldOut)),
        (10, 0, 11, NOW, Some(R::TooFewSeats { free: Seats::new(10) })),
        (10, 0, 1, LATER, Some(R::Begun)),
        (10, 10, 1, LATER, Some(R::Begun)),
        (10, 0, u32::MAX, NOW, Some(R::TooFewSeats { free: Seats::new(10) })),
    ];
    for (capacity, occupied, asked, at, refusal) in table {
        let mut event = event(capacity, occupied);
        let before = event.clone();
        let answer = event.occupy(BookingId::new(2), Seats::new(asked), at);
        assert_eq!(answer.err(), refusal, "{capacity} seats, {occupied} taken, {asked} asked for");
        if refusal.is_some() {
            assert_eq!(event, before, "a refusal changes nothing");
        } else {
            assert_eq!(event.tally.occupied.get(), occupied + asked);
        }
    }
}

#[test]
fn every_change_of_a_slot_is_one_version_and_one_entry() {
    let mut event = event(10, 0);
    let booking = BookingId::new(7);
    let (slot, held) = event.occupy(booking, Seats::new(3), NOW).expect("room");
    let (slot, confirmed) = event.settle(slot, NOW);
    let cancelled = event.release(slot, Release::Cancelled, NOW);
    let kinds = [held, confirmed, cancelled].map(|entry| (entry.version, entry.kind));
    assert_eq!(
        kinds,
        [(2, JournalKind::Held), (3, JournalKind::Confirmed), (4, JournalKind::Cancelled)]
    );
    assert_eq!(event.tally, Tally { version: 4, ..Tally::default() });
}

#[test]
#[should_panic(expected = "settled once")]
fn settling_twice_is_a_bug() {
    let mut event = event(10, 0);
    let (slot, _) = event.occupy(BookingId::new(7), Seats::new(3), NOW).expect("room");
    let (slot, _) = event.settle(slot, NOW);
    event.settle(slot, NOW);
}

/// A damaged tally isn't made worse.
#[test]
fn what_an_event_has_not_counted_is_a_bug() {
    type Step = fn(&mut Event, Slot);
    let settle: Step = |event, slot| {
        event.settle(slot, NOW);
    };
    let release: Step = |event, slot| {
        event.release(slot, Release::Cancelled, NOW);
    };
    for (step, state) in
        [(settle, SlotState::Held), (release, SlotState::Held), (release, SlotState::Sold)]
    {
        let (mut event, id) = (event(10, 3), EventId::new(1));
        (event.tally.pending_bookings, event.tally.confirmed_bookings) = (0, 0);
        let slot =
            Slot { event_id: id, booking_id: BookingId::new(1), seats: Seats::new(3), state };
        let bug = std::panic::catch_unwind(move || step(&mut event, slot)).expect_err("a bug");
        let words = bug.downcast_ref::<String>().map(String::as_str);
        let words = words.or(bug.downcast_ref::<&str>().copied());
        assert_eq!(words, Some("a live slot's booking is counted"), "{state:?}");
    }
}

#[test]
fn an_amount_that_cannot_be_written_is_no_amount() {
    let mut event = event(10, 0);
    event.plan.price = Money::from_minor(i64::MAX / 2);
    assert_eq!(event.amount_for(Seats::new(2)), Some(Money::from_minor(i64::MAX - 1)));
    assert_eq!(event.amount_for(Seats::new(3)), None);
}

proptest! {
    /// Whatever is occupied, settled and released in whatever order: occupied = sum of the live
    /// slots ≤ capacity, the counts of bookings agree, and versions rise by one.
    #[test]
    fn seats_are_conserved(
        capacity in 1u32..50,
        steps in prop::collection::vec((0u8..3, 1u32..8, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut event = event(capacity, 0);
        let mut slots: Vec<Slot> = Vec::new();
        for (number, (step, seats, pick)) in steps.into_iter().enumerate() {
            let before = event.tally.version;
            let entry = match step {
                0 => {
                    let id = BookingId::new(i64::try_from(number).expect("few steps"));
                    event.occupy(id, Seats::new(seats), NOW).ok().map(|(slot, entry)| {
                        slots.push(slot);
                        entry
                    })
                }
                1 if slots.iter().any(|slot| slot.state == SlotState::Held) => {
                    let held: Vec<usize> = (0..slots.len())
                        .filter(|&at| slots[at].state == SlotState::Held)
                        .collect();
                    let at = held[pick.index(held.len())];
                    let (slot, entry) = event.settle(slots[at], NOW);
                    slots[at] = slot;
                    Some(entry)
                }
                2 if !slots.is_empty() => {
                    let slot = slots.swap_remove(pick.index(slots.len()));
                    Some(event.release(slot, Release::Expired, NOW))
                }
                _ => None,
            };
            let changes = i64::from(entry.is_some());
            prop_assert_eq!(event.tally.version, before + changes);
            let occupied: u32 = slots.iter().map(|slot| slot.seats.get()).sum();
            prop_assert_eq!(event.tally.occupied.get(), occupied);
            prop_assert!(occupied <= capacity);
            let held = slots.iter().filter(|slot| slot.state == SlotState::Held).count();
            prop_assert_eq!(event.tally.pending_bookings as usize, held);
            prop_assert_eq!(event.tally.confirmed_bookings as usize, slots.len() - held);
        }
    }
}

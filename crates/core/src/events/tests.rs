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
fn an_amendment_is_held_against_every_rule_at_once() {
    use PlanFault as F;
    let none = Amendment::default;
    let begun = LATER;
    // what is to be different, at -> faults
    let table: Vec<(Amendment, Timestamp, Vec<PlanFault>)> = vec![
        (none(), NOW, vec![]),
        (none(), begun, vec![]),
        (Amendment { name: Some("Blue run".into()), ..none() }, begun, vec![]),
        (Amendment { name: Some(" ".into()), ..none() }, NOW, vec![F::NameEmpty]),
        (Amendment { description: Some(String::new()), ..none() }, NOW, vec![]),
        (Amendment { starts_at: Some(LATER), ..none() }, begun, vec![]),
        (Amendment { starts_at: Some(NOW), ..none() }, NOW, vec![F::StartsInPast]),
        (Amendment { starts_at: Some(NOW), ..none() }, begun, vec![F::StartsInPast]),
        (Amendment { capacity: Some(0), ..none() }, NOW, vec![F::CapacityOutOfRange]),
        (Amendment { price_minor: Some(-1), ..none() }, NOW, vec![F::PriceOutOfRange]),
        (
            Amendment {
                starts_at: Some(NOW),
                capacity: Some(-1),
                payment_window_minutes: Some(0),
                ..none()
            },
            NOW,
            vec![F::StartsInPast, F::CapacityOutOfRange, F::PaymentWindowOutOfRange],
        ),
    ];
    for (amendment, at, faults) in table {
        let found = amendment.check(&event(10, 0).plan, at).err().unwrap_or_default();
        assert_eq!(found, faults, "{amendment:?}");
    }
}

#[test]
fn editing_is_a_ladder_and_the_first_guard_wins() {
    use EditRefusal as R;
    let below = |occupied| Some(R::CapacityBelowOccupied { occupied: Seats::new(occupied) });
    let faulty = || Some(R::Plan(vec![PlanFault::CapacityOutOfRange]));
    // occupied, is cancelled, capacity -> refusal
    let table = [
        (0, false, 1, None),
        (4, false, 4, None),
        (4, false, 3, below(4)),
        (10, false, 10, None),
        (10, false, 9, below(10)),
        (10, false, 11, None),
        (4, false, 0, faulty()),
        (4, true, 0, Some(R::Cancelled(EventCancelled))),
        (4, true, 3, Some(R::Cancelled(EventCancelled))),
        (4, true, 10, Some(R::Cancelled(EventCancelled))),
    ];
    for (occupied, is_cancelled, capacity, refusal) in table {
        let mut event = event(10, occupied);
        if is_cancelled {
            event.cancel(NOW).expect("it took place until now");
        }
        let before = event.clone();
        let amendment = Amendment { capacity: Some(capacity), ..Amendment::default() };
        let answer = event.edit(&amendment, NOW);
        let what = format!("{occupied} taken, to have {capacity}");
        assert_eq!(answer.clone().err(), refusal, "{what}");
        if let Ok(Some(entry)) = answer {
            let told = (entry.kind, i64::from(entry.seats.get()), entry.version);
            assert_eq!(told, (JournalKind::Edited, capacity, before.tally.version + 1), "{what}");
            assert_eq!(i64::from(event.plan.capacity.get()), capacity);
        } else {
            assert_eq!(event, before, "nothing changes: {what}");
        }
    }
}

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    let mut event = event(10, 3);
    let before = event.clone();
    let amendment = Amendment {
        name: Some(" Blue run ".into()),
        starts_at: Some(Timestamp::from_micros(3_000_000)),
        payment_window_minutes: Some(5),
        ..Amendment::default()
    };
    assert!(matches!(event.edit(&amendment, NOW), Ok(Some(_))));
    let Plan { name, starts_at, payment_window, .. } = &event.plan;
    assert_eq!((&**name, *starts_at), ("Blue run", amendment.starts_at));
    assert_eq!(payment_window.as_minutes(), 5);
    let Plan { name, starts_at, payment_window, .. } = before.plan.clone();
    let plan = Plan { name, starts_at, payment_window, ..event.plan.clone() };
    assert_eq!(plan, before.plan);
    let tally = Tally { version: before.tally.version, ..event.tally };
    assert_eq!(tally, before.tally, "its seats stay");
    assert_eq!(event.edit(&amendment, NOW), Ok(None), "everything is so already");
}

#[test]
fn a_cancelled_event_gives_no_seats_and_knows_when_it_has_all_back() {
    let mut event = event(10, 0);
    let (held, _) = event.occupy(BookingId::new(1), Seats::new(2), NOW).expect("room");
    let (sold, _) = event.occupy(BookingId::new(2), Seats::new(3), NOW).expect("room");
    let (sold, _) = event.settle(sold, NOW);
    let entry = event.cancel(LATER).expect("it took place until now");
    assert_eq!((entry.kind, entry.seats.get()), (JournalKind::EventCancelled, 5));
    let stands = |is_releasing| Some(Cancellation { at: LATER, is_releasing });
    assert_eq!(event.cancellation, stands(true));
    let before = event.clone();
    assert_eq!(event.cancel(Timestamp::from_micros(9_000_000)), None);
    let refused = event.occupy(BookingId::new(3), Seats::new(1), NOW).err();
    assert_eq!(refused, Some(OccupyRefusal::Cancelled(EventCancelled)));
    assert_eq!(event, before, "once is enough");
    assert_eq!(event.free_seats(), Seats::ZERO);

    event.release(held, Release::Expired, LATER);
    assert_eq!(event.cancellation, stands(true));
    event.release(sold, Release::Cancelled, LATER);
    assert_eq!(event.cancellation, stands(false));
    assert_eq!((event.free_seats(), event.tally.occupied), (Seats::ZERO, Seats::ZERO));
}

#[test]
fn an_event_that_nobody_booked_has_nothing_to_release() {
    let mut event = event(10, 0);
    event.cancel(NOW).expect("it took place until now");
    assert_eq!(event.cancellation, Some(Cancellation { at: NOW, is_releasing: false }));
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
    /// Whatever is occupied, settled, released, edited and cancelled in whatever order: occupied =
    /// sum of the live slots ≤ capacity, the counts of bookings agree, versions rise by one, and once
    /// it is cancelled nothing is occupied.
    #[test]
    fn seats_are_conserved(
        capacity in 1u32..50,
        steps in prop::collection::vec((0u8..40, 1u32..8, any::<prop::sample::Index>()), 1..200),
    ) {
        let mut event = event(capacity, 0);
        let mut slots: Vec<Slot> = Vec::new();
        for (number, (step, seats, pick)) in steps.into_iter().enumerate() {
            let before = event.tally.version;
            let was_cancelled = event.cancellation.is_some();
            let live = slots.len();
            let entry = match step {
                // Seldom, or there would be hardly anything before it.
                39 => event.cancel(NOW),
                30..39 => {
                    let capacity = Some(i64::from(seats) * 5);
                    let amendment = Amendment { capacity, ..Amendment::default() };
                    event.edit(&amendment, NOW).ok().flatten()
                }
                0..10 => {
                    let id = BookingId::new(i64::try_from(number).expect("few steps"));
                    event.occupy(id, Seats::new(seats), NOW).ok().map(|(slot, entry)| {
                        slots.push(slot);
                        entry
                    })
                }
                10..20 if slots.iter().any(|slot| slot.state == SlotState::Held) => {
                    let held: Vec<usize> = (0..slots.len())
                        .filter(|&at| slots[at].state == SlotState::Held)
                        .collect();
                    let at = held[pick.index(held.len())];
                    let (slot, entry) = event.settle(slots[at], NOW);
                    slots[at] = slot;
                    Some(entry)
                }
                20..30 if !slots.is_empty() => {
                    let slot = slots.swap_remove(pick.index(slots.len()));
                    Some(event.release(slot, Release::Expired, NOW))
                }
                _ => None,
            };
            let changes = i64::from(entry.is_some());
            prop_assert_eq!(event.tally.version, before + changes);
            let occupied: u32 = slots.iter().map(|slot| slot.seats.get()).sum();
            prop_assert_eq!(event.tally.occupied.get(), occupied);
            prop_assert!(occupied <= event.plan.capacity.get());
            prop_assert!(!was_cancelled || slots.len() <= live);
            let is_releasing = event.cancellation.map(|it| it.is_releasing);
            prop_assert!(is_releasing.is_none_or(|it| it != slots.is_empty()));
            let held = slots.iter().filter(|slot| slot.state == SlotState::Held).count();
            prop_assert_eq!(event.tally.pending_bookings as usize, held);
            prop_assert_eq!(event.tally.confirmed_bookings as usize, slots.len() - held);
        }
    }
}

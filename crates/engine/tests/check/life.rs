//! Bookings that move while they are looked at, in three databases: all ways in which what is looked
//! at can lie in time.

use eventbooker_core::accounts::{Account, Posting, PostingKind};
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{Event, JournalEntry, JournalKind, Seats, Slot, SlotState, Tally};
use eventbooker_core::{BookingId, Money};
use eventbooker_engine::check::{Report, Room, Rule};
use eventbooker_testkit::rows::{account, booking, charge, deposit, errand, event, held, slot};

use super::apart::{Again, recount_three};
use super::rows::{Rows, Table};

/// What happens next to booking 1 of user 1, two seats of event 1 at 40 each, in one of the databases.
#[derive(Clone, Copy)]
enum Step {
    /// Its row is written, with how often its payment was begun.
    Is(State, u32),
    /// Its row is removed.
    Gone,
    /// Its event's journal goes on, and its slot with it.
    Seats(JournalKind),
    /// Its owner's account goes on.
    Money(PostingKind),
}

use Step::{Gone, Is, Money as Pays, Seats as Has};

/// Bought at once, and cancelled.
const BOUGHT: &[Step] = &[
    Is(State::Occupying, 0),
    Has(JournalKind::Held),
    Is(State::Paying, 1),
    Pays(PostingKind::Charge),
    Is(State::Completing, 1),
    Has(JournalKind::Confirmed),
    Is(State::Complete, 1),
    Is(State::Refunding, 1),
    Pays(PostingKind::Refund),
    Is(State::Releasing, 1),
    Has(JournalKind::Cancelled),
    Is(State::Cancelled, 1),
];

/// Held, refused for want of money, and never paid.
const EXPIRED: &[Step] = &[
    Is(State::Occupying, 0),
    Has(JournalKind::Held),
    Is(State::Occupied, 0),
    Is(State::Paying, 1),
    Is(State::Occupied, 1),
    Is(State::Expiring, 1),
    Has(JournalKind::Expired),
    Gone,
];

/// Cancelled while it was being paid, and before the money had come.
const GIVEN_UP: &[Step] = &[
    Is(State::Occupying, 0),
    Has(JournalKind::Held),
    Is(State::Paying, 1),
    Is(State::Refunding, 1),
    Pays(PostingKind::Charge),
    Pays(PostingKind::Refund),
    Is(State::Releasing, 1),
    Has(JournalKind::Cancelled),
    Is(State::Cancelled, 1),
];

/// Cancelled before it had its seats.
const LEFT: &[Step] = &[
    Is(State::Occupying, 0),
    Is(State::Releasing, 0),
    Has(JournalKind::Held),
    Has(JournalKind::Cancelled),
    Is(State::Cancelled, 0),
];

/// For an event that there isn't.
const REFUSED: &[Step] = &[Is(State::Occupying, 0), Is(State::Cancelled, 0)];

fn bookings_after(steps: &[Step]) -> Vec<Booking> {
    let row = steps.iter().fold(None, |row, step| match *step {
        Is(state, attempt) => {
            let has_seats = attempt > 0 || state == State::Occupied;
            let amount = Money::from_minor(if has_seats { 80 } else { 0 });
            Some(Booking { attempt, amount, ..booking(1, 1, 1, state, 60) })
        }
        Gone => None,
        Has(_) | Pays(_) => row,
    });
    row.into_iter().collect()
}

/// The event as its journal has left it, with all that tells of it.
fn events_after(steps: &[Step]) -> (Event, Vec<Slot>, Vec<JournalEntry>) {
    let created = JournalEntry { kind: JournalKind::Created, booking_id: None, ..held(1, 1, 1) };
    let (mut journal, mut slots) = (vec![created], Vec::new());
    for (step, version) in steps.iter().filter(|step| matches!(step, Has(_))).zip(2..) {
        let Has(kind) = *step else { continue };
        journal.push(JournalEntry { kind, version, ..held(1, 1, 1) });
        slots = match kind {
            JournalKind::Held => vec![slot(1, 1)],
            JournalKind::Confirmed => vec![Slot { state: SlotState::Sold, ..slot(1, 1) }],
            JournalKind::Cancelled | JournalKind::Expired => Vec::new(),
            JournalKind::Created | JournalKind::Edited | JournalKind::EventCancelled => continue,
        };
    }
    let is = |state| u32::from(slots.iter().any(|slot| slot.state == state));
    let (held, sold) = (is(SlotState::Held), is(SlotState::Sold));
    let tally = Tally {
        occupied: Seats::new(2 * (held + sold)),
        pending_bookings: held,
        confirmed_bookings: sold,
        version: journal.last().map_or(0, |entry| entry.version),
    };
    (Event { tally, ..event(1) }, slots, journal)
}

fn accounts_after(steps: &[Step]) -> (Account, Vec<Posting>) {
    let mut postings = vec![deposit(1, 1, 100, 100)];
    for (step, entry) in steps.iter().filter(|step| matches!(step, Pays(_))).zip(2..) {
        let Pays(kind) = *step else { continue };
        let balance = if kind == PostingKind::Charge { 20 } else { 100 };
        postings.push(Posting { kind, ..charge(1, entry, 1, balance) });
    }
    let Posting { entry, balance, .. } = postings[postings.len() - 1];
    (account(1, balance.as_minor(), entry), postings)
}

/// All rows after these steps.
fn rows_after(steps: &[Step]) -> Rows {
    let (event, slots, journal) = events_after(steps);
    let (account, postings) = accounts_after(steps);
    let bookings = bookings_after(steps);
    let on_its_way = bookings.iter().any(|booking| booking.state.ask().is_some());
    Rows {
        events: Table::of(vec![event]),
        slots: Table::of(slots),
        journal: Table::of(journal),
        accounts: Table::of(vec![account]),
        postings: Table::of(postings),
        bookings: Table::of(bookings),
        errands: Table::of(on_its_way.then(|| errand(1, 5)).into_iter().collect()),
        last_booking_id: BookingId::new(i64::from(!steps.is_empty())),
        integrity: Vec::new(),
    }
}

/// After how many of its steps a booking is looked at: in the snapshots of the bookings, the events
/// and the accounts, and then again at the booking and at the slots.
type Looks = [usize; 5];

/// All ways in which these looks can lie in time.
fn all_looks(steps: usize) -> impl Iterator<Item = Looks> {
    let ways = |looks: Vec<Looks>, look: usize| -> Vec<Looks> {
        let from = |looks: &Looks| if look == 0 { 0 } else { looks[look - 1] };
        let later = looks.iter().flat_map(|looks| {
            (from(looks)..=steps).map(move |step| {
                let mut looks = *looks;
                looks[look] = step;
                looks
            })
        });
        later.collect()
    };
    // Whether the events' snapshot or the accounts' is first doesn't matter.
    let mut all = (0..5).fold(vec![Looks::default()], ways);
    let exchanged = all.iter().map(|[b, e, a, again, slots]| [*b, *a, *e, *again, *slots]);
    let exchanged: Vec<Looks> = exchanged.collect();
    all.extend(exchanged);
    all.into_iter()
}

const ROOM: Room = Room { numbers: 10, groups: 4, rows: 100 };

async fn look(life: &[Step], looks: Looks, damage: impl Fn(&mut Rows)) -> Report {
    let [bookings, events, accounts, again, slots] = looks.map(|steps| {
        let mut rows = rows_after(&life[..steps]);
        damage(&mut rows);
        rows
    });
    let again = Again { bookings: again.bookings.rows, events: slots };
    recount_three(ROOM, [bookings, events, accounts], &again).await
}

#[tokio::test]
async fn nothing_is_wrong_with_a_booking_that_moves() {
    for life in [BOUGHT, EXPIRED, GIVEN_UP, LEFT] {
        let mut moved = 0;
        for looks in all_looks(life.len()) {
            let report = look(life, looks, |_| {}).await;
            assert!(report.is_clean(), "{looks:?}: {:#?}", report.findings);
            assert!(report.moved == 0 || looks[0] < looks[4], "{looks:?}: it stood still");
            moved += report.moved;
        }
        assert!(moved > 0, "snapshots of different instants say different things");
    }
    let no_event = |rows: &mut Rows| {
        rows.events.rows.clear();
        rows.journal.rows.clear();
    };
    for looks in all_looks(REFUSED.len()) {
        let report = look(REFUSED, looks, no_event).await;
        assert!(report.is_clean(), "{looks:?}: {:#?}", report.findings);
    }
}

/// Something is wrong with a booking that stands still, and is found however others' looks lie; of one
/// that moves nothing is said.
#[tokio::test]
async fn what_is_wrong_with_a_booking_that_stands_still_is_found() {
    fn slot_lost(rows: &mut Rows) {
        rows.slots.rows.clear();
    }
    fn slot_kept(rows: &mut Rows) {
        rows.slots.rows = vec![slot(1, 1)];
    }
    fn charge_kept(rows: &mut Rows) {
        rows.postings.rows.truncate(2);
    }
    fn booking_lost(rows: &mut Rows) {
        rows.bookings.rows.clear();
        rows.errands.rows.clear();
    }
    fn fewer_seats(rows: &mut Rows) {
        for booking in &mut rows.bookings.rows {
            booking.seats = Seats::new(1);
        }
    }
    type Damage = fn(&mut Rows);
    let cases: [(&[Step], usize, Damage, Rule, &str); 8] = [
        (EXPIRED, 3, slot_lost, Rule::Holds, "booking 1 is live, but event 1 keeps none"),
        (EXPIRED, 8, slot_kept, Rule::Holds, "event 1 keeps 2 seats for booking 1, which isn't"),
        (BOUGHT, 7, slot_lost, Rule::Holds, "booking 1 is live, but event 1 keeps none"),
        (BOUGHT, 12, slot_kept, Rule::Holds, "event 1 keeps 2 seats for booking 1, which isn't"),
        (BOUGHT, 12, charge_kept, Rule::Money, "booking 1 is charged 80 from user 1 for event 1"),
        (BOUGHT, 7, booking_lost, Rule::Money, "booking 1 is charged 80 from user 1 for event 1"),
        (BOUGHT, 7, booking_lost, Rule::Holds, "event 1 keeps 2 seats for booking 1, which isn't"),
        (BOUGHT, 3, fewer_seats, Rule::Holds, "booking 1 should have 1 seats of event 1, held"),
    ];
    for (life, steps, damage, rule, what) in cases {
        let stands_still = look(life, [steps; 5], damage).await;
        let is_found = |report: &Report| {
            let mut found = report.findings.iter();
            found.any(|finding| finding.rule == rule && finding.what.starts_with(what))
        };
        assert!(is_found(&stands_still), "{what}: {stands_still:#?}");
        assert_eq!(stands_still.moved, 0, "{what}");
    }

    // Cancelled in between: what is wrong with it is found the next time.
    let moves = look(BOUGHT, [7, 7, 7, 8, 8], slot_lost).await;
    assert_eq!(moves.moved, 1, "{moves:#?}");
    assert!(moves.findings.iter().all(|found| !found.what.contains("keeps none")), "{moves:#?}");
}

/// However many bookings move, they leave room for what is wrong.
#[tokio::test]
async fn what_has_moved_does_not_hide_what_is_wrong() {
    const MOVED: i64 = 3_000;
    let of_one = rows_after(&EXPIRED[..3]);
    let (mut events, mut by_now) = (of_one.clone(), of_one.clone());
    for rows in [&mut events, &mut by_now] {
        rows.slots.rows[0].seats = Seats::new(1);
    }
    events.slots.rows.extend((2..MOVED + 2).map(|id| slot(1, id)));
    events.journal.rows.extend((2..MOVED + 2).map(|id| held(1, id + 1, id)));
    let again = Again { bookings: of_one.bookings.rows.clone(), events: by_now };
    for room in [ROOM, Room { groups: 1, ..ROOM }] {
        let three = [of_one.clone(), events.clone(), of_one.clone()];
        let report = recount_three(room, three, &again).await;
        let wrong = "booking 1 should have 2 seats of event 1, held, but has 1 seats";
        let is_told = report.findings.iter().any(|finding| finding.what.starts_with(wrong));
        assert!(is_told, "in {room:?}: {:#?}", report.findings);
        assert_eq!(report.moved, MOVED.unsigned_abs(), "in {room:?}");
    }
}

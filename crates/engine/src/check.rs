//! The recount: every invariant, checked against every row of one snapshot.
//!
//! | invariant | what is recounted |
//! |---|---|
//! | 1. seats | each event's occupied seats are the sum of its live slots, and no more than its capacity |
//! | 2. money | each account's balance is the sum of its postings, which are numbered without a gap and leave no balance below 0; each charge is for one booking that is complete, or is refunded; each complete booking is charged |
//! | 3. holds | each live booking has its slot and each slot its live booking; the journal says that each hold began once and ended at most once, and agrees with the rows on which are live |
//! | journal | each event's journal has every version from 1 to the event's, once |
//! | 7. sagas | each booking that is on its way has an errand, and none is parked |
//! | numbers | no booking has a number above the highest that was given out |
//!
//! Nothing is repaired. A finding names the row, so that somebody can look.

mod journal;
mod money;

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::{Booking, State};
use eventbooker_core::events::{Event, Seats, Slot, SlotState, Tally};
use eventbooker_core::{BookingId, EventId};
use eventbooker_store::{Snapshot, StoreError, TableCounts};

/// Rows read at once.
const PAGE_ROWS: u32 = 10_000;
/// Findings that are kept; one mistake can show in a million rows.
const FINDINGS_MAX: usize = 1_000;

/// Something that does not add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of rule is broken.
    pub rule: Rule,
    /// Where, and how.
    pub what: String,
}

/// What kind of rule a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The database's own files.
    Storage,
    /// Invariant 1: occupied seats.
    Seats,
    /// Invariant 2: money adds up.
    Money,
    /// Invariant 3: holds end once.
    Holds,
    /// Invariant 7: every saga ends.
    Sagas,
    /// The journal is complete.
    Journal,
    /// Numbers are given out once.
    Numbers,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Storage => "storage",
            Self::Seats => "seats",
            Self::Money => "money",
            Self::Holds => "holds",
            Self::Sagas => "sagas",
            Self::Journal => "journal",
            Self::Numbers => "numbers",
        })
    }
}

/// What a recount came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was read.
    pub counts: TableCounts,
    /// What does not add up, the first thousand of it.
    pub findings: Vec<Finding>,
    /// How much did not add up altogether.
    pub findings_total: u64,
}

impl Report {
    /// Whether everything adds up.
    pub fn is_clean(&self) -> bool {
        self.findings_total == 0
    }

    fn find(&mut self, rule: Rule, what: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { rule, what });
        }
    }
}

/// Told after every page: rows read so far, and rows in all.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Recounts every invariant, and lets the database look at its own files.
pub async fn recount(
    snapshot: &mut dyn Snapshot,
    progress: Progress<'_>,
) -> Result<Report, StoreError> {
    let counts = snapshot.counts().await?;
    let mut report = Report { counts, ..Report::default() };
    for finding in snapshot.integrity().await? {
        report.find(Rule::Storage, finding);
    }
    let TableCounts { events, slots, journal, accounts, postings, bookings, errands } = counts;
    let total = events + slots + journal + accounts + postings + bookings + errands;
    recount_rows(snapshot, &mut report, &mut Meter::new(total, progress)).await?;
    Ok(report)
}

/// Recounts every invariant, page by page, and adds what it finds to the report.
pub(crate) async fn recount_rows(
    snapshot: &mut dyn Snapshot,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    let events = read_events(snapshot, meter).await?;
    let Live { slots, charges, on_their_way } =
        read_bookings(snapshot, &events, report, meter).await?;
    read_errands(snapshot, &on_their_way, report, meter).await?;
    let expected = (slots, &on_their_way);
    let counted = read_slots(snapshot, &events, expected, report, meter).await?;
    let journals = journal::read(snapshot, &events, report, meter).await?;
    money::recount(snapshot, charges, &on_their_way, report, meter).await?;
    for (id, event) in &events {
        compare(*id, event, counted.get(id), journals.get(id), report);
    }
    // Maps have no order; a report has one.
    report.findings.sort_by(|a, b| (a.rule, &a.what).cmp(&(b.rule, &b.what)));
    Ok(())
}

/// Counts rows as they are read.
pub(crate) struct Meter<'a> {
    pub(crate) read: u64,
    total: u64,
    progress: Progress<'a>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(total: u64, progress: Progress<'a>) -> Self {
        Self { read: 0, total, progress }
    }

    fn add(&mut self, rows: usize) {
        self.read += rows as u64;
        (self.progress)(self.read, self.total);
    }
}

/// An event's tally, and the capacity that bounds it.
struct Expected {
    capacity: Seats,
    tally: Tally,
}

async fn read_events(
    snapshot: &mut dyn Snapshot,
    meter: &mut Meter<'_>,
) -> Result<HashMap<EventId, Expected>, StoreError> {
    let mut events = HashMap::new();
    loop {
        let page: Vec<Event> = snapshot.events(PAGE_ROWS).await?;
        if page.is_empty() {
            return Ok(events);
        }
        meter.add(page.len());
        for event in page {
            events.insert(event.id, Expected { capacity: event.plan.capacity, tally: event.tally });
        }
    }
}

/// What live bookings should have.
#[derive(Default)]
struct Live {
    slots: HashMap<BookingId, Slot>,
    charges: money::Charges,
    /// Bookings whose sagas are under way. What they should have is not settled yet.
    on_their_way: HashMap<BookingId, State>,
}

async fn read_bookings(
    snapshot: &mut dyn Snapshot,
    events: &HashMap<EventId, Expected>,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<Live, StoreError> {
    let last_given = snapshot.last_booking_id().await?;
    let mut live = Live::default();
    loop {
        let page: Vec<Booking> = snapshot.bookings(PAGE_ROWS).await?;
        if page.is_empty() {
            return Ok(live);
        }
        meter.add(page.len());
        for booking in page {
            let Booking { id, event_id, seats, .. } = booking;
            if id > last_given {
                report.find(
                    Rule::Numbers,
                    format!("booking {id} is above {last_given}, the highest number given out"),
                );
            }
            if !events.contains_key(&event_id) {
                report.find(
                    Rule::Holds,
                    format!("booking {id} is for event {event_id}, which doesn't exist"),
                );
            }
            live.charges.extend(money::charge_of(&booking).map(|charge| (id, charge)));
            let state = match booking.state {
                State::Occupied => SlotState::Held,
                State::Complete => SlotState::Sold,
                State::Cancelled => continue,
                on_its_way @ (State::Occupying
                | State::Paying
                | State::Completing
                | State::Refunding
                | State::Releasing
                | State::Expiring) => {
                    live.on_their_way.insert(id, on_its_way);
                    continue;
                }
            };
            live.slots.insert(id, Slot { event_id, booking_id: id, seats, state });
        }
    }
}

/// Compares errands with the sagas that are under way: each has one, and nobody else has.
async fn read_errands(
    snapshot: &mut dyn Snapshot,
    on_their_way: &HashMap<BookingId, State>,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    let mut waiting = on_their_way.clone();
    loop {
        let page: Vec<Errand> = snapshot.errands(PAGE_ROWS).await?;
        if page.is_empty() {
            break;
        }
        meter.add(page.len());
        for Errand { booking_id, is_parked, trouble, tries, .. } in page {
            match waiting.remove(&booking_id) {
                None => report.find(
                    Rule::Sagas,
                    format!("booking {booking_id} has an errand, but isn't on its way"),
                ),
                Some(state) if is_parked => report.find(
                    Rule::Sagas,
                    format!(
                        "booking {booking_id} is parked while {state} after {tries} tries: {}",
                        trouble.unwrap_or_default()
                    ),
                ),
                Some(_) => {}
            }
        }
    }
    for (id, state) in waiting {
        report.find(
            Rule::Sagas,
            format!("booking {id} is {state}, and nobody has the errand to take it further"),
        );
    }
    Ok(())
}

/// Compares slots with live bookings, and adds them up by event.
async fn read_slots(
    snapshot: &mut dyn Snapshot,
    events: &HashMap<EventId, Expected>,
    (mut expected, on_their_way): (HashMap<BookingId, Slot>, &HashMap<BookingId, State>),
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<HashMap<EventId, Counted>, StoreError> {
    let mut counted: HashMap<EventId, Counted> = HashMap::new();
    loop {
        let page: Vec<Slot> = snapshot.slots(PAGE_ROWS).await?;
        if page.is_empty() {
            break;
        }
        meter.add(page.len());
        for slot in page {
            let Slot { event_id, booking_id, .. } = slot;
            match expected.remove(&booking_id) {
                Some(wanted) if wanted == slot => {}
                None if on_their_way.contains_key(&booking_id) => {}
                Some(wanted) => report.find(
                    Rule::Holds,
                    format!("booking {booking_id} should have {wanted:?}, but has {slot:?}"),
                ),
                None => report.find(
                    Rule::Holds,
                    format!("event {event_id} keeps {} seats for booking {booking_id}, which isn't live", slot.seats),
                ),
            }
            if !events.contains_key(&event_id) {
                report.find(
                    Rule::Seats,
                    format!("a slot belongs to event {event_id}, which doesn't exist"),
                );
            }
            counted.entry(event_id).or_default().add(slot);
        }
    }
    for slot in expected.into_values() {
        let Slot { booking_id, seats, event_id, .. } = slot;
        report.find(
            Rule::Holds,
            format!(
                "booking {booking_id} is live, but event {event_id} keeps none of its {seats} seats"
            ),
        );
    }
    Ok(counted)
}

/// An event's slots, added up.
#[derive(Default)]
struct Counted {
    seats: u64,
    held: u64,
    sold: u64,
    marks: u64,
}

impl Counted {
    fn add(&mut self, slot: Slot) {
        self.seats += u64::from(slot.seats.get());
        self.marks = self.marks.wrapping_add(mark(slot.booking_id, slot.seats, slot.state));
        match slot.state {
            SlotState::Held => self.held += 1,
            SlotState::Sold => self.sold += 1,
        }
    }
}

/// Sums of marks agree if the same bookings are live with the same seats in the same states, in
/// whatever order they come; so an event's live bookings needn't be kept to be compared.
fn mark(booking_id: BookingId, seats: Seats, state: SlotState) -> u64 {
    let mut hasher = DefaultHasher::new();
    (booking_id, seats, state == SlotState::Sold).hash(&mut hasher);
    hasher.finish()
}

fn compare(
    id: EventId,
    event: &Expected,
    counted: Option<&Counted>,
    journal: Option<&journal::JournalEnd>,
    report: &mut Report,
) {
    let none = Counted::default();
    let counted = counted.unwrap_or(&none);
    let Tally { occupied, pending_bookings, confirmed_bookings, version } = event.tally;
    if u64::from(occupied.get()) != counted.seats {
        report.find(
            Rule::Seats,
            format!(
                "event {id} counts {occupied} occupied seats, but its slots have {}",
                counted.seats
            ),
        );
    }
    if counted.seats > u64::from(event.capacity.get()) {
        report.find(
            Rule::Seats,
            format!("event {id} is oversold: {} of {} seats", counted.seats, event.capacity),
        );
    }
    let bookings = (u64::from(pending_bookings), u64::from(confirmed_bookings));
    if bookings != (counted.held, counted.sold) {
        report.find(
            Rule::Holds,
            format!(
                "event {id} counts {pending_bookings} pending and {confirmed_bookings} confirmed bookings, but has {} and {}",
                counted.held, counted.sold
            ),
        );
    }
    let Some(journal) = journal else {
        return report.find(Rule::Journal, format!("event {id} has no journal"));
    };
    if journal.version != version {
        report.find(
            Rule::Journal,
            format!(
                "event {id} has version {version}, but its journal ends at {}",
                journal.version
            ),
        );
    }
    let live = counted.held + counted.sold;
    if i64::try_from(counted.seats) != Ok(journal.seats) || live != journal.live as u64 {
        report.find(
            Rule::Journal,
            format!(
                "event {id} has {live} live bookings with {} seats, but by its journal {} with {}",
                counted.seats, journal.live, journal.seats
            ),
        );
    } else if counted.marks != journal.marks {
        report.find(
            Rule::Journal,
            format!(
                "event {id} has as many live bookings as its journal says, but other ones or in other states"
            ),
        );
    }
}

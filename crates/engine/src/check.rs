//! The recount: every invariant, checked against every row of one snapshot.
//!
//! | invariant | what is recounted |
//! |---|---|
//! | 1. seats | each event's occupied seats are the sum of its live slots, and no more than its capacity |
//! | 2. money | each account's balance is the sum of its postings, which are numbered without a gap and leave no balance below 0; each charge is for one booking that is complete, or is refunded; each complete booking is charged |
//! | 3. holds | each live booking has its slot and each slot its live booking; the journal says that each hold began once and ended at most once, and agrees with the rows on which are live |
//! | 12. cancelled events | each event is cancelled exactly if its journal says so, has not been booked or edited since, and says that it has bookings to release exactly as long as it has |
//! | journal | each event's journal has every version from 1 to the event's, once |
//! | 7. sagas | each booking that is on its way has an errand, and none is parked |
//! | numbers | no booking has a number above the highest that was given out |
//!
//! Nothing is repaired. A finding names the row, so that somebody can look.
//!
//! What is kept in mind grows with events and accounts, but not with bookings: first all of them are
//! looked at together (`overview`), and if something doesn't agree, a few of them one by one
//! (`inquiry`).
//!
//! Only what is told in tables that are looked at is compared. Where contexts are in databases of their
//! own, services go on from one's snapshot to the next's; see `apart`.
//!
//! Absent on purpose: identity. Nothing about users has to agree with anything else.

mod apart;
mod course;
mod events;
mod inquiry;
mod journal;
mod money;
mod overview;
mod pages;
mod sums;

use std::fmt;

use eventbooker_core::bookings::Booking;
use eventbooker_core::{Context, Timestamp};
use eventbooker_store::{
    Changes, Checker, LastCheck, Snapshot, Store, StoreError, TableCounts, save_alone,
};

pub use self::apart::{Databases, SecondLook, Together};
use self::events::Events;
use self::journal::Journals;
use self::money::Accounts;
use self::overview::Overview;
use crate::recount::Pace;

/// Findings that are kept; one mistake can show in a million rows.
const FINDINGS_MAX: usize = 1_000;
/// Findings that are logged, and shown to organisers. `eventbooker check` lists the others.
pub(crate) const FINDINGS_SHOWN: usize = 5;

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
    /// Invariant 12: what is cancelled stays so, and keeps nothing.
    Cancellations,
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
            Self::Cancellations => "cancellations",
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
    /// Beside that, groups of bookings in each of which something doesn't add up, but which nobody
    /// has looked at one by one: there were findings enough, or there was no time.
    pub unsearched: u64,
    /// Bookings that have moved from one database's snapshot to the next's. They weren't compared.
    pub moved: u64,
}

impl Report {
    /// Whether everything adds up.
    pub fn is_clean(&self) -> bool {
        self.findings_total == 0 && self.unsearched == 0
    }

    /// The same in short, to be noted.
    pub fn in_short(&self, checker: Checker, at: Timestamp) -> LastCheck {
        LastCheck {
            checker,
            at,
            rows: self.counts.all(),
            findings: self.findings_total + self.unsearched,
            first: lines(&self.findings),
        }
    }

    fn find(&mut self, rule: Rule, what: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { rule, what });
        }
    }

    fn add(&mut self, other: Self) {
        self.findings_total += other.findings_total;
        let room = FINDINGS_MAX - self.findings.len();
        self.findings.extend(other.findings.into_iter().take(room));
        self.moved += other.moved;
    }

    /// Maps have no order; a report has one.
    pub(crate) fn sort(&mut self) {
        self.findings.sort_by(|a, b| (a.rule, &a.what).cmp(&(b.rule, &b.what)));
    }
}

/// The first few findings, a line each.
pub(crate) fn lines(findings: &[Finding]) -> String {
    let lines = findings.iter().take(FINDINGS_SHOWN);
    lines.map(|Finding { rule, what }| format!("{rule}: {what}")).collect::<Vec<_>>().join("\n")
}

/// How much a recount keeps in mind at once.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Booking numbers that are followed at once. For those above, all rows are read again.
    pub numbers: u32,
    /// Groups of bookings. The more there are, the fewer bookings are looked at one by one because
    /// something doesn't add up in their group.
    pub groups: u32,
    /// Rows about such bookings that are kept at once. For more, all rows are read again.
    pub rows: u64,
}

impl Default for Room {
    /// 32 MiB for as many bookings as a file of several gigabytes holds; 1 MiB; and some tens of
    /// MiB if something doesn't add up.
    fn default() -> Self {
        Self { numbers: 1 << 24, groups: 1 << 16, rows: 200_000 }
    }
}

/// Notes what a check came to, so that organisers can see it. It changes nothing that is checked.
pub async fn note(store: &dyn Store, check: LastCheck) -> Result<(), StoreError> {
    let at = check.at;
    let changes = Changes { checked: Some(check), ..Changes::default() };
    save_alone(store, at, &changes).await
}

/// Told after every page: rows read so far, and rows in all.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Recounts every invariant of the contexts that are looked at, and lets the databases look at their
/// own files.
pub async fn recount(
    together: &mut Together<'_>,
    progress: Progress<'_>,
) -> Result<Report, StoreError> {
    recount_within(Room::default(), together, progress).await
}

/// The same with more room, or less: what is found is the same.
pub async fn recount_within(
    room: Room,
    together: &mut Together<'_>,
    progress: Progress<'_>,
) -> Result<Report, StoreError> {
    let counts = together.counts().await?;
    let mut report = Report { counts, ..Report::default() };
    for finding in together.integrity().await? {
        report.find(Rule::Storage, finding);
    }
    let mut meter = Meter::new(counts.all(), progress);
    recount_rows(room, together, &mut report, &mut meter).await?;
    report.sort();
    Ok(report)
}

/// Recounts every invariant, page by page, and adds what it finds to the report.
pub(crate) async fn recount_rows(
    room: Room,
    together: &mut Together<'_>,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    let contexts = together.contexts();
    let last_given = if contexts.has(Context::Bookings) {
        Some(together.last_booking_id().await?)
    } else {
        None
    };
    let mut overview = Overview::begin(room, contexts, last_given);
    let mut events = events::read(together, meter).await?;
    let before = meter.read;
    read_slots(together, &mut events, &mut overview, report, meter).await?;
    pages::errands(together, meter, |errand| overview.errand(&errand)).await?;
    let read = meter.read - before;
    let followed = follow(together, &events, &mut overview, report, meter).await?;
    let all_rows = read + followed.rows;
    money::compare(together, followed.accounts, report, meter).await?;
    for (id, event) in &events {
        event.compare(*id, followed.journals.get(id), report);
    }
    drop(followed.journals);

    while overview.goes_on() {
        // What can be said of a single row was said the first time.
        let mut said = Report::default();
        begin_again(together, followed.rows, meter).await?;
        follow(together, &events, &mut overview, &mut said, meter).await?;
    }

    let mut doubts = overview.doubts();
    report.unsearched = doubts.groups();
    while let Some(suspects) = doubts.next(room.rows) {
        begin_again(together, all_rows, meter).await?;
        let mut found = Report::default();
        inquiry::search(together, &suspects, &events, &mut found, meter).await?;
        // Together, for this may be cut short: a group is searched, or it isn't.
        report.add(found);
        report.unsearched = doubts.groups();
        if report.findings.len() == FINDINGS_MAX {
            break;
        }
    }
    Ok(())
}

/// What journals and postings have come to.
struct Followed {
    journals: Journals,
    accounts: Accounts,
    /// How many rows had to be read for it, those of bookings among them.
    rows: u64,
}

/// Shows the overview what bookings went through, and then where they stand.
async fn follow(
    together: &mut Together<'_>,
    events: &Events,
    overview: &mut Overview,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<Followed, StoreError> {
    let before = meter.read;
    let journals = journal::follow(together, events, overview, report, meter).await?;
    let from_here = meter.read;
    let accounts = money::follow(together, overview, report, meter).await?;
    let postings = meter.read - from_here;
    read_bookings(together, events, overview, report, meter).await?;
    let rows = meter.read - before;
    if overview.has_money_alone() {
        begin_again(together, postings, meter).await?;
        pages::postings(together, meter, |posting| overview.posting_again(&posting)).await?;
    }
    Ok(Followed { journals, accounts, rows })
}

async fn begin_again(
    snapshot: &mut dyn Snapshot,
    rows: u64,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    meter.total += rows;
    snapshot.rewind().await
}

/// Adds up slots by event, and shows them to the overview.
async fn read_slots(
    snapshot: &mut dyn Snapshot,
    events: &mut Events,
    overview: &mut Overview,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    pages::slots(snapshot, meter, |slot| {
        match events.get_mut(&slot.event_id) {
            Some(event) => event.add(slot),
            None => report.find(
                Rule::Seats,
                format!("a slot belongs to event {}, which doesn't exist", slot.event_id),
            ),
        }
        overview.slot(slot);
    })
    .await
}

/// Looks at each booking, and shows it to the overview.
async fn read_bookings(
    snapshot: &mut dyn Snapshot,
    events: &Events,
    overview: &mut Overview,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    pages::bookings(snapshot, meter, |booking| {
        if let Some(last_given) = overview.last_given.filter(|last| booking.id > *last) {
            report.find(
                Rule::Numbers,
                format!(
                    "booking {} is above {last_given}, the highest number given out",
                    booking.id
                ),
            );
        }
        overview.booking(&booking, events.contains_key(&booking.event_id));
    })
    .await
}

/// Whether a booking's saga is under way, so that what it should have isn't settled yet.
fn is_on_its_way(booking: &Booking) -> bool {
    booking.state.ask().is_some()
}

/// Counts rows as they are read, and rests in between if it is told to.
pub(crate) struct Meter<'a> {
    pub(crate) read: u64,
    total: u64,
    progress: Progress<'a>,
    pace: Option<Pace>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(total: u64, progress: Progress<'a>) -> Self {
        Self { read: 0, total, progress, pace: None }
    }

    /// The same, with rests.
    pub(crate) fn at(self, pace: Pace) -> Self {
        Self { pace: Some(pace), ..self }
    }

    /// Rests from reading a page, and from looking through the one before.
    async fn rest(&mut self) {
        if let Some(pace) = &mut self.pace {
            pace.rest().await;
        }
    }

    pub(crate) fn add(&mut self, rows: usize) {
        self.read += rows as u64;
        (self.progress)(self.read, self.total);
    }
}

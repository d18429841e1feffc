//! `eventbooker saga`: list, show, retry.

use std::collections::HashMap;
use std::error::Error;

use clap::{Args, Subcommand};
use comfy_table::Table;
use eventbooker_core::accounts::{Posting, PostingKind};
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::participant::Participant;
use eventbooker_core::bookings::saga::Ask;
use eventbooker_core::bookings::{Booking, Payment, State};
use eventbooker_core::events::{JournalEntry, JournalKind, Release};
use eventbooker_core::{BookingId, Context, Timestamp};
use eventbooker_engine::Engine;
use eventbooker_engine::trail::{BookingTrail, trail};
use eventbooker_store::Access;
use eventbooker_store::{BookingRoute, SagaStep, Store};

use crate::open;
use crate::say::{instant, say};
use crate::settings::DatabaseFlags;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the sagas whose next step lies elsewhere.
    List(List),
    /// Show all that is known of a booking: how it stands, and what led there.
    Show(OfBooking),
    /// Let parked sagas be tried again.
    Retry(Retry),
}

#[derive(Args)]
pub(crate) struct List {
    /// Only those that failed too often and wait for somebody to look after them.
    #[arg(long)]
    parked: bool,
    #[command(flatten)]
    database: DatabaseFlags,
}

#[derive(Args)]
pub(crate) struct Retry {
    /// The booking's number.
    #[arg(value_name = "BOOKING", required_unless_present = "all", conflicts_with = "all")]
    number: Option<i64>,
    /// Every saga that is parked, as after an outage that has ended.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    database: DatabaseFlags,
}

#[derive(Args)]
pub(crate) struct OfBooking {
    /// The booking's number.
    #[arg(value_name = "BOOKING")]
    number: i64,
    #[command(flatten)]
    database: DatabaseFlags,
}

/// Errands read from the store at once.
const PAGE_ERRANDS: u32 = 1000;

pub(crate) async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::List(List { parked, database }) => {
            let store = open::store(database, Access::Look, Context::Bookings).await?;
            let table = errands(&*store, parked).await?;
            match (table.is_empty(), parked) {
                (false, _) => say(table),
                (true, false) => say("no saga has its next step elsewhere"),
                (true, true) => say("no saga is parked"),
            }
        }
        Command::Show(OfBooking { number, database }) => {
            let store = open::store(database, Access::Look, Context::Bookings).await?;
            show(&*store, BookingId::new(number)).await
        }
        Command::Retry(Retry { number, database, .. }) => {
            let engine = open::tool_engine(database, Context::Bookings).await?;
            let retried = match number {
                Some(number) => retry(&engine, BookingId::new(number)).await,
                None => retry_all(&engine).await,
            };
            engine.stop().await;
            say(retried?)
        }
    }
}

async fn errands(store: &dyn Store, only_parked: bool) -> Result<Table, String> {
    let mut table = Table::new();
    table.set_header(["booking", "event", "user", "state", "tries", "due", "parked", "trouble"]);
    let mut after = BookingId::new(0);
    loop {
        let mut page = store.errands(after, PAGE_ERRANDS).await.map_err(words)?;
        let Some(last) = page.last() else { return Ok(table) };
        after = last.booking_id;
        page.retain(|errand| errand.is_parked || !only_parked);
        let ids = page.iter().map(|errand| errand.booking_id).collect();
        let bookings = store.bookings(ids).await.map_err(words)?;
        let states: HashMap<BookingId, State> =
            bookings.into_iter().map(|booking| (booking.id, booking.state)).collect();
        for errand in page {
            let state = states.get(&errand.booking_id);
            table.add_row([
                errand.booking_id.to_string(),
                errand.event_id.to_string(),
                errand.user_id.to_string(),
                state.map_or_else(|| "gone".to_owned(), State::to_string),
                errand.tries.to_string(),
                instant(errand.due_at),
                if errand.is_parked { "parked" } else { "" }.to_owned(),
                errand.trouble.unwrap_or_default(),
            ]);
        }
    }
}

async fn show(store: &dyn Store, id: BookingId) -> Result<(), String> {
    let trail = trail(store, id).await.map_err(words)?;
    if let Some(booking) = &trail.booking {
        say(row(booking))?;
    } else {
        check_given_out(store, id).await?;
        say(format_args!("booking {id} is gone"))?;
    }
    let lines = lines(trail);
    if lines.is_empty() {
        return say("nothing was written about what led there");
    }
    let mut table = Table::new();
    table.set_header(["when", "asked", "answered", "where"]);
    for Line { at, asked, answered, place, .. } in lines {
        table.add_row([instant(at), asked, answered, place]);
    }
    say(table)
}

fn row(booking: &Booking) -> Table {
    let Booking { id, event_id, user_id, seats, state, attempt, .. } = booking;
    let mut table = Table::new();
    table.set_header([
        "booking",
        "event",
        "user",
        "state",
        "seats",
        "amount",
        "payment",
        "payments tried",
        "created",
        "deadline",
    ]);
    let payment = match booking.payment {
        Payment::Later => "later",
        Payment::AtOnce => "at once",
    };
    table.add_row([
        id.to_string(),
        event_id.to_string(),
        user_id.to_string(),
        state.to_string(),
        seats.to_string(),
        booking.amount.as_minor().to_string(),
        payment.to_owned(),
        attempt.to_string(),
        instant(booking.created_at),
        instant(booking.expires_at),
    ]);
    table
}

/// A step of a saga: what was asked, and what came of it.
struct Line {
    at: Timestamp,
    turn: Turn,
    asked: String,
    answered: String,
    place: String,
}

/// The order of what has one instant, as all steps have that are taken in one transaction. What was
/// heard from elsewhere set them going; they follow in the order in which a saga asks for them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Heard,
    Occupy,
    Charge,
    Settle,
    Refund,
    Release,
    Awaited,
}

impl From<Ask> for Turn {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::Occupy => Self::Occupy,
            Ask::Charge => Self::Charge,
            Ask::Settle => Self::Settle,
            Ask::Refund => Self::Refund,
            Ask::Release(_) => Self::Release,
        }
    }
}

/// What a trail tells, in the order in which it happened. An errand stands where it is due.
fn lines(trail: BookingTrail) -> Vec<Line> {
    let refused = refused(&trail).map(|(ask, answer, at)| Line::of_refusal(ask, answer, at));
    let BookingTrail { booking, journal, postings, steps, errand } = trail;
    let mut lines: Vec<Line> = steps.into_iter().map(Line::of_step).collect();
    lines.extend(refused);
    lines.extend(journal.iter().filter_map(Line::of_entry));
    lines.extend(postings.iter().filter_map(Line::of_posting));
    lines.extend(errand.map(|errand| Line::of_errand(&errand, booking.as_ref())));
    lines.sort_by_key(|line| (line.at, line.turn));
    lines
}

/// What a participant of this database refused a purchase, and when. A refusal changes no row of the
/// participant's, so that only the booking tells of it.
fn refused(trail: &BookingTrail) -> Option<(Ask, &'static str, Timestamp)> {
    let BookingTrail { booking, journal, postings, steps, .. } = trail;
    let booking = booking.filter(|booking| {
        booking.payment == Payment::AtOnce && booking.state == State::Cancelled
    })?;
    let has = |kind| journal.iter().find(|entry| entry.kind == kind);
    let (ask, answer, at) = if has(JournalKind::Held).is_none() {
        (Ask::Occupy, "not occupied", booking.created_at)
    } else if has(JournalKind::Confirmed).is_none() && postings.is_empty() {
        (Ask::Charge, "not charged", has(JournalKind::Cancelled)?.at)
    } else {
        return None;
    };
    // What was refused elsewhere was heard.
    let was_heard = steps.iter().any(|step| step.asked == ask.to_string());
    (!was_heard).then_some((ask, answer, at))
}

impl Line {
    fn of_refusal(ask: Ask, answer: &str, at: Timestamp) -> Self {
        let place = match ask.of() {
            Participant::Events => "events",
            Participant::Accounts => "accounts",
        };
        Self {
            at,
            turn: ask.into(),
            asked: ask.to_string(),
            answered: answer.to_string(),
            place: place.to_owned(),
        }
    }

    fn of_step(step: SagaStep) -> Self {
        let SagaStep { asked, answered, at, .. } = step;
        Self { at, turn: Turn::Heard, asked, answered, place: "elsewhere".to_owned() }
    }

    fn of_entry(entry: &JournalEntry) -> Option<Self> {
        let JournalEntry { event_id, version, kind, seats, at, .. } = *entry;
        let (ask, answer) = match kind {
            JournalKind::Held => (Ask::Occupy, "occupied"),
            JournalKind::Confirmed => (Ask::Settle, "settled"),
            JournalKind::Cancelled => (Ask::Release(Release::Cancelled), "released"),
            JournalKind::Expired => (Ask::Release(Release::Expired), "released"),
            // It is about no booking.
            JournalKind::Created | JournalKind::Edited | JournalKind::EventCancelled => {
                return None;
            }
        };
        Some(Self {
            at,
            turn: ask.into(),
            asked: ask.to_string(),
            answered: match seats.get() {
                1 => format!("{answer}, 1 seat"),
                seats => format!("{answer}, {seats} seats"),
            },
            place: format!("event {event_id}, version {version}"),
        })
    }

    fn of_posting(posting: &Posting) -> Option<Self> {
        let Posting { user_id, entry, kind, amount, balance, at, .. } = *posting;
        let (ask, answer) = match kind {
            PostingKind::Charge => (Ask::Charge, "charged"),
            PostingKind::Refund => (Ask::Refund, "refunded"),
            // It is for no booking.
            PostingKind::Deposit => return None,
        };
        let (amount, balance) = (amount.as_minor(), balance.as_minor());
        Some(Self {
            at,
            turn: ask.into(),
            asked: ask.to_string(),
            answered: format!("{answer}, {amount}; the balance is {balance}"),
            place: format!("user {user_id}, posting {entry}"),
        })
    }

    fn of_errand(errand: &Errand, booking: Option<&Booking>) -> Self {
        let ask = booking.and_then(|booking| booking.state.ask());
        let Errand { tries, due_at, is_parked, .. } = *errand;
        let mut answered = match tries {
            1 => "not yet, tried once".to_owned(),
            _ => format!("not yet, tried {tries} times"),
        };
        if is_parked {
            answered.push_str(", parked");
        }
        if let Some(trouble) = &errand.trouble {
            answered.push_str("; last trouble: ");
            answered.push_str(trouble);
        }
        Self {
            at: due_at,
            turn: Turn::Awaited,
            asked: ask.map(|ask| ask.to_string()).unwrap_or_default(),
            answered,
            place: "elsewhere".to_owned(),
        }
    }
}

/// Takes an errand out of parking. Returns what to say about it.
async fn retry(engine: &Engine, id: BookingId) -> Result<String, String> {
    let before = BookingId::new(id.get().saturating_sub(1));
    let found = engine.store().errands(before, 1).await.map_err(words)?;
    let Some(errand) = found.into_iter().find(|errand| errand.booking_id == id) else {
        check_given_out(engine.store(), id).await?;
        return Err(format!("booking {id} has no errand: its saga waits for nobody elsewhere"));
    };
    let tries = errand.tries;
    let was_parked = engine.retry_saga(errand).await.map_err(words)?;
    if !was_parked {
        return Err(format!("the saga of booking {id} isn't parked: it is tried again by itself"));
    }
    Ok(format!(
        "the saga of booking {id} was parked after {tries} tries and is due now; a running server takes it up within 2 s"
    ))
}

/// Takes all errands out of parking. Returns what to say about it.
async fn retry_all(engine: &Engine) -> Result<String, String> {
    let mut retried = 0_u64;
    let mut after = BookingId::new(0);
    loop {
        let page = engine.store().errands(after, PAGE_ERRANDS).await.map_err(words)?;
        let Some(last) = page.last() else { break };
        after = last.booking_id;
        for errand in page.into_iter().filter(|errand| errand.is_parked) {
            // Somebody else may have been quicker.
            retried += u64::from(engine.retry_saga(errand).await.map_err(words)?);
        }
    }
    Ok(match retried {
        0 => "no saga is parked".to_owned(),
        1 => "1 parked saga is due now; a running server takes it up within 2 s".to_owned(),
        _ => format!(
            "{retried} parked sagas are due now; a running server takes them up within seconds"
        ),
    })
}

async fn check_given_out(store: &dyn Store, id: BookingId) -> Result<(), String> {
    match store.booking_route(id).await.map_err(words)? {
        BookingRoute::Never => Err(format!("there has been no booking {id}")),
        BookingRoute::Exists { .. } | BookingRoute::Gone => Ok(()),
    }
}

fn words(error: impl Error) -> String {
    error.to_string()
}

//! `eventbooker event`: add, list.

use clap::{Args, Subcommand};
use comfy_table::Table;
use eventbooker_core::events::{Draft, PlanFault};
use eventbooker_core::identity::{Actor, Role};
use eventbooker_core::{Context, EventId, Timestamp, UserId};
use eventbooker_store::Access;
use eventbooker_store::{EventsPage, Store};

use crate::open;
use crate::say::{instant, say};
use crate::settings::DatabaseFlags;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add an event.
    Add(Add),
    /// List all events, soonest first.
    List(DatabaseFlags),
}

#[derive(Args)]
pub(crate) struct Add {
    /// What it is called.
    name: String,
    /// When it takes place, such as 2027-05-01T19:30:00+02:00.
    #[arg(long)]
    date: Option<jiff::Timestamp>,
    /// How many seats it has.
    #[arg(long)]
    capacity: i64,
    /// How long a hold waits for its payment, in minutes.
    #[arg(long, default_value_t = 30)]
    payment_ttl: i64,
    /// What a seat costs, in minor units.
    #[arg(long, default_value_t = 0)]
    price: i64,
    /// What it is about.
    #[arg(long, default_value = "")]
    description: String,
    #[command(flatten)]
    database: DatabaseFlags,
}

/// The argument of [`Add`] that a fault is about, so that the two make a sentence.
pub(crate) fn flag_of(fault: PlanFault) -> &'static str {
    match fault {
        PlanFault::NameEmpty | PlanFault::NameTooLong | PlanFault::NameNotPlain => "<NAME>",
        PlanFault::DescriptionTooLong | PlanFault::DescriptionNotPlain => "--description",
        PlanFault::StartsInPast => "--date",
        PlanFault::CapacityOutOfRange => "--capacity",
        PlanFault::PriceOutOfRange => "--price",
        PlanFault::PaymentWindowOutOfRange => "--payment-ttl",
    }
}

/// Whoever can run this on the database's machine may do anything anyway.
pub(crate) const OPERATOR: Actor = Actor { user_id: UserId::new(0), role: Role::Admin };

/// Events read from the store at once.
const PAGE_EVENTS: u32 = 1000;

pub(crate) async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Add(add) => {
            let draft = Draft {
                name: add.name,
                description: add.description,
                starts_at: add.date.map(|at| Timestamp::from_micros(at.as_microsecond())),
                capacity: add.capacity,
                price_minor: add.price,
                payment_window_minutes: add.payment_ttl,
            };
            let engine = open::tool_engine(add.database, Context::Events).await?;
            let event = open::outcome(engine.create_event(OPERATOR, draft, None).await);
            engine.stop().await;
            let event = event?;
            say(format_args!("added event {} with {} seats", event.id, event.plan.capacity))
        }
        Command::List(database) => {
            let store = open::store(database, Access::Look, Context::Events).await?;
            say(table(&*store).await?)
        }
    }
}

async fn table(store: &dyn Store) -> Result<Table, String> {
    let mut table = Table::new();
    table.set_header([
        "number",
        "name",
        "date",
        "seats",
        "free",
        "pending",
        "confirmed",
        "price",
        "cancelled",
    ]);
    let mut after: Option<EventId> = None;
    loop {
        let page = EventsPage { limit: PAGE_EVENTS, after, not_before: None, name_contains: None };
        let events = store.events(page).await.map_err(|error| error.to_string())?;
        let Some(last) = events.last() else { return Ok(table) };
        after = Some(last.id);
        for event in events {
            table.add_row([
                event.id.to_string(),
                event.plan.name.clone(),
                event.plan.starts_at.map(instant).unwrap_or_default(),
                event.plan.capacity.to_string(),
                event.free_seats().to_string(),
                event.tally.pending_bookings.to_string(),
                event.tally.confirmed_bookings.to_string(),
                event.plan.price.as_minor().to_string(),
                event.cancellation.map(|it| instant(it.at)).unwrap_or_default(),
            ]);
        }
    }
}

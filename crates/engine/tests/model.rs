//! Random sequences of commands, against a model that is plain enough to be right.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::collections::BTreeMap;
use std::time::Duration;

use eventbooker_core::accounts::{DepositRefusal, InsufficientFunds};
use eventbooker_core::bookings::{BookRefusal, ConfirmRefusal, HoldLimits, State};
use eventbooker_core::events::{
    Amendment, EditRefusal, EventCancelled, OccupyRefusal, PlanFault, Seats,
};
use eventbooker_core::{BookingId, EventId, Money, Timestamp};
use eventbooker_engine::{Refusal, Settings};
use eventbooker_testkit::clock::NEW_YEAR;
use eventbooker_testkit::database::is_embedded;
use eventbooker_testkit::service::{ADMIN, attendee};
use eventbooker_testkit::{Failure, Options, Service};
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;

const HOLDS_MAX: usize = 3;
const HELD_SEATS_MAX: u32 = 8;

const LIMITS: HoldLimits = HoldLimits {
    seats_per_booking_max: 5,
    holds_max: Some(3),
    held_seats_max: Some(HELD_SEATS_MAX),
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    Pending,
    Confirmed,
    Cancelled,
}

#[derive(Debug, Clone)]
struct ModelBooking {
    event: usize,
    user: i64,
    seats: u32,
    amount: i64,
    stands: Stands,
    ends: Timestamp,
}

#[derive(Debug, Clone)]
struct ModelEvent {
    capacity: u32,
    price: i64,
    minutes: u32,
    is_cancelled: bool,
}

/// Everything that the service should know, in the simplest form.
#[derive(Debug, Clone)]
struct Model {
    now: Timestamp,
    /// Number `n` is at `n - 1`.
    events: Vec<ModelEvent>,
    /// Bookings by their numbers; a hold that has ended isn't here.
    bookings: BTreeMap<i64, ModelBooking>,
    last_booking: i64,
    /// What users have, by their numbers.
    balances: BTreeMap<i64, i64>,
    /// What the last command has to be answered with.
    expected: Result<(), Refusal>,
}

#[derive(Debug, Clone)]
enum Step {
    CreateEvent {
        capacity: u32,
        price: i64,
        minutes: u32,
    },
    EditEvent {
        event: usize,
        capacity: u32,
        price: i64,
        minutes: u32,
    },
    CancelEvent {
        event: usize,
    },
    Book {
        user: i64,
        event: usize,
        seats: i64,
    },
    Purchase {
        user: i64,
        event: usize,
        seats: i64,
    },
    Deposit {
        user: i64,
        amount: i64,
    },
    /// `nth_last`: counted back from the last number given out, or forward if negative.
    Confirm {
        by: Option<i64>,
        nth_last: i64,
    },
    Cancel {
        by: Option<i64>,
        nth_last: i64,
    },
    Pass {
        seconds: u64,
    },
    Restart {
        seconds: u64,
    },
}

impl Step {
    /// Whether it is about a booking that has not been made.
    fn is_ahead(&self) -> bool {
        matches!(self, Self::Confirm { nth_last, .. } | Self::Cancel { nth_last, .. } if *nth_last < 0)
    }
}

impl Model {
    fn occupied(&self, event: usize) -> u32 {
        self.on(event).map(|b| b.seats).sum()
    }

    fn count(&self, event: usize, stands: Stands) -> usize {
        self.on(event).filter(|b| b.stands == stands).count()
    }

    /// An event's live bookings.
    fn on(&self, event: usize) -> impl Iterator<Item = &ModelBooking> {
        self.bookings.values().filter(move |b| b.event == event && b.stands != Stands::Cancelled)
    }

    fn book(&mut self, user: i64, event: usize, seats: i64) -> Result<(), Refusal> {
        let Some(seats) = u32::try_from(seats).ok().filter(|n| (1..=5).contains(n)) else {
            return Err(BookRefusal::SeatsOutOfRange { max: 5 }.into());
        };
        let ModelEvent { capacity, price, minutes, is_cancelled } =
            self.events.get(event).cloned().ok_or(Refusal::NoSuchEvent)?;
        if is_cancelled {
            return Err(OccupyRefusal::Cancelled(EventCancelled).into());
        }
        let free = capacity - self.occupied(event);
        if free == 0 {
            return Err(OccupyRefusal::SoldOut.into());
        }
        if seats > free {
            let free = Seats::new(free);
            return Err(OccupyRefusal::TooFewSeats { free }.into());
        }
        self.admit(user, event, seats, &[Stands::Pending, Stands::Cancelled])?;
        self.last_booking += 1;
        let booking = ModelBooking {
            event,
            user,
            seats,
            amount: i64::from(seats) * price,
            stands: Stands::Pending,
            ends: self.now.plus(Duration::from_secs(u64::from(minutes) * 60)),
        };
        self.bookings.insert(self.last_booking, booking);
        Ok(())
    }

    /// Whether a user may have more seats, if what stands like this counts.
    fn admit(&self, user: i64, event: usize, seats: u32, counts: &[Stands]) -> Result<(), Refusal> {
        let counted = self.bookings.values().filter(|b| b.event == event && b.user == user);
        let counted: Vec<&ModelBooking> =
            counted.filter(|b| b.ends > self.now && counts.contains(&b.stands)).collect();
        let counted_seats: u32 = counted.iter().map(|b| b.seats).sum();
        if counted.len() >= HOLDS_MAX || counted_seats + seats > HELD_SEATS_MAX {
            let retry_at = counted.iter().map(|b| b.ends).min().expect("something is counted");
            return Err(BookRefusal::HoldLimit { retry_at }.into());
        }
        Ok(())
    }

    fn purchase(&mut self, user: i64, event: usize, seats: i64) -> Result<(), Refusal> {
        let Some(seats) = u32::try_from(seats).ok().filter(|n| (1..=5).contains(n)) else {
            return Err(BookRefusal::SeatsOutOfRange { max: 5 }.into());
        };
        let ModelEvent { capacity, price, minutes, is_cancelled } =
            self.events.get(event).cloned().ok_or(Refusal::NoSuchEvent)?;
        self.admit(user, event, seats, &[Stands::Cancelled])?;
        let fits = !is_cancelled && seats <= capacity - self.occupied(event);
        let amount = if fits { i64::from(seats) * price } else { 0 };
        let balance = self.balances.entry(user).or_default();
        let stands = if fits && amount <= *balance { Stands::Confirmed } else { Stands::Cancelled };
        if stands == Stands::Confirmed {
            *balance -= amount;
        }
        self.last_booking += 1;
        // What the user cancels counts until the window is over; what just failed doesn't.
        let window = if stands == Stands::Confirmed { u64::from(minutes) * 60 } else { 0 };
        let ends = self.now.plus(Duration::from_secs(window));
        let booking = ModelBooking { event, user, seats, amount, stands, ends };
        self.bookings.insert(self.last_booking, booking);
        Ok(())
    }

    fn edit(&mut self, event: usize, to: ModelEvent) -> Result<(), Refusal> {
        let occupied = self.occupied(event);
        let event = self.events.get_mut(event).ok_or(Refusal::NoSuchEvent)?;
        if event.is_cancelled {
            return Err(EditRefusal::Cancelled(EventCancelled).into());
        }
        if to.capacity == 0 {
            return Err(EditRefusal::Plan(vec![PlanFault::CapacityOutOfRange]).into());
        }
        if to.capacity < occupied {
            let occupied = Seats::new(occupied);
            return Err(EditRefusal::CapacityBelowOccupied { occupied }.into());
        }
        *event = to;
        Ok(())
    }

    fn cancel_event(&mut self, event: usize) -> Result<(), Refusal> {
        self.events.get_mut(event).ok_or(Refusal::NoSuchEvent)?.is_cancelled = true;
        let live = |b: &ModelBooking| b.event == event && b.stands != Stands::Cancelled;
        let ids = self.bookings.iter().filter(|(_, b)| live(b)).map(|(id, _)| *id);
        for id in ids.collect::<Vec<_>>() {
            self.cancel(None, id)?;
        }
        Ok(())
    }

    fn deposit(&mut self, user: i64, amount: i64) -> Result<(), Refusal> {
        if amount <= 0 {
            return Err(DepositRefusal::NotPositive.into());
        }
        let balance = self.balances.entry(user).or_default();
        *balance = balance.checked_add(amount).ok_or(DepositRefusal::BalanceTooLarge)?;
        Ok(())
    }

    /// The booking that a command is about, as far as it may be known to whoever asks.
    fn open_to(&mut self, by: Option<i64>, id: i64) -> Result<&mut ModelBooking, Refusal> {
        if !(1..=self.last_booking).contains(&id) {
            return Err(Refusal::NoSuchBooking);
        }
        let booking = self.bookings.get_mut(&id).ok_or(Refusal::BookingGone)?;
        if by.is_some_and(|user| user != booking.user) {
            return Err(Refusal::NoSuchBooking);
        }
        Ok(booking)
    }

    fn confirm(&mut self, by: Option<i64>, id: i64) -> Result<(), Refusal> {
        self.open_to(by, id)?;
        let booking = self.bookings.get_mut(&id).expect("it was there a moment ago");
        match booking.stands {
            Stands::Confirmed => Ok(()),
            Stands::Cancelled => Err(ConfirmRefusal::Cancelled.into()),
            Stands::Pending => {
                let amount = booking.amount;
                let balance = self.balances.entry(booking.user).or_default();
                if amount > *balance {
                    let (balance, amount) =
                        (Money::from_minor(*balance), Money::from_minor(amount));
                    return Err(InsufficientFunds { balance, amount }.into());
                }
                *balance -= amount;
                booking.stands = Stands::Confirmed;
                Ok(())
            }
        }
    }

    fn cancel(&mut self, by: Option<i64>, id: i64) -> Result<(), Refusal> {
        let booking = self.open_to(by, id)?;
        let before = std::mem::replace(&mut booking.stands, Stands::Cancelled);
        if before == Stands::Confirmed {
            let (user, amount) = (booking.user, booking.amount);
            *self.balances.entry(user).or_default() += amount;
        }
        Ok(())
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        let now = self.now;
        self.bookings.retain(|_, b| b.stands != Stands::Pending || b.ends > now);
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            now: NEW_YEAR,
            events: Vec::new(),
            bookings: BTreeMap::new(),
            last_booking: 0,
            balances: BTreeMap::new(),
            expected: Ok(()),
        })
        .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        let events = state.events.len();
        let event = 0..=events;
        let by = || prop_oneof![4 => (1i64..4).prop_map(Some), 1 => Just(None)];
        let nth_last = || prop_oneof![9 => 0i64..6, 1 => -2i64..40];
        let create = (1u32..14, prop_oneof![2 => Just(0i64), 1 => Just(40i64)], 1u32..4)
            .prop_map(|(capacity, price, minutes)| Step::CreateEvent { capacity, price, minutes });
        let edit = (0..=events, 0u32..14, prop_oneof![Just(0i64), Just(50i64)], 1u32..4).prop_map(
            |(event, capacity, price, minutes)| Step::EditEvent { event, capacity, price, minutes },
        );
        prop_oneof![
            if events < 3 { 4 } else { 1 } => create,
            2 => edit,
            1 => (0..=events).prop_map(|event| Step::CancelEvent { event }),
            12 => (1i64..4, event, 0i64..7)
                .prop_map(|(user, event, seats)| Step::Book { user, event, seats }),
            6 => (1i64..4, 0..=events, 0i64..7)
                .prop_map(|(user, event, seats)| Step::Purchase { user, event, seats }),
            3 => (1i64..4, prop_oneof![9 => -1i64..200, 1 => Just(i64::MAX - 1000)])
                .prop_map(|(user, amount)| Step::Deposit { user, amount }),
            6 => (by(), nth_last()).prop_map(|(by, nth_last)| Step::Confirm { by, nth_last }),
            4 => (by(), nth_last()).prop_map(|(by, nth_last)| Step::Cancel { by, nth_last }),
            4 => (0u64..100).prop_map(|seconds| Step::Pass { seconds }),
            1 => (0u64..100).prop_map(|seconds| Step::Restart { seconds }),
        ]
        .boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        let last = state.last_booking;
        state.expected = match *step {
            Step::CreateEvent { capacity, price, minutes } => {
                state.events.push(ModelEvent { capacity, price, minutes, is_cancelled: false });
                Ok(())
            }
            Step::EditEvent { event, capacity, price, minutes } => {
                state.edit(event, ModelEvent { capacity, price, minutes, is_cancelled: false })
            }
            Step::CancelEvent { event } => state.cancel_event(event),
            Step::Book { user, event, seats } => state.book(user, event, seats),
            Step::Confirm { by, nth_last } => state.confirm(by, last - nth_last),
            Step::Cancel { by, nth_last } => state.cancel(by, last - nth_last),
            Step::Purchase { user, event, seats } => state.purchase(user, event, seats),
            Step::Deposit { user, amount } => state.deposit(user, amount),
            Step::Pass { seconds } | Step::Restart { seconds } => {
                state.pass(seconds);
                Ok(())
            }
        };
        state
    }
}

/// The service, and the runtime that it lives in.
struct Real {
    runtime: Runtime,
    service: Service,
}

struct ServiceAgainstModel;

impl StateMachineTest for ServiceAgainstModel {
    type SystemUnderTest = Real;
    type Reference = Model;

    fn init_test(_: &Model) -> Real {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let settings = Settings { holds: LIMITS, ..Settings::default() };
        let service = runtime.block_on(async {
            let service = Service::with(Options { settings, ..Options::default() }).await;
            service.add_users(1..4).await;
            service
        });
        Real { runtime, service }
    }

    fn apply(mut real: Real, model: &Model, step: Step) -> Real {
        let outcome = real.runtime.block_on(run(&mut real.service, model, step.clone()));
        match outcome {
            Ok(()) => assert_eq!(model.expected, Ok(()), "{step:?}"),
            // A store that takes numbers in blocks doesn't know those that it has not given out yet
            // from those that are gone.
            Err(Failure::Refused(Refusal::BookingGone)) if !is_embedded() && step.is_ahead() => {
                assert_eq!(model.expected, Err(Refusal::NoSuchBooking), "{step:?}");
            }
            Err(Failure::Refused(refusal)) => {
                assert_eq!(model.expected, Err(refusal), "{step:?}");
            }
            Err(Failure::Failed(error)) => panic!("{step:?}: {error}"),
        }
        real
    }

    fn check_invariants(real: &Real, model: &Model) {
        real.runtime.block_on(compare(&real.service, model));
    }

    fn teardown(real: Real, _: Model) {
        real.runtime.block_on(real.service.finish());
    }
}

async fn run(service: &mut Service, model: &Model, step: Step) -> Result<(), Failure> {
    // The model has taken the step already. A booking takes a number when it is made, and no other
    // step does.
    let target = |nth_last: i64| BookingId::new(model.last_booking - nth_last);
    let actor = |by: Option<i64>| by.map_or(ADMIN, attendee);
    match step {
        Step::CreateEvent { capacity, price, minutes } => {
            let id = service.create_event(capacity.into(), price, minutes.into()).await;
            assert_eq!(id.get(), i64::try_from(model.events.len()).expect("few"));
        }
        Step::EditEvent { event, capacity, price, minutes } => {
            let amendment = Amendment {
                capacity: Some(capacity.into()),
                price_minor: Some(price),
                payment_window_minutes: Some(minutes.into()),
                ..Amendment::default()
            };
            service.edit(event_id(event), amendment).await?;
        }
        Step::CancelEvent { event } => {
            service.cancel_event(event_id(event)).await?;
            service.until_released(event_id(event)).await;
        }
        Step::Book { user, event, seats } => {
            let booking = service.book(user, event_id(event), seats).await?;
            assert_eq!(booking.id.get(), model.last_booking, "numbers are never used twice");
        }
        Step::Confirm { by, nth_last } => {
            service.confirm(actor(by), target(nth_last)).await?;
        }
        Step::Cancel { by, nth_last } => {
            service.cancel(actor(by), target(nth_last)).await?;
        }
        Step::Purchase { user, event, seats } => {
            let booking = service.purchase(user, event_id(event), seats).await?;
            assert_eq!(booking.id.get(), model.last_booking, "numbers are never used twice");
        }
        Step::Deposit { user, amount } => {
            let account = service.deposit(user, amount).await?;
            assert_eq!(account.balance.as_minor(), model.balances[&user]);
        }
        Step::Pass { seconds } => service.pass(Duration::from_secs(seconds)).await,
        Step::Restart { seconds } => service.restart(Duration::from_secs(seconds)).await,
    }
    Ok(())
}

fn event_id(event: usize) -> EventId {
    EventId::new(i64::try_from(event).expect("few events") + 1)
}

fn state_of(stands: Stands) -> State {
    match stands {
        Stands::Pending => State::Occupied,
        Stands::Confirmed => State::Complete,
        Stands::Cancelled => State::Cancelled,
    }
}

/// Every event and every user's bookings and balance, as the model has them; and every invariant,
/// recounted.
async fn compare(service: &Service, model: &Model) {
    for (number, expected) in model.events.iter().enumerate() {
        let event = service.event(event_id(number)).await;
        assert_eq!(event.plan.capacity.get(), expected.capacity);
        assert_eq!(event.cancellation.is_some(), expected.is_cancelled);
        let free =
            if expected.is_cancelled { 0 } else { expected.capacity - model.occupied(number) };
        assert_eq!(event.free_seats().get(), free);
        let counts = (event.tally.pending_bookings, event.tally.confirmed_bookings);
        let pending = model.count(number, Stands::Pending);
        let confirmed = model.count(number, Stands::Confirmed);
        assert_eq!((counts.0 as usize, counts.1 as usize), (pending, confirmed));
    }
    for user in 1..4 {
        let user_id = attendee(user).user_id;
        let found = service.engine().bookings_of_user(user_id, None, None, 1_000).await;
        let found: Vec<_> = found
            .expect("the store answers")
            .bookings
            .into_iter()
            .map(|at| (at.booking.id.get(), at.booking.seats.get(), at.booking.expires_at))
            .collect();
        let live = |b: &&ModelBooking| b.user == user && b.stands != Stands::Cancelled;
        let expected: Vec<_> = model
            .bookings
            .iter()
            .rev()
            .filter(|(_, b)| live(b))
            .map(|(id, b)| (*id, b.seats, b.ends))
            .collect();
        assert_eq!(found, expected);

        let found = service.engine().all_bookings_of_user(user_id, BookingId::new(0), 1_000).await;
        let found: Vec<_> = found
            .expect("the store answers")
            .bookings
            .into_iter()
            .map(|at| (at.booking.id.get(), at.booking.state, at.booking.amount.as_minor()))
            .collect();
        let of_user = model.bookings.iter().filter(|(_, b)| b.user == user);
        let expected: Vec<_> = of_user.map(|(id, b)| (*id, state_of(b.stands), b.amount)).collect();
        assert_eq!(found, expected);
        let balance = model.balances.get(&user).copied().unwrap_or(0);
        assert_eq!(service.balance(user).await, balance);
    }
    service.check_clean().await;
}

prop_state_machine! {
    #![proptest_config(Config {
        cases: if is_embedded() { 100 } else { 20 },
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn the_service_agrees_with_a_plain_model(sequential 1..80 => ServiceAgainstModel);
}

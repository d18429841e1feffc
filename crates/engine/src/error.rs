//! Why a command came to nothing: a refusal is an answer, an error is the outside world.

use eventbooker_core::accounts::{DepositRefusal, InsufficientFunds, RefundTooLarge};
use eventbooker_core::bookings::saga::Denial;
use eventbooker_core::bookings::{BookRefusal, CancelRefusal, ConfirmRefusal};
use eventbooker_core::events::{EditRefusal, EventCancelled, OccupyRefusal, PlanFault};
use eventbooker_core::identity::{ProfileFault, RegisterRefusal, RoleRefusal};
use eventbooker_core::{BookingId, Context, Timestamp};
use eventbooker_store::StoreError;
use thiserror::Error;

/// A rule said no. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such event.
    #[error("there is no such event")]
    NoSuchEvent,
    /// There is no such booking, or it is somebody else's; which of the two isn't revealed.
    #[error("there is no such booking")]
    NoSuchBooking,
    /// There was such a booking, and its hold has ended unpaid.
    #[error("the booking's payment deadline has passed")]
    BookingGone,
    /// There is no such user.
    #[error("there is no such user")]
    NoSuchUser,
    /// Only admins may do this.
    #[error("only an admin may do this")]
    NotAdmin,
    /// An event's plan breaks rules.
    #[error("the event breaks {} rules", .0.len())]
    Plan(Vec<PlanFault>),
    /// An event isn't changed.
    #[error(transparent)]
    Edit(#[from] EditRefusal),
    /// The event doesn't take place.
    #[error(transparent)]
    EventCancelled(#[from] EventCancelled),
    /// A profile or password breaks rules.
    #[error("the user breaks {} rules", .0.len())]
    Profile(Vec<ProfileFault>),
    /// A booking isn't made.
    #[error(transparent)]
    Book(#[from] BookRefusal),
    /// Seats aren't given.
    #[error(transparent)]
    Occupy(#[from] OccupyRefusal),
    /// A booking isn't confirmed.
    #[error(transparent)]
    Confirm(#[from] ConfirmRefusal),
    /// A booking isn't cancelled.
    #[error(transparent)]
    Cancel(#[from] CancelRefusal),
    /// There isn't enough money.
    #[error(transparent)]
    Charge(#[from] InsufficientFunds),
    /// The money can't be given back.
    #[error(transparent)]
    Refund(#[from] RefundTooLarge),
    /// Nothing is paid in.
    #[error(transparent)]
    Deposit(#[from] DepositRefusal),
    /// A user isn't added.
    #[error(transparent)]
    Register(#[from] RegisterRefusal),
    /// A role isn't changed.
    #[error(transparent)]
    Role(#[from] RoleRefusal),
    /// Login and password don't belong together; which of the two is wrong isn't revealed.
    #[error("wrong login or password")]
    WrongCredentials,
    /// The idempotency key was used for something else.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Nothing is begun while whoever has to take the first step is away.
    #[error("{service} is away")]
    Away {
        /// Who.
        service: Context,
        /// When they are worth another call.
        until: Timestamp,
    },
    /// Nothing is begun while as many sagas are under way as there may be.
    #[error("too many bookings are under way")]
    Crowded,
    /// What was asked with this key is under way: its saga has not come to rest.
    #[error("what was asked with this idempotency key is still under way")]
    KeyInFlight {
        /// The booking that it is about.
        booking_id: BookingId,
    },
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::NoSuchEvent => Self::NoSuchEvent,
            Denial::AmountTooLarge => BookRefusal::AmountTooLarge.into(),
            Denial::Seats(refusal) => refusal.into(),
            Denial::Money(refusal) => refusal.into(),
            // Only whoever cancels a booking takes its steps back.
            Denial::Withdrawn => ConfirmRefusal::Cancelled.into(),
        }
    }
}

/// The command could not be decided, or not be saved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// Too many commands wait already. This one has not been taken.
    #[error("too many commands are waiting")]
    Overloaded,
    /// The engine is stopping. This command has not been taken.
    #[error("the service is stopping")]
    Draining,
    /// The database is behind what others have seen of it. The command has not been taken.
    #[error("the database has been restored from a back-up, and waits for its operator")]
    LostState,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug in this program. The command has changed nothing.
    #[error("an internal error")]
    Bug,
}

//! The one map from what the engine says to what a client reads.
//!
//! Everything that can go wrong behind the handlers becomes a [`Problem`] here and nowhere else.
//! `match`es name every case, so that a new refusal doesn't compile until it has an answer.

use eventbooker_core::Timestamp;
use eventbooker_core::accounts::{DepositRefusal, InsufficientFunds, RefundTooLarge};
use eventbooker_core::bookings::{BookRefusal, CancelRefusal, ConfirmRefusal};
use eventbooker_core::events::{EditRefusal, EventCancelled, OccupyRefusal, PlanFault};
use eventbooker_core::identity::{ProfileFault, RegisterRefusal, RoleRefusal};
use eventbooker_engine::{Error, Refusal};
use eventbooker_store::StoreError;

use crate::problem::{FieldError, Problem, ProblemKind};

/// What the fields of a request are called where the refusal goes to: the two sections of the
/// contract name the same things differently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldNames {
    pub(crate) event_name: &'static str,
    pub(crate) capacity: &'static str,
}

/// The names of the contract's first section.
pub(crate) const FIRST_SEED: FieldNames = FieldNames { event_name: "name", capacity: "capacity" };

/// The names of its second section.
pub(crate) const SECOND_SEED: FieldNames =
    FieldNames { event_name: "event_name", capacity: "total_slots" };

/// The problem that a refusal is to a client, at the instant of the refusal.
pub(crate) fn problem_of(refusal: &Refusal, names: FieldNames, now: Timestamp) -> Problem {
    use ProblemKind as K;
    match refusal {
        Refusal::NoSuchEvent => Problem::new(K::NotFound, "there is no such event"),
        Refusal::NoSuchBooking => Problem::new(K::NotFound, "there is no such booking"),
        Refusal::NoSuchUser => Problem::new(K::NotFound, "there is no such user"),
        Refusal::NotAdmin => Problem::new(K::Forbidden, "only an admin may do this"),
        Refusal::Plan(faults) | Refusal::Edit(EditRefusal::Plan(faults)) => {
            let errors = faults.iter().map(|fault| plan_fault(*fault, names)).collect();
            Problem::of_fields(K::ValidationFailed, errors)
        }
        Refusal::Edit(EditRefusal::CapacityBelowOccupied { occupied }) => {
            let detail = format!("{occupied} seats are held or sold; the capacity can't be below");
            Problem::new(K::CapacityBelowBooked, detail).with("occupied", occupied.get())
        }
        Refusal::EventCancelled(EventCancelled)
        | Refusal::Edit(EditRefusal::Cancelled(EventCancelled)) => event_cancelled(),
        Refusal::Profile(faults) => {
            let errors = faults.iter().map(|fault| profile_fault(*fault)).collect();
            Problem::of_fields(K::ValidationFailed, errors)
        }
        Refusal::Book(refusal) => book_refusal(*refusal, now),
        Refusal::Occupy(refusal) => occupy_refusal(*refusal),
        Refusal::Confirm(refusal) => confirm_refusal(*refusal),
        Refusal::BookingGone | Refusal::Cancel(CancelRefusal::Expired) => hold_expired(),
        Refusal::Charge(InsufficientFunds { balance, amount }) => {
            let (balance, amount) = (balance.as_minor(), amount.as_minor());
            let detail = format!(
                "the booking costs {amount}, but the account holds {balance}; pay in and confirm \
                 again before the deadline, with another Idempotency-Key if there was one"
            );
            Problem::new(K::InsufficientFunds, detail)
                .with("balance", balance)
                .with("amount", amount)
        }
        Refusal::Refund(RefundTooLarge) => Problem::new(
            K::AccountFull,
            "the account can't take the money back, because it would hold more than 64 bits can say",
        ),
        Refusal::Deposit(
            refusal @ (DepositRefusal::NotPositive | DepositRefusal::BalanceTooLarge),
        ) => {
            let error = FieldError::new("delta", refusal.to_string());
            Problem::of_fields(K::ValidationFailed, vec![error])
        }
        Refusal::Register(RegisterRefusal::LoginTaken) => {
            Problem::new(K::LoginTaken, "the login is taken")
        }
        Refusal::Role(refusal @ RoleRefusal::Own) => {
            let error = FieldError::new("role", refusal.to_string());
            Problem::of_fields(K::ValidationFailed, vec![error])
        }
        Refusal::WrongCredentials => {
            Problem::new(K::Unauthenticated, "login and password don't belong together")
        }
        Refusal::KeyReused => Problem::new(
            K::IdempotencyKeyReused,
            "this Idempotency-Key was used for another request; use a new key for a new request",
        ),
        Refusal::Away { service, until } => {
            let detail = format!("{service} can't be reached for now; nothing was done");
            Problem::new(K::ServiceAway, detail).retry_after(seconds_until(*until, now))
        }
        Refusal::Crowded => Problem::new(
            K::Overloaded,
            "too many bookings wait for other parts of the service; nothing was done",
        ),
        Refusal::KeyInFlight { .. } => Problem::new(
            K::IdempotencyKeyInFlight,
            "what was asked with this Idempotency-Key is still under way; ask again with the same key",
        )
        .retry_after(1),
    }
}

fn hold_expired() -> Problem {
    Problem::new(
        ProblemKind::HoldExpired,
        "the booking's payment deadline has passed and its seats are free again",
    )
}

fn event_cancelled() -> Problem {
    Problem::new(ProblemKind::EventCancelled, "the event is cancelled and doesn't take place")
}

fn book_refusal(refusal: BookRefusal, now: Timestamp) -> Problem {
    match refusal {
        BookRefusal::SeatsOutOfRange { .. } | BookRefusal::AmountTooLarge => {
            let error = FieldError::new("seats", refusal.to_string());
            Problem::of_fields(ProblemKind::ValidationFailed, vec![error])
        }
        BookRefusal::HoldLimit { retry_at } => {
            Problem::new(
                ProblemKind::HoldLimit,
                "you hold, or have just cancelled, as much of this event as one user may; pay, or wait until a hold has ended",
            )
            .retry_after(seconds_until(retry_at, now))
        }
    }
}

/// For the header `Retry-After`: at least one.
fn seconds_until(instant: Timestamp, now: Timestamp) -> u32 {
    let wait = now.until(instant).as_micros().div_ceil(1_000_000).max(1);
    u32::try_from(wait).unwrap_or(u32::MAX)
}

fn occupy_refusal(refusal: OccupyRefusal) -> Problem {
    match refusal {
        OccupyRefusal::Cancelled(EventCancelled) => event_cancelled(),
        OccupyRefusal::Begun => {
            Problem::new(ProblemKind::EventBegun, "the event has begun; it takes no more bookings")
        }
        OccupyRefusal::SoldOut => {
            Problem::new(ProblemKind::SoldOut, "no seats are left").with("freeSeats", 0)
        }
        OccupyRefusal::TooFewSeats { free } => {
            Problem::new(ProblemKind::TooFewSeats, refusal.to_string())
                .with("freeSeats", free.get())
        }
    }
}

fn confirm_refusal(refusal: ConfirmRefusal) -> Problem {
    match refusal {
        ConfirmRefusal::Expired => hold_expired(),
        ConfirmRefusal::Cancelled => {
            Problem::new(ProblemKind::BookingCancelled, "the booking was cancelled")
        }
    }
}

fn plan_fault(fault: PlanFault, names: FieldNames) -> FieldError {
    let field = match fault {
        PlanFault::NameEmpty | PlanFault::NameTooLong | PlanFault::NameNotPlain => names.event_name,
        PlanFault::DescriptionTooLong | PlanFault::DescriptionNotPlain => "description",
        PlanFault::StartsInPast => "date",
        PlanFault::CapacityOutOfRange => names.capacity,
        PlanFault::PriceOutOfRange => "price",
        PlanFault::PaymentWindowOutOfRange => "paymentTTL",
    };
    FieldError::new(field, fault.to_string())
}

fn profile_fault(fault: ProfileFault) -> FieldError {
    let field = match fault {
        ProfileFault::LoginLength | ProfileFault::LoginNotPlain => "login",
        ProfileFault::EmailTooLong | ProfileFault::EmailNotOne => "email",
        ProfileFault::FirstNameTooLong | ProfileFault::FirstNameNotPlain => "first_name",
        ProfileFault::LastNameTooLong | ProfileFault::LastNameNotPlain => "last_name",
        ProfileFault::PasswordTooShort | ProfileFault::PasswordTooLong => "password",
    };
    FieldError::new(field, fault.to_string())
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Overloaded => overloaded(),
            Error::Draining => Self::new(
                ProblemKind::Draining,
                "the service is stopping; nothing was done, try again in a moment",
            ),
            Error::LostState => Self::new(
                ProblemKind::StoreUnavailable,
                "the database has been restored from a back-up, and nothing new is taken until its operator has looked; nothing was done",
            ),
            Error::Store(error) => error.into(),
            Error::Bug => Self::new(ProblemKind::Internal, "an internal error; nothing was done"),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let away = |detail| Self::new(ProblemKind::StoreUnavailable, detail);
        match error {
            StoreError::Overloaded => overloaded(),
            StoreError::Full(_) => away(
                "the disk is full or takes no writes; nothing was changed, and reading still works",
            ),
            StoreError::Conflict(_) | StoreError::Contention(_) => {
                away("the database is busy; nothing was changed, try again")
            }
            StoreError::Away(_) => away("the database is away; nothing was changed"),
            StoreError::OutcomeUnknown(_) => Self::new(
                ProblemKind::OutcomeUnknown,
                "whether this was done is unknown; repeat it with the same Idempotency-Key, or look before you repeat it without one",
            ),
            StoreError::Refused(reason) => {
                tracing::error!(%reason, "the store refused a query");
                Self::new(ProblemKind::Internal, "an internal error; nothing was done")
            }
        }
    }
}

fn overloaded() -> Problem {
    Problem::new(ProblemKind::Overloaded, "too many requests are waiting; nothing was done")
}

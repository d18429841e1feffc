//! What an organiser fixes about an event, and the rules for it.

use std::time::Duration;

use thiserror::Error;

use super::Seats;
use crate::{Money, Timestamp};

/// The most seats that an event may have.
pub const CAPACITY_MAX: u32 = 1_000_000_000;
/// The highest price of a seat, in minor units.
pub const PRICE_MINOR_MAX: i64 = 1_000_000_000_000;
/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// The longest description, in characters.
pub const DESCRIPTION_CHARS_MAX: usize = 10_000;
/// The longest payment window, in minutes: 30 days.
pub const PAYMENT_WINDOW_MINUTES_MAX: u32 = 43_200;

/// How long a hold of this event may wait for its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PaymentWindow {
    minutes: u32,
}

impl PaymentWindow {
    /// The shortest that an event may have.
    pub const SHORTEST: Self = Self { minutes: 1 };

    /// A window of this many minutes.
    pub const fn from_minutes(minutes: u32) -> Self {
        Self { minutes }
    }

    /// Its length in minutes.
    pub const fn as_minutes(self) -> u32 {
        self.minutes
    }

    /// Its length.
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.minutes as u64 * 60)
    }
}

/// What an organiser fixes about an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    /// What it is called.
    pub name: String,
    /// What it is about; may be empty.
    pub description: String,
    /// When it takes place, if that is known.
    pub starts_at: Option<Timestamp>,
    /// How many seats it has.
    pub capacity: Seats,
    /// What one seat costs.
    pub price: Money,
    /// How long a hold waits for its payment.
    pub payment_window: PaymentWindow,
}

/// A rule that a plan breaks. A client sees all of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlanFault {
    /// There is no name.
    #[error("must not be empty")]
    NameEmpty,
    /// The name is too long.
    #[error("must have at most {NAME_CHARS_MAX} characters")]
    NameTooLong,
    /// The name holds line breaks or other control characters.
    #[error("must not hold control characters such as line breaks")]
    NameNotPlain,
    /// The description is too long.
    #[error("must have at most {DESCRIPTION_CHARS_MAX} characters")]
    DescriptionTooLong,
    /// The description holds control characters other than line breaks and tabs.
    #[error("must not hold control characters other than line breaks and tabs")]
    DescriptionNotPlain,
    /// The event would lie in the past.
    #[error("must lie in the future")]
    StartsInPast,
    /// Too few or too many seats.
    #[error("must be from 1 to {CAPACITY_MAX}")]
    CapacityOutOfRange,
    /// A price below nothing, or too high.
    #[error("must be from 0 to {PRICE_MINOR_MAX}")]
    PriceOutOfRange,
    /// No time to pay, or too much.
    #[error("must be from 1 to {PAYMENT_WINDOW_MINUTES_MAX} minutes")]
    PaymentWindowOutOfRange,
}

/// What an organiser asks for, before any rule has looked at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What the event is to be called.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// When it is to take place.
    pub starts_at: Option<Timestamp>,
    /// How many seats it is to have.
    pub capacity: i64,
    /// What a seat is to cost, in minor units.
    pub price_minor: i64,
    /// How long a hold is to wait for its payment.
    pub payment_window_minutes: i64,
}

impl Draft {
    /// The plan that this draft describes, or every rule that it breaks.
    pub fn check(&self, now: Timestamp) -> Result<Plan, Vec<PlanFault>> {
        self.check_starting_after(Some(now))
    }

    /// The same, with no rule for when it starts if that is left open.
    fn check_starting_after(&self, now: Option<Timestamp>) -> Result<Plan, Vec<PlanFault>> {
        let mut faults = Vec::new();
        let name = self.name.trim();
        if name.is_empty() {
            faults.push(PlanFault::NameEmpty);
        }
        if name.chars().count() > NAME_CHARS_MAX {
            faults.push(PlanFault::NameTooLong);
        }
        if name.chars().any(char::is_control) {
            faults.push(PlanFault::NameNotPlain);
        }
        let description = self.description.trim();
        if description.chars().count() > DESCRIPTION_CHARS_MAX {
            faults.push(PlanFault::DescriptionTooLong);
        }
        if description.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            faults.push(PlanFault::DescriptionNotPlain);
        }
        if self.starts_at.zip(now).is_some_and(|(start, now)| start <= now) {
            faults.push(PlanFault::StartsInPast);
        }
        let capacity = in_range(self.capacity, 1, CAPACITY_MAX);
        if capacity.is_none() {
            faults.push(PlanFault::CapacityOutOfRange);
        }
        if !(0..=PRICE_MINOR_MAX).contains(&self.price_minor) {
            faults.push(PlanFault::PriceOutOfRange);
        }
        let minutes = in_range(
            self.payment_window_minutes,
            PaymentWindow::SHORTEST.as_minutes(),
            PAYMENT_WINDOW_MINUTES_MAX,
        );
        if minutes.is_none() {
            faults.push(PlanFault::PaymentWindowOutOfRange);
        }
        let (Some(capacity), Some(minutes), true) = (capacity, minutes, faults.is_empty()) else {
            return Err(faults);
        };
        Ok(Plan {
            name: name.to_owned(),
            description: description.to_owned(),
            starts_at: self.starts_at,
            capacity: Seats::new(capacity),
            price: Money::from_minor(self.price_minor),
            payment_window: PaymentWindow::from_minutes(minutes),
        })
    }
}

/// What an organiser wants to be different about an event. What is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amendment {
    /// What it is to be called.
    pub name: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// When it is to take place.
    pub starts_at: Option<Timestamp>,
    /// How many seats it is to have.
    pub capacity: Option<i64>,
    /// What a seat is to cost, in minor units.
    pub price_minor: Option<i64>,
    /// How long a hold is to wait for its payment.
    pub payment_window_minutes: Option<i64>,
}

impl Amendment {
    /// The plan with these differences, or every rule that it breaks. An event that has begun may be
    /// described otherwise, but a date that is set anew lies ahead.
    pub fn check(&self, plan: &Plan, now: Timestamp) -> Result<Plan, Vec<PlanFault>> {
        let starts_at = self.starts_at.or(plan.starts_at);
        let draft = Draft {
            name: self.name.clone().unwrap_or_else(|| plan.name.clone()),
            description: self.description.clone().unwrap_or_else(|| plan.description.clone()),
            starts_at,
            capacity: self.capacity.unwrap_or(plan.capacity.get().into()),
            price_minor: self.price_minor.unwrap_or(plan.price.as_minor()),
            payment_window_minutes: self
                .payment_window_minutes
                .unwrap_or(plan.payment_window.as_minutes().into()),
        };
        draft.check_starting_after((starts_at != plan.starts_at).then_some(now))
    }
}

fn in_range(number: i64, low: u32, high: u32) -> Option<u32> {
    u32::try_from(number).ok().filter(|n| (low..=high).contains(n))
}

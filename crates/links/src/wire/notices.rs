//! Word to whoever has the bookings: this one's event was cancelled.

use eventbooker_core::{BookingId, EventId};
use eventbooker_engine::Freed;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::HasTrouble;

/// Something that a booking has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoticeItem {
    /// What has happened.
    pub notice: Notice,
    /// The event that it has happened to.
    pub event: i64,
    /// The booking.
    pub booking: i64,
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// The event was cancelled, so the booking is to be released.
    EventCancelled,
}

impl NoticeItem {
    pub(crate) fn event_cancelled(event_id: EventId, booking_id: BookingId) -> Self {
        Self { notice: Notice::EventCancelled, event: event_id.get(), booking: booking_id.get() }
    }
}

/// What becomes of a booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeResult {
    /// It has been cancelled just now. Its seats are given back in the course of its saga.
    Released {},
    /// It is on its way, or ends by itself.
    UnderWay {},
    /// There is no such booking that has seats.
    Unknown {},
    /// It may have been cancelled or not, for this reason.
    Trouble(String),
}

impl HasTrouble for NoticeResult {
    fn trouble(why: String) -> Self {
        Self::Trouble(why)
    }
}

impl From<Freed> for NoticeResult {
    fn from(freed: Freed) -> Self {
        match freed {
            Freed::Now => Self::Released {},
            Freed::Soon => Self::UnderWay {},
            Freed::Unknown => Self::Unknown {},
        }
    }
}

impl NoticeResult {
    /// How far the release is, or why nobody knows.
    pub fn freed(self) -> Result<Freed, String> {
        match self {
            Self::Released {} => Ok(Freed::Now),
            Self::UnderWay {} => Ok(Freed::Soon),
            Self::Unknown {} => Ok(Freed::Unknown),
            Self::Trouble(why) => Err(why),
        }
    }
}

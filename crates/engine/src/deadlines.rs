//! The deadline clock: frees the seats of holds that nobody paid.
//!
//! What it says decides nothing: a lane expires a hold only if the hold's deadline has passed when
//! the lane looks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eventbooker_core::{BookingId, EventId, Timestamp};
use eventbooker_store::StoreError;
use metrics::Histogram;
use tokio::task::JoinHandle;

use crate::bookings::Expire;
use crate::due::{self, Alarm, Due};
use crate::store_time::StoreTime;
use crate::{Clock as _, Engine};

pub(crate) fn spawn(engine: Engine, alarm: Arc<Alarm>, time: Arc<StoreTime>) -> JoinHandle<()> {
    let lag = metrics::histogram!("eventbooker_expiry_lag_seconds");
    due::watch(engine, Holds { time, lag }, alarm, metrics::gauge!("eventbooker_parked_holds"))
}

/// Holds whose deadline has come.
struct Holds {
    time: Arc<StoreTime>,
    /// From a deadline to the batch in which its hold ended.
    lag: Histogram,
}

#[async_trait]
impl Due for Holds {
    type Row = (EventId, BookingId);
    type Command = Expire;

    const WHAT: &'static str = "a hold past its deadline";
    const LOOK_EVERY: Duration = Duration::from_secs(5);

    async fn look(
        &self,
        engine: &Engine,
        limit: u32,
    ) -> Result<(Vec<Self::Row>, Option<Timestamp>), StoreError> {
        self.time.compare(engine.store()).await?;
        let due = engine.store().due_holds(self.time.now(), limit).await?;
        Ok((due.holds, due.next))
    }

    fn booking(row: &Self::Row) -> (EventId, BookingId) {
        *row
    }

    fn command(_: &Engine, holds: Vec<Self::Row>) -> Expire {
        Expire { holds }
    }

    fn note(&self, deadlines: Vec<Timestamp>, now: Timestamp) -> usize {
        for deadline in &deadlines {
            self.lag.record(deadline.until(now));
        }
        deadlines.len()
    }
}

//! Instants. Rules compare them and add windows to them; none of them asks what time it is.

use std::time::Duration;

/// An instant in UTC, in whole microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant this many microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The instant `span` later; the last one that can be written if that lies beyond it.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// The instant `span` earlier; the first one that can be written if that lies before it.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// How long it is from this instant until `later`; zero if `later` isn't later.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_saturate_instead_of_wrapping() {
        let late = Timestamp::from_micros(i64::MAX - 1);
        assert_eq!(late.plus(Duration::from_secs(1)).as_micros(), i64::MAX);
        let early = Timestamp::from_micros(i64::MIN + 1);
        assert_eq!(early.minus(Duration::from_secs(1)).as_micros(), i64::MIN);
        assert_eq!(late.plus(Duration::MAX).as_micros(), i64::MAX);
    }

    #[test]
    fn an_instant_in_the_past_is_no_time_away() {
        let now = Timestamp::from_micros(5_000_000);
        assert_eq!(now.until(Timestamp::from_micros(4_000_000)), Duration::ZERO);
        assert_eq!(now.until(now.plus(Duration::from_secs(3))), Duration::from_secs(3));
    }
}

//! Spans of time of equal length, few of them however long it has been.
//!
//! They begin at round times: a whole minute at first. When there would be too many, neighbours become
//! one, so that there are never more than [`SPANS_MAX`] and nothing has to be read again.

use eventbooker_core::Timestamp;
use eventbooker_core::events::Seats;

/// The most spans of a history.
pub const SPANS_MAX: usize = 60;

const MINUTE: i64 = 60 * 1_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// How long spans are, in microseconds. Each length is so many of the one before; beyond the last it is
/// doubled.
const LENGTHS: [i64; 9] =
    [MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, DAY];

/// What happened to an event's seats within a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub begins_at: Timestamp,
    /// Seats that were booked.
    pub booked: u32,
    /// Seats that fell free.
    pub given_back: u32,
    /// Seats that were held at its end.
    pub held: Seats,
    /// Seats that were sold at its end.
    pub sold: Seats,
}

/// Spans without gaps.
#[derive(Debug, Clone)]
pub(super) struct Spans {
    length: i64,
    spans: Vec<Span>,
}

impl Spans {
    /// One span, in which this instant lies and nothing has happened yet.
    pub(super) fn from(first: Timestamp) -> Self {
        let begins_at = beginning(first.as_micros(), MINUTE);
        let first =
            Span { begins_at, booked: 0, given_back: 0, held: Seats::ZERO, sold: Seats::ZERO };
        Self { length: MINUTE, spans: vec![first] }
    }

    /// Notes what has happened at an instant. A clock may go back a little; the journal's order counts.
    pub(super) fn add(&mut self, at: Timestamp, change: Span) {
        self.reach(at);
        let last = self.last_mut();
        last.booked = last.booked.saturating_add(change.booked);
        last.given_back = last.given_back.saturating_add(change.given_back);
        (last.held, last.sold) = (change.held, change.sold);
    }

    /// All of them, the last one being that in which this instant lies.
    pub(super) fn until(&self, at: Timestamp) -> Vec<Span> {
        let mut spans = self.clone();
        spans.reach(at);
        spans.spans
    }

    fn last_mut(&mut self) -> &mut Span {
        self.spans.last_mut().expect("there is one from the beginning")
    }

    /// Adds spans in which nothing happened, up to this instant.
    fn reach(&mut self, at: Timestamp) {
        while self.missing(at) > i128::try_from(SPANS_MAX - self.spans.len()).unwrap_or(0) {
            self.lengthen();
        }
        for _ in 0..self.missing(at) {
            let last = *self.last_mut();
            let begins_at = Timestamp::from_micros(last.begins_at.as_micros() + self.length);
            self.spans.push(Span { begins_at, booked: 0, given_back: 0, ..last });
        }
    }

    /// How many spans lie between the last one and this instant's.
    fn missing(&self, at: Timestamp) -> i128 {
        let last = self.spans.last().map_or(0, |span| span.begins_at.as_micros());
        let beyond = i128::from(at.as_micros()) - i128::from(last);
        beyond.div_euclid(i128::from(self.length)).max(0)
    }

    fn lengthen(&mut self) {
        let longer = LENGTHS.into_iter().find(|length| *length > self.length);
        self.length = longer.unwrap_or(self.length.saturating_mul(2));
        let mut longer: Vec<Span> = Vec::with_capacity(SPANS_MAX);
        for span in self.spans.drain(..) {
            let begins_at = beginning(span.begins_at.as_micros(), self.length);
            match longer.last_mut() {
                Some(last) if last.begins_at == begins_at => {
                    let booked = last.booked.saturating_add(span.booked);
                    let given_back = last.given_back.saturating_add(span.given_back);
                    *last = Span { begins_at, booked, given_back, ..span };
                }
                _ => longer.push(Span { begins_at, ..span }),
            }
        }
        self.spans = longer;
    }
}

/// When the span of this length begins in which an instant lies.
fn beginning(micros: i64, length: i64) -> Timestamp {
    Timestamp::from_micros(micros.saturating_sub(micros.rem_euclid(length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(booked: u32, occupied: u32) -> Span {
        let begins_at = Timestamp::from_micros(0);
        Span { begins_at, booked, given_back: 0, held: Seats::new(occupied), sold: Seats::ZERO }
    }

    #[test]
    fn spans_begin_at_round_times_and_get_longer() {
        let minute = |minutes: i64| Timestamp::from_micros(minutes * MINUTE + 7);
        let mut spans = Spans::from(minute(2));
        spans.add(minute(2), change(1, 1));
        spans.add(minute(4), change(2, 3));
        let begin = |spans: &[Span]| {
            spans.iter().map(|span| span.begins_at.as_micros() / MINUTE).collect::<Vec<_>>()
        };
        let now = spans.until(minute(5));
        assert_eq!(begin(&now), [2, 3, 4, 5]);
        let told: Vec<_> = now.iter().map(|span| (span.booked, span.held.get())).collect();
        assert_eq!(told, [(1, 1), (0, 1), (2, 3), (0, 3)]);
        assert_eq!(spans.until(minute(61)).len(), 60);
        let hour_later = spans.until(minute(62));
        assert_eq!(begin(&hour_later), (0..13).map(|n| 5 * n).collect::<Vec<_>>());
        assert_eq!((hour_later[0].booked, hour_later[12].held.get()), (3, 3));
        let years_later = spans.until(minute(60 * 24 * 365 * 7));
        assert!((30..=SPANS_MAX).contains(&years_later.len()), "{}", years_later.len());
        // A clock that goes back changes the last span.
        spans.add(minute(1), change(1, 4));
        assert_eq!(spans.until(minute(4)).last().map(|span| span.booked), Some(3));
        assert!(Spans::from(minute(0)).until(Timestamp::from_micros(i64::MAX)).len() > 1);
    }

    proptest! {
        /// However times lie: few spans, all of one length, nothing lost, the end as it was told last.
        #[test]
        fn nothing_is_lost(gaps in prop::collection::vec((0i64..400 * DAY, 1u32..5), 1..80)) {
            let mut at = 1_795_290_937_000_001;
            let mut spans = Spans::from(Timestamp::from_micros(at));
            let mut booked = 0;
            for (gap, seats) in gaps {
                at += gap >> (gap % 40);
                booked += seats;
                spans.add(Timestamp::from_micros(at), change(seats, booked));
            }
            let all = spans.until(Timestamp::from_micros(at));
            prop_assert!(all.len() <= SPANS_MAX);
            prop_assert_eq!(all.iter().map(|span| span.booked).sum::<u32>(), booked);
            prop_assert_eq!(all.last().map(|span| span.held.get()), Some(booked));
            for pair in all.windows(2) {
                let length = pair[1].begins_at.as_micros() - pair[0].begins_at.as_micros();
                prop_assert_eq!(length, spans.length);
                prop_assert_eq!(pair[0].begins_at.as_micros().rem_euclid(length), 0);
            }
        }
    }
}

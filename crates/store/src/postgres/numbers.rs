//! Numbers of bookings, events and users: taken from the store in blocks, in a transaction of their own.
//!
//! A batch that is given up leaves its numbers to the next one of its writer; those of a writer that
//! isn't closed are lost.

use eventbooker_core::Timestamp;

use super::row::{get, one};
use super::session::{Answers, Flight, Ticket, params};
use crate::{IdRange, LastIds, StoreError, Wants};

/// Takes a block of numbers. It needs no sync of its own where all rows are written to one log: a commit
/// that uses the numbers comes behind it there, and brings it to disk as well.
const TAKE_IDS: &str = "
    UPDATE ids SET last = last + $1
    FROM (SELECT set_config('synchronous_commit',
                            CASE WHEN $3 THEN 'off' ELSE current_setting('synchronous_commit') END,
                            true)) sync
    WHERE kind = $2 RETURNING last";
/// Gives back what is left of a block, unless somebody has taken another behind it.
const GIVE_BACK_IDS: &str = "UPDATE ids SET last = $1 WHERE kind = $2 AND last = $3";
/// For numbers that came from elsewhere.
const RAISE_IDS: &str = "UPDATE ids SET last = greatest(last, $1) WHERE kind = $2";

/// The statements of a writer.
pub(super) const WRITES: [&str; 3] = [TAKE_IDS, GIVE_BACK_IDS, RAISE_IDS];

/// A batch that wants as many numbers comes from a crowd, and others like it follow at once.
const CROWD: i64 = 4;
/// Batches of a crowd that one block is for.
const BATCHES_AHEAD: i64 = 4;
/// What a crowd has left of a block isn't used later than this after it was taken: numbers should rise
/// with time, more or less, whichever writer gives them out.
const KEPT_MICROS: i64 = 1_000_000;

/// Numbers that this writer may give out.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) bookings: IdRange,
    pub(super) events: IdRange,
    pub(super) users: IdRange,
    /// When a block was last taken, by this process's clock.
    taken_at: Option<Timestamp>,
    /// How many of each kind the last batch wanted.
    last_wanted: [i64; 3],
}

/// What has been asked for, by kind: how many, and where the answer will be.
pub(super) type Taking = [Option<(Ticket, i64)>; 3];

impl Numbers {
    fn kinds(&mut self) -> [(&'static str, &mut IdRange); 3] {
        let Self { bookings, events, users, .. } = self;
        [("booking", bookings), ("event", events), ("user", users)]
    }

    /// Whether there are as many as a batch wants.
    pub(super) fn suffice(&self, wants: &Wants) -> bool {
        let Self { bookings, events, users, .. } = self;
        let left = [bookings, events, users].map(left_of);
        left.iter().zip(wanted_by(wants)).all(|(left, wanted)| *left >= wanted)
    }

    /// Notes what a batch wants, so that the next one's can be taken ahead.
    pub(super) fn note(&mut self, wants: &Wants) {
        self.last_wanted = wanted_by(wants);
    }

    /// Asks for what a batch wants and doesn't have.
    pub(super) fn take(
        &mut self,
        flight: &mut Flight<'_>,
        wants: &Wants,
        clock: Timestamp,
    ) -> Taking {
        self.ask(flight, wanted_by(wants), clock)
    }

    /// Asks for what the next batch will want if it comes from the same crowd as the last one, and is
    /// no more than twice as large.
    pub(super) fn take_ahead(&mut self, flight: &mut Flight<'_>, clock: Timestamp) -> Taking {
        let of_crowd = |wanted| if wanted < CROWD { 0 } else { 2 * wanted };
        self.ask(flight, self.last_wanted.map(of_crowd), clock)
    }

    fn ask(&mut self, flight: &mut Flight<'_>, wanted: [i64; 3], clock: Timestamp) -> Taking {
        let is_stale = |taken_at: Timestamp| clock.as_micros() - taken_at.as_micros() > KEPT_MICROS;
        let is_stale = self.taken_at.is_some_and(is_stale);
        let mut asked = [None; 3];
        for (((kind, range), wanted), asked) in self.kinds().into_iter().zip(wanted).zip(&mut asked)
        {
            if is_stale && left_of(range) >= CROWD {
                *range = IdRange::default();
            }
            if left_of(range) < wanted {
                let block = if wanted < CROWD { wanted } else { BATCHES_AHEAD * wanted };
                *asked =
                    Some((flight.ask(TAKE_IDS, params![block, kind, flight.has_one_log()]), block));
            }
        }
        if asked.iter().any(Option::is_some) {
            self.taken_at = Some(clock);
        }
        asked
    }

    /// Takes what has come. What was left is used up first if the new block comes right behind it.
    pub(super) fn add(&mut self, answers: &Answers, asked: &Taking) -> Result<(), StoreError> {
        for ((_, range), asked) in self.kinds().into_iter().zip(asked) {
            let Some((ticket, count)) = *asked else { continue };
            let last: i64 = get(one(answers.of(ticket))?, 0)?;
            let block = IdRange { next: last - count + 1, end: last + 1 };
            let next = if range.end == block.next { range.next } else { block.next };
            *range = IdRange { next, end: block.end };
        }
        Ok(())
    }

    /// Notes which have been given out.
    pub(super) fn used(&mut self, last: LastIds) {
        let LastIds { booking, event, user } = last;
        for ((_, range), last) in self.kinds().into_iter().zip([booking, event, user]) {
            range.next = last.map_or(range.next, |last| range.next.max(last + 1));
        }
    }

    /// Sees to it that numbers which didn't come from here aren't given out again.
    pub(super) fn raise(&self, flight: &mut Flight<'_>, last: LastIds) {
        let LastIds { booking, event, user } = last;
        let Self { bookings, events, users, .. } = self;
        for (kind, range, last) in
            [("booking", bookings, booking), ("event", events, event), ("user", users, user)]
        {
            if let Some(last) = last.filter(|last| *last >= range.end) {
                flight.ask(RAISE_IDS, params![last, kind]);
            }
        }
    }

    /// Gives back what is left.
    pub(super) fn give_back(&mut self, flight: &mut Flight<'_>) {
        for (kind, range) in self.kinds() {
            if range.next < range.end {
                flight.ask(GIVE_BACK_IDS, params![range.next - 1, kind, range.end - 1]);
                *range = IdRange::default();
            }
        }
    }
}

fn wanted_by(wants: &Wants) -> [i64; 3] {
    [wants.new_bookings, wants.new_events, wants.new_users].map(i64::from)
}

fn left_of(range: &IdRange) -> i64 {
    range.end - range.next
}

//! Sums that tell whether two places say the same about all bookings, with no booking kept.
//!
//! Whatever has to be told in two places is a [`Fact`]. One place adds the fact's mark to a sum and
//! the other takes it away, in whatever order they are read; 0 is left if they agree. A mark is a
//! hash under a key that is drawn for each recount: nobody can choose rows by it, and whatever
//! disagrees goes unnoticed once in 2^64 times.
//!
//! Bookings are in groups, each with a sum, so that a sum which isn't 0 puts few of them in doubt.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use eventbooker_core::BookingId;
use eventbooker_core::events::Slot;

use super::course::Paid;

/// What is told in two places.
#[derive(Hash)]
pub(super) enum Fact {
    /// By the slot, and by its booking.
    Booked(Slot),
    /// By the slot, and by the journal.
    Journalled(Slot),
    /// By the posting, and by the booking that is paid or the refund.
    Charged(BookingId, Paid),
    /// By the errand, and by the booking that is on its way.
    OnItsWay(BookingId),
}

/// A group's sum.
#[derive(Clone, Copy, Default)]
struct Group {
    sum: u64,
    /// Rows that were read about its bookings.
    rows: u32,
    is_doubtful: bool,
}

pub(super) struct Sums {
    key: RandomState,
    groups: Vec<Group>,
}

impl Sums {
    pub(super) fn new(groups: u32) -> Self {
        Self { key: RandomState::new(), groups: vec![Group::default(); groups.max(1) as usize] }
    }

    /// Counts a row about a booking.
    pub(super) fn count_row(&mut self, id: BookingId) {
        let group = self.group(id);
        group.rows = group.rows.saturating_add(1);
    }

    pub(super) fn add(&mut self, id: BookingId, fact: &Fact) {
        let mark = self.key.hash_one(fact);
        let group = self.group(id);
        group.sum = group.sum.wrapping_add(mark);
    }

    pub(super) fn take(&mut self, id: BookingId, fact: &Fact) {
        let mark = self.key.hash_one(fact);
        let group = self.group(id);
        group.sum = group.sum.wrapping_sub(mark);
    }

    /// Puts a booking's group in doubt, whatever its sum will be.
    pub(super) fn doubt(&mut self, id: BookingId) {
        self.group(id).is_doubtful = true;
    }

    fn group(&mut self, id: BookingId) -> &mut Group {
        let group = group_of(id, self.groups.len());
        &mut self.groups[group]
    }

    /// The groups in which something doesn't add up.
    pub(super) fn doubts(self) -> Doubts {
        let groups = self.groups.iter().enumerate();
        let doubtful = groups.filter(|(_, group)| group.is_doubtful || group.sum != 0);
        Doubts {
            doubtful: doubtful.map(|(number, group)| (number, group.rows)).collect(),
            groups: self.groups.len(),
        }
    }
}

/// Numbers are given out one after the other, so all groups are equally large.
fn group_of(id: BookingId, groups: usize) -> usize {
    let groups = i64::try_from(groups).unwrap_or(i64::MAX);
    usize::try_from(id.get().rem_euclid(groups)).unwrap_or(0)
}

/// Groups in which something doesn't add up.
pub(super) struct Doubts {
    /// Each with the number of its rows.
    doubtful: VecDeque<(usize, u32)>,
    groups: usize,
}

impl Doubts {
    /// How many groups there are.
    pub(super) fn groups(&self) -> u64 {
        self.doubtful.len() as u64
    }

    /// The next groups that have so many rows at most, or one group; `None` after the last.
    pub(super) fn next(&mut self, rows_max: u64) -> Option<Suspects> {
        let mut is_suspect = vec![false; self.groups];
        let (first, rows) = self.doubtful.pop_front()?;
        is_suspect[first] = true;
        let mut rows_left = rows_max.saturating_sub(rows.into());
        while let Some((group, rows)) = self.doubtful.front()
            && u64::from(*rows) <= rows_left
        {
            is_suspect[*group] = true;
            rows_left -= u64::from(*rows);
            self.doubtful.pop_front();
        }
        Some(Suspects { is_suspect })
    }
}

/// Bookings that are looked at one by one.
pub(super) struct Suspects {
    is_suspect: Vec<bool>,
}

impl Suspects {
    pub(super) fn include(&self, id: BookingId) -> bool {
        self.is_suspect[group_of(id, self.is_suspect.len())]
    }
}

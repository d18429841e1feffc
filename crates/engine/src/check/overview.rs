//! The overview: whether everything that is told about bookings agrees, found out from each row
//! once and with no booking kept.
//!
//! What a booking goes through is followed in two bytes of its own, for so many numbers at once; if
//! more were given out, the rows are read again for the others. All else, such as whose money it
//! was, goes into [`Sums`]. This tells which bookings are in doubt, and the
//! [inquiry](super::inquiry) tells why.
//!
//! What one context tells and another one doesn't, because it isn't looked at, doesn't go in.

use eventbooker_core::accounts::{Posting, PostingKind};
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{JournalEntry, Slot};
use eventbooker_core::{BookingId, Context, Contexts};

use super::course::{Charge, Course, Hold, Paid, charge_of, has_event, slot_of};
use super::sums::{Doubts, Fact, Sums};
use super::{Room, is_on_its_way};

pub(super) struct Overview {
    sums: Sums,
    contexts: Contexts,
    /// The highest number that was given out; whoever doesn't have the bookings doesn't know.
    pub(super) last_given: Option<BookingId>,
    /// How many numbers are followed at once.
    numbers_max: i64,
    /// The lowest number that is followed.
    first: i64,
    courses: Vec<Course>,
    /// The lowest number that was met above those.
    next: Option<i64>,
}

impl Overview {
    pub(super) fn begin(room: Room, contexts: Contexts, last_given: Option<BookingId>) -> Self {
        Self {
            sums: Sums::new(room.groups),
            contexts,
            last_given,
            numbers_max: i64::from(room.numbers.max(1)),
            first: 1,
            courses: Vec::new(),
            next: None,
        }
    }

    fn has(&self, context: Context) -> bool {
        self.contexts.has(context)
    }

    /// Whether there are postings and no bookings to compare them with.
    pub(super) fn has_money_alone(&self) -> bool {
        self.has(Context::Accounts) && !self.has(Context::Bookings)
    }

    /// Whether there are numbers that weren't followed. From now on they are: all journal entries,
    /// postings and bookings have to come once more, in this order.
    pub(super) fn goes_on(&mut self) -> bool {
        let next = self.next.take();
        if let Some(next) = next {
            self.first = next;
            self.courses.clear();
        }
        next.is_some()
    }

    pub(super) fn slot(&mut self, slot: Slot) {
        self.sums.count_row(slot.booking_id);
        if self.has(Context::Bookings) {
            self.sums.add(slot.booking_id, &Fact::Booked(slot));
        }
        self.sums.add(slot.booking_id, &Fact::Journalled(slot));
    }

    pub(super) fn errand(&mut self, errand: &Errand) {
        let id = errand.booking_id;
        self.sums.count_row(id);
        self.sums.add(id, &Fact::OnItsWay(id));
        if errand.is_parked {
            self.sums.doubt(id);
        }
    }

    pub(super) fn entry(&mut self, entry: &JournalEntry) {
        let JournalEntry { event_id, kind, booking_id: Some(id), seats, .. } = *entry else {
            return;
        };
        let Some(course) = self.course(id) else { return };
        let before = course.hold;
        let after = Hold::after(kind);
        course.hold = after;
        if !before.allows(kind) {
            self.sums.doubt(id);
        }
        let fact = |state| Fact::Journalled(Slot { event_id, booking_id: id, seats, state });
        if let Some(state) = before.slot_state() {
            self.sums.add(id, &fact(state));
        }
        if let Some(state) = after.slot_state() {
            self.sums.take(id, &fact(state));
        }
    }

    pub(super) fn posting(&mut self, posting: &Posting) {
        let (Some(purpose), Some(paid)) = (posting.purpose, Paid::by(posting)) else { return };
        let id = purpose.booking_id;
        let Some(course) = self.course(id) else { return };
        let before = course.charge;
        course.charge = Charge::after(posting.kind);
        if !before.allows(posting.kind) {
            self.sums.doubt(id);
        }
        match posting.kind {
            PostingKind::Deposit => {}
            PostingKind::Charge => self.sums.add(id, &Fact::Charged(id, paid)),
            PostingKind::Refund => self.sums.take(id, &Fact::Charged(id, paid)),
        }
    }

    /// Takes away a charge that wasn't refunded, as a booking would if there were any: what is left is
    /// what was refunded otherwise than it was charged. All postings have to have come before.
    pub(super) fn posting_again(&mut self, posting: &Posting) {
        let (Some(purpose), Some(paid)) = (posting.purpose, Paid::by(posting)) else { return };
        let id = purpose.booking_id;
        let Some(course) = self.course(id) else { return };
        if course.charge == Charge::Paid && posting.kind == PostingKind::Charge {
            self.sums.take(id, &Fact::Charged(id, paid));
        }
    }

    /// A booking, and whether there is an event of its number.
    pub(super) fn booking(&mut self, booking: &Booking, event_exists: bool) {
        let id = booking.id;
        let Some(Course { hold, charge }) = self.course(id).copied() else { return };
        if self.has(Context::Events) {
            if let Some(slot) = slot_of(booking, hold) {
                self.sums.take(id, &Fact::Booked(slot));
            }
            if !event_exists && has_event(booking, hold) {
                self.sums.doubt(id);
            }
        }
        if self.has(Context::Accounts)
            && let Some(paid) = charge_of(booking, charge)
        {
            self.sums.take(id, &Fact::Charged(id, paid));
        }
        if is_on_its_way(booking) {
            self.sums.take(id, &Fact::OnItsWay(id));
        }
    }

    /// What a booking has gone through, if its number is one of those that are followed. A number
    /// that was never given out isn't followed: nothing that is told about it can be right.
    fn course(&mut self, id: BookingId) -> Option<&mut Course> {
        let number = id.get();
        if number < 1 || self.last_given.is_some_and(|last| id > last) {
            self.sums.count_row(id);
            self.sums.doubt(id);
            return None;
        }
        let place = number - self.first;
        if place >= self.numbers_max {
            self.next = Some(self.next.map_or(number, |next| next.min(number)));
            return None;
        }
        let place = usize::try_from(place).ok()?;
        if place >= self.courses.len() {
            self.courses.resize(place + 1, Course::default());
        }
        self.sums.count_row(id);
        self.courses.get_mut(place)
    }

    /// What the inquiry has to look at.
    pub(super) fn doubts(self) -> Doubts {
        self.sums.doubts()
    }
}

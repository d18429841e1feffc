//! The inquiry: what is wrong with bookings that the [overview](super::overview) has put in doubt.
//!
//! All rows are read again, and what is told about each of these bookings is kept until it can be
//! compared. They come from the snapshots that the overview was made of, so within one of them nothing
//! has moved; what two contexts tell differently is [looked at again](super::apart) where they have a
//! snapshot each.

use std::collections::HashMap;

use eventbooker_core::accounts::Posting;
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::events::{JournalEntry, Seats, Slot, SlotState};
use eventbooker_core::{BookingId, Context, Contexts, EventId};
use eventbooker_store::StoreError;

use super::apart::{Disagreement, Together};
use super::course::{Charge, Course, Hold, Paid, charge_of, has_event, slot_of};
use super::events::Events;
use super::sums::Suspects;
use super::{Meter, Report, Rule, is_on_its_way, pages};

/// What has been read so far.
struct Inquiry<'a> {
    suspects: &'a Suspects,
    all: HashMap<BookingId, Suspect>,
}

impl Inquiry<'_> {
    /// What is known about a booking, if it is one of those in doubt.
    fn suspect(&mut self, id: BookingId) -> Option<&mut Suspect> {
        self.suspects.include(id).then(|| self.all.entry(id).or_default())
    }
}

/// All that is told about one booking.
#[derive(Default)]
struct Suspect {
    booking: Option<Booking>,
    slot: Option<Slot>,
    errand: Option<Box<Errand>>,
    course: Course,
    /// What its last journal entry was about.
    entry: Option<(EventId, Seats)>,
    /// What its last posting moved.
    paid: Option<Paid>,
}

/// Reads all that is told about these bookings, and compares it.
pub(super) async fn search(
    together: &mut Together<'_>,
    suspects: &Suspects,
    events: &Events,
    report: &mut Report,
    meter: &mut Meter<'_>,
) -> Result<(), StoreError> {
    let mut inquiry = Inquiry { suspects, all: HashMap::new() };
    pages::slots(together, meter, |slot| {
        if let Some(suspect) = inquiry.suspect(slot.booking_id) {
            suspect.take_slot(slot, report);
        }
    })
    .await?;
    pages::errands(together, meter, |errand| {
        if let Some(suspect) = inquiry.suspect(errand.booking_id) {
            suspect.errand = Some(Box::new(errand));
        }
    })
    .await?;
    pages::journal(together, meter, |entry| {
        if let Some(id) = entry.booking_id
            && let Some(suspect) = inquiry.suspect(id)
        {
            suspect.follow_entry(id, entry, report);
        }
    })
    .await?;
    pages::postings(together, meter, |posting| {
        if let Some(purpose) = posting.purpose
            && let Some(suspect) = inquiry.suspect(purpose.booking_id)
        {
            suspect.follow_posting(purpose.booking_id, &posting, report);
        }
    })
    .await?;
    pages::bookings(together, meter, |booking| {
        if let Some(suspect) = inquiry.suspect(booking.id) {
            suspect.take_booking(booking, report);
        }
    })
    .await?;
    let contexts = together.contexts();
    let mut disagreements = Vec::new();
    for (id, suspect) in inquiry.all {
        suspect.compare_journal(id, report);
        suspect.compare_errand(id, report);
        disagreements.extend(suspect.disagreement(id, contexts, events));
    }
    let all = disagreements.len();
    let unmoved = together.without_moved(disagreements).await?;
    report.moved += (all - unmoved.len()) as u64;
    for (rule, what) in unmoved.into_iter().flat_map(|about| about.findings) {
        report.find(rule, what);
    }
    Ok(())
}

fn in_words(slot: Slot) -> String {
    let Slot { event_id, seats, state, .. } = slot;
    let state = match state {
        SlotState::Held => "held",
        SlotState::Sold => "sold",
    };
    format!("{seats} seats of event {event_id}, {state}")
}

impl Suspect {
    fn take_slot(&mut self, slot: Slot, report: &mut Report) {
        if let Some(other) = self.slot.replace(slot) {
            report.find(
                Rule::Holds,
                format!(
                    "booking {} has {}, and {} too",
                    slot.booking_id,
                    in_words(other),
                    in_words(slot)
                ),
            );
        }
    }

    fn take_booking(&mut self, booking: Booking, report: &mut Report) {
        if let Some(other) = self.booking.replace(booking) {
            report.find(
                Rule::Numbers,
                format!(
                    "there are two bookings {}: for event {} and for event {}",
                    booking.id, other.event_id, booking.event_id
                ),
            );
        }
    }

    fn follow_entry(&mut self, id: BookingId, entry: JournalEntry, report: &mut Report) {
        let JournalEntry { event_id, version, kind, seats, .. } = entry;
        let before = self.course.hold;
        let is_about = (event_id, seats);
        let is_of_this_hold = before.slot_state().is_none() || self.entry == Some(is_about);
        if !before.allows(kind) || !is_of_this_hold {
            report.find(
                Rule::Holds,
                format!(
                    "event {event_id}, version {version}: booking {id} is {kind:?} with {seats} seats, but {}",
                    self.hold_in_words(id)
                ),
            );
        }
        self.course.hold = Hold::after(kind);
        self.entry = Some(is_about);
    }

    fn hold_in_words(&self, id: BookingId) -> String {
        match (self.told(id), self.course.hold) {
            (Some(slot), _) => format!("had {}", in_words(slot)),
            (None, Hold::Over) => "had ended before".to_owned(),
            (None, Hold::Never | Hold::Held | Hold::Sold) => "had none before".to_owned(),
        }
    }

    /// The slot that it should have by the journal.
    fn told(&self, id: BookingId) -> Option<Slot> {
        let (event_id, seats) = self.entry?;
        let state = self.course.hold.slot_state()?;
        Some(Slot { event_id, booking_id: id, seats, state })
    }

    fn follow_posting(&mut self, id: BookingId, posting: &Posting, report: &mut Report) {
        let paid = Paid::by(posting);
        let before = self.course.charge;
        let is_of_this_charge = before != Charge::Paid || self.paid == paid;
        if !before.allows(posting.kind) || !is_of_this_charge {
            let was = match (before, self.paid) {
                (Charge::Paid, Some(paid)) => format!("{paid} was paid"),
                (Charge::Refunded, _) => "a refund was given already".to_owned(),
                (Charge::Never | Charge::Paid, _) => "nothing was paid".to_owned(),
            };
            report.find(
                Rule::Money,
                format!(
                    "user {}: {:?} of {} for booking {id}, for which {was}",
                    posting.user_id,
                    posting.kind,
                    posting.amount.as_minor()
                ),
            );
        }
        self.course.charge = Charge::after(posting.kind);
        self.paid = paid;
    }

    /// What its own context tells and others don't, or the other way round.
    fn disagreement(
        self,
        id: BookingId,
        contexts: Contexts,
        events: &Events,
    ) -> Option<Disagreement> {
        let mut findings = Vec::new();
        if contexts.has(Context::Bookings) && contexts.has(Context::Events) {
            findings.extend(self.compare_slot(id));
            findings.extend(self.compare_event(id, events));
        }
        if contexts.has(Context::Bookings) && contexts.has(Context::Accounts) {
            findings.extend(self.compare_charge(id));
        }
        let Self { booking, slot, .. } = self;
        (!findings.is_empty()).then_some(Disagreement { id, booking, slot, findings })
    }

    /// The booking and its event.
    fn compare_event(&self, id: BookingId, events: &Events) -> Option<(Rule, String)> {
        let has_event = |booking: &&Booking| has_event(booking, self.course.hold);
        let Booking { event_id, .. } = self.booking.as_ref().filter(has_event)?;
        let what = format!("booking {id} is for event {event_id}, which doesn't exist");
        (!events.contains_key(event_id)).then_some((Rule::Holds, what))
    }

    /// The booking and its slot.
    fn compare_slot(&self, id: BookingId) -> Option<(Rule, String)> {
        let wanted = self.booking.as_ref().and_then(|booking| slot_of(booking, self.course.hold));
        let what = match (wanted, self.slot) {
            (Some(wanted), Some(slot)) if wanted != slot => {
                format!("booking {id} should have {}, but has {}", in_words(wanted), in_words(slot))
            }
            (Some(Slot { event_id, seats, .. }), None) => {
                format!(
                    "booking {id} is live, but event {event_id} keeps none of its {seats} seats"
                )
            }
            (None, Some(Slot { event_id, seats, .. })) => {
                format!("event {event_id} keeps {seats} seats for booking {id}, which isn't live")
            }
            _ => return None,
        };
        Some((Rule::Holds, what))
    }

    /// The slot and the journal.
    fn compare_journal(&self, id: BookingId, report: &mut Report) {
        let what = match (self.told(id), self.slot) {
            (Some(told), Some(kept)) if told != kept => {
                format!(
                    "booking {id} has {}, but by the journal {}",
                    in_words(kept),
                    in_words(told)
                )
            }
            (Some(told), None) => {
                format!("booking {id} has no slot, but by the journal {}", in_words(told))
            }
            (None, Some(kept)) => {
                format!("booking {id} has {}, but by the journal none", in_words(kept))
            }
            _ => return,
        };
        report.find(Rule::Journal, what);
    }

    /// The booking and what was paid for it.
    fn compare_charge(&self, id: BookingId) -> Option<(Rule, String)> {
        let Course { charge, .. } = self.course;
        let wanted = self.booking.as_ref().and_then(|booking| charge_of(booking, charge));
        let paid = self.paid.filter(|_| charge == Charge::Paid);
        let what = match (wanted, paid) {
            (wanted, Some(paid)) if wanted != Some(paid) => {
                format!("booking {id} is charged {paid}, but isn't complete like that")
            }
            (Some(wanted), None) => {
                format!("booking {id} is complete, but isn't charged {wanted}")
            }
            _ => return None,
        };
        Some((Rule::Money, what))
    }

    /// The booking's saga and the errand to take it further.
    fn compare_errand(&self, id: BookingId, report: &mut Report) {
        let on_its_way = self.booking.as_ref().filter(|booking| is_on_its_way(booking));
        let what = match (on_its_way, self.errand.as_deref()) {
            (None, Some(_)) => format!("booking {id} has an errand, but isn't on its way"),
            (Some(booking), None) => {
                let state = booking.state;
                format!("booking {id} is {state}, and nobody has the errand to take it further")
            }
            (Some(booking), Some(Errand { is_parked: true, tries, trouble, .. })) => {
                let (state, trouble) = (booking.state, trouble.as_deref().unwrap_or_default());
                format!("booking {id} is parked while {state} after {tries} tries: {trouble}")
            }
            _ => return,
        };
        report.find(Rule::Sagas, what);
    }
}

//! What sagas with a participant elsewhere keep.

use eventbooker_core::BookingId;
use eventbooker_core::bookings::participant::{Memory, MemoryKey, Participant, Remembered};
use eventbooker_core::bookings::saga::Denial;
use eventbooker_core::events::{EventCancelled, OccupyRefusal, Seats};
use eventbooker_store::{Changes, SagaStep, Wants};

use super::Database;
use super::saving::load;
use crate::rows::{POOR, at, save};

/// Whatever it is, with its numbers; by steps and by memories.
pub async fn denials_keep_their_reasons(database: &dyn Database) {
    let store = database.open().await;
    let key = |attempt| MemoryKey {
        participant: Participant::Accounts,
        booking_id: BookingId::new(1),
        attempt,
    };
    let remembered =
        |(attempt, why)| Remembered { key: key(attempt), memory: Memory::Refused(why), at: at(1) };
    let step = |why| SagaStep {
        booking_id: BookingId::new(1),
        asked: "Occupy".to_owned(),
        answered: "no".to_owned(),
        denial: Some(why),
        at: at(1),
    };
    let denials = [
        Denial::NoSuchEvent,
        Denial::AmountTooLarge,
        OccupyRefusal::Cancelled(EventCancelled).into(),
        OccupyRefusal::Begun.into(),
        OccupyRefusal::SoldOut.into(),
        OccupyRefusal::TooFewSeats { free: Seats::new(u32::MAX) }.into(),
        POOR,
        Denial::Withdrawn,
    ];
    let memories: Vec<Remembered> = (1..).zip(denials).map(remembered).collect();
    let steps = denials.map(step).to_vec();
    let changes = Changes {
        memories_added: memories.clone(),
        saga_steps: steps.clone(),
        ..Changes::default()
    };
    save(&*store, changes).await;
    assert_eq!(store.saga_steps(BookingId::new(1)).await, Ok(steps));
    let wanted = memories.iter().map(|remembered| remembered.key).collect();
    let mut writer = store.writer().await.expect("a writer");
    let wants = Wants { memories: wanted, ..Wants::default() };
    let mut loaded = load(&mut *writer, &wants).await.memories;
    writer.release().await.expect("released");
    loaded.sort_by_key(|remembered| remembered.key);
    assert_eq!(loaded, memories);
}

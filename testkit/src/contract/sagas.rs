//! What sagas with a participant elsewhere keep.

use eventbooker_core::bookings::errand::{Errand, Promise};
use eventbooker_core::bookings::participant::{Memory, MemoryKey, Participant, Remembered};
use eventbooker_core::bookings::saga::Denial;
use eventbooker_core::bookings::{Act, Booking, HoldingKind, State};
use eventbooker_core::events::{EventCancelled, OccupyRefusal, Seats};
use eventbooker_core::{BookingId, EventId, UserId};
use eventbooker_store::{Answer, Changes, HoldingsOf, Purge, SagaStep, Wants};

use super::Database;
use super::saving::load;
use crate::rows::{POOR, answer, at, booking, errand, hold, key, save};

/// Whatever it is, with its numbers; by steps and by memories.
pub async fn denials_keep_their_reasons(database: &dyn Database) {
    let store = database.open().await;
    let key = |attempt| MemoryKey {
        participant: Participant::Accounts,
        booking_id: BookingId::new(1),
        attempt,
    };
    let remembered = |(attempt, why)| Remembered {
        key: key(attempt),
        memory: Memory::Refused(why),
        at: at(1),
        begun: None,
    };
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

/// What is asked for has no deadline, and counts all the same; what is being cancelled counts as what is.
pub async fn holdings_on_their_way_come_when_they_are_wanted(database: &dyn Database) {
    let store = database.open().await;
    let with_seats = |seats, booking: Booking| Booking { seats: Seats::new(seats), ..booking };
    let rows = vec![
        with_seats(1, booking(1, 1, 1, State::Occupying, 0)),
        with_seats(2, hold(2, 1, 1, 10)),
        with_seats(3, booking(3, 1, 1, State::Cancelled, 10)),
        with_seats(4, booking(4, 1, 1, State::Releasing, 10)),
        with_seats(5, booking(5, 1, 1, State::Refunding, 10)),
        with_seats(6, booking(6, 1, 1, State::Releasing, 0)),
        with_seats(7, booking(7, 1, 1, State::Paying, 10)),
        with_seats(8, booking(8, 1, 1, State::Completing, 10)),
        with_seats(9, booking(9, 1, 1, State::Expiring, 10)),
        with_seats(10, booking(10, 1, 2, State::Occupying, 0)),
    ];
    save(&*store, Changes { bookings_added: rows, ..Changes::default() }).await;
    let holdings_of = async |on_their_way| {
        let (event_id, user_id) = (EventId::new(1), UserId::new(1));
        let of = HoldingsOf { event_id, user_id, limit: 9, on_their_way };
        let mut writer = store.writer().await.expect("a writer");
        let wants = Wants { holdings: vec![of], ..Wants::default() };
        let mut loaded = load(&mut *writer, &wants).await.holdings;
        writer.release().await.expect("released");
        let held = loaded.remove(0).holdings;
        let mut held: Vec<_> = held.iter().map(|held| (held.seats.get(), held.kind)).collect();
        held.sort_unstable_by_key(|(seats, _)| *seats);
        held
    };
    let (asked, cancelled) = (HoldingKind::Asked, HoldingKind::Cancelled);
    let [two, three] = [(2, HoldingKind::Held), (3, cancelled)];
    assert_eq!(holdings_of(false).await, [two, three]);
    assert_eq!(
        holdings_of(true).await,
        [(1, asked), two, three, (4, cancelled), (5, cancelled), (7, asked)]
    );
}

/// An answer that waits for a saga says for which, and the errand says who is owed it.
pub async fn promises_are_kept(database: &dyn Database) {
    let store = database.open().await;
    let awaits = Some(BookingId::new(7));
    let promised = Answer { answer: Vec::new(), awaits, ..answer(1, "key", 5) };
    let promise = Promise { scope: UserId::new(1), key: "key".to_owned(), act: Act::Purchase };
    let owed = Errand { promise: Some(promise.clone()), ..errand(7, 60) };
    let changes = Changes {
        answers_added: vec![promised.clone(), answer(2, "key", 5)],
        errands_set: vec![owed.clone(), errand(8, 60)],
        ..Changes::default()
    };
    save(&*store, changes).await;
    let loaded = async || {
        let mut writer = store.writer().await.expect("a writer");
        let wants = Wants {
            answers: vec![key(1, "key")],
            errands: vec![BookingId::new(7), BookingId::new(8)],
            ..Wants::default()
        };
        let mut loaded = load(&mut *writer, &wants).await;
        writer.release().await.expect("released");
        loaded.errands.sort_by_key(|errand| errand.booking_id);
        (loaded.answers, loaded.errands)
    };
    assert_eq!(loaded().await, (vec![promised.clone()], vec![owed, errand(8, 60)]));
    assert_eq!(store.answer(key(1, "key")).await, Ok(Some(promised.clone())));

    for act in [Act::Book, Act::Confirm, Act::Cancel] {
        let owed = Errand { promise: Some(Promise { act, ..promise.clone() }), ..errand(8, 60) };
        let changes =
            Changes { errands_set: vec![owed.clone(), errand(7, 60)], ..Changes::default() };
        save(&*store, changes).await;
        assert_eq!(loaded().await.1, [errand(7, 60), owed]);
    }
    let forgotten = (key(1, "other"), b"nobody asks".to_vec());
    let changes = Changes {
        answers_completed: vec![forgotten, (key(1, "key"), b"booking 7".to_vec())],
        ..Changes::default()
    };
    save(&*store, changes).await;
    let kept = Answer { answer: b"booking 7".to_vec(), awaits: None, ..promised };
    assert_eq!(store.answer(key(1, "key")).await, Ok(Some(kept)));
    assert_eq!(store.answer(key(2, "key")).await, Ok(Some(answer(2, "key", 5))));
    assert_eq!(store.answer(key(1, "other")).await, Ok(None));
}

/// The oldest go first, a bounded number at a time, and none that are still of use.
pub async fn memories_go_in_the_end(database: &dyn Database) {
    let store = database.open().await;
    assert_eq!(store.oldest_kept().await.expect("read").memory, None);
    let remembered = |booking, attempt, second| Remembered {
        key: MemoryKey {
            participant: Participant::Accounts,
            booking_id: BookingId::new(booking),
            attempt,
        },
        memory: Memory::Charged,
        at: at(second),
        begun: None,
    };
    let memories =
        [remembered(1, 1, 30), remembered(1, 2, 10), remembered(2, 1, 20), remembered(3, 1, 40)];
    save(&*store, Changes { memories_added: memories.to_vec(), ..Changes::default() }).await;
    let purge = |second| Purge {
        sessions_until: at(0),
        answers_until: at(0),
        answers_after: at(1_000),
        memories_until: at(second),
        limit: 2,
    };
    let left = async |purge| {
        save(&*store, Changes { purge: Some(purge), ..Changes::default() }).await;
        let wanted = memories.iter().map(|remembered| remembered.key).collect();
        let mut writer = store.writer().await.expect("a writer");
        let loaded = load(&mut *writer, &Wants { memories: wanted, ..Wants::default() }).await;
        writer.release().await.expect("released");
        let oldest = store.oldest_kept().await.expect("read").memory;
        let mut left: Vec<_> = loaded.memories.iter().map(|it| it.at).collect();
        left.sort_unstable();
        assert_eq!(oldest, left.first().copied());
        left
    };
    assert_eq!(left(purge(9)).await, [10, 20, 30, 40].map(at));
    assert_eq!(left(purge(30)).await, [30, 40].map(at));
    assert_eq!(left(purge(30)).await, [at(40)]);
}

//! What a copy needs: everything that is kept, in pages.

use eventbooker_core::bookings::participant::{Memory, MemoryKey, Participant, Remembered};
use eventbooker_core::events::PaymentWindow;
use eventbooker_core::{BookingId, Money};
use eventbooker_store::{Answer, Changes, FullSnapshot, LastIds, SagaStep};

use super::Database;
use crate::rows::{POOR, answer, at, errand, one_of_each, save, session, user};

fn step(booking: i64, asked: &str) -> SagaStep {
    SagaStep {
        booking_id: BookingId::new(booking),
        asked: asked.to_owned(),
        answered: "да".to_owned(),
        denial: (asked == "Charge").then_some(POOR),
        at: at(1),
    }
}

fn remembered(booking: i64, participant: Participant, attempt: u32, memory: Memory) -> Remembered {
    let key = MemoryKey { participant, booking_id: BookingId::new(booking), attempt };
    Remembered { key, memory, at: at(1), begun: (attempt != 2).then(|| at(0)) }
}

fn promised() -> Answer {
    let awaits = Some(BookingId::new(1));
    Answer { answer: Vec::new(), awaits, ..answer(1, "other", 5) }
}

/// By their keys.
pub(super) fn memories() -> Vec<Remembered> {
    let offer =
        Memory::Occupied { amount: Money::from_minor(80), window: PaymentWindow::from_minutes(30) };
    vec![
        remembered(1, Participant::Events, 0, offer),
        remembered(1, Participant::Accounts, 1, Memory::Refused(POOR)),
        remembered(1, Participant::Accounts, 2, Memory::Charged),
        remembered(2, Participant::Events, 0, Memory::Withdrawn),
    ]
}

/// Reads a table two rows at a time.
macro_rules! read {
    ($snapshot:ident.$table:ident) => {{
        let mut rows = Vec::new();
        loop {
            let page = $snapshot.$table(2).await.expect("read");
            assert!(page.len() <= 2);
            if page.is_empty() {
                break rows;
            }
            rows.extend(page);
        }
    }};
}

/// A snapshot has what no invariant is about, too: page by page, all of it, and nothing that came
/// later.
pub async fn a_full_snapshot_is_everything(database: &dyn Database) {
    let store = database.open().await;
    save(&*store, one_of_each()).await;
    let more = Changes {
        users_added: vec![user(7, "Zoë"), user(3, "ben")],
        sessions_added: vec![session(9, 7, 60), session(0, 7, 0), session(255, 4, 60)],
        saga_steps: ["Occupy", "Charge", "Charge", "Settle"].map(|it| step(2, it)).to_vec(),
        memories_added: memories().into_iter().rev().collect(),
        answers_added: vec![promised(), answer(0, "key", 5), answer(7, "~", 5)],
        last_ids: LastIds { booking: Some(40), event: Some(9), user: Some(7) },
        ..Changes::default()
    };
    save(&*store, more).await;
    let early = Changes {
        saga_steps: ["Occupy", "Charge", "Refund"].map(|it| step(1, it)).to_vec(),
        errands_set: vec![errand(1, 9)],
        ..Changes::default()
    };
    save(&*store, early).await;
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    let later = Changes {
        users_added: vec![user(8, "eve")],
        last_ids: LastIds { user: Some(8), ..LastIds::default() },
        ..Changes::default()
    };
    save(&*store, later).await;

    let given = LastIds { booking: Some(40), event: Some(9), user: Some(7) };
    assert_eq!(snapshot.last_ids().await, Ok(given));
    // One of each, and then users, sessions, steps, memories, answers and an errand.
    assert_eq!(snapshot.rows().await, Ok(9 + 2 + 3 + 7 + 4 + 3 + 1));
    for _ in 0..2 {
        check_everything(&mut *snapshot).await;
        snapshot.rewind().await.expect("it goes back");
    }
}

async fn check_everything(snapshot: &mut dyn FullSnapshot) {
    assert_eq!(read!(snapshot.users), [user(1, "ann"), user(3, "ben"), user(7, "Zoë")]);
    let sessions = [session(0, 7, 0), session(1, 1, 60), session(9, 7, 60), session(255, 4, 60)];
    assert_eq!(read!(snapshot.sessions), sessions);
    let of_one = ["Occupy", "Charge", "Refund"].map(|asked| step(1, asked));
    let of_two = ["Occupy", "Charge", "Charge", "Settle"].map(|asked| step(2, asked));
    assert_eq!(read!(snapshot.saga_steps), [of_one.as_slice(), &of_two].concat());
    assert_eq!(read!(snapshot.memories), memories());
    let mut answers = read!(snapshot.answers);
    answers.sort_by(|one, other| one.key.cmp(&other.key));
    let kept = [answer(0, "key", 5), answer(1, "key", 0), promised()];
    assert_eq!(answers, [kept.as_slice(), &[answer(7, "~", 5)]].concat());
}

//! How far a database has come, and what has been seen of others.

use eventbooker_core::Context;
use eventbooker_store::{Changes, GENERATION, LastIds, Loss, Neighbour};

use super::Database;
use crate::rows::{one_of_each, save};

const OTHER: [u8; 16] = [9; 16];

fn seen(number: i64, heard: i64) -> Neighbour {
    Neighbour { heard, ..Neighbour::met(Context::Events, [7; 16], number) }
}

fn note(neighbour: Neighbour) -> Changes {
    Changes { neighbours_seen: vec![neighbour], ..Changes::default() }
}

/// Writers count together, and what is read is all that they have counted.
pub async fn a_database_says_how_far_it_has_come(database: &dyn Database) {
    let store = database.open().await;
    assert_eq!(store.progress().await, Ok(0));
    for progress in [1, 1, 0, 1] {
        save(&*store, Changes { progress, ..Changes::default() }).await;
    }
    assert_eq!(store.progress().await, Ok(3));
    save(&*store, Changes { progress: GENERATION, ..Changes::default() }).await;
    assert_eq!(database.open().await.progress().await, Ok(3 + GENERATION));
}

/// What was seen doesn't fall, whoever notes it last; but with a number of a later time, what was heard is of
/// that time.
pub async fn neighbours_are_remembered(database: &dyn Database) {
    let store = database.open().await;
    assert_eq!(store.neighbours().await, Ok(vec![]));
    let met = LastIds { booking: Some(3), event: None, user: Some(5) };
    let loss = Some(Loss { saw: 8, met });
    let later = 2 * GENERATION;
    let table = [
        (seen(5, 4), seen(5, 4)),
        (seen(4, 6), seen(5, 6)),
        (seen(6, 1), seen(6, 6)),
        // Another database isn't this one.
        (Neighbour { database: OTHER, ..seen(9, 9) }, seen(6, 6)),
        (
            Neighbour { found: Some(OTHER), ..seen(6, 6) },
            Neighbour { found: Some(OTHER), ..seen(6, 6) },
        ),
        (seen(6, 6), seen(6, 6)),
        (Neighbour { loss, ..seen(6, 6) }, Neighbour { loss, ..seen(6, 6) }),
        (seen(7, 6), Neighbour { loss, ..seen(7, 6) }),
        (seen(later, 2), Neighbour { loss, ..seen(later, 2) }),
        (seen(7, 9), Neighbour { loss, ..seen(later, 2) }),
    ];
    for (noted, kept) in table {
        save(&*store, note(noted)).await;
        assert_eq!(store.neighbours().await, Ok(vec![kept]), "{noted:?}");
    }
    let other = Neighbour::met(Context::Bookings, OTHER, 1);
    save(&*store, note(other)).await;
    let accepted = Neighbour::met(Context::Events, OTHER, 0);
    let set = Changes { neighbours_set: vec![accepted], ..Changes::default() };
    save(&*store, set).await;
    assert_eq!(store.neighbours().await, Ok(vec![other, accepted]));
}

/// A database that takes another one's place has its name.
pub async fn a_database_takes_anothers_name(database: &dyn Database) {
    let store = database.open().await;
    let before = store.installation().await.expect("drawn");
    save(&*store, Changes { database_id: Some(OTHER), ..Changes::default() }).await;
    let now = store.installation().await.expect("read");
    assert_eq!((now.id, now.secret), (OTHER, before.secret));
}

/// The rows of some contexts name those of others.
pub async fn numbers_of_others_are_met(database: &dyn Database) {
    let store = database.open().await;
    assert_eq!(store.ids_met().await, Ok(LastIds::default()));
    save(&*store, one_of_each()).await;
    let memories_added = super::copying::memories();
    save(&*store, Changes { memories_added, ..Changes::default() }).await;
    let met = LastIds { booking: Some(2), event: Some(1), user: Some(1) };
    assert_eq!(store.ids_met().await, Ok(met));
    let account = database.open_for(Context::Accounts.into()).await.expect("it opens");
    assert_eq!(account.ids_met().await, Ok(LastIds { event: None, ..met }));
}

//! What every store has to do, as functions over any of them: SQLite and PostgreSQL pass the very
//! same tests. What is particular to one store is tested beside it.

mod contexts;
mod copying;
mod editing;
mod listing;
mod looking;
mod neighbours;
mod sagas;
mod saving;

use std::sync::Arc;

use async_trait::async_trait;
use eventbooker_core::Contexts;
use eventbooker_store::{OpenError, Store};

pub use self::contexts::*;
pub use self::copying::*;
pub use self::editing::*;
pub use self::listing::*;
pub use self::looking::*;
pub use self::neighbours::*;
pub use self::sagas::*;
pub use self::saving::*;

/// An empty database of a test's own, that can be opened again and again.
#[async_trait]
pub trait Database: Send + Sync {
    /// Opens it, beside whoever has it open already.
    async fn open(&self) -> Arc<dyn Store>;
    /// The same, for these contexts.
    async fn open_for(&self, contexts: Contexts) -> Result<Arc<dyn Store>, OpenError>;
    /// Adds the tables of these contexts.
    async fn add(&self, contexts: Contexts);
    /// What it consists of: each table's name with one of its columns, keys or indexes.
    async fn catalog(&self) -> Vec<(String, String)>;
    /// One of the same kind, empty.
    fn another(&self) -> Box<dyn Database>;
}

/// The contract's tests, on databases that the expression makes.
#[macro_export]
macro_rules! store_contract {
    ($database:expr) => {
        $crate::store_contract! { $database;
            a_load_brings_what_is_wanted_and_nothing_else
            a_save_writes_every_kind_of_change
            changed_rows_keep_what_nobody_may_change
            an_edited_event_is_read_as_it_was_written
            a_save_that_fails_leaves_nothing
            a_release_leaves_nothing
            keys_are_unique
            numbers_rise_and_are_never_used_twice
            holdings_are_those_that_still_count
            writers_are_serialised
            a_writer_sees_what_others_have_saved
            sessions_end_one_by_one_and_all_together
            a_purge_is_bounded_and_oldest_first
            events_come_soonest_first_and_undated_last
            lists_of_events_come_without_descriptions
            events_are_found_by_any_part_of_their_names
            events_are_found_by_number
            cancelled_events_are_found_while_they_release
            journals_are_read_from_a_version_on
            slots_are_paged_newest_first
            bookings_are_found_by_number
            live_bookings_are_paged_newest_first
            bookings_of_a_user_are_paged_oldest_first
            postings_are_paged_newest_first
            a_booking_exists_or_is_gone_or_never_was
            due_holds_come_soonest_first
            errands_come_when_they_are_due
            memories_and_steps_are_kept
            denials_keep_their_reasons
            holdings_on_their_way_come_when_they_are_wanted
            promises_are_kept
            memories_go_in_the_end
            the_last_check_of_each_kind_is_kept
            a_trail_is_all_that_was_written_about_a_booking
            users_and_sessions_are_found
            a_snapshot_is_every_row_at_one_instant
            a_full_snapshot_is_everything
            four_databases_have_what_one_has
            a_database_is_opened_for_what_it_holds
            an_installation_is_drawn_once
            a_context_alone_does_its_work
            what_is_elsewhere_is_refused
            contexts_that_are_not_opened_are_left_alone
            slots_are_paged_by_number_whenever_they_began
            a_database_says_how_far_it_has_come
            neighbours_are_remembered
            a_database_takes_anothers_name
            numbers_of_others_are_met
        }
    };
    ($database:expr; $($test:ident)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::contract::$test(&$database).await;
            }
        )*
    };
}

//! What became of bookings that a page has shown and that aren't live any more.
//!
//! A hold that wasn't paid has left nothing that says whose it was. So the numbers that a page asks about
//! are signed for the user who was shown them; of others nobody is told that they were ever given out.
//! The key is the process's own: to another replica, or after a restart, a page's numbers are unsigned,
//! and a hold that expired just then leaves the page without the word why.

use std::fmt::Write as _;
use std::sync::OnceLock;

use axum::http::Uri;
use eventbooker_core::BookingId;
use eventbooker_core::bookings::{Booking, State as BookingState};
use eventbooker_core::identity::Actor;
use eventbooker_engine::BookingAt;
use sha2::{Digest as _, Sha256};

use super::super::texts::Texts;
use super::BookingView;
use crate::problem::Problem;
use crate::request::Query;
use crate::state::Web;

/// Numbers that a page asks about at once.
const SEEN_MAX: usize = 40;
/// Bytes of the key.
const KEY_BYTES: usize = 32;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 16;

/// What became of a booking that a page has shown.
pub(in super::super) struct Fate {
    pub(in super::super) id: i64,
    pub(in super::super) words: String,
}

/// What a user has been shown.
#[derive(Clone, Copy)]
pub(in super::super) struct Seen {
    actor: Actor,
    key: &'static [u8; KEY_BYTES],
}

impl Seen {
    pub(in super::super) fn of(web: &Web, actor: Actor) -> Self {
        static KEY: OnceLock<[u8; KEY_BYTES]> = OnceLock::new();
        let key = KEY.get_or_init(|| {
            let mut key = [0; KEY_BYTES];
            web.engine().draw(&mut key);
            key
        });
        Self { actor, key }
    }

    /// What became of those bookings that the page has shown and that aren't live any more.
    pub(in super::super) async fn fates(
        self,
        web: &Web,
        texts: Texts,
        uri: &Uri,
        live: &[BookingAt],
    ) -> Result<Vec<Fate>, Problem> {
        let query = Query::of(uri);
        let seen = query.numbers("seen", SEEN_MAX);
        let is_signed = query.text("signed") == Some(&*self.signature(&seen));
        let is_live = |id: &i64| live.iter().any(|at| at.booking.id.get() == *id);
        let seen: Vec<i64> = seen.into_iter().filter(|id| !is_live(id)).collect();
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        let ids = seen.iter().copied().map(BookingId::new).collect();
        let bookings = web.engine().store().bookings(ids).await?;
        let fate = |id: i64| {
            let words = match bookings.iter().find(|booking| booking.id.get() == id) {
                Some(booking) => self.fate_of(web, booking)?,
                // It was there, and nothing but its deadline deletes it.
                None if is_signed => "fate-expired",
                None => return None,
            };
            Some(Fate { id, words: texts.with(words, "id", id) })
        };
        Ok(seen.into_iter().filter_map(fate).collect())
    }

    fn fate_of(self, web: &Web, booking: &Booking) -> Option<&'static str> {
        if !booking.is_open_to(self.actor) {
            return None;
        }
        if booking.is_due(web.engine().now()) {
            return Some("fate-expired");
        }
        match booking.state {
            BookingState::Expiring => Some("fate-expired"),
            BookingState::Refunding | BookingState::Releasing | BookingState::Cancelled => {
                Some("fate-cancelled")
            }
            // On another page of the list.
            BookingState::Occupying
            | BookingState::Occupied
            | BookingState::Paying
            | BookingState::Completing
            | BookingState::Complete => None,
        }
    }

    /// The path under which a page asks again, with what it shows.
    pub(in super::super) fn path(
        self,
        path: &str,
        bookings: &[BookingView],
        fates: &[Fate],
    ) -> String {
        let shown = bookings.iter().map(|booking| booking.id);
        let shown = shown.chain(fates.iter().map(|fate| fate.id)).take(SEEN_MAX);
        let shown: Vec<i64> = shown.collect();
        if shown.is_empty() {
            return path.to_owned();
        }
        let seen: Vec<String> = shown.iter().map(|id| format!("seen={id}")).collect();
        format!("{path}?{}&signed={}", seen.join("&"), self.signature(&shown))
    }

    /// How many numbers there are stands before them, so that no list begins with another one.
    fn signature(self, seen: &[i64]) -> String {
        let mut told = Sha256::new_with_prefix(self.key);
        told.update(self.actor.user_id.get().to_be_bytes());
        told.update(seen.len().to_be_bytes());
        for id in seen {
            told.update(id.to_be_bytes());
        }
        told.finalize().iter().take(SIGNATURE_BYTES).fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
            text
        })
    }
}

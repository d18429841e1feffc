//! What became of bookings that a page has shown and that aren't live any more.
//!
//! A hold that wasn't paid has left nothing that says whose it was. So the numbers that a page asks about
//! are signed for the user who was shown them; of others nobody is told that they were ever given out.
//! The key is the database's secret, which every replica knows.

use axum::http::Uri;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use eventbooker_core::BookingId;
use eventbooker_core::bookings::{Booking, State as BookingState};
use eventbooker_core::identity::Actor;
use eventbooker_engine::BookingAt;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::super::texts::Texts;
use super::BookingView;
use crate::problem::Problem;
use crate::request::Query;
use crate::state::Web;

/// Numbers that a page asks about at once.
const SEEN_MAX: usize = 40;

/// What became of a booking that a page has shown.
pub(in super::super) struct Fate {
    pub(in super::super) id: i64,
    pub(in super::super) words: String,
}

/// What a user has been shown.
pub(in super::super) struct Seen<'a> {
    web: &'a Web,
    actor: Actor,
}

impl<'a> Seen<'a> {
    pub(in super::super) fn by(web: &'a Web, actor: Actor) -> Self {
        Self { web, actor }
    }

    /// What became of those bookings that the page has shown and that aren't live any more.
    pub(in super::super) async fn fates(
        &self,
        texts: Texts,
        uri: &Uri,
        live: &[BookingAt],
    ) -> Result<Vec<Fate>, Problem> {
        let query = Query::of(uri);
        let seen = query.numbers("seen", SEEN_MAX);
        let signature =
            query.text("signed").and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        let is_signed = signature.is_some_and(|it| self.signing(&seen).verify_slice(&it).is_ok());
        let is_live = |id: &i64| live.iter().any(|at| at.booking.id.get() == *id);
        let seen: Vec<i64> = seen.into_iter().filter(|id| !is_live(id)).collect();
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        let ids = seen.iter().copied().map(BookingId::new).collect();
        let bookings = self.web.engine().bookings().bookings(ids).await?;
        let fate = |id: i64| {
            let words = match bookings.iter().find(|booking| booking.id.get() == id) {
                Some(booking) => self.fate_of(booking)?,
                // It was there, and nothing but its deadline deletes it.
                None if is_signed => "fate-expired",
                None => return None,
            };
            Some(Fate { id, words: texts.with(words, "id", id) })
        };
        Ok(seen.into_iter().filter_map(fate).collect())
    }

    fn fate_of(&self, booking: &Booking) -> Option<&'static str> {
        if !booking.is_open_to(self.actor) {
            return None;
        }
        if booking.is_due(self.web.engine().now()) {
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
        &self,
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
        let signature = self.signing(&shown).finalize().into_bytes();
        format!("{path}?{}&signed={}", seen.join("&"), BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn signing(&self, seen: &[i64]) -> Hmac<Sha256> {
        let key = &self.web.engine().installation().secret;
        let mut mac = Hmac::new_from_slice(key).expect("a key of any length will do");
        for number in std::iter::once(&self.actor.user_id.get()).chain(seen) {
            mac.update(&number.to_be_bytes());
        }
        mac
    }
}

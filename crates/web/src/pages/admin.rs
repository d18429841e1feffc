//! The organiser's pages, under `/admin`: for admins, everything at once.

mod bookings;
mod checks;
mod events;
mod identity;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use eventbooker_core::Context;
use eventbooker_core::identity::Actor;

use super::{Attendee, Detour, Frame};
use crate::problem::{Problem, ProblemKind};
use crate::state::Web;

/// The pages that are where the rows of a context are.
pub(super) fn routes_of(context: Context) -> Router<Web> {
    match context {
        Context::Identity => identity::routes(),
        Context::Events => {
            Router::new().merge(events::routes()).merge(bookings::routes()).merge(checks::routes())
        }
        Context::Accounts => identity::account_routes(),
        Context::Bookings => Router::new(),
    }
}

/// Whoever asks for a page that is for admins.
struct Organiser {
    frame: Frame,
    actor: Actor,
}

impl FromRequestParts<Web> for Organiser {
    type Rejection = Detour;

    async fn from_request_parts(parts: &mut Parts, web: &Web) -> Result<Self, Detour> {
        let Attendee { frame, actor } = Attendee::from_request_parts(parts, web).await?;
        if actor.is_admin() {
            return Ok(Self { frame, actor });
        }
        let problem = Problem::new(ProblemKind::Forbidden, "only an admin may see this page");
        Err(Detour::Failed(problem))
    }
}

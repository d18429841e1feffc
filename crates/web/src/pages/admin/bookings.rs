//! An event as its organiser watches it: seats, bookings, who made them.

use axum::Router;

use crate::state::Web;

pub(super) fn routes() -> Router<Web> {
    Router::new()
}

//! Users: who there is, what they may do, and paying in for them.

use axum::Router;

use crate::state::Web;

pub(super) fn routes() -> Router<Web> {
    Router::new()
}

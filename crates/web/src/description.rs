//! The API description (`/openapi.json`) and a page to try it (`/docs`).

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tower::ServiceBuilder;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::Number;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::answers::{BadField, ProblemShape};
use crate::no_such_page;
use crate::request::SESSION_COOKIE;
use crate::state::Web;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "EventBooker",
        description = "Books seats of events against a payment deadline. Amounts are whole minor units of the installation's currency, times are RFC 3339 in UTC, errors are application/problem+json (RFC 9457).",
        license(name = "MIT OR Apache-2.0"),
    ),
    components(schemas(ProblemShape, BadField)),
    modifiers(&Session),
)]
pub(crate) struct Description;

/// How a client proves who it is.
struct Session;

impl Modify for Session {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let cookie = ApiKey::Cookie(ApiKeyValue::new(SESSION_COOKIE));
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("session", SecurityScheme::ApiKey(cookie));
    }
}

/// Bodies that ask for seats.
const BODIES_WITH_SEATS: [&str; 2] = ["NewBooking", "NewPurchase"];

/// Says how many seats one booking may have here: the operator sets it, so it isn't known before.
pub(crate) fn set_seats_max(description: &mut utoipa::openapi::OpenApi, seats_max: u32) {
    let schemas = &mut description.components.get_or_insert_default().schemas;
    for body in BODIES_WITH_SEATS {
        if let Some(RefOr::T(Schema::Object(body))) = schemas.get_mut(body)
            && let Some(RefOr::T(Schema::Object(seats))) = body.properties.get_mut("seats")
        {
            seats.maximum = Some(Number::from(seats_max));
        }
    }
}

/// The page's own files only. Swagger UI sets styles from its script and draws icons from data
/// URIs; it runs no script but its own.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
);

/// Swagger UI refuses a path that isn't UTF-8 in plain text, and a file that it doesn't have without
/// a word. Either way there is no such page.
async fn refused_as_problem(response: Response) -> Response {
    if response.status().is_client_error() { no_such_page().into_response() } else { response }
}

pub(crate) fn routes(description: &utoipa::openapi::OpenApi) -> Router<Web> {
    let json: Bytes =
        description.to_json().expect("the description is made of texts and numbers").into();
    let openapi = move || {
        let json = json.clone();
        async move { ([(header::CONTENT_TYPE, "application/json")], json).into_response() }
    };
    let config = Config::from("/openapi.json").validator_url("none");
    let docs: Router<Web> = SwaggerUi::new("/docs").config(config).into();
    let policy = SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, DOCS_POLICY);
    let layers = ServiceBuilder::new().layer(map_response(refused_as_problem)).layer(policy);
    Router::new().route("/openapi.json", get(openapi)).merge(docs.layer(layers))
}

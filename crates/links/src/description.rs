//! What services may ask of each other, described in OpenAPI. A test keeps
//! `docs/internal.openapi.json` as this says.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::server::{ProblemShape, described};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "EventBooker between its services",
        version = "1",
        description = "Batches of items with one result each, in their order. No public listener has these paths. Unknown fields are ignored; an item that isn't understood is that item's trouble.",
        license(name = "MIT OR Apache-2.0"),
    ),
    components(schemas(ProblemShape)),
    modifiers(&Token),
    security(("token" = [])),
)]
pub(crate) struct Description;

/// How a service proves who it is.
struct Token;

impl Modify for Token {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let mut token = Http::new(HttpAuthScheme::Bearer);
        token.bearer_format = Some("JWT".to_owned());
        token.description =
            Some("An eb-service+jwt for the service that is called, good for a minute.".to_owned());
        let components = description.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// The description, as JSON for people.
pub fn json() -> String {
    let json = described().to_pretty_json();
    json.expect("the description is made of texts and numbers") + "\n"
}

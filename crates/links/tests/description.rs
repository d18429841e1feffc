//! The description that is in `docs` is the one that services serve.

use eventbooker_links::description::json;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/internal.openapi.json");
/// Whoever has changed it sets this and looks at the difference.
const WRITE: &str = "EVENTBOOKER_WRITE_DESCRIPTION";

#[test]
fn the_description_in_docs_is_the_one_that_is_served() {
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(PATH, json()).expect("the file can be written");
    }
    let committed = std::fs::read_to_string(PATH).unwrap_or_default();
    assert_eq!(committed, json(), "docs/internal.openapi.json is old; {WRITE}=1 writes it anew");
}

//! Small pieces that the JSON shapes of every context share.

use eventbooker_core::Timestamp;
use serde::{Serialize, Serializer};

/// An instant as clients read it: RFC 3339 in UTC.
pub(crate) struct Rfc3339(pub(crate) Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Every instant that a rule lets through lies within jiff's years -9999 to 9999, but for
        // the end of a window that saturated; that one is shown as the last instant there is.
        let instant =
            jiff::Timestamp::from_microsecond(self.0.as_micros()).unwrap_or(jiff::Timestamp::MAX);
        serializer.collect_str(&instant)
    }
}

/// The `Link` header of a page that is not the last one.
pub(crate) fn next_page(path: &str, limit: u32, after: i64, search: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &limit.to_string()).append_pair("after", &after.to_string());
    if let Some(search) = search {
        query.append_pair("q", search);
    }
    format!("<{path}?{}>; rel=\"next\"", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_utc() {
        let json = |micros| {
            serde_json::to_string(&Rfc3339(Timestamp::from_micros(micros))).expect("serializes")
        };
        assert_eq!(json(0), "\"1970-01-01T00:00:00Z\"");
        assert_eq!(json(1_795_290_937_000_001), "\"2026-11-21T19:55:37.000001Z\"");
        assert_eq!(json(i64::MAX), "\"9999-12-30T22:00:00.999999999Z\"");
    }

    #[test]
    fn a_link_keeps_the_search() {
        assert_eq!(
            next_page("/events", 2, 7, Some("a&b")),
            "</events?limit=2&after=7&q=a%26b>; rel=\"next\""
        );
    }
}

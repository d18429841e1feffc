//! What the edge counts: its connections, and every answer that leaves it, whoever made it.
//!
//! The handles are resolved once, when the edge is made; counting is one addition.

use axum::http::StatusCode;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

pub(super) struct Meters {
    pub(super) open: Gauge,
    pub(super) refused: Counter,
    pub(super) accept_errors: Counter,
    pub(super) late_heads: Counter,
    pub(super) late_bodies: Counter,
    pub(super) late_handlers: Counter,
    pub(super) stalled_writes: Counter,
    answers_by_class: [Counter; 5],
}

impl Meters {
    pub(super) fn resolve() -> Self {
        describe_gauge!("eventbooker_http_connections_open", "Open HTTP connections");
        describe_counter!(
            "eventbooker_http_connections_refused_total",
            "Connections refused because all were in use"
        );
        describe_counter!(
            "eventbooker_http_accept_errors_total",
            "Errors of accept, such as too many open files"
        );
        describe_counter!(
            "eventbooker_http_timeouts_total",
            "Connections or requests that ran out of time, by what was waited for"
        );
        describe_counter!(
            "eventbooker_http_responses_total",
            "Answers, by the class of their status"
        );
        let timeouts =
            |awaited| counter!("eventbooker_http_timeouts_total", "waited_for" => awaited);
        let answers = |class| counter!("eventbooker_http_responses_total", "status" => class);
        Self {
            open: gauge!("eventbooker_http_connections_open"),
            refused: counter!("eventbooker_http_connections_refused_total"),
            accept_errors: counter!("eventbooker_http_accept_errors_total"),
            late_heads: timeouts("head"),
            late_bodies: timeouts("body"),
            late_handlers: timeouts("handler"),
            stalled_writes: timeouts("reader"),
            answers_by_class: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(answers),
        }
    }

    /// Counts an answer.
    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.answers_by_class[class].increment(1);
    }
}

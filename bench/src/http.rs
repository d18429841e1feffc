//! The few requests that the benchmark makes itself, beside wrk's: ready, counts, metrics, live.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use ureq::Agent;

use crate::Fallible;
use crate::wrk::Request;

/// Nothing here takes long, but a start with many rows and a live stream.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The service closes connections that idle for 10 s; one that is nearly as old isn't used again.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// A client of one server.
pub(crate) struct Client {
    agent: Agent,
    base: String,
}

/// An event's counts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventCounts {
    /// All seats.
    pub(crate) capacity: u64,
    /// Seats that nobody holds or has bought.
    pub(crate) free_seats: u64,
    /// Holds.
    pub(crate) pending_bookings: u64,
}

/// What the service counted since its start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Metrics {
    /// Transactions.
    pub(crate) batches: f64,
    /// Commands decided in them.
    pub(crate) commands: f64,
    /// Answers with a status from 500 on.
    pub(crate) failures: f64,
    /// Calls of other services, and what was asked in them.
    pub(crate) calls: f64,
    pub(crate) call_items: f64,
    /// Bookings that were confirmed.
    pub(crate) confirmed: f64,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Bytes of its head, as near as it can be told: names, values, colons and line ends.
    pub(crate) head_bytes: usize,
}

impl Client {
    /// A client of the server at this address.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .max_idle_age(IDLE_MAX)
            .build();
        Self { agent: config.into(), base: format!("http://{address}") }
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str) -> Fallible<Answer> {
        let url = format!("{}{path}", self.base);
        answer(path, self.agent.get(url).call())
    }

    /// A request of the load, as wrk sends it.
    pub(crate) fn ask(&self, request: &Request) -> Fallible<Answer> {
        let Request { path, token, body, .. } = request;
        let url = format!("{}{path}", self.base);
        let cookie = format!("session_id={token}");
        let response = if body.is_empty() {
            self.agent.get(url).header("Cookie", cookie).call()
        } else {
            let request = self.agent.post(url).header("Content-Type", "application/json");
            request.header("Cookie", cookie).send(body)
        };
        answer(path, response)
    }

    /// An event's counts.
    pub(crate) fn event(&self, id: i64) -> Fallible<EventCounts> {
        let path = format!("/events/{id}");
        let answer = self.get(&path)?;
        serde_json::from_str(&answer.body)
            .map_err(|error| format!("{path}: {} {error}: {}", answer.status, answer.body))
    }

    /// What the service has counted.
    pub(crate) fn metrics(&self) -> Fallible<Metrics> {
        Ok(Metrics::parse(&self.get("/metrics")?.body))
    }

    /// The lines of an event's live stream, as they come.
    pub(crate) fn live(&self, id: i64) -> Fallible<impl BufRead + use<>> {
        let path = format!("/events/{id}/live");
        let url = format!("{}{path}", self.base);
        let response =
            self.agent.get(url).call().map_err(|error| format!("GET {path}: {error}"))?;
        if response.status() != 200 {
            return Err(format!("GET {path}: {}", response.status()));
        }
        Ok(BufReader::new(response.into_body().into_reader()))
    }
}

fn answer(
    path: &str,
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Fallible<Answer> {
    let mut response = response.map_err(|error| format!("{path}: {error}"))?;
    let headers = response.headers().iter();
    let head_bytes = headers.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let body = response.body_mut().read_to_string().map_err(|error| format!("{path}: {error}"))?;
    Ok(Answer { status: response.status().as_u16(), body, head_bytes })
}

impl Metrics {
    fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "eventbooker_batch_commands_count" => metrics.batches += value,
                "eventbooker_batch_commands_sum" => metrics.commands += value,
                "eventbooker_http_responses_total" if labels.contains("\"5xx\"") => {
                    metrics.failures += value;
                }
                "eventbooker_internal_calls_total" => metrics.calls += value,
                "eventbooker_internal_items_total" => metrics.call_items += value,
                "eventbooker_journal_entries_total" if labels.contains("\"confirmed\"") => {
                    metrics.confirmed += value;
                }
                _ => {}
            }
        }
        metrics
    }

    /// What was counted since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            batches: self.batches - before.batches,
            commands: self.commands - before.commands,
            failures: self.failures - before.failures,
            calls: self.calls - before.calls,
            call_items: self.call_items - before.call_items,
            confirmed: self.confirmed - before.confirmed,
        }
    }

    /// What several services have counted together.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            batches: self.batches + other.batches,
            commands: self.commands + other.commands,
            failures: self.failures + other.failures,
            calls: self.calls + other.calls,
            call_items: self.call_items + other.call_items,
            confirmed: self.confirmed + other.confirmed,
        }
    }

    /// How many commands shared a transaction in the mean.
    pub(crate) fn commands_per_batch(self) -> f64 {
        if self.batches > 0.0 { self.commands / self.batches } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_all_lanes_are_added_up() {
        let text = "# TYPE eventbooker_batch_commands histogram\n\
                    eventbooker_batch_commands_bucket{lane=\"0\",le=\"1\"} 7\n\
                    eventbooker_batch_commands_sum{lane=\"0\"} 300\n\
                    eventbooker_batch_commands_count{lane=\"0\"} 10\n\
                    eventbooker_batch_commands_sum{lane=\"1\"} 100\n\
                    eventbooker_batch_commands_count{lane=\"1\"} 10\n\
                    eventbooker_http_responses_total{status=\"2xx\"} 400\n\
                    eventbooker_http_responses_total{status=\"5xx\"} 3\n\
                    eventbooker_internal_calls_total{to=\"events\",route=\"steps\"} 5\n\
                    eventbooker_internal_items_total{to=\"events\",route=\"steps\"} 50\n\
                    eventbooker_journal_entries_total{kind=\"held\"} 40\n\
                    eventbooker_journal_entries_total{kind=\"confirmed\"} 20\n";
        let metrics = Metrics::parse(text);
        assert!((metrics.commands_per_batch() - 20.0).abs() < f64::EPSILON);
        assert!((metrics.failures - 3.0).abs() < f64::EPSILON);
        let both = metrics.with(metrics);
        assert!((both.calls - 10.0).abs() < f64::EPSILON);
        assert!((both.since(metrics).call_items - 50.0).abs() < f64::EPSILON);
        assert!((metrics.confirmed - 20.0).abs() < f64::EPSILON);
        assert!(Metrics::default().commands_per_batch().abs() < f64::EPSILON);
    }
}

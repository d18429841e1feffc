//! The report: what was measured, against which floor; as a table, and as JSON.

use std::path::Path;

use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Fallible;
use crate::machine::Machine;
use crate::numbers::thousands;
use crate::plot::Series;

/// In what a value is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A second.
    PerSecond,
    /// Times the yardstick's `POST`.
    TimesEcho,
    /// Times the yardstick's `GET`.
    TimesBareGet,
    /// Times what it was before.
    TimesBefore,
    /// Times the transactions of what everybody writes.
    TimesPeer,
    /// Times the rate of one replica.
    TimesOneReplica,
    /// Times the rate of one process.
    TimesOneProcess,
    /// In a full saga.
    PerSaga,
    /// Times the rate without streams.
    TimesWithout,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// KiB.
    Kibibytes,
    /// MiB.
    Mebibytes,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::TimesEcho => format!("{value:.2} × echo"),
            Self::TimesBareGet => format!("{value:.2} × bare GET"),
            Self::TimesBefore => format!("{value:.2} × before"),
            Self::TimesPeer => format!("{value:.1} × peer"),
            Self::TimesOneReplica => format!("{value:.2} × one"),
            Self::TimesOneProcess => format!("{value:.2} × one process"),
            Self::PerSaga => format!("{value:.2} a saga"),
            Self::TimesWithout => format!("{value:.2} × without"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Kibibytes => format!("{value:.1} KiB"),
            Self::Mebibytes => format!("{value:.1} MiB"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "perSecond",
            Self::TimesEcho => "timesEcho",
            Self::TimesBareGet => "timesBareGet",
            Self::TimesBefore => "timesBefore",
            Self::TimesPeer => "timesPeer",
            Self::TimesOneReplica => "timesOneReplica",
            Self::TimesOneProcess => "timesOneProcess",
            Self::PerSaga => "perSaga",
            Self::TimesWithout => "timesWithout",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Kibibytes => "KiB",
            Self::Mebibytes => "MiB",
        }
    }
}

/// What a value has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Floor {
    AtLeast(f64),
    AtMost(f64),
}

impl Floor {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(low) => value >= low,
            Self::AtMost(high) => value <= high,
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(low) => format!("≥ {}", unit.show(low)),
            Self::AtMost(high) => format!("≤ {}", unit.show(high)),
        }
    }

    fn json(self) -> Value {
        match self {
            Self::AtLeast(low) => json!({ "atLeast": low }),
            Self::AtMost(high) => json!({ "atMost": high }),
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) title: String,
    /// What came out.
    pub(crate) value: f64,
    /// In what that is counted.
    pub(crate) unit: Unit,
    /// What it has to keep to, if anything.
    pub(crate) floor: Option<Floor>,
    /// What explains it, in words.
    pub(crate) note: String,
    /// What explains it, in numbers.
    pub(crate) details: Value,
}

impl Row {
    /// Whether the floor is met, if there is one.
    pub(crate) fn met(&self) -> Option<bool> {
        self.floor.map(|floor| floor.is_met(self.value))
    }

    /// In one line.
    pub(crate) fn words(&self) -> String {
        let verdict = if self.met() == Some(false) { " MISSED" } else { "" };
        let floor = self.floor.map_or_else(String::new, |f| format!(" ({})", f.show(self.unit)));
        format!("{}: {}{floor}{verdict}; {}", self.title, self.unit.show(self.value), self.note)
    }

    fn json(&self, measurement: &str) -> Value {
        json!({
            "measurement": measurement,
            "title": self.title,
            "value": self.value,
            "unit": self.unit.name(),
            "floor": self.floor.map(Floor::json),
            "met": self.met(),
            "note": self.note,
            "details": self.details,
        })
    }
}

/// What a measurement came to.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The lines of the table.
    pub(crate) rows: Vec<Row>,
    /// What is drawn.
    pub(crate) series: Series,
}

/// How the measurements were made.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Method {
    pub(crate) store: String,
    pub(crate) load: String,
    pub(crate) threads: u32,
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
    pub(crate) rounds: u32,
    pub(crate) quick: bool,
}

/// Everything that came out.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) method: Method,
    pub(crate) date: String,
    pub(crate) commit: String,
    rows: Vec<(String, Row)>,
    failures: Vec<(String, String)>,
    pub(crate) series: Series,
}

impl Report {
    /// A report without results.
    pub(crate) fn new(machine: Machine, method: Method, commit: String) -> Self {
        let date = jiff::Timestamp::from_microsecond(crate::fill::now().as_micros())
            .map_or_else(|_| "unknown".to_owned(), |now| format!("{now:.0}"));
        Self {
            machine,
            method,
            date,
            commit,
            rows: Vec::new(),
            failures: Vec::new(),
            series: Series::default(),
        }
    }

    /// Adds what a measurement came to.
    pub(crate) fn add(&mut self, measurement: &str, outcome: Fallible<Findings>) {
        match outcome {
            Ok(findings) => {
                let named = |row| (measurement.to_owned(), row);
                self.rows.extend(findings.rows.into_iter().map(named));
                self.series.extend(findings.series);
            }
            Err(reason) => self.failures.push((measurement.to_owned(), reason)),
        }
    }

    /// Whether nothing failed and every floor was met.
    pub(crate) fn is_good(&self) -> bool {
        self.failures.is_empty() && self.rows.iter().all(|(_, row)| row.met() != Some(false))
    }

    /// A table that can be pasted into a Markdown file.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["what", "measured", "floor", "met", "beside it"]);
        for (_, row) in &self.rows {
            let floor = row.floor.map_or_else(String::new, |floor| floor.show(row.unit));
            let met = match row.met() {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            table.add_row([&row.title, &row.unit.show(row.value), &floor, met, &row.note]);
        }
        for (measurement, reason) in &self.failures {
            let reason = reason.lines().next().unwrap_or_default();
            table.add_row([measurement, "FAILED", "", "NO", reason]);
        }
        table.to_string()
    }

    /// Why measurements failed, in full.
    pub(crate) fn failures(&self) -> impl Iterator<Item = String> {
        self.failures.iter().map(|(measurement, reason)| format!("{measurement} failed: {reason}"))
    }

    /// Writes it as JSON.
    pub(crate) fn write_json(&self, path: &Path) -> Fallible<()> {
        let rows: Vec<Value> = self.rows.iter().map(|(name, row)| row.json(name)).collect();
        let failures: Vec<Value> = self
            .failures
            .iter()
            .map(|(name, reason)| json!({ "measurement": name, "reason": reason }))
            .collect();
        let report = json!({
            "date": self.date,
            "commit": self.commit,
            "machine": self.machine,
            "method": self.method,
            "good": self.is_good(),
            "results": rows,
            "failures": failures,
        });
        let text = serde_json::to_string_pretty(&report)
            .map_err(|error| format!("can't write the report: {error}"))?;
        std::fs::write(path, text + "\n")
            .map_err(|error| format!("can't write {}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, floor: Option<Floor>) -> Row {
        let unit = Unit::Milliseconds;
        Row { title: "t".into(), value, unit, floor, note: String::new(), details: Value::Null }
    }

    #[test]
    fn a_floor_is_met_on_its_edge() {
        assert_eq!(row(10.0, None).met(), None);
        assert_eq!(row(10.0, Some(Floor::AtMost(10.0))).met(), Some(true));
        assert_eq!(row(10.1, Some(Floor::AtMost(10.0))).met(), Some(false));
        assert_eq!(row(0.0, Some(Floor::AtLeast(0.0))).met(), Some(true));
        assert_eq!(row(-0.1, Some(Floor::AtLeast(0.0))).met(), Some(false));
        assert_eq!(row(f64::NAN, Some(Floor::AtLeast(0.0))).met(), Some(false));
    }
}

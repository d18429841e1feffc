//! What `docs/OPERATIONS.md` and the dashboard say of settings and metrics, compared with the program.

#![allow(missing_docs, reason = "a test")]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use eventbooker_testkit::server::Installation;
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/OPERATIONS.md");
const DASHBOARD: &str = include_str!("../../../deploy/grafana/eventbooker.json");
const DOCKERFILE: &str = include_str!("../../../deploy/Dockerfile");
/// Metrics that are there after the first recount, ten minutes after the start, and where they come
/// from.
const LATE: [&str; 2] = ["eventbooker_recount_findings", "eventbooker_recount_timestamp_seconds"];
const LATE_SOURCE: &str = include_str!("../../engine/src/recount.rs");

fn installed() -> Installation {
    Installation::new(env!("CARGO_BIN_EXE_eventbooker"))
}

/// The lines of the page from a mark to the next `<!-- end -->`.
fn part(mark: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("<!-- {mark} -->\n")).expect("the page has the mark");
    rest.split_once("<!-- end -->").expect("it ends").0
}

/// The table of settings, as `serve --help` knows them.
fn settings(help: &str) -> String {
    let mut table =
        String::from("| flag | variable | key | default | meaning |\n|---|---|---|---|---|\n");
    let mut lines = help.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(flag) = line.trim_start().strip_prefix("--") else { continue };
        let name = flag.split([' ', '[', '=']).next().expect("a flag has a name");
        let mut text = Vec::new();
        while let Some(words) = lines.next_if(|line| line.starts_with("          ")) {
            text.push(words.trim());
        }
        let text = text.join(" ");
        let text = text.split(" [possible values").next().expect("there is something before it");
        let (meaning, default) = match text.split_once(" [default: ") {
            Some((meaning, default)) => {
                (meaning, format!("`{}`", default.strip_suffix(']').expect("it ends")))
            }
            None => (text, String::new()),
        };
        let key = name.replace('-', "_");
        // Where the file is can't stand in the file.
        let key_shown = if name == "config" { String::new() } else { format!("`{key}`") };
        writeln!(
            table,
            "| `--{name}` | `EVENTBOOKER_{}` | {key_shown} | {default} | {} |",
            key.to_uppercase(),
            meaning.trim_end_matches('.')
        )
        .expect("a text has room");
    }
    table
}

#[test]
fn the_page_has_every_setting() {
    let ran = installed().run(&["serve", "--help"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (_, options) = ran.stdout.split_once("Options:").expect("there are some");
    let (options, _) = options.split_once("  -h, --help").expect("help comes behind the settings");
    let expected = settings(options);
    assert!(expected.contains("`EVENTBOOKER_LISTEN`"), "{expected}");
    assert!(part("settings") == expected, "the page should have:\n{expected}");
}

/// What only `check` takes.
#[test]
fn the_page_has_what_check_can_be_told() {
    let ran = installed().run(&["check", "--help"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (_, options) = ran.stdout.split_once("Options:").expect("there are some");
    let (options, _) = options.split_once("  -h, --help").expect("help comes behind the settings");
    let of_all = part("settings");
    let of_check = settings(options);
    let is_listed = |row: &str| {
        let flag = row.split('`').nth(1).unwrap_or_default();
        row.starts_with("| `--") && of_all.contains(&format!("| `{flag}` |"))
    };
    let expected: String = of_check.split_inclusive('\n').filter(|row| !is_listed(row)).collect();
    assert!(expected.contains("`EVENTBOOKER_EVENTS_DATABASE`"), "{expected}");
    assert!(part("settings of check") == expected, "the page should have:\n{expected}");
}

/// The service refuses variables that it doesn't know.
#[test]
fn what_is_shipped_sets_only_what_there_is() {
    let known = [part("settings"), part("settings of check")].concat();
    for text in [PAGE, include_str!("../../../deploy/compose.yaml"), DOCKERFILE] {
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        for word in words.filter(|word| word.starts_with("EVENTBOOKER_")) {
            assert!(known.contains(&format!("`{word}`")), "there is no {word}");
        }
    }
    assert!(DOCKERFILE.contains("EVENTBOOKER_LISTEN"));
}

/// The names of all metrics.
fn metrics() -> BTreeSet<String> {
    let installation = installed();
    let server = installation.serve(&[]);
    let text = String::from_utf8(server.client().get("/metrics").body).expect("text");
    server.terminate();
    let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut names: BTreeSet<String> =
        described.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect();
    for late in LATE {
        assert!(LATE_SOURCE.contains(&format!("gauge!(\"{late}\")")), "there is no {late}");
        assert!(names.insert(late.to_owned()), "{late} is there from the start");
    }
    names
}

#[test]
fn the_page_has_every_metric_and_no_other() {
    let rows = part("metrics").lines().filter_map(|row| row.strip_prefix("| `"));
    let names: Vec<String> =
        rows.map(|row| row.split('`').next().unwrap_or_default().to_owned()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), metrics());
}

/// Everything under a key, however deep.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(key));
            members.values().for_each(|member| all(member, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<i64> =
        panels.iter().map(|panel| panel["id"].as_i64().expect("a number")).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have the same id");
    let mut queries = Vec::new();
    all(&dashboard, "expr", &mut queries);
    assert!(queries.len() >= panels.len(), "a panel asks for nothing");
    let known = metrics();
    let mut used = BTreeSet::new();
    for query in queries {
        let query = query.as_str().expect("text");
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("eventbooker_")) {
            let of_histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| word.strip_suffix(suffix))
                .find(|name| known.contains(*name));
            let name = of_histogram.unwrap_or(word);
            assert!(known.contains(name), "{query} asks for {word}");
            used.insert(name.to_owned());
        }
    }
    assert_eq!(used, known, "each metric is somewhere on the dashboard");
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use axum::http::HeaderValue;

use super::*;

/// Each text's name with the variables in it.
fn texts_of(language: Language) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut texts: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for source in language.sources() {
        let mut current = None;
        for line in source.lines() {
            if line.starts_with(|c: char| c.is_ascii_lowercase()) {
                let name = line.split_whitespace().next().expect("a name");
                assert!(texts.insert(name, BTreeSet::new()).is_none(), "{name} is there twice");
                current = Some(name);
            }
            let Some(variables) = current.and_then(|name| texts.get_mut(name)) else { continue };
            for rest in line.split('$').skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                variables.insert(&rest[..end]);
            }
        }
    }
    texts
}

/// Templates, and the sources of pages.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["templates", "src/pages"] {
        for entry in fs::read_dir(root.join(folder)).expect("the folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let text = fs::read_to_string(&path).expect("a text");
                files.push((path.display().to_string(), text));
            }
        }
    }
    files
}

/// What stands in quotes.
fn literals(source: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    source.split('"').filter(move |part| !part.is_empty() && part.chars().all(is_name))
}

#[test]
fn both_languages_say_the_same_things() {
    let [english, russian] = Language::ALL.map(texts_of);
    assert!(english.len() > 100, "they are read");
    assert_eq!(english, russian);
}

#[test]
fn every_text_that_is_asked_for_is_there_and_the_other_way_round() {
    let texts = texts_of(Language::English);
    let mut used = BTreeSet::new();
    for (file, source) in &sources() {
        used.extend(literals(source).map(str::to_owned));
        for (call, variable) in [(".say(\"", None), (".count(\"", Some("count"))] {
            for rest in source.split(call).skip(1) {
                let name = rest.split('"').next().expect("a name");
                let variables = texts.get(name).unwrap_or_else(|| panic!("{file}: no {name}"));
                assert!(variables.iter().eq(variable.iter()), "{file}: {name} with {variables:?}");
            }
        }
        for rest in source.split(".with(\"").skip(1) {
            let mut parts = rest.split('"');
            let (name, variable) = (parts.next().expect("a name"), parts.nth(1));
            let variables = texts.get(name).unwrap_or_else(|| panic!("{file}: no {name}"));
            assert!(variables.iter().copied().eq(variable), "{file}: {name} with {variables:?}");
        }
    }
    for name in texts.keys() {
        assert!(used.contains(*name), "nobody says {name}");
    }
}

#[test]
fn every_text_can_be_said() {
    for language in Language::ALL {
        let texts = Texts::of(language);
        for (name, variables) in texts_of(language) {
            for count in [0, 1, 2, 5, 11, 21, 22, 25, 111, 1_000_000] {
                let values: FluentArgs<'_> = variables
                    .iter()
                    .map(|variable| (*variable, FluentValue::from(count)))
                    .collect();
                let mut errors = Vec::new();
                let message = bundle(language).get_message(name).expect("a text");
                let pattern = message.value().expect("a value");
                let said = bundle(language).format_pattern(pattern, Some(&values), &mut errors);
                assert!(errors.is_empty(), "{name}: {errors:?}");
                assert!(!said.trim().is_empty() && !said.contains(['{', '}']), "{name}: {said}");
            }
        }
        assert_eq!(texts.say("there is none"), "");
    }
}

#[test]
fn plurals_are_right() {
    let [english, russian] = Language::ALL.map(Texts::of);
    for (count, in_english, in_russian) in [
        (0, "0 seats", "0 мест"),
        (1, "1 seat", "1 место"),
        (2, "2 seats", "2 места"),
        (5, "5 seats", "5 мест"),
        (11, "11 seats", "11 мест"),
        (12, "12 seats", "12 мест"),
        (21, "21 seats", "21 место"),
        (22, "22 seats", "22 места"),
        (111, "111 seats", "111 мест"),
        (1_234_567, "1,234,567 seats", "1\u{a0}234\u{a0}567 мест"),
    ] {
        assert_eq!(english.count("seats", count), in_english);
        assert_eq!(russian.count("seats", count), in_russian);
    }
    for (minutes, in_english, in_russian) in [
        (1, "1 minute", "1 минута"),
        (90, "90 minutes", "90 минут"),
        (60, "1 hour", "1 час"),
        (180, "3 hours", "3 часа"),
        (1440, "1 day", "1 день"),
        (43_200, "30 days", "30 дней"),
        (1500, "25 hours", "25 часов"),
    ] {
        assert_eq!(english.minutes(minutes), in_english);
        assert_eq!(russian.minutes(minutes), in_russian);
    }
}

#[test]
fn amounts_and_instants_are_written_as_each_language_does() {
    let [english, russian] = Language::ALL.map(Texts::of);
    for (minor, in_english, in_russian) in [
        (0, "0", "0"),
        (999, "999", "999"),
        (1500, "1,500", "1\u{a0}500"),
        (-1500, "\u{2212}1,500", "\u{2212}1\u{a0}500"),
        (i64::MAX, "9,223,372,036,854,775,807", "9 223 372 036 854 775 807"),
        (i64::MIN, "\u{2212}9,223,372,036,854,775,808", "\u{2212}9 223 372 036 854 775 808"),
    ] {
        let in_russian = in_russian.replace(' ', "\u{a0}");
        assert_eq!(english.amount(Money::from_minor(minor)), in_english);
        assert_eq!(russian.amount(Money::from_minor(minor)), in_russian);
    }
    let at = Timestamp::from_micros(1_795_290_937_000_001);
    assert_eq!(english.instant(at).text, "21 November 2026, 19:55 UTC");
    assert_eq!(russian.instant(at).text, "21 ноября 2026 г., 19:55 UTC");
    assert_eq!(english.instant(at).iso, "2026-11-21T19:55:37.000001Z");
    assert!(english.instant(Timestamp::from_micros(i64::MAX)).text.contains("9999"));
    assert!(english.instant(Timestamp::from_micros(0)).text.contains("1 January 1970"));
}

#[test]
fn the_language_is_the_chosen_one_or_else_the_one_that_is_liked_best() {
    use Language::{English, Russian};
    let table = [
        (None, None, English),
        (None, Some("ru"), Russian),
        (None, Some("ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7"), Russian),
        (None, Some("en-GB,en;q=0.9,ru;q=0.8"), English),
        (None, Some("en;q=0.5, RU;q=0.8"), Russian),
        (None, Some("de,fr;q=0.9,ru;q=0.1"), Russian),
        (None, Some("ru;q=0, en;q=0.1"), English),
        (None, Some("ru;q=nonsense"), English),
        (None, Some("de, *"), English),
        (Some("language=ru"), Some("en"), Russian),
        (Some("session_id=x; language=en"), Some("ru"), English),
        (Some("language=xx"), Some("ru"), Russian),
        (Some("xlanguage=en"), Some("ru"), Russian),
    ];
    for (cookie, accepted, language) in table {
        let mut headers = HeaderMap::new();
        for (name, value) in [(COOKIE, cookie), (ACCEPT_LANGUAGE, accepted)] {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        assert_eq!(Language::of_request(&headers), language, "{cookie:?} {accepted:?}");
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use axum::http::HeaderValue;
use axum::http::header::COOKIE;

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

/// Templates, and the sources of pages; not these tests themselves.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.join("templates"), root.join("src/pages")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let text = fs::read_to_string(&path).expect("a text");
                files.push((path.display().to_string(), text));
            } else if !path.ends_with("texts") {
                folders.push(path);
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

fn texts_in(language: Language) -> Texts {
    Texts::of(language, Zone::UTC)
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
        let texts = texts_in(language);
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
    let [english, russian] = Language::ALL.map(texts_in);
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
    let [english, russian] = Language::ALL.map(texts_in);
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

/// The first of these instants is in June, the second in December.
#[test]
fn instants_are_told_in_the_readers_zone_with_its_distance_from_utc() {
    const JUNE: i64 = 1_780_315_200_000_000;
    const DECEMBER: i64 = 1_796_126_400_000_000;
    for (name, in_june, in_december) in [
        ("UTC", "1 June 2026, 12:00 UTC", "1 December 2026, 12:00 UTC"),
        ("Etc/UTC", "1 June 2026, 12:00 UTC", "1 December 2026, 12:00 UTC"),
        ("Europe/London", "1 June 2026, 13:00 UTC+1", "1 December 2026, 12:00 UTC"),
        ("Europe/Moscow", "1 June 2026, 15:00 UTC+3", "1 December 2026, 15:00 UTC+3"),
        ("europe/berlin", "1 June 2026, 14:00 UTC+2", "1 December 2026, 13:00 UTC+1"),
        ("Asia/Kathmandu", "1 June 2026, 17:45 UTC+5:45", "1 December 2026, 17:45 UTC+5:45"),
        ("Asia/Calcutta", "1 June 2026, 17:30 UTC+5:30", "1 December 2026, 17:30 UTC+5:30"),
        ("America/New_York", "1 June 2026, 08:00 UTC−4", "1 December 2026, 07:00 UTC−5"),
        ("America/St_Johns", "1 June 2026, 09:30 UTC−2:30", "1 December 2026, 08:30 UTC−3:30"),
        ("Pacific/Kiritimati", "2 June 2026, 02:00 UTC+14", "2 December 2026, 02:00 UTC+14"),
    ] {
        let zone = Zone::named(name).expect("a zone");
        let told = |micros| {
            Texts::of(Language::English, zone).instant(Timestamp::from_micros(micros)).text
        };
        assert_eq!(told(JUNE), in_june, "{name}");
        assert_eq!(told(DECEMBER), in_december, "{name}");
        assert!(told(i64::MAX).contains("9999"), "{name}");
    }
    let moscow = Texts::of(Language::Russian, Zone::named("Europe/Moscow").expect("a zone"));
    let at = moscow.instant(Timestamp::from_micros(JUNE));
    assert_eq!(at.text, "1 июня 2026 г., 15:00 UTC+3");
    assert_eq!(at.iso, "2026-06-01T12:00:00Z", "programs read UTC");
}

#[test]
fn the_zone_is_the_one_that_the_browser_has_told_or_else_utc() {
    for (cookie, name) in [
        (None, "UTC"),
        (Some("zone=Europe/Moscow"), "Europe/Moscow"),
        (
            Some("session_id=x; zone=America/Argentina/Buenos_Aires; language=ru"),
            "America/Argentina/Buenos_Aires",
        ),
        (Some("zone=Etc/GMT+5"), "Etc/GMT+5"),
        (Some("zone=ASIA/TOKYO"), "Asia/Tokyo"),
        (Some("zone=UTC"), "UTC"),
        (Some("zone="), "UTC"),
        (Some("zone"), "UTC"),
        (Some("xzone=Europe/Moscow"), "UTC"),
        (Some("zone=Europe"), "UTC"),
        (Some("zone=Europe/Nowhere"), "UTC"),
        (Some("zone=Etc/Unknown"), "UTC"),
        (Some("zone=../../etc/passwd"), "UTC"),
        (Some("zone=/usr/share/zoneinfo/Europe/Moscow"), "UTC"),
        (Some("zone=Europe%2FMoscow"), "UTC"),
        (Some("zone=<script>alert(1)</script>"), "UTC"),
        (Some("zone=+03:00"), "UTC"),
        (Some("zone=Europe/Moscow; zone=Asia/Tokyo"), "Europe/Moscow"),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(cookie) = cookie {
            headers.insert(COOKIE, HeaderValue::from_static(cookie));
        }
        assert_eq!(Texts::of_request(&headers).zone().name(), name, "{cookie:?}");
    }
    // A page that was made before the browser had told its zone stays in the one that it has.
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, HeaderValue::from_static("zone=Europe/Moscow"));
    for (of_page, name) in [
        ("UTC", "UTC"),
        ("Asia/Tokyo", "Asia/Tokyo"),
        ("Nowhere", "Europe/Moscow"),
        ("", "Europe/Moscow"),
    ] {
        headers.insert("time-zone", HeaderValue::from_static(of_page));
        assert_eq!(Texts::of_request(&headers).zone().name(), name, "{of_page:?}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, HeaderValue::from_bytes(b"zone=\xff").expect("a value"));
    assert_eq!(Texts::of_request(&headers).zone().name(), "UTC");
    let long = format!("zone={}", "x".repeat(100_000));
    headers.insert(COOKIE, HeaderValue::try_from(long).expect("a value"));
    assert_eq!(Texts::of_request(&headers).zone().name(), "UTC");
}

#[test]
fn every_zone_of_the_database_can_be_read() {
    let names = jiff::tz::TimeZoneDatabase::bundled();
    let mut count = 0;
    for name in names.available() {
        assert!(Zone::named(name.as_str()).is_some(), "{name}");
        count += 1;
    }
    assert!(count > 500, "{count} zones");
}

#[test]
fn a_date_that_is_typed_is_an_instant_of_its_zone() {
    use DateFault::{NotOne, Skipped};
    let table: [(&str, &str, Result<&str, DateFault>); 27] = [
        ("UTC", "2026-11-22T19:00", Ok("2026-11-22T19:00:00Z")),
        ("Europe/Moscow", "2026-11-22T19:00", Ok("2026-11-22T16:00:00Z")),
        ("Europe/Moscow", " 2026-11-22 19:00 ", Ok("2026-11-22T16:00:00Z")),
        ("Europe/Moscow", "2026-11-22T19:00:30", Ok("2026-11-22T16:00:30Z")),
        ("America/New_York", "2026-07-04T23:30", Ok("2026-07-05T03:30:00Z")),
        // Clocks are put forward: from 02:00 to 03:00 in Berlin, from 00:00 to 01:00 in Beirut, by
        // half an hour on Lord Howe Island; Samoa once skipped a whole day.
        ("Europe/Berlin", "2027-03-28T01:59", Ok("2027-03-28T00:59:00Z")),
        ("Europe/Berlin", "2027-03-28T02:00", Err(Skipped)),
        ("Europe/Berlin", "2027-03-28T02:59", Err(Skipped)),
        ("Europe/Berlin", "2027-03-28T03:00", Ok("2027-03-28T01:00:00Z")),
        ("Asia/Beirut", "2027-03-28T00:30", Err(Skipped)),
        ("Australia/Lord_Howe", "2026-10-04T02:15", Err(Skipped)),
        ("Australia/Lord_Howe", "2026-10-04T02:30", Ok("2026-10-03T15:30:00Z")),
        ("Pacific/Apia", "2011-12-30T12:00", Err(Skipped)),
        // Clocks are put back: the hour is there twice, and the earlier one counts.
        ("Europe/Berlin", "2026-10-25T01:59", Ok("2026-10-24T23:59:00Z")),
        ("Europe/Berlin", "2026-10-25T02:30", Ok("2026-10-25T00:30:00Z")),
        ("Europe/Berlin", "2026-10-25T03:00", Ok("2026-10-25T02:00:00Z")),
        ("America/New_York", "2026-11-01T01:30", Ok("2026-11-01T05:30:00Z")),
        // The same far ahead, where the database holds rules instead of dates.
        ("Europe/Berlin", "2090-03-26T02:30", Err(Skipped)),
        // What is no date, or says more than it may.
        ("UTC", "", Err(NotOne)),
        ("UTC", "tomorrow", Err(NotOne)),
        ("UTC", "2026-11-22", Err(NotOne)),
        ("UTC", "2026-02-29T19:00", Err(NotOne)),
        ("UTC", "2026-11-22T24:00", Err(NotOne)),
        ("UTC", "2026-11-22T19:00Z", Err(NotOne)),
        ("UTC", "2026-11-22T19:00+03:00", Err(NotOne)),
        ("UTC", "22.11.2026 19:00", Err(NotOne)),
        ("America/New_York", "9999-12-31T23:59", Err(NotOne)),
    ];
    for (zone, typed, instant) in table {
        let read = Zone::named(zone).expect("a zone").instant(typed);
        let read = read.map(|at| {
            jiff::Timestamp::from_microsecond(at.as_micros()).expect("in range").to_string()
        });
        assert_eq!(read.as_deref(), instant.as_ref().map(|at| &**at), "{typed} in {zone}");
    }
}

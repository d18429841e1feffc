//! What pages say, in English and Russian: the texts stand in `locales/`, one file for each part of
//! the pages, with the same names in both languages.
//!
//! Amounts go into texts as texts, already grouped: Fluent's numbers are floats, and an amount may
//! be larger than those hold. Counts go in as numbers, so that plurals are right.

mod zone;

use std::fmt::Display;
use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;
use eventbooker_core::{Money, Timestamp};
use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

pub(crate) use self::zone::{DateFault, Zone};
use crate::request::cookie;

/// The cookie that a reader's choice of a language is kept in.
pub(crate) const LANGUAGE_COOKIE: &str = "language";

/// A language that pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Russian,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::Russian];

    /// The language with this tag, whatever region it names.
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        let main = tag.split('-').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(main))
    }

    /// What a reader has chosen here, or else what the browser asks for.
    pub(crate) fn of_request(headers: &HeaderMap) -> Self {
        chosen(headers).or_else(|| asked_for(headers)).unwrap_or(Self::English)
    }

    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Russian => "ru",
        }
    }

    /// What stands between groups of three digits; as browsers write numbers, so that a number
    /// looks the same after a script has put a newer one in its place.
    const fn digit_group_separator(self) -> char {
        match self {
            Self::English => ',',
            Self::Russian => '\u{a0}',
        }
    }

    const fn sources(self) -> [&'static str; 4] {
        match self {
            Self::English => [
                include_str!("../../locales/en/pages.ftl"),
                include_str!("../../locales/en/attendee.ftl"),
                include_str!("../../locales/en/organiser.ftl"),
                include_str!("../../locales/en/troubles.ftl"),
            ],
            Self::Russian => [
                include_str!("../../locales/ru/pages.ftl"),
                include_str!("../../locales/ru/attendee.ftl"),
                include_str!("../../locales/ru/organiser.ftl"),
                include_str!("../../locales/ru/troubles.ftl"),
            ],
        }
    }
}

fn chosen(headers: &HeaderMap) -> Option<Language> {
    Language::of_tag(cookie(headers, LANGUAGE_COOKIE)?)
}

/// Of the languages that the browser asks for the one that it likes best and that is spoken here.
fn asked_for(headers: &HeaderMap) -> Option<Language> {
    let lines = headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|line| line.to_str().ok());
    let asked = lines.flat_map(|line| line.split(',')).filter_map(|range| {
        let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
        let weight: f32 = weight.trim().strip_prefix("q=")?.parse().ok()?;
        Some((Language::of_tag(tag)?, weight)).filter(|_| weight > 0.0)
    });
    // Of several that are liked as much, the first.
    let best = asked.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(language, _)| language)
}

/// The texts of one language, with times in one zone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Texts {
    language: Language,
    zone: Zone,
}

impl Texts {
    pub(crate) const fn of(language: Language, zone: Zone) -> Self {
        Self { language, zone }
    }

    /// In the reader's language and zone.
    pub(crate) fn of_request(headers: &HeaderMap) -> Self {
        Self::of(Language::of_request(headers), Zone::of_request(headers).unwrap_or(Zone::UTC))
    }

    /// The zone that times are in.
    pub(crate) const fn zone(self) -> Zone {
        self.zone
    }

    /// The language's tag.
    pub(crate) const fn tag(self) -> &'static str {
        self.language.tag()
    }

    /// Whether this is the language with that tag.
    pub(crate) fn is(self, tag: &str) -> bool {
        self.tag() == tag
    }

    /// A text.
    pub(crate) fn say(self, name: &str) -> String {
        self.all(name, &FluentArgs::new())
    }

    /// A text about a number of things.
    pub(crate) fn count(self, name: &str, count: u32) -> String {
        self.all(name, &FluentArgs::from_iter([("count", count)]))
    }

    /// A text with another one put in.
    pub(crate) fn with(self, name: &str, variable: &str, value: impl Display) -> String {
        self.all(name, &FluentArgs::from_iter([(variable, value.to_string())]))
    }

    /// A text with several things put in.
    pub(crate) fn all(self, name: &str, values: &FluentArgs<'_>) -> String {
        let bundle = bundle(self.language);
        let pattern = bundle.get_message(name).and_then(|message| message.value());
        let Some(pattern) = pattern else {
            // A test looks for names that no file has; a page without a word is better than none.
            tracing::error!(name, "a text is missing");
            return String::new();
        };
        bundle.format_pattern(pattern, Some(values), &mut Vec::new()).into_owned()
    }

    /// A number, with its digits in groups.
    pub(crate) fn number(self, number: impl Into<i64>) -> String {
        grouped(number.into(), self.language)
    }

    /// An amount of money. The installation's currency has no name, so it is a plain number.
    pub(crate) fn amount(self, amount: Money) -> String {
        grouped(amount.as_minor(), self.language)
    }

    /// An amount that may not be known just now.
    pub(crate) fn amount_if_known(self, amount: Option<Money>) -> String {
        amount.map_or_else(|| self.say("unknown-for-now"), |amount| self.amount(amount))
    }

    /// An instant, for people and for programs.
    pub(crate) fn instant(self, at: Timestamp) -> Instant {
        const MONTHS: [&str; 12] = [
            "month-1", "month-2", "month-3", "month-4", "month-5", "month-6", "month-7", "month-8",
            "month-9", "month-10", "month-11", "month-12",
        ];
        // What can't be written is the end of a window that saturated; no page is about years that far.
        let instant =
            jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(jiff::Timestamp::MAX);
        let local = self.zone.at(instant);
        let month = usize::try_from(local.month() - 1).unwrap_or_default();
        let values = FluentArgs::from_iter([
            ("day", FluentValue::from(local.day().to_string())),
            ("month", self.say(MONTHS[month]).into()),
            ("year", local.year().to_string().into()),
            ("time", format!("{:02}:{:02}", local.hour(), local.minute()).into()),
            ("offset", zone::offset_text(local.offset()).into()),
        ]);
        Instant { iso: instant.to_string(), text: self.all("instant", &values) }
    }

    /// A span of so many minutes, in the largest unit that is whole.
    pub(crate) fn minutes(self, minutes: u32) -> String {
        match minutes {
            days if minutes > 0 && minutes.is_multiple_of(24 * 60) => {
                self.count("days", days / (24 * 60))
            }
            hours if minutes > 0 && minutes.is_multiple_of(60) => self.count("hours", hours / 60),
            minutes => self.count("minutes", minutes),
        }
    }
}

/// An instant as a page shows it.
pub(crate) struct Instant {
    /// For the attribute `datetime`.
    pub(crate) iso: String,
    /// For people.
    pub(crate) text: String,
}

fn grouped(number: i64, language: Language) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    if number < 0 {
        text.push('\u{2212}');
    }
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(language.digit_group_separator());
        }
        text.push(digit);
    }
    text
}

type Bundle = FluentBundle<FluentResource>;

fn bundle(language: Language) -> &'static Bundle {
    static ENGLISH: LazyLock<Bundle> = LazyLock::new(|| read(Language::English));
    static RUSSIAN: LazyLock<Bundle> = LazyLock::new(|| read(Language::Russian));
    match language {
        Language::English => &ENGLISH,
        Language::Russian => &RUSSIAN,
    }
}

fn read(language: Language) -> Bundle {
    let tag: LanguageIdentifier = language.tag().parse().expect("a tag");
    let mut bundle = Bundle::new_concurrent(vec![tag]);
    // Both languages run from left to right, so nothing that is put in has to be marked off.
    bundle.set_use_isolating(false);
    bundle.set_formatter(Some(match language {
        Language::English => |value, _| counted(value, Language::English),
        Language::Russian => |value, _| counted(value, Language::Russian),
    }));
    for source in language.sources() {
        let resource = FluentResource::try_new(source.to_owned())
            .unwrap_or_else(|(_, errors)| panic!("{language:?}: {errors:?}"));
        bundle.add_resource(resource).unwrap_or_else(|errors| panic!("{language:?}: {errors:?}"));
    }
    bundle
}

fn counted(value: &FluentValue<'_>, language: Language) -> Option<String> {
    let FluentValue::Number(number) = value else { return None };
    #[expect(clippy::cast_possible_truncation, reason = "only counts of 32 bits are put in")]
    Some(grouped(number.value as i64, language))
}

#[cfg(test)]
mod tests;

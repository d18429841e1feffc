//! Time zones: the reader's, in which pages show times, and the one in which an organiser types them.
//!
//! A browser's zone isn't told to servers, so a script of the pages writes it into a cookie, and pages
//! are in that zone from the next one on. Until then, and without scripts, they are in UTC. Whatever is
//! shown says how far it is from UTC, so that nobody is misled either way. A part of a page that is looked
//! up again says in a header which zone the page is in, and stays in that.
//!
//! The zones are those of the tz database that is built in, so every installation knows the same.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use axum::http::HeaderMap;
use eventbooker_core::Timestamp;
use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use crate::request::cookie;

/// The header in which a page that is shown tells its zone.
const ZONE_HEADER: &str = "time-zone";
/// The cookie that the script writes the browser's zone into.
const ZONE_COOKIE: &str = "zone";

/// A time zone with a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Zone(&'static TimeZone);

/// Why a date and time that somebody typed is no instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DateFault {
    /// It is no date with a time.
    NotOne,
    /// The zone's clocks skip it, because they are put forward.
    Skipped,
}

impl Zone {
    pub(crate) const UTC: Self = Self(&UTC);

    /// The zone with this name in the tz database, in either case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        let (name, zone) = zones().get_key_value(&name)?;
        let read =
            || TimeZoneDatabase::bundled().get(name).expect("what the bundle lists it holds");
        Some(Self(zone.get_or_init(read)))
    }

    /// The zone of the page that asks, or else the one that the reader's browser has told.
    pub(crate) fn of_request(headers: &HeaderMap) -> Option<Self> {
        let of_page = headers.get(ZONE_HEADER).and_then(|zone| zone.to_str().ok());
        of_page.and_then(Self::named).or_else(|| Self::named(cookie(headers, ZONE_COOKIE)?))
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// An instant by this zone's clocks.
    pub(crate) fn at(self, at: jiff::Timestamp) -> Zoned {
        at.to_zoned(self.0.clone())
    }

    /// The instant that this zone's clocks call so, as a browser's field for date and time writes it. Of
    /// two, when they are put back, the earlier.
    pub(crate) fn instant(self, typed: &str) -> Result<Timestamp, DateFault> {
        let typed = typed.trim().replacen(' ', "T", 1);
        // No zone of its own may stand in it: it would be passed over.
        let formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
        let read = formats.iter().find_map(|format| DateTime::strptime(format, &typed).ok());
        let called = self.0.to_ambiguous_timestamp(read.ok_or(DateFault::NotOne)?);
        if let AmbiguousOffset::Gap { .. } = called.offset() {
            return Err(DateFault::Skipped);
        }
        let instant = called.earlier().map_err(|_| DateFault::NotOne)?;
        Ok(Timestamp::from_micros(instant.as_microsecond()))
    }
}

/// How far clocks are from UTC.
pub(super) fn offset_text(offset: Offset) -> String {
    let seconds = offset.seconds();
    if seconds == 0 {
        return "UTC".to_owned();
    }
    let sign = if seconds < 0 { '\u{2212}' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    match minutes % 60 {
        0 => format!("UTC{sign}{}", minutes / 60),
        rest => format!("UTC{sign}{}:{rest:02}", minutes / 60),
    }
}

static UTC: TimeZone = TimeZone::UTC;

/// Every zone by its name in small letters. One is read when somebody asks for it.
fn zones() -> &'static BTreeMap<String, OnceLock<TimeZone>> {
    static ZONES: LazyLock<BTreeMap<String, OnceLock<TimeZone>>> = LazyLock::new(|| {
        let names = TimeZoneDatabase::bundled();
        let names = names.available().map(|name| name.as_str().to_ascii_lowercase());
        names.map(|name| (name, OnceLock::new())).collect()
    });
    &ZONES
}

//! An event's live bookings as a CSV file (RFC 4180), for whoever wants them in a spreadsheet.
//!
//! The file is written while it is sent, page by page, so that however many bookings there are little
//! of it is in memory. If a page can't be read, the answer breaks off without its end: a client sees that
//! it failed, and nobody takes half a list for all of it.
//!
//! Headings and times are the same for every reader, so that a program can read the file. It begins with
//! the mark by which spreadsheets know UTF-8.

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use eventbooker_core::bookings::State as BookingState;
use eventbooker_core::identity::Profile;
use eventbooker_core::{BookingId, EventId, Timestamp};
use eventbooker_engine::{Engine, Guest};
use eventbooker_store::StoreError;
use futures_util::{StreamExt as _, stream};

use super::super::Organiser;
use crate::events::no_such_event;
use crate::problem::Problem;
use crate::request::PathId;
use crate::state::Web;

/// Bookings that are read and sent at once.
const PAGE_ROWS: u32 = 500;
const HEADING: &str = "\u{feff}booking,event,user,login,first_name,last_name,email,seats,amount,\
                       status,created_at,expires_at\r\n";

pub(super) async fn download(
    State(web): State<Web>,
    Organiser { .. }: Organiser,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let id = EventId::new(id);
    let engine = web.engine().clone();
    engine.events().event(id).await?.ok_or_else(no_such_event)?;
    // What can't even be begun is told as what it is.
    let first = rows(&engine, id, None).await?;
    let heading = Bytes::from_static(HEADING.as_bytes());
    let rest = stream::unfold(first.next, move |next| {
        let engine = engine.clone();
        async move {
            let before = next?;
            match rows(&engine, id, Some(before)).await {
                Ok(page) => Some((Ok(page.text), page.next)),
                Err(error) => {
                    tracing::warn!(%error, event = id.get(), "an export broke off");
                    Some((Err(error), None))
                }
            }
        }
    });
    let begun = stream::iter([Ok::<_, StoreError>(heading), Ok(first.text)]);
    let file = format!("attachment; filename=\"bookings-{id}.csv\"");
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (CONTENT_DISPOSITION, file),
    ];
    Ok((headers, Body::from_stream(begun.chain(rest))).into_response())
}

/// Some rows of the file.
struct Page {
    text: Bytes,
    next: Option<BookingId>,
}

async fn rows(engine: &Engine, id: EventId, before: Option<BookingId>) -> Result<Page, StoreError> {
    let page = engine.guests(id, None, before, PAGE_ROWS).await?;
    let mut text = String::with_capacity(page.guests.len() * 128);
    for guest in &page.guests {
        write_row(&mut text, guest);
    }
    Ok(Page { text: text.into(), next: page.next })
}

fn write_row(text: &mut String, Guest { at, owner }: &Guest) {
    let booking = &at.booking;
    let status = match booking.state {
        BookingState::Occupying
        | BookingState::Occupied
        | BookingState::Paying
        | BookingState::Completing => "pending",
        BookingState::Complete => "confirmed",
        BookingState::Refunding
        | BookingState::Releasing
        | BookingState::Expiring
        | BookingState::Cancelled => "cancelled",
    };
    let nobody = Profile {
        login: String::new(),
        email: String::new(),
        first_name: String::new(),
        last_name: String::new(),
    };
    let Profile { login, email, first_name, last_name } = owner.as_ref().unwrap_or(&nobody);
    let [login, first_name, last_name, email] =
        [login, first_name, last_name, email].map(|text| cell(text));
    let (seats, amount) = (booking.seats, booking.amount.as_minor());
    let [created_at, expires_at] = [booking.created_at, booking.expires_at].map(rfc_3339);
    let (id, event_id, user_id) = (booking.id, booking.event_id, booking.user_id);
    write!(
        text,
        "{id},{event_id},{user_id},{login},{first_name},{last_name},{email},{seats},{amount},\
         {status},{created_at},{expires_at}\r\n"
    )
    .expect("writing to a String cannot fail");
}

fn rfc_3339(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(jiff::Timestamp::MAX);
    at.to_string()
}

/// A text that others wrote, quoted, and such that no spreadsheet takes it for a formula.
///
/// A cell that begins with one of `= + - @` is computed, whatever quotes stand around it; an apostrophe
/// before it makes it text. A spreadsheet may split at another separator than the comma, as it does where
/// the comma is for decimals, and then a cell also begins behind a separator within a text.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + 2);
    cell.push('"');
    let mut begins = true;
    for (place, c) in text.char_indices() {
        if begins && is_computed(&text[place..]) {
            cell.push('\'');
        }
        begins = is_separator(c);
        if c == '"' {
            cell.push('"');
        }
        cell.push(c);
    }
    cell.push('"');
    cell
}

/// Whether a cell with this text would be computed; some skip spaces and quotes before a formula.
fn is_computed(text: &str) -> bool {
    let first = text.chars().find(|c| *c != '"' && *c != ' ' && *c != '\u{a0}');
    let is_formula = |c| matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    first.is_some_and(is_formula) || text.starts_with(['\t', '\r', '\n', '\0'])
}

fn is_separator(c: char) -> bool {
    matches!(c, ',' | ';' | '|' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_computed_is_marked_as_text() {
        for (text, written) in [
            ("", r#""""#),
            ("Анна", r#""Анна""#),
            ("O'Neill, Ann", r#""O'Neill, Ann""#),
            (r#"say "hi""#, r#""say ""hi""""#),
            ("a-b+c=d@e", r#""a-b+c=d@e""#),
            ("=1+1", r#""'=1+1""#),
            ("+1", r#""'+1""#),
            ("-1", r#""'-1""#),
            ("@SUM(A1)", r#""'@SUM(A1)""#),
            ("＝1", r#""'＝1""#),
            ("  =1", r#""'  =1""#),
            ("\"=1", r#""'""=1""#),
            ("\tx", "\"'\tx\""),
            ("\rx", "\"'\rx\""),
            ("x;=1", r#""x;'=1""#),
            ("x; \"=1\"", r#""x;' ""=1""""#),
            ("x,@y|-z\n+1", "\"x,'@y|'-z\n'+1\""),
            ("x;;=1", r#""x;;'=1""#),
            ("=;=", r#""'=;'=""#),
        ] {
            assert_eq!(cell(text), written, "{text:?}");
        }
    }
}

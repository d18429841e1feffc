//! Reads the fields of a JSON body and collects every bad one, instead of stopping at the first.
//!
//! A handler takes what it knows and asks at the end whether all was well:
//!
//! ```
//! # use eventbooker_web::{fields::Fields, problem::Problem};
//! # fn handler(body: &[u8]) -> Result<(), Problem> {
//! let mut fields = Fields::parse(body)?;
//! let name = fields.text("name");
//! let capacity = fields.integer("capacity");
//! let price = fields.optional_integer("price").unwrap_or(0);
//! fields.finish()?; // from here on every value is a real one
//! # Ok(()) }
//! # handler(br#"{"name":"n","capacity":2}"#).unwrap();
//! ```
//!
//! Invariants: a take of a bad field returns a placeholder (`""`, 0, `None`), and then
//! [`Fields::finish`] is an error; a field that was never taken is unknown, and an error too; a
//! member that stands twice in the object is malformed, because two readers could disagree about
//! which one counts.
//!
//! Absent on purpose: rules (a capacity of 0 is a fine integer; the core refuses it), and derive
//! macros, which stop at the first error and cannot say what was got.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use crate::problem::{FieldError, Problem, ProblemKind};

/// The members of a JSON object that have not been taken yet, and what was wrong with those that
/// have.
#[derive(Debug)]
#[must_use = "finish() tells whether the fields were good"]
pub struct Fields {
    left: Vec<(String, Value)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Reads the body as a JSON object.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(malformed("the body is empty, expected a JSON object"));
        }
        let body: ParsedBody = serde_json::from_slice(body)
            .map_err(|error| malformed(format!("the body is not a JSON object: {error}")))?;
        match body {
            ParsedBody::Object(left) => Ok(Self { left, known: Vec::new(), errors: Vec::new() }),
            ParsedBody::Other(kind) => {
                Err(malformed(format!("the body is {kind}, expected a JSON object")))
            }
        }
    }

    /// As [`Fields::parse`], but `None` for a body that is empty, blank, `null` or `{}`.
    pub fn parse_optional(body: &[u8]) -> Result<Option<Self>, Problem> {
        if matches!(body.trim_ascii(), b"" | b"null") {
            return Ok(None);
        }
        let fields = Self::parse(body)?;
        Ok(if fields.left.is_empty() { None } else { Some(fields) })
    }

    /// A text that must be there; empty as a placeholder.
    pub fn text(&mut self, field: &'static str) -> String {
        self.required(field, text).unwrap_or_default()
    }

    /// A text that may be left out.
    pub fn optional_text(&mut self, field: &'static str) -> Option<String> {
        self.optional(field, text)
    }

    /// A whole number that must be there; 0 as a placeholder.
    pub fn integer(&mut self, field: &'static str) -> i64 {
        self.required(field, integer).unwrap_or_default()
    }

    /// A whole number that may be left out.
    pub fn optional_integer(&mut self, field: &'static str) -> Option<i64> {
        self.optional(field, integer)
    }

    /// An instant that must be there, in microseconds since the epoch; 0 as a placeholder.
    pub fn timestamp(&mut self, field: &'static str) -> i64 {
        self.required(field, timestamp).unwrap_or_default()
    }

    /// An instant that may be left out, in microseconds since the epoch.
    pub fn optional_timestamp(&mut self, field: &'static str) -> Option<i64> {
        self.optional(field, timestamp)
    }

    /// Ends the reading: one problem with every bad, missing and unknown field, if there is any.
    pub fn finish(mut self) -> Result<(), Problem> {
        for (field, _) in std::mem::take(&mut self.left) {
            let detail = format!("is unknown, expected only {}", self.known.join(", "));
            // The name comes from the client; a long one is cut, so that the answer stays small.
            self.errors.push(FieldError::new(shortened(&field, 60), detail));
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::of_fields(ProblemKind::InvalidValue, self.errors))
        }
    }

    fn required<T>(&mut self, field: &'static str, read: Reader<T>) -> Option<T> {
        let value = self.take(field);
        if value.is_none() {
            self.errors.push(FieldError::new(field, "is required"));
        }
        self.read(field, &value?, read)
    }

    fn optional<T>(&mut self, field: &'static str, read: Reader<T>) -> Option<T> {
        let value = self.take(field)?;
        self.read(field, &value, read)
    }

    fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        let at = self.left.iter().position(|(name, _)| name == field)?;
        Some(self.left.remove(at).1)
    }

    fn read<T>(&mut self, field: &'static str, value: &Value, read: Reader<T>) -> Option<T> {
        match read(value) {
            Ok(value) => Some(value),
            Err(detail) => {
                self.errors.push(FieldError::new(field, detail));
                None
            }
        }
    }
}

type Reader<T> = fn(&Value) -> Result<T, Cow<'static, str>>;

fn malformed(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(ProblemKind::MalformedBody, detail)
}

fn text(value: &Value) -> Result<String, Cow<'static, str>> {
    let Some(text) = value.as_str() else {
        return Err(format!("must be a string, got {}", described(value)).into());
    };
    if text.contains('\0') {
        // PostgreSQL cannot store it, and nobody types it.
        return Err("must not contain the character U+0000".into());
    }
    Ok(text.to_owned())
}

fn integer(value: &Value) -> Result<i64, Cow<'static, str>> {
    if let Value::Number(number) = value {
        if let Some(integer) = number.as_i64() {
            return Ok(integer);
        }
        // JSON Schema, and so the API's description, counts 2.0 and 2e0 as integers. Up to 2^53 a
        // float is exact.
        if let Some(float) = number.as_f64()
            && float.fract() == 0.0
            && float.abs() <= 9_007_199_254_740_992.0
        {
            #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53 fits")]
            return Ok(float as i64);
        }
        if number.is_u64() || number.as_f64().is_some_and(|float| float.fract() == 0.0) {
            return Err(format!(
                "must lie between {} and {}, got {}",
                i64::MIN,
                i64::MAX,
                described(value)
            )
            .into());
        }
    }
    Err(format!("must be a whole number, got {}", described(value)).into())
}

fn timestamp(value: &Value) -> Result<i64, Cow<'static, str>> {
    // jiff reads more than RFC 3339 (week dates, years of six digits, zone names); the contract
    // does not.
    if let Some(text) = value.as_str()
        && has_rfc3339_shape(text.as_bytes())
        && let Ok(instant) = text.parse::<Timestamp>()
    {
        return Ok(instant.as_microsecond());
    }
    Err(format!(
        "must be an RFC 3339 date-time such as 2030-05-01T18:00:00Z, got {}",
        described(value)
    )
    .into())
}

/// Whether it is `YYYY-MM-DDThh:mm:ss[.f+](Z|±hh:mm)`; the ranges are jiff's to check.
fn has_rfc3339_shape(text: &[u8]) -> bool {
    const DATE_TIME: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let fits = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, place)| match place {
                b'd' => byte.is_ascii_digit(),
                b'T' => byte.eq_ignore_ascii_case(&b'T'),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    let Some((date_time, rest)) = text.split_at_checked(DATE_TIME.len()) else {
        return false;
    };
    let zone = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        _ => rest,
    };
    fits(date_time, DATE_TIME) && (zone.eq_ignore_ascii_case(b"Z") || fits(zone, b"+dd:dd"))
}

/// What was got, for a person; long texts are cut.
fn described(value: &Value) -> Cow<'static, str> {
    match value {
        Value::Null => "null".into(),
        Value::Bool(true) => "true".into(),
        Value::Bool(false) => "false".into(),
        Value::Number(number) => format!("the number {number}").into(),
        Value::String(text) => format!("the string {:?}", shortened(text, 40)).into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A body as read: its members in the order in which they stand, or what it was instead of an
/// object.
enum ParsedBody {
    Object(Vec<(String, Value)>),
    Other(&'static str),
}

impl<'de> Deserialize<'de> for ParsedBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = ParsedBody;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParsedBody, A::Error> {
        /// No call has more than a handful of fields; a linear search for doubles must not become
        /// quadratic work.
        const MEMBERS_MAX: usize = 64;

        let mut members: Vec<(String, Value)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom("more than 64 members"));
            }
            if members.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format!(
                    "the member {:?} stands twice",
                    shortened(&name, 40)
                )));
            }
            members.push((name, map.next_value()?));
        }
        Ok(ParsedBody::Object(members))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<ParsedBody, A::Error> {
        while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(ParsedBody::Other("an array"))
    }

    fn visit_str<E>(self, _: &str) -> Result<ParsedBody, E> {
        Ok(ParsedBody::Other("a string"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<ParsedBody, E> {
        Ok(ParsedBody::Other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<ParsedBody, E> {
        Ok(ParsedBody::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<ParsedBody, E> {
        Ok(ParsedBody::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<ParsedBody, E> {
        Ok(ParsedBody::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<ParsedBody, E> {
        Ok(ParsedBody::Other("null"))
    }
}

#[cfg(test)]
mod tests;

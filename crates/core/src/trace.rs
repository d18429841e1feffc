//! Where in a trace something happens, as the W3C recommendation
//! [Trace Context](https://www.w3.org/TR/trace-context-1/) names it and writes it into `traceparent`.
//!
//! A trace is everything that follows from one request, in however many processes; a span is one
//! piece of work in it. Neither changes what is decided: they are handed on and told.
//!
//! Absent on purpose: `tracestate`, which is for whoever traces and not for those who are traced.

use std::fmt;
use std::str::FromStr;

/// Names a trace. Never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Names a span of a trace. Never all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

macro_rules! id {
    ($name:ident, $length:literal) => {
        impl $name {
            /// The identifier of these bytes; none if they are all zero.
            pub const fn new(bytes: [u8; $length]) -> Option<Self> {
                let mut place = 0;
                while place < $length {
                    if bytes[place] != 0 {
                        return Some(Self(bytes));
                    }
                    place += 1;
                }
                None
            }

            /// Its bytes.
            pub const fn bytes(self) -> [u8; $length] {
                self.0
            }

            fn read(digits: &[u8]) -> Option<Self> {
                let mut bytes = [0; $length];
                for (byte, digits) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = read_byte(digits)?;
                }
                Self::new(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [0; 2 * $length];
                write_bytes(&mut digits, &self.0);
                f.write_str(text(&digits))
            }
        }
    };
}

id!(TraceId, 16);
id!(SpanId, 8);

/// A span of a trace, for whoever works on in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that caused what follows.
    pub parent_id: SpanId,
    /// Whether somebody before may have recorded it.
    pub is_sampled: bool,
}

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NotATraceParent;

impl TraceParent {
    /// The header that says it.
    pub const HEADER: &str = "traceparent";
    /// How long it is as a text.
    pub const LENGTH: usize = 55;

    /// As it is written in the header.
    pub fn header(&self) -> [u8; Self::LENGTH] {
        let mut header = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_bytes(&mut header[3..35], &self.trace_id.0);
        write_bytes(&mut header[36..52], &self.parent_id.0);
        header[54] += u8::from(self.is_sampled);
        header
    }

    /// Reads a header. Of a version to come, what this version knows is read, as the recommendation
    /// has it.
    pub fn read(header: &[u8]) -> Result<Self, NotATraceParent> {
        Self::parse(header).ok_or(NotATraceParent)
    }

    fn parse(header: &[u8]) -> Option<Self> {
        let (known, rest) = header.split_at_checked(Self::LENGTH)?;
        let has_dashes = [2, 35, 52].iter().all(|place| known[*place] == b'-');
        let is_whole = match read_byte(&known[..2])? {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|next| *next == b'-'),
        };
        if !has_dashes || !is_whole {
            return None;
        }
        Some(Self {
            trace_id: TraceId::read(&known[3..35])?,
            parent_id: SpanId::read(&known[36..52])?,
            // No other flag means anything in version 00; they are not handed on.
            is_sampled: read_byte(&known[53..])? & 1 == 1,
        })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text(&self.header()))
    }
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        Self::read(text.as_bytes())
    }
}

/// A byte of two digits. Capital letters are none.
fn read_byte(digits: &[u8]) -> Option<u8> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    match digits {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

fn write_bytes(digits: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (digits, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).expect("digits and dashes are text")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_is_read_and_written() {
        let parent: TraceParent = HEADER.parse().expect("the recommendation's own example");
        assert_eq!(parent.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.parent_id.to_string(), "b7ad6b7169203331");
        assert!(parent.is_sampled);
        assert_eq!(parent.to_string(), HEADER);
        let unsampled = TraceParent { is_sampled: false, ..parent };
        assert_eq!(unsampled.to_string(), format!("{}0", &HEADER[..54]));
        assert_eq!(unsampled.to_string().parse(), Ok(unsampled));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let (trace, span) = (&HEADER[3..35], &HEADER[36..52]);
        for (wrong, why) in [
            (String::new(), "nothing"),
            (HEADER[..54].to_owned(), "too short"),
            (format!("{HEADER}-"), "version 00 ends there"),
            (format!("{HEADER}-00"), "version 00 ends there"),
            (format!("{HEADER}0"), "version 00 ends there"),
            (format!("ff-{trace}-{span}-01"), "there is no version ff"),
            (format!("0-{trace}-{span}-011"), "a digit is missing"),
            (format!("0x-{trace}-{span}-01"), "no digit"),
            (format!("0A-{trace}-{span}-01"), "a capital letter"),
            (format!("01-{trace}-{span}-01."), "a version to come goes on with a dash"),
            (format!("00-{}-{span}-01", "0".repeat(32)), "no trace"),
            (format!("00-{trace}-{}-01", "0".repeat(16)), "no span"),
            (format!("00-{}-{span}-01", trace.to_uppercase()), "capital letters"),
            (format!("00-{trace}-{}-01", span.to_uppercase()), "capital letters"),
            (format!("00-{}-{span}-01", trace.replace('a', "g")), "no digit"),
            (format!("00-{trace}-{}-01", span.replace('b', "+")), "no digit"),
            (format!("00-{trace}-{span}-0x"), "no digit"),
            (format!("00-{trace}-{span}-0A"), "a capital letter"),
            (format!("00_{trace}_{span}_01"), "no dashes"),
            (format!(" {}", &HEADER[..54]), "a space before it"),
            (HEADER.replace('0', "０"), "other digits"),
        ] {
            assert_eq!(TraceParent::read(wrong.as_bytes()), Err(NotATraceParent), "{why}: {wrong}");
        }
    }

    #[test]
    fn of_a_version_to_come_what_is_known_is_read() {
        let parent: TraceParent = HEADER.parse().expect("a header");
        for header in ["01", "cc", "fe"].map(|version| format!("{version}{}", &HEADER[2..])) {
            assert_eq!(header.parse(), Ok(parent));
            assert_eq!(format!("{header}-what-the-future-will-be-like").parse(), Ok(parent));
            assert_eq!(format!("{header}-").parse(), Ok(parent));
        }
    }

    #[test]
    fn only_the_flag_that_means_something_is_kept() {
        for (flags, is_sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let parent: TraceParent = format!("{}{flags}", &HEADER[..53]).parse().expect(flags);
            assert_eq!(parent.is_sampled, is_sampled, "{flags}");
            assert_eq!(&parent.to_string()[53..], if is_sampled { "01" } else { "00" });
        }
    }

    proptest! {
        /// Whatever is sent, it is read as it is written or not at all.
        #[test]
        fn nothing_else_is_read(
            place in 0..TraceParent::LENGTH,
            byte in any::<u8>(),
            rest in "(-[ -~]{0,20})?",
        ) {
            let mut header = HEADER.as_bytes().to_vec();
            header[place] = byte;
            header.extend(rest.as_bytes());
            if let Ok(parent) = TraceParent::read(&header) {
                let ids = 3..52;
                prop_assert_eq!(&parent.header()[ids.clone()], &header[ids]);
                prop_assert!(rest.is_empty() || &header[..2] != b"00");
            }
        }
    }
}

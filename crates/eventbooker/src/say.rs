//! Standard output, whose reader may leave before the end, and how instants read there.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _, stdout};

use eventbooker_core::Timestamp;

/// Writes a text and a line end to standard output. A reader who closes it, such as `head`, has seen
/// enough, and the command ends as if everything had been read.
pub(crate) fn say(text: impl Display) -> Result<(), String> {
    let mut out = stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("can't write to standard output: {error}")),
    }
}

/// An instant in UTC; beyond the year 9999, the last one that has a name.
pub(crate) fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(jiff::Timestamp::MAX).to_string()
}

//! How many files the process may open, and how many connections that leaves room for.
//!
//! Past the limit `accept` fails, and a new client hangs until somebody else goes; below it, the
//! edge refuses with an answer.

use eventbooker_web::edge::REFUSALS_MAX;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for everything but connections that are served: those that are being refused, and an embedded
/// database, whose connections have two or three files each.
const RESERVE: usize = REFUSALS_MAX + 128;

/// Asks for as many files as the process may have. The usual soft limit of 1024 is for programs
/// that call `select`, which knows no larger numbers. Returns the limit; `None` if there is none.
pub(crate) fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "could not raise the limit on open files");
            limit.current
        }
    }
}

/// How many connections there may be if the process may open so many files, and needs some for the
/// connections to its database.
pub(crate) fn connections_within(files_max: Option<u64>, for_database: usize) -> usize {
    let files_max = files_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    // Under a limit that is tiny, the reserve would leave nobody a place.
    (files_max - (RESERVE + for_database).min(files_max / 2)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_others() {
        assert_eq!(connections_within(None, 0), usize::MAX - RESERVE);
        assert_eq!(connections_within(Some(1024), 0), 1024 - RESERVE);
        assert_eq!(connections_within(Some(1024), 20), 1024 - RESERVE - 20);
        assert_eq!(connections_within(Some(100), 0), 50);
        assert_eq!(connections_within(Some(0), 8), 1);
    }
}

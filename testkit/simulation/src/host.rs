//! Hosts: where services run.

use std::fmt;

use eventbooker_core::Context;

/// One of the processes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Host {
    pub(crate) service: Context,
    /// Which of them; 1 is the first.
    pub(crate) number: u8,
}

impl Host {
    /// The first of a service.
    pub(crate) const fn of(service: Context) -> Self {
        Self { service, number: 1 }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            1 => write!(f, "{}", self.service),
            number => write!(f, "{}-{number}", self.service),
        }
    }
}

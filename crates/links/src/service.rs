//! The services, by the names that settings, keys and tokens have for them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A part of the program that may run as a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Users and their sessions.
    Auth,
    /// Events and their seats.
    Events,
    /// Accounts and their money.
    Account,
    /// Bookings and their sagas.
    Book,
}

/// There is no service of this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0} is none of auth, events, account and book")]
pub struct UnknownService(String);

impl Service {
    /// Every service.
    pub const ALL: [Self; 4] = [Self::Auth, Self::Events, Self::Account, Self::Book];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Events => "events",
            Self::Account => "account",
            Self::Book => "book",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(name: &str) -> Result<Self, UnknownService> {
        let service = Self::ALL.into_iter().find(|service| service.name() == name);
        service.ok_or_else(|| UnknownService(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_name() {
        for service in Service::ALL {
            assert_eq!(service.to_string().parse(), Ok(service));
        }
        assert_eq!("Book".parse::<Service>(), Err(UnknownService("Book".to_owned())));
    }
}

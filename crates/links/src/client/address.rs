//! Where a service listens.

use axum::http::Uri;
use axum::http::uri::{Authority, Scheme};
use thiserror::Error;

/// That isn't the address of a service.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0} is no address such as http://events:8081")]
pub struct NoAddress(String);

/// Where a service listens for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(pub(super) Authority);

impl std::str::FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let no_address = || NoAddress(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| no_address())?;
        let is_plain = uri.scheme() == Some(&Scheme::HTTP)
            && uri.path() == "/"
            && uri.query().is_none()
            && !text.contains(['@', '#']);
        let authority = uri.authority().filter(|_| is_plain).cloned();
        authority.map(Self).ok_or_else(no_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_nothing_else() {
        for address in ["http://events:8081", "http://127.0.0.1:1", "http://[::1]:8081/"] {
            assert!(address.parse::<Address>().is_ok(), "{address}");
        }
        let others = [
            "",
            "events",
            "events:8081",
            "https://events:8081",
            "http://events:8081/internal",
            "http://events:8081/?a",
            "http://events:8081/#a",
            "http://user@events:8081",
        ];
        for text in others {
            assert_eq!(text.parse::<Address>(), Err(NoAddress(text.to_owned())));
        }
    }
}

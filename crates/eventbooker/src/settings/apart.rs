//! What a process with some of the four services needs to know of the others.

use std::net::SocketAddr;

use eventbooker_core::{Context, Contexts};
use eventbooker_links::client::Address;
use eventbooker_links::keys::KeyFiles;

use super::ServeFlags;

/// What only some of the services need that run apart.
#[derive(Debug, Clone)]
pub(crate) struct Apart {
    /// Where each service listens for the others, if it isn't in this process; in the order of
    /// [`Context::ALL`].
    addresses: [Option<Address>; 4],
    /// Where this process listens for them.
    pub(crate) internal_listen: SocketAddr,
    /// What it proves itself with, and whom it trusts.
    pub(crate) keys: KeyFiles,
}

impl Apart {
    /// Where a service listens that isn't in this process.
    pub(crate) fn address_of(&self, context: Context) -> Option<Address> {
        Context::ALL.into_iter().zip(&self.addresses).find(|(it, _)| *it == context)?.1.clone()
    }
}

impl ServeFlags {
    /// The services of this process.
    pub(super) fn services(&self) -> Contexts {
        self.services.map_or(Contexts::ALL, |services| services.0)
    }

    /// What it needs to know of the others, if there are any.
    pub(super) fn apart(&self) -> Result<Option<Apart>, String> {
        let here = self.services();
        let urls = [&self.auth_url, &self.events_url, &self.account_url, &self.book_url];
        let mut addresses = [None, None, None, None];
        for ((context, url), address) in Context::ALL.into_iter().zip(urls).zip(&mut addresses) {
            *address = match (here.has(context), url) {
                (true, None) => None,
                (true, Some(_)) => {
                    return Err(format!(
                        "{context}_url: {context} is in this process; leave it out of services, or \
                         its URL out"
                    ));
                }
                (false, None) => {
                    return Err(format!(
                        "{context}_url: missing, for services names {here} and {context} is asked \
                         over HTTP; give it like http://{context}:8081"
                    ));
                }
                (false, Some(url)) => {
                    Some(url.parse().map_err(|error| format!("{context}_url: {error}"))?)
                }
            };
        }
        let Self { internal_listen, signing_key_file, trusted_keys, .. } = self;
        let given = [
            ("internal_listen", internal_listen.is_some()),
            ("signing_key_file", signing_key_file.is_some()),
            ("trusted_keys", trusted_keys.is_some()),
        ];
        if here == Contexts::ALL {
            let superfluous = given.iter().find(|(_, is_given)| *is_given);
            return superfluous.map_or(Ok(None), |(key, _)| {
                Err(format!(
                    "{key}: there is nobody to talk to, for all services are in this process"
                ))
            });
        }
        let missing = |key| format!("{key}: missing, for services names {here} only");
        Ok(Some(Apart {
            addresses,
            internal_listen: internal_listen.ok_or_else(|| missing("internal_listen"))?,
            keys: KeyFiles {
                signing_key: signing_key_file.clone().ok_or_else(|| missing("signing_key_file"))?,
                trusted: trusted_keys.clone().ok_or_else(|| missing("trusted_keys"))?,
            },
        }))
    }
}

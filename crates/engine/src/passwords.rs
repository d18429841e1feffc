//! Password hashes: argon2id, a bounded number at a time.
//!
//! One hash takes 19 MiB and some tens of milliseconds of a core on purpose (m=19456 KiB, t=2,
//! p=1: the first choice of the OWASP Password Storage Cheat Sheet). Without a bound a few hundred
//! sign-ins at once would take the machine's memory and every core away from bookings.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::{Entropy, Error, Settings};

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;

/// Verified when a login is unknown, so that it takes as long as a wrong password does.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(crate) struct Passwords {
    /// Hashes at work and waiting; whoever finds none left is refused.
    places: Arc<Semaphore>,
    at_work: Arc<Semaphore>,
}

impl Passwords {
    pub(crate) fn new(settings: &Settings) -> Self {
        let places = settings.hashes_at_once_max + settings.hashes_waiting_max;
        Self {
            places: Arc::new(Semaphore::new(places)),
            at_work: Arc::new(Semaphore::new(settings.hashes_at_once_max)),
        }
    }

    /// Hashes a password with a fresh salt, into a PHC string.
    pub(crate) async fn hash(
        &self,
        password: String,
        entropy: &dyn Entropy,
    ) -> Result<String, Error> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        self.work(move || {
            argon2id().hash_password_with_salt(password.as_bytes(), &salt).map_err(|error| {
                tracing::error!(%error, "could not hash a password");
                Error::Bug
            })
        })
        .await?
        .map(|hash| hash.to_string())
    }

    /// Whether a password belongs to a hash; without one the answer is no and takes as long.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Error> {
        self.work(move || {
            let known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(NOBODYS_HASH);
            let matches = argon2id().verify_password(password.as_bytes(), hash).is_ok();
            known && matches
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::Overloaded)?;
        let turn = Arc::clone(&self.at_work).acquire_owned().await.map_err(|_| Error::Draining)?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((place, turn));
            done
        });
        done.await.map_err(|_| Error::Bug)
    }
}

fn argon2id() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are valid");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for (number, byte) in (0..=u8::MAX).cycle().zip(bytes) {
                *byte = number;
            }
        }
    }

    #[tokio::test]
    async fn a_password_matches_its_hash_and_nothing_else() {
        let passwords = Passwords::new(&Settings::default());
        let hash = passwords.hash("correct horse".into(), &Counting).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let verify = async |password: &str, hash: Option<String>| {
            passwords.verify(password.into(), hash).await.expect("verified")
        };
        assert!(verify("correct horse", Some(hash.clone())).await);
        assert!(!verify("wrong horse", Some(hash)).await);
        assert!(!verify("correct horse", None).await);
        assert!(!verify("", Some("no hash at all".into())).await);
    }

    /// An unknown login must do the same work as a wrong password: the stand-in hash is parsed and
    /// computed, not turned away for its form.
    #[test]
    fn nobodys_hash_is_a_real_one() {
        let parsed = argon2::password_hash::phc::PasswordHash::new(NOBODYS_HASH).expect("parses");
        assert_eq!(parsed.algorithm.as_str(), "argon2id");
        assert_eq!(parsed.hash.map(|hash| hash.as_bytes().len()), Some(32));
        let params = Params::try_from(&parsed).expect("has parameters");
        assert_eq!(params.m_cost(), MEMORY_KIB);
        assert_eq!(params.t_cost(), PASSES);
    }

    #[tokio::test]
    async fn more_hashes_than_there_are_places_for_are_refused() {
        let settings =
            Settings { hashes_at_once_max: 1, hashes_waiting_max: 1, ..Settings::default() };
        let passwords = Passwords::new(&settings);
        let (first, second, third) = tokio::join!(
            passwords.verify("a".into(), None),
            passwords.verify("b".into(), None),
            passwords.verify("c".into(), None),
        );
        assert_eq!((first, second, third), (Ok(false), Ok(false), Err(Error::Overloaded)));
    }
}

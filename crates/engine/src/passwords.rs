//! Password hashes: argon2id, a bounded number at a time.
//!
//! One hash takes 19 MiB and some tens of milliseconds of a core on purpose (m=19456 KiB, t=2,
//! p=1: the first choice of the OWASP Password Storage Cheat Sheet). Without a bound a few hundred
//! sign-ins at once would take the machine's memory and every core away from bookings.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::{mpsc, oneshot};

use crate::{Entropy, Error, Settings, trace};

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Verified when a login is unknown, so that it takes as long as a wrong password does.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The memory of one hash, kept by its thread for the next one.
type Memory = Vec<Block>;
type Work = Box<dyn FnOnce(&mut Memory) + Send>;

pub(crate) struct Passwords {
    waiting: mpsc::Sender<Work>,
}

impl Passwords {
    /// Starts the threads that hash. They are few and each has its own memory, so that hashing
    /// takes a known amount of it: allocated anew for each hash, it would be left behind in the
    /// allocator's arenas of whichever threads did the work.
    pub(crate) fn new(settings: &Settings) -> Self {
        let (waiting, queue) =
            mpsc::channel::<Work>(settings.hashes_at_once_max + settings.hashes_waiting_max);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..settings.hashes_at_once_max {
            let queue = Arc::clone(&queue);
            let next = move || queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            thread::Builder::new()
                .name(format!("hasher-{number}"))
                .spawn(move || {
                    let mut memory = Memory::new();
                    while let Some(work) = next() {
                        work(&mut memory);
                    }
                })
                .expect("the system gives the process a few threads");
        }
        Self { waiting }
    }

    /// Hashes a password with a fresh salt, into a PHC string.
    pub(crate) async fn hash(
        &self,
        password: String,
        entropy: &dyn Entropy,
    ) -> Result<String, Error> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        self.work(move |memory| {
            hash(memory, &password, &salt).map_err(|error| {
                tracing::error!(%error, "could not hash a password");
                Error::Bug
            })
        })
        .await?
    }

    /// Whether a password belongs to a hash; without one the answer is no and takes as long.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Error> {
        self.work(move |memory| {
            let known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(NOBODYS_HASH);
            let matches = matches(memory, &password, hash).unwrap_or_else(|error| {
                tracing::error!(%error, "a stored password hash can't be read");
                false
            });
            known && matches
        })
        .await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (done, finished) = oneshot::channel();
        let trace = trace::current();
        let work = Box::new(move |memory: &mut Memory| {
            // Whoever asked may have hung up.
            let _ = done.send(trace::at(trace, || work(memory)));
        });
        self.waiting.try_send(work).map_err(|_| Error::Overloaded)?;
        finished.await.map_err(|_| Error::Bug)
    }
}

type HashError = argon2::password_hash::Error;

fn hash(memory: &mut Memory, password: &str, salt: &[u8]) -> Result<String, HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES))?;
    let output = compute(memory, params.clone(), password, salt, HASH_BYTES)?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params)?,
        salt: Some(Salt::new(salt)?),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

/// Compares in constant time; the parameters are those that the hash was made with.
fn matches(memory: &mut Memory, password: &str, hash: &str) -> Result<bool, HashError> {
    let parsed = PasswordHash::new(hash)?;
    let (Some(salt), Some(expected)) = (parsed.salt, parsed.hash) else { return Ok(false) };
    if parsed.algorithm != Algorithm::Argon2id.ident() {
        return Ok(false);
    }
    let params = Params::try_from(&parsed)?;
    Ok(compute(memory, params, password, &salt, expected.len())? == expected)
}

fn compute(
    memory: &mut Memory,
    params: Params,
    password: &str,
    salt: &[u8],
    hash_bytes: usize,
) -> Result<Output, HashError> {
    memory.resize(params.block_count(), Block::default());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut buffer = [0; Output::MAX_LENGTH];
    let output = &mut buffer[..hash_bytes];
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, memory)?;
    Ok(Output::new(output)?)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

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
    async fn more_hashes_than_may_wait_are_refused() {
        // Nobody takes from this queue, so the first one waits and the second finds no place.
        let (waiting, _queue) = mpsc::channel(1);
        let passwords = Passwords { waiting };
        let mut first = Box::pin(passwords.verify("a".into(), None));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert_eq!(passwords.verify("b".into(), None).await, Err(Error::Overloaded));
    }
}

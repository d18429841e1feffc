//! Who sends a request: by the session in their cookie where the users are, and by the word of `auth`
//! everywhere else.
//!
//! A proxy asks `GET /auth` before it hands a request on, and hands on with it what that has answered
//! in `X-Identity`: signed, and good for [4 s](eventbooker_links::tokens::IDENTITY_LIFE). A service
//! without users believes nothing else. The `X-User-…` headers are for programs that have no keys to
//! verify it with; here nothing is known by them, and `X-User-Id` has to name whom the signed word names.
//! One that comes when its word has expired has waited for too long somewhere, and may come again.
//!
//! What was signed and what was verified is remembered for as long as it is good, so that a crowd of
//! requests costs few signatures.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use eventbooker_core::identity::Person;
use eventbooker_core::{Context, Timestamp, UserId};
use eventbooker_engine::Authenticated;
use eventbooker_links::tokens::{Tokens, Unproven, Vouched, identity_ends};
use metrics::{counter, describe_counter};
use sha2::{Digest as _, Sha256};

use crate::limits::{Limiter, Quota};
use crate::problem::{Problem, ProblemKind};
use crate::request::session_token;
use crate::state::Web;

/// The signed word.
pub(crate) const IDENTITY_HEADER: &str = "x-identity";
/// The number that goes with it, for programs without keys.
pub(crate) const USER_ID_HEADER: &str = "x-user-id";
/// What else goes with it.
const TOLD_HEADERS: [&str; 5] =
    [USER_ID_HEADER, "x-user", "x-email", "x-first-name", "x-last-name"];
/// How long a proxy may keep what `auth` has said, in seconds. For nginx
/// (<https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_cache_valid>) it comes before what is said
/// to everybody else, which is to keep nothing.
pub(crate) const KEEP_HEADER: &str = "x-accel-expires";
/// nginx counts whole seconds, and so keeps something for up to so much longer than it is told.
const KEPT_LONGER: Duration = Duration::from_secs(1);
/// What has to be left of a word for whoever gets it last.
const LEFT_AT_LEAST: Duration = Duration::from_millis(500);
/// Words that are remembered at the same time.
const REMEMBERED_MAX: u64 = 100_000;
/// How long they take up memory at most. Whether one is still good is decided by the clock that tokens
/// are judged by.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Refusals that are logged in a minute, each; the metric counts all.
const LOGGED_PER_MINUTE: u32 = 600;

/// What `auth` signs and others verify.
pub(crate) struct Identities {
    tokens: Arc<Tokens>,
    /// By whose they are, and when their session ends.
    signed: moka::sync::Cache<(UserId, Timestamp), Signed>,
    /// By the digest of the token.
    verified: moka::sync::Cache<[u8; 32], Arc<Word>>,
    logged: Limiter,
}

#[derive(Clone)]
struct Signed {
    token: Arc<str>,
    person: Arc<Person>,
    /// By the engine's clock.
    seen_at: Timestamp,
    /// By the machine's.
    ends: Timestamp,
}

/// What is said of somebody.
pub(crate) struct Said {
    /// The signed word.
    pub(crate) token: Arc<str>,
    /// For how many seconds a proxy may keep it.
    pub(crate) keep_seconds: u64,
}

struct Word {
    person: Arc<Person>,
    until: Timestamp,
}

impl Identities {
    pub(crate) fn new(tokens: Arc<Tokens>) -> Self {
        fn remembered<K, V>() -> moka::sync::Cache<K, V>
        where
            K: std::hash::Hash + Eq + Send + Sync + 'static,
            V: Clone + Send + Sync + 'static,
        {
            moka::sync::Cache::builder()
                .max_capacity(REMEMBERED_MAX)
                .time_to_live(REMEMBERED)
                .build()
        }
        describe_counter!(
            "eventbooker_identities_refused_total",
            "Requests that say who sends them without proof, by reason"
        );
        Self {
            tokens,
            signed: remembered(),
            verified: remembered(),
            logged: Limiter::new(Quota::per_minute(LOGGED_PER_MINUTE), 1),
        }
    }

    /// The word for somebody who has signed in. `now` is the engine's, by whose clock they were seen.
    pub(crate) fn sign(&self, known: &Authenticated, now: Timestamp) -> Said {
        let Authenticated { person, until, seen_at } = known;
        let machines_now = self.tokens.now();
        let key = (person.id, *until);
        let (token, ends) = match self.signed.get(&key) {
            Some(it) if it.seen_at == *seen_at && it.person == *person => (it.token, it.ends),
            _ => {
                let seen = machines_now.minus(seen_at.until(now));
                let token: Arc<str> = self.tokens.sign_identity(person, seen, *until).into();
                let ends = identity_ends(seen, *until);
                let (person, seen_at) = (Arc::clone(person), *seen_at);
                let signed = Signed { token: Arc::clone(&token), person, seen_at, ends };
                self.signed.insert(key, signed);
                (token, ends)
            }
        };
        let tossed = machines_now.as_micros() % 2 == 0;
        Said { token, keep_seconds: keep_seconds(machines_now.until(ends), tossed) }
    }

    fn verify(&self, token: &[u8]) -> Result<Arc<Person>, Unproven> {
        let digest = Sha256::digest(token).into();
        let word = if let Some(word) = self.verified.get(&digest) {
            word
        } else {
            let text = std::str::from_utf8(token).map_err(|_| Unproven::Malformed)?;
            let Vouched { person, until } = self.tokens.check_identity(text)?;
            let word = Arc::new(Word { person: Arc::new(person), until });
            self.verified.insert(digest, Arc::clone(&word));
            word
        };
        if word.until <= self.tokens.now() {
            return Err(Unproven::Expired);
        }
        Ok(Arc::clone(&word.person))
    }

    /// Whom the proxy names. Nobody is named where there is no header of it at all.
    fn named(&self, headers: &HeaderMap) -> Result<Option<Arc<Person>>, Unnamed> {
        let Some(token) = headers.get(IDENTITY_HEADER) else {
            let is_told = TOLD_HEADERS.iter().any(|name| headers.contains_key(*name));
            return if is_told { Err(Unnamed::NotSigned) } else { Ok(None) };
        };
        let person = self.verify(token.as_bytes()).map_err(Unnamed::Unproven)?;
        let id = person.id.to_string();
        let is_same = |value: &axum::http::HeaderValue| value.as_bytes() == id.as_bytes();
        if !headers.get_all(USER_ID_HEADER).iter().all(is_same) {
            return Err(Unnamed::SomebodyElse);
        }
        Ok(Some(person))
    }

    /// Refuses a request, and says so where an operator looks.
    fn refuse(&self, why: &Unnamed) -> Problem {
        counter!("eventbooker_identities_refused_total", "reason" => why.name()).increment(1);
        if self.logged.take(&(), self.tokens.now().as_micros()).is_ok() {
            tracing::warn!(reason = %why, "a request that says who sends it was refused");
        }
        // Whoever it is was signed in just now: a client that is told otherwise would sign in again.
        if matches!(why, Unnamed::Unproven(Unproven::Expired)) {
            let detail = "this came too late after auth had said who sends it; nothing was done, \
                          try again";
            return Problem::new(ProblemKind::Overloaded, detail);
        }
        Problem::new(
            ProblemKind::Unauthenticated,
            format!("who sends this can't be told: {why}; ask through the proxy"),
        )
    }
}

/// For how many seconds a proxy may keep a word that is good for so long; for one less by the toss of a coin.
/// A crowd that came in the same second would otherwise ask again in the same second, all of it, every time.
fn keep_seconds(left: Duration, tossed: bool) -> u64 {
    match left.saturating_sub(KEPT_LONGER + LEFT_AT_LEAST).as_secs() {
        most @ 2.. if tossed => most - 1,
        most => most,
    }
}

/// Why nobody can say who sends a request, although it names somebody.
#[derive(Debug, thiserror::Error)]
enum Unnamed {
    #[error("X-User headers count only beside a signed X-Identity")]
    NotSigned,
    #[error("X-User-Id is not whom X-Identity is about")]
    SomebodyElse,
    #[error("X-Identity is not accepted: {0}")]
    Unproven(Unproven),
}

impl Unnamed {
    const fn name(&self) -> &'static str {
        match self {
            Self::NotSigned => "not_signed",
            Self::SomebodyElse => "somebody_else",
            Self::Unproven(why) => why.name(),
        }
    }
}

impl Web {
    /// Who sends a request, if it is somebody.
    pub(crate) async fn who_asks(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<Person>>, Problem> {
        if self.engine().here().has(Context::Identity) {
            return Ok(self.session(headers).await?.map(|known| known.person));
        }
        let Some(identities) = &self.inner.identities else { return Ok(None) };
        identities.named(headers).map_err(|why| identities.refuse(&why))
    }

    /// Whose session the request's cookie belongs to.
    pub(crate) async fn session(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Authenticated>, Problem> {
        let Some(token) = session_token(headers) else { return Ok(None) };
        Ok(self.engine().session(token).await?)
    }
}

#[cfg(test)]
mod tests {
    use eventbooker_core::identity::{Profile, Role};
    use eventbooker_engine::Clock as _;
    use eventbooker_links::keys::{Keyring, Keys, SigningKey};
    use eventbooker_links::tokens::{IDENTITY_LEEWAY, IDENTITY_LIFE};
    use eventbooker_testkit::clock::{MOMENT, ManualClock, just_before};

    use super::*;

    #[test]
    fn what_a_proxy_keeps_is_good_when_it_is_used() {
        let table = [(4_000, 2), (3_500, 2), (3_499, 1), (2_500, 1), (2_499, 0), (0, 0)];
        for (left, most) in table {
            let left = Duration::from_millis(left);
            assert_eq!(keep_seconds(left, false), most, "{left:?}");
            assert_eq!(keep_seconds(left, true), most.min(1), "{left:?}");
        }
    }

    /// So that a sign-out which the look couldn't see yet is noticed in time.
    #[test]
    fn a_word_is_as_old_as_the_look_at_the_session() {
        let clock = Arc::<ManualClock>::default();
        let signing = SigningKey::from_seed(&[1; 32]);
        let trusted = [(Context::Identity, vec![signing.public().clone()])];
        let keyring = Keyring::of(Keys::new(signing, trusted.into()));
        let identities = Identities::new(Arc::new(Tokens::new(keyring.into(), clock.clone() as _)));
        let [login, email, first_name, last_name] = ["ann", "", "", ""].map(str::to_owned);
        let profile = Profile { login, email, first_name, last_name };
        let person = Arc::new(Person { id: UserId::new(1), profile, role: Role::User });
        // An engine may go by another clock.
        let engines = |now: Timestamp| now.plus(Duration::from_secs(3600));
        let seen_at = engines(clock.now());
        let known =
            Authenticated { person, until: seen_at.plus(Duration::from_secs(3600)), seen_at };
        let sign = |known: &Authenticated| identities.sign(known, engines(clock.now())).token;
        let late = Duration::from_millis(400);

        clock.advance(late);
        let token = sign(&known);
        assert_eq!(sign(&known), token, "nothing is known that is newer");
        clock.advance(just_before((IDENTITY_LIFE + IDENTITY_LEEWAY).saturating_sub(late)));
        assert!(identities.verify(token.as_bytes()).is_ok());
        clock.advance(MOMENT);
        assert_eq!(identities.verify(token.as_bytes()).err(), Some(Unproven::Expired));

        let again = Authenticated { seen_at: engines(clock.now()), ..known };
        assert!(identities.verify(sign(&again).as_bytes()).is_ok());
    }
}

//! Tokens: what a service shows to prove itself to another, and what `auth` says of a user.
//!
//! Both are JSON Web Tokens signed with Ed25519, good for a short time only:
//!
//! | | service token | identity |
//! |---|---|---|
//! | says | who calls whom (`iss`, `aud`) | who has signed in (`id`, `login`, names, `email`, `role`) |
//! | made by | any service | `auth` |
//! | good for | [60 s](SERVICE_TOKEN_LIFE) | [4 s](IDENTITY_LIFE), and no longer than the session |
//! | clocks may differ by | [5 s](SERVICE_TOKEN_LEEWAY) | [0.5 s](IDENTITY_LEEWAY) |
//!
//! Invariants kept here: nothing in a token is believed before its signature is verified, with a key
//! that is trusted for the service that the token says it is from; one kind of token never passes
//! for the other; one that claims to last longer than its kind does is worth nothing.
//!
//! Times are compared by the process's clock, not by the library's, and not by a database's, which an
//! engine may go by.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventbooker_core::identity::{Person, Profile};
use eventbooker_core::{Context, Timestamp, UserId};
use eventbooker_engine::Clock;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ed25519;
use crate::keys::Keyring;
use crate::wire::shapes::RoleName;

/// How long a service token is good for.
pub const SERVICE_TOKEN_LIFE: Duration = Duration::from_secs(60);
/// So long one token is used for every call to a neighbour.
const SERVICE_TOKEN_USE: Duration = Duration::from_secs(30);
/// How much the clocks of two services may differ.
pub const SERVICE_TOKEN_LEEWAY: Duration = Duration::from_secs(5);
/// How long an identity is good for from when the session was looked at, unless that ends before.
pub const IDENTITY_LIFE: Duration = Duration::from_secs(4);
/// How much the clocks of `auth` and a service may differ when it comes to users.
pub const IDENTITY_LEEWAY: Duration = Duration::from_millis(500);
/// How late a sign-out may be noticed: the leeway is granted, and a clock may be behind by as much.
const SIGN_OUT_MAX: Duration = Duration::from_secs(5);
const _: () = assert!(
    IDENTITY_LIFE.as_millis() + 2 * IDENTITY_LEEWAY.as_millis() <= SIGN_OUT_MAX.as_millis()
);

const SERVICE_TOKEN_TYPE: &str = "eb-service+jwt";
const IDENTITY_TYPE: &str = "eb-identity+jwt";
/// A longer token is not looked at. Profiles have a few hundred characters at most.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Somebody who has signed in, by the word of `auth`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// Who it is.
    pub person: Person,
    /// From when on the word is worth nothing.
    pub until: Timestamp,
}

/// Why a token isn't accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unproven {
    /// There is none.
    #[error("there is no token")]
    Missing,
    /// It is no token of this kind.
    #[error("this is no token of the kind that is needed")]
    Malformed,
    /// Nobody whom it could be from has this key.
    #[error("its key is not known")]
    UnknownKey,
    /// Its signature is not by its key.
    #[error("its signature is wrong")]
    Forged,
    /// It is for somebody else.
    #[error("it is for another service")]
    OtherAudience,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time is still to come, so the clocks differ.
    #[error("it is from the future; the clocks of the two services differ")]
    FromTheFuture,
    /// It claims to be good for longer than such a token may be.
    #[error("it lasts longer than it may")]
    LastsTooLong,
}

impl Unproven {
    /// Its name in a metric.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Forged => "forged",
            Self::OtherAudience => "other_audience",
            Self::Expired => "expired",
            Self::FromTheFuture => "from_the_future",
            Self::LastsTooLong => "lasts_too_long",
        }
    }
}

/// Makes and checks tokens.
pub struct Tokens {
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    /// Tokens that are in use, by who calls whom.
    made: Mutex<BTreeMap<(Context, Context), Made>>,
}

struct Made {
    token: Arc<str>,
    key_id: String,
    at: Timestamp,
}

impl Tokens {
    /// Tokens by these keys and this clock.
    pub fn new(keyring: Arc<Keyring>, clock: Arc<dyn Clock>) -> Self {
        ed25519::install();
        Self { keyring, clock, made: Mutex::default() }
    }

    /// What tokens are judged by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A token with which `from`, a service of this process, may call `to`.
    pub fn service_token(&self, from: Context, to: Context) -> Arc<str> {
        let (now, keys) = (self.now(), self.keyring.keys());
        let key_id = keys.signing().public().id();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get(&(from, to))
            && made.key_id == key_id
            && (made.at..made.at.plus(SERVICE_TOKEN_USE)).contains(&now)
        {
            return Arc::clone(&made.token);
        }
        let claims = ServiceClaims {
            iss: from,
            aud: to,
            iat: now.into(),
            exp: now.plus(SERVICE_TOKEN_LIFE).into(),
        };
        let token: Arc<str> = self.sign(SERVICE_TOKEN_TYPE, &claims).into();
        let key_id = key_id.to_owned();
        made.insert((from, to), Made { token: Arc::clone(&token), key_id, at: now });
        token
    }

    /// Which service it is that calls `audience` with this token.
    pub fn check_service(&self, token: &str, audience: Context) -> Result<Context, Unproven> {
        let claims: ServiceClaims = self.verify(SERVICE_TOKEN_TYPE, token)?;
        if claims.aud != audience {
            return Err(Unproven::OtherAudience);
        }
        let times = (claims.iat.0, claims.exp.0);
        check_times(times, self.now(), SERVICE_TOKEN_LIFE, SERVICE_TOKEN_LEEWAY)?;
        Ok(claims.iss)
    }

    /// What `auth` says of a user whose session lasts until `session_ends`, as it was seen.
    pub fn sign_identity(
        &self,
        person: &Person,
        seen_at: Timestamp,
        session_ends: Timestamp,
    ) -> String {
        let Person { id, profile, role } = person;
        let claims = IdentityClaims {
            iss: Context::Identity,
            iat: seen_at.into(),
            exp: identity_ends(seen_at, session_ends).into(),
            id: id.get(),
            login: profile.login.clone(),
            email: profile.email.clone(),
            first_name: profile.first_name.clone(),
            last_name: profile.last_name.clone(),
            role: (*role).into(),
        };
        self.sign(IDENTITY_TYPE, &claims)
    }

    /// Who it is that this token is about.
    pub fn check_identity(&self, token: &str) -> Result<Vouched, Unproven> {
        let claims: IdentityClaims = self.verify(IDENTITY_TYPE, token)?;
        if claims.iss != Context::Identity {
            return Err(Unproven::UnknownKey);
        }
        let times = (claims.iat.0, claims.exp.0);
        check_times(times, self.now(), IDENTITY_LIFE, IDENTITY_LEEWAY)?;
        let IdentityClaims { id, login, email, first_name, last_name, role, .. } = claims;
        let profile = Profile { login, email, first_name, last_name };
        let person = Person { id: UserId::new(id), profile, role: role.into() };
        Ok(Vouched { person, until: times.1.plus(IDENTITY_LEEWAY) })
    }

    fn sign(&self, kind: &str, claims: &impl Serialize) -> String {
        let keys = self.keyring.keys();
        let header = Header {
            typ: Some(kind.to_owned()),
            kid: Some(keys.signing().public().id().to_owned()),
            ..Header::new(Algorithm::EdDSA)
        };
        let signed = jsonwebtoken::encode(&header, claims, &keys.signing().encoding);
        signed.expect("a key that was read signs, and claims are plain values")
    }

    /// What a token of this kind says, if it is by whom it says.
    fn verify<C: Claims>(&self, kind: &str, token: &str) -> Result<C, Unproven> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Unproven::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Unproven::Malformed)?;
        let is_of_kind = header.typ.as_deref() == Some(kind) && header.alg == Algorithm::EdDSA;
        // Whatever a token says is critical to understand isn't understood here.
        if !is_of_kind || header.crit.is_some() {
            return Err(Unproven::Malformed);
        }
        let key_id = header.kid.ok_or(Unproven::UnknownKey)?;
        let keys = self.keyring.keys();
        let key = keys.find(&key_id).ok_or(Unproven::UnknownKey)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Time and audience are compared by whoever asks.
        validation.required_spec_claims = HashSet::new();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<C>(token, &key.decoding, &validation);
        let claims = decoded.map_err(|error| {
            let is_forged = matches!(error.kind(), ErrorKind::InvalidSignature);
            if is_forged { Unproven::Forged } else { Unproven::Malformed }
        })?;
        if !keys.is_of(key, claims.claims.from()) {
            return Err(Unproven::UnknownKey);
        }
        Ok(claims.claims)
    }
}

/// Who a token says it is from, whether or not that is so. For logs.
pub(crate) fn claimed(token: &str) -> Option<Context> {
    #[derive(Deserialize)]
    struct Claimed {
        #[serde(with = "crate::names")]
        iss: Context,
    }
    let short = token.len() <= TOKEN_BYTES_MAX;
    let claims = short.then(|| jsonwebtoken::dangerous::insecure_decode_claims::<Claimed>(token));
    Some(claims?.ok()?.iss)
}

/// What any token says.
trait Claims: DeserializeOwned {
    /// Who it says has signed it.
    fn from(&self) -> Context;
}

#[derive(Debug, Serialize, Deserialize)]
struct ServiceClaims {
    #[serde(with = "crate::names")]
    iss: Context,
    #[serde(with = "crate::names")]
    aud: Context,
    iat: NumericDate,
    exp: NumericDate,
}

impl Claims for ServiceClaims {
    fn from(&self) -> Context {
        self.iss
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct IdentityClaims {
    #[serde(with = "crate::names")]
    iss: Context,
    iat: NumericDate,
    exp: NumericDate,
    id: i64,
    login: String,
    email: String,
    first_name: String,
    last_name: String,
    role: RoleName,
}

impl Claims for IdentityClaims {
    fn from(&self) -> Context {
        self.iss
    }
}

/// Seconds since the epoch, with a fraction (RFC 7519, 2): whole ones are too coarse for two.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
struct NumericDate(Timestamp);

const MICROS_PER_SECOND: f64 = 1_000_000.0;

impl From<Timestamp> for NumericDate {
    fn from(instant: Timestamp) -> Self {
        Self(instant)
    }
}

impl From<NumericDate> for f64 {
    #[allow(clippy::cast_precision_loss, reason = "exact until the year 2255")]
    fn from(date: NumericDate) -> Self {
        date.0.as_micros() as Self / MICROS_PER_SECOND
    }
}

impl From<f64> for NumericDate {
    #[allow(clippy::cast_possible_truncation, reason = "it saturates, at a time that is no use")]
    fn from(seconds: f64) -> Self {
        Self(Timestamp::from_micros((seconds * MICROS_PER_SECOND).round() as i64))
    }
}

/// When an identity ends that is about a session seen then.
pub fn identity_ends(seen_at: Timestamp, session_ends: Timestamp) -> Timestamp {
    seen_at.plus(IDENTITY_LIFE).min(session_ends)
}

fn check_times(
    (from, until): (Timestamp, Timestamp),
    now: Timestamp,
    life: Duration,
    leeway: Duration,
) -> Result<(), Unproven> {
    if until > from.plus(life) {
        return Err(Unproven::LastsTooLong);
    }
    if from > now.plus(leeway) {
        return Err(Unproven::FromTheFuture);
    }
    if until.plus(leeway) <= now {
        return Err(Unproven::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

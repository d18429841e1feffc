//! What can be done with users and sessions.
//!
//! A session's token is drawn here, told to the client once and never kept; the store knows its
//! digest. Sessions that are in use are remembered for a moment, so that most requests ask no
//! store. Signing out and changes of role or password forget them at once in this process, and
//! within [`REMEMBERED`] in every other one. Where services run apart it is [`REMEMBERED_FOR_OTHERS`], and what
//! others are told is counted from when the store was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eventbooker_core::identity::{
    self, Actor, Person, Profile, Role, Session, TokenDigest, User, password_fault,
};
use eventbooker_core::{Contexts, Timestamp, UserId};
use eventbooker_store::{SessionUser, StoreError, Wants};
use sha2::{Digest, Sha256};

use crate::batch::{Batch, Rules};
use crate::command::{Answer, Command, Decided, Key, Lane};
use crate::{Engine, Error, Refusal};

/// How long a session is remembered without asking the store again.
const REMEMBERED: Duration = Duration::from_secs(3);
/// The same, where others rely for a while on what they are told of it.
const REMEMBERED_FOR_OTHERS: Duration = Duration::from_millis(500);
/// Sessions remembered at the same time.
const REMEMBERED_MAX: u64 = 100_000;
/// Sessions that a user may have at the same time.
const SESSIONS_PER_USER_MAX: u32 = 100;
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// A session's secret, as it stands in the client's cookie.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret itself, for the cookie.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn of(bytes: &[u8]) -> Self {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        Self(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
    }

    fn digest_of(text: &str) -> TokenDigest {
        Sha256::digest(text.as_bytes()).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A new user, before any rule has looked at it.
#[derive(Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Who it is.
    pub profile: Profile,
    /// What they may do.
    pub role: Role,
    /// The password in the clear.
    pub password: String,
}

/// Who signed in, and the secret that proves it from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The user.
    pub user: User,
    /// The session's secret.
    pub token: Token,
    /// How long the session lasts.
    pub lifetime: Duration,
}

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Who it is.
    pub person: Arc<Person>,
    /// When their session ends by itself.
    pub until: Timestamp,
    /// When the store was asked for it.
    pub seen_at: Timestamp,
}

/// Adds a user.
struct Register {
    profile: Profile,
    role: Role,
    password_hash: String,
}

impl Command for Register {
    type Reply = User;

    fn lane(&self) -> Lane {
        Lane::Any
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        wants.logins.push(self.profile.login.clone());
        wants.new_users += 1;
    }

    fn decide(&self, batch: &mut Batch) -> Result<User, Refusal> {
        let now = batch.now();
        let holder = batch.user_by_login(&self.profile.login).map(|user| user.id);
        identity::may_register(holder)?;

        let user = User {
            id: batch.next_user_id(),
            profile: self.profile.clone(),
            role: self.role,
            password_hash: self.password_hash.clone(),
            created_at: now,
        };
        batch.add_user(user.clone());
        Ok(user)
    }
}

/// What is to change about a user.
enum UserChange {
    Role(Role),
    PasswordHash(String),
}

/// Changes a user's role or password. Their sessions end with it: whoever learned the old
/// password, or was shown the old role's pages, has to sign in again.
struct ChangeUser {
    /// The admin who asks; nobody if it is the operator, or the user's own password.
    admin_id: Option<UserId>,
    user_id: UserId,
    change: UserChange,
}

impl Command for ChangeUser {
    type Reply = User;

    fn lane(&self) -> Lane {
        Lane::User(self.user_id)
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        wants.users.push(self.user_id);
        wants.users.extend(self.admin_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<User, Refusal> {
        if let Some(admin_id) = self.admin_id {
            // Not what their session says: of two who take each other's role away, one is too late.
            let is_admin = batch.user(admin_id).is_some_and(|user| user.role == Role::Admin);
            if !is_admin {
                return Err(Refusal::NotAdmin);
            }
            identity::may_change_role(admin_id, self.user_id)?;
        }
        let user = batch.user_to_change(self.user_id).ok_or(Refusal::NoSuchUser)?;
        match &self.change {
            UserChange::Role(role) => user.role = *role,
            UserChange::PasswordHash(hash) => user.password_hash.clone_from(hash),
        }
        let user = user.clone();
        batch.remove_sessions_of(self.user_id);
        Ok(user)
    }
}

/// Begins a session, in place of the one that the client had.
struct SignIn {
    user_id: UserId,
    /// The hash that the password was checked against.
    checked_hash: String,
    token_digest: TokenDigest,
    replaces: Option<TokenDigest>,
    lifetime: Duration,
}

impl Command for SignIn {
    type Reply = User;

    fn lane(&self) -> Lane {
        Lane::User(self.user_id)
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        wants.users.push(self.user_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<User, Refusal> {
        let now = batch.now();
        let user = batch.user(self.user_id).ok_or(Refusal::WrongCredentials)?.clone();
        // Checking took a while, and the password may have been changed meanwhile.
        if user.password_hash != self.checked_hash {
            return Err(Refusal::WrongCredentials);
        }
        if let Some(digest) = self.replaces {
            batch.remove_session(digest);
        }
        // Only the newest stay, so that signing in again and again fills no disk.
        batch.trim_sessions(self.user_id, SESSIONS_PER_USER_MAX);
        batch.add_session(Session {
            token_digest: self.token_digest,
            user_id: self.user_id,
            created_at: now,
            expires_at: now.plus(self.lifetime),
        });
        Ok(user)
    }
}

/// Ends a session.
struct SignOut {
    token_digest: TokenDigest,
}

impl Command for SignOut {
    type Reply = ();

    fn lane(&self) -> Lane {
        Lane::Any
    }

    fn wants(&self, _: &Rules, _: &mut Wants) {}

    fn decide(&self, batch: &mut Batch) -> Result<(), Refusal> {
        batch.remove_session(self.token_digest);
        Ok(())
    }
}

/// Sessions that are in use.
pub(crate) struct Sessions {
    remembered: moka::sync::Cache<TokenDigest, Authenticated>,
    /// For how long, by the service's clock; the cache goes by the machine's.
    good_for: Duration,
    /// Raised whenever something is forgotten, so that a look-up that began before doesn't put it
    /// back.
    forgotten: AtomicU64,
}

impl Sessions {
    pub(crate) fn new(here: Contexts) -> Self {
        let good_for = if here == Contexts::ALL { REMEMBERED } else { REMEMBERED_FOR_OTHERS };
        let remembered = moka::sync::Cache::builder()
            .max_capacity(REMEMBERED_MAX)
            .time_to_live(good_for)
            .build();
        Self { remembered, good_for, forgotten: AtomicU64::new(0) }
    }

    fn recall(&self, digest: &TokenDigest, now: Timestamp) -> Option<Authenticated> {
        self.remembered.get(digest).filter(|found| found.seen_at.until(now) < self.good_for)
    }

    fn remember(&self, digest: TokenDigest, found: &Authenticated, asked_at: u64) {
        if self.forgotten.load(Ordering::SeqCst) != asked_at {
            return;
        }
        self.remembered.insert(digest, found.clone());
        // Something may have been forgotten between the look and the insertion.
        if self.forgotten.load(Ordering::SeqCst) != asked_at {
            self.remembered.invalidate(&digest);
        }
    }

    pub(crate) fn forget(&self, digest: &TokenDigest) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.remembered.invalidate(digest);
    }

    pub(crate) fn forget_all(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.remembered.invalidate_all();
    }
}

impl Engine {
    /// Adds a user.
    pub async fn register(
        &self,
        new: NewUser,
        key: Option<Key<User>>,
    ) -> Result<Answer<User>, Error> {
        self.may_give_numbers()?;
        let NewUser { profile, role, password } = new;
        let mut faults = profile.faults();
        faults.extend(password_fault(&password));
        if !faults.is_empty() {
            return Ok(self.refused(Refusal::Profile(faults)));
        }
        let password_hash = self.hash(password).await?;
        self.submit(Register { profile, role, password_hash }, key).await
    }

    /// Gives a user another role, as the operator wishes.
    pub async fn set_role(&self, user_id: UserId, role: Role) -> Result<Answer<User>, Error> {
        self.change_user(None, user_id, UserChange::Role(role)).await
    }

    /// Gives a user another role, as an admin wishes.
    pub async fn change_role(
        &self,
        actor: Actor,
        user_id: UserId,
        role: Role,
    ) -> Result<Answer<User>, Error> {
        self.change_user(Some(actor.user_id), user_id, UserChange::Role(role)).await
    }

    /// Gives a user another password.
    pub async fn set_password(
        &self,
        user_id: UserId,
        password: String,
    ) -> Result<Answer<User>, Error> {
        if let Some(fault) = password_fault(&password) {
            return Ok(self.refused(Refusal::Profile(vec![fault])));
        }
        let hash = self.hash(password).await?;
        self.change_user(None, user_id, UserChange::PasswordHash(hash)).await
    }

    async fn change_user(
        &self,
        admin_id: Option<UserId>,
        user_id: UserId,
        change: UserChange,
    ) -> Result<Answer<User>, Error> {
        self.submit(ChangeUser { admin_id, user_id, change }, None).await
    }

    /// Begins a session, and ends the one that `replaces` belongs to. An unknown login takes the
    /// same work and gets the same answer as a wrong password.
    pub async fn sign_in(
        &self,
        login: String,
        password: String,
        replaces: Option<&str>,
    ) -> Result<Result<SignedIn, Refusal>, Error> {
        // Whatever is longer than any login or password isn't one; it isn't worth a hash either.
        let possible = login.chars().count() <= identity::LOGIN_CHARS_MAX
            && password.len() <= identity::PASSWORD_BYTES_MAX;
        let user = if possible { self.store().user_by_login(login).await? } else { None };
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let password = if possible { password } else { String::new() };
        let matches = self.inner.passwords.verify(password, hash).await?;
        let Some(user) = user.filter(|_| matches) else {
            return Ok(Err(Refusal::WrongCredentials));
        };

        let token = self.draw_token();
        let lifetime = self.settings().session_lifetime;
        let command = SignIn {
            user_id: user.id,
            checked_hash: user.password_hash,
            token_digest: Token::digest_of(token.reveal()),
            replaces: replaces.map(Token::digest_of),
            lifetime,
        };
        let decided = self.submit(command, None).await?.given()?;
        Ok(decided.outcome.map(|user| SignedIn { user, token, lifetime }))
    }

    /// Ends the session that a token belongs to, if it belongs to one.
    pub async fn sign_out(&self, token: &str) -> Result<(), Error> {
        self.submit(SignOut { token_digest: Token::digest_of(token) }, None).await.map(drop)
    }

    /// Whose session a token belongs to.
    pub async fn session(&self, token: &str) -> Result<Option<Authenticated>, StoreError> {
        let digest = Token::digest_of(token);
        let sessions = &self.inner.sessions;
        let seen_at = self.now();
        let found = if let Some(found) = sessions.recall(&digest, seen_at) {
            found
        } else {
            let asked_at = sessions.forgotten.load(Ordering::SeqCst);
            let Some(found) = self.store().session(digest).await? else { return Ok(None) };
            let SessionUser { session, user } = found;
            let person = Arc::new(user.into_person());
            let found = Authenticated { person, until: session.expires_at, seen_at };
            sessions.remember(digest, &found, asked_at);
            found
        };
        Ok(Some(found).filter(|found| found.until > self.now()))
    }

    async fn hash(&self, password: String) -> Result<String, Error> {
        self.inner.passwords.hash(password, &*self.inner.parts.entropy).await
    }

    fn draw_token(&self) -> Token {
        let mut bytes = [0; TOKEN_BYTES];
        self.inner.parts.entropy.fill(&mut bytes);
        Token::of(&bytes)
    }

    pub(crate) fn refused<R>(&self, refusal: Refusal) -> Answer<R> {
        Answer::Given(Decided::refused(refusal, self.now()))
    }
}

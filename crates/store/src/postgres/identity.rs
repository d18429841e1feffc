//! Users and sessions.

use async_trait::async_trait;
use eventbooker_core::UserId;
use eventbooker_core::identity::{Profile, Session, TokenDigest, User};
use tokio_postgres::Row;

use super::PostgresStore;
use super::row::{array, can_be_text, get, instant, known};
use super::session::{Flight, column, params};
use crate::{Changes, IdentityQueries, Purge, SessionUser, StoreError, codes};

pub(super) const LOCK: &str = "
    SELECT id, login, email, first_name, last_name, role, password_hash, created_at
    FROM users WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE";
/// Reads users by their logins, which never change. Of two who take the same, the key tells one.
pub(super) const LOAD_LOGINS: &str = "
    SELECT id, login, email, first_name, last_name, role, password_hash, created_at
    FROM users WHERE login = ANY($1::text[])";
const ADD: &str = "
    INSERT INTO users (id, login, email, first_name, last_name, role, password_hash, created_at)
    SELECT unnest($1::bigint[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]),
           unnest($5::text[]), unnest($6::smallint[]), unnest($7::text[]), unnest($8::bigint[])";
const CHANGE: &str = "
    UPDATE users u SET role = k.role, password_hash = k.password_hash
    FROM (SELECT unnest($1::bigint[]) AS id, unnest($2::smallint[]) AS role,
                 unnest($3::text[]) AS password_hash) k
    WHERE u.id = k.id";
const END_SESSIONS_OF: &str = "DELETE FROM sessions WHERE user_id = ANY($1::bigint[])";
const END_SESSIONS: &str = "DELETE FROM sessions WHERE token_digest = ANY($1::bytea[])";
const TRIM_SESSIONS: &str = "
    DELETE FROM sessions WHERE token_digest IN
      (SELECT token_digest FROM sessions WHERE user_id = $1 ORDER BY created_at DESC OFFSET $2)";
const ADD_SESSIONS: &str = "
    INSERT INTO sessions (token_digest, user_id, created_at, expires_at)
    SELECT unnest($1::bytea[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::bigint[])";
const PURGE_SESSIONS: &str = "
    DELETE FROM sessions WHERE token_digest IN
      (SELECT token_digest FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";

/// The statements of a writer.
pub(super) const WRITES: [&str; 9] = [
    LOCK,
    LOAD_LOGINS,
    ADD,
    CHANGE,
    END_SESSIONS_OF,
    END_SESSIONS,
    TRIM_SESSIONS,
    ADD_SESSIONS,
    PURGE_SESSIONS,
];

pub(super) const SESSION: &str = "
    SELECT u.id, u.login, u.email, u.first_name, u.last_name, u.role, u.password_hash, u.created_at,
           s.created_at, s.expires_at
    FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token_digest = $1";
pub(super) const BY_LOGIN: &str = "
    SELECT id, login, email, first_name, last_name, role, password_hash, created_at
    FROM users WHERE login = $1";
pub(super) const BY_IDS: &str = "
    SELECT id, login, email, first_name, last_name, role, password_hash, created_at
    FROM users WHERE id = ANY($1::bigint[]) ORDER BY array_position($1::bigint[], id)";
pub(super) const PAGE: &str = "
    SELECT id, login, email, first_name, last_name, role, password_hash, created_at
    FROM users WHERE id > $1 ORDER BY id LIMIT $2";
pub(super) const ALL_SESSIONS: &str = "
    SELECT token_digest, user_id, created_at, expires_at FROM sessions
    WHERE token_digest > $1 ORDER BY token_digest LIMIT $2";
pub(super) const FIRST_END: &str = "SELECT min(expires_at) FROM sessions";

/// The statements of a reader.
pub(super) const READS: [&str; 5] = [SESSION, BY_LOGIN, BY_IDS, PAGE, FIRST_END];

pub(super) fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        id: UserId::new(get(row, 0)?),
        profile: Profile {
            login: get(row, 1)?,
            email: get(row, 2)?,
            first_name: get(row, 3)?,
            last_name: get(row, 4)?,
        },
        role: known(row, 5, "role", codes::role)?,
        password_hash: get(row, 6)?,
        created_at: instant(row, 7)?,
    })
}

pub(super) fn session(row: &Row, digest: TokenDigest) -> Result<SessionUser, StoreError> {
    let user = user(row)?;
    let session = Session {
        token_digest: digest,
        user_id: user.id,
        created_at: instant(row, 8)?,
        expires_at: instant(row, 9)?,
    };
    Ok(SessionUser { session, user })
}

/// A session as it lies in its own table.
pub(super) fn session_alone(row: &Row) -> Result<Session, StoreError> {
    Ok(Session {
        token_digest: array(row, 0)?,
        user_id: UserId::new(get(row, 1)?),
        created_at: instant(row, 2)?,
        expires_at: instant(row, 3)?,
    })
}

pub(super) fn save(flight: &mut Flight<'_>, changes: &Changes) {
    let Changes { users_added, users_changed: changed, .. } = changes;
    // In one order everywhere: two who add the same wait for each other at the keys.
    let mut added: Vec<&User> = users_added.iter().collect();
    added.sort_by_key(|user| &user.profile.login);
    let added = &*added;
    if !added.is_empty() {
        flight.ask(
            ADD,
            params![
                column(added, |user| user.id.get()),
                column(added, |user| user.profile.login.clone()),
                column(added, |user| user.profile.email.clone()),
                column(added, |user| user.profile.first_name.clone()),
                column(added, |user| user.profile.last_name.clone()),
                column(added, |user| codes::of_role(user.role)),
                column(added, |user| user.password_hash.clone()),
                column(added, |user| user.created_at.as_micros()),
            ],
        );
    }
    if !changed.is_empty() {
        flight.ask(
            CHANGE,
            params![
                column(changed, |user| user.id.get()),
                column(changed, |user| codes::of_role(user.role)),
                column(changed, |user| user.password_hash.clone()),
            ],
        );
    }
    save_sessions(flight, changes);
}

fn save_sessions(flight: &mut Flight<'_>, changes: &Changes) {
    let Changes { sessions_removed_of, sessions_removed, sessions_added: added, .. } = changes;
    if !sessions_removed_of.is_empty() {
        flight.ask(END_SESSIONS_OF, params![column(sessions_removed_of, |user| user.get())]);
    }
    if !sessions_removed.is_empty() {
        flight.ask(END_SESSIONS, params![column(sessions_removed, |digest| digest.to_vec())]);
    }
    for (user_id, newest) in &changes.sessions_trimmed {
        let kept = i64::from(newest.saturating_sub(1));
        flight.ask(TRIM_SESSIONS, params![user_id.get(), kept]);
    }
    if !added.is_empty() {
        flight.ask(
            ADD_SESSIONS,
            params![
                column(added, |session| session.token_digest.to_vec()),
                column(added, |session| session.user_id.get()),
                column(added, |session| session.created_at.as_micros()),
                column(added, |session| session.expires_at.as_micros()),
            ],
        );
    }
}

pub(super) fn purge_sessions(flight: &mut Flight<'_>, purge: &Purge) {
    let until = purge.sessions_until.as_micros();
    flight.ask(PURGE_SESSIONS, params![until, i64::from(purge.limit)]);
}

#[async_trait]
impl IdentityQueries for PostgresStore {
    async fn session(&self, digest: TokenDigest) -> Result<Option<SessionUser>, StoreError> {
        let read = |row: &Row| session(row, digest);
        self.readers.row(SESSION, || params![digest.to_vec()], read).await
    }

    async fn user_by_login(&self, login: String) -> Result<Option<User>, StoreError> {
        if !can_be_text(&login) {
            return Ok(None);
        }
        self.readers.row(BY_LOGIN, || params![login.clone()], user).await
    }

    async fn users_by_ids(&self, ids: Vec<UserId>) -> Result<Vec<User>, StoreError> {
        let params = || params![ids.iter().map(|id| id.get()).collect::<Vec<_>>()];
        self.readers.rows(BY_IDS, params, user).await
    }

    async fn users(&self, after: UserId, limit: u32) -> Result<Vec<User>, StoreError> {
        let params = || params![after.get(), i64::from(limit)];
        self.readers.rows(PAGE, params, user).await
    }
}

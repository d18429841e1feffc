//! Users and sessions.

use async_trait::async_trait;
use eventbooker_core::identity::{Profile, Session, TokenDigest, User};
use eventbooker_core::{Timestamp, UserId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::SqliteStore;
use crate::{Changes, IdentityQueries, Purge, SessionUser, StoreError, codes};

const USER_COLUMNS: &str =
    "id, login, email, first_name, last_name, role, password_hash, created_at";

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    let role = super::known(row, 5, "role", codes::role)?;
    Ok(User {
        id: UserId::new(row.get(0)?),
        profile: Profile {
            login: row.get(1)?,
            email: row.get(2)?,
            first_name: row.get(3)?,
            last_name: row.get(4)?,
        },
        role,
        password_hash: row.get(6)?,
        created_at: Timestamp::from_micros(row.get(7)?),
    })
}

pub(super) fn load(
    conn: &Connection,
    ids: &[UserId],
    logins: &[String],
) -> rusqlite::Result<Vec<User>> {
    let mut users = Vec::new();
    if !ids.is_empty() {
        let mut statement =
            conn.prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users WHERE id = ?1"))?;
        for id in ids {
            users.extend(statement.query_row([id.get()], user).optional()?);
        }
    }
    for login in logins {
        users.extend(user_by_login(conn, login)?);
    }
    Ok(users)
}

pub(super) fn user_by_login(conn: &Connection, login: &str) -> rusqlite::Result<Option<User>> {
    conn.prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users WHERE login = ?1"))?
        .query_row([login], user)
        .optional()
}

pub(super) fn users(conn: &Connection, after: UserId, limit: u32) -> rusqlite::Result<Vec<User>> {
    conn.prepare_cached(&format!(
        "SELECT {USER_COLUMNS} FROM users WHERE id > ?1 ORDER BY id LIMIT ?2"
    ))?
    .query_map((after.get(), limit), user)?
    .collect()
}

pub(super) fn session(
    conn: &Connection,
    digest: &TokenDigest,
) -> rusqlite::Result<Option<SessionUser>> {
    let session = conn
        .prepare_cached(
            "SELECT user_id, created_at, expires_at FROM sessions WHERE token_digest = ?1",
        )?
        .query_row([digest], |row| {
            Ok(Session {
                token_digest: *digest,
                user_id: UserId::new(row.get(0)?),
                created_at: Timestamp::from_micros(row.get(1)?),
                expires_at: Timestamp::from_micros(row.get(2)?),
            })
        })
        .optional()?;
    let Some(session) = session else { return Ok(None) };
    let user = load(conn, &[session.user_id], &[])?.pop();
    Ok(user.map(|user| SessionUser { session, user }))
}

pub(super) fn save(conn: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    for user in &changes.users_added {
        conn.prepare_cached(&format!(
            "INSERT INTO users ({USER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        ))?
        .execute((
            user.id.get(),
            &user.profile.login,
            &user.profile.email,
            &user.profile.first_name,
            &user.profile.last_name,
            codes::of_role(user.role),
            &user.password_hash,
            user.created_at.as_micros(),
        ))?;
    }
    for user in &changes.users_changed {
        conn.prepare_cached("UPDATE users SET role = ?2, password_hash = ?3 WHERE id = ?1")?
            .execute((user.id.get(), codes::of_role(user.role), &user.password_hash))?;
    }
    for user_id in &changes.sessions_removed_of {
        conn.prepare_cached("DELETE FROM sessions WHERE user_id = ?1")?.execute([user_id.get()])?;
    }
    for digest in &changes.sessions_removed {
        conn.prepare_cached("DELETE FROM sessions WHERE token_digest = ?1")?.execute([digest])?;
    }
    for (user_id, newest) in &changes.sessions_trimmed {
        conn.prepare_cached(
            "DELETE FROM sessions WHERE token_digest IN
               (SELECT token_digest FROM sessions WHERE user_id = ?1
                ORDER BY created_at DESC LIMIT -1 OFFSET ?2)",
        )?
        .execute((user_id.get(), newest.saturating_sub(1)))?;
    }
    for session in &changes.sessions_added {
        conn.prepare_cached(
            "INSERT INTO sessions (token_digest, user_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
        )?
        .execute((
            session.token_digest,
            session.user_id.get(),
            session.created_at.as_micros(),
            session.expires_at.as_micros(),
        ))?;
    }
    Ok(())
}

pub(super) fn purge_sessions(conn: &Connection, purge: &Purge) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "DELETE FROM sessions WHERE token_digest IN
           (SELECT token_digest FROM sessions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
    )?
    .execute((purge.sessions_until.as_micros(), purge.limit))?;
    Ok(())
}

pub(super) fn first_session_end(conn: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    conn.prepare_cached("SELECT expires_at FROM sessions ORDER BY expires_at LIMIT 1")?
        .query_row([], |row| row.get(0).map(Timestamp::from_micros))
        .optional()
}

/// Sessions of all users above a digest.
pub(super) fn all_sessions(
    conn: &Connection,
    after: &[u8],
    limit: u32,
) -> rusqlite::Result<Vec<Session>> {
    conn.prepare_cached(
        "SELECT token_digest, user_id, created_at, expires_at FROM sessions
         WHERE token_digest > ?1 ORDER BY token_digest LIMIT ?2",
    )?
    .query_map((after, limit), |row| {
        Ok(Session {
            token_digest: row.get(0)?,
            user_id: UserId::new(row.get(1)?),
            created_at: Timestamp::from_micros(row.get(2)?),
            expires_at: Timestamp::from_micros(row.get(3)?),
        })
    })?
    .collect()
}

#[async_trait]
impl IdentityQueries for SqliteStore {
    async fn session(&self, digest: TokenDigest) -> Result<Option<SessionUser>, StoreError> {
        self.readers.rows.run(move |conn| session(conn, &digest)).await
    }

    async fn user_by_login(&self, login: String) -> Result<Option<User>, StoreError> {
        self.readers.rows.run(move |conn| user_by_login(conn, &login)).await
    }

    async fn users_by_ids(&self, ids: Vec<UserId>) -> Result<Vec<User>, StoreError> {
        self.readers.lists.run(move |conn| load(conn, &ids, &[])).await
    }

    async fn users(&self, after: UserId, limit: u32) -> Result<Vec<User>, StoreError> {
        self.readers.lists.run(move |conn| users(conn, after, limit)).await
    }
}

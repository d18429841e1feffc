//! Users: who they are, what they may do, and the sessions that prove it.
//!
//! Secrets never come here in the clear: a password arrives as its hash, a session token as its
//! digest.
//!
//! Absent on purpose: hashing and the drawing of tokens, which need time and randomness.

use thiserror::Error;

use crate::{Timestamp, UserId};

/// The longest login, in characters.
pub const LOGIN_CHARS_MAX: usize = 64;
/// The shortest password, in characters.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// The longest password, in bytes; what is hashed must be bounded.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// The longest of an e-mail address, in characters (RFC 5321, 4.5.3.1.3).
pub const EMAIL_CHARS_MAX: usize = 254;
/// The longest first or last name, in characters.
pub const PERSON_NAME_CHARS_MAX: usize = 100;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Book seats, and see and move own bookings.
    User,
    /// Organise events, and see and move everything.
    Admin,
}

/// Who asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// The user.
    pub user_id: UserId,
    /// What the user may do.
    pub role: Role,
}

impl Actor {
    /// Whether this is an admin.
    pub fn is_admin(self) -> bool {
        match self.role {
            Role::Admin => true,
            Role::User => false,
        }
    }
}

/// What a user tells about themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    /// The name to sign in with; unique, and case matters.
    pub login: String,
    /// The e-mail address; may be empty.
    pub email: String,
    /// The first name; may be empty.
    pub first_name: String,
    /// The last name; may be empty.
    pub last_name: String,
}

/// A user, as others may know them: without what proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Person {
    /// The user's number.
    pub id: UserId,
    /// Who it is.
    pub profile: Profile,
    /// What they may do.
    pub role: Role,
}

impl Person {
    /// The same, as somebody who asks for something.
    pub fn actor(&self) -> Actor {
        Actor { user_id: self.id, role: self.role }
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    /// The user's number.
    pub id: UserId,
    /// Who it is.
    pub profile: Profile,
    /// What they may do.
    pub role: Role,
    /// The password's hash, in PHC string form.
    pub password_hash: String,
    /// When the user was added.
    pub created_at: Timestamp,
}

impl User {
    /// What others may know.
    pub fn into_person(self) -> Person {
        let Self { id, profile, role, password_hash: _, created_at: _ } = self;
        Person { id, profile, role }
    }
}

/// The digest of a session's token. The token itself is only ever in the client's cookie.
pub type TokenDigest = [u8; 32];

/// A signed-in client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session {
    /// What its token hashes to.
    pub token_digest: TokenDigest,
    /// Who signed in.
    pub user_id: UserId,
    /// When.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A rule that a profile or password breaks. A client sees all of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProfileFault {
    /// The login is empty or too long.
    #[error("must have from 1 to {LOGIN_CHARS_MAX} characters")]
    LoginLength,
    /// The login holds spaces or control characters.
    #[error("must not hold spaces or control characters")]
    LoginNotPlain,
    /// The e-mail address is too long.
    #[error("must have at most {EMAIL_CHARS_MAX} characters")]
    EmailTooLong,
    /// That is no e-mail address.
    #[error("must be an e-mail address such as name@example.org")]
    EmailNotOne,
    /// The first name is too long.
    #[error("must have at most {PERSON_NAME_CHARS_MAX} characters")]
    FirstNameTooLong,
    /// The first name holds control characters.
    #[error("must not hold control characters")]
    FirstNameNotPlain,
    /// The last name is too long.
    #[error("must have at most {PERSON_NAME_CHARS_MAX} characters")]
    LastNameTooLong,
    /// The last name holds control characters.
    #[error("must not hold control characters")]
    LastNameNotPlain,
    /// The password is too short.
    #[error("must have at least {PASSWORD_CHARS_MIN} characters")]
    PasswordTooShort,
    /// The password is too long.
    #[error("must have at most {PASSWORD_BYTES_MAX} bytes")]
    PasswordTooLong,
}

/// Why a user isn't added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RegisterRefusal {
    /// Somebody has this login.
    #[error("the login is taken")]
    LoginTaken,
}

/// Why a user's role isn't changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RoleRefusal {
    /// It is the role of the admin who asks. As nobody gives their own away, and only admins change
    /// others', there is always one left.
    #[error("can only be changed by another admin")]
    Own,
}

impl Profile {
    /// Every rule that this profile breaks.
    pub fn faults(&self) -> Vec<ProfileFault> {
        use ProfileFault as F;
        let mut faults = Vec::new();
        if !(1..=LOGIN_CHARS_MAX).contains(&self.login.chars().count()) {
            faults.push(F::LoginLength);
        }
        if self.login.chars().any(|c| c.is_whitespace() || c.is_control()) {
            faults.push(F::LoginNotPlain);
        }
        if self.email.chars().count() > EMAIL_CHARS_MAX {
            faults.push(F::EmailTooLong);
        }
        if !self.email.is_empty() && !is_email(&self.email) {
            faults.push(F::EmailNotOne);
        }
        if self.first_name.chars().count() > PERSON_NAME_CHARS_MAX {
            faults.push(F::FirstNameTooLong);
        }
        if self.first_name.chars().any(char::is_control) {
            faults.push(F::FirstNameNotPlain);
        }
        if self.last_name.chars().count() > PERSON_NAME_CHARS_MAX {
            faults.push(F::LastNameTooLong);
        }
        if self.last_name.chars().any(char::is_control) {
            faults.push(F::LastNameNotPlain);
        }
        faults
    }
}

/// The rule that a password breaks, if any.
pub fn password_fault(password: &str) -> Option<ProfileFault> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Some(ProfileFault::PasswordTooShort);
    }
    (password.len() > PASSWORD_BYTES_MAX).then_some(ProfileFault::PasswordTooLong)
}

/// Whether this could be an address: something, an @, and a host. Only a letter that arrives
/// proves more, so nothing more is asked.
fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Whether somebody may take a login that `holder` has.
pub fn may_register(holder: Option<UserId>) -> Result<(), RegisterRefusal> {
    match holder {
        Some(_) => Err(RegisterRefusal::LoginTaken),
        None => Ok(()),
    }
}

/// Whether an admin may change a user's role.
pub fn may_change_role(admin: UserId, user: UserId) -> Result<(), RoleRefusal> {
    if admin == user { Err(RoleRefusal::Own) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            login: "ann".into(),
            email: "ann@example.org".into(),
            first_name: "Анна".into(),
            last_name: "O'Neill".into(),
        }
    }

    #[test]
    fn a_profile_is_held_against_every_rule_at_once() {
        use ProfileFault as F;
        let long = |n| "x".repeat(n);
        let table: Vec<(Profile, Vec<F>)> = vec![
            (profile(), vec![]),
            (Profile { email: String::new(), ..profile() }, vec![]),
            (Profile { login: String::new(), ..profile() }, vec![F::LoginLength]),
            (Profile { login: long(64), ..profile() }, vec![]),
            (Profile { login: long(65), ..profile() }, vec![F::LoginLength]),
            (Profile { login: "a b".into(), ..profile() }, vec![F::LoginNotPlain]),
            (Profile { login: "a\u{0}".into(), ..profile() }, vec![F::LoginNotPlain]),
            (Profile { email: "ann".into(), ..profile() }, vec![F::EmailNotOne]),
            (Profile { email: "@example.org".into(), ..profile() }, vec![F::EmailNotOne]),
            (Profile { email: "ann@".into(), ..profile() }, vec![F::EmailNotOne]),
            (Profile { email: "a nn@b".into(), ..profile() }, vec![F::EmailNotOne]),
            (Profile { email: long(250) + "@b.de", ..profile() }, vec![F::EmailTooLong]),
            (Profile { first_name: long(101), ..profile() }, vec![F::FirstNameTooLong]),
            (Profile { first_name: "a\r\nb".into(), ..profile() }, vec![F::FirstNameNotPlain]),
            (Profile { last_name: long(101), ..profile() }, vec![F::LastNameTooLong]),
            (
                Profile {
                    login: " ".into(),
                    email: "x".into(),
                    last_name: "\t".into(),
                    ..profile()
                },
                vec![F::LoginNotPlain, F::EmailNotOne, F::LastNameNotPlain],
            ),
        ];
        for (profile, faults) in table {
            assert_eq!(profile.faults(), faults, "{profile:?}");
        }
    }

    #[test]
    fn a_password_is_neither_guessable_by_length_nor_endless() {
        assert_eq!(password_fault("1234567"), Some(ProfileFault::PasswordTooShort));
        assert_eq!(password_fault("пароль"), Some(ProfileFault::PasswordTooShort));
        assert_eq!(password_fault("password"), None);
        assert_eq!(password_fault(&"x".repeat(1024)), None);
        assert_eq!(password_fault(&"x".repeat(1025)), Some(ProfileFault::PasswordTooLong));
    }

    #[test]
    fn a_login_belongs_to_one_user() {
        assert_eq!(may_register(Some(UserId::new(1))), Err(RegisterRefusal::LoginTaken));
        assert_eq!(may_register(None), Ok(()));
    }

    #[test]
    fn nobody_changes_their_own_role() {
        let [one, other] = [1, 2].map(UserId::new);
        assert_eq!(may_change_role(one, one), Err(RoleRefusal::Own));
        assert_eq!(may_change_role(one, other), Ok(()));
    }
}

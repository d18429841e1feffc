//! `eventbooker user`: add, password, role, list.

use std::io::{BufRead, IsTerminal};

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use eventbooker_core::identity::{Profile, ProfileFault, Role, User};
use eventbooker_core::{Context, UserId};
use eventbooker_engine::{Engine, NewUser};
use eventbooker_store::Access;
use eventbooker_store::Store;

use crate::open;
use crate::say::say;
use crate::settings::DatabaseFlags;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add a user. The password is read from the terminal, or from standard input if that is none.
    Add(Add),
    /// Give a user another password, read as for `add`. Ends the user's sessions.
    Password(Existing),
    /// Give a user another role. Ends the user's sessions.
    Role(ChangeRole),
    /// List all users.
    List(DatabaseFlags),
}

#[derive(Args)]
pub(crate) struct Add {
    /// The name to sign in with.
    login: String,
    /// What the user may do.
    #[arg(long, value_enum, default_value_t = RoleName::User)]
    role: RoleName,
    /// The e-mail address.
    #[arg(long, default_value = "")]
    email: String,
    /// The first name.
    #[arg(long, default_value = "")]
    first_name: String,
    /// The last name.
    #[arg(long, default_value = "")]
    last_name: String,
    #[command(flatten)]
    database: DatabaseFlags,
}

#[derive(Args)]
pub(crate) struct Existing {
    /// The user's login.
    login: String,
    #[command(flatten)]
    database: DatabaseFlags,
}

#[derive(Args)]
pub(crate) struct ChangeRole {
    /// The user's login.
    login: String,
    /// What the user may do from now on.
    #[arg(value_enum)]
    role: RoleName,
    #[command(flatten)]
    database: DatabaseFlags,
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    User,
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::User => Self::User,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// The argument of [`Add`] that a fault is about, so that the two make a sentence.
pub(crate) fn flag_of(fault: ProfileFault) -> &'static str {
    match fault {
        ProfileFault::LoginLength | ProfileFault::LoginNotPlain => "<LOGIN>",
        ProfileFault::EmailTooLong | ProfileFault::EmailNotOne => "--email",
        ProfileFault::FirstNameTooLong | ProfileFault::FirstNameNotPlain => "--first-name",
        ProfileFault::LastNameTooLong | ProfileFault::LastNameNotPlain => "--last-name",
        // It is no argument, because others on the machine can read those.
        ProfileFault::PasswordTooShort | ProfileFault::PasswordTooLong => "the password",
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Admin => "admin",
    }
}

/// Users read from the store at once.
const PAGE_USERS: u32 = 1000;

pub(crate) async fn run(command: Command) -> Result<(), String> {
    match command {
        Command::Add(add) => {
            let Add { login, role, email, first_name, last_name, database } = add;
            let password = read_password(&login)?;
            let profile = Profile { login, email, first_name, last_name };
            let new = NewUser { profile, role: role.into(), password };
            let engine = open::tool_engine(database, Context::Identity).await?;
            let user = open::outcome(engine.register(new, None).await);
            engine.stop().await;
            let user = user?;
            let (role, login) = (role_name(user.role), user.profile.login);
            say(format_args!("added {role} {login} with number {}", user.id))
        }
        Command::Password(Existing { login, database }) => {
            let password = read_password(&login)?;
            let engine = open::tool_engine(database, Context::Identity).await?;
            let changed = async {
                let user = find(&engine, &login).await?;
                open::outcome(engine.set_password(user.id, password).await)
            };
            let changed = changed.await;
            engine.stop().await;
            changed?;
            say(format_args!("changed the password of {login}"))
        }
        Command::Role(ChangeRole { login, role, database }) => {
            let engine = open::tool_engine(database, Context::Identity).await?;
            let changed = async {
                let user = find(&engine, &login).await?;
                open::outcome(engine.set_role(user.id, role.into()).await)
            };
            let changed = changed.await;
            engine.stop().await;
            say(format_args!("{login} is now {}", role_name(changed?.role)))
        }
        Command::List(database) => {
            let store = open::store(database, Access::Look, Context::Identity).await?;
            say(table(&*store).await?)
        }
    }
}

async fn find(engine: &Engine, login: &str) -> Result<User, String> {
    let found = engine.store().user_by_login(login.to_owned()).await;
    found.map_err(|error| error.to_string())?.ok_or_else(|| format!("there is no user {login}"))
}

async fn table(store: &dyn Store) -> Result<Table, String> {
    let mut table = Table::new();
    table.set_header(["number", "login", "role", "e-mail", "first name", "last name"]);
    let mut after = UserId::new(0);
    loop {
        let users = store.users(after, PAGE_USERS).await.map_err(|error| error.to_string())?;
        let Some(last) = users.last() else { return Ok(table) };
        after = last.id;
        for User { id, profile, role, .. } in users {
            let Profile { login, email, first_name, last_name } = profile;
            let role = role_name(role).to_owned();
            table.add_row([id.to_string(), login, role, email, first_name, last_name]);
        }
    }
}

/// A password is never a flag: other users of the machine can read those.
fn read_password(login: &str) -> Result<String, String> {
    let words = |error: std::io::Error| format!("can't read the password: {error}");
    if std::io::stdin().is_terminal() {
        let password =
            rpassword::prompt_password(format!("password for {login}: ")).map_err(words)?;
        let again = rpassword::prompt_password("again: ").map_err(words)?;
        return if password == again { Ok(password) } else { Err("the two differ".to_owned()) };
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(words)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

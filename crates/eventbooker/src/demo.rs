//! The demo: two users, and a few events as soon as somebody looks for some, so that a newcomer has
//! something to look at.

use std::pin::Pin;
use std::time::Duration;

use eventbooker_core::events::{Draft, Event};
use eventbooker_core::identity::{Person, Profile, Role, User};
use eventbooker_core::{Context, Contexts, Money, UserId};
use eventbooker_engine::{Engine, NewUser};
use eventbooker_web::DemoUser;

use crate::event::OPERATOR;
use crate::open::outcome;

/// The users' logins.
const ADMIN: &str = "admin";
const USER: &str = "user";
/// The password of both.
const PASSWORD: &str = "password";

/// Both, for the sign-in page.
pub(crate) const USERS: [DemoUser; 2] =
    [DemoUser { login: USER, password: PASSWORD }, DemoUser { login: ADMIN, password: PASSWORD }];

/// Name, what it is about, days ahead, price, seats, seats that are taken already, minutes to pay. All lie
/// ahead for about as long, so that a demo that is kept has all of them until it makes new ones.
const EVENTS: [(&str, &str, u64, i64, i64, i64, i64); 4] = [
    (
        "Rust meetup",
        "Talks, then pizza. Holds here last one minute: book and watch one vanish.",
        89,
        0,
        60,
        0,
        1,
    ),
    ("Night of the short film", "Twelve films from nine countries.", 90, 900, 40, 37, 15),
    ("Chamber choir: spring programme", "Doors open half an hour before.", 91, 1500, 100, 92, 30),
    (
        "Stadium concert",
        "Fifty thousand seats, and a payment window of half an hour.",
        92,
        7500,
        50_000,
        90,
        30,
    ),
];

/// Adds the users to a database that has none. Returns whether the database is a demo's: somebody
/// else's is given nothing, and nobody is paid or sold anything there.
pub(crate) async fn fill(engine: &Engine) -> Result<bool, String> {
    if !engine.here().has(Context::Identity) {
        // Whose the users are says who may sign in; here nothing is at stake but events.
        return Ok(true);
    }
    let users = engine.store().users(UserId::new(0), 2).await;
    let users = users.map_err(|error| error.to_string())?;
    if users.is_empty() {
        add_user(engine, ADMIN, Role::Admin).await?;
        add_user(engine, USER, Role::User).await?;
        return Ok(true);
    }
    // A demo's first users are its own, whoever has registered since, and anybody can be them.
    if !users.iter().map(|user| user.profile.login.as_str()).eq([ADMIN, USER]) {
        return Ok(false);
    }
    Ok(can_sign_in(engine, ADMIN).await? && can_sign_in(engine, USER).await?)
}

/// Whether one of the demo's users still has the password that everybody knows.
async fn can_sign_in(engine: &Engine, login: &str) -> Result<bool, String> {
    let signed_in = engine.sign_in(login.to_owned(), PASSWORD.to_owned(), None).await;
    let Ok(signed_in) = signed_in.map_err(|error| error.to_string())? else { return Ok(false) };
    engine.sign_out(signed_in.token.reveal()).await.map_err(|error| error.to_string())?;
    Ok(true)
}

/// Adds the events.
pub(crate) fn make_events(
    engine: Engine,
) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'static>> {
    Box::pin(async move {
        // Where the services run apart, nobody here may buy seats for others.
        let user = if engine.here() == Contexts::ALL {
            let user = engine.person_by_login(USER.to_owned()).await;
            user.map_err(|error| error.to_string())?
        } else {
            None
        };
        let mut made = Vec::new();
        for (name, description, days, price_minor, capacity, taken, minutes) in EVENTS {
            let draft = Draft {
                name: name.to_owned(),
                description: description.to_owned(),
                starts_at: Some(engine.now().plus(Duration::from_secs(days * 24 * 3600))),
                capacity,
                price_minor,
                payment_window_minutes: minutes,
            };
            made.push((outcome(engine.create_event(OPERATOR, draft, None).await)?, taken));
        }
        if let Some(user) = user {
            for (event, taken) in made {
                take(&engine, &user, &event, taken).await?;
            }
        }
        Ok(())
    })
}

async fn add_user(engine: &Engine, login: &str, role: Role) -> Result<User, String> {
    let profile = Profile {
        login: login.to_owned(),
        email: format!("{login}@example.org"),
        first_name: "Demo".to_owned(),
        last_name: login.to_owned(),
    };
    let new = NewUser { profile, role, password: PASSWORD.to_owned() };
    outcome(engine.register(new, None).await)
}

/// Buys seats for a user, with money that is paid in for that.
async fn take(engine: &Engine, user: &Person, event: &Event, seats: i64) -> Result<(), String> {
    let amount = Money::from_minor(event.plan.price.as_minor() * seats);
    if !amount.is_zero() {
        outcome(engine.deposit(OPERATOR, user.id, amount, None).await)?;
    }
    let together_max = i64::from(engine.settings().holds.seats_max());
    let mut left = seats;
    while left > 0 {
        let together = left.min(together_max);
        outcome(engine.purchase(user.id, event.id, together, None).await)?;
        left -= together;
    }
    Ok(())
}

//! The demo: a few events and two users, so that a newcomer has something to look at.

use std::time::Duration;

use eventbooker_core::UserId;
use eventbooker_core::events::{Draft, Event};
use eventbooker_core::identity::{Actor, Profile, Role, User};
use eventbooker_engine::{Engine, NewUser};
use eventbooker_store::EventsPage;

use crate::event::OPERATOR;
use crate::open::outcome;

/// The password of both users.
const PASSWORD: &str = "password";

/// Name, what it is about, days ahead, seats, seats that are taken already, minutes to pay.
const EVENTS: [(&str, &str, u64, i64, i64, i64); 4] = [
    (
        "Rust meetup",
        "Talks, then pizza. Holds here last one minute: book and watch one vanish.",
        7,
        60,
        0,
        1,
    ),
    ("Night of the short film", "Twelve films from nine countries.", 14, 40, 37, 15),
    ("Chamber choir: spring programme", "Doors open half an hour before.", 30, 180, 25, 30),
    (
        "Stadium concert",
        "Fifty thousand seats, and a payment window of half an hour.",
        90,
        50_000,
        90,
        30,
    ),
];

/// Fills a database that holds nothing yet.
pub(crate) async fn fill(engine: &Engine) -> Result<(), String> {
    let words = |error: eventbooker_store::StoreError| error.to_string();
    let any_user = engine.store().users(UserId::new(0), 1).await.map_err(words)?;
    let page = EventsPage { limit: 1, after: None, name_contains: None };
    let any_event = engine.store().events(page).await.map_err(words)?;
    if !any_user.is_empty() || !any_event.is_empty() {
        return Ok(());
    }
    add_user(engine, "admin", Role::Admin).await?;
    let user = add_user(engine, "user", Role::User).await?;
    for (name, description, days, capacity, taken, minutes) in EVENTS {
        let draft = Draft {
            name: name.to_owned(),
            description: description.to_owned(),
            starts_at: Some(engine.now().plus(Duration::from_secs(days * 24 * 3600))),
            capacity,
            price_minor: 0,
            payment_window_minutes: minutes,
        };
        let event = outcome(engine.create_event(OPERATOR, draft, None).await)?;
        if taken > 0 {
            take(engine, &user, &event, taken).await?;
        }
    }
    Ok(())
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

async fn take(engine: &Engine, user: &User, event: &Event, seats: i64) -> Result<(), String> {
    let booked = outcome(engine.book(user.id, event.id, seats, None).await)?;
    let actor = Actor { user_id: user.id, role: user.role };
    outcome(engine.confirm(actor, Some(event.id), booked.booking.id, None).await).map(drop)
}

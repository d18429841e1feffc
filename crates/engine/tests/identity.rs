//! Users and their sessions.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_core::UserId;
use eventbooker_core::identity::{
    Actor, Profile, ProfileFault, RegisterRefusal, Role, RoleRefusal, User,
};
use eventbooker_engine::{Engine, Error, NewUser, Refusal, Settings, SignedIn};
use eventbooker_testkit::clock::{MOMENT, just_before};
use eventbooker_testkit::rows::user;
use eventbooker_testkit::service::outcome;
use eventbooker_testkit::{Failure, Options, Outcome, Service, refused};
use futures_util::future::join_all;

const PASSWORD: &str = "correct horse";

fn new_user(login: &str, password: &str) -> NewUser {
    let profile = user(0, login).profile;
    NewUser { profile, role: Role::User, password: password.to_owned() }
}

async fn register(service: &Service, login: &str) -> Outcome<User> {
    outcome(service.engine().register(new_user(login, PASSWORD), None).await)
}

async fn sign_in(engine: &Engine, login: &str, password: &str) -> Result<SignedIn, Refusal> {
    sign_in_again(engine, login, password, None).await
}

async fn sign_in_again(
    engine: &Engine,
    login: &str,
    password: &str,
    replaces: Option<&SignedIn>,
) -> Result<SignedIn, Refusal> {
    let replaces = replaces.map(|signed_in| signed_in.token.reveal());
    let answer = engine.sign_in(login.to_owned(), password.to_owned(), replaces).await;
    answer.expect("the engine answers")
}

/// Whose session it is, asked twice: of the store, and of what is remembered.
async fn whose(engine: &Engine, signed_in: &SignedIn) -> Option<UserId> {
    let mut found = Vec::new();
    for _ in 0..2 {
        let session = engine.session(signed_in.token.reveal()).await.expect("the store answers");
        found.push(session.map(|session| session.person.id));
    }
    assert_eq!(found[0], found[1]);
    found[0]
}

#[tokio::test]
async fn a_user_registers_signs_in_and_signs_out() {
    let service = Service::start().await;
    let engine = service.engine();
    let ann = register(&service, "ann").await.expect("the login is free");
    assert_eq!(ann.id, UserId::new(1));
    assert!(!ann.password_hash.contains(PASSWORD));

    let signed_in = sign_in(engine, "ann", PASSWORD).await.expect("the password is right");
    assert_eq!(signed_in.user, ann);
    assert_eq!(whose(engine, &signed_in).await, Some(ann.id));
    let other_device = sign_in(engine, "ann", PASSWORD).await.expect("the password is right");
    assert_ne!(signed_in.token.reveal(), other_device.token.reveal());

    engine.sign_out(signed_in.token.reveal()).await.expect("signed out");
    assert_eq!(whose(engine, &signed_in).await, None);
    assert_eq!(whose(engine, &other_device).await, Some(ann.id), "only the one session ended");
    engine.sign_out(signed_in.token.reveal()).await.expect("twice does no harm");
    for nonsense in ["", "0", &"f".repeat(64), &"x".repeat(100_000)] {
        assert_eq!(engine.session(nonsense).await, Ok(None));
    }
    service.finish().await;
}

#[tokio::test]
async fn a_token_is_never_kept() {
    let service = Service::start().await;
    register(&service, "ann").await.expect("the login is free");
    let signed_in = sign_in(service.engine(), "ann", PASSWORD).await.expect("right");
    service.engine().stop().await;
    let token = signed_in.token.reveal();
    assert!(token.len() >= 64, "32 random bytes");
    let database = service.database();
    assert!(!database.holds(token) && !database.holds(PASSWORD));
    assert!(database.holds("ann@"), "the rows are there");
    assert_eq!(format!("{:?}", signed_in.token), "Token(…)");
    service.finish().await;
}

#[tokio::test]
async fn a_login_is_given_once() {
    let service = Service::start().await;
    let (one, other) = tokio::join!(register(&service, "ann"), register(&service, "ann"));
    let taken = Err(refused(RegisterRefusal::LoginTaken));
    assert!(one.is_ok() != other.is_ok(), "one of two at once: {one:?}, {other:?}");
    assert!(one == taken || other == taken);
    assert_eq!(register(&service, "ann").await, taken);
    let second = register(&service, "Ann").await.expect("case matters");
    assert_eq!(second.id, UserId::new(2), "a refusal takes no number");
    service.finish().await;
}

/// On two engines the second may find out only when it saves.
#[tokio::test]
async fn a_login_is_given_once_on_two_replicas() {
    let service = Service::with(Options { engines: 2, ..Options::default() }).await;
    let on = async |engine: usize| {
        outcome(service.engines()[engine].register(new_user("ann", PASSWORD), None).await)
    };
    let (one, other) = tokio::join!(on(0), on(1));
    let taken = Err(refused(RegisterRefusal::LoginTaken));
    assert!(one.is_ok() != other.is_ok(), "{one:?}, {other:?}");
    assert!(one == taken || other == taken, "{one:?}, {other:?}");
    service.finish().await;
}

#[tokio::test]
async fn every_broken_rule_is_told() {
    let service = Service::start().await;
    let new = NewUser {
        profile: Profile { login: " ".into(), email: "ann".into(), ..user(0, "").profile },
        role: Role::User,
        password: "short".into(),
    };
    let answer = outcome(service.engine().register(new, None).await);
    let faults = vec![
        ProfileFault::LoginNotPlain,
        ProfileFault::EmailNotOne,
        ProfileFault::PasswordTooShort,
    ];
    assert_eq!(answer, Err(refused(Refusal::Profile(faults))));
    let answer = outcome(service.engine().set_password(UserId::new(1), "short".into()).await);
    let faults = vec![ProfileFault::PasswordTooShort];
    assert_eq!(answer, Err(refused(Refusal::Profile(faults))));
    service.finish().await;
}

#[tokio::test]
async fn an_unknown_login_and_a_wrong_password_are_the_same_to_a_stranger() {
    let service = Service::start().await;
    register(&service, "ann").await.expect("the login is free");
    let long = "x".repeat(1_000_000);
    let attempts = [
        ("ann", "wrong horse"),
        ("ann", ""),
        ("ann", &long),
        ("bob", PASSWORD),
        ("Ann", PASSWORD),
        ("", ""),
        (&long, PASSWORD),
    ];
    for (login, password) in attempts {
        let answer = sign_in(service.engine(), login, password).await;
        assert_eq!(answer.err(), Some(Refusal::WrongCredentials));
    }
    assert_eq!(service.faults.saves_tried(), 1, "a failed sign-in writes nothing");
    service.finish().await;
}

#[tokio::test]
async fn signing_in_again_ends_the_session_that_it_replaces() {
    let service = Service::start().await;
    let engine = service.engine();
    let ann = register(&service, "ann").await.expect("the login is free").id;
    let first = sign_in(engine, "ann", PASSWORD).await.expect("right");
    let beside = sign_in(engine, "ann", PASSWORD).await.expect("right");
    assert_eq!(whose(engine, &first).await, Some(ann));
    let failed = sign_in_again(engine, "ann", "wrong horse", Some(&first)).await;
    assert!(failed.is_err());
    assert_eq!(whose(engine, &first).await, Some(ann), "a failed sign-in ends nothing");
    let second = sign_in_again(engine, "ann", PASSWORD, Some(&first)).await.expect("right");
    assert_eq!(whose(engine, &first).await, None);
    assert_eq!(whose(engine, &second).await, Some(ann));
    assert_eq!(whose(engine, &beside).await, Some(ann));
    service.finish().await;
}

#[tokio::test]
async fn another_role_or_password_ends_every_session() {
    let service = Service::start().await;
    let engine = service.engine();
    let ann = register(&service, "ann").await.expect("the login is free").id;
    let bob = register(&service, "bob").await.expect("the login is free").id;
    let bobs = sign_in(engine, "bob", PASSWORD).await.expect("right");

    let before = sign_in(engine, "ann", PASSWORD).await.expect("right");
    assert_eq!(whose(engine, &before).await, Some(ann));
    let changed = outcome(engine.set_role(ann, Role::Admin).await).expect("ann is there");
    assert_eq!((changed.id, changed.role), (ann, Role::Admin));
    assert_eq!(whose(engine, &before).await, None);

    let before = sign_in(engine, "ann", PASSWORD).await.expect("right");
    assert_eq!(before.user.role, Role::Admin);
    assert_eq!(whose(engine, &before).await, Some(ann));
    outcome(engine.set_password(ann, "battery staple".into()).await).expect("ann is there");
    assert_eq!(whose(engine, &before).await, None);
    assert!(sign_in(engine, "ann", PASSWORD).await.is_err());
    assert!(sign_in(engine, "ann", "battery staple").await.is_ok());

    assert_eq!(whose(engine, &bobs).await, Some(bob), "nobody else is signed out");
    let nobody = outcome(engine.set_role(UserId::new(404), Role::Admin).await);
    assert_eq!(nobody, Err(refused(Refusal::NoSuchUser)));
    service.finish().await;
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let lifetime = Duration::from_secs(3600);
    let settings = Settings { session_lifetime: lifetime, ..Settings::default() };
    let mut service = Service::with(Options { settings, ..Options::default() }).await;
    let ann = register(&service, "ann").await.expect("the login is free").id;
    let signed_in = sign_in(service.engine(), "ann", PASSWORD).await.expect("right");
    assert_eq!(signed_in.lifetime, lifetime);
    service.restart(just_before(lifetime)).await;
    assert_eq!(whose(service.engine(), &signed_in).await, Some(ann), "it outlives a restart");
    // Now it is remembered, and ends on time all the same.
    service.pass(MOMENT).await;
    assert_eq!(whose(service.engine(), &signed_in).await, None);
    assert!(service.store().oldest_kept().await.expect("read").session_end.is_some());
    service.pass(Duration::from_secs(10)).await;
    let kept = service.store().oldest_kept().await.expect("read").session_end;
    assert_eq!(kept, None, "the clean-up has removed the row");
    service.finish().await;
}

/// An actor with a session from when they were an admin, whatever they are now.
fn admin(user: &User) -> Actor {
    Actor { user_id: user.id, role: Role::Admin }
}

#[tokio::test]
async fn an_admin_gives_roles_to_others_only() {
    let service = Service::start().await;
    let engine = service.engine();
    let ann = register(&service, "ann").await.expect("the login is free");
    let bob = register(&service, "bob").await.expect("the login is free");
    let give = async |by: &User, to: UserId, role| {
        outcome(engine.change_role(admin(by), to, role).await).map(|user| user.role)
    };
    assert_eq!(give(&ann, bob.id, Role::Admin).await, Err(refused(Refusal::NotAdmin)));
    outcome(engine.set_role(ann.id, Role::Admin).await).expect("the operator may");
    assert_eq!(give(&ann, bob.id, Role::Admin).await, Ok(Role::Admin));
    let session = sign_in(engine, "bob", PASSWORD).await.expect("right");
    for role in [Role::User, Role::Admin] {
        assert_eq!(give(&ann, ann.id, role).await, Err(refused(RoleRefusal::Own)));
    }
    let nobody = give(&ann, UserId::new(404), Role::Admin).await;
    assert_eq!(nobody, Err(refused(Refusal::NoSuchUser)));
    assert_eq!(whose(engine, &session).await, Some(bob.id));
    assert_eq!(give(&ann, bob.id, Role::User).await, Ok(Role::User));
    assert_eq!(whose(engine, &session).await, None, "bob has to sign in again");
    service.finish().await;
}

/// Their sessions still say that both are admins, and on two engines neither knows of the other.
#[tokio::test]
async fn of_two_admins_who_take_each_others_role_away_one_is_left() {
    let service = Service::with(Options { engines: 2, ..Options::default() }).await;
    let ann = register(&service, "ann").await.expect("the login is free");
    let bob = register(&service, "bob").await.expect("the login is free");
    for _ in 0..20 {
        for user in [&ann, &bob] {
            outcome(service.engine().set_role(user.id, Role::Admin).await).expect("they are there");
        }
        let on = async |engine: usize, by: &User, from: &User| {
            let engine = &service.engines()[engine];
            outcome(engine.change_role(admin(by), from.id, Role::User).await)
        };
        let (one, other) = tokio::join!(on(0, &ann, &bob), on(1, &bob, &ann));
        let too_late = Err(refused(Refusal::NotAdmin));
        assert!(one.is_ok() != other.is_ok(), "{one:?}, {other:?}");
        assert!(one == too_late || other == too_late, "{one:?}, {other:?}");
    }
    service.finish().await;
}

/// A sign-in that was checked against the old password is refused if the password changes before
/// the session begins.
#[tokio::test]
async fn a_password_that_changes_meanwhile_opens_nothing() {
    let settings = Settings { hashes_at_once_max: 1, ..Settings::default() };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let engine = service.engine();
    let ann = register(&service, "ann").await.expect("the login is free").id;
    let mut held = service.faults.hold_next_save();
    let change = async {
        outcome(engine.set_password(ann, "battery staple".into()).await).expect("ann is there");
    };
    let sign_in_meanwhile = async {
        held.reached().await;
        // The change is decided but not saved, so this is checked against the old hash, and then
        // waits in the lane. One hash is computed at a time: when a stranger who came later has
        // been turned away, the check is done.
        let mut waiting = Box::pin(sign_in(engine, "ann", PASSWORD));
        for _ in 0..2 {
            tokio::select! {
                biased;
                early = &mut waiting => panic!("{early:?} passed a lane that is held"),
                stranger = sign_in(engine, "bob", PASSWORD) => assert!(stranger.is_err()),
            }
        }
        held.let_go();
        waiting.await
    };
    let ((), answer) = tokio::join!(change, sign_in_meanwhile);
    assert_eq!(answer.err(), Some(Refusal::WrongCredentials));
    service.finish().await;
}

/// Fifty at once, with room for two: most are refused at once, and nobody's answer is anything
/// else than yes or that.
#[tokio::test]
async fn hashes_are_bounded() {
    let settings = Settings { hashes_at_once_max: 1, hashes_waiting_max: 1, ..Settings::default() };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    let logins: Vec<String> = (0..50).map(|number| format!("user{number}")).collect();
    let answers = join_all(logins.iter().map(|login| register(&service, login))).await;
    let (registered, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert!(!registered.is_empty() && !refused.is_empty());
    for refusal in refused {
        assert_eq!(refusal, Err(Failure::Failed(Error::Overloaded)));
    }
    assert!(register(&service, "later").await.is_ok());
    service.finish().await;
}

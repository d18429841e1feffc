//! Sign in, register, sign out.

use eventbooker_testkit::client::PASSWORD;
use serde_json::json;

use crate::booking::signed_in;
use crate::browser::Browser;
use crate::site::Site;
use crate::start::{demo, event};

#[test]
fn whoever_is_not_signed_in_is_led_to_the_sign_in_and_back() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let id = admin.create_event(9, 0, 10);
    let mut browser = Browser::new(site.client(), "en");
    let event = format!("/user/events/{id}");
    for path in ["/user", "/user/", "/user/bookings", "/user/bookings/", "/user/account", &*event] {
        assert!(browser.open(path).path.starts_with("/sign-in?next=%2Fuser"), "{path}");
    }
    assert_eq!(browser.send("POST", &event, Some("seats=1")).status, 405);
    let page = browser.open(&event);
    // A login has no spaces, and where one slips in around it, it is the same all the same.
    let page = browser.submit(&page, "/sign-in", &[("login", " alice "), ("password", PASSWORD)]);
    assert_eq!((page.status, &*page.path), (200, &*event));
    assert!(page.text(".who").contains("alice"));
    let page = browser.submit(&page, "/sign-out", &[]);
    assert_eq!(page.path, "/");
    assert_eq!(browser.session(), None);
    assert!(browser.open("/user").path.starts_with("/sign-in"));
    site.finish();
}

#[test]
fn a_form_without_a_session_is_told_that_nothing_was_saved() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let id = event(&admin, "Green run", 10, 0);
    for (language, words) in [("en", "Nothing was saved"), ("ru", "Ничего не сохранено")]
    {
        let mut browser = signed_in(&site, "alice", language);
        let page = browser.open(&format!("/user/events/{id}"));
        admin.with_session(browser.session()).post("/logout", &json!({}));
        let action = format!("{}/book", page.path);
        let page = browser.submit(&page, &action, &[("seats", "3")]);
        assert_eq!((page.status, admin.event(id)["freeSeats"].as_i64()), (401, Some(10)));
        assert!(page.answer.header("www-authenticate").is_some());
        assert!(page.text("[role=alert]").starts_with(words));
        let typed = [("login", "alice"), ("password", PASSWORD)];
        let page = browser.submit(&page, "/sign-in", &typed);
        assert_eq!(page.path, format!("/user/events/{id}"));
    }
    site.finish();
}

#[test]
fn what_is_too_long_cannot_be_typed() {
    let site = Site::start();
    let page = Browser::new(site.client(), "en").open("/sign-up");
    for (field, most) in
        [("login", "64"), ("email", "254"), ("first_name", "100"), ("last_name", "100")]
    {
        assert_eq!(page.attribute(&format!("#{field}"), "maxlength"), most);
    }
    assert!(
        !page.has("#password[maxlength]"),
        "one that is cut short isn't the one that was typed"
    );
    let page = signed_in(&site, "admin", "en").open("/admin/events/new");
    assert_eq!(page.attribute("#name", "maxlength"), "200");
    assert_eq!(page.attribute("#description", "maxlength"), "10000");
    site.finish();
}

/// The page stays as it is: the sign-in, put into it, would take the place of what is being read.
#[test]
fn a_page_that_is_open_when_its_session_ends_is_not_replaced() {
    let site = Site::start();
    let id = event(&site.client_of("admin"), "Green run", 10, 0);
    let stranger = site.client();
    for path in ["/user/bookings", &format!("/user/events/{id}"), "/admin", "/user/bookings/7"] {
        let ask = stranger.ask("GET", path).header("Accept", "text/html");
        let answer = ask.header("HX-Request", "true").answer();
        assert_eq!((answer.status, answer.header("location")), (401, None), "{path}");
    }
    site.finish();
}

#[test]
fn a_wrong_password_is_told_where_it_was_typed() {
    let site = Site::start();
    for (language, words) in
        [("en", "Login and password don’t belong together."), ("ru", "Неверный логин или пароль.")]
    {
        let mut browser = Browser::new(site.client(), language);
        let page = browser.open("/sign-in?next=%2Fuser%2Faccount");
        let wrong = [("login", "alice"), ("password", "wrong password")];
        let page = browser.submit(&page, "/sign-in", &wrong);
        assert_eq!(page.status, 401);
        assert_eq!(page.text("[role=alert]"), words);
        assert_eq!(page.attribute("#login", "value"), "alice");
        assert_eq!(page.attribute("#password", "value"), "", "secrets aren't shown again");
        let page = browser.submit(&page, "/sign-in", &[("password", PASSWORD)]);
        assert_eq!(page.path, "/user/account");
    }
    site.finish();
}

#[test]
fn too_many_guesses_are_told_with_the_time_to_wait() {
    let site = Site::start();
    let mut browser = Browser::new(site.client(), "en");
    let page = browser.open("/sign-in");
    let wrong = [("login", "alice"), ("password", "wrong password")];
    for _ in 0..10 {
        assert_eq!(browser.submit(&page, "/sign-in", &wrong).status, 401);
    }
    let page = browser.submit(&page, "/sign-in", &wrong);
    assert_eq!(page.status, 429);
    assert!(page.answer.header("retry-after").is_some());
    assert_eq!(page.text("[role=alert]"), "Too many attempts. Wait a minute and try again.");
    site.finish();
}

#[test]
fn a_session_that_was_there_before_the_sign_in_does_not_survive_it() {
    let site = Site::start();
    let mut attacker = Browser::new(site.client(), "en");
    let page = attacker.open("/sign-in");
    attacker.submit(&page, "/sign-in", &[("login", "bob"), ("password", PASSWORD)]);
    let fixed = attacker.session().expect("a session").to_owned();
    for session in [&*fixed, "made-up"] {
        let mut victim = Browser::new(site.client(), "en");
        victim.set_cookie("session_id", session);
        let page = victim.open("/sign-in");
        victim.submit(&page, "/sign-in", &[("login", "alice"), ("password", PASSWORD)]);
        assert_ne!(victim.session(), Some(session));
    }
    assert!(attacker.open("/user").path.starts_with("/sign-in"), "the session has ended");
    site.finish();
}

#[test]
fn a_new_user_is_signed_in_at_once_and_a_double_click_counts_once() {
    let site = Site::start();
    let mut browser = Browser::new(site.client(), "ru");
    let page = browser.open("/sign-up?next=%2Fuser%2Fbookings");
    let typed = [("login", "vera"), ("password", "a long password"), ("first_name", "Вера")];
    let form = page.form("/sign-up", &typed);
    let page = browser.submit(&page, "/sign-up", &typed);
    assert_eq!((page.status, &*page.path), (200, "/user/bookings"));
    let again = browser.send("POST", "/sign-up", Some(&form));
    assert_eq!((again.status, again.header("location")), (303, Some("/user/bookings")));
    assert!(browser.open("/user").text(".who").contains("vera"));
    site.finish();
}

#[test]
fn every_bad_field_is_told_where_it_is_with_what_was_typed() {
    let site = Site::start();
    let long = "x".repeat(101);
    for (language, taken) in [
        ("en", "This login is taken. Choose another one."),
        ("ru", "Этот логин занят. Выберите другой."),
    ] {
        let mut browser = Browser::new(site.client(), language);
        let page = browser.open("/sign-up");
        let bad = [
            ("login", "a b"),
            ("password", "short"),
            ("email", "nobody"),
            ("first_name", &*long),
            ("last_name", &*long),
        ];
        let page = browser.submit(&page, "/sign-up", &bad);
        assert_eq!(page.status, 422);
        for field in ["login", "password", "email", "first_name", "last_name"] {
            assert_eq!(page.attribute(&format!("#{field}"), "aria-invalid"), "true");
            assert!(!page.text(&format!("#{field}-wrong")).is_empty());
        }
        for (field, value) in
            [("login", "a b"), ("email", "nobody"), ("first_name", &*long), ("password", "")]
        {
            assert_eq!(page.attribute(&format!("#{field}"), "value"), value);
        }
        let page = browser.submit(
            &page,
            "/sign-up",
            &[
                ("login", "alice"),
                ("password", "long enough"),
                ("email", ""),
                ("first_name", ""),
                ("last_name", ""),
            ],
        );
        assert_eq!(page.status, 409);
        assert_eq!(page.text("#login-wrong"), taken);
        assert!(!page.has("#email-wrong"));
    }
    site.finish();
}

#[test]
fn a_demo_offers_its_users_by_one_click() {
    let site = demo();
    for path in ["/", "/sign-in"] {
        let mut browser = Browser::new(site.client(), "en");
        let page = browser.open(path);
        assert_eq!(page.text("section button"), "Sign in as alice");
        let form = page.all("section form").len();
        assert_eq!(form, 1);
        let body = format!("login=alice&password={}", PASSWORD.replace(' ', "+"));
        let answer = browser.send("POST", "/sign-in", Some(&body));
        assert_eq!((answer.status, answer.header("location")), (303, Some("/user")));
        assert!(!browser.open("/").has("section.panel form"), "who is signed in needs no offer");
    }
    let page = Browser::new(site.client(), "en").open("/sign-in?next=%2Fuser%2Faccount");
    assert_eq!(page.attribute("section form [name=next]", "value"), "/user/account");
    site.finish();
}

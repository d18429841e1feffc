//! Organisers' pages are for admins, their forms come from here only, and what was typed is text.

use serde_json::json;

use crate::booking::signed_in;
use crate::browser::Browser;
use crate::site::{ALICE_ID, Site};
use crate::start::event;

const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

fn pages(id: i64) -> Vec<String> {
    let fixed = ["/admin", "/admin?all=1", "/admin/events/new", "/admin/users"].map(str::to_owned);
    let of_event = ["edit", "cancel"].map(|page| format!("/admin/events/{id}/{page}"));
    fixed.into_iter().chain(of_event).chain([format!("/admin/users/{ALICE_ID}")]).collect()
}

/// Every form of these pages, with what it would change.
fn forms(id: i64) -> [(String, &'static str); 5] {
    [
        (
            "/admin/events/new/save".to_owned(),
            "name=Forged&capacity=5&price=0&paymentTTL=5&zone=UTC",
        ),
        (
            format!("/admin/events/{id}/edit/save"),
            "name=Forged&capacity=5&price=0&paymentTTL=5&zone=UTC&date=2090-01-01T10:00",
        ),
        (format!("/admin/events/{id}/cancel/confirm"), "sure=yes"),
        (format!("/admin/users/{ALICE_ID}/role"), "role=admin"),
        (format!("/admin/users/{ALICE_ID}/deposit"), "delta=5"),
    ]
}

#[test]
fn strangers_are_led_to_the_sign_in_and_users_are_told_that_it_is_not_for_them() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let id = event(&admin, "Green run", 5, 0);
    let before = admin.event(id);
    for language in ["en", "ru"] {
        let mut stranger = Browser::new(site.client(), language);
        let mut alice = signed_in(&site, "alice", language);
        let title = if language == "en" { "Not allowed" } else { "Доступ запрещён" };
        for path in pages(id) {
            let page = stranger.open(&path);
            let next: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
            assert_eq!(page.path, format!("/sign-in?next={next}"));
            let page = alice.open(&path);
            assert_eq!((page.status, &*page.text("h1")), (403, title), "{path}");
        }
        for (path, form) in forms(id) {
            let answer = stranger.send("POST", &path, Some(form));
            let page = path.rsplit_once('/').expect("a page").0;
            let next = format!("name=\"next\" value=\"{page}\"");
            let text = String::from_utf8(answer.body).unwrap();
            assert!(answer.status == 401 && text.contains(&next), "{text}");
            assert_eq!(alice.send("POST", &path, Some(form)).status, 403, "{path}");
        }
        assert!(!alice.open("/user").has("a[href='/admin']"));
    }
    assert_eq!((admin.event(id), site.client().get("/events").ids().len()), (before, 1));
    site.finish();
}

#[test]
fn forms_from_elsewhere_are_refused() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let id = event(&admin, "Green run", 5, 0);
    let before = admin.event(id);
    let session = admin.session().expect("a session").to_owned();
    for (path, form) in forms(id) {
        for (name, value) in [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
        ] {
            let forged = site
                .client()
                .ask("POST", &path)
                .header("Cookie", &format!("session_id={session}"))
                .header(name, value)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(form.as_bytes())
                .answer();
            forged.problem(403, "cross-site");
        }
        // Nor is anything changed by a link.
        let link = admin.get(&format!("{path}?{form}"));
        assert_eq!(link.status, 405, "{path}");
    }
    assert_eq!((admin.event(id), site.client().get("/events").ids().len()), (before, 1));
    assert_eq!(site.client_of("alice").balance(), 0);
    assert_eq!(signed_in(&site, "alice", "en").open("/admin").status, 403);
    // The same forms from here are taken.
    let mut browser = signed_in(&site, "admin", "en");
    for (path, form) in forms(id) {
        assert_eq!(browser.send("POST", &path, Some(form)).status, 303, "{path}");
    }
    site.finish();
}

/// Whatever can be typed is shown as it was typed.
#[test]
fn nothing_that_was_typed_becomes_part_of_an_organisers_page() {
    const LOGIN: &str = "<b>\"'&{{7*7}}</b>";
    let site = Site::start();
    let admin = site.client_of("admin");
    let query: String = form_urlencoded::byte_serialize(EVIL.as_bytes()).collect();
    let described = json!({"name": EVIL, "description": format!("</textarea>{EVIL}"),
                           "date": "2090-05-01T18:00:00Z", "capacity": 5, "paymentTTL": 5});
    let id = admin.post("/events", &described).id();
    let gone = admin.post("/events", &described).id();
    admin.post(&format!("/events/{gone}/cancel"), &json!({}));
    let user = json!({"login": LOGIN, "password": "long enough", "email": "<i>@x", "first_name": EVIL,
                      "last_name": EVIL});
    let user = site.client().post("/register", &user).id();
    let mut browser = signed_in(&site, "admin", "en");
    browser.set_cookie("zone", "<script>alert(1)</script>");
    let mut shown = Vec::new();
    let of_user = format!("/admin/users/{user}");
    for path in pages(id).into_iter().chain([
        of_user.clone(),
        format!("/admin/events/{gone}/edit"),
        format!("/admin/events/{gone}/cancel?of={query}"),
        format!("/admin?q={query}"),
        format!("/admin?all={query}"),
        format!("/admin/users?q={query}"),
        format!("/admin/events/{query}/edit"),
    ]) {
        shown.push(String::from_utf8(browser.open(&path).answer.body).expect("UTF-8"));
    }
    let field = |name: &str| format!("{name}={query}");
    let fields = ["name", "description", "date", "zone", "capacity", "price", "paymentTTL", "key"];
    let form = fields.map(field).join("&");
    let was = fields.map(|name| field(&format!("{name}-was"))).join("&");
    for (path, form) in [
        ("/admin/events/new/save".to_owned(), form.clone()),
        (format!("/admin/events/{id}/edit/save"), format!("{form}&{was}")),
        (format!("/admin/events/{id}/cancel/confirm"), field("key")),
        (format!("{of_user}/role"), field("role")),
        (format!("{of_user}/deposit"), field("delta")),
    ] {
        let answer = browser.send("POST", &path, Some(&form));
        assert_eq!(answer.status, 422, "{path}");
        shown.push(String::from_utf8(answer.body).expect("UTF-8"));
    }
    let mut times = 0;
    for page in shown {
        for tag in ["<img", "<script>", "<b>", "<i>"] {
            assert!(!page.contains(tag), "{tag} in {page}");
        }
        assert!(page.matches("</textarea>").count() <= 1, "{page}");
        times += page.matches("alert(1)").count();
    }
    assert!(times > 30, "it was shown, {times} times");
    site.finish();
}

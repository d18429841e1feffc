//! What checks came to is seen by organisers.

use crate::browser::Browser;
use crate::site::Site;

#[test]
fn organisers_see_what_the_last_checks_came_to() {
    let site = Site::start();
    let mut organiser = Browser::new(site.client_of("admin"), "en");
    let page = organiser.open("/admin/checks");
    assert!(page.text("main").contains("Nothing has been recounted yet."));

    // As the command and the service leave them, which their own tests see.
    site.database().change(
        "INSERT INTO checks (checker, at, rows, findings, first) VALUES
           (0, 1767225660000000, 1234567, 0, ''),
           (1, 1767225720000000, 1234567, 1, 'seats: event <7> has\nmoney: two')",
    );
    let page = organiser.open("/admin/checks");
    let headings: Vec<_> = page.all("h2").iter().map(|it| it.text().collect::<String>()).collect();
    assert_eq!(headings, ["The service, beside its work", "eventbooker check"], "newest first");
    assert_eq!(
        page.text("h2 + .notice.bad").split(". ").next(),
        Some("Not everything adds up: 1 finding in 1,234,567 rows")
    );
    assert_eq!(page.text("li[lang=en]"), "seats: event <7> has money: two");
    assert_eq!(
        page.text("h2 + .notice:not(.bad)"),
        "Everything adds up: 1,234,567 rows were read."
    );
    assert!(page.text("time").contains("1 January 2026, 00:02"), "{}", page.text("time"));
    let mut organiser = Browser::new(site.client_of("admin"), "ru");
    assert!(
        organiser.open("/admin/checks").text("main").contains("Сходится не всё: 1 расхождение,")
    );

    let mut attendee = Browser::new(site.client_of("alice"), "en");
    assert_eq!(attendee.open("/admin/checks").status, 403);
    let mut stranger = Browser::new(site.client(), "en");
    assert!(stranger.open("/admin/checks").path.starts_with("/sign-in?next="));
    site.finish();
}

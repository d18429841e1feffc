//! An event's bookings as a file for spreadsheets.

use csv::StringRecord;
use eventbooker_testkit::client::{Answer, PASSWORD};
use serde_json::json;

use crate::site::{ALICE_ID, Site};
use crate::start::event;

const HEADINGS: [&str; 12] = [
    "booking",
    "event",
    "user",
    "login",
    "first_name",
    "last_name",
    "email",
    "seats",
    "amount",
    "status",
    "created_at",
    "expires_at",
];

/// The rows of the file, its headings checked.
fn rows(file: &Answer) -> Vec<StringRecord> {
    assert_eq!(file.status, 200, "{file:?}");
    let text = file.body.strip_prefix("\u{feff}".as_bytes()).expect("a mark of UTF-8");
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    assert!(lines.into_iter().all(|line| line.ends_with(b"\r")), "lines end as they should");
    let mut reader = csv::Reader::from_reader(text);
    assert_eq!(reader.headers().unwrap(), &HEADINGS[..]);
    reader.records().map(|row| row.expect("a whole row")).collect()
}

fn numbers(rows: &[StringRecord]) -> Vec<i64> {
    rows.iter().map(|row| row[0].parse().expect("a number")).collect()
}

#[test]
fn every_live_booking_is_in_the_file_with_its_owner() {
    let site = Site::start();
    let [admin, alice, bob] = site.clients();
    let id = event(&admin, "Green run", 60, 1500);
    admin.deposit_for(ALICE_ID, 100_000);
    let paid = alice.book(id, 15).json();
    assert_eq!(alice.confirm(id, paid["id"].as_i64().unwrap()).status, 200);
    let held = bob.book(id, 6).json();
    bob.cancel(bob.book(id, 1).id());
    let file = admin.get(&format!("/admin/events/{id}/bookings.csv"));
    assert_eq!(file.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    let disposition = format!("attachment; filename=\"bookings-{id}.csv\"");
    assert_eq!(file.header("content-disposition"), Some(&*disposition));
    assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(file.header("cache-control"), Some("no-store"));
    let told: Vec<Vec<String>> =
        rows(&file).iter().map(|row| row.iter().map(str::to_owned).collect()).collect();
    let wanted = [(held, "bob", "9000", "pending"), (paid, "alice", "22500", "confirmed")];
    let wanted = wanted.map(|(booking, login, amount, status)| {
        let text = |name: &str| booking[name].to_string().trim_matches('"').to_owned();
        let email = format!("{login}@example.org");
        vec![
            text("id"),
            id.to_string(),
            text("userId"),
            login.to_owned(),
            "Zoë".to_owned(),
            "Grün".to_owned(),
            email,
            text("seats"),
            amount.to_owned(),
            status.to_owned(),
            text("createdAt"),
            text("expiresAt"),
        ]
    });
    assert_eq!(told, wanted);
    let empty = event(&admin, "Choir", 60, 0);
    assert!(rows(&admin.get(&format!("/admin/events/{empty}/bookings.csv"))).is_empty());
    site.finish();
}

#[test]
fn what_users_call_themselves_neither_breaks_a_row_nor_is_computed() {
    let site = Site::start();
    let admin = site.client_of("admin");
    let id = event(&admin, "Green run", 60, 0);
    for (login, first_name, last_name, email, told) in [
        (
            "=1+1",
            "@SUM(A1)",
            "-2+3",
            "+a@b.example",
            ["'=1+1", "'@SUM(A1)", "'-2+3", "'+a@b.example"],
        ),
        (
            "a,b",
            "say \"hi\"",
            "x;=HYPERLINK(\"http://evil.example\")",
            "",
            ["a,b", "say \"hi\"", "x;'=HYPERLINK(\"http://evil.example\")", ""],
        ),
        (
            "Анна",
            "  =1",
            "Д’Артаньян",
            "a-b@c-d.example",
            ["Анна", "'  =1", "Д’Артаньян", "a-b@c-d.example"],
        ),
    ] {
        let user = json!({"login": login, "password": PASSWORD, "email": email,
                          "first_name": first_name, "last_name": last_name});
        assert_eq!(site.client().post("/register", &user).status, 200, "{login}");
        let booking = site.client_of(login).book(id, 1).id();
        let file = admin.get(&format!("/admin/events/{id}/bookings.csv"));
        let rows = rows(&file);
        assert_eq!(rows[0].len(), HEADINGS.len());
        assert_eq!(numbers(&rows)[0], booking);
        assert_eq!([&rows[0][3], &rows[0][4], &rows[0][5], &rows[0][6]], told);
        // However a spreadsheet splits it, no cell begins with a formula.
        let text = String::from_utf8(file.body).unwrap();
        for separator in [',', ';', '\t'] {
            for cell in text.split(['\r', '\n', separator]) {
                let cell = cell.trim_start_matches(['"', ' ', '\u{feff}']);
                assert!(!cell.starts_with(['=', '+', '-', '@']), "{separator:?}: {cell}");
            }
        }
    }
    site.finish();
}

/// More than is read at once; and if reading fails on the way, nobody takes what came for all of it.
#[test]
fn a_long_file_is_whole_or_visibly_isnt() {
    let site = Site::start();
    let [admin, alice, _] = site.clients();
    let id = event(&admin, "Green run", 2000, 0);
    let other = event(&admin, "Choir", 2000, 0);
    let mut ids = Vec::new();
    for _ in 0..510 {
        ids.push(alice.book(id, 1).id());
    }
    alice.book(other, 1);
    ids.reverse();
    let path = format!("/admin/events/{id}/bookings.csv");
    assert_eq!(numbers(&rows(&admin.get(&path))), ids);

    // A row that nobody can read, on the second page.
    let damage = |state: i64, was: i64| {
        let change = format!(
            "UPDATE bookings SET state = {state} WHERE id = {} AND state = {was}",
            ids[509]
        );
        assert_eq!(site.database().change(&change), 1);
    };
    damage(77, 2);
    let broken = admin.ask("GET", &path).send();
    assert!(broken.is_err(), "{:?}", broken.map(|answer| answer.body.len()));
    damage(2, 77);
    assert_eq!(numbers(&rows(&admin.get(&path))).len(), 510);
    // On the first page it is told as what it is.
    let newest = ids[0];
    site.database().change(&format!("UPDATE bookings SET state = 77 WHERE id = {newest}"));
    let refused = admin.get(&path);
    assert!(refused.status >= 500, "{refused:?}");
    site.database().change(&format!("UPDATE bookings SET state = 2 WHERE id = {newest}"));
    site.finish();
}

//! `eventbooker copy`: an embedded installation becomes one on PostgreSQL, whatever happens meanwhile; and
//! one database becomes several.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

mod gate;
mod parts;
mod source;

use std::thread;

use eventbooker_testkit::database::Database;
use eventbooker_testkit::postgres::{self, Schema};
use eventbooker_testkit::server::{Installation, Ran};

use self::gate::{Copying, Place};
use self::source::{ALICE, Everything, book_once, installed, said, small};

fn on_postgres() -> Installation {
    installed(Database::postgres())
}

/// A copy of the installation in whose directory it runs.
fn arguments(to: &str) -> [String; 5] {
    ["copy", "--from", "sqlite:eventbooker.db", "--to", to].map(str::to_owned)
}

fn copy(source: &Installation, to: &Installation) -> Ran {
    copy_to(source, &to.database().url())
}

fn copy_to(source: &Installation, url: &str) -> Ran {
    source.run(&arguments(url).each_ref().map(String::as_str))
}

/// Fails unless a command said no with this exit code and, in one line, these words.
fn assert_refuses(ran: &Ran, code: i32, words: &str) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    // A service logs what it does until then.
    let said = ran.stderr.trim_end().lines().filter(|line| !line.contains(" INFO "));
    assert_eq!(said.count(), 1, "{ran:?}");
}

fn assert_copied(ran: &Ran) {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.stdout.matches("every invariant holds").count(), 2, "{ran:?}");
    assert!(ran.stdout.contains("they are the same in both"), "{ran:?}");
}

/// Fails unless nobody takes a database for one that is complete.
fn assert_unfinished(target: &Installation) {
    let words = "holds an unfinished copy of sqlite:/";
    let commands: [&[&str]; 4] = [
        &["serve", "--listen", "127.0.0.1:0"],
        &["user", "list"],
        &["event", "add", "x", "--capacity", "1"],
        &["saga", "list"],
    ];
    for command in commands {
        assert_refuses(&target.run(command), 1, words);
    }
    assert_refuses(&target.run(&["check"]), 2, words);
}

const TABLES: [&str; 13] = [
    "users",
    "sessions",
    "events",
    "tallies",
    "slots",
    "journal",
    "accounts",
    "postings",
    "bookings",
    "errands",
    "saga_steps",
    "memories",
    "answers",
];

/// Fails unless both have as many rows, seats and money.
fn assert_equal(source: &Installation, target: &Installation) {
    let counts = TABLES.map(|table| format!("SELECT count(*) FROM {table}"));
    let sums = [
        "SELECT CAST(sum(occupied) AS bigint) FROM tallies",
        "SELECT CAST(sum(balance) AS bigint) FROM accounts",
        "SELECT last FROM ids ORDER BY kind",
    ];
    for query in counts.iter().map(String::as_str).chain(sums) {
        let (had, has) = (source.database().numbers(query), target.database().numbers(query));
        assert_eq!(had, has, "{query}");
    }
}

#[test]
fn everything_is_there_afterwards_and_goes_on() {
    let everything = Everything::new();
    let Everything { source, event, held, keyed, refunding, gone, alice, bob } = &everything;
    for table in TABLES {
        assert!(source.database().number(&format!("SELECT count(*) FROM {table}")) > 0, "{table}");
    }
    let server = source.serve(&[]);
    let answers = said(&server, &everything);
    server.terminate();
    let booking = refunding.to_string();
    let looks = [vec!["saga", "show", &booking], vec!["saga", "list"], vec!["user", "list"]];
    let listed = looks.each_ref().map(|look| source.run(look));

    let target = on_postgres();
    assert_copied(&copy(source, &target));
    assert_equal(source, &target);
    for (look, had) in looks.iter().zip(&listed) {
        assert_eq!(&target.run(look), had);
    }
    let server = target.serve(&[]);
    assert_eq!(said(&server, &everything), answers, "and nobody had to sign in");

    let [alice, bob] = [alice, bob].map(|session| server.client().with_session(Some(session)));
    assert_eq!(bob.cancel(*gone).status, 410, "a number that was given out is known as gone");
    assert_eq!(bob.cancel(gone + 1).status, 404);
    let again = book_once(&bob, keyed.json()["eventId"].as_i64().unwrap());
    assert_eq!((again.status, &again.body), (keyed.status, &keyed.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let balance = alice.balance();
    assert_eq!(alice.confirm(*event, *held).status, 200);
    assert_eq!(alice.balance(), balance - 20, "two seats at 10");
    assert!(alice.book(*event, 1).id() > *gone, "new numbers are above all old ones");
    let admin = server.client_of("admin");
    let last = source.database().number("SELECT last FROM ids WHERE kind = 'event'");
    assert!(admin.create_event(3, 0, 30) > last);
    let last = source.database().number("SELECT last FROM ids WHERE kind = 'user'");
    assert!(server.client().registered("newcomer").get("/auth").id() > last);
    assert_eq!(admin.deposit_for(ALICE, 5).status, 200);
    server.terminate();
    target.check();
    source.check();
}

/// Wherever a copy is killed, nobody serves what it leaves, and the next one comes to its end.
#[test]
fn a_copy_that_was_killed_is_not_served_and_can_be_started_again() {
    let everything = Everything::new();
    let source = &everything.source;
    let target = on_postgres();
    assert_eq!(target.run(&["migrate"]).code, Some(0));
    gate::build(target.database());
    let url = target.database().url();
    let arguments = arguments(&url);
    let arguments = arguments.each_ref().map(String::as_str);
    let killed_at = |place| Copying::until(place, source, &arguments, target.database()).kill();

    // Nothing has been written yet.
    killed_at(Place { operation: "INSERT", table: "unfinished_copy", rows: 1 });
    killed_at(Place { operation: "TRUNCATE", table: "users", rows: 0 });
    target.check();
    let second = |table| Place { rows: 1_001, ..Place::in_table(table) };
    let places = [
        Place::in_table("events"),
        Place::in_table("bookings"),
        second("postings"),
        // What was written is being taken away.
        Place { operation: "TRUNCATE", table: "users", rows: 0 },
        second("saga_steps"),
        second("answers"),
        second("users"),
        Place::in_table("sessions"),
        Place { operation: "DELETE", table: "unfinished_copy", rows: 0 },
    ];
    for place in places {
        killed_at(place);
        assert_unfinished(&target);
    }
    assert_copied(&copy(source, &target));
    assert_equal(source, &target);
    target.serve(&[]).terminate();
    assert_refuses(&copy(source, &target), 1, "isn't empty, there are rows in users");
    assert_equal(source, &target);
}

/// While it is copied, a source is nobody else's, and its target has one copy.
#[test]
fn nobody_else_is_at_work_meanwhile() {
    let source = small();
    let server = source.serve(&[]);
    let target = on_postgres();
    assert_refuses(&copy(&source, &target), 1, "in use by another server");
    server.terminate();

    let waiting = target.serve(&["--request-timeout-s", "1"]);
    gate::build(target.database());
    let url = target.database().url();
    let arguments = arguments(&url);
    let arguments = arguments.each_ref().map(String::as_str);
    let place = Place::in_table("bookings");
    let copying = Copying::until(place, &source, &arguments, target.database());
    assert_refuses(&source.run(&["serve", "--listen", "127.0.0.1:0"]), 1, "in use by another");
    let added = source.run(&["event", "add", "x", "--capacity", "1"]);
    assert_refuses(&added, 1, "database is locked");
    assert_refuses(&copy(&source, &target), 1, "in use by another");
    assert_refuses(&copy(&small(), &target), 1, "holds an unfinished copy of sqlite:/");
    assert_unfinished(&target);
    // A server that was there before has no numbers to give.
    let nobody = serde_json::json!({"login": "eve", "password": "a password of eve's", "email": "",
                                    "first_name": "", "last_name": ""});
    assert_eq!(waiting.client().post("/register", &nobody).status, 503);
    copying.finish();
    assert_eq!(waiting.client_of("alice").get("/bookings").ids().len(), 2);
    waiting.terminate();
    target.check();
    source.serve(&[]).terminate();
}

/// The negative control: whatever isn't as it was is noticed, and the copy isn't served.
#[test]
fn a_target_that_differs_is_not_finished() {
    let everything = Everything::new();
    let source = &everything.source;
    let target = on_postgres();
    assert_eq!(target.run(&["migrate"]).code, Some(0));
    let damages = [
        ("UPDATE bookings SET seats = seats + 1 WHERE id = 1", "isn't sound"),
        ("UPDATE accounts SET balance = balance + 1 WHERE account_id = 2", "isn't sound"),
        ("DELETE FROM slots WHERE booking_id = 1", "isn't sound"),
        ("UPDATE events SET description = 'x' WHERE id = 1", "events: as many rows, but not"),
        ("UPDATE users SET password_hash = 'x' WHERE id = 2", "users: as many rows, but not"),
        ("UPDATE users SET role = 1 WHERE id = 2", "users: as many rows, but not"),
        ("DELETE FROM answers WHERE scope = 7", "answers: 2301 rows became 2300"),
        ("UPDATE memories SET at = at + 1 WHERE attempt = 7", "memories: as many rows, but not"),
        ("UPDATE errands SET token = 1", "errands: as many rows, but not"),
        (
            "UPDATE saga_steps SET answered = CASE answered WHEN 'not yet, 7' THEN 'not yet, 8'
               ELSE 'not yet, 7' END WHERE answered IN ('not yet, 7', 'not yet, 8')",
            "saga_steps: as many rows, but not",
        ),
    ];
    target.database().change(
        "CREATE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
         CREATE TRIGGER damage AFTER INSERT ON sessions
         FOR EACH STATEMENT EXECUTE FUNCTION damage()",
    );
    for (damage, words) in damages {
        target.database().change(&format!(
            "CREATE OR REPLACE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN {damage}; RETURN NULL; END $$"
        ));
        let ran = copy(source, &target);
        assert_refuses(&ran, 1, words);
        assert!(ran.stderr.contains("the copy isn't finished, start it again"), "{ran:?}");
    }
    assert_unfinished(&target);
    target.database().change(
        "DROP TRIGGER damage ON sessions;
         CREATE OR REPLACE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN NEW.last = NEW.last + 1; RETURN NEW; END $$;
         CREATE TRIGGER damage BEFORE UPDATE ON ids FOR EACH ROW EXECUTE FUNCTION damage()",
    );
    assert_refuses(&copy(source, &target), 1, "the numbers that come next differ");
    target.database().change("DROP TRIGGER damage ON ids");
    assert_copied(&copy(source, &target));
    assert_equal(source, &target);
}

#[test]
fn a_target_must_be_empty_and_ours() {
    let source = small();
    let target = on_postgres();
    target.add_user("zoe", "admin");
    assert_refuses(&copy(&source, &target), 1, "isn't empty, there are rows in users; copy into");
    assert_eq!(target.database().numbers("SELECT count(*) FROM users"), [1]);
    target.check();

    let target = on_postgres();
    target.database().change("CREATE TABLE users (name text); INSERT INTO users VALUES ('zoe')");
    assert_refuses(&copy(&source, &target), 1, "has tables of another program: relation \"users\"");
    assert_eq!(target.database().numbers("SELECT count(*) FROM users"), [1]);

    let target = on_postgres();
    assert_eq!(target.run(&["migrate"]).code, Some(0));
    target.database().change("INSERT INTO unfinished_copy VALUES (1, 'sqlite:/of/another.db')");
    let words = "holds an unfinished copy of sqlite:/of/another.db; finish that one, or drop its";
    assert_refuses(&copy(&source, &target), 1, words);
    target.database().change("DELETE FROM unfinished_copy; UPDATE schema_version SET version = 99");
    assert_refuses(&copy(&source, &target), 1, "schema version 99");
}

#[test]
fn a_target_that_is_in_use_or_closed_is_refused() {
    let source = small();
    let target = on_postgres();
    assert_eq!(target.run(&["migrate"]).code, Some(0));
    target.database().change("CREATE TABLE over (so boolean)");
    let mine = "WHERE application_name = current_setting('application_name')
                AND wait_event = 'PgSleep'";
    thread::scope(|scope| {
        let lock = "BEGIN; SELECT last FROM ids FOR UPDATE; DO $$ BEGIN
                      WHILE NOT EXISTS (SELECT FROM over) LOOP PERFORM pg_sleep(0.02); END LOOP;
                    END $$; ROLLBACK";
        let locked = scope.spawn(|| target.database().change(lock));
        let waiting = format!("SELECT count(*) FROM pg_stat_activity {mine}");
        while target.database().number(&waiting) == 0 && !locked.is_finished() {
            thread::yield_now();
        }
        let ran = copy(&source, &target);
        target.database().change("INSERT INTO over VALUES (true)");
        assert_refuses(&ran, 1, "is in use: another copy goes there, or a server runs on it");
    });

    let closed = postgres::Server::start(&[]);
    postgres::execute(&closed.url(), "CREATE ROLE visitor LOGIN");
    let url = closed.url().replace("postgres@", "visitor:hush-hush@");
    let ran = copy_to(&source, &url);
    assert_refuses(&ran, 1, "permission denied for schema public");
    assert!(!format!("{ran:?}").contains("hush"), "{ran:?}");
    let ran = copy_to(&source, &url.replace("visitor", "nobody"));
    assert_refuses(&ran, 1, "role \"nobody\" does not exist");
    assert!(!format!("{ran:?}").contains("hush"), "{ran:?}");
}

#[test]
fn a_source_must_be_there_and_sound() {
    let source = small();
    let target = Schema::new();
    let run = |from: &str, to: &str| source.run(&["copy", "--from", from, "--to", to]);
    assert_refuses(&run("sqlite:none.db", target.url()), 1, "can't open sqlite:none.db");
    assert!(!source.directory().join("none.db").exists());
    assert!(!source.directory().join("none.db.lock").exists());
    std::fs::write(source.directory().join("old.db"), "").unwrap();
    assert_refuses(&run("sqlite:old.db", target.url()), 1, "run `eventbooker migrate`");

    source.database().change("UPDATE tallies SET occupied = occupied + 1");
    let ran = run("sqlite:eventbooker.db", target.url());
    assert_refuses(&ran, 1, "sqlite:eventbooker.db isn't sound, so nothing was copied");
    assert!(ran.stdout.contains("BROKEN seats: event 1"), "{ran:?}");
    source.database().change("UPDATE tallies SET occupied = occupied - 1");
    let count = "SELECT (SELECT count(*) FROM unfinished_copy) + (SELECT count(*) FROM users)";
    assert_eq!(postgres::numbers(target.url(), count), [0]);
}

#[test]
fn a_copy_needs_two_databases() {
    let source = small();
    let url = "postgres://ann:hush-hush@127.0.0.1:1/tickets";
    let run = |arguments: &[&str]| source.run(&[&["copy"], arguments].concat());
    let file = "sqlite:eventbooker.db";
    let wrong: [(&[&str], &str); 6] = [
        (&["--from", file, "--to", file], "is in use by another server"),
        (&["--from", file, "--to", url, "--from-password-file", "x"], "--from-password-file: an"),
        (&["--from", "tickets.db", "--to", url], "--from: must be like sqlite:"),
        (&["--from", file, "--to", "hush-hush"], "--to: must be like sqlite:"),
        (&["--from", file, "--to", url, "--to-password-file", "none"], "--to-password-file: can't"),
        (&["--from", file, "--to", url], "can't open postgres://ann@127.0.0.1:1/tickets"),
    ];
    for (arguments, words) in wrong {
        let ran = run(arguments);
        assert_refuses(&ran, 1, words);
        assert!(!ran.stderr.contains("hush"), "{ran:?}");
    }
    for missing in [["--from", file], ["--to", url]] {
        assert_eq!(run(&missing).code, Some(2));
    }
    let ran = run(&["--from", file, "--to", "sqlite:to.db", "--services", "auth,boo"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("`boo` is no service"), "{ran:?}");
}

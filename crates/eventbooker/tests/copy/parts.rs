//! A database in parts: what one process has is copied to those of four, and back.

use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Ran};

use super::{TABLES, assert_equal, assert_refuses};
use crate::source::{Everything, installed, said, small};

/// Each service with its tables.
const PARTS: [(&str, &[&str]); 4] = [
    ("auth", &["users", "sessions"]),
    ("events", &["events", "tallies", "slots", "journal"]),
    ("account", &["accounts", "postings"]),
    ("book", &["bookings", "errands", "saga_steps"]),
];
/// Where every part has its own.
const SHARED: [&str; 2] = ["memories", "answers"];

fn copy(at: &Installation, from: &str, to: &Installation, more: &[&str]) -> Ran {
    let to = to.database().url();
    at.run(&[&["copy", "--from", from, "--to", &to], more].concat())
}

fn assert_copied(ran: &Ran, service: &str) {
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.contains("; they are the same in both"), "{ran:?}");
    assert!(ran.stdout.contains(&format!(", of {service};")), "{ran:?}");
}

/// How many rows there are; none if there is no such table.
fn rows(installation: &Installation, table: &str) -> i64 {
    let database = installation.database();
    let there = if database.is_embedded() {
        format!("SELECT count(*) FROM sqlite_schema WHERE name = '{table}'")
    } else {
        format!("SELECT count(to_regclass('{table}'))")
    };
    if database.number(&there) == 0 {
        return 0;
    }
    database.number(&format!("SELECT count(*) FROM {table}"))
}

/// The databases of the four services, filled from one.
fn taken_apart(source: &Installation, database: fn() -> Database) -> Vec<Installation> {
    let parts = PARTS.map(|(service, tables)| {
        let part = installed(database());
        let ran = copy(source, &source.database().url(), &part, &["--services", service]);
        assert_copied(&ran, service);
        assert_eq!(ran.stdout.matches("every invariant holds").count(), 1, "the source's: {ran:?}");
        for table in TABLES {
            let expected = if tables.contains(&table) { rows(source, table) } else { 0 };
            if !SHARED.contains(&table) {
                assert_eq!(rows(&part, table), expected, "{service}: {table}");
            }
        }
        part
    });
    parts.into()
}

fn there_and_back(there: fn() -> Database, back: fn() -> Database) {
    let everything = Everything::new();
    let source = &everything.source;
    let server = source.serve(&[]);
    let answers = said(&server, &everything);
    server.terminate();
    let parts = taken_apart(source, there);
    let memories = parts.iter().map(|part| rows(part, "memories")).sum::<i64>();
    assert_eq!(memories, rows(source, "memories"), "each participant's are with it");
    for part in &parts {
        assert_eq!(rows(part, "answers"), rows(source, "answers"), "a repeat may come anywhere");
    }

    let whole = installed(back());
    for ((service, _), part) in PARTS.iter().zip(&parts) {
        assert_copied(&copy(source, &part.database().url(), &whole, &[]), service);
    }
    assert_equal(source, &whole);
    whole.check();
    let server = whole.serve(&[]);
    assert_eq!(said(&server, &everything), answers);
    server.terminate();
    if !whole.database().is_embedded() {
        taken_apart(&whole, Database::postgres);
    }
}

#[test]
fn four_files_become_one() {
    there_and_back(Database::embedded, Database::embedded);
}

#[test]
fn four_files_become_one_database_on_a_server() {
    there_and_back(Database::embedded, Database::postgres);
}

#[test]
fn four_databases_on_a_server_become_one() {
    there_and_back(Database::postgres, Database::postgres);
}

#[test]
fn four_databases_on_a_server_become_one_file() {
    there_and_back(Database::postgres, Database::embedded);
}

/// Whatever was begun is finished as it was begun, and a part that is there isn't written over.
#[test]
fn a_part_comes_once() {
    for database in [Database::embedded, Database::postgres] {
        let (source, target) = (small(), installed(database()));
        let file = "sqlite:eventbooker.db";
        let part = |services| copy(&source, file, &target, &["--services", services]);
        assert_copied(&part("auth"), "auth");
        assert_refuses(&part("auth"), 1, "isn't empty, there are rows in users");
        assert_refuses(&part("auth,events"), 1, "isn't empty, there are rows in users");
        assert_copied(&part("events"), "events");

        let mark = format!("INSERT INTO unfinished_copy VALUES (1, '{}')", "sqlite:/x.db (book)");
        target.database().change(&mark);
        assert_refuses(&part("account"), 1, "holds an unfinished copy of sqlite:/x.db (book)");
        assert_refuses(&target.run(&["user", "list"]), 1, "holds an unfinished copy of");
        target.database().change("DELETE FROM unfinished_copy");

        // What is left of one that was interrupted.
        assert_eq!(target.run(&["migrate", "--services", "account,book"]).code, Some(0));
        let from = source.database().file().canonicalize().unwrap();
        target.database().change(&format!(
            "INSERT INTO unfinished_copy VALUES (1, 'sqlite:{} (account,book)');
             INSERT INTO errands (booking_id, event_id, user_id, token, due_at, tries, parked)
               VALUES (77, 1, 1, 1, 1, 1, {false_})",
            from.display(),
            false_ = if target.database().is_embedded() { "0" } else { "false" },
        ));
        assert_copied(&part("account,book"), "account,book");
        target.check();
    }
}

/// A service's whole database that is copied is the same to its neighbours. The parts of one that had none
/// are new ones.
#[test]
fn a_services_database_keeps_its_name() {
    for database in [Database::embedded, Database::postgres] {
        let source = small();
        let [part, moved] = [(); 2].map(|()| installed(database()));
        let knows = "INSERT INTO neighbours (service, database, number, heard)
                     SELECT 'book', id, 7, 3 FROM installation";
        let id = |of: &Installation| of.run(&["neighbour", "list"]).stdout;
        source.database().change(knows);
        assert_copied(
            &copy(&source, "sqlite:eventbooker.db", &part, &["--services", "events"]),
            "events",
        );
        let listed = id(&part);
        assert!(
            listed.contains("which has come to 0") && listed.contains("no neighbours"),
            "{listed}"
        );
        assert_ne!(listed.split_once(','), id(&source).split_once(','));

        part.database().change("UPDATE progress SET number = 5 WHERE slot = 0");
        part.database().change(knows);
        assert_copied(&copy(&source, &part.database().url(), &moved, &[]), "events");
        let listed = id(&part);
        assert!(listed.contains("which has come to 5") && listed.contains("book"), "{listed}");
        assert_eq!(id(&moved), listed);
    }
}

/// Each command finds what it needs, or says where it has looked.
#[test]
fn a_part_does_what_it_can() {
    let source = small();
    let parts = taken_apart(&source, Database::embedded);
    let commands: [(&[&str], &str); 3] =
        [(&["user", "list"], "auth"), (&["event", "list"], "events"), (&["saga", "list"], "book")];
    for (command, of) in commands {
        for ((service, _), part) in PARTS.iter().zip(&parts) {
            let ran = part.run(command);
            if *service == of {
                assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
            } else {
                let words = format!("holds {service} and not {of}; name the database of {of}");
                assert_refuses(&ran, 1, &words);
            }
        }
    }
    let [auth, ..] = &parts[..] else { panic!("there are four") };
    let missing = "holds auth and not events,account,book; name the database that does, or make";
    assert_refuses(&auth.run(&["serve", "--listen", "127.0.0.1:0"]), 1, missing);
    auth.add_user("zoe", "user");
    let file = auth.database().url();
    let copied = copy(&source, &file, &installed(Database::embedded()), &["--services", "book"]);
    assert_refuses(&copied, 1, "holds auth and not book");

    let migrated = auth.run(&["migrate", "--services", "auth,book"]);
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    assert!(migrated.stdout.contains("the tables of book were added\nit holds auth,book\n"));
    assert_eq!(auth.run(&["saga", "list"]).code, Some(0));
}

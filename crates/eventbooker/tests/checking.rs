//! `eventbooker check` where services have databases of their own.

#![allow(missing_docs, reason = "a test")]

use std::fs;

use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::{Installation, Ran};

/// What each service has a database of its own without.
const WITHOUT: [(&str, &str); 3] = [
    (
        "book",
        "DELETE FROM events; DELETE FROM tallies; DELETE FROM slots; DELETE FROM journal;
         DELETE FROM accounts; DELETE FROM postings",
    ),
    ("events", "DELETE FROM accounts; DELETE FROM postings; DELETE FROM bookings"),
    (
        "account",
        "DELETE FROM events; DELETE FROM tallies; DELETE FROM slots; DELETE FROM journal;
         DELETE FROM bookings",
    ),
];

/// Alice has paid for two seats and holds one, in one database and in three.
struct Apart {
    installation: Installation,
    databases: [Database; 3],
}

impl Apart {
    fn new() -> Self {
        let program = env!("CARGO_BIN_EXE_eventbooker");
        let installation = Installation::on(program, Database::embedded());
        installation.add_user("admin", "admin");
        installation.add_user("alice", "user");
        let server = installation.serve(&[]);
        let (admin, alice) = (server.client_of("admin"), server.client_of("alice"));
        let event = admin.create_event(9, 40, 30);
        assert_eq!(admin.deposit_for(2, 100).status, 200);
        assert_eq!(alice.purchase(event, 2).json()["status"], 4);
        assert_eq!(alice.book(event, 1).status, 201);
        server.terminate();
        let databases = WITHOUT.map(|(_, without)| {
            let database = Database::embedded();
            fs::copy(installation.database().file(), database.file()).expect("there is room");
            database.change(without);
            database
        });
        Self { installation, databases }
    }

    fn urls(&self) -> [String; 3] {
        self.databases.each_ref().map(Database::url)
    }

    fn check(&self, flags: &[&str]) -> Ran {
        self.installation.run(&[&["check"], flags].concat())
    }

    fn check_three(&self) -> Ran {
        let [book, events, account] = &self.urls();
        let flags =
            ["--database", book, "--events-database", events, "--account-database", account];
        self.check(&flags)
    }

    /// How many findings each database has a note of.
    fn noted(&self) -> [Vec<i64>; 3] {
        let noted = |database: &Database| database.numbers("SELECT findings FROM checks");
        self.databases.each_ref().map(noted)
    }
}

fn assert_clean(ran: &Ran, says: &[&str]) {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stderr, "", "{ran:?}");
    for words in says.iter().chain(&["every invariant holds"]) {
        assert!(ran.stdout.contains(words), "{words}: {ran:?}");
    }
}

#[test]
fn databases_of_three_services_are_checked_together() {
    let apart = Apart::new();
    let [book, events, account] = apart.urls();
    let amounts = [
        format!("{book} (book): 2 bookings, 0 sagas under way\n"),
        format!("{events} (events): 1 events, 2 slots, 4 journal entries\n"),
        format!("{account} (account): 1 accounts, 2 postings\n"),
    ];
    let ran = apart.check_three();
    assert_clean(&ran, &amounts.each_ref().map(String::as_str));
    assert_eq!(ran.stdout.lines().count(), 4, "{ran:?}");
    assert_eq!(apart.noted(), [[0], [0], [0]]);

    // The same by variables, and by a file.
    let variables = [
        ("EVENTBOOKER_DATABASE", &*book),
        ("EVENTBOOKER_EVENTS_DATABASE", &events),
        ("EVENTBOOKER_ACCOUNT_DATABASE", &account),
    ];
    assert_eq!(apart.installation.run_with(&["check"], "", &variables), ran);
    let keys = [("database", &book), ("events_database", &events), ("account_database", &account)];
    let lines = keys.map(|(key, url)| format!("{key} = {url:?}\n")).concat();
    fs::write(apart.installation.directory().join("all.toml"), lines).expect("a file");
    assert_eq!(apart.check(&["--config", "all.toml"]), ran);
    // The service takes the same file, and has no use for what only a check needs.
    let migrated = apart.installation.run(&["migrate", "--config", "all.toml"]);
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
    let served = apart.installation.run(&["serve", "--events-database", &events]);
    assert_eq!(served.code, Some(2), "{served:?}");

    // What lies between two of them.
    let [of_bookings, _, of_accounts] = &apart.databases;
    for (database, damage, mended, says) in [
        (
            of_bookings,
            "UPDATE bookings SET seats = seats + 1 WHERE id = 2",
            "UPDATE bookings SET seats = seats - 1 WHERE id = 2",
            "BROKEN holds: booking 2 should have 2 seats of event 1, held, but has 1 seats",
        ),
        (
            of_accounts,
            "UPDATE postings SET booking_id = 77 WHERE kind = 1",
            "UPDATE postings SET booking_id = 1 WHERE kind = 1",
            "BROKEN money: booking 77 is charged 80 from user 2 for event 1",
        ),
    ] {
        database.change(damage);
        let broken = apart.check_three();
        assert_eq!(broken.code, Some(1), "{broken:?}");
        assert!(broken.stdout.contains(says), "{broken:?}");
        let [noted, ..] = apart.noted();
        assert!(noted[0] > 0, "{broken:?}");
        assert_eq!(apart.noted(), [(); 3].map(|()| noted.clone()), "each has a note of it");
        database.change(mended);
        assert_clean(&apart.check_three(), &[]);
    }
}

#[test]
fn several_settings_may_lead_to_one_database() {
    let apart = Apart::new();
    let whole = apart.installation.database();
    let (url, path) = (whole.url(), whole.file().display().to_string());
    let alone = apart.check(&["--database", &url]);
    assert_clean(&alone, &["2 bookings"]);
    let by_another_path =
        format!("sqlite:{}", path.replace("/eventbooker.db", "/./eventbooker.db"));
    for other in [&url, &by_another_path] {
        let flags = ["--database", &url, "--events-database", other, "--account-database", other];
        assert_eq!(apart.check(&flags), alone, "it is looked at once");
    }
    // The events are apart, and the accounts are where the bookings are.
    apart.databases[1].change("UPDATE tallies SET occupied = 4");
    let ran = apart.check(&["--database", &url, "--events-database", &apart.urls()[1]]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("(account,book): 2 bookings, 1 accounts, 2 postings"), "{ran:?}");
    assert_eq!(ran.stdout.matches("BROKEN").count(), 1, "{ran:?}");
}

#[test]
fn a_database_that_cannot_be_looked_at_is_named_by_its_setting() {
    let apart = Apart::new();
    let [book, events, account] = &apart.urls();
    let text = apart.installation.directory().join("text.db");
    fs::write(text, "no database at all, ".repeat(1000)).expect("a file");
    let good = [("database", book), ("events_database", events), ("account_database", account)];
    for (key, _) in good {
        for (bad, says) in [
            ("sqlite:missing.db", "missing.db"),
            ("sqlite:text.db", "text.db"),
            ("mysql://localhost/x", "must be like"),
            ("", "must be like"),
            ("postgres://nobody@127.0.0.1:1/none", "127.0.0.1"),
        ] {
            let flags = good.map(|(flag, url)| {
                let url = if flag == key { bad } else { url };
                format!("--{}={url}", flag.replace('_', "-"))
            });
            let ran = apart.check(&flags.each_ref().map(String::as_str));
            assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{flags:?}: {ran:?}");
            assert!(ran.stderr.contains(&format!("{key}: ")), "{flags:?}: {ran:?}");
            assert!(ran.stderr.contains(says), "{flags:?}: {ran:?}");
        }
    }
    assert!(!apart.installation.directory().join("missing.db").exists(), "looking creates nothing");
    for (flags, says) in [
        (
            vec!["--events-database-password-file", "secret"],
            "events_database_password_file: there is no events_database",
        ),
        (
            vec!["--events-database", events, "--events-database-password-file", "secret"],
            "events_database_password_file: an embedded database has no password",
        ),
        (
            vec![
                "--account-database",
                "postgres://nobody@127.0.0.1:1/none",
                "--account-database-password-file",
                "/no/such/file",
            ],
            "account_database_password_file: can't read /no/such/file",
        ),
    ] {
        let ran = apart.check(&[&["--database", book], flags.as_slice()].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(says), "{ran:?}");
    }
    assert_eq!(apart.noted(), [[], [], []] as [[i64; 0]; 3], "nothing was looked at");
}

/// A database with nothing but a service's tables.
fn copied(installation: &Installation, service: &str) -> String {
    let (from, to) = (installation.database().url(), format!("sqlite:{service}.db"));
    let arguments = ["copy", "--from", &from, "--to", &to, "--services", service];
    let ran = installation.run(&arguments);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    to
}

#[test]
fn what_a_database_does_not_hold_is_not_missed_there() {
    let apart = Apart::new();
    let [auth, book, events, account] =
        &["auth", "book", "events", "account"].map(|service| copied(&apart.installation, service));
    let of_three = ["--database", book, "--events-database", events, "--account-database", account];
    assert_clean(&apart.check(&of_three), &["(book): 2", "(events): 1", "(account): 1"]);

    for (flags, unseen) in [
        (&of_three[..2], "events,account"),
        (&of_three[..4], "account"),
        (&["--database", events], "account,book"),
        (&["--database", account], "events,book"),
    ] {
        let ran = apart.check(flags);
        assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{flags:?}: {ran:?}");
        let said = format!("the tables of {unseen} weren't looked at");
        assert!(ran.stdout.contains(&said), "{flags:?}: {ran:?}");
        assert!(ran.stdout.ends_with("\nwhat was looked at agrees\n"), "{flags:?}: {ran:?}");
    }

    for (flags, says) in [
        (["--database", auth].as_slice(), "database: sqlite:auth.db holds auth"),
        (
            &["--database", events, "--account-database", account],
            "\neventbooker: database: sqlite:events.db holds events and not book",
        ),
        (
            &["--database", book, "--events-database", account],
            "events_database: sqlite:account.db holds account and not events",
        ),
        (
            &["--database", book, "--account-database", book],
            "account_database: sqlite:book.db holds book and not account",
        ),
    ] {
        let ran = apart.check(flags);
        assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{flags:?}: {ran:?}");
        assert!(format!("\n{}", ran.stderr).contains(says), "{flags:?}: {ran:?}");
    }
}

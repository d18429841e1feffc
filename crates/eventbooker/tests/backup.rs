//! Back-ups, taken under load and restored by the commands that `docs/OPERATIONS.md` names.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_testkit::client::{Client, PASSWORD};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::postgres;
use eventbooker_testkit::server::{Installation, Server, UNLIMITED};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_eventbooker");
const PAGE: &str = include_str!("../../../docs/OPERATIONS.md");
const CLIENTS: usize = 4;
/// Bookings before the back-up, and after it.
const BOOKINGS: usize = 80;
const TABLES: [&str; 12] = [
    "ids", "users", "sessions", "events", "tallies", "slots", "journal", "accounts", "postings",
    "bookings", "answers", "errands",
];

/// Where databases are made and asked.
trait Place {
    /// A place for one. Returns what commands know it by.
    fn empty(&self, name: &str) -> String;
    /// Its URL for the program.
    fn url(&self, database: &str) -> String;
    /// Makes a query, as a command.
    const ASK: &'static str;
    /// What its commands are called in the page.
    const NAME: &'static str;
    /// Where the second back-up is restored.
    const AGAIN: &'static str;
}

struct Files<'a>(&'a Path);

impl Place for Files<'_> {
    const ASK: &'static str = "sqlite3 -readonly \"$DATABASE\" \"$QUERY\"";
    const NAME: &'static str = "sqlite";
    /// In the place of a database that broke, with what is left of it.
    const AGAIN: &'static str = "restored";

    fn empty(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn url(&self, database: &str) -> String {
        format!("sqlite:{database}")
    }
}

impl Place for postgres::Server {
    const ASK: &'static str = "psql -qAtc \"$QUERY\" \"$DATABASE\"";
    const NAME: &'static str = "postgres";
    const AGAIN: &'static str = "restored_again";

    fn empty(&self, name: &str) -> String {
        postgres::execute(&self.url(), &format!("CREATE DATABASE {name}"));
        let (server, _) =
            self.url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        format!("{server}/{name}")
    }

    fn url(&self, database: &str) -> String {
        database.to_owned()
    }
}

/// The commands of the page behind a mark.
fn commands(mark: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("<!-- tested: {mark} -->\n```sh\n")).expect("a mark");
    rest.split_once("```").expect("it ends").0
}

/// Runs commands as an operator would. Returns what they say.
fn shell(script: &str, variables: &[(&str, &str)]) -> String {
    let programs = [Path::new(PROGRAM).to_owned(), postgres::program("pg_dump")];
    let mut path: Vec<_> =
        programs.iter().map(|program| program.parent().unwrap().to_owned()).collect();
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut command = Command::new("bash");
    command.args(["-euc", script]).env("PATH", std::env::join_paths(path).unwrap());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let [said, complaints] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{script} {variables:?}: {said} {complaints}");
    said
}

fn ask<P: Place>(_: &P, database: &str, query: &str) -> String {
    shell(P::ASK, &[("DATABASE", database), ("QUERY", query)])
}

fn back_up<P: Place>(_: &P, database: &str, backup: &str) {
    let mark = format!("{}-backup", P::NAME);
    shell(commands(&mark), &[("DATABASE", database), ("BACKUP", backup)]);
}

/// Restores a back-up, which has to be sound by what the page says to do then.
fn restore<P: Place>(place: &P, backup: &str, name: &str) -> String {
    let database = place.empty(name);
    let mark = format!("{}-restore", P::NAME);
    let said = shell(commands(&mark), &[("DATABASE", &database), ("BACKUP", backup)]);
    assert!(!said.is_empty(), "the recount says what it has counted");
    database
}

fn serve(installation: &Installation, url: &str) -> Server {
    installation.serve(&[UNLIMITED.as_slice(), &["--database", url]].concat())
}

/// Buys until it is over. Tells of every booking as soon as it is answered.
fn buy(client: &Client, event: i64, answered: &Mutex<Vec<i64>>, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let bought = client.purchase(event, 1);
        assert_eq!((bought.status, &bought.json()["status"]), (200, &json!(4)), "{bought:?}");
        answered.lock().unwrap().push(bought.id());
        let held = client.book(event, 1).id();
        assert_eq!(client.cancel(held).status, 200);
    }
}

fn until_answered(answered: &Mutex<Vec<i64>>, count: usize) -> BTreeSet<i64> {
    let begun = Instant::now();
    loop {
        let ids: BTreeSet<i64> = answered.lock().unwrap().iter().copied().collect();
        if ids.len() >= count {
            return ids;
        }
        assert!(begun.elapsed() < PATIENCE, "bookings don't go on");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Backs up while bookings are made. Returns what was answered before and after it.
fn back_up_under_load<P: Place + Sync>(
    place: &P,
    [database, backup]: [&str; 2],
    client: &Client,
    event: i64,
) -> [BTreeSet<i64>; 2] {
    let (answered, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let (client, answered, over) = (client.clone(), &answered, &over);
            scope.spawn(move || buy(&client, event, answered, over));
        }
        let _over = Over(&over);
        let before = until_answered(&answered, BOOKINGS);
        back_up(place, database, backup);
        let meanwhile = answered.lock().unwrap().len();
        let after = until_answered(&answered, meanwhile + BOOKINGS);
        [before, after]
    })
}

/// Says that it is over, when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a user sees of the past.
fn seen(client: &Client, event: i64) -> Vec<Value> {
    let paths = ["/book/get", "/account/history", "/account/get", "/auth", "/bookings"];
    let event = format!("/events/{event}");
    paths.iter().chain(&[event.as_str()]).map(|path| client.get(path).json()).collect()
}

fn backups_can_be_restored<P: Place + Sync>(place: &P, installation: &Installation) {
    let database = place.empty("tickets");
    let url = place.url(&database);
    for (login, role) in [("admin", "admin"), ("ann", "user")] {
        let environment = [("EVENTBOOKER_DATABASE", url.as_str())];
        let add = ["user", "add", login, "--role", role];
        assert_eq!(installation.run_with(&add, PASSWORD, &environment).code, Some(0));
    }
    let server = serve(installation, &url);
    let (admin, ann) = (server.client_of("admin"), server.client_of("ann"));
    let event = admin.create_event(1_000_000, 7, 600);
    assert_eq!(admin.deposit_for(ann.get("/auth").id(), 1_000_000_000).status, 200);
    let backups = ["first", "second"].map(|name| installation.directory().join(name));
    let backups = backups.each_ref().map(|path| path.to_str().unwrap());

    let [before, after] = back_up_under_load(place, [&database, backups[0]], &ann, event);
    let restored = restore(place, backups[0], "restored");
    let bookings = ask(place, &restored, "SELECT id FROM bookings WHERE state = 4");
    let bookings: BTreeSet<i64> = bookings.lines().map(|id| id.parse().unwrap()).collect();
    assert!(before.is_subset(&bookings), "what was answered before the back-up is in it");
    assert!(!after.is_subset(&bookings), "the back-up is one moment");

    let broken = serve(installation, &place.url(&restored));
    assert_eq!(broken.client().with_session(ann.session()).purchase(event, 1).status, 200);
    broken.kill();

    // Now that nothing changes any more, nothing at all is missing.
    let key = |client: &Client| {
        let body = json!({"event_id": event});
        client.ask("POST", "/book/create").json(&body).key("once").answer()
    };
    let first = key(&ann);
    back_up(place, &database, backups[1]);
    let again = restore(place, backups[1], P::AGAIN);
    for table in TABLES {
        let count = format!("SELECT count(*) FROM {table}");
        assert_eq!(ask(place, &again, &count), ask(place, &database, &count), "{table}");
    }
    let before = seen(&ann, event);
    server.terminate();
    let server = serve(installation, &place.url(&again));
    // Sessions and keys are as they were.
    let ann = server.client().with_session(ann.session());
    assert_eq!(seen(&ann, event), before);
    assert_eq!(key(&ann).body, first.body);
    assert!(ann.purchase(event, 1).id() > first.id());
    server.terminate();
    let check = installation.run(&["check", "--database", &place.url(&again)]);
    assert_eq!(check.code, Some(0), "{check:?}");
}

#[test]
fn backups_of_a_file_can_be_restored() {
    let installation = Installation::on(PROGRAM, Database::embedded());
    backups_can_be_restored(&Files(installation.directory()), &installation);
}

#[test]
fn backups_of_a_server_can_be_restored() {
    let installation = Installation::on(PROGRAM, Database::embedded());
    // One of its own, of the version that the commands are of.
    let server = postgres::Server::start(&["fsync = off", "max_connections = 40"]);
    backups_can_be_restored(&server, &installation);
}

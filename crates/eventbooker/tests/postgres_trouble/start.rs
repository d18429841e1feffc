//! A start that can't be: one clear line, and no secret in it.

use std::net::TcpListener;

use eventbooker_testkit::postgres::{Server as Postgres, execute};

use super::{SETTINGS, installation, url_as};

const SECRET: &str = "tell-nobody";
const SERVE: &[&str] = &["serve", "--listen", "127.0.0.1:0"];

/// Fails unless a start on this database, and every other command, ends with one line that says this.
fn assert_refused(url: &str, words: &str) {
    for command in [SERVE, &["check"], &["event", "list"]] {
        assert_command_refused(command, url, words);
    }
}

fn assert_command_refused(command: &[&str], url: &str, words: &str) {
    let installation = installation(url.to_owned());
    let ran = installation.run(command);
    let line = ran.complaint();
    println!("{line}");
    assert!(line.contains(words), "{command:?} on {url}: {line}");
    assert!(!ran.stderr.contains(SECRET), "{ran:?}");
    assert!(!line.contains("panicked") && !line.contains("Error {"), "{line}");
    let code = if command[0] == "check" { 2 } else { 1 };
    assert_eq!(ran.code, Some(code), "{ran:?}");
}

#[test]
fn whoever_is_not_let_in_is_told_why() {
    let rules = ["host all ann all scram-sha-256", "host all banned all reject"];
    let postgres = Postgres::start_guarded(&SETTINGS, &rules);
    let admin = postgres.url();
    execute(&admin, &format!("CREATE ROLE ann LOGIN PASSWORD '{SECRET}'"));
    execute(&admin, "CREATE ROLE banned LOGIN");
    execute(&admin, "CREATE ROLE guest LOGIN");
    let with_password = |password: &str| url_as(&postgres, &format!("ann:{password}"));

    let wrong = "password authentication failed for user \"ann\"";
    assert_refused(&with_password(&format!("{SECRET}-not")), wrong);
    assert_refused(&url_as(&postgres, "ann"), "password missing");
    assert_refused(&url_as(&postgres, "banned"), "pg_hba.conf rejects connection");
    assert_refused(&url_as(&postgres, "nobody"), "role \"nobody\" does not exist");
    let (server, _) = admin.rsplit_once('/').unwrap();
    let no_database = format!("{server}/tickets");
    assert_refused(&no_database, "database \"tickets\" does not exist");
    // The right password, and no rights.
    let no_right = "permission denied for schema public";
    assert_command_refused(SERVE, &with_password(SECRET), no_right);
    assert_eq!(installation(admin.clone()).run(&["migrate"]).code, Some(0));
    assert_refused(&with_password(SECRET), "permission denied for table schema_version");
    // Somebody else's tables, as far as a start looks.
    execute(&admin, "GRANT SELECT ON schema_version TO guest");
    assert_refused(&url_as(&postgres, "guest"), "permission denied for table");
    execute(&admin, "ALTER ROLE guest CONNECTION LIMIT 0");
    assert_refused(&url_as(&postgres, "guest"), "too many connections");
    execute(&admin, "ALTER DATABASE postgres SET default_transaction_read_only = on");
    assert_refused(&admin, "does not allow writes");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgres://ann:{SECRET}@127.0.0.1:{port}/tickets");
    // One that lets everybody wait.
    let hurried = format!("{url}?connect_timeout=1&sslmode=disable");
    assert_refused(&hurried, &format!("postgres://ann@127.0.0.1:{port}/tickets: "));
    drop(listener);
    assert_refused(&url, &format!("postgres://ann@127.0.0.1:{port}/tickets: "));
    assert_refused(&url, "refused");
}

/// A machine may be up while its server hangs.
#[test]
fn a_server_that_hangs_keeps_nobody_from_the_next() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = listener.local_addr().unwrap();
    let postgres = Postgres::start(&SETTINGS);
    let with_both = postgres.url().replace("127.0.0.1", &format!("{hanging},127.0.0.1"));
    let ran = installation(format!("{with_both}?connect_timeout=1")).run(&["migrate"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

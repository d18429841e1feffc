//! TLS to the server, as `sslmode` says: what it promises is kept, or there is no connection.

use eventbooker_testkit::postgres::{Certificates, Server as Postgres, execute, numbers};

use super::{SETTINGS, installation};

const OF_THE_SERVICE: &str = "FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
    WHERE application_name = 'eventbooker'";

fn url(postgres: &Postgres, host: &str, parameters: &str) -> String {
    format!("{}?{parameters}", postgres.url().replace("127.0.0.1", host))
}

fn assert_connects(url: String) {
    let ran = installation(url).run(&["migrate"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

fn assert_refused(url: String, words: &str) {
    let ran = installation(url).run(&["migrate"]);
    let line = ran.complaint();
    println!("{line}");
    assert!(line.contains(words), "{line}");
}

fn roots(certificates: &Certificates) -> [String; 2] {
    [certificates.authority(), certificates.stranger()]
        .map(|file| format!("sslrootcert={}", file.display()))
}

#[test]
fn a_connection_is_as_safe_as_its_mode_says() {
    let (postgres, certificates) = Postgres::start_with_tls(&SETTINGS);
    let [authority, stranger] = roots(&certificates);
    let with = |host: &str, parameters: &str| url(&postgres, host, parameters);

    for (mode, share) in [("disable", 0), ("allow", 0), ("prefer", 1), ("require", 1)] {
        let installation = installation(with("127.0.0.1", &format!("sslmode={mode}")));
        let server = installation.serve(&[]);
        let _ = server.client().registered(mode);
        let all = numbers(&postgres.url(), &format!("SELECT count(*) {OF_THE_SERVICE}"))[0];
        let safe =
            numbers(&postgres.url(), &format!("SELECT count(*) {OF_THE_SERVICE} AND ssl"))[0];
        assert!(all >= 2, "queries, and a lane");
        assert_eq!(safe, all * share, "{mode}");
        server.terminate();
    }

    // An authority that is named is asked.
    for mode in ["require", "verify-ca", "verify-full"] {
        assert_connects(with("localhost", &format!("sslmode={mode}&{authority}")));
        let unknown = with("localhost", &format!("sslmode={mode}&{stranger}"));
        assert_refused(unknown, "UnknownIssuer");
    }
    // The name counts where the mode says so.
    assert_connects(with("127.0.0.1", &format!("sslmode=verify-ca&{authority}")));
    let elsewhere = with("127.0.0.1", &format!("sslmode=verify-full&{authority}"));
    assert_refused(elsewhere, "not valid for name \"127.0.0.1\"");
}

/// Whoever asks for TLS doesn't do without; whoever doesn't care takes what there is.
#[test]
fn a_server_that_speaks_in_the_clear_is_refused_by_whoever_wants_tls() {
    let postgres = Postgres::start(&SETTINGS);
    for mode in ["allow", "prefer", "disable"] {
        assert_connects(url(&postgres, "127.0.0.1", &format!("sslmode={mode}")));
    }
    assert_refused(url(&postgres, "127.0.0.1", "sslmode=require"), "does not support TLS");
}

/// And a server may insist on it.
#[test]
fn a_server_that_wants_tls_gets_it_from_whoever_can() {
    let (postgres, _) = Postgres::start_with_tls(&SETTINGS);
    execute(&postgres.url(), "CREATE ROLE ann LOGIN SUPERUSER");
    postgres.guard(&["hostnossl all ann all reject"]);
    let with = |mode: &str| {
        url(&postgres, "127.0.0.1", &format!("sslmode={mode}")).replace("postgres@", "ann@")
    };
    for mode in ["allow", "prefer", "require"] {
        assert_connects(with(mode));
    }
    assert_refused(with("disable"), "no encryption");
}

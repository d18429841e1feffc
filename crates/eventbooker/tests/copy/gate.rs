//! A gate in the target: it stops a copy at a place that a test chooses, for as long as it wants.

use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::database::Database;
use eventbooker_testkit::server::Installation;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A statement waits at its end for as long as the gate names its table, and that has so many rows.
const GATE: &str = "
    CREATE TABLE gate (name text NOT NULL, operation text NOT NULL, rows bigint NOT NULL);
    CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE there bigint;
    BEGIN
      EXECUTE format('SELECT count(*) FROM %I', TG_TABLE_NAME) INTO there;
      WHILE EXISTS (SELECT FROM gate WHERE name = TG_TABLE_NAME AND operation = TG_OP
                      AND rows <= there) LOOP
        PERFORM pg_sleep(0.02);
      END LOOP;
      RETURN NULL;
    END $$;
    DO $$ DECLARE name text; BEGIN
      FOR name IN SELECT table_name FROM information_schema.tables
                  WHERE table_schema = current_schema() AND table_name <> 'gate' LOOP
        EXECUTE format('CREATE TRIGGER gate AFTER INSERT OR DELETE OR TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION wait_at_gate()', name);
      END LOOP;
    END $$";
const WAITERS: &str = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'
                       AND application_name = current_setting('application_name')";

const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
                        AND application_name = current_setting('application_name')";

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < give_up, "in vain: {what}");
        sleep(LOOK_EVERY);
    }
}

/// Where a copy is stopped: behind this statement, if the table has so many rows then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) operation: &'static str,
    pub(crate) table: &'static str,
    pub(crate) rows: i64,
}

impl Place {
    /// Behind the first rows of a table.
    pub(crate) fn in_table(table: &'static str) -> Self {
        Self { operation: "INSERT", table, rows: 1 }
    }
}

/// Puts a gate into a target that has been migrated.
pub(crate) fn build(target: &Database) {
    target.change(GATE);
}

/// A copy that somebody waits for. It is killed when the value is dropped.
pub(crate) struct Copying<'a> {
    child: Child,
    target: &'a Database,
}

impl<'a> Copying<'a> {
    /// Starts a copy and waits until it has come to a place.
    pub(crate) fn until(
        place: Place,
        source: &Installation,
        arguments: &[&str],
        target: &'a Database,
    ) -> Self {
        let Place { operation, table, rows } = place;
        target.change(&format!(
            "DELETE FROM gate; INSERT INTO gate VALUES ('{table}', '{operation}', {rows})"
        ));
        let mut command = source.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("the program starts");
        let mut copying = Self { child, target };
        wait_until(&format!("the copy comes to {place:?}"), || {
            assert_eq!(copying.ended(), None, "it should have come to {place:?}");
            target.number(&format!("SELECT count(*) {WAITERS}")) > 0
        });
        copying
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it was killed");
        // A statement that sleeps doesn't notice. Other sessions do, and that is left to them.
        let end = format!("SELECT count(pg_terminate_backend(pid, 60000)) {WAITERS}");
        wait_until("the statement ends", || self.target.number(&end) == 1);
        wait_until("the server notices", || self.target.number(SESSIONS) == 0);
        self.target.change("DELETE FROM gate");
    }

    /// Lets it go on, and waits for its end.
    pub(crate) fn finish(mut self) {
        self.target.change("DELETE FROM gate");
        wait_until("the copy ends", || self.ended().is_some());
        let status = self.ended().expect("it has ended");
        assert!(status.success(), "{status}");
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

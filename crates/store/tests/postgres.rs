//! What is particular to PostgreSQL: a server that goes away and comes back, and what it says when it
//! can't do what it is asked.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use eventbooker_core::{Context, Contexts, Timestamp, UserId};
use eventbooker_store::postgres::{Clock, PostgresStore, PostgresUrl};
use eventbooker_store::{
    Access, Changes, CommonQueries as _, IdentityQueries as _, OpenError, Store, StoreError, Wants,
    Writer,
};
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::postgres::{End, Schema, Server, execute, numbers as numbers_of};
use eventbooker_testkit::rows::{account, at, deposit, one_of_each, save, user};
use eventbooker_testkit::wire::{Moment, Wire};

async fn open(server: &Server) -> PostgresStore {
    let url = PostgresUrl::parse(&server.url(), None).expect("the URL is right");
    PostgresStore::open(url, Access::Tool, Clock::Given, 1).await.expect("it opens")
}

/// Takes numbers for a few bookings, and makes none.
async fn numbers(writer: &mut dyn Writer) -> Vec<i64> {
    numbers_for(writer, 5, at(0)).await
}

/// The same for so many, at an instant.
async fn numbers_for(writer: &mut dyn Writer, count: u32, now: Timestamp) -> Vec<i64> {
    let wants = Wants { new_bookings: count, ..Wants::default() };
    let loaded = writer.load(&wants, now).await.expect("it loads");
    writer.release().await.expect("it gives up");
    (loaded.booking_ids.next..loaded.booking_ids.end).collect()
}

/// A crowd's numbers are taken for several batches; but what is left of them when it has gone isn't
/// given out much later, behind those of everybody else.
#[tokio::test]
async fn what_a_crowd_has_left_is_soon_forgotten() {
    let schema = Schema::new();
    let store = schema.open(Access::Tool, Clock::Given).await.expect("it opens");
    let [mut one, mut other] =
        [store.writer().await.expect("a writer"), store.writer().await.expect("a writer")];
    let crowd = numbers_for(&mut *one, 40, at(0)).await;
    assert!(crowd.len() > 40, "{crowd:?}");
    let others = numbers_for(&mut *other, 1, at(0)).await;
    assert!(others[0] > crowd[crowd.len() - 1], "{others:?}");
    let soon = numbers_for(&mut *one, 40, at(0).plus(Duration::from_millis(900))).await;
    assert_eq!(soon, crowd, "no need for more");
    let late = numbers_for(&mut *one, 1, at(0).plus(Duration::from_millis(1_100))).await;
    assert!(late[0] > others[0], "{late:?} behind {others:?}");
}

/// A block of numbers isn't synced when it is taken, so a crash may undo that. Whoever had it may not
/// use it then: somebody else gets the same numbers.
#[tokio::test]
async fn numbers_that_a_crash_has_undone_are_given_out_once() {
    // Nobody writes to disk what nobody waits for, until the test is over.
    let mut server = Server::start(&["fsync = off", "wal_writer_delay = 10s"]);
    let store = open(&server).await;
    let [mut one, mut other] =
        [store.writer().await.expect("a writer"), store.writer().await.expect("a writer")];
    let lost = numbers(&mut *one).await;
    server.stop(End::Immediate);
    server.launch();
    let others = numbers(&mut *other).await;
    assert!(others.iter().any(|number| lost.contains(number)), "the crash has undone nothing");
    let again = numbers(&mut *one).await;
    assert!(!again.iter().any(|number| others.contains(number)), "{again:?} and {others:?}");
}

/// Ends all connections of a test's stores, and waits until they have ended.
const KILL: &str = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
    WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()";
/// Locks users against changes, and ends the connection of whoever waits for that.
const KILL_WHO_WAITS: &str = "LOCK TABLE users IN SHARE MODE;
    DO $$ DECLARE waiting integer; BEGIN
      LOOP
        PERFORM pg_sleep(0.01);
        PERFORM pg_stat_clear_snapshot();
        SELECT pid INTO waiting FROM pg_stat_activity
        WHERE application_name = current_setting('application_name') AND wait_event_type = 'Lock';
        EXIT WHEN waiting IS NOT NULL;
      END LOOP;
      PERFORM pg_terminate_backend(waiting, 5000);
    END $$";
const IS_LOCKED: &str =
    "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND mode = 'ShareLock'";

async fn store_and_writer(schema: &Schema) -> (PostgresStore, Box<dyn Writer>) {
    let store = schema.open(Access::Tool, Clock::Given).await.expect("it opens");
    let writer = store.writer().await.expect("a writer");
    (store, writer)
}

fn one_user(id: i64) -> Changes {
    Changes { users_added: vec![user(id, &format!("user-{id}"))], ..Changes::default() }
}

fn wanted(id: i64) -> Wants {
    Wants { users: vec![UserId::new(id)], ..Wants::default() }
}

/// Whoever is killed between batches hardly notices.
#[tokio::test]
async fn a_connection_that_died_idle_is_replaced() {
    let schema = Schema::new();
    let (store, mut writer) = store_and_writer(&schema).await;
    writer.load(&wanted(1), at(0)).await.expect("it loads");
    writer.release().await.expect("it gives up");
    store.ping().await.expect("it answers");
    assert_eq!(numbers_of(schema.url(), KILL), [2]);
    store.ping().await.expect("it answers on another connection");
    writer.load(&wanted(1), at(0)).await.expect("it loads on another connection");
    writer.save(&one_user(1)).await.expect("it saves");
}

/// What the server never heard has not happened, and that is known, whether the connection learns of
/// its end before it is told to save or after.
#[tokio::test]
async fn a_batch_that_the_server_gave_up_has_not_happened() {
    for learns_before in [true, false] {
        let schema = Schema::new();
        let (store, mut writer) = store_and_writer(&schema).await;
        writer.load(&wanted(1), at(0)).await.expect("it loads");
        assert_eq!(numbers_of(schema.url(), KILL), [1]);
        if learns_before {
            // This test's only thread has been busy. The connection hears what has come when it rests.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let refused = writer.save(&one_user(1)).await;
        assert!(matches!(refused, Err(StoreError::Contention(_))), "{learns_before}: {refused:?}");
        assert_eq!(store.user_by_login("user-1".to_owned()).await, Ok(None));
        writer.load(&wanted(1), at(0)).await.expect("it loads on another connection");
        writer.save(&one_user(1)).await.expect("it saves");
    }
}

/// The same, in the middle of the save: what was answered last came before the commit.
#[tokio::test]
async fn a_save_that_is_cut_off_before_its_commit_has_not_happened() {
    let schema = Schema::new();
    let (store, mut writer) = store_and_writer(&schema).await;
    writer.load(&wanted(1), at(0)).await.expect("it loads");
    let url = schema.url().to_owned();
    let killer = thread::spawn(move || execute(&url, KILL_WHO_WAITS));
    let begun = Instant::now();
    while numbers_of(schema.url(), IS_LOCKED) == [0] {
        assert!(begun.elapsed() < PATIENCE, "nobody locks");
    }
    let refused = writer.save(&one_user(1)).await;
    killer.join().expect("somebody waited");
    assert!(matches!(refused, Err(StoreError::Contention(_))), "{refused:?}");
    assert_eq!(store.user_by_login("user-1".to_owned()).await, Ok(None));
    writer.load(&wanted(1), at(0)).await.expect("it loads on another connection");
    writer.save(&one_user(1)).await.expect("it saves");
}

/// Before the commit the server's word is final, whatever it says. To the commit itself it may have
/// answered when everything was done, or somebody for it who doesn't know.
#[tokio::test]
async fn what_is_said_to_a_commit_is_taken_for_a_no_only_if_it_is_one() {
    let schema = Schema::new();
    let (_, mut writer) = store_and_writer(&schema).await;
    let is_known = |saved: Result<(), StoreError>| {
        !matches!(saved.expect_err("it is refused"), StoreError::OutcomeUnknown(_))
    };
    let codes = [("40001", true), ("40P01", true), ("23505", true), ("53100", true)];
    let unclear = ["40003", "08006", "08007", "57014", "XX000"].map(|code| (code, false));
    for (id, (code, is_no)) in codes.into_iter().chain(unclear).enumerate() {
        let id = i64::try_from(id).expect("there are a few") + 1;
        for (moment, expected) in [("INITIALLY IMMEDIATE", true), ("INITIALLY DEFERRED", is_no)] {
            schema.execute(&format!(
                "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql
                   AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$;
                 CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON users DEFERRABLE {moment}
                   FOR EACH ROW EXECUTE FUNCTION fail()"
            ));
            writer.load(&wanted(id), at(0)).await.expect("it loads");
            let saved = writer.save(&one_user(id)).await;
            assert_eq!(is_known(saved), expected, "{code}, {moment}");
            schema.execute("DROP FUNCTION fail CASCADE");
        }
    }
}

/// A connection that has ended without a word before the save began has carried nothing of it.
#[tokio::test]
async fn a_save_on_a_connection_that_was_cut_before_has_not_happened() {
    let schema = Schema::new();
    let (store, _) = store_and_writer(&schema).await;
    let wire = Wire::to(schema.port());
    let url = PostgresUrl::parse(&schema.url_through(wire.port()), None).expect("the URL is right");
    let over_wire = PostgresStore::open(url, Access::Look, Clock::Given, 1).await;
    let over_wire = over_wire.expect("it opens");
    let mut one = over_wire.writer().await.expect("a writer");
    let mut other = over_wire.writer().await.expect("a writer");
    one.load(&wanted(1), at(0)).await.expect("it loads");
    other.load(&wanted(2), at(0)).await.expect("it loads");
    wire.break_for_good_at(Moment::BeforeCommit);
    let unknown = other.save(&one_user(2)).await;
    assert!(matches!(unknown, Err(StoreError::OutcomeUnknown(_))), "{unknown:?}");
    assert_eq!(wire.breaks(), 1);
    // The connection hears what has come when this test's only thread rests.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let refused = one.save(&one_user(1)).await;
    assert!(matches!(refused, Err(StoreError::Contention(_))), "{refused:?}");
    wire.mend();
    assert_eq!(store.user_by_login("user-1".to_owned()).await, Ok(None));
    one.load(&wanted(1), at(0)).await.expect("it loads on another connection");
    one.save(&one_user(1)).await.expect("it saves");
}

/// A newer program changes a table while this one is at work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_prepared_is_prepared_again_when_a_table_has_changed() {
    let schema = Schema::new();
    let (store, mut writer) = store_and_writer(&schema).await;
    save(&store, one_user(1)).await;
    for kind in ["varchar(100)", "text"] {
        store.users(UserId::new(0), 1).await.expect("it answers");
        writer.load(&wanted(1), at(0)).await.expect("it loads");
        writer.release().await.expect("it gives up");
        schema.execute(&format!("ALTER TABLE users ALTER COLUMN email TYPE {kind}"));
    }
    store.users(UserId::new(0), 1).await.expect("it answers");
    writer.load(&wanted(1), at(0)).await.expect("it loads");
}

/// Nor does it mean that the program is wrong, and it goes on when they are back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_an_operator_has_changed_are_away() {
    let schema = Schema::new();
    let (store, mut writer) = store_and_writer(&schema).await;
    for (change, back) in [
        ("ALTER TABLE users RENAME email TO mail", "ALTER TABLE users RENAME mail TO email"),
        ("ALTER TABLE users RENAME TO people", "ALTER TABLE people RENAME TO users"),
    ] {
        // On connections that have everything prepared, and on new ones.
        for is_new in [false, true] {
            if !is_new {
                store.users(UserId::new(0), 1).await.expect("it answers");
                writer.load(&wanted(1), at(0)).await.expect("it loads");
                writer.release().await.expect("it gives up");
            }
            schema.execute(change);
            if is_new {
                numbers_of(schema.url(), KILL);
            }
            let looked = store.users(UserId::new(0), 1).await;
            assert!(matches!(looked, Err(StoreError::Away(_))), "{change}: {looked:?}");
            let loaded = writer.load(&wanted(1), at(0)).await;
            assert!(matches!(loaded, Err(StoreError::Away(_))), "{change}: {loaded:?}");
            schema.execute(back);
        }
    }
    store.users(UserId::new(0), 1).await.expect("it answers");
    writer.load(&wanted(1), at(0)).await.expect("it loads");
}

/// A server that lets us in and then hangs.
#[tokio::test]
async fn a_server_that_says_no_more_is_not_waited_for() {
    let schema = Schema::new();
    let (_, _) = store_and_writer(&schema).await;
    let port = until_it_is_told(schema.port(), b"lock_timeout");
    let url = format!("{}&connect_timeout=1", schema.url_through(port));
    let url = PostgresUrl::parse(&url, None).expect("the URL is right");
    let store = PostgresStore::open(url, Access::Look, Clock::Given, 1).await.expect("it opens");
    let mut writer = store.writer().await.expect("a writer");
    let waiting = tokio::time::timeout(PATIENCE, async {
        (store.ping().await, writer.load(&wanted(1), at(0)).await.map(drop))
    });
    let silent = Err(StoreError::Away("no answer within 2 s".to_owned()));
    assert_eq!(waiting.await, Ok((silent.clone(), silent)));
}

/// A port of a server that answers until it is told this.
fn until_it_is_told(server: u16, words: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it listens").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || -> io::Result<()> {
                let server = TcpStream::connect(("127.0.0.1", server))?;
                let (mut answers, mut back) = (server.try_clone()?, client.try_clone()?);
                thread::spawn(move || io::copy(&mut answers, &mut back));
                let (mut said, mut client, mut server) = (vec![0; 4096], client, server);
                loop {
                    let length = client.read(&mut said)?;
                    if length == 0 || said.windows(words.len()).any(|part| part == words) {
                        // The rest is thrown away, until the client hangs up.
                        return io::copy(&mut client, &mut io::sink()).map(drop);
                    }
                    server.write_all(&said[..length])?;
                }
            });
        }
    });
    port
}

/// Neither does a query go on for ever, nor does another wait for its connection for ever.
#[tokio::test]
async fn queries_end_in_time() {
    let schema = Schema::new();
    let url = PostgresUrl::parse(schema.url(), None).expect("the URL is right");
    let store = PostgresStore::open(url, Access::Serve, Clock::Given, 1).await.expect("it opens");
    save(&store, one_user(1)).await;
    schema.execute(
        "ALTER TABLE users RENAME TO people;
         CREATE VIEW users AS SELECT people.* FROM people, pg_sleep(3600)",
    );
    let ask = || tokio::time::timeout(PATIENCE, store.users(UserId::new(0), 1));
    let (slow, waiting) = tokio::join!(ask(), ask());
    assert_eq!(waiting, Ok(Err(StoreError::Overloaded)));
    assert!(matches!(slow, Ok(Err(StoreError::Away(_)))), "{slow:?}");
}

/// Two that add the same rows meet at the keys, whichever of them each decided first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_new_to_two_are_not_waited_for_in_a_circle() {
    let schema = Schema::new();
    let (store, mut one) = store_and_writer(&schema).await;
    let mut other = store.writer().await.expect("a writer");
    // Both have a row before either takes another.
    schema.execute(
        "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql
           AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$;
         CREATE TRIGGER rest BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION rest();
         CREATE TRIGGER rest BEFORE INSERT ON postings FOR EACH ROW EXECUTE FUNCTION rest()",
    );
    let users = |ids: [i64; 2], logins: [&str; 2]| Changes {
        users_added: vec![user(ids[0], logins[0]), user(ids[1], logins[1])],
        ..Changes::default()
    };
    let postings = |accounts: [i64; 2]| Changes {
        postings: accounts.map(|id| deposit(id, 1, 5, 5)).to_vec(),
        accounts_changed: accounts.map(|id| account(id, 5, 1)).to_vec(),
        ..Changes::default()
    };
    for (ours, theirs) in [
        (users([1, 2], ["ann", "bob"]), users([3, 4], ["bob", "ann"])),
        (postings([1, 2]), postings([2, 1])),
    ] {
        for writer in [&mut one, &mut other] {
            writer.load(&Wants::default(), at(0)).await.expect("it loads");
        }
        let (ours, theirs) = tokio::join!(one.save(&ours), other.save(&theirs));
        let refused = ours.and(theirs).expect_err("one was second");
        assert!(matches!(refused, StoreError::Conflict(_)), "{refused:?}");
    }
}

/// What an earlier program has made holds all contexts, whichever of them it is opened for first.
#[tokio::test]
async fn a_database_of_an_earlier_program_is_brought_up_to_date() {
    let schema = Schema::new();
    schema.execute(concat!(
        include_str!("../migrations/postgres/0001_initial.sql"),
        include_str!("../migrations/postgres/0002_copies.sql"),
        "INSERT INTO users VALUES (1, 'ann', '', '', '', 0, '', 0);
         CREATE TABLE schema_version (id bigint PRIMARY KEY, version bigint NOT NULL);
         INSERT INTO schema_version VALUES (1, 2)"
    ));
    let url = PostgresUrl::parse(schema.url(), None).expect("the URL is right");
    let auth = Contexts::from(Context::Identity);
    let open =
        async |access| PostgresStore::open_for(url.clone(), access, auth, Clock::Given, 1).await;
    let refused = open(Access::Look).await.err();
    assert!(matches!(refused, Some(OpenError::SchemaTooOld { found: 2, .. })), "{refused:?}");
    let store = open(Access::Serve).await.expect("migrated");
    let ann = store.user_by_login("ann".to_owned()).await.expect("it answers");
    assert_eq!(ann.map(|user| user.id), Some(UserId::new(1)));
    let whole = PostgresStore::open(url.clone(), Access::Look, Clock::Given, 1).await;
    let whole = whole.expect("it opens");
    assert_eq!((store.contexts(), whole.contexts()), (auth, Contexts::ALL));
    assert_eq!(store.installation().await, whole.installation().await);
    save(&whole, Changes { users_added: vec![], ..one_of_each() }).await;
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_name_is_refused() {
    let server = Server::start(&["fsync = off"]);
    for (encoding, name) in [("LATIN1", "latin"), ("SQL_ASCII", "ascii")] {
        let make = "LOCALE 'C' TEMPLATE template0";
        execute(&server.url(), &format!("CREATE DATABASE {name} ENCODING '{encoding}' {make}"));
        let url = format!("postgres://postgres@127.0.0.1:{}/{name}", server.port());
        let url = PostgresUrl::parse(&url, None).expect("the URL is right");
        let refused = PostgresStore::migrate(&url).await.expect_err(encoding);
        let words = format!("its encoding is {encoding} and has to be UTF8");
        assert!(refused.to_string().contains(&words), "{refused}");
    }
}

//! The recount beside the running service: it comes by itself, tells what it finds, and has an end.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::time::Duration;

use eventbooker_engine::check::Rule;
use eventbooker_engine::{Hindrance, Recount, Settings, UnfinishedRecount};
use eventbooker_store::{Checker, LastCheck};
use eventbooker_testkit::clock::{MOMENT, NEW_YEAR, PATIENCE, just_before};
use eventbooker_testkit::database::is_embedded;
use eventbooker_testkit::service::attendee;
use eventbooker_testkit::{Options, Service};

const FIRST_AFTER: Duration = Duration::from_secs(10 * 60);
const EVERY: Duration = Duration::from_secs(6 * 3600);

/// How long it rests after a page that took no time.
const REST: Duration = Duration::from_millis(1);
/// More rests than the few rows of these tests need.
const RESTS_MAX: usize = 50;

/// An open snapshot slows PostgreSQL down.
fn takes_at_most() -> Duration {
    Duration::from_secs(if is_embedded() { 5 * 60 } else { 30 })
}

/// A service that recounts so often, with three bookings on each of two events: a hold, a sold one
/// and a cancelled one.
async fn recounting(recount_every: Option<Duration>) -> Service {
    let settings = Settings { recount_every, ..Options::default().settings };
    let service = Service::with(Options { settings, ..Options::default() }).await;
    for _ in 0..2 {
        let event_id = service.create_event(10, 0, 7 * 24 * 60).await;
        let book = async |user| service.book(user, event_id, 2).await.expect("there is room");
        let [_, sold, cancelled] = [book(1).await, book(2).await, book(3).await];
        service.confirm(attendee(2), sold.id).await.expect("in time");
        service.cancel(attendee(3), cancelled.id).await.expect("in time");
    }
    service
}

/// Events, bookings, slots and journal entries of [`recounting`].
const ROWS: u64 = 2 + 6 + 4 + 12;

/// Lets a recount that is under way take its rests. Returns what it came to, if it was under way
/// and came to its end.
async fn ended(service: &Service) -> Option<Recount> {
    let before = service.engine().recounts().finished;
    for _ in 0..RESTS_MAX {
        service.pass(REST).await;
        let recount = service.engine().recounts().finished;
        if recount != before {
            return recount;
        }
    }
    None
}

/// Lets a recount that is under way take so many rests before its time is up. Returns how far it
/// came, if it didn't come to its end.
async fn cut_short(service: &Service, rests: usize) -> Option<UnfinishedRecount> {
    for _ in 0..rests {
        service.pass(REST).await;
    }
    service.pass(takes_at_most()).await;
    service.engine().recounts().unfinished
}

/// Waits, without any time passing, until this is the last check that was noted.
async fn until_noted(service: &Service, check: LastCheck) {
    let noted = async {
        while service.store().last_checks().await != Ok(vec![check.clone()]) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, noted).await.expect("it is noted before long");
}

#[tokio::test]
async fn it_comes_by_itself_and_again_and_again() {
    let service = recounting(Some(EVERY)).await;
    service.pass(just_before(FIRST_AFTER)).await;
    assert_eq!(service.engine().recounts().finished, None, "not before its time");
    service.pass(MOMENT).await;
    let mut at = NEW_YEAR.plus(FIRST_AFTER);
    for _ in 0..3 {
        let clean = Recount { at, rows: ROWS, findings_total: 0, first_findings: vec![] };
        assert_eq!(ended(&service).await, Some(clean));
        at = service.now().plus(EVERY);
        service.pass(EVERY).await;
    }
    service.finish().await;
}

#[tokio::test]
async fn what_is_damaged_is_found_by_the_next_one() {
    let service = recounting(Some(EVERY)).await;
    service.pass(FIRST_AFTER).await;
    assert_eq!(ended(&service).await.map(|recount| recount.findings_total), Some(0));

    service.sql("UPDATE tallies SET occupied = 5 WHERE event_id = 2");
    service.pass(EVERY).await;
    let damaged = ended(&service).await.expect("its time has come");
    assert_eq!((damaged.rows, damaged.findings_total), (ROWS, 1));
    let [finding] = damaged.first_findings.as_slice() else { panic!("{damaged:?}") };
    assert_eq!(finding.rule, Rule::Seats);
    assert!(finding.what.contains("event 2 counts 5 occupied seats"), "{finding:?}");
    assert!(service.engine().check_ready().await.is_ok(), "the sound rows can be used");
    let noted = LastCheck {
        checker: Checker::Service,
        at: service.now(),
        rows: ROWS,
        findings: 1,
        first: format!("seats: {}", finding.what),
    };
    until_noted(&service, noted).await;

    // All is counted, and a few are named.
    service.sql("DELETE FROM slots");
    service.pass(EVERY).await;
    let damaged = ended(&service).await.expect("its time has come");
    assert_eq!((damaged.findings_total, damaged.first_findings.len()), (12, 5));
    service.finish_spoilt().await;
}

#[tokio::test]
async fn it_can_be_off() {
    let service = recounting(None).await;
    for _ in 0..3 {
        service.pass(24 * EVERY).await;
        assert_eq!(ended(&service).await, None);
    }
    service.finish().await;
}

#[tokio::test]
async fn it_gives_up_when_it_takes_too_long_and_comes_again() {
    let service = recounting(Some(EVERY)).await;
    service.pass(FIRST_AFTER).await;
    let finished = ended(&service).await;
    assert_eq!(finished.as_ref().map(|recount| recount.rows), Some(ROWS));

    service.pass(EVERY).await;
    let at = service.now();
    service.pass(just_before(takes_at_most())).await;
    // One more page, and the rest after it goes beyond the limit.
    assert_eq!(ended(&service).await, None, "what wasn't read to its end says nothing");
    let recounts = service.engine().recounts();
    assert_eq!(recounts.finished, finished, "it still tells what it knows");
    let unfinished = recounts.unfinished.expect("its time was up");
    assert_eq!((unfinished.so_far.at, unfinished.why), (at, Hindrance::Late(takes_at_most())));
    assert_eq!(unfinished.so_far.findings_total, 0);

    service.pass(EVERY).await;
    assert_eq!(ended(&service).await.map(|recount| recount.rows), Some(ROWS));
    assert_eq!(service.engine().recounts().unfinished, None, "that is over");
    service.finish().await;
}

/// Whenever its time is up, it tells what it has found by then: nothing, then that something is
/// wrong with a booking, and at last what.
#[tokio::test]
async fn what_is_found_is_told_though_there_was_no_time_for_the_rest() {
    let service = recounting(Some(EVERY)).await;
    // Two findings: it isn't what was held, and it isn't the slot that there is.
    service.sql("UPDATE journal SET seats = 1 WHERE booking_id = 2 AND kind = 2");
    service.pass(FIRST_AFTER).await;
    let mut told = Vec::new();
    let mut rests = 0;
    while let Some(UnfinishedRecount { so_far, why }) = cut_short(&service, rests).await {
        assert_eq!(why, Hindrance::Late(takes_at_most()));
        if so_far.findings_total > 0 {
            let at = service.now();
            let (rows, findings) = (so_far.rows, so_far.findings_total);
            let first = String::new();
            let noted = LastCheck { checker: Checker::Service, at, rows, findings, first };
            until_noted(&service, noted).await;
        } else {
            assert_eq!(service.store().last_checks().await, Ok(vec![]));
        }
        let named = so_far.first_findings.len() as u64;
        told.push((so_far.rows, so_far.findings_total, named));
        service.pass(EVERY).await;
        rests += 1;
    }
    let recount = service.engine().recounts().finished.expect("there was time enough");
    let rows_of_bookings = ROWS - 2;
    assert_eq!((recount.rows, recount.findings_total), (ROWS + rows_of_bookings, 2));
    told.dedup_by_key(|(_, total, named)| (*total, *named));
    assert_eq!(told, [(0, 0, 0), (ROWS, 1, 0)], "before all rows were read, and after");
    service.finish_spoilt().await;
}

#[tokio::test]
async fn what_the_store_says_is_why_it_did_not_come_to_its_end() {
    let service = recounting(Some(EVERY)).await;
    service.sql("ALTER TABLE errands RENAME TO mislaid");
    service.pass(FIRST_AFTER).await;
    assert_eq!(ended(&service).await, None);
    let unfinished = service.engine().recounts().unfinished.expect("it can't read a table");
    let Hindrance::Store(error) = &unfinished.why else { panic!("{unfinished:?}") };
    assert!(error.to_string().contains("errands"), "it names what is missing: {error}");
    service.sql("ALTER TABLE mislaid RENAME TO errands");
    service.finish().await;
}

#[tokio::test]
async fn a_slow_one_that_stays_within_the_limit_ends() {
    let service = recounting(Some(EVERY)).await;
    service.pass(FIRST_AFTER).await;
    service.pass(takes_at_most() / 2).await;
    assert_eq!(ended(&service).await.map(|recount| recount.rows), Some(ROWS));
    service.finish().await;
}

/// It rests with its snapshot open, and the clock that it rests by doesn't move any more.
#[tokio::test]
async fn one_that_is_under_way_keeps_nobody_from_stopping() {
    let mut service = recounting(Some(EVERY)).await;
    service.pass(FIRST_AFTER).await;
    service.restart(Duration::ZERO).await;
    assert_eq!(ended(&service).await, None, "the first one has a while to come again");
    service.pass(FIRST_AFTER).await;
    assert_eq!(ended(&service).await.map(|recount| recount.rows), Some(ROWS));
    service.pass(EVERY).await;
    service.finish().await;
}

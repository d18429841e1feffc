//! Live events: every version, in order, without a gap.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use eventbooker_core::EventId;
use eventbooker_core::events::JournalEntry;
use eventbooker_engine::Subscription;
use eventbooker_testkit::Service;
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::service::attendee;

/// So long that nothing expires while the clock moves in small steps.
const WINDOW_MINUTES: i64 = 43_200;

/// Reads on until a version, and returns what was told on the way. Fails at a gap.
async fn read_until(
    service: &Service,
    watcher: &mut Subscription,
    (mut seen, until): (i64, i64),
) -> Vec<JournalEntry> {
    let mut told = Vec::new();
    while seen < until {
        let update = service.next(watcher, 1).await.expect("the subscription goes on");
        for entry in &update.entries {
            assert_eq!(entry.version, seen + 1, "every version once, in order");
            seen = entry.version;
        }
        assert_eq!(update.version, seen);
        if let Some(event) = &update.event {
            assert_eq!(event.tally.version, seen, "the event as it stood then");
        }
        told.extend(update.entries.iter().copied());
    }
    told
}

async fn watch(service: &Service, event_id: EventId, last_seen: Option<i64>) -> Subscription {
    let watching = service.engine().watch(event_id, last_seen).await;
    watching.expect("the store answers").expect("the event exists")
}

/// The first thing that a watcher without a past is told: how the event stands.
async fn assert_fresh(service: &Service, watcher: &mut Subscription, event_id: EventId) -> i64 {
    let update = service.next(watcher, 1).await.expect("told");
    assert_eq!(update.event, Some(service.event(event_id).await));
    assert!(update.entries.is_empty());
    update.version
}

/// Makes `count` bookings and ends every second of them, as a paid or a cancelled one.
async fn trade(service: &Service, event_id: EventId, count: i64) {
    for user in 1..=count {
        let booking = service.book(user, event_id, 1).await.expect("there is room");
        let owner = attendee(user);
        match user % 4 {
            0 => service.confirm(owner, booking.id).await.expect("in time"),
            2 => service.cancel(owner, booking.id).await.expect("in time"),
            _ => booking,
        };
    }
}

#[tokio::test]
async fn a_watcher_sees_every_version_in_order() {
    let service = Service::start().await;
    let event_id = service.create_event(1_000, 0, WINDOW_MINUTES).await;
    let mut early = watch(&service, event_id, None).await;
    let first = assert_fresh(&service, &mut early, event_id).await;
    assert_eq!(first, 1);
    trade(&service, event_id, 20).await;
    // One who joins in the middle, and goes on with the other.
    let mut late = watch(&service, event_id, None).await;
    let middle = assert_fresh(&service, &mut late, event_id).await;
    assert_eq!(middle, 31);
    let (told, ()) =
        tokio::join!(read_until(&service, &mut early, (first, 61)), trade(&service, event_id, 20),);
    let told_late = read_until(&service, &mut late, (middle, 61)).await;
    assert_eq!(told[told.len() - told_late.len()..], told_late);
    assert_eq!(told, service.store().journal(event_id, 1, 1_000).await.expect("read"));
    service.finish().await;
}

#[tokio::test]
async fn a_watcher_resumes_where_it_left_off() {
    let service = Service::start().await;
    let event_id = service.create_event(2_000, 0, WINDOW_MINUTES).await;
    trade(&service, event_id, 20).await;
    for seen in [0, 1, 17, 30, 31] {
        let mut watcher = watch(&service, event_id, Some(seen)).await;
        let told = read_until(&service, &mut watcher, (seen, 31)).await;
        assert_eq!(told, service.store().journal(event_id, seen, 100).await.expect("read"));
    }
    // More than fits into one update, and more that comes while it is being told.
    let buyers = (0..1_100).map(|user| service.book(user, event_id, 1));
    futures_util::future::join_all(buyers).await;
    let mut watcher = watch(&service, event_id, Some(1)).await;
    let (_, ()) = tokio::join!(
        read_until(&service, &mut watcher, (1, 31 + 1_100 + 30)),
        trade(&service, event_id, 20),
    );
    service.finish().await;
}

/// Whoever joins while others are still to be told of the past hears only what comes after.
#[tokio::test]
async fn a_watcher_hears_nothing_twice() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, WINDOW_MINUTES).await;
    let mut early = watch(&service, event_id, None).await;
    assert_fresh(&service, &mut early, event_id).await;
    // The clock stands still, and so does whoever reports to the early one.
    for user in 1..=3 {
        service.book(user, event_id, 1).await.expect("there is room");
    }
    let mut late = watch(&service, event_id, None).await;
    assert_eq!(late.next().await.expect("told how it stands").version, 4);
    let mut back = watch(&service, event_id, Some(2)).await;
    service.book(4, event_id, 1).await.expect("there is room");
    read_until(&service, &mut early, (1, 5)).await;
    read_until(&service, &mut late, (4, 5)).await;
    read_until(&service, &mut back, (2, 5)).await;
    service.finish().await;
}

#[tokio::test]
async fn a_version_that_was_never_given_out_is_no_past() {
    let service = Service::start().await;
    let event_id = service.create_event(10, 0, WINDOW_MINUTES).await;
    for ahead in [2, i64::MAX, -1, i64::MIN] {
        let mut watcher = watch(&service, event_id, Some(ahead)).await;
        assert_eq!(assert_fresh(&service, &mut watcher, event_id).await, 1, "{ahead}");
    }
    let nobody = service.engine().watch(EventId::new(404), None).await.expect("the store answers");
    assert!(nobody.is_none());
    service.finish().await;
}

#[tokio::test]
async fn a_watcher_that_lags_is_let_go_and_comes_back() {
    let service = Service::start().await;
    let event_id = service.create_event(1_000, 0, WINDOW_MINUTES).await;
    let mut slow = watch(&service, event_id, None).await;
    let mut quick = watch(&service, event_id, None).await;
    let seen = assert_fresh(&service, &mut slow, event_id).await;
    let mut version = assert_fresh(&service, &mut quick, event_id).await;
    for user in 1..=100 {
        service.book(user, event_id, 1).await.expect("there is room");
        read_until(&service, &mut quick, (version, version + 1)).await;
        version += 1;
    }
    assert!(service.next(&mut slow, 1).await.is_none(), "it could not keep up");
    let mut again = watch(&service, event_id, Some(seen)).await;
    read_until(&service, &mut again, (seen, version)).await;
    service.finish().await;
}

/// As all streams do after a restart. They don't all read at once.
#[tokio::test]
async fn many_may_come_back_at_once() {
    const WATCHERS: usize = 1_000;
    /// And the reporter.
    const READ_AT_ONCE_MAX: usize = 8 + 1;
    let service = Service::start().await;
    let event_id = service.create_event(1_000, 0, WINDOW_MINUTES).await;
    trade(&service, event_id, 4).await;
    let coming = (0..WATCHERS).map(async |_| {
        let mut watcher = watch(&service, event_id, Some(1)).await;
        watcher.next().await.map(|update| update.version)
    });
    let told = futures_util::future::join_all(coming).await;
    assert_eq!(told, vec![Some(7); WATCHERS]);
    assert!(service.faults.read_at_once() <= READ_AT_ONCE_MAX);
    service.finish().await;
}

/// Of an event with a long journal, too, and though it has only begun with that.
#[tokio::test]
async fn draining_ends_a_subscription_that_is_being_told_of_the_past() {
    let service = Service::start().await;
    let event_id = service.create_event(2_000, 0, WINDOW_MINUTES).await;
    let buyers = (0..1_100).map(|user| service.book(user, event_id, 1));
    futures_util::future::join_all(buyers).await;
    let mut watcher = watch(&service, event_id, Some(0)).await;
    let update = watcher.next().await.expect("told of the past");
    assert!(update.event.is_none(), "there is more to tell");
    service.engine().drain();
    assert!(watcher.next().await.is_none());
    service.finish().await;
}

/// Another replica changed the event, of which no lane here knows.
#[tokio::test]
async fn a_watcher_hears_of_other_replicas() {
    let service = Service::with(eventbooker_testkit::Options {
        engines: 2,
        ..eventbooker_testkit::Options::default()
    })
    .await;
    let event_id = service.create_event(10, 0, WINDOW_MINUTES).await;
    let watching = service.engines()[1].watch(event_id, None).await;
    let mut watcher = watching.expect("the store answers").expect("the event exists");
    assert_fresh(&service, &mut watcher, event_id).await;
    service.book(1, event_id, 1).await.expect("there is room");
    read_until(&service, &mut watcher, (1, 2)).await;
    service.finish().await;
}

#[tokio::test]
async fn draining_ends_every_subscription() {
    let service = Service::start().await;
    let events = [
        service.create_event(10, 0, WINDOW_MINUTES).await,
        service.create_event(10, 0, WINDOW_MINUTES).await,
    ];
    let mut watchers = Vec::new();
    for event_id in [events[0], events[0], events[1]] {
        let mut watcher = watch(&service, event_id, None).await;
        watcher.next().await.expect("told how it stands");
        watchers.push(watcher);
    }
    service.engine().drain();
    for watcher in &mut watchers {
        let ended = async {
            tokio::select! {
                update = watcher.next() => update,
                // The reporters leave one after the other, so nobody waits for a number of them.
                () = service.tick(0) => unreachable!("time goes on"),
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it ends before long");
        assert!(ended.is_none());
    }
    let booked = service.book(1, events[0], 1).await;
    assert!(booked.is_ok(), "commands are still taken until the engine stops");
    service.finish().await;
}

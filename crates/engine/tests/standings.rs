//! How events stand: only the latest counts, everybody is told of it within a second, and thousands
//! of watchers are told less often.
#![allow(missing_docs, reason = "a test's name says what it proves")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use eventbooker_core::events::{Amendment, Event};
use eventbooker_core::{EventId, Timestamp};
use eventbooker_engine::{Clock as _, Engine, Standings, Told};
use eventbooker_store::StoreError;
use eventbooker_testkit::clock::PATIENCE;
use eventbooker_testkit::{Options, Service};

const WINDOW_MINUTES: i64 = 43_200;
/// A step of the clock.
const STEP: Duration = Duration::from_millis(50);
/// Within this everybody has heard of a change, wherever it was made.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

type Posts = Vec<Arc<Told<Event>>>;

async fn watch(engine: &Engine, ids: &[EventId]) -> Standings {
    let ids: BTreeSet<EventId> = ids.iter().copied().collect();
    let watching = engine.watch_standings(&ids).await.expect("the store answers");
    watching.unwrap_or_else(|unknown| panic!("there are no {unknown:?}"))
}

async fn three_events(service: &Service) -> [EventId; 3] {
    let mut ids = [EventId::new(0); 3];
    for id in &mut ids {
        *id = service.create_event(100, 0, WINDOW_MINUTES).await;
    }
    ids
}

/// What a watcher is told next, while time passes.
async fn next(service: &Service, watcher: &mut Standings) -> Option<Posts> {
    let told = async {
        tokio::select! {
            biased;
            posts = watcher.next() => posts,
            () = service.tick(1) => unreachable!("time goes on"),
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("a watcher is told before long")
}

/// Lets time pass while nobody listens.
async fn pass(service: &Service, span: Duration) {
    for _ in 0..span.as_millis() / STEP.as_millis() {
        service.settle_with(1).await;
        service.clock.advance(STEP);
    }
    service.settle_with(1).await;
}

fn counts(posts: &Posts) -> Vec<(EventId, i64, u32)> {
    let counts = |post: &Arc<Told<Event>>| (post.id, post.tally.version, post.free_seats().get());
    posts.iter().map(counts).collect()
}

fn since(service: &Service, begun: Timestamp) -> Duration {
    begun.until(service.now())
}

#[tokio::test]
async fn a_watcher_is_told_how_all_stand_and_then_what_has_changed() {
    let service = Service::start().await;
    let [one, two, three] = three_events(&service).await;
    service.book(1, two, 5).await.expect("there is room");
    let mut watcher = watch(service.engine(), &[three, one, two]).await;
    let first = watcher.next().await.expect("told at once");
    assert_eq!(counts(&first), [(one, 1, 100), (two, 2, 95), (three, 1, 100)]);
    service.book(1, three, 1).await.expect("there is room");
    let posts = next(&service, &mut watcher).await.expect("told");
    assert_eq!(counts(&posts), [(three, 2, 99)], "of the others there is nothing to tell");
    // What the organiser decides is told as well.
    let smaller = Amendment { capacity: Some(50), ..Amendment::default() };
    service.edit(one, smaller).await.expect("none is booked");
    assert_eq!(counts(&next(&service, &mut watcher).await.expect("told")), [(one, 2, 50)]);
    service.cancel_event(one).await.expect("it takes place until now");
    let posts = next(&service, &mut watcher).await.expect("told");
    assert!(posts[0].cancellation.is_some());
    assert_eq!(counts(&posts), [(one, 3, 0)]);
    service.finish().await;
}

#[tokio::test]
async fn whoever_is_slow_hears_only_the_latest_and_never_goes_back() {
    let service = Service::start().await;
    let [one, two, _] = three_events(&service).await;
    let [mut slow, mut quick] =
        [watch(service.engine(), &[one, two]).await, watch(service.engine(), &[one]).await];
    slow.next().await.expect("told at once");
    quick.next().await.expect("told at once");
    for user in 1..=20 {
        service.book(user, one, 1).await.expect("there is room");
        service.book(user, two, 2).await.expect("there is room");
        let posts = next(&service, &mut quick).await.expect("told");
        assert_eq!(counts(&posts), [(one, user + 1, 100 - u32::try_from(user).expect("few"))]);
    }
    pass(&service, TOLD_WITHIN).await;
    let posts = next(&service, &mut slow).await.expect("told");
    let mut latest = counts(&posts);
    latest.sort_unstable();
    assert_eq!(latest, [(one, 21, 80), (two, 21, 60)], "each once, as it stands");
    service.finish().await;
}

/// Whoever comes reads for itself, and may know more than the board.
#[tokio::test]
async fn nobody_is_told_twice_or_of_what_was_before() {
    let service = Service::start().await;
    let [one, ..] = three_events(&service).await;
    let mut early = watch(service.engine(), &[one]).await;
    early.next().await.expect("told at once");
    // Its first look is over. The clock stands still, and so does the keeper.
    service.settle_with(1).await;
    service.book(1, one, 1).await.expect("there is room");
    service.book(2, one, 1).await.expect("there is room");
    let mut late = watch(service.engine(), &[one]).await;
    assert_eq!(counts(&late.next().await.expect("told at once")), [(one, 3, 98)]);
    assert_eq!(counts(&next(&service, &mut early).await.expect("told")), [(one, 3, 98)]);
    service.book(3, one, 1).await.expect("there is room");
    for watcher in [&mut late, &mut early] {
        assert_eq!(counts(&next(&service, watcher).await.expect("told")), [(one, 4, 97)]);
    }
    service.finish().await;
}

#[tokio::test]
async fn what_is_told_is_put_into_words_once_for_all() {
    let service = Service::start().await;
    let [one, two, _] = three_events(&service).await;
    let mut watchers = Vec::new();
    for _ in 0..200 {
        watchers.push(watch(service.engine(), &[one, two]).await);
        watchers.push(watch(service.engine(), &[one]).await);
    }
    for watcher in &mut watchers {
        watcher.next().await.expect("told at once");
    }
    service.book(1, one, 1).await.expect("there is room");
    let mut said = 0;
    for watcher in &mut watchers {
        let posts = next(&service, watcher).await.expect("told");
        let words = posts[0].in_words(|event| {
            said += 1;
            Bytes::from(event.tally.version.to_string())
        });
        assert_eq!(words, "2");
    }
    assert_eq!(said, 1);
    service.finish().await;
}

#[tokio::test]
async fn events_that_do_not_exist_are_named() {
    let service = Service::start().await;
    let [one, ..] = three_events(&service).await;
    let ids = [404, one.get(), -1].map(EventId::new).into_iter().collect();
    let watching = service.engine().watch_standings(&ids).await.expect("the store answers");
    assert_eq!(watching.err(), Some(vec![EventId::new(-1), EventId::new(404)]));
    service.finish().await;
}

/// Of such a change no lane here knows.
#[tokio::test]
async fn a_change_by_another_replica_is_told_within_a_second() {
    let service = Service::with(Options { engines: 2, ..Options::default() }).await;
    let ids = three_events(&service).await;
    let mut watcher = watch(&service.engines()[1], &ids).await;
    watcher.next().await.expect("told at once");
    pass(&service, TOLD_WITHIN).await;
    for (user, id) in (1..).zip(ids) {
        let looks = service.faults.looks_at_events();
        let begun = service.now();
        service.book(user, id, 1).await.expect("there is room");
        let posts = next(&service, &mut watcher).await.expect("told");
        assert_eq!(counts(&posts), [(id, 2, 99)]);
        assert!(since(&service, begun) <= TOLD_WITHIN, "{:?}", since(&service, begun));
        let looks = service.faults.looks_at_events() - looks;
        assert!(looks <= 4, "all are looked at together, not one by one: {looks}");
    }
    service.finish().await;
}

/// The clock that a store's replicas go by is the store's, and somebody may set it.
#[tokio::test]
async fn changes_are_told_within_a_second_though_the_clock_is_set_back() {
    const HOUR_MICROS: i64 = 3_600_000_000;
    let mut service = Service::with(Options { engines: 2, ..Options::default() }).await;
    let ahead = Arc::new(AtomicI64::new(HOUR_MICROS));
    let (ours, ahead_by) = (Arc::clone(&service.clock), Arc::clone(&ahead));
    service.faults.set_clock(move || {
        let ahead = ahead_by.load(Ordering::Relaxed);
        Timestamp::from_micros(ours.now().as_micros() + ahead)
    });
    service.restart(Duration::ZERO).await;
    let [one, ..] = three_events(&service).await;
    let mut watcher = watch(&service.engines()[1], &[one]).await;
    watcher.next().await.expect("told at once");
    pass(&service, TOLD_WITHIN).await;
    ahead.store(0, Ordering::Relaxed);
    while service.engines()[1].now() != service.clock.now() {
        pass(&service, TOLD_WITHIN).await;
    }
    let begun = service.clock.now();
    service.book(1, one, 1).await.expect("there is room");
    assert_eq!(counts(&next(&service, &mut watcher).await.expect("told")), [(one, 2, 99)]);
    assert!(begun.until(service.clock.now()) <= TOLD_WITHIN);
    service.finish().await;
}

#[tokio::test]
async fn thousands_are_told_less_often_but_within_a_second() {
    const WATCHERS: usize = 5_000;
    let service = Service::start().await;
    let id = service.create_event(1_000, 0, WINDOW_MINUTES).await;
    let messages_in_two_seconds = async |watcher: &mut Standings| {
        let (begun, mut messages, mut user) = (service.now(), 0, 0);
        while since(&service, begun) < Duration::from_secs(2) {
            user += 1;
            let booked_at = service.now();
            service.book(user, id, 1).await.expect("there is room");
            let posts = next(&service, watcher).await.expect("told");
            assert_eq!(posts[0].tally, service.event(id).await.tally);
            assert!(since(&service, booked_at) <= TOLD_WITHIN / 2);
            messages += 1;
        }
        messages
    };
    let mut watcher = watch(service.engine(), &[id]).await;
    watcher.next().await.expect("told at once");
    let alone = messages_in_two_seconds(&mut watcher).await;
    let mut crowd = Vec::with_capacity(WATCHERS);
    for _ in 0..WATCHERS {
        crowd.push(watch(service.engine(), &[id]).await);
    }
    let among_thousands = messages_in_two_seconds(&mut watcher).await;
    drop(crowd);
    let alone_again = messages_in_two_seconds(&mut watcher).await;
    assert!(among_thousands <= 6, "{among_thousands} messages to each of thousands");
    for few in [alone, alone_again] {
        // A step of the clock may be lost to each of them.
        assert!(few >= 12, "{few} messages to one of few");
    }
    service.finish().await;
}

/// As all pages do after a restart. They are more than a store lets wait.
#[tokio::test]
async fn thousands_may_come_at_once() {
    const WATCHERS: usize = 10_000;
    let service = Service::start().await;
    let ids = three_events(&service).await;
    let coming = (0..WATCHERS).map(|_| watch(service.engine(), &ids));
    let watchers = futures_util::future::join_all(coming).await;
    assert_eq!(watchers.len(), WATCHERS);
    drop(watchers);
    service.finish().await;
}

#[tokio::test]
async fn nobody_looks_when_nobody_watches() {
    let service = Service::start().await;
    let ids = three_events(&service).await;
    let mut watcher = watch(service.engine(), &ids).await;
    watcher.next().await.expect("told at once");
    drop(watcher);
    let looks = service.faults.looks_at_events();
    for _ in 0..10 {
        service.pass(TOLD_WITHIN).await;
    }
    service.book(1, ids[0], 1).await.expect("there is room");
    assert_eq!(service.faults.looks_at_events(), looks);
    let mut watcher = watch(service.engine(), &ids).await;
    assert_eq!(watcher.next().await.expect("told at once").len(), 3);
    service.book(2, ids[0], 1).await.expect("there is room");
    assert_eq!(counts(&next(&service, &mut watcher).await.expect("told")), [(ids[0], 3, 98)]);
    service.finish().await;
}

#[tokio::test]
async fn what_could_not_be_read_is_told_when_it_can() {
    let service = Service::start().await;
    let [one, ..] = three_events(&service).await;
    let mut watcher = watch(service.engine(), &[one]).await;
    watcher.next().await.expect("told at once");
    pass(&service, TOLD_WITHIN).await;
    service.faults.fail_events(3);
    service.book(1, one, 1).await.expect("there is room");
    assert_eq!(counts(&next(&service, &mut watcher).await.expect("told")), [(one, 2, 99)]);
    assert!(service.faults.are_used_up());
    service.faults.fail_events(1);
    let refused = service.engine().watch_standings(&[one].into()).await;
    assert!(matches!(refused, Err(StoreError::Away(_))), "{:?}", refused.err());
    service.finish().await;
}

#[tokio::test]
async fn a_keeper_that_has_panicked_is_replaced_when_somebody_comes() {
    let service = Service::start().await;
    let [one, ..] = three_events(&service).await;
    let mut early = watch(service.engine(), &[one]).await;
    early.next().await.expect("told at once");
    pass(&service, TOLD_WITHIN).await;
    service.faults.panic_at_events();
    service.book(1, one, 1).await.expect("there is room");
    let panicked = async {
        while !service.faults.are_used_up() {
            service.settle().await;
            service.clock.advance(STEP);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, panicked).await.expect("the keeper looks");
    let mut late = watch(service.engine(), &[one]).await;
    assert_eq!(counts(&late.next().await.expect("told at once")), [(one, 2, 99)]);
    assert_eq!(counts(&next(&service, &mut early).await.expect("told")), [(one, 2, 99)]);
    service.book(2, one, 1).await.expect("there is room");
    for watcher in [&mut late, &mut early] {
        assert_eq!(counts(&next(&service, watcher).await.expect("told")), [(one, 3, 98)]);
    }
    service.finish().await;
}

#[tokio::test]
async fn draining_ends_every_watch_at_once() {
    let mut service = Service::start().await;
    let [one, two, _] = three_events(&service).await;
    let mut both = watch(service.engine(), &[one, two]).await;
    both.next().await.expect("told at once");
    let mut fresh = watch(service.engine(), &[one]).await;
    service.engine().drain();
    assert!(both.next().await.is_none());
    assert!(fresh.next().await.is_some(), "what was there when it came");
    assert!(fresh.next().await.is_none());
    let mut late = watch(service.engine(), &[one]).await;
    assert!(late.next().await.is_none());
    drop((both, fresh, late));
    // Nobody keeps the store.
    service.restart(Duration::ZERO).await;
    service.finish().await;
}

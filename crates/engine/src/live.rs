//! Live events: who watches an event's journal hears of every change, in order and without a gap.
//! Who only wants to know how events stand looks at the [`board`].
//!
//! For each event whose journal is watched one task reads what is new from the store (the event's journal, which
//! has no gaps) and passes it on to all who watch. It is woken by the lanes of this process, and
//! looks by itself every so often because another process may have changed the event.
//!
//! A watcher that can't keep up is let go. It comes back with the last version that it saw, and
//! is told everything since from the journal.

pub(crate) mod board;

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use eventbooker_core::EventId;
use eventbooker_core::events::{Event, JournalEntry};
use eventbooker_store::{Store, StoreError};
use tokio::sync::{Notify, Semaphore, broadcast};

use crate::{Clock, Engine};

/// Changes that come quicker than this are told together.
const PACE: Duration = Duration::from_millis(50);
/// An event is looked at this often even if no lane of this process has changed it.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// A reporter that is behind rests so long between two pages, so that others can read as well. A page
/// has more entries than are made meanwhile, so it catches up.
const REST: Duration = Duration::from_millis(10);
/// Watchers who read at once. After a restart all of them come back together, and would be more than
/// the store lets wait.
const READ_AT_ONCE_MAX: usize = 8;
/// Journal entries in one update.
const ENTRIES_MAX: u32 = 500;
/// Updates that a watcher may lag behind.
const LAG_MAX: usize = 64;

/// What all watchers are told, and put into words for all of them at once.
#[derive(Debug)]
pub struct Told<T> {
    what: T,
    words: OnceLock<Bytes>,
}

impl<T> Told<T> {
    fn new(what: T) -> Self {
        Self { what, words: OnceLock::new() }
    }

    /// The words for it, which are found by whoever asks first. All have to ask for the same.
    pub fn in_words(&self, say: impl FnOnce(&T) -> Bytes) -> Bytes {
        self.words.get_or_init(|| say(&self.what)).clone()
    }
}

impl<T> Deref for Told<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.what
    }
}

/// What a watcher of a journal is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The event as it stands after the last of the entries; `None` if more entries follow at
    /// once.
    pub event: Option<Event>,
    /// What has happened since the update before, oldest first.
    pub entries: Vec<JournalEntry>,
    /// The version up to which the watcher now knows everything.
    pub version: i64,
}

struct Watched {
    changed: Notify,
    updates: broadcast::Sender<Arc<Told<Update>>>,
}

pub(crate) struct Live {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    events: Mutex<HashMap<EventId, Weak<Watched>>>,
    /// How many events are watched, so that lanes needn't lock when it is none.
    watched: AtomicUsize,
    ended: AtomicBool,
    turns: Turns,
}

/// Turns to read, for those who come and those who were away.
pub(crate) type Turns = Arc<Semaphore>;

pub(crate) fn turns() -> Turns {
    Arc::new(Semaphore::new(READ_AT_ONCE_MAX))
}

impl Live {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, turns: Turns) -> Self {
        Self {
            store,
            clock,
            turns,
            events: Mutex::new(HashMap::new()),
            watched: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        }
    }

    /// These events have changed durably.
    pub(crate) fn changed(&self, ids: impl IntoIterator<Item = EventId>) {
        if self.watched.load(Ordering::Relaxed) == 0 {
            return;
        }
        let events = self.events();
        for id in ids {
            if let Some(watched) = events.get(&id).and_then(Weak::upgrade) {
                watched.changed.notify_one();
            }
        }
    }

    /// Ends every subscription and gives out no more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        for watched in self.events().values().filter_map(Weak::upgrade) {
            watched.changed.notify_one();
        }
    }

    fn events(&self) -> MutexGuard<'_, HashMap<EventId, Weak<Watched>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The event's reporter, which is started if nobody has watched the event until now.
    fn watch(
        self: &Arc<Self>,
        id: EventId,
        version: i64,
    ) -> broadcast::Receiver<Arc<Told<Update>>> {
        let mut events = self.events();
        if let Some(watched) = events.get(&id).and_then(Weak::upgrade) {
            return watched.updates.subscribe();
        }
        let (updates, receiver) = broadcast::channel(LAG_MAX);
        let watched = Arc::new(Watched { changed: Notify::new(), updates });
        events.insert(id, Arc::downgrade(&watched));
        self.watched.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(Arc::clone(self).report(id, watched, version));
        receiver
    }

    /// Tells everybody who watches an event what is new, until nobody does.
    async fn report(self: Arc<Self>, id: EventId, watched: Arc<Watched>, mut version: i64) {
        while !self.ended.load(Ordering::Relaxed) {
            let mut is_behind = false;
            match self.news(id, version).await {
                Ok(Some(update)) => {
                    version = update.version;
                    is_behind = update.event.is_none();
                    // Nobody may be listening any more; that is looked at below.
                    let _ = watched.updates.send(Arc::new(Told::new(update)));
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, event = %id, "could not read what is new"),
            }
            if is_behind {
                self.clock.sleep_until(self.clock.now().plus(REST)).await;
            } else {
                self.clock.sleep_until(self.clock.now().plus(PACE)).await;
                tokio::select! {
                    () = watched.changed.notified() => {}
                    () = self.clock.sleep_until(self.clock.now().plus(LOOK_EVERY)) => {}
                }
            }
            // Under the lock, so that nobody subscribes to a reporter that is leaving.
            let mut events = self.events();
            if watched.updates.receiver_count() == 0 {
                events.remove(&id);
                self.watched.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        }
        self.events().remove(&id);
    }

    /// What has happened to an event since a version; `None` if nothing.
    async fn news(&self, id: EventId, version: i64) -> Result<Option<Update>, StoreError> {
        let Some(event) = self.store.event(id).await? else { return Ok(None) };
        if event.tally.version <= version {
            return Ok(None);
        }
        let mut entries = self.store.journal(id, version, ENTRIES_MAX).await?;
        // The journal is read after the event and may know more; that is told next time.
        entries.retain(|entry| entry.version <= event.tally.version);
        let reached = entries.last().map_or(version, |entry| entry.version);
        let complete = reached >= event.tally.version;
        Ok(Some(Update { event: complete.then_some(event), entries, version: reached }))
    }
}

/// One watcher of one event.
pub struct Subscription {
    live: Arc<Live>,
    event_id: EventId,
    version: i64,
    /// What the watcher is told before anything else.
    first: Option<Arc<Told<Update>>>,
    /// The version from which on the reporter tells everything; the journal has what is before.
    joined_at: i64,
    updates: broadcast::Receiver<Arc<Told<Update>>>,
}

impl Engine {
    /// Watches an event. With the last version that the watcher has seen, it is told everything
    /// since; without one, it is told how the event stands now. `None` if there is no such event.
    pub async fn watch(
        &self,
        event_id: EventId,
        last_seen: Option<i64>,
    ) -> Result<Option<Subscription>, StoreError> {
        let live = &self.inner.live;
        let _turn = live.turns.acquire().await;
        let Some(event) = self.store().event(event_id).await? else { return Ok(None) };
        let updates = live.watch(event_id, event.tally.version);
        // Read again after joining: whatever the reporter told before is in here, and whatever is
        // not in here the reporter will tell.
        let Some(event) = self.store().event(event_id).await? else { return Ok(None) };
        let now = event.tally.version;
        // A version that lies ahead was never ours to give out, so nothing is known to be seen.
        let last_seen = last_seen.filter(|version| (0..=now).contains(version));
        let (version, first) = match last_seen {
            Some(version) => (version, None),
            None => (now, Some(Update { event: Some(event), entries: Vec::new(), version: now })),
        };
        Ok(Some(Subscription {
            live: Arc::clone(live),
            event_id,
            version,
            first: first.map(|update| Arc::new(Told::new(update))),
            joined_at: now,
            updates,
        }))
    }
}

impl Subscription {
    /// What is new, as soon as something is. `None` when the subscription has ended: because the
    /// service is stopping, or because the watcher could not keep up.
    pub async fn next(&mut self) -> Option<Arc<Told<Update>>> {
        if self.live.ended.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.version < self.joined_at {
            let turn = self.live.turns.acquire().await;
            let news = self.live.news(self.event_id, self.version).await;
            drop(turn);
            match news {
                Ok(Some(update)) => {
                    self.version = update.version;
                    return Some(Arc::new(Told::new(update)));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, event = %self.event_id, "could not read what was missed");
                    return None;
                }
            }
        }
        loop {
            if self.live.ended.load(Ordering::Relaxed) {
                return None;
            }
            let update = self.updates.recv().await.ok()?;
            if update.version <= self.version {
                continue;
            }
            let seen = self.version;
            self.version = update.version;
            if update.entries.first().is_some_and(|entry| entry.version <= seen) {
                return Some(Arc::new(Told::new(without_seen(&update, seen))));
            }
            return Some(update);
        }
    }
}

/// An update without the entries that the watcher knows from the journal already.
fn without_seen(update: &Update, seen: i64) -> Update {
    let mut update = update.clone();
    update.entries.retain(|entry| entry.version > seen);
    update
}

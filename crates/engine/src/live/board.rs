//! The board: how events stand, for whoever shows it and doesn't ask how it came about.
//!
//! Thousands may watch one event, while thousands of bookings are made of it. So what a watcher is
//! told is all there is to know, and whoever can't keep up misses nothing by hearing only the latest.
//! One task, the keeper, looks up all events that are watched, together: those of which the lanes of
//! this process say that they have changed, and every so often all, because another process may
//! have changed them. Each of them is posted once for everybody.
//!
//! Absent on purpose: the journal (see [`super`]), and a word about events that weren't changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventbooker_core::events::Event;
use eventbooker_core::{EventId, Timestamp};
use eventbooker_store::{Store, StoreError};
use futures_util::StreamExt as _;
use futures_util::stream::{ReadyChunks, SelectAll};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::WatchStream;

use super::{LOOK_EVERY, PACE, Told, Turns};
use crate::{Clock, Engine};

/// Every watcher lengthens the pace by so much: telling one costs some ten microseconds, and what is
/// left of the machine is for bookings.
const PACE_PER_WATCHER: Duration = Duration::from_micros(150);
/// Up to this, so that with a look and what telling takes everybody has heard of a change within a
/// second.
const PACE_MAX: Duration = Duration::from_millis(400);
/// Watchers in one row, who are woken at once.
const ROW_WATCHERS_MAX: usize = 128;
/// After so many others have their turn: whoever books waits for some of the watchers, not for
/// thousands, be it of one event or of many.
const WOKEN_AT_ONCE: usize = 128;
/// Events that are looked up at once. If more are watched, each is looked at less often.
const EVENTS_AT_ONCE_MAX: usize = 1000;

pub(crate) struct Board {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    posts: Mutex<Posts>,
    /// How many events are watched, so that lanes needn't lock when it is none.
    watched: AtomicUsize,
    watchers: AtomicUsize,
    /// Wakes the keeper when some have changed.
    news: Notify,
    turns: Turns,
}

#[derive(Default)]
struct Posts {
    events: BTreeMap<EventId, Rows>,
    /// Those that have changed since the keeper looked.
    changed: BTreeSet<EventId>,
    keeper: Option<AbortHandle>,
    has_ended: bool,
}

/// An event as it stands, without its description.
type Post = Arc<Told<Event>>;

/// Where an event is posted: once for each row of its watchers.
type Rows = Vec<watch::Sender<Post>>;

impl Board {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, turns: Turns) -> Self {
        Self {
            store,
            clock,
            posts: Mutex::default(),
            watched: AtomicUsize::new(0),
            watchers: AtomicUsize::new(0),
            news: Notify::new(),
            turns,
        }
    }

    /// These events have changed durably.
    pub(crate) fn changed(&self, ids: impl IntoIterator<Item = EventId>) {
        if self.watched.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut posts = self.posts();
        let mut is_news = false;
        for id in ids {
            is_news |= posts.events.contains_key(&id) && posts.changed.insert(id);
        }
        drop(posts);
        if is_news {
            self.news.notify_one();
        }
    }

    /// Ends every watch and begins no more.
    pub(crate) fn end(&self) {
        let mut posts = self.posts();
        posts.has_ended = true;
        posts.events.clear();
        if let Some(keeper) = posts.keeper.take() {
            keeper.abort();
        }
    }

    fn posts(&self) -> MutexGuard<'_, Posts> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A watch of these events, which have just been read.
    fn watch(self: &Arc<Self>, events: Vec<Event>) -> Standings {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        let chunk = events.len().max(1);
        let mut standings = Standings {
            board: Arc::clone(self),
            first: Vec::with_capacity(events.len()),
            seen: BTreeMap::new(),
            posts: SelectAll::new().ready_chunks(chunk),
        };
        let mut posts = self.posts();
        if posts.has_ended {
            return standings;
        }
        let Posts { events: posted, changed, keeper, .. } = &mut *posts;
        for event in events {
            let mut post = Arc::new(Told::new(event));
            let rows = posted.entry(post.id).or_default();
            if rows.is_empty() {
                // It may have changed since it was read.
                changed.insert(post.id);
                self.news.notify_one();
            }
            let has_room = |row: &watch::Sender<Post>| row.receiver_count() < ROW_WATCHERS_MAX;
            let place = rows.iter().position(has_room).unwrap_or_else(|| {
                rows.push(watch::Sender::new(Arc::clone(&post)));
                rows.len() - 1
            });
            // What is posted may be put into words already.
            let newest = rows.iter().map(|row| Arc::clone(&row.borrow()));
            let newest = newest.max_by_key(|posted| posted.tally.version);
            post = newest.filter(|it| it.tally.version >= post.tally.version).unwrap_or(post);
            let sender = &rows[place];
            standings.posts.get_mut().push(WatchStream::from_changes(sender.subscribe()));
            standings.seen.insert(post.id, post.tally.version);
            standings.first.push(post);
        }
        self.watched.store(posted.len(), Ordering::Relaxed);
        // One that has panicked must not leave the board without a keeper for ever.
        if keeper.as_ref().is_none_or(AbortHandle::is_finished) {
            *keeper = Some(tokio::spawn(Arc::clone(self).keep()).abort_handle());
        }
        standings
    }

    /// Keeps the board for as long as somebody watches.
    async fn keep(self: Arc<Self>) {
        let mut looks = Looks { next: self.clock.now().plus(LOOK_EVERY), from: EventId::new(0) };
        let mut is_away = false;
        while let Some(due) = self.due(&mut looks) {
            if !due.is_empty() {
                match self.store.events_with(due).await {
                    Ok(events) => {
                        is_away = false;
                        self.post(events).await;
                    }
                    Err(error) => {
                        // The next look makes up for it. Said once, not at every look.
                        if !std::mem::replace(&mut is_away, true) {
                            tracing::warn!(%error, "could not read how events stand");
                        }
                    }
                }
                self.clock.sleep_until(self.clock.now().plus(self.pace())).await;
            }
            tokio::select! {
                () = self.news.notified() => {}
                () = self.clock.sleep_until(looks.next) => {}
            }
        }
    }

    fn pace(&self) -> Duration {
        let watchers = u32::try_from(self.watchers.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        PACE_MAX.min(PACE + PACE_PER_WATCHER.saturating_mul(watchers))
    }

    /// The events that are to be looked up now; `None` if nobody watches any.
    fn due(&self, looks: &mut Looks) -> Option<Vec<EventId>> {
        let mut posts = self.posts();
        // Under the lock, so that nobody joins a board that its keeper is leaving.
        for rows in posts.events.values_mut() {
            rows.retain(|row| row.receiver_count() > 0);
        }
        posts.events.retain(|_, rows| !rows.is_empty());
        self.watched.store(posts.events.len(), Ordering::Relaxed);
        if posts.events.is_empty() {
            posts.changed.clear();
            posts.keeper = None;
            return None;
        }
        let Posts { events, changed, .. } = &mut *posts;
        changed.retain(|id| events.contains_key(id));
        let mut due = Vec::new();
        while due.len() < EVENTS_AT_ONCE_MAX
            && let Some(id) = changed.pop_first()
        {
            due.push(id);
        }
        if !changed.is_empty() {
            self.news.notify_one();
        }
        let now = self.clock.now();
        // The time is the store's, and may have been set back.
        looks.next = looks.next.min(now.plus(LOOK_EVERY));
        if looks.next <= now {
            looks.next = now.plus(LOOK_EVERY);
            due.extend(looked_at(events, &mut looks.from, EVENTS_AT_ONCE_MAX));
            due.sort_unstable();
            due.dedup();
        }
        Some(due)
    }

    /// Posts those that have changed.
    async fn post(&self, events: Vec<Event>) {
        let mut woken = 0;
        for event in events {
            let post = Arc::new(Told::new(event));
            let mut row = 0;
            while let Some(watchers) = self.post_row(row, &post) {
                row += 1;
                woken += watchers;
                if woken >= WOKEN_AT_ONCE {
                    woken = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Posts an event for one row of its watchers. Returns how many of them that wakes; `None` if
    /// there is no such row.
    fn post_row(&self, row: usize, post: &Post) -> Option<usize> {
        let board = self.posts();
        let sender = board.events.get(&post.id)?.get(row)?;
        let is_news = sender.send_if_modified(|posted| {
            let is_newer = post.tally.version > posted.tally.version;
            if is_newer {
                *posted = Arc::clone(post);
            }
            is_newer
        });
        Some(if is_news { sender.receiver_count() } else { 0 })
    }
}

/// So many events behind one, round and round; the next look begins behind the last of them.
fn looked_at<T>(events: &BTreeMap<EventId, T>, from: &mut EventId, at_once: usize) -> Vec<EventId> {
    let ahead = events.range((Bound::Excluded(*from), Bound::Unbounded));
    let around = ahead.chain(events.range(..=*from));
    let looked_at: Vec<EventId> = around.map(|(id, _)| *id).take(at_once).collect();
    *from = looked_at.last().copied().unwrap_or(*from);
    looked_at
}

/// When all events are to be looked at the next time, and behind which one that begins.
struct Looks {
    next: Timestamp,
    from: EventId,
}

/// A watcher of some events.
pub struct Standings {
    board: Arc<Board>,
    /// What the watcher is told before anything else.
    first: Vec<Post>,
    /// The version of each event that the watcher was told last.
    seen: BTreeMap<EventId, i64>,
    posts: ReadyChunks<SelectAll<WatchStream<Post>>>,
}

impl Standings {
    /// How all events stand at first; then those that have changed, as soon as some have. `None`
    /// when the watch has ended, because the service is stopping.
    pub async fn next(&mut self) -> Option<Vec<Arc<Told<Event>>>> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        loop {
            let mut posts = self.posts.next().await?;
            posts.retain(|post| {
                // The first ones may have been newer than the board.
                let seen = self.seen.entry(post.id).or_default();
                let is_new = post.tally.version > *seen;
                *seen = post.tally.version.max(*seen);
                is_new
            });
            if !posts.is_empty() {
                return Some(posts);
            }
        }
    }
}

impl Drop for Standings {
    fn drop(&mut self) {
        self.board.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Engine {
    /// Watches how events stand. If some of them don't exist, it is these that are returned.
    pub async fn watch_standings(
        &self,
        ids: &BTreeSet<EventId>,
    ) -> Result<Result<Standings, Vec<EventId>>, StoreError> {
        let turn = self.inner.board.turns.acquire().await;
        let events = self.store().events_with(ids.iter().copied().collect()).await?;
        drop(turn);
        let found: BTreeSet<EventId> = events.iter().map(|event| event.id).collect();
        let unknown: Vec<EventId> = ids.difference(&found).copied().collect();
        Ok(if unknown.is_empty() { Ok(self.inner.board.watch(events)) } else { Err(unknown) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_go_round_whoever_comes_and_goes() {
        let ids = |numbers: &[i64]| numbers.iter().copied().map(EventId::new).collect::<Vec<_>>();
        let mut events: BTreeMap<EventId, i64> =
            (1..=7).map(|number| (EventId::new(number), number)).collect();
        let mut from = EventId::new(0);
        assert_eq!(looked_at(&events, &mut from, 3), ids(&[1, 2, 3]));
        assert_eq!(looked_at(&events, &mut from, 3), ids(&[4, 5, 6]));
        assert_eq!(looked_at(&events, &mut from, 3), ids(&[7, 1, 2]));
        events.remove(&EventId::new(2));
        events.insert(EventId::new(9), 9);
        assert_eq!(looked_at(&events, &mut from, 3), ids(&[3, 4, 5]));
        assert_eq!(looked_at(&events, &mut from, 3), ids(&[6, 7, 9]));
        assert_eq!(looked_at(&events, &mut from, 9), ids(&[1, 3, 4, 5, 6, 7, 9]), "each once");
        assert_eq!(looked_at(&BTreeMap::<_, i64>::new(), &mut from, 3), []);
        assert_eq!(from, EventId::new(9));
    }
}

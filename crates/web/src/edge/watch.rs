//! What a connection is doing and since when, so that one timer for each connection can enforce
//! every time-out.
//!
//! The parts of a connection (its socket, the request's body, the handler's future, the answer's
//! body) note each change of phase here, which costs a few plain stores. The connection's one timer
//! fires at least as often as the shortest time-out and asks [`Watch::judge`], which knows the
//! exact deadline of the present phase. So a time-out is neither early nor late, and a request that
//! is answered in good time never touches a timer.
//!
//! All of it runs in the connection's own task (hyper polls socket, handler and bodies from there),
//! so `Relaxed` is enough: the atomics are there because the types must be `Send`. A handler that
//! moves its body to another task may be judged a moment later, no worse.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::EdgeConfig;
use super::canned::{Canned, CannedAnswer};
use super::meters::Meters;
use super::wire::LINGER;

/// How long a drain waits for the rest of a request's body. A client that is sending it needs no
/// longer, and one that has stopped must not delay the end of the process.
const DRAIN_BODY: Duration = Duration::from_secs(2);

/// What all connections of one edge share.
pub(super) struct Shared {
    pub(super) config: EdgeConfig,
    pub(super) canned: Canned,
    pub(super) meters: Meters,
    /// One permit for each connection that may be open.
    pub(super) places: Arc<Semaphore>,
    pub(super) places_max: u32,
    /// The timer's longest nap: no phase that begins during it can end before it.
    nap: Duration,
    started: Instant,
    order: AtomicU8,
    /// When every body has to have arrived, because of a drain.
    bodies_due_us: AtomicU64,
    next_key: AtomicU64,
    /// For waking them all; locked when a connection opens or closes, never for a request.
    connections: Mutex<HashMap<u64, Arc<Watch>>>,
}

/// What connections are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Carry on.
    Serve,
    /// Finish the request at work, if its body arrives soon; take no other.
    Drain,
    /// End now.
    Cut,
}

impl Shared {
    pub(super) fn new(config: EdgeConfig) -> Self {
        let EdgeConfig { header_timeout, idle_timeout, request_timeout, write_timeout, .. } =
            config;
        let nap = [header_timeout, idle_timeout, request_timeout, write_timeout, DRAIN_BODY]
            .into_iter()
            .fold(LINGER, Duration::min);
        let places_max = u32::try_from(config.connections_max).unwrap_or(u32::MAX).max(1);
        Self {
            canned: Canned::new(config.security),
            meters: Meters::resolve(),
            places: Arc::new(Semaphore::new(places_max as usize)),
            places_max,
            nap,
            config,
            started: Instant::now(),
            order: AtomicU8::new(Order::Serve as u8),
            bodies_due_us: AtomicU64::new(u64::MAX),
            next_key: AtomicU64::new(0),
            connections: Mutex::default(),
        }
    }

    pub(super) fn give_order(&self, order: Order) {
        if order == Order::Drain {
            self.bodies_due_us.store(self.now_us() + micros(DRAIN_BODY), SeqCst);
        }
        self.order.store(order as u8, SeqCst);
        for watch in self.connections().values() {
            watch.waker.wake();
        }
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(SeqCst) {
            0 => Order::Serve,
            1 => Order::Drain,
            _ => Order::Cut,
        }
    }

    pub(super) fn open_connections(&self) -> usize {
        self.connections().len()
    }

    /// Whether more than three quarters of all places are in use.
    fn are_places_short(&self) -> bool {
        let places_max = self.places_max as usize;
        let in_use = places_max - self.places.available_permits().min(places_max);
        in_use > places_max.saturating_mul(3) / 4
    }

    /// Writes an answer that is ready, and counts it. It is the first on its connection or follows
    /// one that has left, so the socket takes all of it or the client is gone.
    pub(super) fn write_canned(&self, stream: &TcpStream, answer: &CannedAnswer) {
        if stream.try_write(&answer.bytes).is_ok() {
            self.meters.answered(answer.status);
        }
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Arc<Watch>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        // From 1, because 0 stands for "not stalled".
        micros(self.started.elapsed()) + 1
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX / 4)
}

/// An open connection's place; given back when dropped.
pub(super) struct Open {
    pub(super) watch: Arc<Watch>,
    key: u64,
    _place: OwnedSemaphorePermit,
}

impl Open {
    pub(super) fn register(shared: &Arc<Shared>, place: OwnedSemaphorePermit) -> Self {
        let watch = Arc::new(Watch::new(Arc::clone(shared)));
        let key = shared.next_key.fetch_add(1, Relaxed);
        shared.connections().insert(key, Arc::clone(&watch));
        shared.meters.open.increment(1);
        Self { watch, key, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.watch.shared.connections().remove(&self.key);
        self.watch.shared.meters.open.decrement(1);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for a request, or in the middle of its head.
    Head,
    /// The application has the request.
    Handling,
    /// The answer has begun; it may take its time as long as the client reads.
    Answering,
    /// The answer is complete and leaves the buffer.
    Flushing,
    /// Our side is closed; the client may finish reading.
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestBody {
    Complete,
    Untouched,
    /// The application waits for more of it.
    Awaited,
}

/// What the timer has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet; ask again then.
    Fine(Instant),
    /// The present phase is overdue and has been told so; it ends itself when polled. Ask again
    /// then.
    Late(Instant),
    /// Drop the connection.
    Cut,
}

/// One connection's state.
pub(super) struct Watch {
    pub(super) shared: Arc<Shared>,
    pub(super) waker: AtomicWaker,
    phase: AtomicU8,
    since_us: AtomicU64,
    /// When the socket stopped taking bytes; 0 while it takes them.
    stalled_since_us: AtomicU64,
    /// Reads that brought a part of the present head; saturates at 2.
    head_reads: AtomicU8,
    /// A request has been answered.
    used: AtomicBool,
    body: AtomicU8,
    late: AtomicBool,
    unread: AtomicBool,
}

impl Watch {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            waker: AtomicWaker::new(),
            phase: AtomicU8::new(Phase::Head as u8),
            since_us: AtomicU64::new(shared.now_us()),
            stalled_since_us: AtomicU64::new(0),
            head_reads: AtomicU8::new(0),
            used: AtomicBool::new(false),
            body: AtomicU8::new(RequestBody::Complete as u8),
            late: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            shared,
        }
    }

    /// The head's next bytes have arrived.
    pub(super) fn head_grew(&self) {
        match self.head_reads.load(Relaxed) {
            0 => {
                // The wait is over, the head's own time begins.
                self.head_reads.store(1, Relaxed);
                self.touch();
            }
            1 => self.head_reads.store(2, Relaxed),
            _ => {}
        }
    }

    pub(super) fn head_begun(&self) -> bool {
        self.head_reads.load(Relaxed) > 0
    }

    pub(super) fn in_head(&self) -> bool {
        self.is(Phase::Head)
    }

    /// The application gets a request.
    pub(super) fn handling(&self, has_body: bool) {
        // A head that came in one piece has just been stamped. A slow one must not eat into the
        // request's time, and one that was in the buffer already has no stamp of its own.
        if self.head_reads.load(Relaxed) != 1 {
            self.touch();
        }
        self.unread.store(false, Relaxed);
        let body = if has_body { RequestBody::Untouched } else { RequestBody::Complete };
        self.body.store(body as u8, Relaxed);
        self.enter(Phase::Handling);
    }

    pub(super) fn body_awaited(&self) {
        self.body.store(RequestBody::Awaited as u8, Relaxed);
    }

    pub(super) fn body_arrived(&self, complete: bool) {
        let body = if complete { RequestBody::Complete } else { RequestBody::Untouched };
        self.body.store(body as u8, Relaxed);
    }

    pub(super) fn is_body_awaited(&self) -> bool {
        self.body.load(Relaxed) == RequestBody::Awaited as u8
    }

    /// Whether some of the body has not been read.
    pub(super) fn has_rest_of_body(&self) -> bool {
        self.body.load(Relaxed) != RequestBody::Complete as u8
    }

    /// The application let go of the body. If it did not read it all, what still arrives has to be
    /// read before the socket closes. hyper may yet find the rest in its buffer and keep the
    /// connection; that is not seen here, and then a close while idle lingers for nothing.
    pub(super) fn body_dropped(&self) {
        if self.has_rest_of_body() {
            self.unread.store(true, Relaxed);
        }
    }

    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    pub(super) fn answering(&self) {
        self.enter(Phase::Answering);
    }

    pub(super) fn answered(&self) {
        self.enter(Phase::Flushing);
    }

    /// All that was written has left the buffer.
    pub(super) fn flushed(&self) {
        if self.is(Phase::Flushing) {
            self.head_reads.store(0, Relaxed);
            self.used.store(true, Relaxed);
            self.touch();
            self.enter(Phase::Head);
        }
    }

    pub(super) fn closing(&self) {
        if !self.is(Phase::Closing) {
            self.touch();
            self.enter(Phase::Closing);
        }
    }

    /// The socket takes no more bytes.
    pub(super) fn stalled(&self) {
        if !self.is_stalled() {
            self.stalled_since_us.store(self.shared.now_us(), Relaxed);
        }
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled_since_us.load(Relaxed) != 0
    }

    /// The socket takes bytes again.
    pub(super) fn moved(&self) {
        self.stalled_since_us.store(0, Relaxed);
    }

    /// Whether the present phase has been told that it is overdue.
    pub(super) fn is_late(&self) -> bool {
        self.late.load(Relaxed)
    }

    /// The first time at which the timer should ask.
    pub(super) fn first_look(&self) -> Instant {
        Instant::now() + self.shared.nap
    }

    /// Judges the present phase.
    pub(super) fn judge(&self) -> Verdict {
        let config = &self.shared.config;
        let now_us = self.shared.now_us();
        let mut deadline_us = now_us + micros(self.shared.nap);
        let stalled_since_us = self.stalled_since_us.load(Relaxed);
        if stalled_since_us != 0 {
            let cut_us = stalled_since_us + micros(config.write_timeout);
            if cut_us <= now_us {
                self.shared.meters.stalled_writes.increment(1);
                return Verdict::Cut;
            }
            deadline_us = deadline_us.min(cut_us);
        }
        let since_us = self.since_us.load(Relaxed);
        let late_us = if self.is(Phase::Head) {
            since_us + micros(self.head_limit())
        } else if self.is(Phase::Handling) {
            let late_us = since_us + micros(config.request_timeout);
            if self.is_body_awaited() {
                late_us.min(self.shared.bodies_due_us.load(SeqCst))
            } else {
                late_us
            }
        } else if self.is(Phase::Closing) {
            since_us + micros(LINGER)
        } else {
            return Verdict::Fine(self.instant(deadline_us));
        };
        if now_us < late_us {
            return Verdict::Fine(self.instant(deadline_us.min(late_us)));
        }
        if self.is(Phase::Closing) || self.late.swap(true, Relaxed) {
            return Verdict::Cut;
        }
        Verdict::Late(self.instant(deadline_us))
    }

    /// How long the present wait for a request may take, or its head once it has begun.
    fn head_limit(&self) -> Duration {
        let EdgeConfig { header_timeout, idle_timeout, .. } = self.shared.config;
        let idles = self.used.load(Relaxed) && !self.head_begun();
        // Idle connections are a convenience, and somebody else may need the place.
        if idles && !self.shared.are_places_short() { idle_timeout } else { header_timeout }
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) == phase as u8
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.late.store(false, Relaxed);
    }

    fn touch(&self) {
        self.since_us.store(self.shared.now_us(), Relaxed);
    }

    fn instant(&self, us: u64) -> Instant {
        self.shared.started + Duration::from_micros(us)
    }
}

//! Errands: asks participants elsewhere, and brings their answers back as commands.
//!
//! A saga is saved before anybody is asked, with an errand that says who carries the question and
//! until when. A definite answer comes back with the errand's token and moves the saga; anything
//! else is asked again after a wait, for as long as it takes if nobody was to be heard. What nobody carries, because a process died or an answer was
//! lost, is found in the store and taken up with a higher token; what the one before brings is then
//! not heard.
//!
//! [`carry`] asks, [`recover`] looks for what nobody carries, and here is the desk between them and
//! the lanes.

mod carry;
mod recover;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::participant::{Participant, Request};
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use eventbooker_store::{Changes, Wants};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::Engine;
use crate::batch::Rules;
use crate::bookings::{BookingAt, want_account, want_booking};
use crate::due::Alarm;
use crate::participants::Participate;

/// Questions that may wait for one participant; what is over is taken up when its lease has ended.
const WAITING_MAX: usize = 16_384;
/// Errands are taken up only while no more questions than this wait for their participant: what
/// waits longer than its lease has to be taken up again, and so on.
const BACKLOG_MAX: usize = carry::CALLS_MAX * carry::TOGETHER_MAX;
/// Sagas that may be under way before new ones are refused. More than any hour's business, for one that
/// meets nothing in its way takes milliseconds; few enough to be worked off within a minute or two once
/// nothing is in their way.
const UNDER_WAY_MAX: u64 = 100_000;
/// How long a client waits for its saga to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// A client's booking is looked at this often even if nobody said that it moved: another replica
/// may have moved it.
const LOOK_AT_BOOKING_EVERY: Duration = Duration::from_secs(1);

/// A question to carry, as a batch has made it durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) token: i64,
    /// When the lease of whoever carries it ends.
    pub(crate) until: Timestamp,
    pub(crate) request: Request,
}

/// Where lanes hand in questions, and who waits for sagas to end.
#[derive(Default)]
pub(crate) struct Desk {
    events: Option<mpsc::Sender<Question>>,
    accounts: Option<mpsc::Sender<Question>>,
    waiting: Mutex<HashMap<BookingId, Vec<oneshot::Sender<Moved>>>>,
    /// Sagas under way when somebody looked last, which was seconds ago at most. Parked ones are the
    /// operator's, and in nobody's way.
    under_way: AtomicU64,
}

/// How many more questions may wait for each participant elsewhere.
#[derive(Debug, Clone, Copy)]
struct Rooms {
    events: Room,
    accounts: Room,
}

#[derive(Debug, Clone, Copy)]
struct Room {
    places: usize,
    /// Until when nobody asks, if the participant is away.
    shut_until: Option<Timestamp>,
}

impl Rooms {
    fn of(&mut self, participant: Participant) -> &mut Room {
        match participant {
            Participant::Events => &mut self.events,
            Participant::Accounts => &mut self.accounts,
        }
    }
}

impl Room {
    /// Takes a place, if there is one.
    fn take(&mut self) -> bool {
        let has_place = self.places > 0;
        self.places = self.places.saturating_sub(1);
        has_place
    }
}

/// What has become of a booking that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Its saga has come to rest.
    Rests(Booking),
    /// It is gone.
    Gone,
    /// Whoever waits has to look: its errand was put back, or nobody has said anything for a while.
    Perhaps,
}

/// Somebody who waits for a booking's saga. Leaves nothing behind on the desk.
pub(crate) struct Waiting {
    desk: Arc<Desk>,
    id: BookingId,
    woken: oneshot::Receiver<Moved>,
}

impl Waiting {
    /// From now on hears of a booking.
    pub(crate) fn begin(desk: &Arc<Desk>, id: BookingId) -> Self {
        let (waiter, woken) = oneshot::channel();
        desk.waiting().entry(id).or_default().push(waiter);
        Self { desk: Arc::clone(desk), id, woken }
    }

    async fn moved(&mut self) -> Moved {
        (&mut self.woken).await.unwrap_or(Moved::Perhaps)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.woken.close();
        let mut waiting = self.desk.waiting();
        if let Some(waiters) = waiting.get_mut(&self.id) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                waiting.remove(&self.id);
            }
        }
    }
}

/// The other ends, for the carriers.
pub(crate) type Inboxes = Vec<(Arc<dyn Participate>, mpsc::Receiver<Question>)>;

impl Desk {
    /// A desk with a place for each participant that is elsewhere.
    pub(crate) fn open(
        events: Option<Arc<dyn Participate>>,
        accounts: Option<Arc<dyn Participate>>,
    ) -> (Self, Inboxes) {
        let mut inboxes = Inboxes::new();
        let mut inbox_of = |participant| {
            let (sender, inbox) = mpsc::channel(WAITING_MAX);
            inboxes.push((participant, inbox));
            sender
        };
        let (events, accounts) = (events.map(&mut inbox_of), accounts.map(&mut inbox_of));
        (Self { events, accounts, ..Self::default() }, inboxes)
    }

    /// Takes questions that have become durable.
    pub(crate) fn take(&self, questions: Vec<Question>) {
        for question in questions {
            let sender = self.sender_to(question.request.ask.of());
            // What finds no room is taken up when its lease has ended.
            let _ = sender.map(|sender| sender.try_send(question));
        }
    }

    fn sender_to(&self, participant: Participant) -> Option<&mpsc::Sender<Question>> {
        match participant {
            Participant::Events => self.events.as_ref(),
            Participant::Accounts => self.accounts.as_ref(),
        }
    }

    /// How many more questions may wait for a participant.
    fn places_before(&self, participant: Participant) -> usize {
        let waiting = |sender: &mpsc::Sender<_>| sender.max_capacity() - sender.capacity();
        BACKLOG_MAX.saturating_sub(self.sender_to(participant).map_or(0, waiting))
    }

    /// Tells whoever waits for bookings what has become of them. A saga that goes on with its next step
    /// wakes nobody.
    pub(crate) fn tell(&self, changes: &Changes) {
        let mut waiting = self.waiting();
        if waiting.is_empty() {
            return;
        }
        let Changes { bookings_added, bookings_changed, bookings_removed, errands_set, .. } =
            changes;
        let (resting, going): (Vec<&Booking>, Vec<&Booking>) =
            bookings_added.iter().chain(bookings_changed).partition(|booking| booking.is_at_rest());
        let rest = resting.into_iter().map(|booking| (booking.id, Moved::Rests(*booking)));
        let gone = bookings_removed.iter().map(|(_, id)| (*id, Moved::Gone));
        // Whoever waits for a saga whose errand was put back may not have to wait any longer.
        let going: HashSet<BookingId> = going.into_iter().map(|booking| booking.id).collect();
        let seen_to = errands_set.iter().map(|errand| errand.booking_id);
        let seen_to = seen_to.filter(|id| !going.contains(id)).map(|id| (id, Moved::Perhaps));
        for (id, moved) in rest.chain(gone).chain(seen_to) {
            for waiter in waiting.remove(&id).into_iter().flatten() {
                // Whoever waited may be gone.
                let _ = waiter.send(moved);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<BookingId, Vec<oneshot::Sender<Moved>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the carriers and whoever looks for errands that nobody carries. Errands of an earlier
/// arrangement, and what an operator lets go on, are found where all participants are here as well.
pub(crate) fn spawn(engine: &Engine, alarm: Arc<Alarm>, inboxes: Inboxes) -> Vec<JoinHandle<()>> {
    let carriers = inboxes
        .into_iter()
        .map(|(participant, inbox)| tokio::spawn(carry::carry(engine.clone(), participant, inbox)));
    let mut tasks: Vec<JoinHandle<()>> = carriers.collect();
    tasks.push(recover::spawn(engine.clone(), alarm));
    tasks
}

/// A saga that is under way, and what the steps that follow need, should they be ours.
fn want_saga(
    rules: &Rules,
    wants: &mut Wants,
    booking_id: BookingId,
    event_id: EventId,
    user_id: UserId,
) {
    want_booking(rules, wants, event_id, booking_id);
    want_account(rules, wants, user_id);
    wants.errands.push(booking_id);
}

impl Engine {
    fn rooms(&self) -> Rooms {
        let room = |participant| Room {
            places: self.inner.desk.places_before(participant),
            shut_until: self.away_until(participant),
        };
        Rooms { events: room(Participant::Events), accounts: room(Participant::Accounts) }
    }

    /// Whether as many sagas are under way as there may be.
    pub(crate) fn is_crowded(&self) -> bool {
        self.inner.desk.under_way.load(Ordering::Relaxed) >= UNDER_WAY_MAX
    }

    /// Whether one of those who take steps of sagas is away.
    pub(crate) fn is_anybody_away(&self) -> bool {
        [Participant::Events, Participant::Accounts].iter().any(|it| self.away_until(*it).is_some())
    }

    /// Whether a saga waits for somebody who is away, so that nothing comes of waiting with it.
    pub(crate) fn is_held_up(&self, booking: &Booking) -> bool {
        let request = booking.request();
        request.is_some_and(|request| self.away_until(request.ask.of()).is_some())
    }

    /// Listens for a booking that moves. Before the store is read, so that what moves meanwhile is heard.
    pub(crate) fn listen_for(&self, id: BookingId) -> Waiting {
        Waiting::begin(&self.inner.desk, id)
    }

    /// Waits until a booking's saga rests, or may do so, or until it is time to give up.
    pub(crate) async fn until_moved(&self, mut waiting: Waiting, give_up: Timestamp) -> Moved {
        let clock = &self.inner.parts.clock;
        tokio::select! {
            biased;
            moved = waiting.moved() => moved,
            () = clock.sleep_until(clock.now().plus(LOOK_AT_BOOKING_EVERY).min(give_up)) => {
                Moved::Perhaps
            }
        }
    }

    /// A booking when its saga has come to rest, or as it stands when it is time to give up, whoever it
    /// waits for is away, or the store doesn't say. `None` if it is gone. Whoever has listened since it
    /// stood like this needn't look.
    pub(crate) async fn at_rest(
        &self,
        mut at: BookingAt,
        mut heard: Option<Waiting>,
        give_up: Timestamp,
    ) -> Option<BookingAt> {
        let clock = &self.inner.parts.clock;
        let id = at.booking.id;
        loop {
            if self.is_held_up(&at.booking) {
                return Some(at);
            }
            if let Some(waiting) = heard.take() {
                match self.until_moved(waiting, give_up).await {
                    Moved::Rests(booking) => return Some(BookingAt { booking, at: clock.now() }),
                    Moved::Gone => return None,
                    Moved::Perhaps => {}
                }
            }
            let waiting = self.listen_for(id);
            let now = clock.now();
            match self.store().bookings(vec![id]).await {
                Ok(found) => at = BookingAt { booking: *found.first()?, at: clock.now() },
                Err(error) => {
                    // The booking is there all the same, and so is the answer that began it.
                    tracing::warn!(%error, booking = %id, "could not look how far a saga is");
                    return Some(at);
                }
            }
            if at.booking.is_at_rest() || now >= give_up {
                return Some(at);
            }
            heard = Some(waiting);
        }
    }
}

impl Rules {
    /// Whether a participant's rows are here.
    pub(crate) fn has(&self, participant: Participant) -> bool {
        self.here.has(participant.context())
    }
}

#[cfg(test)]
mod tests {
    use eventbooker_core::bookings::saga::Answer;

    use super::*;
    use crate::NoAnswer;

    struct Nobody;

    #[async_trait::async_trait]
    impl Participate for Nobody {
        async fn ask(&self, _: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_or_forgotten() {
        let (desk, _inboxes) = Desk::open(Some(Arc::new(Nobody)), None);
        let desk = Arc::new(desk);
        let [one, two] = [1, 2].map(BookingId::new);
        let mut woken = Waiting::begin(&desk, one);
        let (gave_up, stays) = (Waiting::begin(&desk, one), Waiting::begin(&desk, two));
        drop(gave_up);
        desk.tell(&Changes {
            bookings_removed: vec![(EventId::new(1), one)],
            ..Changes::default()
        });
        assert_eq!(woken.moved().await, Moved::Gone);
        drop(woken);
        assert_eq!(desk.waiting().keys().copied().collect::<Vec<_>>(), [two]);
        drop(stays);
        assert!(desk.waiting().is_empty());
    }

    #[test]
    fn places_are_taken_one_by_one() {
        let mut room = Room { places: 2, shut_until: None };
        assert_eq!([(); 3].map(|()| room.take()), [true, true, false]);
    }
}

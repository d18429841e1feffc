//! Errands: asks participants elsewhere, and brings their answers back as commands.
//!
//! A saga is saved before anybody is asked, with an errand that says who carries the question and
//! until when. A definite answer comes back with the errand's token and moves the saga; anything
//! else is tried again after a wait. What nobody carries, because a process died or an answer was
//! lost, is found in the store and claimed with a higher token; what the one before brings is then
//! not heard.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eventbooker_core::bookings::errand::Errand;
use eventbooker_core::bookings::participant::{Participant, Request};
use eventbooker_core::bookings::saga::Answer;
use eventbooker_core::{BookingId, EventId, Timestamp, UserId};
use eventbooker_store::{SagaStep, Wants};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::batch::{Batch, Rules};
use crate::bookings::BookingAt;
use crate::command::{Command, Lane};
use crate::participants::{Participants, Participate, Place};
use crate::{Engine, Error, Refusal, saga};

/// Questions that may wait for one participant; what is over is taken up when its lease has ended.
const WAITING_MAX: usize = 16_384;
/// Questions in one call.
const TOGETHER_MAX: usize = 256;
/// Calls to one participant at the same time.
const CALLS_MAX: usize = 4;
/// How long a call may take. Shorter than a lease, so that its answer can still be heard.
const CALL_MAX: Duration = Duration::from_secs(5);
/// Errands that are claimed in one command.
const SLICE_ERRANDS: u32 = 400;
/// The store is looked at this often even if nobody said anything.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long to wait after the store failed.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// How long a client waits for its saga to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question to carry, as a batch has made it durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) token: i64,
    pub(crate) request: Request,
}

/// Where lanes hand in questions, and who waits for sagas to end.
#[derive(Default)]
pub(crate) struct Desk {
    events: Option<mpsc::Sender<Question>>,
    accounts: Option<mpsc::Sender<Question>>,
    /// There may be errands that are due sooner than anybody knew.
    sooner: Notify,
    waiting: Mutex<HashMap<BookingId, Vec<oneshot::Sender<()>>>>,
}

/// Somebody who waits for a booking to move. Leaves nothing behind on the desk.
struct Waiting<'a> {
    desk: &'a Desk,
    id: BookingId,
    woken: oneshot::Receiver<()>,
}

impl Waiting<'_> {
    async fn moved(&mut self) {
        // A desk that is gone tells nobody anything; whoever waits looks again.
        let _ = (&mut self.woken).await;
    }
}

impl Drop for Waiting<'_> {
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
    pub(crate) fn open(participants: &Participants) -> (Self, Inboxes) {
        let mut inboxes = Inboxes::new();
        let mut inbox_of = |place: &Place| match place {
            Place::Here => None,
            Place::Elsewhere(participant) => {
                let (sender, inbox) = mpsc::channel(WAITING_MAX);
                inboxes.push((Arc::clone(participant), inbox));
                Some(sender)
            }
        };
        let (events, accounts) = (inbox_of(&participants.events), inbox_of(&participants.accounts));
        (Self { events, accounts, ..Self::default() }, inboxes)
    }

    /// Whether all participants are here, so that there are no errands.
    fn is_closed(&self) -> bool {
        self.events.is_none() && self.accounts.is_none()
    }

    /// Takes questions that have become durable.
    pub(crate) fn take(&self, questions: Vec<Question>) {
        for question in questions {
            let sender = match question.request.ask.of() {
                Participant::Events => &self.events,
                Participant::Accounts => &self.accounts,
            };
            // What finds no room is taken up when its lease has ended.
            let _ = sender.as_ref().map(|sender| sender.try_send(question));
        }
    }

    /// Wakes whoever waits for these bookings, and whoever looks for errands.
    pub(crate) fn moved(&self, bookings: impl Iterator<Item = BookingId>) {
        if self.is_closed() {
            return;
        }
        let mut waiting = self.waiting();
        for id in bookings {
            for waiter in waiting.remove(&id).into_iter().flatten() {
                // Whoever waited may be gone.
                let _ = waiter.send(());
            }
        }
        self.sooner.notify_one();
    }

    fn wait_for(&self, id: BookingId) -> Waiting<'_> {
        let (waiter, woken) = oneshot::channel();
        self.waiting().entry(id).or_default().push(waiter);
        Waiting { desk: self, id, woken }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<BookingId, Vec<oneshot::Sender<()>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the carriers and whoever looks for errands that nobody carries.
pub(crate) fn spawn(engine: &Engine, inboxes: Inboxes) -> Vec<JoinHandle<()>> {
    if inboxes.is_empty() {
        return Vec::new();
    }
    let mut tasks: Vec<JoinHandle<()>> = inboxes
        .into_iter()
        .map(|(participant, inbox)| tokio::spawn(carry(engine.clone(), participant, inbox)))
        .collect();
    tasks.push(tokio::spawn(recover(engine.clone())));
    tasks
}

async fn carry(
    engine: Engine,
    participant: Arc<dyn Participate>,
    mut inbox: mpsc::Receiver<Question>,
) {
    let mut calls = JoinSet::new();
    let mut questions = Vec::with_capacity(TOGETHER_MAX);
    while inbox.recv_many(&mut questions, TOGETHER_MAX).await > 0 {
        if calls.len() >= CALLS_MAX {
            let _ = calls.join_next().await;
        }
        let together = std::mem::take(&mut questions);
        calls.spawn(call(engine.clone(), Arc::clone(&participant), together));
    }
}

async fn call(engine: Engine, participant: Arc<dyn Participate>, questions: Vec<Question>) {
    let clock = Arc::clone(&engine.inner.parts.clock);
    let give_up = clock.now().plus(CALL_MAX);
    let requests = questions.iter().map(|question| question.request).collect();
    let answers = tokio::select! {
        answers = participant.ask(requests) => answers,
        () = clock.sleep_until(give_up) => Vec::new(),
    };
    let answers = answers.into_iter().map(Some).chain(std::iter::repeat(None));
    let mut told = JoinSet::new();
    for (question, answer) in questions.into_iter().zip(answers) {
        let answer = answer.unwrap_or_else(|| Err("there was no answer in time".to_owned()));
        let engine = engine.clone();
        told.spawn(async move {
            let booking = question.request.booking_id;
            let told = engine.submit_patiently(Tell { question, answer }).await;
            if let Err(error) = told {
                // The errand stays, and somebody asks again when its lease has ended.
                tracing::warn!(%error, %booking, "could not save what a participant answered");
            }
        });
    }
    told.join_all().await;
}

/// A participant has answered, or has not.
struct Tell {
    question: Question,
    answer: Result<Answer, String>,
}

impl Command for Tell {
    /// Whether it was heard.
    type Reply = bool;

    fn lane(&self) -> Lane {
        Lane::Event(self.question.request.event_id)
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        let Request { booking_id, event_id, user_id, .. } = self.question.request;
        want_saga(wants, booking_id, event_id, user_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<bool, Refusal> {
        let now = batch.now();
        let Request { booking_id, ask, .. } = self.question.request;
        let errand = batch.errand(booking_id).cloned();
        let booking = batch.booking(booking_id);
        // Somebody else may carry the errand by now, or have ended it.
        let (Some(mut errand), Some(before)) = (errand, booking) else { return Ok(false) };
        if errand.token != self.question.token || before.request() != Some(self.question.request) {
            return Ok(false);
        }
        let answer = match &self.answer {
            Ok(answer) => *answer,
            Err(trouble) => {
                errand.fail(trouble, ask.is_forced(), now);
                if errand.is_parked {
                    tracing::error!(
                        booking = %booking_id, %trouble,
                        "a saga is stuck and waits for the operator; see `eventbooker saga list`"
                    );
                }
                batch.set_errand(errand);
                return Ok(true);
            }
        };
        let Ok(after) = before.hear(answer, now) else { return Ok(false) };
        batch.add_saga_step(SagaStep {
            booking_id,
            asked: ask.to_string(),
            answered: answer.to_string(),
            at: now,
        });
        let after = match after {
            Some(booking) => saga::run(batch, booking)?.booking,
            None => None,
        };
        saga::change(batch, &before, after);
        Ok(true)
    }
}

fn want_saga(wants: &mut Wants, booking_id: BookingId, event_id: EventId, user_id: UserId) {
    wants.bookings.push((event_id, booking_id));
    wants.errands.push(booking_id);
    // For the steps that follow, should they be ours.
    wants.events.push(event_id);
    wants.slots.push((event_id, booking_id));
    wants.accounts.push(user_id);
}

/// Takes up errands that nobody carries.
struct Claim {
    /// All of one lane.
    errands: Vec<Errand>,
}

impl Command for Claim {
    /// How many were taken up.
    type Reply = usize;

    fn lane(&self) -> Lane {
        self.errands.first().map_or(Lane::Any, |errand| Lane::Event(errand.event_id))
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        for errand in &self.errands {
            wants.bookings.push((errand.event_id, errand.booking_id));
            wants.errands.push(errand.booking_id);
        }
    }

    fn decide(&self, batch: &mut Batch) -> Result<usize, Refusal> {
        let now = batch.now();
        let mut claimed = 0;
        for Errand { booking_id, .. } in &self.errands {
            let (Some(mut errand), Some(booking)) =
                (batch.errand(*booking_id).cloned(), batch.booking(*booking_id))
            else {
                continue;
            };
            if let Some(request) = booking.request()
                && errand.claim(now)
            {
                batch.ask(errand, request);
                claimed += 1;
            }
        }
        Ok(claimed)
    }
}

/// Takes an errand out of parking.
struct Unpark {
    errand: Errand,
}

impl Command for Unpark {
    /// Whether it was parked.
    type Reply = bool;

    fn lane(&self) -> Lane {
        Lane::Event(self.errand.event_id)
    }

    fn wants(&self, _: &Rules, wants: &mut Wants) {
        wants.errands.push(self.errand.booking_id);
    }

    fn decide(&self, batch: &mut Batch) -> Result<bool, Refusal> {
        let now = batch.now();
        let errand = batch.errand(self.errand.booking_id).cloned();
        let Some(mut errand) = errand.filter(|errand| errand.is_parked) else { return Ok(false) };
        errand.unpark(now);
        batch.set_errand(errand);
        Ok(true)
    }
}

async fn recover(engine: Engine) {
    let clock = Arc::clone(&engine.inner.parts.clock);
    loop {
        if let Some(wake_at) = look(&engine, clock.now()).await {
            tokio::select! {
                () = clock.sleep_until(wake_at) => {}
                () = engine.inner.desk.sooner.notified() => {}
            }
        }
    }
}

/// Claims one slice of what is due. Returns when to look again, or `None` for at once.
async fn look(engine: &Engine, now: Timestamp) -> Option<Timestamp> {
    let due = match engine.store().due_errands(now, SLICE_ERRANDS).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(%error, "could not look for errands that nobody carries");
            return Some(now.plus(AFTER_FAILURE));
        }
    };
    #[allow(clippy::cast_precision_loss, reason = "a count that should be 0")]
    metrics::gauge!("eventbooker_parked_sagas").set(due.parked as f64);
    if due.errands.is_empty() {
        let soon = now.plus(LOOK_EVERY);
        return Some(due.next.map_or(soon, |next| next.min(soon)));
    }
    let lanes = engine.settings().lanes;
    let mut by_lane: BTreeMap<usize, Vec<Errand>> = BTreeMap::new();
    for errand in due.errands {
        by_lane.entry(Lane::Event(errand.event_id).index(lanes)).or_default().push(errand);
    }
    for errands in by_lane.into_values() {
        if let Err(error) = engine.submit_patiently(Claim { errands }).await {
            tracing::warn!(%error, "could not take up errands that nobody carries");
            return Some(now.plus(AFTER_FAILURE));
        }
    }
    None
}

impl Engine {
    /// A booking when its saga has come to rest, or as it stands when that takes too long. `None`
    /// if it is gone.
    pub(crate) async fn at_rest(&self, mut at: BookingAt) -> Result<Option<BookingAt>, Error> {
        let clock = Arc::clone(&self.inner.parts.clock);
        let give_up = clock.now().plus(PATIENCE);
        while !at.booking.is_at_rest() && clock.now() < give_up {
            // Listened for first: what moves while the store is read is heard.
            let mut waiting = self.inner.desk.wait_for(at.booking.id);
            let found = self.store().bookings(vec![at.booking.id]).await?;
            let Some(booking) = found.first() else { return Ok(None) };
            at = BookingAt { booking: *booking, at: clock.now() };
            if !at.booking.is_at_rest() {
                tokio::select! {
                    () = waiting.moved() => {}
                    () = clock.sleep_until(give_up) => {}
                }
            }
        }
        Ok(Some(at))
    }

    /// Lets a parked saga be tried again; whether it was parked.
    pub async fn retry_saga(&self, errand: Errand) -> Result<bool, Error> {
        match self.submit_patiently(Unpark { errand }).await? {
            crate::Answer::Given(decided) => decided.outcome.map_err(|_| Error::Bug),
            crate::Answer::Kept { .. } => Err(Error::Bug),
        }
    }
}

impl Rules {
    /// Whether a participant's rows are here.
    pub(crate) fn has(&self, participant: Participant) -> bool {
        match participant {
            Participant::Events => self.events_are_here,
            Participant::Accounts => self.accounts_are_here,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    #[async_trait::async_trait]
    impl Participate for Nobody {
        async fn ask(&self, _: Vec<Request>) -> Vec<Result<Answer, String>> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_or_forgotten() {
        let participants =
            Participants { events: Place::Elsewhere(Arc::new(Nobody)), ..Participants::default() };
        let (desk, _inboxes) = Desk::open(&participants);
        let [one, two] = [1, 2].map(BookingId::new);
        let mut woken = desk.wait_for(one);
        let (gave_up, stays) = (desk.wait_for(one), desk.wait_for(two));
        drop(gave_up);
        desk.moved([one].into_iter());
        woken.moved().await;
        drop(woken);
        assert_eq!(desk.waiting().keys().copied().collect::<Vec<_>>(), [two]);
        drop(stays);
        assert!(desk.waiting().is_empty());
    }
}

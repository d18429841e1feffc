//! Lanes: each takes what waits, decides it as one batch, saves it in one transaction, answers.
//!
//! A lane never waits to fill a batch, so an idle service answers at once; under load batches
//! grow by themselves, because more commands arrive while one is being saved. Where several replicas
//! share a store, a crowd's batch is formed when it is the lane's turn, so that it grows behind
//! another replica's as well.
//!
//! A command that a store refuses or that panics doesn't fail its neighbours: the batch is run
//! again by halves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use eventbooker_core::bookings::State;
use eventbooker_core::bookings::errand::Errand;
use eventbooker_store::{Changes, StoreError, Wants, Writer};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::batch::{Batch, Rules};
use crate::command::{Command, Decided, Heard, Job, Key, Task};
use crate::due::Alarm;
use crate::errands::Desk;
use crate::identity::Sessions;
use crate::live::Live;
use crate::live::board::Board;
use crate::meters::{self, Meters};
use crate::promises::WriteAnswer;
use crate::{Clock, Error, Parts, Settings, count, trace};

/// How often a batch is tried while other transactions are in its way.
const TRIES_MAX: u32 = 8;

/// As many commands that wait at once come from a crowd: more of them come while the lane waits for its
/// turn, and a batch is formed behind that.
const CROWD: usize = 4;

enum Message {
    Task(Box<dyn Task>),
    Stop,
}

/// All lanes of the engine.
pub(crate) struct Lanes {
    inboxes: Vec<mpsc::Sender<Message>>,
    running: Mutex<Vec<Running>>,
}

/// Where a lane runs.
enum Running {
    Thread(thread::JoinHandle<()>),
    Task(JoinHandle<()>),
}

impl Lanes {
    pub(crate) async fn start(
        parts: &Parts,
        rules: Rules,
        settings: &Settings,
        listeners: &Listeners,
    ) -> Result<Self, StoreError> {
        let mut inboxes = Vec::with_capacity(settings.lanes);
        let mut running = Vec::with_capacity(settings.lanes);
        for number in 0..settings.lanes {
            let (sender, inbox) = mpsc::channel(settings.inbox_commands_max);
            let lane = LaneTask {
                number,
                inbox,
                writer: parts.store.writer().await?,
                clock: Arc::clone(&parts.clock),
                rules,
                write_answer: parts.write_answer,
                batch_commands_max: settings.batch_commands_max,
                listeners: listeners.clone(),
                meters: Meters::new(number),
            };
            running.push(lane.start(settings.lanes_have_threads));
            inboxes.push(sender);
        }
        Ok(Self { inboxes, running: Mutex::new(running) })
    }

    pub(crate) async fn submit<C: Command>(
        &self,
        command: C,
        key: Option<Key<C::Reply>>,
    ) -> Result<Heard<C::Reply>, Error> {
        let inbox = self.inbox_of(&command);
        let (client, answered) = oneshot::channel();
        let job =
            Job { command, key, client, answer: None, waiting: None, trace: trace::current() };
        inbox.try_send(Message::Task(Box::new(job))).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Draining,
        })?;
        answered.await.unwrap_or_else(|_| Err(lane_ended()))
    }

    pub(crate) async fn submit_patiently<C: Command>(
        &self,
        command: C,
    ) -> Result<Decided<C::Reply>, Error> {
        let inbox = self.inbox_of(&command);
        let (client, answered) = oneshot::channel();
        let job = Job {
            command,
            key: None,
            client,
            answer: None,
            waiting: None,
            trace: trace::current(),
        };
        inbox.send(Message::Task(Box::new(job))).await.map_err(|_| Error::Draining)?;
        answered.await.unwrap_or_else(|_| Err(lane_ended()))?.answer.given()
    }

    /// Whether every lane takes commands.
    pub(crate) fn are_running(&self) -> bool {
        self.inboxes.iter().all(|inbox| !inbox.is_closed())
    }

    fn inbox_of<C: Command>(&self, command: &C) -> &mpsc::Sender<Message> {
        &self.inboxes[command.lane().index(self.inboxes.len())]
    }

    /// Lets every lane finish what it has taken, and waits for it.
    pub(crate) async fn stop(&self) {
        for inbox in &self.inboxes {
            // A lane that has stopped already is as good.
            let _ = inbox.send(Message::Stop).await;
        }
        let running =
            std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for lane in running {
            if !lane.ended().await {
                tracing::error!("a lane had panicked");
            }
        }
    }
}

impl Running {
    /// Waits for its end, which isn't a panic.
    async fn ended(self) -> bool {
        match self {
            Self::Thread(thread) => {
                let joined = tokio::task::spawn_blocking(move || thread.join().is_ok());
                joined.await.unwrap_or(false)
            }
            Self::Task(task) => task.await.is_ok(),
        }
    }
}

/// A lane that stops answers everything it has taken. One that ended in any other way may have been
/// in the middle of saving it.
fn lane_ended() -> Error {
    Error::Store(StoreError::OutcomeUnknown("the lane ended before it answered".to_owned()))
}

/// Who in this process hears of what has become durable.
#[derive(Clone)]
pub(crate) struct Listeners {
    pub(crate) holds_due: Arc<Alarm>,
    pub(crate) releases_due: Arc<Alarm>,
    pub(crate) errands_due: Arc<Alarm>,
    pub(crate) live: Arc<Live>,
    pub(crate) board: Arc<Board>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) desk: Arc<Desk>,
}

struct LaneTask {
    number: usize,
    inbox: mpsc::Receiver<Message>,
    writer: Box<dyn Writer>,
    clock: Arc<dyn Clock>,
    rules: Rules,
    write_answer: WriteAnswer,
    batch_commands_max: usize,
    listeners: Listeners,
    meters: Meters,
}

type Tasks = Vec<Box<dyn Task>>;

/// Why a batch was not saved.
enum Trouble {
    Store(StoreError),
    Panic,
}

impl LaneTask {
    /// Starts it, on a thread of its own or as a task.
    fn start(self, has_thread: bool) -> Running {
        if !has_thread {
            return Running::Task(tokio::spawn(self.run()));
        }
        let thread =
            thread::Builder::new().name(format!("lane-{}", self.number)).spawn(move || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a lane's runtime needs nothing that could be missing")
                    .block_on(self.run());
            });
        Running::Thread(thread.expect("the system gives the process a few threads"))
    }

    async fn run(mut self) {
        let mut messages = Vec::with_capacity(self.batch_commands_max);
        while self.inbox.recv_many(&mut messages, self.batch_commands_max).await > 0 {
            if messages.len() >= CROWD {
                self.writer.take_turn(self.number, self.clock.now()).await;
                let more = std::iter::from_fn(|| self.inbox.try_recv().ok());
                messages.extend(more.take(self.batch_commands_max - messages.len()));
            }
            let mut tasks: Tasks = Vec::with_capacity(messages.len());
            let mut stop = false;
            for message in messages.drain(..) {
                match message {
                    Message::Task(task) => tasks.push(task),
                    Message::Stop => stop = true,
                }
            }
            if stop {
                // What arrived before the door closed is still decided.
                self.inbox.close();
            }
            self.meters.waiting_commands.set(count(self.inbox.len()));
            if !tasks.is_empty() {
                let started = Instant::now();
                self.meters.batch_commands.record(count(tasks.len()));
                self.run_batch(tasks, None).await;
                self.meters.batch_seconds.record(started.elapsed());
            }
        }
        self.writer.close().await;
    }

    /// Runs a batch and answers it. Where a commit came before of which nobody knows whether it
    /// happened, `lost` says so.
    async fn run_batch(&mut self, mut tasks: Tasks, lost: Option<&Error>) {
        let attempted = self.attempt_often(&mut tasks).await;
        if let Err(trouble) = &attempted {
            meters::count_failure(trouble.name());
        }
        match attempted {
            Ok(changes) => {
                let desk = &self.listeners.desk;
                // First, for what ends a saga may come behind whoever found it under way in this batch.
                for task in &mut tasks {
                    task.listen(desk);
                }
                desk.tell(&changes);
                for task in tasks {
                    task.answer();
                }
            }
            // One of them is to blame. By halves it is soon found, and fails no neighbour.
            Err(
                Trouble::Panic | Trouble::Store(StoreError::Conflict(_) | StoreError::Refused(_)),
            ) if tasks.len() > 1 => {
                let others = tasks.split_off(tasks.len() / 2);
                Box::pin(self.run_batch(tasks, lost)).await;
                Box::pin(self.run_batch(others, lost)).await;
            }
            Err(trouble) => self.give_up(tasks, trouble, lost).await,
        }
    }

    async fn give_up(&mut self, tasks: Tasks, trouble: Trouble, lost: Option<&Error>) {
        match (trouble, lost) {
            // That they fail now says nothing about the commit before.
            (_, Some(lost)) => fail_all(tasks, lost),
            (Trouble::Store(error @ StoreError::OutcomeUnknown(_)), None) => {
                self.resolve_by_key(tasks, &error.into()).await;
            }
            (
                Trouble::Store(
                    error @ (StoreError::Full(_)
                    | StoreError::Away(_)
                    | StoreError::Contention(_)
                    | StoreError::Overloaded),
                ),
                None,
            ) => {
                tracing::warn!(%error, commands = tasks.len(), "a batch was not saved");
                fail_all(tasks, &error.into());
            }
            (trouble @ (Trouble::Panic | Trouble::Store(_)), None) => {
                tracing::error!(reason = trouble.reason(), "a command can't be decided");
                fail_all(tasks, &Error::Bug);
            }
        }
    }

    /// After a commit of which nobody knows whether it happened. A command with a key is simply
    /// run again: if it did happen, its answer is found under the key. Without a key there is
    /// nothing to find it by, and only the client can look.
    async fn resolve_by_key(&mut self, tasks: Tasks, error: &Error) {
        tracing::error!(%error, commands = tasks.len(), "the outcome of a batch is unknown");
        let (keyed, others): (Tasks, Tasks) = tasks.into_iter().partition(|task| task.has_key());
        fail_all(others, error);
        if !keyed.is_empty() {
            Box::pin(self.run_batch(keyed, Some(error))).await;
        }
    }

    /// Runs a batch until it is saved or something else than another transaction is in the way.
    async fn attempt_often(&mut self, tasks: &mut Tasks) -> Result<Changes, Trouble> {
        let mut tries = 0;
        loop {
            tries += 1;
            let trouble = match self.attempt(tasks).await {
                Ok(changes) => return Ok(changes),
                Err(trouble) => trouble,
            };
            let again = match &trouble {
                Trouble::Store(StoreError::Contention(_)) => true,
                // Somebody else wrote a row first: loaded again, the command finds it. With
                // neighbours once more is enough, so that they don't wait for one that never will.
                Trouble::Store(StoreError::Conflict(_)) => tasks.len() == 1 || tries == 1,
                Trouble::Store(_) | Trouble::Panic => false,
            };
            if !again || tries >= TRIES_MAX {
                return Err(trouble);
            }
        }
    }

    async fn attempt(&mut self, tasks: &mut Tasks) -> Result<Changes, Trouble> {
        let (rules, write_answer) = (self.rules, self.write_answer);
        let wanted = catch_unwind(AssertUnwindSafe(|| {
            let mut wants = Wants::default();
            for task in tasks.iter() {
                task.wants(&rules, &mut wants);
            }
            wants.tidy();
            wants
        }));
        let Ok(wants) = wanted else {
            self.writer.release().await.map_err(Trouble::Store)?;
            return Err(Trouble::Panic);
        };
        let loaded = self.writer.load(&wants, self.clock.now()).await.map_err(Trouble::Store)?;
        let decided = catch_unwind(AssertUnwindSafe(|| {
            let mut batch = Batch::new(loaded, rules, write_answer);
            for task in tasks.iter_mut() {
                task.decide(&mut batch);
            }
            let questions = batch.take_questions();
            (batch.into_changes(), questions)
        }));
        let Ok((changes, questions)) = decided else {
            self.writer.release().await.map_err(Trouble::Store)?;
            return Err(Trouble::Panic);
        };
        if changes.is_empty() {
            self.writer.release().await.map_err(Trouble::Store)?;
            return Ok(changes);
        }
        self.writer.save(&changes).await.map_err(Trouble::Store)?;
        self.meters.count_entries(&changes.journal);
        self.announce(&changes);
        self.listeners.desk.take(questions);
        Ok(changes)
    }

    /// Tells the rest of the process about what is now durable, but for clients: they hear of it next.
    fn announce(&self, changes: &Changes) {
        let Listeners { holds_due, releases_due, errands_due, live, board, sessions, desk: _ } =
            &self.listeners;
        for digest in &changes.sessions_removed {
            sessions.forget(digest);
        }
        if !changes.sessions_removed_of.is_empty() {
            sessions.forget_all();
        }
        let held = changes.bookings_added.iter().chain(&changes.bookings_changed);
        let held = held.filter(|booking| booking.state == State::Occupied);
        if let Some(soonest) = held.map(|booking| booking.expires_at).min() {
            holds_due.note(soonest);
        }
        let cancelled = changes.events_changed.iter().filter_map(|event| event.cancellation);
        for cancellation in cancelled.filter(|cancellation| cancellation.is_releasing) {
            releases_due.note(cancellation.at);
        }
        let changed = changes.tallies_changed.iter().map(|(id, _)| *id);
        live.changed(changed.clone());
        board.changed(changed);
        let (parked, free): (Vec<_>, Vec<_>) =
            changes.errands_set.iter().partition(|errand| errand.is_parked);
        for Errand { booking_id, trouble, .. } in parked {
            tracing::error!(
                booking = %booking_id, trouble = trouble.as_deref().unwrap_or_default(),
                "a saga is stuck and waits for the operator; see `eventbooker saga list`"
            );
        }
        if let Some(soonest) = free.into_iter().map(|errand| errand.due_at).min() {
            errands_due.note(soonest);
        }
    }
}

impl Trouble {
    /// One of [`meters::FAILURES`].
    fn name(&self) -> &'static str {
        match self {
            Self::Store(StoreError::Conflict(_)) => "conflict",
            Self::Store(StoreError::Contention(_)) => "contention",
            Self::Store(StoreError::Full(_)) => "full",
            Self::Store(StoreError::Away(_)) => "away",
            Self::Store(StoreError::OutcomeUnknown(_)) => "unknown",
            Self::Store(StoreError::Overloaded) => "overloaded",
            Self::Store(StoreError::Refused(_)) | Self::Panic => "bug",
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Store(error) => error.to_string(),
            Self::Panic => "deciding it panicked".to_owned(),
        }
    }
}

fn fail_all(tasks: Tasks, error: &Error) {
    for task in tasks {
        task.fail(error);
    }
}

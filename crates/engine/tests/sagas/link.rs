//! The line between an engine and the participants of its sagas, with faults on demand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Ask};
use eventbooker_core::trace::TraceParent;
use eventbooker_engine::{Engine, NoAnswer, Participate};
use tokio::sync::Notify;

/// On which side of its effect a question fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// What happens to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails, and the participant says so.
    Fails(When),
    /// It is lost on its way there, or its answer is on its way back.
    Silent(When),
    /// It is asked twice, and the second answer counts.
    Repeated,
    /// It takes effect, and is answered with something that nobody asked for.
    Muddled,
    /// Asking panics.
    Panics,
    /// Nobody hears of it, and it is delivered when all is over.
    Late,
    /// Whoever asked is gone.
    Killed(When),
    /// Nothing moves until the test says so.
    Stalled(When),
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
        Self::Fails(When::After),
        Self::Silent(When::Before),
        Self::Silent(When::After),
        Self::Repeated,
        Self::Muddled,
        Self::Panics,
        Self::Late,
        Self::Killed(When::Before),
        Self::Killed(When::After),
    ];
}

/// The line. It outlives the engine that asks.
#[derive(Default)]
pub(crate) struct Link {
    participant: Mutex<Option<Engine>>,
    /// The fault, the number of the question that it is for, and how often it is still to come.
    plan: Mutex<Option<(usize, Fault, u32)>>,
    /// Each question once, however often it was asked.
    asked: Mutex<Vec<Request>>,
    /// What a participant said when it was asked again, where that was something else.
    contradictions: Mutex<Vec<String>>,
    late: Mutex<Vec<Request>>,
    /// Calls that somebody waits for.
    at_work: AtomicUsize,
    pub(crate) killed: Notify,
    pub(crate) stalled: Notify,
    pub(crate) resume: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(crate) fn to(participant: Engine) -> Arc<Self> {
        Arc::new(Self { participant: Mutex::new(Some(participant)), ..Self::default() })
    }

    pub(crate) fn plan(&self, fault: Option<(usize, Fault)>) {
        *lock(&self.plan) = fault.map(|(question, fault)| (question, fault, 1));
    }

    pub(crate) fn plan_often(&self, question: usize, fault: Fault, times: u32) {
        *lock(&self.plan) = Some((question, fault, times));
    }

    pub(crate) fn contradictions(&self) -> Vec<String> {
        lock(&self.contradictions).clone()
    }

    pub(crate) fn is_used_up(&self) -> bool {
        lock(&self.plan).is_none()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.at_work.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn questions_asked(&self) -> usize {
        lock(&self.asked).len()
    }

    /// In which traces they were asked.
    pub(crate) fn traces(&self) -> Vec<Option<TraceParent>> {
        lock(&self.asked).iter().map(|request| request.trace).collect()
    }

    /// Delivers what has been under way all the time. Nobody hears the answers.
    pub(crate) async fn deliver_what_is_late(&self) {
        let late = std::mem::take(&mut *lock(&self.late));
        for request in late {
            let _ = self.pass_on(request).await;
        }
    }

    pub(crate) fn hang_up(&self) {
        *lock(&self.participant) = None;
    }

    /// The fault that this question meets, if any.
    fn fault_for(&self, request: Request) -> Option<Fault> {
        let mut asked = lock(&self.asked);
        let number = asked.iter().position(|known| *known == request).unwrap_or_else(|| {
            asked.push(request);
            asked.len() - 1
        });
        let mut plan = lock(&self.plan);
        let (question, fault, times) = plan.as_mut()?;
        if *question != number {
            return None;
        }
        let fault = *fault;
        *times -= 1;
        if *times == 0 {
            *plan = None;
        }
        Some(fault)
    }

    async fn pass_on(&self, request: Request) -> Result<Answer, NoAnswer> {
        let participant = lock(&self.participant).clone().expect("nobody has hung up yet");
        participant.ask(vec![request]).await.remove(0)
    }

    async fn ask_one(&self, request: Request) -> Result<Answer, NoAnswer> {
        let _at_work = AtWork::on(self);
        let dead = || Err(NoAnswer::silence("the line is dead"));
        let fails = || Err(NoAnswer::Trouble("it is out of order".to_owned()));
        match self.fault_for(request) {
            None => self.pass_on(request).await,
            Some(Fault::Fails(When::Before)) => fails(),
            Some(Fault::Fails(When::After)) => {
                self.pass_on(request).await?;
                fails()
            }
            Some(Fault::Silent(When::Before)) => dead(),
            Some(Fault::Silent(When::After)) => {
                self.pass_on(request).await?;
                dead()
            }
            Some(Fault::Muddled) => {
                self.pass_on(request).await?;
                Ok(if request.ask == Ask::Settle { Answer::Refunded } else { Answer::Settled })
            }
            // Without the hook, which would tell of it in the middle of the test's own words.
            Some(Fault::Panics) => std::panic::resume_unwind(Box::new("a test wants this")),
            Some(Fault::Repeated) => {
                let first = self.pass_on(request).await;
                let second = self.pass_on(request).await;
                if first != second {
                    let heard = format!("{request:?}: first {first:?}, then {second:?}");
                    lock(&self.contradictions).push(heard);
                }
                second
            }
            Some(Fault::Late) => {
                lock(&self.late).push(request);
                dead()
            }
            Some(Fault::Stalled(When::Before)) => {
                self.stalled.notify_one();
                self.resume.notified().await;
                self.pass_on(request).await
            }
            Some(Fault::Stalled(When::After)) => {
                let answer = self.pass_on(request).await;
                self.stalled.notify_one();
                self.resume.notified().await;
                answer
            }
            Some(Fault::Killed(when)) => {
                if when == When::After {
                    self.pass_on(request).await?;
                }
                // At work until whoever asked is really gone, so that no time passes before.
                self.killed.notify_one();
                std::future::pending().await
            }
        }
    }
}

/// Counts a call for as long as somebody waits for its answer.
struct AtWork<'a>(&'a AtomicUsize);

impl<'a> AtWork<'a> {
    fn on(link: &'a Link) -> Self {
        link.at_work.fetch_add(1, Ordering::SeqCst);
        Self(&link.at_work)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Participate for Link {
    async fn ask(&self, requests: Vec<Request>) -> Vec<Result<Answer, NoAnswer>> {
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(self.ask_one(request).await);
        }
        answers
    }
}

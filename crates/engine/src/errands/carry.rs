//! Carries questions to one participant: many in one call, a few calls at a time.

use std::sync::Arc;
use std::time::Duration;

use eventbooker_core::Timestamp;
use eventbooker_core::bookings::Booking;
use eventbooker_core::bookings::participant::Request;
use eventbooker_core::bookings::saga::{Answer, Ask};
use eventbooker_store::{SagaStep, Wants};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Question, want_saga};
use crate::batch::{Batch, Rules};
use crate::command::{Command, Lane};
use crate::participants::{NoAnswer, Participate};
use crate::saga::Progress;
use crate::{Clock, Engine, Error, Refusal, saga, trace};

/// Questions in one call.
pub(super) const TOGETHER_MAX: usize = 256;
/// Calls to one participant at the same time, each until its answers are saved. One more than is needed, so that
/// one that hangs keeps nobody waiting; with any more they are smaller, and cost everybody more.
pub(super) const CALLS_MAX: usize = 2;
/// How long a call may take. Shorter than a lease, so that its answer can still be heard.
const CALL_MAX: Duration = Duration::from_secs(5);

pub(super) async fn carry(
    engine: Engine,
    participant: Arc<dyn Participate>,
    mut inbox: mpsc::Receiver<Question>,
) {
    let mut calls = JoinSet::new();
    let mut questions = Vec::with_capacity(TOGETHER_MAX);
    while inbox.recv_many(&mut questions, TOGETHER_MAX).await > 0 {
        if calls.len() >= CALLS_MAX
            && let Some(Err(error)) = calls.join_next().await
        {
            tracing::error!(%error, "a call to a participant was not seen to its end");
        }
        // What has come while it waited goes along.
        while questions.len() < TOGETHER_MAX
            && let Ok(question) = inbox.try_recv()
        {
            questions.push(question);
        }
        let together = std::mem::take(&mut questions);
        calls.spawn(call(engine.clone(), Arc::clone(&participant), together));
    }
}

async fn call(engine: Engine, participant: Arc<dyn Participate>, questions: Vec<Question>) {
    let clock = Arc::clone(&engine.inner.parts.clock);
    let give_up = clock.now().plus(CALL_MAX);
    // Whose lease may end before there is an answer may be taken up by somebody else meanwhile.
    // Asked all the same, a long queue would go on asking what nobody hears.
    let (questions, late): (Vec<Question>, Vec<Question>) =
        questions.into_iter().partition(|question| question.until >= give_up);
    let put_back =
        late.into_iter().map(|question| News { question, word: Word::NotAsked, chance: 0 });
    let mut told = JoinSet::new();
    told.spawn(tell(engine.clone(), put_back.collect()));
    let requests = questions.iter().map(|question| question.request).collect();
    let words = ask(&*clock, participant, requests, give_up).await;
    let chances = engine.chances(questions.len());
    let news = questions.into_iter().zip(words).zip(chances).map(|((question, word), chance)| {
        News { question, word: word.map_or_else(Word::None, Word::Answer), chance }
    });
    told.spawn(tell(engine, news.collect()));
    told.join_all().await;
}

/// What came of each request, in their order.
async fn ask(
    clock: &dyn Clock,
    participant: Arc<dyn Participate>,
    requests: Vec<Request>,
    give_up: Timestamp,
) -> Vec<Result<Answer, NoAnswer>> {
    let count = requests.len();
    if count == 0 {
        return Vec::new();
    }
    // In a task of its own, so that a panic is a failure like others. It ends with this one.
    let mut asked = JoinSet::new();
    asked.spawn(async move { participant.ask(requests).await });
    let trouble = |why: &str| NoAnswer::Trouble(why.to_owned());
    let (answers, otherwise) = tokio::select! {
        biased;
        joined = asked.join_next() => match joined {
            Some(Ok(answers)) => (answers, trouble("there was no answer")),
            Some(Err(error)) => {
                tracing::error!(%error, "a participant could not be asked");
                (Vec::new(), trouble("asking ended in a panic"))
            }
            None => (Vec::new(), trouble("nobody asked")),
        },
        () = clock.sleep_until(give_up) => {
            (Vec::new(), NoAnswer::silence("there was no answer in time"))
        }
    };
    let others = std::iter::repeat_with(|| Err(otherwise.clone()));
    answers.into_iter().chain(others).take(count).collect()
}

/// Brings back what came of questions.
async fn tell(engine: Engine, news: Vec<News>) {
    let mut unheard = Vec::new();
    for (news, told) in engine.decide_all(news, News::lane, |news| TellAll { news }).await {
        let Request { booking_id: booking, trace, .. } = news.question.request;
        trace::at(trace, || match told {
            Ok(None) => {}
            Ok(Some(trouble)) => tracing::error!(%booking, %trouble, "an answer moves nothing"),
            Err(Error::Bug) if matches!(news.word, Word::Answer(_)) => {
                tracing::error!(
                    %booking, "the answer of a participant can't be acted on; run `eventbooker check`"
                );
                let why = NoAnswer::Trouble("its answer could not be acted on".to_owned());
                unheard.push(News { word: Word::None(why), ..news });
            }
            // The errand stays, and somebody asks again when its lease has ended.
            Err(error) => {
                tracing::warn!(%error, %booking, "could not save what a participant answered");
            }
        });
    }
    if !unheard.is_empty() {
        Box::pin(tell(engine, unheard)).await;
    }
}

/// What became of a question.
#[derive(Clone)]
enum Word {
    /// The participant has answered.
    Answer(Answer),
    /// There is none, for this reason.
    None(NoAnswer),
    /// There was no time to ask.
    NotAsked,
}

/// What became of a question, for its saga.
#[derive(Clone)]
struct News {
    question: Question,
    word: Word,
    /// Spreads the wait, if there has to be one.
    chance: u8,
}

impl News {
    fn lane(&self) -> Lane {
        Lane::Event(self.question.request.event_id)
    }

    /// Why the answer moves nothing, if it doesn't.
    fn decide(&self, batch: &mut Batch) -> Option<String> {
        let (now, chance) = (batch.now(), self.chance);
        let Request { booking_id, ask, .. } = self.question.request;
        // Somebody else may carry the errand by now, or have ended it.
        let mut errand = batch.errand(booking_id).cloned()?;
        let before = batch.booking(booking_id)?;
        // Tokens begin anew with each errand, so the token alone doesn't tell what was asked.
        if errand.token != self.question.token
            || !before.request().is_some_and(|asked| asked.asks_for_same(&self.question.request))
        {
            return None;
        }
        let mut moves_nothing = None;
        match &self.word {
            Word::Answer(answer) => {
                let trouble = hear(batch, &before, ask, *answer).err()?;
                errand.fail(&trouble, ask.is_forced(), now, chance);
                moves_nothing = Some(trouble);
            }
            Word::None(NoAnswer::Trouble(trouble)) => {
                errand.fail(trouble, ask.is_forced(), now, chance);
            }
            Word::None(NoAnswer::Silence { why, until }) => {
                errand.meet_silence(why, *until, now, chance);
            }
            Word::NotAsked => errand.put_back(now),
        }
        batch.set_errand(errand);
        moves_nothing
    }
}

/// Brings errands' news to their sagas. None of them has anything to do with another.
struct TellAll {
    /// All of one lane.
    news: Vec<News>,
}

impl Command for TellAll {
    /// For each, why the answer moves nothing, if it doesn't.
    type Reply = Vec<Option<String>>;

    fn lane(&self) -> Lane {
        self.news.first().map_or(Lane::Any, News::lane)
    }

    fn wants(&self, rules: &Rules, wants: &mut Wants) {
        for News { question, .. } in &self.news {
            let Request { booking_id, event_id, user_id, .. } = question.request;
            want_saga(rules, wants, booking_id, event_id, user_id);
        }
    }

    fn decide(&self, batch: &mut Batch) -> Result<Self::Reply, Refusal> {
        Ok(self.news.iter().map(|news| news.decide(batch)).collect())
    }
}

/// Moves a saga. An error says why it doesn't move; then nothing has changed.
fn hear(batch: &mut Batch, before: &Booking, asked: Ask, answer: Answer) -> Result<(), String> {
    let now = batch.now();
    let heard = before.hear(answer, now).map_err(|out_of_turn| out_of_turn.to_string())?;
    let mut progress = match heard {
        Some(booking) => saga::run(batch, booking).map_err(|refusal| refusal.to_string())?,
        None => Progress { booking: None, refusal: None },
    };
    progress.refusal = answer.denial().map(Refusal::from).or(progress.refusal);
    batch.add_saga_step(SagaStep {
        booking_id: before.id,
        asked: asked.to_string(),
        answered: answer.to_string(),
        denial: answer.denial(),
        at: now,
    });
    saga::change(batch, before, progress);
    Ok(())
}

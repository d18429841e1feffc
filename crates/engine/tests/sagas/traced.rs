//! The trace of whoever asked for something goes along to the participants, and stays with the errand.

use eventbooker_core::bookings::State;
use eventbooker_core::trace::TraceParent;
use eventbooker_engine::trace;

use super::link::{Fault, When};
use super::pair::{Act, Pair};

/// A trace of this number.
fn traced(number: u8) -> Option<TraceParent> {
    format!("00-{number:032x}-{number:016x}-01").parse().ok()
}

#[tokio::test]
async fn participants_are_told_the_trace_of_whoever_asked() {
    let mut pair = Pair::start(10, 80).await;
    for (number, act, state) in [
        (Some(1), Act::Book, State::Occupied),
        (Some(2), Act::Confirm, State::Complete),
        (None, Act::Cancel, State::Cancelled),
    ] {
        let asked_before = pair.link.questions_asked();
        let trace = number.and_then(traced);
        trace::at(trace, || pair.begin(act));
        pair.until_at_rest("a command").await;
        assert_eq!(pair.answer().await, Some(Ok(state)));
        let traces = pair.link.traces().split_off(asked_before);
        assert!(!traces.is_empty() && traces.iter().all(|it| *it == trace), "{act:?}: {traces:?}");
    }
    pair.finish().await;
}

/// Whoever takes over hasn't heard of the request. Each question is asked once more in its trace: in
/// another it would be one more.
#[tokio::test]
async fn the_trace_stays_with_an_errand_that_is_taken_over() {
    for question in 0..3 {
        let mut pair = Pair::start(10, 80).await;
        pair.link.plan(Some((question, Fault::Killed(When::After))));
        trace::at(traced(1), || pair.begin(Act::Purchase));
        pair.until_at_rest("a purchase").await;
        assert!(pair.link.is_used_up(), "question {question}");
        assert_eq!(pair.link.traces(), [traced(1); 3], "question {question}");
        pair.finish().await;
    }
}

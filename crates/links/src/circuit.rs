//! Whether a neighbour is worth a call: a circuit that opens when calls fail, and closes when a
//! single one, the probe, succeeds.
//!
//! | state | a call | what leads on |
//! |---|---|---|
//! | closed | is made | 5 failures in a row, or more than half of 20 calls within 10 s → open |
//! | open | is refused at once | 1 s, doubling to 5 s, ± a quarter → the next call is the probe |
//! | probing | is refused at once | the probe succeeds → closed; it fails → open, for longer |
//!
//! A call whose end nobody waits for says nothing: whoever looks at a page may go away. If it was the
//! probe, the next call is.
//!
//! What becomes of a call that was begun in an earlier turn of the circuit says nothing about this
//! one and isn't heard.
//!
//! A pure state machine: whoever calls tells it the time and brings the randomness. The crates that
//! there are read a clock of their own.

use std::collections::VecDeque;
use std::time::Duration;

use eventbooker_core::Timestamp;
use eventbooker_engine::Availability;

/// So many failures in a row open a circuit.
const FAILURES_IN_A_ROW: u32 = 5;
/// So many calls are looked back upon,
const RECENT_CALLS: usize = 20;
/// if they were made within this time.
const RECENT: Duration = Duration::from_secs(10);
/// The wait before the first probe.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a probe.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What is known about a neighbour's answering.
#[derive(Debug)]
pub struct Circuit {
    state: State,
    /// Rises with every change of state.
    turn: u64,
}

#[derive(Debug)]
enum State {
    Closed(Calls),
    Open { probe_at: Timestamp, probes: u32 },
    Probing { probes: u32 },
}

#[derive(Debug, Default)]
struct Calls {
    failures_in_a_row: u32,
    /// When calls ended, and whether they failed.
    recent: VecDeque<(Timestamp, bool)>,
}

/// Leave to make one call. What becomes of it has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    turn: u64,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { state: State::Closed(Calls::default()), turn: 0 }
    }
}

impl Circuit {
    /// Whether a call would be made now. Unlike [`may_call`](Self::may_call) it changes nothing.
    pub fn availability(&self, now: Timestamp) -> Availability {
        match self.state {
            State::Closed(_) => Availability::Available,
            State::Open { probe_at, .. } if probe_at <= now => Availability::Available,
            State::Open { probe_at, .. } => Availability::AwayUntil(probe_at),
            // It takes as long as it takes; whoever waits may as well look again after a moment.
            State::Probing { .. } => Availability::AwayUntil(now.plus(WAIT_FIRST)),
        }
    }

    /// Leave to call, or when to ask for it again.
    pub fn may_call(&mut self, now: Timestamp) -> Result<Leave, Timestamp> {
        match self.availability(now) {
            Availability::AwayUntil(instant) => Err(instant),
            Availability::Available => {
                if let State::Open { probes, .. } = self.state {
                    self.turn_to(State::Probing { probes });
                }
                Ok(Leave { turn: self.turn })
            }
        }
    }

    /// A call was answered. Says whether the neighbour is back by that.
    pub fn succeeded(&mut self, leave: Leave, now: Timestamp) -> bool {
        if leave.turn != self.turn {
            return false;
        }
        if let State::Closed(calls) = &mut self.state {
            calls.ended(false, now);
            return false;
        }
        self.turn_to(State::Closed(Calls::default()));
        true
    }

    /// A call was not answered. Says whether the neighbour counts as away from now on.
    pub fn failed(&mut self, leave: Leave, now: Timestamp, chance: u64) -> bool {
        if leave.turn != self.turn {
            return false;
        }
        let probes = match &mut self.state {
            State::Closed(calls) => {
                calls.ended(true, now);
                if !calls.are_too_bad() {
                    return false;
                }
                0
            }
            State::Open { probes, .. } | State::Probing { probes } => probes.saturating_add(1),
        };
        let probe_at = now.plus(wait(probes, chance));
        self.turn_to(State::Open { probe_at, probes });
        true
    }

    /// Nobody waited for a call's end, which says nothing of the neighbour. If it was the probe, the next
    /// call is.
    pub fn abandoned(&mut self, leave: Leave, now: Timestamp) {
        if leave.turn == self.turn
            && let State::Probing { probes } = self.state
        {
            self.turn_to(State::Open { probe_at: now, probes });
        }
    }

    fn turn_to(&mut self, state: State) {
        self.state = state;
        self.turn += 1;
    }
}

impl Calls {
    fn ended(&mut self, has_failed: bool, now: Timestamp) {
        self.failures_in_a_row = if has_failed { self.failures_in_a_row + 1 } else { 0 };
        self.recent.push_back((now, has_failed));
        while self.recent.len() > RECENT_CALLS
            || self.recent.front().is_some_and(|(at, _)| at.plus(RECENT) < now)
        {
            self.recent.pop_front();
        }
    }

    fn are_too_bad(&self) -> bool {
        let failures = self.recent.iter().filter(|(_, has_failed)| *has_failed).count();
        self.failures_in_a_row >= FAILURES_IN_A_ROW
            || (self.recent.len() >= RECENT_CALLS && failures * 2 > RECENT_CALLS)
    }
}

/// How long after this many probes the next one comes: spread by chance, so that many processes
/// don't come at the same time.
fn wait(probes: u32, chance: u64) -> Duration {
    let whole = WAIT_FIRST.saturating_mul(2_u32.saturating_pow(probes)).min(WAIT_MAX);
    let percent = 75 + u32::try_from(chance % 51).unwrap_or(0);
    whole * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    /// As much chance as makes a wait neither longer nor shorter.
    const EVEN: u64 = 25;
    const SECOND: Duration = Duration::from_secs(1);

    impl Circuit {
        fn leave(&mut self, now: Timestamp) -> Leave {
            self.may_call(now).expect("it is closed, or due for a probe")
        }

        /// Calls that end at once: `+` succeed, `-` fail. Ends with the call that opens it.
        fn calls(&mut self, course: &str, every: Duration) -> (usize, Timestamp) {
            let mut now = NOW;
            for (count, call) in course.chars().enumerate() {
                now = now.plus(every);
                let leave = self.leave(now);
                match call {
                    '+' => assert!(!self.succeeded(leave, now)),
                    _ if self.failed(leave, now, EVEN) => return (count + 1, now),
                    _ => {}
                }
            }
            (0, now)
        }
    }

    #[test]
    fn it_opens_when_calls_fail_in_a_row_or_too_often() {
        let short = Duration::from_millis(100);
        let table = [
            ("-----", short, 5),
            ("----+-----", short, 10),
            ("----+----+----+----", short, 0),
            ("----+----+----+----+-", short, 21),
            // Ten failures of twenty calls, and then eleven.
            ("+-+-+-+-+-+-+-+-+-+-+-+-+-+-", short, 0),
            ("+-+-+-+-+-+-+-+-+-+--", short, 21),
            // So slowly that no twenty calls are within ten seconds.
            ("--+--+--+--+--+--+--+--+--+--+--", SECOND, 0),
        ];
        for (course, every, opens_at) in table {
            let mut circuit = Circuit::default();
            let (opened_at, _) = circuit.calls(course, every);
            assert_eq!(opened_at, opens_at, "{course}");
        }
    }

    fn open() -> (Circuit, Timestamp) {
        let mut circuit = Circuit::default();
        let (_, at) = circuit.calls("-----", Duration::ZERO);
        (circuit, at)
    }

    #[test]
    fn one_call_probes_and_the_others_are_refused() {
        let (mut circuit, opened_at) = open();
        let probe_at = opened_at.plus(SECOND);
        let just_before = probe_at.minus(Duration::from_micros(1));
        assert_eq!(circuit.may_call(opened_at), Err(probe_at));
        assert_eq!(circuit.may_call(just_before), Err(probe_at));
        assert_eq!(circuit.availability(just_before), Availability::AwayUntil(probe_at));
        assert_eq!(circuit.availability(probe_at), Availability::Available);
        let probe = circuit.leave(probe_at);
        assert_eq!(circuit.may_call(probe_at), Err(probe_at.plus(SECOND)));
        assert!(circuit.succeeded(probe, probe_at));
        assert_eq!(circuit.availability(probe_at), Availability::Available);
        // It begins anew: one failure is not enough to open it again.
        let leave = circuit.leave(probe_at);
        assert!(!circuit.failed(leave, probe_at, EVEN));
    }

    #[test]
    fn waits_double_and_end_with_the_first_success() {
        let (mut circuit, mut now) = open();
        for seconds in [1, 2, 4, 5, 5, 5] {
            let probe_at = now.plus(SECOND * seconds);
            assert_eq!(circuit.availability(now), Availability::AwayUntil(probe_at));
            now = probe_at;
            let probe = circuit.leave(now);
            assert!(circuit.failed(probe, now, EVEN));
        }
        now = now.plus(SECOND * 5);
        let probe = circuit.leave(now);
        assert!(circuit.succeeded(probe, now));
        for _ in 0..FAILURES_IN_A_ROW {
            let leave = circuit.leave(now);
            circuit.failed(leave, now, EVEN);
        }
        assert_eq!(circuit.availability(now), Availability::AwayUntil(now.plus(SECOND)));
    }

    #[test]
    fn what_was_begun_before_is_not_heard() {
        let mut circuit = Circuit::default();
        let early = circuit.leave(NOW);
        let (_, opened_at) = circuit.calls("-----", Duration::ZERO);
        assert!(!circuit.succeeded(early, opened_at));
        assert!(!circuit.failed(early, opened_at.plus(SECOND), EVEN));
        let probe_at = opened_at.plus(SECOND);
        assert_eq!(circuit.availability(opened_at), Availability::AwayUntil(probe_at));
        let probe = circuit.leave(probe_at);
        assert!(!circuit.failed(early, probe_at, EVEN));
        assert!(circuit.succeeded(probe, probe_at));
        assert!(!circuit.failed(probe, probe_at, EVEN));
    }

    #[test]
    fn what_nobody_waits_for_says_nothing() {
        let mut circuit = Circuit::default();
        for _ in 0..RECENT_CALLS {
            let leave = circuit.leave(NOW);
            circuit.abandoned(leave, NOW);
            assert_eq!(circuit.availability(NOW), Availability::Available);
        }
        let (mut circuit, opened_at) = open();
        let probe_at = opened_at.plus(SECOND);
        for _ in 0..2 {
            let probe = circuit.leave(probe_at);
            circuit.abandoned(probe, probe_at);
            assert!(!circuit.succeeded(probe, probe_at), "it is over");
        }
        let probe = circuit.leave(probe_at);
        assert!(circuit.succeeded(probe, probe_at));
    }

    #[test]
    fn chance_spreads_the_wait_by_a_quarter() {
        let waits = |probes| [0, 25, 50, 51].map(|chance| wait(probes, chance).as_millis());
        assert_eq!(waits(0), [750, 1000, 1250, 750]);
        assert_eq!(waits(1), [1500, 2000, 2500, 1500]);
        assert_eq!(waits(u32::MAX), [3750, 5000, 6250, 3750]);
    }
}

//! Errands: a question to a participant outside of this database, and who sees to its answer.
//!
//! A saga whose next step lies elsewhere is saved with an errand before anybody is asked. Whoever
//! carries the errand has it until `due_at`; after that anybody may take it over, with a higher
//! token, and what the one before brings is not heard any more.
//!
//! A try is counted when it begins, so that one which nobody comes back from counts as well. Whoever
//! was not to be heard has not failed: silence says nothing of this step, so it is no try, and is over
//! as soon as its participant is back.
//!
//! Waits are spread by chance, which callers bring: what was in trouble together comes back apart.
//!
//! Invariants kept here: an errand's token only rises; only the holder of the current token moves
//! the saga; a step that must be taken is parked, in sight of the operator, when it has failed for
//! too long, and nothing else ever ends an errand but an answer. Tokens rise within one errand
//! only: it ends when its saga rests, and the booking's next errand begins at 1 again. What an
//! answer was asked for tells the two apart.

use std::time::Duration;

use super::Act;
use crate::trace::TraceParent;
use crate::{BookingId, EventId, Timestamp, UserId};

/// How long whoever carries an errand has it to themselves. Longer than a call may take.
pub const LEASE: Duration = Duration::from_secs(10);
/// How much of a lease may be over when a saga's next step begins within it. Most sagas are over sooner, and
/// an errand that stays as it is needn't be written again.
const RENEWED_AFTER: Duration = Duration::from_secs(1);
/// A step that must be taken is parked when it has been tried in vain for about so long. An outage
/// that is over by then needs no operator.
pub const PARKED_AFTER: Duration = Duration::from_secs(4 * 3600);
/// So many tries are in vain by then.
pub const TRIES_MAX: u32 = tries_within(PARKED_AFTER);
/// The wait after the first failure; it doubles with each of the next.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// The longest wait for somebody who was not to be heard. Short, for sagas go on within so long of an
/// outage's end; and it may be short, because whoever is known to be away isn't called meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Nobody is waited for any longer than this, whoever says until when they are away.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// What waits for the same instant is spread over so long.
const SPREAD: Duration = Duration::from_secs(1);
/// The longest reason that is kept.
const TROUBLE_CHARS_MAX: usize = 200;
/// The reason when a try has come to nothing and nobody has said why.
const NOBODY_CAME_BACK: &str = "whoever asked has not brought an answer";

/// A question that a saga waits for an answer to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Errand {
    /// The booking.
    pub booking_id: BookingId,
    /// The event that it is for.
    pub event_id: EventId,
    /// Whose it is.
    pub user_id: UserId,
    /// Rises with every takeover.
    pub token: i64,
    /// When it is free to be taken up: the lease has ended, or the wait after a failure.
    pub due_at: Timestamp,
    /// How often the step has been tried, a try that is under way included.
    pub tries: u32,
    /// Why it failed last.
    pub trouble: Option<String>,
    /// Whether it waits for the operator.
    pub is_parked: bool,
    /// The trace of whatever has made the saga go on, for whoever carries the errand.
    pub trace: Option<TraceParent>,
    /// The answer that is owed when the saga rests, if one is.
    pub promise: Option<Promise>,
}

/// An answer that a client is owed as soon as the saga rests: it is to be kept under the client's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Promise {
    /// Whose key it is.
    pub scope: UserId,
    /// The key.
    pub key: String,
    /// What the client wants of the booking.
    pub act: Act,
}

/// What became of an attempt to take an errand up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Somebody has it, or nobody may have it yet, or it is parked.
    NotFree,
    /// It is carried by whoever claimed it.
    Taken,
    /// The try before was the last, and nobody has come back from it: now it is parked.
    Parked,
}

impl Errand {
    /// A new errand, carried by whoever makes it.
    pub fn begin(
        booking_id: BookingId,
        event_id: EventId,
        user_id: UserId,
        now: Timestamp,
    ) -> Self {
        Self {
            booking_id,
            event_id,
            user_id,
            token: 1,
            due_at: now.plus(LEASE),
            tries: 1,
            trouble: None,
            is_parked: false,
            trace: None,
            promise: None,
        }
    }

    /// The saga's next step: the same carrier goes on, within the same lease unless some of it is over.
    pub fn go_on(&mut self, now: Timestamp) {
        let fresh = now.plus(LEASE.saturating_sub(RENEWED_AFTER))..=now.plus(LEASE);
        if !fresh.contains(&self.due_at) {
            self.due_at = now.plus(LEASE);
        }
        self.tries = 1;
        self.trouble = None;
        self.is_parked = false;
    }

    /// Whether anybody may take it up.
    pub fn is_free(&self, now: Timestamp) -> bool {
        !self.is_parked && self.due_at <= now
    }

    /// Takes the errand up if nobody has it. `is_forced` says that the saga has no other way.
    ///
    /// The more tries have been in vain, the longer the next carrier has it: a saga whose carriers
    /// don't come back is taken up less and less often, as one whose step fails.
    pub fn claim(&mut self, is_forced: bool, now: Timestamp) -> Claim {
        if !self.is_free(now) {
            return Claim::NotFree;
        }
        if self.tries > 0 && self.trouble.is_none() {
            self.trouble = Some(NOBODY_CAME_BACK.to_owned());
        }
        if is_forced && self.tries >= TRIES_MAX {
            self.is_parked = true;
            return Claim::Parked;
        }
        self.due_at = now.plus(LEASE.saturating_add(backoff(self.tries)));
        self.tries = self.tries.saturating_add(1);
        self.token += 1;
        Claim::Taken
    }

    /// Notes that the try has failed. `is_forced` says that the saga has no other way.
    pub fn fail(&mut self, trouble: &str, is_forced: bool, now: Timestamp, chance: u8) {
        self.trouble = Some(plain(trouble));
        self.due_at = now.plus(jittered(backoff(self.tries), chance));
        self.is_parked = is_forced && self.tries >= TRIES_MAX;
    }

    /// Gives it back because whoever was asked was not to be heard, for this reason. `until` is when
    /// they are worth another call, if anybody knows.
    pub fn meet_silence(
        &mut self,
        why: &str,
        until: Option<Timestamp>,
        now: Timestamp,
        chance: u8,
    ) {
        self.tries = self.tries.saturating_sub(1);
        if let Some(until) = until {
            return self.put_off(why, until, now, chance);
        }
        // It has been taken up anew after each silence, and as often for the steps before.
        let silences = u32::try_from(self.token).unwrap_or(u32::MAX);
        self.trouble = Some(plain(why));
        self.due_at = now.plus(jittered(backoff(silences).min(SILENCE_MAX), chance));
    }

    /// Leaves it alone until whoever is to be asked is worth a call.
    pub fn put_off(&mut self, why: &str, until: Timestamp, now: Timestamp, chance: u8) {
        self.trouble = Some(plain(why));
        let until = until.clamp(now, now.plus(AWAY_MAX));
        self.due_at = until.plus(SPREAD * u32::from(chance) / u32::from(u8::MAX));
    }

    /// Gives it back untried, to be taken up at once.
    pub fn put_back(&mut self, now: Timestamp) {
        self.tries = self.tries.saturating_sub(1);
        self.due_at = now;
    }

    /// Takes it out of parking, to be taken up at once.
    pub fn unpark(&mut self, now: Timestamp) {
        self.is_parked = false;
        self.tries = 0;
        self.due_at = now;
    }
}

/// A participant elsewhere may have said it: it is cut, and must not steer whoever's terminal shows it.
fn plain(trouble: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    trouble.chars().take(TROUBLE_CHARS_MAX).map(plain).collect()
}

/// How long to wait after so many tries; not at all after none.
const fn backoff(tries: u32) -> Duration {
    if tries == 0 {
        return Duration::ZERO;
    }
    let doublings = if tries > 16 { 16 } else { tries - 1 };
    let wait = BACKOFF_FIRST.saturating_mul(1 << doublings);
    if wait.as_millis() < BACKOFF_MAX.as_millis() { wait } else { BACKOFF_MAX }
}

/// A wait, give or take a quarter.
fn jittered(wait: Duration, chance: u8) -> Duration {
    let even = u32::from(u8::MAX);
    wait * (3 * even + 2 * u32::from(chance)) / (4 * even)
}

/// How many tries have failed when the waits between them make up a span.
const fn tries_within(span: Duration) -> u32 {
    let mut tries = 1;
    let mut waited = Duration::ZERO;
    while waited.as_millis() < span.as_millis() {
        waited = waited.saturating_add(backoff(tries));
        tries += 1;
    }
    tries
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    /// As much chance as makes a wait hardly longer or shorter.
    const EVEN: u8 = 128;

    fn errand() -> Errand {
        Errand::begin(BookingId::new(1), EventId::new(2), UserId::new(3), NOW)
    }

    #[test]
    fn an_errand_is_its_carriers_until_the_lease_ends() {
        let mut errand = errand();
        let end = NOW.plus(LEASE);
        let a_moment_before = Timestamp::from_micros(end.as_micros() - 1);
        assert_eq!(errand.claim(true, a_moment_before), Claim::NotFree);
        assert_eq!((errand.token, errand.tries), (1, 1));
        assert_eq!(errand.claim(true, end), Claim::Taken);
        assert_eq!((errand.token, errand.tries), (2, 2));
        assert_eq!(errand.claim(true, end), Claim::NotFree, "it is taken");
        errand.go_on(end);
        assert_eq!((errand.token, errand.tries, errand.trouble), (2, 1, None));
        assert_eq!(errand.due_at, end.plus(LEASE));
    }

    #[test]
    fn a_saga_that_goes_on_at_once_leaves_its_errand_as_it_is() {
        let begun = errand();
        let mut errand = begun.clone();
        errand.go_on(NOW.plus(RENEWED_AFTER));
        assert_eq!(errand, begun);
        let later = NOW.plus(RENEWED_AFTER).plus(Duration::from_micros(1));
        errand.go_on(later);
        assert_eq!(errand.due_at, later.plus(LEASE));
        // Whose carriers haven't come back has a longer one, which isn't for the next step.
        let mut errand = Errand { tries: 9, ..begun };
        assert_eq!(errand.claim(false, errand.due_at), Claim::Taken);
        let now = NOW.plus(LEASE);
        assert!(errand.due_at > now.plus(LEASE));
        errand.go_on(now);
        assert_eq!(errand.due_at, now.plus(LEASE));
    }

    #[test]
    fn what_others_say_is_short_and_plain() {
        let mut errand = errand();
        errand.fail("the bank\nis \u{1b}[31mзакрыт", false, NOW, 0);
        assert_eq!(errand.trouble.as_deref(), Some("the bank is  [31mзакрыт"));
        errand.fail(&"я".repeat(1000), false, NOW, 0);
        assert_eq!(errand.trouble, Some("я".repeat(200)));
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let waits: Vec<u128> = (0..=11).map(|tries| backoff(tries).as_millis()).collect();
        let doubled = [0, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000];
        assert_eq!(waits, doubled);
        assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
    }

    /// Tries one errand in vain, each time as soon as it is free, until it is parked or has been
    /// tried so often that it never will be. Returns the errand and how long that took.
    fn tried_in_vain(is_forced: bool, comes_back: bool) -> (Errand, Duration) {
        let (mut errand, mut now) = (errand(), NOW);
        for _ in 1..2 * TRIES_MAX {
            if comes_back {
                errand.fail("out of order", is_forced, now, EVEN);
            }
            if errand.is_parked {
                break;
            }
            now = errand.due_at;
            if errand.claim(is_forced, now) == Claim::Parked {
                break;
            }
        }
        (errand, NOW.until(now))
    }

    #[test]
    fn a_step_that_must_be_taken_is_parked_when_it_has_failed_for_hours() {
        for comes_back in [true, false] {
            let (mut errand, took) = tried_in_vain(true, comes_back);
            assert!(errand.is_parked && errand.tries == TRIES_MAX, "{errand:?}");
            assert!(took >= PARKED_AFTER && took <= 2 * PARKED_AFTER, "{took:?}");
            let later = NOW.plus(took).plus(BACKOFF_MAX);
            assert_eq!(errand.claim(true, later), Claim::NotFree, "it waits for the operator");
            errand.unpark(later);
            assert_eq!(errand.claim(true, later), Claim::Taken);
            assert_eq!(errand.tries, 1);
        }
    }

    #[test]
    fn a_step_that_promises_nothing_is_tried_for_ever() {
        for comes_back in [true, false] {
            let (errand, _) = tried_in_vain(false, comes_back);
            assert!(!errand.is_parked && errand.tries >= 2 * TRIES_MAX, "{errand:?}");
        }
    }

    #[test]
    fn whoever_does_not_come_back_is_a_failure_with_a_reason_and_a_wait() {
        let (mut errand, mut now) = (errand(), NOW);
        let mut waits = Vec::new();
        for _ in 0..11 {
            waits.push(now.until(errand.due_at));
            now = errand.due_at;
            assert_eq!(errand.claim(false, now), Claim::Taken);
            assert_eq!(errand.trouble.as_deref(), Some(NOBODY_CAME_BACK));
        }
        let expected: Vec<Duration> = (0..11).map(|tries| LEASE + backoff(tries)).collect();
        assert_eq!(waits, expected);
        errand.fail("the bank is closed", false, now, 0);
        errand.claim(false, errand.due_at);
        assert_eq!(errand.trouble.as_deref(), Some("the bank is closed"), "this says more");
    }

    #[test]
    fn chance_spreads_waits_by_a_quarter() {
        for (chance, millis) in [(0, 150), (255, 250)] {
            let mut errand = errand();
            errand.fail("away", false, NOW, chance);
            assert_eq!(NOW.until(errand.due_at).as_millis(), millis);
            let mut errand = self::errand();
            errand.meet_silence("away", None, NOW, chance);
            assert_eq!(NOW.until(errand.due_at).as_millis(), millis);
        }
        assert_eq!(jittered(BACKOFF_MAX, u8::MAX), Duration::from_secs(75));
    }

    #[test]
    fn silence_is_no_try_and_is_asked_into_every_few_seconds() {
        let (mut errand, mut now) = (errand(), NOW);
        let mut waits = Vec::new();
        while now < NOW.plus(2 * PARKED_AFTER) {
            errand.meet_silence("away", None, now, EVEN);
            assert_eq!((errand.tries, errand.is_parked), (0, false));
            assert_eq!(errand.trouble.as_deref(), Some("away"));
            waits.push(now.until(errand.due_at).as_millis());
            now = errand.due_at;
            assert_eq!(errand.claim(true, now), Claim::Taken);
        }
        assert_eq!(waits[..7], [200, 400, 800, 1601, 3203, 5004, 5004]);
        assert!(waits.iter().all(|wait| *wait <= 6250));
        errand.fail("out of order", true, now, EVEN);
        assert_eq!(errand.tries, 1, "this is the first");
    }

    #[test]
    fn whoever_is_away_is_waited_for_until_they_are_worth_a_call() {
        let second = Duration::from_secs(1);
        let probe_at = NOW.plus(3 * second);
        let table = [
            (probe_at, 0, probe_at),
            (probe_at, u8::MAX, probe_at.plus(second)),
            (NOW.minus(second), 0, NOW),
            // Whoever says that they are away for ever is asked all the same.
            (NOW.plus(PARKED_AFTER), 0, NOW.plus(10 * second)),
        ];
        for (until, chance, due_at) in table {
            let mut errand = errand();
            errand.meet_silence("away", Some(until), NOW, chance);
            assert_eq!((errand.tries, errand.due_at), (0, due_at));
            let mut errand = self::errand();
            errand.put_off("away", until, NOW, chance);
            assert_eq!((errand.tries, errand.due_at), (1, due_at), "nobody has tried");
        }
    }

    #[test]
    fn what_was_not_tried_is_not_a_try() {
        let mut errand = errand();
        errand.put_back(NOW);
        assert_eq!((errand.tries, errand.due_at), (0, NOW));
        assert_eq!(errand.claim(true, NOW), Claim::Taken);
        let Errand { token, tries, trouble, due_at, .. } = errand;
        assert_eq!((token, tries, trouble, due_at), (2, 1, None, NOW.plus(LEASE)));
    }
}

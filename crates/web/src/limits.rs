//! Rate limits: on guessing (failed sign-ins per login and per address), on registrations per
//! address, and on what a user's refused requests leave behind.
//!
//! A [`Limiter`] is a token bucket for each key, kept as one instant (GCRA): the time at which the
//! bucket would be full again. Time is a parameter, in microseconds; there is no clock here.
//!
//! Invariants:
//!
//! - In any span a key gets at most `burst` takes, plus one for each whole interval of the span,
//!   plus its refunds.
//! - What is spent without asking counts against the takes that follow, however much it is.
//! - A take counts at once and is given back by [`Limiter::refund`] when what it was for succeeds.
//!   So guesses in parallel cannot slip past while the first one is still being hashed.
//! - At most `keys_max` keys of 16 bytes are kept, whatever clients send: keys are stored as keyed
//!   64-bit hashes, never themselves. When there is no room, full buckets are dropped first (they
//!   mean nothing), then the quarter that is closest to full. The keys under attack are the
//!   emptiest ones and stay.
//!
//! The crate `governor` was looked at: it has no refund, its clock is a property of the limiter
//! instead of a parameter, and its keyed stores grow until somebody sweeps them.
//!
//! Absent on purpose: sharding (one short lock is nothing beside an argon2 hash or a commit) and
//! limits over several processes.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many takes a key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Takes that may come at once.
    pub burst: u32,
    /// The time in which an empty bucket fills up again, in microseconds.
    pub refill_us: i64,
}

impl Quota {
    /// `count` a minute, all at once if need be.
    pub const fn per_minute(count: u32) -> Self {
        Self { burst: count, refill_us: 60_000_000 }
    }
}

/// The refusal: no take before this much time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// The time to wait, in microseconds; at least 1.
    pub wait_us: i64,
}

impl RetryAfter {
    /// For the header `Retry-After`: whole seconds, rounded up.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.wait_us.saturating_add(999_999) / 1_000_000).unwrap_or(u32::MAX)
    }
}

/// A rate limiter with a bucket for each key.
#[derive(Debug)]
pub struct Limiter {
    /// The time that one take costs.
    interval_us: i64,
    /// How far the full-again time may lie ahead for one more take to fit.
    tolerance_us: i64,
    keys_max: usize,
    hasher: RandomState,
    full_at: Mutex<HashMap<u64, i64>>,
}

impl Limiter {
    /// A limiter that remembers at most `keys_max` keys (at least 4). A burst of 0 counts as 1.
    pub fn new(quota: Quota, keys_max: usize) -> Self {
        let burst = i64::from(quota.burst.max(1));
        let interval_us = (quota.refill_us / burst).max(1);
        Self {
            interval_us,
            tolerance_us: interval_us.saturating_mul(burst - 1),
            keys_max: keys_max.max(4),
            hasher: RandomState::new(),
            full_at: Mutex::default(),
        }
    }

    /// Takes one from the key's bucket, or says how long to wait.
    pub fn take(&self, key: &(impl Hash + ?Sized), now_us: i64) -> Result<(), RetryAfter> {
        let key = self.hasher.hash_one(key);
        let mut full_at = self.lock();
        self.look_at(full_at.get(&key).copied(), now_us)?;
        self.spend_from(&mut full_at, key, now_us);
        Ok(())
    }

    /// Whether the key's bucket has something, or how long to wait. Takes nothing.
    pub fn look(&self, key: &(impl Hash + ?Sized), now_us: i64) -> Result<(), RetryAfter> {
        let key = self.hasher.hash_one(key);
        self.look_at(self.lock().get(&key).copied(), now_us)
    }

    /// Takes one from the key's bucket whether or not it has something: what it lacks has to flow in
    /// before there is something again.
    pub fn spend(&self, key: &(impl Hash + ?Sized), now_us: i64) {
        let key = self.hasher.hash_one(key);
        self.spend_from(&mut self.lock(), key, now_us);
    }

    fn look_at(&self, full_at_us: Option<i64>, now_us: i64) -> Result<(), RetryAfter> {
        let ahead_us = full_at_us.map_or(0, |full_at_us| full_at_us.saturating_sub(now_us));
        let wait_us = ahead_us.saturating_sub(self.tolerance_us);
        if wait_us > 0 { Err(RetryAfter { wait_us }) } else { Ok(()) }
    }

    fn spend_from(&self, full_at: &mut HashMap<u64, i64>, key: u64, now_us: i64) {
        let known = full_at.get(&key).copied();
        if known.is_none() && full_at.len() >= self.keys_max {
            make_room(full_at, now_us);
        }
        let from_us = known.unwrap_or(now_us).max(now_us);
        full_at.insert(key, from_us.saturating_add(self.interval_us));
    }

    /// Gives one take back. A key that is not known any more has a full bucket already.
    pub fn refund(&self, key: &(impl Hash + ?Sized)) {
        let key = self.hasher.hash_one(key);
        if let Some(full_at_us) = self.lock().get_mut(&key) {
            *full_at_us = full_at_us.saturating_sub(self.interval_us);
        }
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, i64>> {
        // Nothing inside the lock can leave the map half changed, so a panic elsewhere does not
        // spoil it.
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the full buckets, and if that is not enough, the quarter closest to full. A quarter at a
/// time, so that the cost of the scan is spread over as many new keys.
fn make_room(full_at: &mut HashMap<u64, i64>, now_us: i64) {
    let before = full_at.len();
    full_at.retain(|_, full_at_us| *full_at_us > now_us);
    let quarter = before / 4;
    let Some(excess) = quarter.checked_sub(before - full_at.len()) else {
        return;
    };
    if excess == 0 {
        return;
    }
    let mut instants: Vec<i64> = full_at.values().copied().collect();
    let (_, &mut border_us, _) = instants.select_nth_unstable(excess - 1);
    // Many keys can share the border's instant; no more than needed of them go.
    let mut left = excess;
    full_at.retain(|_, full_at_us| {
        let goes = *full_at_us <= border_us && left > 0;
        left -= usize::from(goes);
        !goes
    });
}

/// The key for an address. One IPv6 customer has a whole /64 to guess from, so it counts as one
/// address; an IPv4 address inside IPv6 counts as itself.
pub fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn limiter(burst: u32, seconds: i64) -> Limiter {
        Limiter::new(Quota { burst, refill_us: seconds * SECOND }, 1000)
    }

    #[test]
    fn a_burst_passes_and_then_one_each_interval() {
        let limiter = limiter(3, 30);
        for _ in 0..3 {
            assert_eq!(limiter.take("key", 0), Ok(()));
        }
        let refused = limiter.take("key", 0).expect_err("empty");
        assert_eq!(refused.seconds(), 10);
        assert_eq!(limiter.take("other", 0), Ok(()));
        assert!(limiter.take("key", 10 * SECOND - 1).is_err());
        assert_eq!(limiter.take("key", 10 * SECOND), Ok(()));
        assert!(limiter.take("key", 10 * SECOND).is_err());
    }

    #[test]
    fn what_is_spent_beyond_the_bucket_is_waited_for() {
        let limiter = limiter(3, 30);
        for _ in 0..5 {
            limiter.spend("key", 0);
        }
        assert_eq!(limiter.look("key", 0).expect_err("empty").seconds(), 30);
        assert!(limiter.look("key", 30 * SECOND - 1).is_err());
        for _ in 0..10 {
            assert_eq!(limiter.look("key", 30 * SECOND), Ok(()), "looking takes nothing");
        }
        assert_eq!(limiter.take("key", 30 * SECOND), Ok(()));
        assert!(limiter.take("key", 30 * SECOND).is_err());
        assert_eq!(limiter.look("other", 0), Ok(()));
    }

    #[test]
    fn a_refusal_costs_nothing_and_its_wait_is_exact() {
        let limiter = limiter(2, 10);
        for _ in 0..2 {
            limiter.take("key", 0).expect("room");
        }
        for _ in 0..100 {
            let refused = limiter.take("key", SECOND).expect_err("empty");
            assert_eq!(refused.wait_us, 4 * SECOND);
        }
        assert_eq!(limiter.take("key", 5 * SECOND), Ok(()));
    }

    #[test]
    fn successes_do_not_count_but_hold_their_place_meanwhile() {
        let limiter = limiter(2, 60);
        for round in 0..100 {
            assert_eq!(limiter.take("key", round), Ok(()));
            limiter.refund("key");
        }
        // Two at work at once: a third guess has to wait although none of them has failed yet.
        assert_eq!(limiter.take("key", 100), Ok(()));
        assert_eq!(limiter.take("key", 100), Ok(()));
        assert!(limiter.take("key", 100).is_err());
        limiter.refund("key");
        assert_eq!(limiter.take("key", 100), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_the_attacked_key_is_not_forgotten() {
        let limiter = Limiter::new(Quota::per_minute(5), 100);
        for _ in 0..5 {
            limiter.take("attacked", 0).expect("room");
        }
        for number in 0..10_000 {
            limiter.take(&number, 0).expect("a fresh key");
            assert!(limiter.keys() <= 100);
        }
        assert!(limiter.take("attacked", 0).is_err());
    }

    #[test]
    fn settled_keys_go_first() {
        let limiter = Limiter::new(Quota::per_minute(60), 100);
        for number in 0..90 {
            limiter.take(&number, 0).expect("a fresh key");
        }
        for number in 90..100 {
            limiter.take(&number, 10 * SECOND).expect("a fresh key");
        }
        limiter.take(&100, 10 * SECOND).expect("a fresh key");
        assert_eq!(limiter.keys(), 11);
    }

    #[test]
    fn extreme_numbers_do_not_overflow() {
        let refill_us = i64::MAX;
        let limiter = Limiter::new(Quota { burst: 0, refill_us }, 0);
        assert_eq!(limiter.take("key", i64::MAX), Ok(()));
        limiter.refund("key");
        limiter.refund("key");
        let _ = limiter.take("key", i64::MIN);
        let wait_us = i64::MAX;
        assert_eq!(RetryAfter { wait_us }.seconds(), u32::MAX);
        assert_eq!(RetryAfter { wait_us: 1 }.seconds(), 1);
    }

    #[test]
    fn addresses_fold_to_what_one_customer_has() {
        for (address, key) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
            ("::1", "::"),
        ] {
            let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(address_key(parse(address)), parse(key), "{address}");
        }
    }

    proptest! {
        /// No window of any length holds more takes than the quota allows, however the attempts are
        /// spaced.
        #[test]
        fn no_window_exceeds_the_quota(
            burst in 1_u32..8,
            gaps in prop::collection::vec(0_i64..30, 1..200),
        ) {
            let interval = 10;
            let refill_us = interval * i64::from(burst);
            let limiter = Limiter::new(Quota { burst, refill_us }, 10);
            let mut now = 0;
            let mut taken = Vec::new();
            for gap in gaps {
                now += gap;
                if limiter.take("key", now).is_ok() {
                    taken.push(now);
                }
            }
            for (first, start) in taken.iter().enumerate() {
                for (last, end) in taken.iter().enumerate().skip(first) {
                    let count = i64::try_from(last - first + 1).expect("small");
                    prop_assert!(count <= i64::from(burst) + (end - start) / interval);
                }
            }
        }

        /// It agrees with a bucket that counts tokens, and a refund undoes its take.
        #[test]
        fn agrees_with_a_counting_bucket(
            burst in 1_i64..6,
            steps in prop::collection::vec((0_i64..25, any::<bool>()), 1..200),
        ) {
            let interval = 10;
            let full = burst * interval;
            let quota = Quota { burst: u32::try_from(burst).expect("small"), refill_us: full };
            let limiter = Limiter::new(quota, 10);
            let (mut now, mut level) = (0, full);
            for (gap, refund) in steps {
                now += gap;
                level = full.min(level + gap);
                let fits = level >= interval;
                prop_assert_eq!(limiter.take("key", now).is_ok(), fits);
                if fits && refund {
                    limiter.refund("key");
                } else if fits {
                    level -= interval;
                }
            }
        }

        /// After waiting for as long as a refusal says, and not a microsecond less, the take
        /// passes.
        #[test]
        fn waits_are_exact(burst in 1_u32..5, takes in 1_usize..30) {
            let limiter = Limiter::new(Quota { burst, refill_us: 1000 }, 10);
            for _ in 0..takes {
                if let Err(refused) = limiter.take("key", 0) {
                    prop_assert!(limiter.take("key", refused.wait_us - 1).is_err());
                    prop_assert!(limiter.take("key", refused.wait_us).is_ok());
                    break;
                }
            }
        }
    }
}

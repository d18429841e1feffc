//! Chance: everything that is left to it follows from the seed.

use eventbooker_testkit::SeededEntropy;

/// One stream of it. Who has a stream of their own is not disturbed by what others draw.
pub(crate) struct Chance(SeededEntropy);

impl Chance {
    /// The stream of this name.
    pub(crate) fn of(seed: u64, name: &str) -> Self {
        let mixed = name.bytes().fold(seed, |mixed, byte| {
            SeededEntropy::new(mixed ^ u64::from(byte).rotate_left(32)).draw()
        });
        Self(SeededEntropy::new(mixed))
    }

    pub(crate) fn draw(&self) -> u64 {
        self.0.draw()
    }

    /// A number from `low` up to but not including `high`.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high - low)
    }

    /// Whether something happens that happens so often.
    pub(crate) fn percent(&self, percent: u64) -> bool {
        self.draw() % 100 < percent
    }

    /// One of these.
    pub(crate) fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.0.below(all.len())]
    }
}

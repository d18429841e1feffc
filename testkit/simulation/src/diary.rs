//! The diary: each step of a run, in order. The digest of all of it tells two runs apart.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Arguments;
use std::hash::Hasher as _;

/// Milliseconds since a run began.
pub(crate) type Millis = u64;

/// What has happened.
pub(crate) struct Diary {
    is_shown: bool,
    digest: DefaultHasher,
    steps: u64,
}

impl Diary {
    /// An empty one; what is written is shown at once, or only counts.
    pub(crate) fn new(is_shown: bool) -> Self {
        // Its keys are fixed, unlike those of a map.
        Self { is_shown, digest: DefaultHasher::new(), steps: 0 }
    }

    /// Writes a step down.
    pub(crate) fn note(&mut self, at: Millis, step: Arguments<'_>) {
        let line = format!("{:>3}.{:03} {step}", at / 1000, at % 1000);
        self.digest.write(line.as_bytes());
        self.steps += 1;
        if self.is_shown {
            println!("{line}");
        }
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }
}

/// Writes a step down.
macro_rules! note {
    ($diary:expr, $at:expr, $($step:tt)+) => {
        $diary.note($at, format_args!($($step)+))
    };
}
pub(crate) use note;

//! What a person at a terminal sees while nothing else happens. Elsewhere the bars are invisible.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Fallible;
use crate::children::not_interrupted;

const TICK: Duration = Duration::from_millis(100);

/// A bar that counts up to `length`, with what is being done before it.
pub(crate) fn bar(what: &str, length: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("  {msg} {wide_bar} {human_pos} of {human_len}, {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style).with_message(what.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// Something that takes about this long; it is over when the guard is dropped.
pub(crate) fn busy(what: &str) -> Busy {
    let style = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let spinner = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
    spinner.enable_steady_tick(TICK);
    Busy(spinner)
}

/// Something is at work for as long as this lives.
pub(crate) struct Busy(ProgressBar);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Waits, visibly, unless somebody interrupts.
pub(crate) fn pause(what: &str, span: Duration) -> Fallible<()> {
    let until = Instant::now() + span;
    let _busy = (span > Duration::from_secs(1)).then(|| busy(what));
    loop {
        not_interrupted()?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(TICK));
    }
}

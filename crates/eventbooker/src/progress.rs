//! How far a long command is, for whoever looks on. Nothing is drawn where nobody does.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often it moves, so that somebody sees that it is at work.
const TICK: Duration = Duration::from_millis(100);

/// A bar that counts rows, under what is done with them.
pub(crate) fn of_rows(doing: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{spinner} {msg} {wide_bar} {human_pos} of {human_len} rows, {eta} left",
    );
    let bar = ProgressBar::new(0)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(doing);
    // A database may look at its own file before the first row, and doesn't say how far it is.
    bar.enable_steady_tick(TICK);
    bar
}

/// Shows on a bar how far it is of how much.
pub(crate) fn shown_on(bar: &ProgressBar) -> impl FnMut(u64, u64) + Send {
    |read, total| {
        bar.set_length(total);
        bar.set_position(read);
    }
}

/// Something that doesn't say how far it is.
pub(crate) fn unknown(doing: String) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(doing);
    spinner.enable_steady_tick(TICK);
    spinner
}

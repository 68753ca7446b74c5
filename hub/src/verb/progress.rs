//! The progress bar of long verbs, on the terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts events, with rate and time to go; it draws nothing when standard error is no terminal.
pub(super) fn events(message: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:24} {bar:30} {human_pos:>12} of {human_len} events  {per_sec}  {eta} to go")
            .expect("the template is right");
    let bar = ProgressBar::new(0).with_style(style).with_message(message.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Moves the bar.
pub(super) fn show(bar: &ProgressBar, done: i64, all: i64) {
    bar.set_length(u64::try_from(all).unwrap_or(0));
    bar.set_position(u64::try_from(done).unwrap_or(0));
}

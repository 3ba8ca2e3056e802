//! Shows the progress of long commands on standard error: a bar on a terminal, up to ten lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    sync::atomic::{AtomicU64, Ordering},
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The most progress lines that a run writes if there is no terminal.
const LINES_MAX: u64 = 10;

/// The progress of one command. Removes its bar when dropped.
#[derive(Debug)]
pub struct ProgressDisplay {
    label: &'static str,
    bar: ProgressBar,
    terminal: bool,
    /// Tenths of the run that have been reported. Used only without a terminal.
    written: AtomicU64,
}

impl ProgressDisplay {
    /// `label` names the counted things. Pass a total of 0 if it is not known yet, and set it with
    /// [`ProgressDisplay::set`].
    pub fn start(label: &'static str, total: u64) -> Self {
        let terminal = stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left",
        )
        .expect("the template is well formed");
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style).with_message(label);
        Self { label, bar, terminal, written: AtomicU64::new(0) }
    }

    /// Sets how many of `total` are done.
    pub fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.write_line();
    }

    /// Counts one more as done.
    pub fn advance(&self) {
        self.bar.inc(1);
        self.write_line();
    }

    /// Shows a step that has no count.
    pub fn step(&self, label: &'static str) {
        self.bar.set_message(label);
        if !self.terminal {
            eprintln!("{label}");
        }
    }

    fn write_line(&self) {
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        if self.terminal || total == 0 {
            return;
        }
        let due = LINES_MAX * done / total;
        if self.written.fetch_max(due, Ordering::Relaxed) < due {
            eprintln!("{}: {} of {}", self.label, HumanCount(done), HumanCount(total));
        }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

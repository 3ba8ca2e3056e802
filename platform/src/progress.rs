//! Progress of long commands on standard error: a bar on a terminal, a line now and then elsewhere.

use std::{
    io::{IsTerminal, stderr},
    sync::atomic::{AtomicU64, Ordering},
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How many lines a whole run writes where there is no terminal.
const LINES: u64 = 10;

/// How far a command has come.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    bar: ProgressBar,
    terminal: bool,
    /// Without a terminal: the tenths written so far.
    written: AtomicU64,
}

impl Progress {
    /// `what` is done `total` times; a total that is not known yet is 0 and comes with [`Progress::set`].
    pub fn start(what: &'static str, total: u64) -> Self {
        let terminal = stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {human_pos} of {human_len}, {per_sec}, {eta} left",
        )
        .expect("the template is well formed");
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style).with_message(what);
        Self { what, bar, terminal, written: AtomicU64::new(0) }
    }

    /// `done` of `total` are done.
    pub fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.write_line();
    }

    /// One more is done.
    pub fn advance(&self) {
        self.bar.inc(1);
        self.write_line();
    }

    /// What comes after the part that can be counted.
    pub fn step(&self, what: &'static str) {
        self.bar.set_message(what);
        if !self.terminal {
            eprintln!("{what}");
        }
    }

    fn write_line(&self) {
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        if self.terminal || total == 0 {
            return;
        }
        let due = LINES * done / total;
        if self.written.fetch_max(due, Ordering::Relaxed) < due {
            eprintln!("{}: {} of {}", self.what, HumanCount(done), HumanCount(total));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

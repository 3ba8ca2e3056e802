//! What the fixture is told to do wrong.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Plan>,
    connections: Mutex<CancellationToken>,
    subscriptions: Mutex<CancellationToken>,
}

#[derive(Debug, Default)]
struct Plan {
    answers_to_lose: usize,
    answer_delay: Duration,
}

/// What happens to one append after it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    After(Duration),
    /// Never: every connection is cut instead.
    Lost,
}

impl Faults {
    /// The next appends are written, and then every connection is cut instead of answering.
    pub fn lose_answers(&self, count: usize) {
        lock(&self.plan).answers_to_lose = count;
    }

    /// Appends are answered this long after they were written.
    pub fn delay_answers(&self, delay: Duration) {
        lock(&self.plan).answer_delay = delay;
    }

    /// Breaks every connection off, as a network does.
    pub fn cut_connections(&self) {
        std::mem::take(&mut *lock(&self.connections)).cancel();
    }

    /// Ends every subscription in good order, as if it had nothing more to say.
    pub fn end_subscriptions(&self) {
        std::mem::take(&mut *lock(&self.subscriptions)).cancel();
    }

    pub(super) fn answer(&self) -> Answer {
        let mut plan = lock(&self.plan);
        if plan.answers_to_lose > 0 {
            plan.answers_to_lose -= 1;
            return Answer::Lost;
        }
        Answer::After(plan.answer_delay)
    }

    /// Cancelled when the connections of this moment are cut.
    pub(super) fn connection_cut(&self) -> CancellationToken {
        lock(&self.connections).clone()
    }

    /// Cancelled when the subscriptions of this moment are ended.
    pub(super) fn subscriptions_ended(&self) -> CancellationToken {
        lock(&self.subscriptions).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The faults that a test has planned.

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

/// What happens to the answer of one append, after the append was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    After(Duration),
    /// All connections are cut instead of an answer.
    Lost,
}

impl Faults {
    /// Writes the next `count` appends, and cuts all connections instead of answering.
    pub fn lose_answers(&self, count: usize) {
        lock(&self.plan).answers_to_lose = count;
    }

    /// Answers appends this long after they were written.
    pub fn delay_answers(&self, delay: Duration) {
        lock(&self.plan).answer_delay = delay;
    }

    /// Cuts all connections, as a network failure does.
    pub fn cut_connections(&self) {
        std::mem::take(&mut *lock(&self.connections)).cancel();
    }

    /// Ends all subscriptions normally, as a proxy may do.
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

    /// The token of the connections that are open now; cancelled when they are cut.
    pub(super) fn connection_cut(&self) -> CancellationToken {
        lock(&self.connections).clone()
    }

    /// The token of the subscriptions that are open now; cancelled when they are ended.
    pub(super) fn subscriptions_ended(&self) -> CancellationToken {
        lock(&self.subscriptions).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The faults that a test has planned.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::errors;

#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Plan>,
    connections: Mutex<CancellationToken>,
    subscriptions: Mutex<CancellationToken>,
    held_subscriptions: Mutex<CancellationToken>,
}

#[derive(Debug, Default)]
struct Plan {
    answers_to_lose: usize,
    answer_delay: Duration,
    append_delay: Duration,
    cancelled: Cancelled,
    aborts: usize,
    aborts_are_written: bool,
    positions_to_hide: usize,
    end_of_read_delay: Duration,
    refusals: usize,
    refusal: Option<Unready>,
}

/// Why a node refuses every call, before it does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unready {
    /// The leader is another node, at this address.
    NotLeader(SocketAddr),
    NoLeader,
    NotReady,
    TooBusy,
}

/// What becomes of an append whose call was cancelled before it was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cancelled {
    #[default]
    NotWritten,
    Written,
}

/// What happens to one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteFault {
    /// The write takes too long for the server.
    Aborted { written: bool },
    /// The append is written, and all connections are cut instead of an answer.
    AnswerLost,
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

    /// Writes appends this long after they arrived.
    pub fn delay_appends(&self, delay: Duration, cancelled: Cancelled) {
        let mut plan = lock(&self.plan);
        (plan.append_delay, plan.cancelled) = (delay, cancelled);
    }

    /// Answers the next `count` appends with ABORTED. They are all written, or none is.
    pub fn abort_appends(&self, count: usize, written: bool) {
        let mut plan = lock(&self.plan);
        (plan.aborts, plan.aborts_are_written) = (count, written);
    }

    /// Leaves the position out of the next `count` answers to appends, as for a retry of an append that is not
    /// replicated yet.
    pub fn hide_positions(&self, count: usize) {
        lock(&self.plan).positions_to_hide = count;
    }

    /// Sends the end of a read this long after its last event. A client that breaks off its reads then resets
    /// every one of them.
    pub fn delay_ends_of_reads(&self, delay: Duration) {
        lock(&self.plan).end_of_read_delay = delay;
    }

    /// Refuses the next `count` calls for streams.
    pub fn refuse_calls(&self, count: usize, why: Unready) {
        let mut plan = lock(&self.plan);
        (plan.refusals, plan.refusal) = (count, Some(why));
    }

    /// Cuts all connections, as a network failure does.
    pub fn cut_connections(&self) {
        std::mem::take(&mut *lock(&self.connections)).cancel();
    }

    /// Ends all subscriptions normally, as a proxy may do.
    pub fn end_subscriptions(&self) {
        std::mem::take(&mut *lock(&self.subscriptions)).cancel();
    }

    /// Lets all subscriptions that are open now deliver nothing more, without an end.
    pub fn hold_subscriptions(&self) {
        std::mem::take(&mut *lock(&self.held_subscriptions)).cancel();
    }

    /// The planned refusal of one call.
    pub(super) fn refusal(&self) -> Option<Status> {
        let mut plan = lock(&self.plan);
        plan.refusals = plan.refusals.checked_sub(1)?;
        plan.refusal.map(Unready::status)
    }

    /// The planned fault of one append.
    pub(super) fn write_fault(&self) -> Option<WriteFault> {
        let mut plan = lock(&self.plan);
        if plan.aborts > 0 {
            plan.aborts -= 1;
            return Some(WriteFault::Aborted { written: plan.aborts_are_written });
        }
        plan.answers_to_lose = plan.answers_to_lose.checked_sub(1)?;
        Some(WriteFault::AnswerLost)
    }

    pub(super) fn delay_before_writing(&self) -> (Duration, Cancelled) {
        let plan = lock(&self.plan);
        (plan.append_delay, plan.cancelled)
    }

    pub(super) fn answer_delay(&self) -> Duration {
        lock(&self.plan).answer_delay
    }

    pub(super) fn hides_position(&self) -> bool {
        let mut plan = lock(&self.plan);
        let hides = plan.positions_to_hide > 0;
        plan.positions_to_hide = plan.positions_to_hide.saturating_sub(1);
        hides
    }

    pub(super) fn end_of_read_delay(&self) -> Duration {
        lock(&self.plan).end_of_read_delay
    }

    /// A token for a new connection; cancelled when all are cut.
    pub(super) fn connection_cut(&self) -> CancellationToken {
        lock(&self.connections).child_token()
    }

    /// The token of the subscriptions that are open now; cancelled when they are ended.
    pub(super) fn subscriptions_ended(&self) -> CancellationToken {
        lock(&self.subscriptions).clone()
    }

    /// The token of the subscriptions that are open now; cancelled when they are held.
    pub(super) fn subscriptions_held(&self) -> CancellationToken {
        lock(&self.held_subscriptions).clone()
    }
}

impl Unready {
    pub(super) fn status(self) -> Status {
        match self {
            Self::NotLeader(leader) => errors::not_leader(leader),
            Self::NoLeader => errors::no_leader(),
            Self::NotReady => errors::not_ready(),
            Self::TooBusy => errors::too_busy(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

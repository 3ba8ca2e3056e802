//! Answers that wait for their clients to read, bounded in bytes over all connections.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::log_limit::LogLimit;

/// All answers of a server that wait for their clients to read.
///
/// A new one is always admitted. The oldest ones leave instead: a client that reads finishes soon, so those
/// that have waited longest belong to clients that do not read.
#[derive(Debug)]
pub(super) struct StalledAnswers {
    bytes_max: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The sum over `answers`.
    bytes: usize,
    /// Numbers the answers in the order in which they began to wait.
    next: u64,
    answers: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    bytes: usize,
    /// Dropping it closes the connection.
    _permission: oneshot::Sender<()>,
}

/// One answer that waits for its client. Leaves when dropped.
#[derive(Debug)]
pub(super) struct StalledAnswer {
    number: u64,
    withdrawn: oneshot::Receiver<()>,
    all: Arc<StalledAnswers>,
}

impl StalledAnswers {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, waiting: Mutex::default() })
    }

    /// Admits an answer. Closes the connections that have waited longest until the rest fits.
    pub(super) fn admit(self: &Arc<Self>, bytes: usize) -> StalledAnswer {
        static CLOSED: LogLimit = LogLimit::new(Duration::from_secs(10));
        let (permission, withdrawn) = oneshot::channel();
        let mut waiting = self.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.bytes += bytes;
        waiting.answers.insert(number, Entry { bytes, _permission: permission });
        while waiting.bytes > self.bytes_max
            && waiting.answers.len() > 1
            && let Some((_, oldest)) = waiting.answers.pop_first()
        {
            waiting.bytes -= oldest.bytes;
            if let Some(omitted) = CLOSED.pass() {
                tracing::warn!(
                    answers.bytes_max = self.bytes_max,
                    lines.omitted = omitted,
                    "Clients do not read their answers; the connection that waits longest is closed"
                );
            }
        }
        drop(waiting);
        StalledAnswer { number, withdrawn, all: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StalledAnswer {
    /// Ready when the connection must be closed to make room for others.
    pub(super) fn poll_withdrawn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.withdrawn).poll(cx).map(drop)
    }
}

impl Drop for StalledAnswer {
    fn drop(&mut self) {
        let mut waiting = self.all.lock();
        if let Some(entry) = waiting.answers.remove(&self.number) {
            waiting.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn is_withdrawn(answer: &mut StalledAnswer) -> bool {
        std::future::poll_fn(|cx| answer.poll_withdrawn(cx)).now_or_never().is_some()
    }

    #[test]
    fn the_answers_that_wait_longest_leave_when_the_bytes_exceed_the_limit() {
        let all = StalledAnswers::new(100);
        let mut answers: Vec<_> = [40, 40, 20].map(|bytes| all.admit(bytes)).into();
        assert!(answers.iter_mut().all(|answer| !is_withdrawn(answer)));
        answers.push(all.admit(50));
        let withdrawn: Vec<bool> = answers.iter_mut().map(is_withdrawn).collect();
        assert_eq!(withdrawn, [true, true, false, false]);
        assert_eq!(all.lock().bytes, 70);

        answers.clear();
        assert_eq!(all.lock().bytes, 0);
        assert!(!is_withdrawn(&mut all.admit(1_000)), "an answer beyond the limit is sent if it is alone");
    }
}

//! An append that waits for its outcome.

use super::{Append, AppendError, Appended, Done};

/// Answers its caller exactly once. If it is dropped unanswered, for example because the writer panics, the
/// caller gets [`AppendError::OutcomeUnknown`].
pub(super) struct PendingAppend {
    pub append: Append,
    /// False if no caller waits for this append. See [`super::EventStore::submit_unawaited`].
    pub awaited: bool,
    done: Option<Done>,
}

impl PendingAppend {
    pub fn new(append: Append, done: Done, awaited: bool) -> Self {
        Self { append, awaited, done: Some(done) }
    }

    pub fn answer(mut self, outcome: Result<Appended, AppendError>) {
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }

    /// Answers that nothing was written, because the store no longer takes appends.
    pub fn refuse_closed(self) {
        self.answer(Err(AppendError::Unavailable("the event store is closed".into())));
    }
}

impl Drop for PendingAppend {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(AppendError::OutcomeUnknown("the event store stopped before it answered".into())));
        }
    }
}

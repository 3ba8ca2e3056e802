//! The log and the store as the roles of a process see them.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Position, RecordedEvent, Revision, StreamName, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

use super::LogGuard;
use crate::event_store::{
    Append, AppendError, Done, Epoch, EventLog, EventMark, EventStore, Outage, ReadError,
};

/// Refuses reads once the log went back, and notices when a read finds that out.
pub(super) struct GuardedLog {
    pub guard: LogGuard,
    pub inner: Arc<dyn EventLog>,
}

impl GuardedLog {
    fn check(&self) -> Result<(), ReadError> {
        self.guard.refusal().map_or(Ok(()), |why| Err(ReadError::WentBack(why)))
    }

    fn notice<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        if let Err(ReadError::WentBack(why)) = &read {
            self.guard.refuse(why);
        }
        read
    }
}

#[async_trait]
impl EventLog for GuardedLog {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.check()?;
        self.inner.read_stream(stream, from, limit).await
    }

    async fn last_of(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        self.check()?;
        self.inner.last_of(stream).await
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.check()?;
        self.inner.read_all(after, limit).await
    }

    async fn read_back(
        &self,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.check()?;
        self.inner.read_back(before, limit).await
    }

    async fn read_after(&self, mark: &EventMark, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.check()?;
        self.notice(self.inner.read_after(mark, limit).await)
    }

    async fn has(&self, mark: &EventMark) -> Result<bool, ReadError> {
        self.check()?;
        self.inner.has(mark).await
    }

    async fn expect(&self, mark: &EventMark) -> Result<(), ReadError> {
        self.check()?;
        self.notice(self.inner.expect(mark).await)
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        self.check()?;
        self.inner.exist(streams).await
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        self.check()?;
        self.inner.last_event().await
    }

    async fn last_position(&self) -> Result<Option<Position>, ReadError> {
        self.check()?;
        self.inner.last_position().await
    }

    async fn position_before(&self, time: Timestamp) -> Result<Option<Position>, ReadError> {
        self.check()?;
        self.inner.position_before(time).await
    }

    fn last_followed(&self, mark: &EventMark) -> Option<RecordedEvent> {
        self.check().ok()?;
        self.inner.last_followed(mark)
    }

    fn outage(&self) -> Outage {
        self.inner.outage()
    }

    fn store_id(&self) -> Uuid {
        self.inner.store_id()
    }
}

/// Refuses appends once the log went back.
pub(super) struct GuardedStore {
    pub guard: LogGuard,
    pub inner: Arc<dyn EventStore>,
}

impl GuardedStore {
    /// Answers an append that is refused; gives back one that is not.
    fn admit(&self, append: Append, done: Done) -> Option<(Append, Done)> {
        let Some(why) = self.guard.refusal() else { return Some((append, done)) };
        done(Err(AppendError::Unavailable(why)));
        None
    }
}

#[async_trait]
impl EventStore for GuardedStore {
    fn log(&self) -> Arc<dyn EventLog> {
        self.guard.log()
    }

    fn submit(&self, append: Append, done: Done) {
        if let Some((append, done)) = self.admit(append, done) {
            self.inner.submit(append, done);
        }
    }

    fn submit_unawaited(&self, append: Append, done: Done) {
        if let Some((append, done)) = self.admit(append, done) {
            self.inner.submit_unawaited(append, done);
        }
    }

    fn accepts_dependent_appends(&self) -> bool {
        self.inner.accepts_dependent_appends()
    }

    fn lacks(&self, stream: &StreamName) -> bool {
        self.inner.lacks(stream)
    }

    fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }

    fn head(&self) -> watch::Receiver<Option<Position>> {
        self.inner.head()
    }
}

//! Reads the event store directly: one partition, the whole log. The store wakes it when events are
//! committed.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use tokio::sync::watch;

use super::{Batch, EventSource, Partition, SourceUpdate};
use crate::event_store::{EventStore, ReadError};

/// Follows the log of an event store.
pub struct DirectSource {
    store: Arc<dyn EventStore>,
    head: watch::Receiver<Option<Position>>,
    batch_events_max: usize,
    state: State,
}

enum State {
    Unassigned,
    AwaitingSeek,
    Reading { after: Option<Position> },
}

impl std::fmt::Debug for DirectSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectSource")
            .field("batch_events_max", &self.batch_events_max)
            .finish_non_exhaustive()
    }
}

impl DirectSource {
    /// Returns at most `batch_events_max` events per batch.
    pub fn new(store: Arc<dyn EventStore>, batch_events_max: usize) -> Self {
        let head = store.head();
        Self { store, head, batch_events_max, state: State::Unassigned }
    }

    /// Fails if the log ends before the consumer's position `after`. The log has the same id, so its file was
    /// replaced by an older copy. Waiting would hide it: the consumer would skip the events up to its
    /// position.
    async fn expect_in_log(&self, head: Option<Position>, after: Option<Position>) -> Result<(), ReadError> {
        // A read can return events a moment before the head moves past them.
        if head == after || self.store.log().last_position().await? >= after {
            return Ok(());
        }
        let position = after.unwrap_or_default();
        let text = format!(
            "the log ends before position {position}, which was already read: it has lost events, for example because \
             an older copy of its file was restored. Run `orderly projections rebuild` to rebuild the read models from \
             the events that are left"
        );
        Err(ReadError::Corrupt(text.into()))
    }
}

#[async_trait]
impl EventSource for DirectSource {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        loop {
            match self.state {
                State::Unassigned => {
                    self.state = State::AwaitingSeek;
                    return Ok(SourceUpdate::Assigned(vec![Partition::whole_log()]));
                }
                State::AwaitingSeek => std::future::pending::<()>().await,
                State::Reading { after } => {
                    let head = *self.head.borrow_and_update();
                    if head <= after {
                        self.expect_in_log(head, after).await?;
                        if self.head.changed().await.is_err() {
                            return Err(ReadError::Unavailable("the event store has stopped".into()));
                        }
                        continue;
                    }
                    let events = self.store.log().read_all(after, self.batch_events_max).await?;
                    if let Some(position) = events.last().map(|event| event.position) {
                        self.state = State::Reading { after: Some(position) };
                        let partition = Partition::whole_log();
                        return Ok(SourceUpdate::Events(Batch { partition, after, events, position }));
                    }
                }
            }
        }
    }

    fn seek(&mut self, partition: &Partition, position: Option<Position>) {
        if *partition == Partition::whole_log() {
            self.state = State::Reading { after: position };
        }
    }
}

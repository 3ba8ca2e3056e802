//! Reads the event store itself: one partition, the whole log, woken by the store as events are committed.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use tokio::sync::watch;

use super::{Batch, Delivery, EventSource, Partition};
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
    pub fn new(store: Arc<dyn EventStore>, batch_events_max: usize) -> Self {
        let head = store.head();
        Self { store, head, batch_events_max, state: State::Unassigned }
    }
}

impl DirectSource {
    /// A consumer ahead of the log would wait until it has grown past its position, and then have missed events. The
    /// log is still the one it had (its id is); so somebody has put an older copy of it in place.
    async fn expect_in_log(&self, head: Option<Position>, after: Option<Position>) -> Result<(), ReadError> {
        // What was read may be a moment ahead of what is known of the head.
        if head == after || self.store.last_position().await? >= after {
            return Ok(());
        }
        let after = after.unwrap_or_default();
        let text = format!(
            "the log ends before position {after}, up to which it was read: it has lost events, for example by going \
             back to a copy of its file. `orderly projections rebuild` makes the read models anew from what there is"
        );
        Err(ReadError::Corrupt(text.into()))
    }
}

#[async_trait]
impl EventSource for DirectSource {
    async fn next(&mut self) -> Result<Delivery, ReadError> {
        loop {
            match self.state {
                State::Unassigned => {
                    self.state = State::AwaitingSeek;
                    return Ok(Delivery::Assigned(vec![Partition::whole_log()]));
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
                    let events = self.store.read_all(after, self.batch_events_max).await?;
                    if let Some(position) = events.last().map(|event| event.position) {
                        self.state = State::Reading { after: Some(position) };
                        let partition = Partition::whole_log();
                        return Ok(Delivery::Events(Batch { partition, after, events, position }));
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

//! Reads the event store directly: one partition, the whole log. The store wakes it when events are
//! committed.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::Position;
use tokio::{sync::watch, time};

use super::{Batch, EventSource, Partition, Reached, SourceUpdate};
use crate::event_store::{EventLog, EventMark, EventStore, Outage, ReadError};

/// Pause after a read without events although the head is ahead. The head can move a moment before a read
/// returns the event; the pause keeps a store that stays behind from being read in a busy loop.
const PAUSE_BEHIND_HEAD: Duration = Duration::from_millis(5);

/// Follows the log of an event store.
pub struct DirectSource {
    store: Arc<dyn EventStore>,
    head: watch::Receiver<Option<Position>>,
    outage: Outage,
    batch_events_max: usize,
    state: State,
}

enum State {
    Unassigned,
    AwaitingSeek,
    Reading(Place),
}

/// Where reading continues.
#[derive(Default)]
struct Place {
    after: Option<Position>,
    /// The event whose presence proves that the log is still the one that was read.
    mark: Option<EventMark>,
    /// True once the log was compared with this place.
    is_checked: bool,
}

impl From<Option<Reached>> for Place {
    fn from(reached: Option<Reached>) -> Self {
        reached.map_or_else(Self::default, |Reached { position, last_event }| Self {
            after: Some(position),
            mark: last_event,
            is_checked: false,
        })
    }
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
        let (head, outage) = (store.head(), store.log().outage());
        Self { store, head, outage, batch_events_max, state: State::Unassigned }
    }
}

/// Fails if the log does not contain what was read up to `place`. A consumer that only compared positions
/// would wait, and would skip events once new ones pass its position.
async fn expect_in_log(log: &dyn EventLog, place: &Place) -> Result<(), ReadError> {
    if let Some(mark) = &place.mark {
        return log.expect(mark).await;
    }
    if log.last_position().await? >= place.after {
        return Ok(());
    }
    let position = place.after.unwrap_or_default();
    Err(ReadError::WentBack(format!("it ends before position {position}, which was read before").into()))
}

#[async_trait]
impl EventSource for DirectSource {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        loop {
            match &mut self.state {
                State::Unassigned => {
                    self.state = State::AwaitingSeek;
                    return Ok(SourceUpdate::Assigned(vec![Partition::whole_log()]));
                }
                State::AwaitingSeek => std::future::pending::<()>().await,
                State::Reading(place) => {
                    let head = *self.head.borrow_and_update();
                    let log = self.store.log();
                    if !place.is_checked || head < place.after {
                        expect_in_log(&*log, place).await?;
                        place.is_checked = true;
                    }
                    if head <= place.after {
                        tokio::select! {
                            changed = self.head.changed() => if changed.is_err() {
                                return Err(ReadError::Unavailable("the event store has stopped".into()));
                            },
                            cause = self.outage.cause() => return Err(cause),
                        }
                        continue;
                    }
                    let events = match &place.mark {
                        // Rebuilt rows may reflect events after the position; their mark is later.
                        Some(mark) if Some(mark.position) == place.after => {
                            log.read_after(mark, self.batch_events_max).await?
                        }
                        _ => log.read_all(place.after, self.batch_events_max).await?,
                    };
                    let Some(last) = events.last() else {
                        time::sleep(PAUSE_BEHIND_HEAD).await;
                        continue;
                    };
                    let (after, position, mark) = (place.after, last.position, EventMark::from(last));
                    *place = Place { after: Some(position), mark: Some(mark), is_checked: true };
                    let partition = Partition::whole_log();
                    return Ok(SourceUpdate::Events(Batch { partition, after, events, position }));
                }
            }
        }
    }

    fn seek(&mut self, partition: &Partition, reached: Option<Reached>) {
        if *partition == Partition::whole_log() {
            self.state = State::Reading(reached.into());
        }
    }
}

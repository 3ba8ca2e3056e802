//! The read half. Every read goes to the leader, because only the leader has all acknowledged events.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Position, RecordedEvent, Revision, StreamName, Timestamp};
use eventstore::StreamPosition;
use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::{
    appends::raise,
    config::EventStoreDbConfig,
    connection::Connection,
    errors::EventStoreDbOpenError,
    identity,
    server::{NUMBER_MAX, Server, begin_at, recorded_at},
    times::KnownTimes,
    window::Window,
};
use crate::event_store::{EventLog, EventMark, Outage, ReadError, eventstoredb::EventStoreDbOptions};

/// Concurrent stream lookups.
const LOOKUPS_MAX: usize = 64;
/// Events per page of a search backwards from the end of the log: the first page, the second, and the largest.
const FIRST_LOOK_BACK: usize = 1;
const LOOK_BACK_MIN: usize = 64;
const LOOK_BACK_MAX: usize = 512;
/// Events per page of a search for a time.
const TIMES_PER_PAGE: usize = 256;

/// The read half of a store.
#[derive(Debug)]
pub struct EventStoreDbLog {
    store_id: Uuid,
    server: Server,
    /// `None` for a log that is only read: then each read goes to the server.
    window: Option<Arc<Window>>,
    times: Arc<KnownTimes>,
}

impl EventStoreDbLog {
    /// Connects to a server that already holds an Orderly store. Writes nothing.
    pub async fn open_read_only(
        config: EventStoreDbConfig,
        options: EventStoreDbOptions,
    ) -> Result<Self, EventStoreDbOpenError> {
        let connection = Arc::new(Connection::new(config, &options)?);
        let store_id = identity::read(&connection)
            .await?
            .ok_or_else(|| EventStoreDbOpenError::NotAStore { server: connection.server() })?;
        identity::check_rights(&connection).await?;
        Ok(Self::new(connection, store_id))
    }

    pub(super) fn new(connection: Arc<Connection>, store_id: Uuid) -> Self {
        Self { store_id, server: Server::new(connection), window: None, times: Arc::default() }
    }

    /// Reads what the window has from the window.
    pub(super) fn over(self, window: Arc<Window>) -> Self {
        Self { window: Some(window), ..self }
    }

    pub(super) fn connection(&self) -> &Connection {
        self.server.connection()
    }

    pub(super) fn times(&self) -> &Arc<KnownTimes> {
        &self.times
    }

    /// Reads the server until a page has events of Orderly, or the log ends. `mark` names the event at `after`,
    /// if the log must still have it.
    async fn read_server(
        &self,
        after: Option<Position>,
        mark: Option<&EventMark>,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut from = after.map_or(StreamPosition::Start, begin_at);
        let mut unchecked = mark;
        loop {
            let page = match self.server.forwards(from, after, limit).await {
                Ok(page) => page,
                Err(error) => {
                    let Some(mark) = unchecked else { return Err(error) };
                    // The server cannot read at a position where no event begins, and answers as if it had
                    // failed. The stream shows whether the event is still there.
                    return Err(if self.has(mark).await? { error } else { ReadError::went_back(mark) });
                }
            };
            if let Some(mark) = unchecked.take()
                && page.before.as_ref().map(EventMark::from).as_ref() != Some(mark)
            {
                return Err(ReadError::went_back(mark));
            }
            if let Some(last) = page.events.last() {
                self.times.note(last.position, last.recorded_at);
                return Ok(page.events);
            }
            match page.next {
                // A page of foreign events only: the next one may hold events of Orderly.
                Some(next) => from = StreamPosition::Position(next),
                None => return Ok(page.events),
            }
        }
    }
}

#[async_trait]
impl EventLog for EventStoreDbLog {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        if limit == 0 || from >= NUMBER_MAX {
            return Ok(Vec::new());
        }
        let events = self.server.stream(stream, from, limit).await?;
        if let Some(first) = events.first() {
            self.times.note(first.position, first.recorded_at);
        }
        Ok(events)
    }

    async fn last_of(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        self.server.last_of(stream).await
    }

    /// Reads the server: the events of an append are there together, which the window does not show.
    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        if limit == 0 || after.is_some_and(|after| after >= NUMBER_MAX) {
            return Ok(Vec::new());
        }
        self.read_server(after, None, limit).await
    }

    async fn read_back(
        &self,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let before = before.filter(|before| *before < NUMBER_MAX);
        let mut from = before.map_or(StreamPosition::End, begin_at);
        loop {
            let page = self.server.back(from, limit).await?;
            match page.next.filter(|_| page.events.is_empty()) {
                // A page of foreign events only.
                Some(earlier) => from = StreamPosition::Position(earlier),
                None => return Ok(page.events),
            }
        }
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        let look_up = async |name: &StreamName| Ok(!self.read_stream(name, 0, 1).await?.is_empty());
        stream::iter(streams).map(look_up).buffered(LOOKUPS_MAX).try_collect().await
    }

    /// Reads the window if it has the next event. Else reads the server, whose page includes the event at the
    /// given position, so the check costs no further request.
    async fn read_after(&self, mark: &EventMark, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        if mark.position >= NUMBER_MAX {
            return Err(ReadError::went_back(mark));
        }
        match self.window.as_ref().and_then(|window| window.page_after(mark, limit)) {
            Some(events) => Ok(events),
            None => self.read_server(Some(mark.position), Some(mark), limit).await,
        }
    }

    /// Reads the server, because other processes write too. Searches no further back than the reader has read.
    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        let known = self.window.as_ref().and_then(|window| Some((window.covered()?, window.last_event()?)));
        let (mut from, mut count) = (StreamPosition::End, FIRST_LOOK_BACK);
        loop {
            let page = self.server.backwards(from, count, |_| true).await?;
            if let (Some(event), Some(window)) = (&page.found, &self.window) {
                raise(window.seen(), Some(event.position));
            }
            let Some(earlier) = page.earlier.filter(|_| page.found.is_none()) else { return Ok(page.found) };
            if let Some((_, last)) = known.as_ref().filter(|(covered, _)| earlier.commit <= *covered) {
                return Ok(Some(last.clone()));
            }
            from = StreamPosition::Position(earlier);
            count = (count * 8).clamp(LOOK_BACK_MIN, LOOK_BACK_MAX);
        }
    }

    /// Reads backwards from the nearest known event, or from the end of the log.
    async fn position_before(&self, time: Timestamp) -> Result<Option<Position>, ReadError> {
        let mut from = self.times.first_since(time).map_or(StreamPosition::End, begin_at);
        loop {
            let is_earlier =
                move |event: &eventstore::RecordedEvent| recorded_at(event).is_some_and(|at| at < time);
            let page = self.server.backwards(from, TIMES_PER_PAGE, is_earlier).await?;
            if let Some((position, recorded_at)) = page.first {
                self.times.note(position, recorded_at);
            }
            let Some(earlier) = page.earlier.filter(|_| page.found.is_none()) else {
                return Ok(page.found.map(|event| event.position));
            };
            from = StreamPosition::Position(earlier);
        }
    }

    /// The reader compares the log with the last event of the window each time that it subscribes.
    fn last_followed(&self, mark: &EventMark) -> Option<RecordedEvent> {
        self.window.as_ref()?.last_since(mark)
    }

    fn outage(&self) -> Outage {
        self.window.as_ref().map(|window| Outage::from(window.outage())).unwrap_or_default()
    }

    fn store_id(&self) -> Uuid {
        self.store_id
    }
}

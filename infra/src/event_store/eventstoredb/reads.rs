//! The read half. Every read goes to the leader, because only the leader has all acknowledged events.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{EventId, Position, RecordedEvent, Revision, StreamName, Timestamp};
use eventstore::{Error, ReadAllOptions, ReadStream, ReadStreamOptions, StreamPosition};
use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use super::{
    config::EventStoreDbConfig,
    connection::{CallError, Connection},
    errors::EventStoreDbOpenError,
    identity,
};
use crate::event_store::{EventLog, EventMark, ReadError, eventstoredb::EventStoreDbOptions};

/// A read ends with the event that reaches this number of bytes.
const READ_BYTES_MAX: usize = 4 << 20;
/// The server's largest position and revision. Numbers beyond it have other meanings, such as the end.
const NUMBER_MAX: u64 = i64::MAX as u64;
/// Concurrent stream lookups.
const LOOKUPS_MAX: usize = 64;
/// Spare room in a page of the whole log for foreign events, such as those of the server itself.
const FOREIGN_EVENTS: usize = 32;
/// Events per page of a search backwards from the end of the log: the first page, then each further page.
const FIRST_LOOK_BACK: usize = 1;
const LOOK_BACK: usize = 64;
/// Events per page of a search for a time.
const TIMES_PER_PAGE: usize = 256;

/// The read half of a store.
#[derive(Debug)]
pub struct EventStoreDbLog {
    store_id: Uuid,
    connection: Arc<Connection>,
}

/// A page of the whole log.
struct LogPage {
    /// The event at the position after which the page begins.
    before: Option<RecordedEvent>,
    events: Vec<RecordedEvent>,
    /// The position of the last event of a full page; the next page begins there. `None` at the end of the
    /// log, and if a bound stopped the read.
    next: Option<eventstore::Position>,
}

impl EventStoreDbLog {
    /// Connects to a server that already holds an Orderly store. Writes nothing.
    pub async fn open_read_only(
        config: EventStoreDbConfig,
        options: EventStoreDbOptions,
    ) -> Result<Self, EventStoreDbOpenError> {
        let connection = Arc::new(Connection::new(config, options.call_time_max));
        let store_id = identity::read(&connection)
            .await?
            .ok_or_else(|| EventStoreDbOpenError::NotAStore { server: connection.server() })?;
        Ok(Self::new(connection, store_id))
    }

    pub(super) fn new(connection: Arc<Connection>, store_id: Uuid) -> Self {
        Self { store_id, connection }
    }

    /// Reads one page of the server and keeps its events of Orderly, at most `limit` after `after`.
    async fn page(
        &self,
        from: StreamPosition<eventstore::Position>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<LogPage, ReadError> {
        let count = server_count(limit.saturating_add(FOREIGN_EVENTS));
        let options =
            ReadAllOptions::default().forwards().position(from).max_count(count).requires_leader(true);
        let read = |client: eventstore::Client| async move {
            let mut found = client.read_all(&options).await?;
            let (mut own, mut before, mut bytes, mut seen, mut last) = (Vec::new(), None, 0, 0, None);
            while bytes < READ_BYTES_MAX
                && own.len() < limit
                && let Some(event) = next(&mut found).await?
            {
                (seen, last) = (seen + 1, Some(event.position));
                let Ok(stream) = event.stream_id.parse() else { continue };
                if Some(event.position.commit) > after {
                    bytes += size(&event);
                    own.push((event, stream));
                } else {
                    // The server's page includes the event at the given position.
                    before = Some((event, stream));
                }
            }
            Ok((before, own, last.filter(|_| seen == count)))
        };
        let (before, own, next) = self.connection.call(read).await?;
        let read = |(event, stream)| recorded_event(event, stream);
        Ok(LogPage {
            before: before.map(read).transpose()?,
            events: own.into_iter().map(read).collect::<Result<_, _>>()?,
            next,
        })
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
        let options = ReadStreamOptions::default()
            .forwards()
            .position(StreamPosition::Position(from))
            .max_count(server_count(limit))
            .requires_leader(true);
        let name = stream.to_string();
        let read = |client: eventstore::Client| async move {
            let mut found = client.read_stream(name, &options).await?;
            let (mut events, mut bytes) = (Vec::new(), 0);
            while bytes < READ_BYTES_MAX
                && let Some(event) = next(&mut found).await?
            {
                bytes += size(&event);
                events.push(event);
            }
            Ok(events)
        };
        match self.connection.call(read).await {
            Ok(events) => events.into_iter().map(|event| recorded_event(event, stream.clone())).collect(),
            Err(CallError::Failed(Error::ResourceNotFound)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut events = Vec::new();
        let mut from = match after {
            _ if limit == 0 => return Ok(events),
            Some(after) if after >= NUMBER_MAX => return Ok(events),
            Some(after) => StreamPosition::Position(eventstore::Position { commit: after, prepare: after }),
            None => StreamPosition::Start,
        };
        loop {
            let page = self.page(from, after, limit).await?;
            events.extend(page.events);
            match page.next {
                // A page of foreign events only: the next one may hold events of Orderly.
                Some(next) if events.is_empty() => from = StreamPosition::Position(next),
                _ => return Ok(events),
            }
        }
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        let look_up = async |name: &StreamName| Ok(!self.read_stream(name, 0, 1).await?.is_empty());
        stream::iter(streams).map(look_up).buffered(LOOKUPS_MAX).try_collect().await
    }

    /// The server's page includes the event at the given position, so this costs no further request.
    async fn read_after(&self, mark: &EventMark, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        let after = mark.position;
        if after >= NUMBER_MAX {
            return Err(ReadError::went_back(mark));
        }
        let from = StreamPosition::Position(eventstore::Position { commit: after, prepare: after });
        let page = match self.page(from, Some(after), limit).await {
            Ok(page) => page,
            // The server cannot read at a position where no event begins, and answers as if it had failed. The
            // stream shows whether the event is still there.
            Err(error) if self.has(mark).await? => return Err(error),
            Err(_) => return Err(ReadError::went_back(mark)),
        };
        if page.before.as_ref().map(EventMark::from).as_ref() != Some(mark) {
            return Err(ReadError::went_back(mark));
        }
        match page.next {
            // A page of foreign events only.
            Some(_) if page.events.is_empty() => self.read_all(Some(after), limit).await,
            _ => Ok(page.events),
        }
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        last_event(&self.connection, None).await
    }

    /// Reads backwards from the end of the log: the server takes no position but that of an event.
    async fn position_before(&self, time: Timestamp) -> Result<Option<Position>, ReadError> {
        let mut from = StreamPosition::End;
        loop {
            let options = ReadAllOptions::default()
                .backwards()
                .position(from)
                .max_count(TIMES_PER_PAGE)
                .requires_leader(true);
            let read = |client: eventstore::Client| async move {
                let mut events = client.read_all(&options).await?;
                let (mut found, mut seen, mut last) = (None, 0, None);
                // Reads to the end of the page: a connection allows only some reads to be broken off.
                while let Some(event) = next(&mut events).await? {
                    (seen, last) = (seen + 1, Some(event.position));
                    if found.is_none()
                        && event.stream_id.parse::<StreamName>().is_ok()
                        && recorded_at(&event).is_some_and(|at| at < time)
                    {
                        found = Some(event.position.commit);
                    }
                }
                Ok((found, last.filter(|_| seen == TIMES_PER_PAGE)))
            };
            match self.connection.call(read).await? {
                (None, Some(earlier)) => from = StreamPosition::Position(earlier),
                (found, _) => return Ok(found),
            }
        }
    }

    fn store_id(&self) -> Uuid {
        self.store_id
    }
}

/// The last event of Orderly, if it is after `since`. Searches back no further than `since`.
pub(super) async fn last_event(
    connection: &Connection,
    since: Option<Position>,
) -> Result<Option<RecordedEvent>, ReadError> {
    let (mut from, mut count) = (StreamPosition::End, FIRST_LOOK_BACK);
    loop {
        let options =
            ReadAllOptions::default().backwards().position(from).max_count(count).requires_leader(true);
        let read = |client: eventstore::Client| async move {
            let mut found = client.read_all(&options).await?;
            let (mut seen, mut last) = (0, None);
            while let Some(event) = next(&mut found).await? {
                (seen, last) = (seen + 1, Some(event.position));
                if let Ok(stream) = event.stream_id.parse::<StreamName>() {
                    return Ok((Some((event, stream)), None));
                }
            }
            Ok((None, last.filter(|_| seen == count)))
        };
        match connection.call(read).await? {
            (Some((event, stream)), _) => {
                let is_new = Some(event.position.commit) > since;
                return is_new.then(|| recorded_event(event, stream)).transpose();
            }
            (None, Some(earlier)) if Some(earlier.commit) > since => {
                (from, count) = (StreamPosition::Position(earlier), LOOK_BACK);
            }
            (None, _) => return Ok(None),
        }
    }
}

async fn next(found: &mut ReadStream) -> eventstore::Result<Option<eventstore::RecordedEvent>> {
    Ok(found.next().await?.and_then(|event| event.event))
}

fn size(event: &eventstore::RecordedEvent) -> usize {
    event.data.len() + event.custom_metadata.len()
}

/// A limit that the server accepts.
fn server_count(limit: usize) -> usize {
    limit.min(usize::try_from(NUMBER_MAX).unwrap_or(usize::MAX))
}

fn recorded_event(event: eventstore::RecordedEvent, stream: StreamName) -> Result<RecordedEvent, ReadError> {
    let recorded_at = recorded_at(&event).ok_or_else(|| {
        let what = format!("the time of the event at position {} is unreadable", event.position.commit);
        ReadError::Corrupt(what.into())
    })?;
    Ok(RecordedEvent {
        position: event.position.commit,
        stream,
        revision: event.revision,
        id: EventId(event.id),
        type_name: event.event_type.into(),
        data: event.data.as_ref().into(),
        metadata: event.custom_metadata.as_ref().into(),
        recorded_at,
        damage: None,
    })
}

/// The server counts time in ticks of 100 ns since 1970. The client library would truncate it to seconds.
fn recorded_at(event: &eventstore::RecordedEvent) -> Option<Timestamp> {
    let ticks: i64 = event.metadata.get("created")?.parse().ok()?;
    Timestamp::from_microsecond(ticks / 10).ok()
}

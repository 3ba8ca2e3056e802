//! Reading. From the leader, which alone has everything that was acknowledged.

use std::sync::Arc;

use domain::{EventId, Position, RecordedEvent, Revision, StreamName, Timestamp};
use eventstore::{Error, ReadAllOptions, ReadStream, ReadStreamOptions, StreamPosition};
use futures::{StreamExt, TryStreamExt, stream};

use super::connection::Connection;
use crate::event_store::ReadError;

/// What one read returns at most; the first event is returned whatever its size.
const READ_BYTES_MAX: usize = 4 << 20;
/// The server counts to here; positions and revisions beyond it mean something else, such as the end.
const NUMBER_MAX: u64 = i64::MAX as u64;
/// Streams looked up at once.
const LOOKUPS_MAX: usize = 64;
/// Events of others, such as the server's own, that one page of the whole log has room for.
const FOREIGN_EVENTS: usize = 32;
/// How far a look back from the end of the log goes at once: one event, and then pages.
const FIRST_LOOK_BACK: usize = 1;
const LOOK_BACK: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Reader {
    connection: Arc<Connection>,
}

/// A page of the whole log.
struct Page {
    events: Vec<RecordedEvent>,
    /// Where the next page begins, if there may be one.
    next: Option<eventstore::Position>,
}

impl Reader {
    pub fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    pub async fn read_stream(
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
            .max_count(countable(limit))
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
            Err(super::connection::CallError::Failed(Error::ResourceNotFound)) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn read_all(
        &self,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
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
                // Where a page held nothing but events of others, the next one may hold some of ours.
                Some(next) if events.is_empty() => from = StreamPosition::Position(next),
                _ => return Ok(events),
            }
        }
    }

    /// Our events, at most `limit`, in the next part of the log.
    async fn page(
        &self,
        from: StreamPosition<eventstore::Position>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let count = countable(limit.saturating_add(FOREIGN_EVENTS));
        let options =
            ReadAllOptions::default().forwards().position(from).max_count(count).requires_leader(true);
        let read = |client: eventstore::Client| async move {
            let mut found = client.read_all(&options).await?;
            let (mut ours, mut bytes, mut seen, mut last) = (Vec::new(), 0, 0, None);
            while bytes < READ_BYTES_MAX
                && ours.len() < limit
                && let Some(event) = next(&mut found).await?
            {
                (seen, last) = (seen + 1, Some(event.position));
                // The server begins with the event at the position it is given.
                if Some(event.position.commit) > after
                    && let Ok(stream) = event.stream_id.parse()
                {
                    bytes += size(&event);
                    ours.push((event, stream));
                }
            }
            Ok((ours, last.filter(|_| seen == count)))
        };
        let (ours, next) = self.connection.call(read).await?;
        let events = ours.into_iter().map(|(event, stream)| recorded_event(event, stream));
        Ok(Page { events: events.collect::<Result<_, _>>()?, next })
    }

    /// Which of these streams have events.
    pub async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        let look_up = async |name: &StreamName| Ok(!self.read_stream(name, 0, 1).await?.is_empty());
        stream::iter(streams).map(look_up).buffered(LOOKUPS_MAX).try_collect().await
    }

    /// The position of the last event of ours, if it is after `since`; looks no further back than that.
    pub async fn last_position(&self, since: Option<Position>) -> Result<Option<Position>, ReadError> {
        let (mut from, mut count) = (StreamPosition::End, FIRST_LOOK_BACK);
        loop {
            let options =
                ReadAllOptions::default().backwards().position(from).max_count(count).requires_leader(true);
            let read = |client: eventstore::Client| async move {
                let mut found = client.read_all(&options).await?;
                let (mut seen, mut last) = (0, None);
                while let Some(event) = next(&mut found).await? {
                    (seen, last) = (seen + 1, Some(event.position));
                    if event.stream_id.parse::<StreamName>().is_ok() {
                        return Ok((Some(event.position.commit), None));
                    }
                }
                Ok((None, last.filter(|_| seen == count)))
            };
            match self.connection.call(read).await? {
                (Some(found), _) => return Ok(Some(found).filter(|found| Some(*found) > since)),
                (None, Some(earlier)) if Some(earlier.commit) > since => {
                    (from, count) = (StreamPosition::Position(earlier), LOOK_BACK);
                }
                (None, _) => return Ok(None),
            }
        }
    }
}

async fn next(found: &mut ReadStream) -> eventstore::Result<Option<eventstore::RecordedEvent>> {
    Ok(found.next().await?.and_then(|event| event.event))
}

fn size(event: &eventstore::RecordedEvent) -> usize {
    event.data.len() + event.custom_metadata.len()
}

fn countable(limit: usize) -> usize {
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
    })
}

/// The server's time is in ticks of 100 ns since 1970; the library's own reading of it is cut to seconds.
fn recorded_at(event: &eventstore::RecordedEvent) -> Option<Timestamp> {
    let ticks: i64 = event.metadata.get("created")?.parse().ok()?;
    Timestamp::from_microsecond(ticks / 10).ok()
}

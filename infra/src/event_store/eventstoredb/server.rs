//! Reads of the server, each to the end of its answer.
//!
//! An answer that is broken off resets its stream. The HTTP/2 library allows 1,024 such resets and then ends the
//! connection, with all calls that are under way. So a read asks for no more events than its caller wants, takes
//! what it needs, and reads on to the trailers. It runs in a task of its own, so that a caller who stops waiting
//! does not break it off. Only a read that gets no answer in time is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use domain::{EventId, Position, RecordedEvent, Revision, StreamName, Timestamp};
use eventstore::{Client, Error, ReadAllOptions, ReadEvent, ReadStream, ReadStreamOptions, StreamPosition};

use super::connection::{CallError, CallKind, Connection};
use crate::event_store::ReadError;

/// A page keeps the event that reaches this number of bytes, and none after it.
pub(super) const READ_BYTES_MAX: usize = 4 << 20;
/// The server's largest position and revision. Numbers beyond it have other meanings, such as the end.
pub(super) const NUMBER_MAX: u64 = i64::MAX as u64;
/// Events in an answer. Fewer while the events are large.
const PAGE_EVENTS_MAX: usize = 4_096;
/// Spare room in a page of the whole log for foreign events, such as those of the server itself.
const FOREIGN_EVENTS: usize = 32;

#[derive(Debug)]
pub(super) struct Server {
    connection: Arc<Connection>,
    /// Bound on the events of an answer that keeps answers near [`READ_BYTES_MAX`].
    page_events: AtomicUsize,
}

/// A page of the whole log, in the order in which it was read.
pub(super) struct Page {
    /// The event of Orderly at the position where the page begins, if that is not a later one.
    pub before: Option<RecordedEvent>,
    pub events: Vec<RecordedEvent>,
    /// Position of the last event of a full page, which may be foreign: the next page begins there. `None` at
    /// the end of the log.
    pub next: Option<eventstore::Position>,
}

/// The result of a search backwards in one page of the whole log.
pub(super) struct Search {
    /// The last event of Orderly that matched.
    pub found: Option<RecordedEvent>,
    /// Position of the first event of a full page: the next page ends before it. `None` at the beginning of the
    /// log.
    pub earlier: Option<eventstore::Position>,
    /// Position and time of the first event of Orderly in the page.
    pub first: Option<(Position, Timestamp)>,
}

/// Events up to the bounds of a page.
struct Kept {
    events: Vec<(eventstore::RecordedEvent, StreamName)>,
    limit: usize,
    bytes: usize,
    /// True if the bound on bytes left an event out.
    is_cut: bool,
}

impl Kept {
    fn new(limit: usize) -> Self {
        Self { events: Vec::new(), limit, bytes: 0, is_cut: false }
    }

    fn offer(&mut self, event: eventstore::RecordedEvent, stream: StreamName) {
        if self.events.len() >= self.limit {
            return;
        }
        self.is_cut |= self.bytes >= READ_BYTES_MAX;
        if !self.is_cut {
            self.bytes += event.data.len() + event.custom_metadata.len();
            self.events.push((event, stream));
        }
    }

    fn into_events(self) -> Result<Vec<RecordedEvent>, ReadError> {
        self.events.into_iter().map(|(event, stream)| recorded_event(event, stream)).collect()
    }
}

impl Server {
    pub fn new(connection: Arc<Connection>) -> Self {
        Self { connection, page_events: AtomicUsize::new(PAGE_EVENTS_MAX) }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// At most `limit` events of a stream, in order, from revision `from` on.
    pub async fn stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let limit = limit.min(self.page_events.load(Ordering::Relaxed));
        let options = ReadStreamOptions::default()
            .forwards()
            .position(StreamPosition::Position(from))
            .max_count(limit)
            .requires_leader(true);
        let name = stream.clone();
        let read = move |client: Client| async move {
            let mut kept = Kept::new(limit);
            let mut answer = client.read_stream(name.to_string(), &options).await?;
            let each = |event| kept.offer(event, name.clone());
            match read_to_end(&mut answer, each).await {
                Ok(()) | Err(Error::ResourceNotFound) => Ok(kept),
                Err(error) => Err(error),
            }
        };
        let kept = self.call(CallKind::StreamRead, read).await?;
        self.adapt(&kept);
        kept.into_events()
    }

    /// The last event of a stream.
    pub async fn last_of(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        let options = ReadStreamOptions::default()
            .backwards()
            .position(StreamPosition::End)
            .max_count(1)
            .requires_leader(true);
        let name = stream.clone();
        let read = move |client: Client| async move {
            let mut last = None;
            let mut answer = client.read_stream(name.to_string(), &options).await?;
            match read_to_end(&mut answer, |event| last = Some((event, name.clone()))).await {
                Ok(()) | Err(Error::ResourceNotFound) => Ok(last),
                Err(error) => Err(error),
            }
        };
        let last = self.call(CallKind::StreamRead, read).await?;
        last.map(|(event, stream)| recorded_event(event, stream)).transpose()
    }

    /// One page of the whole log, from the event at position `from` on: at most `limit` events of Orderly after
    /// position `after`. May have none although there are later ones.
    pub async fn forwards(
        &self,
        from: StreamPosition<eventstore::Position>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let limit = limit.min(self.page_events.load(Ordering::Relaxed));
        let count = limit + FOREIGN_EVENTS;
        let options =
            ReadAllOptions::default().forwards().position(from).max_count(count).requires_leader(true);
        let read = move |client: Client| async move {
            let (mut kept, mut before, mut seen, mut last) = (Kept::new(limit), None, 0, None);
            let mut answer = client.read_all(&options).await?;
            read_to_end(&mut answer, |event| {
                (seen, last) = (seen + 1, Some(event.position));
                let Ok(stream) = event.stream_id.parse::<StreamName>() else { return };
                if Some(event.position.commit) > after {
                    kept.offer(event, stream);
                } else {
                    before = Some((event, stream));
                }
            })
            .await?;
            Ok((kept, before, last.filter(|_| seen == count)))
        };
        let (kept, before, next) = self.call(CallKind::AllRead, read).await?;
        self.adapt(&kept);
        let before = before.map(|(event, stream)| recorded_event(event, stream)).transpose()?;
        Ok(Page { before, events: kept.into_events()?, next })
    }

    /// One page of the whole log before `from`, the latest event first: at most `limit` events of Orderly. May have none
    /// although there are earlier ones.
    pub async fn back(
        &self,
        from: StreamPosition<eventstore::Position>,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let limit = limit.min(self.page_events.load(Ordering::Relaxed));
        let count = limit + FOREIGN_EVENTS;
        let options =
            ReadAllOptions::default().backwards().position(from).max_count(count).requires_leader(true);
        let read = move |client: Client| async move {
            let (mut kept, mut seen, mut last) = (Kept::new(limit), 0, None);
            let mut answer = client.read_all(&options).await?;
            read_to_end(&mut answer, |event| {
                (seen, last) = (seen + 1, Some(event.position));
                if let Ok(stream) = event.stream_id.parse::<StreamName>() {
                    kept.offer(event, stream);
                }
            })
            .await?;
            Ok((kept, last.filter(|_| seen == count)))
        };
        let (kept, next) = self.call(CallKind::AllRead, read).await?;
        self.adapt(&kept);
        Ok(Page { before: None, events: kept.into_events()?, next })
    }

    /// Searches `count` events before `from` for the last event of Orderly that matches.
    pub async fn backwards(
        &self,
        from: StreamPosition<eventstore::Position>,
        count: usize,
        matches: impl Fn(&eventstore::RecordedEvent) -> bool + Clone + Send + Sync + 'static,
    ) -> Result<Search, ReadError> {
        let options =
            ReadAllOptions::default().backwards().position(from).max_count(count).requires_leader(true);
        let read = move |client: Client| async move {
            let (mut found, mut seen, mut last, mut first) = (None, 0, None, None);
            let mut answer = client.read_all(&options).await?;
            read_to_end(&mut answer, |event| {
                (seen, last) = (seen + 1, Some(event.position));
                let Ok(stream) = event.stream_id.parse::<StreamName>() else { return };
                first = recorded_at(&event).map(|at| (event.position.commit, at)).or(first);
                if found.is_none() && matches(&event) {
                    found = Some((event, stream));
                }
            })
            .await?;
            Ok((found, last.filter(|_| seen == count), first))
        };
        let (found, earlier, first) = self.call(CallKind::AllRead, read).await?;
        let found = found.map(|(event, stream)| recorded_event(event, stream)).transpose()?;
        Ok(Search { found, earlier, first })
    }

    async fn call<T, F>(
        &self,
        kind: CallKind,
        read: impl FnOnce(Client) -> F + Clone + Send + 'static,
    ) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Future<Output = eventstore::Result<T>> + Send,
    {
        let connection = self.connection.clone();
        let answer = tokio::spawn(async move { connection.call(kind, read).await }).await;
        let answer = answer.unwrap_or_else(|error| Err(CallError::NotConnected(error.to_string().into())));
        if let Err(CallError::TimedOut(_)) = &answer {
            self.bound_page(self.page_events.load(Ordering::Relaxed) / 2);
        }
        answer
    }

    fn adapt(&self, kept: &Kept) {
        let bound = self.page_events.load(Ordering::Relaxed);
        if kept.is_cut {
            self.bound_page(kept.events.len());
        } else if kept.limit >= bound && kept.events.len() == kept.limit {
            self.bound_page(bound * 2);
        }
    }

    fn bound_page(&self, events: usize) {
        self.page_events.store(events.clamp(1, PAGE_EVENTS_MAX), Ordering::Relaxed);
    }
}

/// Gives each event of an answer to `each`. Reads to the trailers, also if the stream does not exist.
pub(super) async fn read_to_end(
    answer: &mut ReadStream,
    mut each: impl FnMut(eventstore::RecordedEvent),
) -> eventstore::Result<()> {
    let mut is_missing = false;
    loop {
        match answer.next_read_event().await {
            Ok(Some(ReadEvent::Event(found))) => found.event.into_iter().for_each(&mut each),
            Ok(Some(_)) => {}
            Ok(None) if is_missing => return Err(Error::ResourceNotFound),
            Ok(None) => return Ok(()),
            Err(Error::ResourceNotFound) => is_missing = true,
            Err(error) => return Err(error),
        }
    }
}

/// The server's form of a position. Commit and prepare position are equal for events without a transaction.
pub(super) fn begin_at(position: Position) -> StreamPosition<eventstore::Position> {
    StreamPosition::Position(eventstore::Position { commit: position, prepare: position })
}

pub(super) fn recorded_event(
    event: eventstore::RecordedEvent,
    stream: StreamName,
) -> Result<RecordedEvent, ReadError> {
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
pub(super) fn recorded_at(event: &eventstore::RecordedEvent) -> Option<Timestamp> {
    let ticks: i64 = event.metadata.get("created")?.parse().ok()?;
    Timestamp::from_microsecond(ticks / 10).ok()
}

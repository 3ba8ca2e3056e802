//! Follows the log once for all listeners.
//!
//! The follower runs while there are listeners. It keeps the frames of the last events in a window that all listeners
//! of the whole log share, and the newest event of each stream that has listeners. So no listener has a queue, and one
//! that reads slowly costs no memory: it reads the log itself once the window has passed it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Bytes;
use domain::{Position, RecordedEvent, StreamName};
use infra::{
    event_row::EventRow,
    event_store::{EventMark, ReadError},
    log_limit::LogLimit,
    measurements::{FEED_LISTENERS, Gauge},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time,
};
use tokio_util::sync::CancellationToken;

use super::{
    FeedOptions,
    window::{Chunk, Window},
};
use crate::{LogAccess, log_event::LogEvent};

/// Time limit for finding the end of the log.
const START_MAX: Duration = Duration::from_secs(10);
/// Events of one read of the follower.
const EVENTS_PER_READ: usize = 1_000;
/// Events of one read for a listener that catches up.
const EVENTS_PER_CATCH_UP: usize = 128;
/// A listener that catches up gets as many bytes at a time, unless one event has more.
const CATCH_UP_BYTES: usize = 64 << 10;
/// Reads for listeners that catch up at the same time. A read holds up to 4 MiB of events.
const CATCH_UPS_MAX: usize = 4;
/// The shortest time between two reads of the follower.
const READ_EVERY: Duration = Duration::from_millis(20);
/// How often a log that another process writes to is read.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// The follower ends within this time after its last listener.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// The time until a failed read is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The newest event of a subject.
#[derive(Debug, Clone)]
pub(super) struct Update {
    pub position: Position,
    /// With its data, for callers with the scope `audit`.
    pub content: Bytes,
    /// For other callers.
    pub notice: Bytes,
}

impl Update {
    pub fn of(event: &RecordedEvent) -> Self {
        let metadata = event.decode_metadata().ok();
        let shown = || LogEvent::of(EventRow::of(event, metadata.as_ref()));
        let (mut content, mut notice) = (Vec::new(), Vec::new());
        shown().write_to(&mut content);
        shown().without_content().write_to(&mut notice);
        Self { position: event.position, content: content.into(), notice: notice.into() }
    }
}

/// Watches the newest event of a subject.
pub(super) type Updates = watch::Receiver<Option<Update>>;

/// What all listeners of a process share.
pub(super) struct Hub {
    log: Arc<LogAccess>,
    pub options: FeedOptions,
    /// Cancelled when the process stops.
    pub stop: CancellationToken,
    /// Cancelled when the log has lost events.
    pub went_back: CancellationToken,
    seats: Arc<Semaphore>,
    /// Listeners of the whole log.
    readers: AtomicUsize,
    follower: Mutex<Option<JoinHandle<()>>>,
    reached: watch::Sender<Position>,
    window: Mutex<Window>,
    newest: watch::Sender<Option<Update>>,
    streams: Mutex<HashMap<StreamName, Watched>>,
    catch_ups: Semaphore,
    listeners: Listeners,
}

/// Listeners by subject.
struct Listeners {
    log: Gauge,
    stream: Gauge,
    tiles: Gauge,
}

impl Listeners {
    fn of(&self, subject: &Subject) -> &Gauge {
        match subject {
            Subject::WholeLog => &self.log,
            Subject::Stream(_) => &self.stream,
            Subject::Tiles => &self.tiles,
        }
    }
}

struct Watched {
    updates: watch::Sender<Option<Update>>,
    listeners: usize,
}

/// What a listener wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    WholeLog,
    Stream(StreamName),
    Tiles,
}

/// The place of a listener. Free when dropped.
pub(super) struct Seat {
    hub: Arc<Hub>,
    subject: Subject,
    _permit: OwnedSemaphorePermit,
}

/// Why there is no seat.
#[derive(Debug)]
pub(super) enum NoSeat {
    Full,
    Log(ReadError),
}

impl Hub {
    pub fn new(log: Arc<LogAccess>, options: FeedOptions, stop: CancellationToken) -> Self {
        Self {
            log,
            options,
            stop,
            went_back: CancellationToken::new(),
            seats: Arc::new(Semaphore::new(options.listeners_max)),
            readers: AtomicUsize::new(0),
            follower: Mutex::default(),
            reached: watch::Sender::new(0),
            window: Mutex::new(Window::new(options.window_bytes_max)),
            newest: watch::Sender::new(None),
            streams: Mutex::default(),
            catch_ups: Semaphore::new(CATCH_UPS_MAX),
            listeners: Listeners {
                log: FEED_LISTENERS.with(["log"]),
                stream: FEED_LISTENERS.with(["stream"]),
                tiles: FEED_LISTENERS.with(["tiles"]),
            },
        }
    }

    /// Takes a seat. When it returns, the follower delivers every later event.
    pub async fn join(self: &Arc<Self>, subject: Subject) -> Result<Seat, NoSeat> {
        let permit = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| NoSeat::Full)?;
        let seat = Seat::take(Arc::clone(self), subject, permit);
        self.follow().await.map_err(NoSeat::Log)?;
        Ok(seat)
    }

    /// Starts the follower at the end of the log, unless it runs.
    async fn follow(self: &Arc<Self>) -> Result<(), ReadError> {
        let is_running = |follower: Option<&JoinHandle<()>>| follower.is_some_and(|it| !it.is_finished());
        if is_running(self.follower().as_ref()) {
            return Ok(());
        }
        let reading = async { self.log.get().await?.last_event().await };
        let last = time::timeout(START_MAX, reading).await.map_err(|_| {
            ReadError::Unavailable(format!("a read of the last event took over {START_MAX:?}").into())
        })??;
        let mark = last.as_ref().map(EventMark::from);
        let mut follower = self.follower();
        // Another listener may have started it meanwhile.
        if is_running(follower.as_ref()) {
            return Ok(());
        }
        self.window().clear();
        self.reached.send_replace(mark.as_ref().map_or(0, |mark| mark.position));
        *follower = Some(tokio::spawn(Arc::clone(self).run_follower(mark)));
        Ok(())
    }

    async fn run_follower(self: Arc<Self>, mut mark: Option<EventMark>) {
        static FAILURES: LogLimit = LogLimit::new(Duration::from_secs(10));
        let mut head = self.log.head();
        while !self.is_deserted() {
            match self.read_on(mark.as_ref()).await {
                Ok(events) => match events.last() {
                    Some(last) => {
                        mark = Some(last.into());
                        self.publish(&events);
                    }
                    None => self.more_events(head.as_mut()).await,
                },
                Err(error @ ReadError::WentBack(_)) => {
                    tracing::error!(%error, "The feed ends: the event log went back");
                    return self.went_back.cancel();
                }
                Err(error) => {
                    if let Some(omitted) = FAILURES.pass() {
                        tracing::warn!(%error, lines.omitted = omitted, "Cannot read new events for the feed; retrying");
                    }
                    time::sleep(RETRY_PAUSE).await;
                }
            }
            time::sleep(READ_EVERY).await;
        }
    }

    /// True if the follower ends, because there are no listeners.
    fn is_deserted(&self) -> bool {
        let mut follower = self.follower();
        let is_deserted = self.seats.available_permits() == self.options.listeners_max;
        if is_deserted {
            *follower = None;
        }
        is_deserted
    }

    async fn read_on(&self, mark: Option<&EventMark>) -> Result<Vec<RecordedEvent>, ReadError> {
        let log = self.log.get().await?;
        match mark {
            Some(mark) => log.read_after(mark, EVENTS_PER_READ).await,
            None => log.read_all(None, EVENTS_PER_READ).await,
        }
    }

    /// Waits until the log may have events beyond those that were read.
    async fn more_events(&self, head: Option<&mut watch::Receiver<Option<Position>>>) {
        let Some(head) = head else { return time::sleep(POLL_EVERY).await };
        let reached = Some(*self.reached.borrow());
        let waiting = head.wait_for(|head| *head > reached);
        let has_stopped = matches!(time::timeout(IDLE_MAX, waiting).await, Ok(Err(_)));
        if has_stopped {
            // The event store has. This process stops too.
            time::sleep(POLL_EVERY).await;
        }
    }

    fn publish(&self, events: &[RecordedEvent]) {
        let Some(last) = events.last() else { return };
        let before = *self.reached.borrow();
        if self.readers.load(Ordering::Relaxed) > 0 {
            self.window().extend(before, events);
        } else {
            self.window().clear();
        }
        let streams = self.streams();
        if !streams.is_empty() {
            let watched = events.iter().filter(|event| streams.contains_key(&event.stream));
            let newest: HashMap<&StreamName, &RecordedEvent> =
                watched.map(|event| (&event.stream, event)).collect();
            for (stream, event) in newest {
                if let Some(watched) = streams.get(stream) {
                    watched.updates.send_replace(Some(Update::of(event)));
                }
            }
        }
        drop(streams);
        self.newest.send_replace(Some(Update::of(last)));
        self.reached.send_replace(last.position);
    }

    /// Watches the position up to which the follower has read.
    pub fn reached(&self) -> watch::Receiver<Position> {
        self.reached.subscribe()
    }

    /// Frames after a position that the follower has passed, and the position of the last one. Waits and tries again
    /// while the log cannot be read.
    pub async fn frames_after(&self, position: Position) -> (Bytes, Position) {
        loop {
            if let Some(found) = self.window().after(position) {
                return found;
            }
            match self.catch_up(position).await {
                Ok(Some(chunk)) => return (chunk.bytes, chunk.last),
                Ok(None) => time::sleep(READ_EVERY).await,
                Err(error) => {
                    tracing::debug!(%error, "Cannot read earlier events for a listener of the feed; retrying");
                    time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn catch_up(&self, position: Position) -> Result<Option<Chunk>, ReadError> {
        let _turn = self.catch_ups.acquire().await;
        let after = Some(position).filter(|position| *position > 0);
        let events = self.log.get().await?.read_all(after, EVENTS_PER_CATCH_UP).await?;
        Ok((!events.is_empty()).then(|| Chunk::of(position, &events, CATCH_UP_BYTES).0))
    }

    /// The newest event of a stream or of the log, if it is later than a position.
    pub async fn missed_since(
        &self,
        position: Position,
        subject: &Subject,
    ) -> Result<Option<Update>, ReadError> {
        let log = self.log.get().await?;
        let newest = match subject {
            Subject::WholeLog => None,
            Subject::Tiles => log.last_event().await?,
            Subject::Stream(stream) => log.last_of(stream).await?,
        };
        Ok(newest.filter(|event| event.position > position).as_ref().map(Update::of))
    }

    /// The position of the last event of the log.
    pub async fn end_of_log(&self) -> Result<Position, ReadError> {
        Ok(self.log.get().await?.last_position().await?.unwrap_or(0))
    }

    fn follower(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.follower.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<StreamName, Watched>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn take(hub: Arc<Hub>, subject: Subject, permit: OwnedSemaphorePermit) -> Self {
        hub.listeners.of(&subject).increment(1.0);
        match &subject {
            Subject::WholeLog => {
                hub.readers.fetch_add(1, Ordering::Relaxed);
            }
            Subject::Stream(stream) => {
                let mut streams = hub.streams();
                let watched = streams.entry(stream.clone());
                watched.or_insert_with(Watched::new).listeners += 1;
            }
            Subject::Tiles => {}
        }
        Self { hub, subject, _permit: permit }
    }

    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Watches the newest event of the subject. `None` for the whole log, of which no event is left out.
    pub fn updates(&self) -> Option<Updates> {
        match &self.subject {
            Subject::WholeLog => None,
            Subject::Tiles => Some(self.hub.newest.subscribe()),
            Subject::Stream(stream) => {
                self.hub.streams().get(stream).map(|watched| watched.updates.subscribe())
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.listeners.of(&self.subject).decrement(1.0);
        match &self.subject {
            Subject::WholeLog => {
                self.hub.readers.fetch_sub(1, Ordering::Relaxed);
            }
            Subject::Stream(stream) => {
                let mut streams = self.hub.streams();
                if let Some(watched) = streams.get_mut(stream) {
                    watched.listeners -= 1;
                    if watched.listeners == 0 {
                        streams.remove(stream);
                    }
                }
            }
            Subject::Tiles => {}
        }
    }
}

impl Watched {
    fn new() -> Self {
        Self { updates: watch::Sender::new(None), listeners: 0 }
    }
}

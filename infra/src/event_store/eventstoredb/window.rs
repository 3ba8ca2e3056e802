//! The newest events of the log, in memory: one reader fills the window, and all followers read it.
//!
//! The window covers the log without a gap from its start to its end. It drops its oldest events above a bound
//! on bytes. A follower that is further behind reads the server, page by page, until its position is in the
//! window.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{Position, RecordedEvent};
use tokio::sync::watch;

use super::{appends::raise, server::READ_BYTES_MAX, times::KnownTimes};
use crate::event_store::{EventMark, ReadError};

/// Memory of an event besides its data and metadata, approximately.
const EVENT_OVERHEAD_BYTES: usize = 300;
/// One of so many events becomes a place from which searches for a time begin.
const EVENTS_PER_KNOWN_TIME: usize = 256;

#[derive(Debug)]
pub(super) struct Window {
    state: Mutex<State>,
    bytes_max: usize,
    /// The position of the last event that the reader has delivered.
    head: watch::Sender<Option<Position>>,
    /// The last position that this process knows of, from the reader, from reads and from its appends.
    seen: Arc<watch::Sender<Option<Position>>>,
    /// Why the reader delivers no events; `None` while it does.
    outage: watch::Sender<Option<ReadError>>,
    times: Arc<KnownTimes>,
}

#[derive(Debug)]
struct State {
    /// The event before the window; `None` if the window begins with the log.
    before: Option<EventMark>,
    events: VecDeque<RecordedEvent>,
    bytes: usize,
    /// The last event, also if the window dropped it.
    last: Option<RecordedEvent>,
    /// The reader has seen every event up to this position: an event of the window, or a later foreign one.
    covered: Option<Position>,
    feed: Feed,
    taken: usize,
}

/// Numbers the subscriptions that fill the window, one after another. Events of an earlier one are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feed(u64);

impl Window {
    /// An empty window that begins after the event `last`.
    pub fn new(last: Option<RecordedEvent>, bytes_max: usize, times: Arc<KnownTimes>) -> Self {
        let position = last.as_ref().map(|event| event.position);
        let state = State {
            before: last.as_ref().map(EventMark::from),
            events: VecDeque::new(),
            bytes: 0,
            last,
            covered: position,
            feed: Feed(0),
            taken: 0,
        };
        Self {
            state: Mutex::new(state),
            bytes_max,
            head: watch::Sender::new(position),
            seen: Arc::new(watch::Sender::new(position)),
            outage: watch::Sender::new(None),
            times,
        }
    }

    pub fn head(&self) -> watch::Receiver<Option<Position>> {
        self.head.subscribe()
    }

    /// May be ahead of the head.
    pub fn seen(&self) -> &Arc<watch::Sender<Option<Position>>> {
        &self.seen
    }

    pub fn outage(&self) -> watch::Receiver<Option<ReadError>> {
        self.outage.subscribe()
    }

    /// Waits until every receiver of the head is dropped.
    pub async fn unused(&self) {
        self.head.closed().await;
    }

    /// At most `limit` events after the event `mark`. `None` if the window does not have the next event, or has
    /// another event in place of the marked one: then the server shows what the log has. The reader delivers
    /// single events, so the page may end within an append.
    pub fn page_after(&self, mark: &EventMark, limit: usize) -> Option<Vec<RecordedEvent>> {
        let state = self.state();
        state.has(mark).then(|| state.page(mark.position, limit)).filter(|page| !page.is_empty())
    }

    /// Every event up to this position was seen.
    pub fn covered(&self) -> Option<Position> {
        self.state().covered
    }

    /// The last event that the reader has delivered, or before it has delivered one, the event before the window.
    pub fn last_event(&self) -> Option<RecordedEvent> {
        self.state().last.clone()
    }

    /// The last event, unless events between it and the event `mark` are missing here, or no reader fills the window.
    pub fn last_since(&self, mark: &EventMark) -> Option<RecordedEvent> {
        if self.outage.borrow().is_some() {
            return None;
        }
        let state = self.state();
        state.has(mark).then(|| state.last.clone()).flatten()
    }

    pub fn last_mark(&self) -> Option<EventMark> {
        self.state().last_mark()
    }

    /// Begins a feed that continues after the returned event.
    pub fn begin_feed(&self) -> (Feed, Option<EventMark>) {
        let mut state = self.state();
        state.feed.0 += 1;
        (state.feed, state.last_mark())
    }

    /// Takes the next event of a feed. Ignores one that it has, and every event of an earlier feed.
    pub fn take(&self, feed: Feed, event: RecordedEvent) {
        let position = Some(event.position);
        {
            let mut state = self.state();
            if state.feed != feed || position <= state.last_position() {
                return;
            }
            if state.taken.is_multiple_of(EVENTS_PER_KNOWN_TIME) {
                self.times.note(event.position, event.recorded_at);
            }
            state.taken += 1;
            state.push(event, self.bytes_max);
        }
        raise(&self.seen, position);
        raise(&self.head, position);
    }

    /// Notes that a feed has no further event up to this position.
    pub fn cover(&self, feed: Feed, position: Position) {
        let mut state = self.state();
        if state.feed == feed {
            state.covered = state.covered.max(Some(position));
        }
    }

    /// Reports that the reader delivers no events, until [`Window::recover`]. A log that went back empties the
    /// window for good.
    pub fn fail(&self, error: ReadError) {
        if let ReadError::WentBack(_) = error {
            let mut state = self.state();
            state.feed.0 += 1;
            (state.before, state.last, state.bytes) = (None, None, 0);
            state.events.clear();
        }
        self.outage.send_replace(Some(error));
    }

    pub fn recover(&self) {
        self.outage.send_if_modified(|outage| outage.take().is_some());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn last_mark(&self) -> Option<EventMark> {
        self.last.as_ref().map(EventMark::from)
    }

    fn last_position(&self) -> Option<Position> {
        self.last.as_ref().map(|event| event.position)
    }

    fn has(&self, mark: &EventMark) -> bool {
        if self.before.as_ref() == Some(mark) {
            return true;
        }
        let index = self.events.partition_point(|event| event.position < mark.position);
        self.events.get(index).is_some_and(|event| EventMark::from(event) == *mark)
    }

    fn page(&self, after: Position, limit: usize) -> Vec<RecordedEvent> {
        let first = self.events.partition_point(|event| event.position <= after);
        let mut bytes = 0;
        let fits = |event: &&RecordedEvent| {
            let is_within = bytes < READ_BYTES_MAX;
            bytes += event.data.len() + event.metadata.len();
            is_within
        };
        self.events.range(first..).take(limit).take_while(fits).cloned().collect()
    }

    fn push(&mut self, event: RecordedEvent, bytes_max: usize) {
        self.covered = self.covered.max(Some(event.position));
        self.bytes += memory(&event);
        self.last = Some(event.clone());
        self.events.push_back(event);
        while self.bytes > bytes_max
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= memory(&oldest);
            self.before = Some(EventMark::from(&oldest));
        }
    }
}

fn memory(event: &RecordedEvent) -> usize {
    event.data.len() + event.metadata.len() + EVENT_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests;

//! An event log in memory.

use std::sync::Mutex;

use async_trait::async_trait;
use domain::{Position, RecordedEvent, Revision, StreamName};
use infra::event_store::{EventLog, ReadError};
use tokio::sync::watch;
use uuid::Uuid;

/// The id of every log in memory.
pub const STORE_ID: Uuid = Uuid::from_u128(0x01a2_0b76_e8be_76be_ba79_aae0_ff70_14aa);

/// An event log in memory with changeable events. Positions are 1, 2, 3, …
pub struct MemoryLog {
    events: Mutex<Vec<RecordedEvent>>,
    head: watch::Sender<Option<Position>>,
}

impl MemoryLog {
    pub fn new(events: Vec<RecordedEvent>) -> Self {
        let (head, _) = watch::channel(events.last().map(|event| event.position));
        Self { events: Mutex::new(events), head }
    }

    pub fn head(&self) -> Option<Position> {
        *self.head.borrow()
    }

    pub fn head_changes(&self) -> watch::Receiver<Option<Position>> {
        self.head.subscribe()
    }

    /// Appends the events of a longer log that begins with the events of this one.
    pub fn extend(&self, longer: &[RecordedEvent]) {
        let mut events = self.events.lock().unwrap();
        let known = events.len();
        events.extend_from_slice(&longer[known..]);
        self.head.send_replace(events.last().map(|event| event.position));
    }

    pub fn change(&self, position: Position, change: impl FnOnce(&mut RecordedEvent)) {
        let mut events = self.events.lock().unwrap();
        change(events.iter_mut().find(|event| event.position == position).unwrap());
    }

    pub fn all(&self) -> Vec<RecordedEvent> {
        self.events.lock().unwrap().clone()
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let events = self.events.lock().unwrap();
        let wanted = events.iter().filter(|event| event.stream == *stream && event.revision >= from);
        Ok(wanted.take(limit).cloned().collect())
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        let events = self.events.lock().unwrap();
        Ok(events.iter().filter(|event| Some(event.position) > after).take(limit).cloned().collect())
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        Ok(self.events.lock().unwrap().last().cloned())
    }

    fn store_id(&self) -> Uuid {
        STORE_ID
    }
}

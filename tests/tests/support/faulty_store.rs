//! An event store that fails, stalls and dies on demand, in front of a working one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use domain::{OrderId, Position, RecordedEvent, Revision, StreamName};
use infra::event_store::{
    Append, AppendError, Appended, Done, Epoch, EventLog, EventMark, EventStore, ExpectedRevision, Outage,
    ReadError,
};
use tokio::sync::watch;
use uuid::Uuid;

/// Selects appends.
pub type Which = Box<dyn Fn(&Append) -> bool + Send>;

/// Selects appends with an event of this type.
pub fn appends(type_name: &'static str) -> Which {
    Box::new(move |append| append.events.iter().any(|event| event.type_name == type_name))
}

/// A fault of one append.
#[derive(Debug)]
pub enum Fault {
    /// Not written; the caller gets [`AppendError::Unavailable`].
    Refuse,
    /// Not written, because an append of another flow has just failed.
    Supersede,
    /// Written; the caller gets an unknown outcome.
    LoseAnswer,
    /// Not written; the caller gets an unknown outcome.
    LoseAppend,
    /// This append of another writer is written just before it.
    Overtake(Append),
}

/// Keeps the contract of [`EventStore`] also under faults: one answer per append, a new epoch after each
/// failed append, and held appends passed on in order.
pub struct FaultyStore {
    inner: Arc<dyn EventStore>,
    /// Behaves like a store with several writers: no dependent appends, no epochs.
    shared: bool,
    /// Epochs begun by faults, added to the epoch of the inner store.
    epochs: Arc<AtomicU64>,
    state: Mutex<State>,
    reads: Arc<Reads>,
    spoiled: Arc<Mutex<HashMap<StreamName, Spoiled>>>,
    held: watch::Sender<usize>,
}

/// A fault of all reads of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoiled {
    /// Every event has a type that this build does not know, also when the whole log is read.
    UnknownTypes,
    /// A read of the stream never ends.
    Hangs,
}

#[derive(Default)]
struct State {
    faults: Vec<(Which, Fault, Repeat)>,
    hold: Option<Hold>,
    held: Vec<(Append, Done)>,
    submitted: Vec<Append>,
    dead: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Once,
    Always,
}

struct Hold {
    which: Which,
    /// True if all appends after the first held one are held too.
    rest: bool,
}

impl FaultyStore {
    /// A store with one owning process.
    pub fn owned(inner: Arc<dyn EventStore>) -> Arc<Self> {
        Self::new(inner, false)
    }

    /// A store with several writing processes.
    pub fn shared(inner: Arc<dyn EventStore>) -> Arc<Self> {
        Self::new(inner, true)
    }

    fn new(inner: Arc<dyn EventStore>, shared: bool) -> Arc<Self> {
        let (epochs, reads, spoiled) = (Arc::default(), Arc::default(), Arc::default());
        let (state, held) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { inner, shared, epochs, state, reads, spoiled, held })
    }

    /// Applies the fault to the next selected append.
    pub fn fail_next(&self, which: Which, fault: Fault) {
        self.state().faults.push((which, fault, Repeat::Once));
    }

    /// Refuses every selected append from now on.
    pub fn refuse_all(&self, which: Which) {
        self.state().faults.push((which, Fault::Refuse, Repeat::Always));
    }

    /// Refuses every append from now on because of an earlier one, as on a full disk under load.
    pub fn supersede_all(&self) {
        self.state().faults.push((Box::new(|_| true), Fault::Supersede, Repeat::Always));
    }

    /// Holds the first selected append and all after it, like a stalled disk.
    pub fn hold_from(&self, which: Which) {
        self.state().hold = Some(Hold { which, rest: true });
    }

    /// Holds selected appends and passes on all others. Only for a shared store: a store with one owner keeps
    /// the order of appends.
    pub fn hold_only(&self, which: Which) {
        assert!(self.shared, "a store with one owner commits in the order of submission");
        self.state().hold = Some(Hold { which, rest: false });
    }

    /// Waits until `count` appends, barriers included, are held.
    pub async fn held(&self, count: usize) {
        let mut held = self.held.subscribe();
        let waiting = held.wait_for(|held| *held >= count);
        tokio::time::timeout(super::PATIENCE, waiting).await.expect("too few appends are held").unwrap();
    }

    /// Passes on the held appends in order, and stops holding.
    pub fn release(&self) {
        let mut state = self.state();
        state.hold = None;
        for (append, done) in std::mem::take(&mut state.held) {
            self.inner.submit(append, done);
        }
        self.held.send_replace(0);
    }

    /// Drops the held appends and writes nothing more, like a dead process.
    pub fn die(&self) {
        let mut state = self.state();
        state.dead = true;
        state.held.clear();
    }

    /// Waits for the appends that have reached the inner store.
    pub async fn settle(&self) {
        let (stream, expected) = (OrderId(Uuid::nil()).into(), ExpectedRevision::NoStream);
        self.inner.append(Append { stream, expected, events: Vec::new(), epoch: None }).await.unwrap();
    }

    /// The appends with events submitted so far.
    pub fn submitted(&self) -> Vec<Append> {
        self.state().submitted.clone()
    }

    /// The start revisions of all reads of a stream so far.
    pub fn reads_of(&self, stream: &StreamName) -> Vec<Revision> {
        let reads = self.reads.begun.lock().unwrap();
        reads.iter().filter(|(read, _)| read == stream).map(|(_, from)| *from).collect()
    }

    /// Reads of this stream begin and do not end until the next call.
    pub fn hang_reads_of(&self, stream: Option<StreamName>) {
        self.reads.hanging.send_replace(stream);
    }

    /// A read of a stream returns at most this many events, as if they were large.
    pub fn shorten_reads_to(&self, events: usize) {
        self.reads.events_max.store(events, Ordering::Release);
    }

    /// Spoils the reads of a stream until [`FaultyStore::heal`].
    pub fn spoil(&self, stream: impl Into<StreamName>, fault: Spoiled) {
        self.spoiled.lock().unwrap().insert(stream.into(), fault);
    }

    pub fn heal(&self, stream: impl Into<StreamName>) {
        self.spoiled.lock().unwrap().remove(&stream.into());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn begin_epoch(&self) {
        self.epochs.fetch_add(1, Ordering::AcqRel);
    }

    /// Begins a new epoch before the failed append is answered.
    fn failing(&self, done: Done, answer: impl FnOnce(Appended) -> AppendError + Send + 'static) -> Done {
        let epochs = Arc::clone(&self.epochs);
        Box::new(move |outcome| {
            epochs.fetch_add(1, Ordering::AcqRel);
            done(outcome.and_then(|appended| Err(answer(appended))));
        })
    }
}

impl State {
    fn take_fault(&mut self, append: &Append) -> Option<Fault> {
        let found = self.faults.iter().position(|(which, _, _)| which(append))?;
        match &self.faults[found] {
            (_, Fault::Refuse, Repeat::Always) => Some(Fault::Refuse),
            (_, Fault::Supersede, Repeat::Always) => Some(Fault::Supersede),
            _ => Some(self.faults.remove(found).1),
        }
    }

    fn is_held(&self, append: &Append) -> bool {
        self.hold.as_ref().is_some_and(|hold| (hold.rest && !self.held.is_empty()) || (hold.which)(append))
    }
}

#[async_trait]
impl EventStore for FaultyStore {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::new(FaultyLog {
            inner: self.inner.log(),
            reads: Arc::clone(&self.reads),
            spoiled: Arc::clone(&self.spoiled),
        })
    }

    fn submit(&self, mut append: Append, mut done: Done) {
        // The lock is held to the end, so appends reach the inner store in the order of their submission.
        let mut state = self.state();
        if state.dead {
            return done(Err(AppendError::Unavailable("the process is dead".into())));
        }
        if !append.events.is_empty() {
            state.submitted.push(append.clone());
        }
        if let Some(epoch) = append.epoch {
            let inner_epoch = self.inner.epoch();
            if epoch.0 < inner_epoch.0 + self.epochs.load(Ordering::Acquire) {
                return done(Err(AppendError::Superseded));
            }
            append.epoch = Some(inner_epoch);
        }
        match state.take_fault(&append) {
            None => {}
            Some(Fault::Refuse) => {
                self.begin_epoch();
                return done(Err(AppendError::Unavailable("refused by the test".into())));
            }
            Some(Fault::Supersede) => {
                self.begin_epoch();
                return done(Err(AppendError::Superseded));
            }
            Some(Fault::LoseAppend) => {
                self.begin_epoch();
                return done(Err(AppendError::OutcomeUnknown("lost by the test".into())));
            }
            Some(Fault::LoseAnswer) => {
                done = self.failing(done, |_| AppendError::OutcomeUnknown("lost by the test".into()));
            }
            Some(Fault::Overtake(other)) => {
                self.inner.submit(other, Box::new(|other| assert!(other.is_ok())));
            }
        }
        if state.is_held(&append) {
            state.held.push((append, done));
            self.held.send_replace(state.held.len());
        } else {
            self.inner.submit(append, done);
        }
    }

    fn accepts_dependent_appends(&self) -> bool {
        !self.shared
    }

    fn lacks(&self, stream: &StreamName) -> bool {
        !self.shared && self.inner.lacks(stream)
    }

    fn epoch(&self) -> Epoch {
        if self.shared {
            return Epoch(0);
        }
        Epoch(self.inner.epoch().0 + self.epochs.load(Ordering::Acquire))
    }

    fn head(&self) -> watch::Receiver<Option<Position>> {
        self.inner.head()
    }
}

/// The reads of streams, and their faults.
struct Reads {
    /// The stream of each read, and its first revision.
    begun: Mutex<Vec<(StreamName, Revision)>>,
    hanging: watch::Sender<Option<StreamName>>,
    events_max: AtomicUsize,
}

impl Default for Reads {
    fn default() -> Self {
        let (hanging, events_max) = (watch::Sender::new(None), AtomicUsize::new(usize::MAX));
        Self { begun: Mutex::default(), hanging, events_max }
    }
}

/// The read half of the inner store; records every read of a stream, and spoils some.
struct FaultyLog {
    inner: Arc<dyn EventLog>,
    reads: Arc<Reads>,
    spoiled: Arc<Mutex<HashMap<StreamName, Spoiled>>>,
}

impl FaultyLog {
    fn is(&self, stream: &StreamName, fault: Spoiled) -> bool {
        self.spoiled.lock().unwrap().get(stream) == Some(&fault)
    }

    fn spoil(&self, mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
        for event in &mut events {
            if self.is(&event.stream, Spoiled::UnknownTypes) {
                event.type_name = "a.newer.type.v9".into();
            }
        }
        events
    }
}

#[async_trait]
impl EventLog for FaultyLog {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.reads.begun.lock().unwrap().push((stream.clone(), from));
        let mut hanging = self.reads.hanging.subscribe();
        hanging.wait_for(|hanging| hanging.as_ref() != Some(stream)).await.unwrap();
        if self.is(stream, Spoiled::Hangs) {
            std::future::pending::<()>().await;
        }
        let limit = limit.min(self.reads.events_max.load(Ordering::Acquire));
        Ok(self.spoil(self.inner.read_stream(stream, from, limit).await?))
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        Ok(self.spoil(self.inner.read_all(after, limit).await?))
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        self.inner.exist(streams).await
    }

    async fn read_after(&self, mark: &EventMark, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        Ok(self.spoil(self.inner.read_after(mark, limit).await?))
    }

    /// Not among the recorded reads.
    async fn has(&self, mark: &EventMark) -> Result<bool, ReadError> {
        self.inner.has(mark).await
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        self.inner.last_event().await
    }

    fn outage(&self) -> Outage {
        self.inner.outage()
    }

    fn store_id(&self) -> Uuid {
        self.inner.store_id()
    }
}

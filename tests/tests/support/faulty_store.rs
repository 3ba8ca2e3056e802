//! An event store that fails, stalls and dies on demand, in front of one that works.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use domain::{OrderId, Position, RecordedEvent, Revision, StreamName};
use infra::event_store::{
    Append, AppendError, Appended, Done, Epoch, EventLog, EventStore, ExpectedRevision, ReadError,
};
use tokio::sync::watch;
use uuid::Uuid;

/// Which appends are meant.
pub type Which = Box<dyn Fn(&Append) -> bool + Send>;

/// Appends that hold an event of this type.
pub fn appends(type_name: &'static str) -> Which {
    Box::new(move |append| append.events.iter().any(|event| event.type_name == type_name))
}

/// What happens to an append.
#[derive(Debug)]
pub enum Fault {
    /// Nothing is written, and the sender is told so.
    Refuse,
    /// It is written, and the sender does not learn that.
    LoseAnswer,
    /// It is not written, and the sender does not learn that either.
    LoseAppend,
    /// Another writer's append comes just before it.
    Overtake(Append),
}

/// Keeps to the contract of [`EventStore`] whatever it is told to break: answers come once, a failed append
/// begins a new epoch, and what is held back is passed on in order.
pub struct FaultyStore {
    inner: Arc<dyn EventStore>,
    /// Behaves as a store with several writers: no dependent appends, no epochs.
    shared: bool,
    /// Epochs begun here, on top of those of the inner store.
    epochs: Arc<AtomicU64>,
    state: Mutex<State>,
    held: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    faults: Vec<(Which, Fault, Repeat)>,
    hold: Option<Hold>,
    held: Vec<(Append, Done)>,
    submitted: Vec<Append>,
    reads: Vec<(StreamName, Revision)>,
    dead: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Once,
    Always,
}

struct Hold {
    which: Which,
    /// Whether everything after the first such append is held too.
    rest: bool,
}

impl FaultyStore {
    /// A store with one owning process.
    pub fn owned(inner: Arc<dyn EventStore>) -> Arc<Self> {
        Self::new(inner, false)
    }

    /// A store that other processes write to as well.
    pub fn shared(inner: Arc<dyn EventStore>) -> Arc<Self> {
        Self::new(inner, true)
    }

    fn new(inner: Arc<dyn EventStore>, shared: bool) -> Arc<Self> {
        let (epochs, held) = (Arc::default(), watch::Sender::new(0));
        Arc::new(Self { inner, shared, epochs, state: Mutex::default(), held })
    }

    /// The next such append fails.
    pub fn fail_next(&self, which: Which, fault: Fault) {
        self.state().faults.push((which, fault, Repeat::Once));
    }

    /// Every such append is refused from now on.
    pub fn refuse_all(&self, which: Which) {
        self.state().faults.push((which, Fault::Refuse, Repeat::Always));
    }

    /// From the first such append on, nothing becomes durable: the disk stalls.
    pub fn hold_from(&self, which: Which) {
        self.state().hold = Some(Hold { which, rest: true });
    }

    /// Holds such appends and lets all others pass; only where there is no order to keep.
    pub fn hold_only(&self, which: Which) {
        assert!(self.shared, "a store with one owner commits in the order of submission");
        self.state().hold = Some(Hold { which, rest: false });
    }

    /// Waits until `count` appends, barriers included, are held.
    pub async fn held(&self, count: usize) {
        let mut held = self.held.subscribe();
        let waiting = held.wait_for(|held| *held >= count);
        tokio::time::timeout(super::PATIENCE, waiting).await.expect("nothing more is held").unwrap();
    }

    /// Passes on what is held, in order, and holds nothing any more.
    pub fn release(&self) {
        let mut state = self.state();
        state.hold = None;
        for (append, done) in std::mem::take(&mut state.held) {
            self.inner.submit(append, done);
        }
        self.held.send_replace(0);
    }

    /// As when the process dies: what is held is lost, and nothing more is written.
    pub fn die(&self) {
        let mut state = self.state();
        state.dead = true;
        state.held.clear();
    }

    /// Waits for what has reached the inner store.
    pub async fn settle(&self) {
        let (stream, expected) = (OrderId(Uuid::nil()).into(), ExpectedRevision::NoStream);
        self.inner.append(Append { stream, expected, events: Vec::new(), epoch: None }).await.unwrap();
    }

    /// The appends with events that were submitted so far.
    pub fn submitted(&self) -> Vec<Append> {
        self.state().submitted.clone()
    }

    /// From which revisions a stream was read so far.
    pub fn reads_of(&self, stream: &StreamName) -> Vec<Revision> {
        self.state().reads.iter().filter(|(read, _)| read == stream).map(|(_, from)| *from).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn begin_epoch(&self) {
        self.epochs.fetch_add(1, Ordering::AcqRel);
    }

    /// The answer to a failed append reports a new epoch, if there are any.
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
            _ => Some(self.faults.remove(found).1),
        }
    }

    fn is_held(&self, append: &Append) -> bool {
        self.hold.as_ref().is_some_and(|hold| (hold.rest && !self.held.is_empty()) || (hold.which)(append))
    }
}

#[async_trait]
impl EventStore for FaultyStore {
    fn submit(&self, mut append: Append, mut done: Done) {
        // Held to the end: appends reach the inner store in the order they came here.
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
                return done(Err(AppendError::Unavailable("refused on demand".into())));
            }
            Some(Fault::LoseAppend) => {
                self.begin_epoch();
                return done(Err(AppendError::OutcomeUnknown("lost on demand".into())));
            }
            Some(Fault::LoseAnswer) => {
                done = self.failing(done, |_| AppendError::OutcomeUnknown("lost on demand".into()));
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

#[async_trait]
impl EventLog for FaultyStore {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.state().reads.push((stream.clone(), from));
        self.inner.read_stream(stream, from, limit).await
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.inner.read_all(after, limit).await
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        self.inner.exist(streams).await
    }

    async fn last_position(&self) -> Result<Option<Position>, ReadError> {
        self.inner.last_position().await
    }

    fn store_id(&self) -> Uuid {
        self.inner.store_id()
    }
}

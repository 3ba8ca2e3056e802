//! An event store over a [`Log`], with one writer like SQLite or several like EventStoreDB.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use domain::{Position, RecordedEvent, Revision, StreamName};
use infra::event_store::{
    Append, AppendError, Appended, Done, Epoch, EventLog, EventMark, EventStore, ReadError,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use uuid::Uuid;

use super::{Durable, Fate, Hazards, Log, Operation};

/// The processes that append to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Only this process: groups are committed in the order of submission, and appends may depend on each
    /// other.
    One,
    /// Several processes: appends are independent of each other.
    Several,
}

/// The store of one process. If its runtime ends, appends under way are lost, as in a crash.
pub struct MemoryEventStore {
    shared: Arc<Shared>,
    /// None with several writers.
    queue: Option<mpsc::UnboundedSender<(Append, Done)>>,
    under_way: UnderWay,
    runtime: Handle,
}

/// The appends of a store with several writers that are not answered yet. A barrier, an append without
/// events, waits for them.
#[derive(Clone, Default)]
struct UnderWay(Arc<Mutex<Vec<watch::Receiver<()>>>>);

impl UnderWay {
    /// Adds an append. The caller drops the returned sender when the append is answered.
    fn begin(&self) -> watch::Sender<()> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (answered, waiting) = watch::channel(());
        under_way.retain(|one| one.has_changed().is_ok());
        under_way.push(waiting);
        answered
    }

    fn all(&self) -> Vec<watch::Receiver<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Shared {
    store_id: Uuid,
    log: Durable<Log>,
    epoch: AtomicU64,
    heads: Heads,
    hazards: Arc<dyn Hazards>,
}

/// The end of the log. Each follower has its own channel, because tokio wakes the receivers of one channel in
/// random order.
struct Heads(Mutex<(Head, Vec<watch::Sender<Head>>)>);

type Head = Option<Position>;

impl Heads {
    fn at(last: Option<Position>) -> Self {
        Self(Mutex::new((last, Vec::new())))
    }

    fn subscribe(&self) -> watch::Receiver<Option<Position>> {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, receiver) = watch::channel(heads.0);
        heads.1.retain(|follower| !follower.is_closed());
        heads.1.push(sender);
        receiver
    }

    fn show(&self, last: Option<Position>) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.0 = last;
        for head in &heads.1 {
            head.send_if_modified(|head| std::mem::replace(head, last) != last);
        }
    }
}

impl fmt::Debug for MemoryEventStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEventStore").finish_non_exhaustive()
    }
}

impl MemoryEventStore {
    /// Opens the store on the current runtime. Further processes use [`MemoryEventStore::beside`].
    pub fn open(log: Durable<Log>, writers: Writers, hazards: Arc<dyn Hazards>) -> Self {
        let (store_id, last) = {
            let log = log.lock();
            (log.store_id, log.last_position())
        };
        let (heads, epoch) = (Heads::at(last), AtomicU64::new(0));
        let shared = Arc::new(Shared { store_id, log, epoch, heads, hazards });
        let queue = (writers == Writers::One).then(|| {
            let (sender, waiting) = mpsc::unbounded_channel();
            tokio::spawn(write(Arc::clone(&shared), waiting));
            sender
        });
        Self { shared, queue, under_way: UnderWay::default(), runtime: Handle::current() }
    }

    /// The same store for another process: an append of either wakes the followers of both.
    pub fn beside(&self) -> Self {
        let (queue, under_way) = (self.queue.clone(), UnderWay::default());
        Self { shared: Arc::clone(&self.shared), queue, under_way, runtime: self.runtime.clone() }
    }
}

impl Shared {
    fn apply(&self, append: &Append) -> Result<Appended, AppendError> {
        let epoch = self.epoch.load(Ordering::Acquire);
        if append.epoch.is_some_and(|decided_in| decided_in.0 < epoch) {
            return Err(AppendError::Superseded);
        }
        let outcome = self.log.lock().append(append, self.hazards.now());
        if outcome.is_err() && append.epoch.is_some() {
            self.begin_epoch();
        }
        outcome
    }

    fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn show_head(&self) {
        let last = self.log.lock().last_position();
        self.heads.show(last);
    }
}

fn unavailable() -> AppendError {
    AppendError::Unavailable("the store takes no appends".into())
}

fn unknown() -> AppendError {
    AppendError::OutcomeUnknown("the answer was lost".into())
}

/// The single writer: takes all waiting appends, commits them as one group and answers them in order.
async fn write(shared: Arc<Shared>, mut waiting: mpsc::UnboundedReceiver<(Append, Done)>) {
    while let Some(first) = waiting.recv().await {
        let mut group = vec![first];
        while let Ok(next) = waiting.try_recv() {
            group.push(next);
        }
        let fate = shared.hazards.before(Operation::Append).await;
        let outcomes: Vec<Result<Appended, AppendError>> = match fate {
            Fate::Succeed | Fate::LoseAnswer => {
                group.iter().map(|(append, _)| shared.apply(append)).collect()
            }
            Fate::Fail => group.iter().map(|_| Err(unavailable())).collect(),
            Fate::Vanish => group.iter().map(|_| Err(unknown())).collect(),
        };
        shared.hazards.after(Operation::Append).await;
        if fate != Fate::Succeed {
            // Begins an epoch before the answers, so appends that depend on this group are refused.
            shared.begin_epoch();
        }
        shared.show_head();
        for ((_, done), outcome) in group.into_iter().zip(outcomes) {
            done(if fate == Fate::LoseAnswer { Err(unknown()) } else { outcome });
        }
    }
}

/// Appends in a store with several writers.
async fn append_independently(shared: Arc<Shared>, append: Append, done: Done) {
    let outcome = match shared.hazards.before(Operation::Append).await {
        Fate::Succeed => shared.apply(&append),
        Fate::LoseAnswer => shared.apply(&append).and(Err(unknown())),
        Fate::Fail => Err(unavailable()),
        Fate::Vanish => Err(unknown()),
    };
    shared.show_head();
    shared.hazards.after(Operation::Append).await;
    done(outcome);
}

#[async_trait]
impl EventStore for MemoryEventStore {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::new(MemoryEventLog(Arc::clone(&self.shared)))
    }

    fn submit(&self, append: Append, done: Done) {
        let Some(queue) = &self.queue else {
            let without_epoch = Append { epoch: None, ..append };
            let before = if without_epoch.events.is_empty() { self.under_way.all() } else { Vec::new() };
            let (shared, answered) = (Arc::clone(&self.shared), self.under_way.begin());
            self.runtime.spawn(async move {
                for mut earlier in before {
                    // Ends with an error when the sender is dropped.
                    let _ = earlier.changed().await;
                }
                append_independently(shared, without_epoch, done).await;
                drop(answered);
            });
            return;
        };
        if let Err(mpsc::error::SendError((_, done))) = queue.send((append, done)) {
            done(Err(unavailable()));
        }
    }

    fn accepts_dependent_appends(&self) -> bool {
        self.queue.is_some()
    }

    fn lacks(&self, stream: &StreamName) -> bool {
        self.accepts_dependent_appends() && self.shared.log.lock().len_of(stream) == 0
    }

    fn epoch(&self) -> Epoch {
        Epoch(self.shared.epoch.load(Ordering::Acquire))
    }

    fn head(&self) -> watch::Receiver<Option<Position>> {
        self.shared.heads.subscribe()
    }
}

/// The read half of the store.
struct MemoryEventLog(Arc<Shared>);

impl MemoryEventLog {
    async fn read<T>(&self, read: impl FnOnce(&Log) -> T) -> Result<T, ReadError> {
        match self.0.hazards.before(Operation::ReadLog).await {
            Fate::Succeed => Ok(read(&self.0.log.lock())),
            Fate::Fail | Fate::Vanish | Fate::LoseAnswer => {
                Err(ReadError::Unavailable("the log is unavailable".into()))
            }
        }
    }
}

#[async_trait]
impl EventLog for MemoryEventLog {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.read(|log| log.read_stream(stream, from, limit)).await
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.read(|log| log.read_all(after, limit)).await
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        self.read(|log| streams.iter().map(|stream| log.len_of(stream) > 0).collect()).await
    }

    /// Fails with no chance of its own: the read that follows has one.
    async fn has(&self, mark: &EventMark) -> Result<bool, ReadError> {
        Ok(self.0.log.lock().has(mark))
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        self.read(|log| log.events().last().cloned()).await
    }

    fn store_id(&self) -> Uuid {
        self.0.store_id
    }
}

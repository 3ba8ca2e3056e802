//! The event store in one SQLite file, for a platform that runs on one machine without a database server.
//!
//! One process owns the file for writing ([`SqliteEventStore`]) and holds a lock file beside it. Any number
//! of processes may read it at the same time ([`SqliteEventLog`]). In the owner, one thread writes. It takes
//! every append that waits, writes them in one transaction, and answers them once the transaction is on disk.
//! So many appends share the cost of one disk flush. The thread works strictly in the order of submission, so
//! an append may build on an earlier append that is not yet durable.

mod appender;
mod background;
mod backup;
mod check;
mod checkpoint;
mod checksum;
mod errors;
mod known_streams;
mod open;
mod readers;
mod recent;
mod rows;
mod stream_index;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc},
    thread::{JoinHandle, Thread},
};

use async_trait::async_trait;
use domain::{Position, RecordedEvent, Revision, StreamName, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

use self::{
    appender::SharedEpoch,
    background::Background,
    checkpoint::Checkpointer,
    known_streams::KnownStreams,
    open::Identity,
    readers::Readers,
    recent::RecentEvents,
    rows::UncheckedUpTo,
    stream_index::{RecentStreams, name_hash},
    writer::Writer,
};
pub use self::{
    backup::{BackupError, BackupProgress, CopiedLog, backup},
    check::{CheckReport, check},
    errors::SqliteOpenError,
};
use crate::{
    health::Health,
    measurements::{COMMIT_QUEUE, Gauge},
    private_files,
};

use super::{Append, Done, Epoch, EventLog, EventStore, ReadError, pending::PendingAppend};
use crate::clock::Clock;

/// Bounds on the memory of the store, and its clock.
#[derive(Debug, Clone)]
pub struct SqliteEventStoreOptions {
    /// Streams whose latest revision stays in memory, about 150 bytes each. The writer looks up the others in
    /// the file.
    pub cached_streams_max: usize,
    /// New streams in memory at which the writer begins to move them into the index, about 50 bytes each.
    /// During the move, up to twice as many are in memory. A higher number writes fewer pages.
    pub unindexed_streams_max: usize,
    /// Page cache of the writer, KiB. A larger cache is slower: SQLite scans all of it at the end of a
    /// transaction that has split a page.
    pub page_cache_kib: u32,
    /// Gives the times of new events.
    pub clock: Clock,
}

impl Default for SqliteEventStoreOptions {
    fn default() -> Self {
        Self {
            cached_streams_max: 100_000,
            unindexed_streams_max: 65_536,
            page_cache_kib: 16 * 1024,
            clock: Clock::system(),
        }
    }
}

/// The event store, owned by this process.
#[derive(Debug)]
pub struct SqliteEventStore {
    log: Arc<SqliteEventLog>,
    /// `None` once the store is closed.
    queue: RwLock<Option<mpsc::Sender<PendingAppend>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    writer_thread: Thread,
    epoch: SharedEpoch,
    known_streams: KnownStreams,
    head: watch::Receiver<Option<Position>>,
    background: Background,
    /// Appends that the writer has not taken yet.
    queued: Gauge,
}

impl SqliteEventStore {
    /// Opens the store at `path`, or creates it, and takes the lock `<path>.lock`. Checks only the end of the
    /// file, so the time does not grow with its size.
    pub fn open(path: &Path, options: SqliteEventStoreOptions) -> Result<Self, SqliteOpenError> {
        let lock = open::lock(path)?;
        private_files::restrict_database(path);
        if !open::exists(path)? {
            open::create(path)?;
        }
        let (Identity { store_id, unchecked }, reader) = open::read_only_as_owner(path, &lock)?;
        check::check_tail(&reader, unchecked, path)?;
        let connection = open::writable(path, options.page_cache_kib)?;
        let (queue, jobs) = mpsc::channel();
        let checkpointer = Checkpointer::start(open::checkpointing(path)?)
            .map_err(|source| SqliteOpenError::Io { path: path.to_owned(), source })?;
        let (writer, head) = Writer::new(connection, checkpointer, jobs, options)
            .map_err(|error| SqliteOpenError::from_sqlite(path, error))?;
        let (epoch, known_streams) = (writer.epoch(), writer.known_streams());
        let memory = WriterMemory {
            recent_events: writer.recent_events(),
            recent_streams: writer.recent_streams(),
            known_streams: known_streams.clone(),
            head: head.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("event-store-writer".to_owned())
            .spawn(move || {
                writer.run();
                drop(lock);
            })
            .map_err(|source| SqliteOpenError::Io { path: path.to_owned(), source })?;
        let readers = Arc::new(readers::readers(path, reader));
        let background = Background::default();
        background.load_known_streams(path, known_streams.clone());
        Ok(Self {
            log: Arc::new(SqliteEventLog { store_id, unchecked, readers, memory: Some(memory) }),
            queue: RwLock::new(Some(queue)),
            writer_thread: thread.thread().clone(),
            writer: Mutex::new(Some(thread)),
            epoch,
            known_streams,
            head,
            background,
            queued: COMMIT_QUEUE.with([]),
        })
    }

    /// Checks each event of the file for damage, slowly and on a thread of its own, and reports to `health`.
    pub fn check_in_background(&self, health: Health) {
        self.background.check_events(self.log.readers.path(), self.log.unchecked, health);
    }

    fn enqueue(&self, pending: PendingAppend) {
        // Before the writer can take it.
        self.queued.increment(1.0);
        let awaited = pending.awaited;
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let refused = match queue.as_ref() {
            Some(sender) => sender.send(pending).err().map(|mpsc::SendError(pending)| pending),
            None => Some(pending),
        };
        drop(queue);
        if let Some(pending) = refused {
            self.queued.decrement(1.0);
            pending.refuse_closed();
        } else if awaited {
            self.writer_thread.unpark();
        }
    }

    /// Finishes every append submitted so far, empties the write-ahead log and releases the lock. Answers
    /// later appends with [`super::AppendError::Unavailable`]; reads still work. Blocks. Dropping the store
    /// does the same.
    pub fn close(&self) {
        self.background.stop();
        drop(self.queue.write().unwrap_or_else(PoisonError::into_inner).take());
        self.writer_thread.unpark();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("The writer of the event store has panicked; the store is closed");
        }
    }
}

impl Drop for SqliteEventStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl EventStore for SqliteEventStore {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as Arc<dyn EventLog>
    }

    fn submit(&self, append: Append, done: Done) {
        self.enqueue(PendingAppend::new(append, done, true));
    }

    fn submit_unawaited(&self, append: Append, done: Done) {
        self.enqueue(PendingAppend::new(append, done, false));
    }

    fn accepts_dependent_appends(&self) -> bool {
        true
    }

    fn lacks(&self, stream: &StreamName) -> bool {
        self.known_streams.lacks(stream)
    }

    fn epoch(&self) -> Epoch {
        self.epoch.load()
    }

    fn head(&self) -> watch::Receiver<Option<Position>> {
        self.head.clone()
    }
}

/// The read half of a store. This process or another one may write to the file at the same time.
#[derive(Debug)]
pub struct SqliteEventLog {
    store_id: Uuid,
    unchecked: UncheckedUpTo,
    readers: Arc<Readers>,
    /// `Some` in the process that writes.
    memory: Option<WriterMemory>,
}

/// What the writer keeps in memory, so that reads in its process touch the file less.
#[derive(Debug)]
struct WriterMemory {
    recent_events: RecentEvents,
    recent_streams: RecentStreams,
    known_streams: KnownStreams,
    head: watch::Receiver<Option<Position>>,
}

impl SqliteEventLog {
    /// Opens the store at `path` for reading; takes no lock.
    pub fn open_read_only(path: &Path) -> Result<Self, SqliteOpenError> {
        let (Identity { store_id, unchecked }, reader) = open::read_only(path)?;
        Ok(Self { store_id, unchecked, readers: Arc::new(readers::readers(path, reader)), memory: None })
    }

    fn recent_streams(&self) -> Option<RecentStreams> {
        self.memory.as_ref().map(|memory| memory.recent_streams.clone())
    }

    async fn exist_in_file(&self, streams: Vec<StreamName>) -> Result<Vec<bool>, ReadError> {
        let recent = self.recent_streams();
        self.readers.run(move |connection| readers::exist(connection, recent.as_ref(), &streams)).await
    }
}

#[async_trait]
impl EventLog for SqliteEventLog {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let (stream, recent, unchecked) = (stream.clone(), self.recent_streams(), self.unchecked);
        let read = move |connection: &_| {
            readers::read_stream(connection, recent.as_ref(), unchecked, &stream, from, limit)
        };
        self.readers.run(read).await
    }

    async fn last_of(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        let (stream, recent, unchecked) = (stream.clone(), self.recent_streams(), self.unchecked);
        let read = move |connection: &_| readers::last_of(connection, recent.as_ref(), unchecked, &stream);
        self.readers.run(read).await
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        let in_memory = self.memory.as_ref().and_then(|memory| memory.recent_events.after(after, limit));
        let unchecked = self.unchecked;
        match in_memory {
            Some(events) => Ok(events),
            None => {
                self.readers
                    .run(move |connection| readers::read_all(connection, unchecked, after, limit))
                    .await
            }
        }
    }

    async fn read_back(
        &self,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let unchecked = self.unchecked;
        self.readers.run(move |connection| readers::read_back(connection, unchecked, before, limit)).await
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        let Some(memory) = &self.memory else { return self.exist_in_file(streams.to_vec()).await };
        let mut exist: Vec<bool> = streams.iter().map(|stream| !memory.known_streams.lacks(stream)).collect();
        let possible: Vec<usize> = (0..streams.len()).filter(|&index| exist[index]).collect();
        if !possible.is_empty() {
            let looked_up = possible.iter().map(|&index| streams[index].clone()).collect();
            for (index, found) in possible.into_iter().zip(self.exist_in_file(looked_up).await?) {
                exist[index] = found;
            }
        }
        Ok(exist)
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        // Positions have no gap, so the last event follows the position before it.
        let Some(last) = self.last_position().await? else { return Ok(None) };
        Ok(self.read_all(last.checked_sub(1), 1).await?.pop())
    }

    async fn last_position(&self) -> Result<Option<Position>, ReadError> {
        match &self.memory {
            Some(memory) => Ok(*memory.head.borrow()),
            None => self.readers.run(readers::last_position).await,
        }
    }

    async fn position_before(&self, time: Timestamp) -> Result<Option<Position>, ReadError> {
        self.readers.run(move |connection| readers::position_before(connection, time)).await
    }

    fn store_id(&self) -> Uuid {
        self.store_id
    }
}

#[cfg(test)]
mod tests;

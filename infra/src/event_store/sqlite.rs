//! The event store in one SQLite file, for a single server without other moving parts.
//!
//! One process owns the file for writing ([`SqliteEventStore`], held by a lock beside it); any number of others
//! may read it meanwhile ([`SqliteEventLog`]). Within the owner one thread writes: it takes every append that
//! waits, writes them in one transaction and answers them once that is on disk, so the cost of a disk flush is
//! shared by all. Because it works strictly in the order of submission, an append may build on one before it
//! that is not yet durable.

mod appender;
mod backup;
mod checkpoint;
mod known_streams;
mod open;
mod readers;
mod recent;
mod stream_index;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc},
    thread::JoinHandle,
};

use async_trait::async_trait;
use domain::{Position, RecordedEvent, Revision, StreamName};
use tokio::sync::watch;
use uuid::Uuid;

use self::{
    appender::SharedEpoch,
    checkpoint::Checkpointer,
    known_streams::KnownStreams,
    readers::Readers,
    recent::RecentEvents,
    stream_index::{RecentStreams, name_hash},
    writer::{Pending, Writer},
};
pub use self::{
    backup::{BackupError, BackupProgress, backup},
    open::OpenError,
};
use super::{Append, AppendError, Done, Epoch, EventLog, EventStore, ReadError};

/// How much memory the store may use.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Streams whose latest revision is kept in memory, about 150 bytes each; others are looked up.
    pub cached_streams_max: usize,
    /// New streams that are kept in memory before they are moved into the index, some 50 bytes each; up to twice as
    /// many while that is done. The more, the fewer pages are written.
    pub unindexed_streams_max: usize,
    /// Pages that the writer keeps in memory, KiB. More is not better: SQLite walks through all of them at the end
    /// of a transaction that has split a page.
    pub page_cache_kib: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { cached_streams_max: 100_000, unindexed_streams_max: 65_536, page_cache_kib: 16 * 1024 }
    }
}

/// The event store, owned by this process.
#[derive(Debug)]
pub struct SqliteEventStore {
    log: SqliteEventLog,
    /// None once the store is closed.
    queue: RwLock<Option<mpsc::Sender<Pending>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    epoch: SharedEpoch,
    known_streams: KnownStreams,
    recent: RecentEvents,
    head: watch::Receiver<Option<Position>>,
}

impl SqliteEventStore {
    /// Opens the store at `path`, or creates it, and takes the lock `<path>.lock`. Reads the whole file once to
    /// find damage, so it takes time in proportion to its size.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let lock = open::lock(path)?;
        if !open::exists(path)? {
            open::create(path)?;
        }
        let (store_id, reader) = open::read_only(path)?;
        open::check_integrity(&reader, path)?;
        let connection = open::writable(path, options.page_cache_kib)?;
        let (queue, jobs) = mpsc::channel();
        let checkpointer = Checkpointer::start(open::checkpointing(path)?)
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let (writer, head) = Writer::new(connection, checkpointer, jobs, options)
            .map_err(|error| OpenError::from_sqlite(path, error))?;
        let (epoch, known_streams) = (writer.epoch(), writer.known_streams());
        let (recent, recent_streams) = (writer.recent(), writer.recent_streams());
        let thread = std::thread::Builder::new()
            .name("event-store-writer".to_owned())
            .spawn(move || {
                writer.run();
                drop(lock);
            })
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let readers = Arc::new(readers::readers(path, reader));
        let log = SqliteEventLog { store_id, readers, recent_streams: Some(recent_streams) };
        Ok(Self {
            log,
            queue: RwLock::new(Some(queue)),
            writer: Mutex::new(Some(thread)),
            epoch,
            known_streams,
            recent,
            head,
        })
    }

    fn enqueue(&self, pending: Pending) {
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let refused = match queue.as_ref() {
            Some(sender) => sender.send(pending).err().map(|mpsc::SendError(pending)| pending),
            None => Some(pending),
        };
        drop(queue);
        if let Some(pending) = refused {
            pending.answer(Err(AppendError::Unavailable("the event store is closed".into())));
        }
    }

    /// Finishes every append submitted so far, tidies the file up and releases the lock. Appends submitted later
    /// answer [`AppendError::Unavailable`]; reads go on. Blocks; dropping the store does the same.
    pub fn close(&self) {
        drop(self.queue.write().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("The event store's writer had panicked");
        }
    }
}

impl Drop for SqliteEventStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl EventLog for SqliteEventStore {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.log.read_stream(stream, from, limit).await
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        match self.recent.after(after, limit) {
            Some(events) => Ok(events),
            None => self.log.read_all(after, limit).await,
        }
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        let mut exist: Vec<bool> = streams.iter().map(|stream| !self.lacks(stream)).collect();
        let perhaps: Vec<usize> = (0..streams.len()).filter(|&place| exist[place]).collect();
        if !perhaps.is_empty() {
            let looked_up: Vec<StreamName> = perhaps.iter().map(|&place| streams[place].clone()).collect();
            for (place, found) in perhaps.into_iter().zip(self.log.exist(&looked_up).await?) {
                exist[place] = found;
            }
        }
        Ok(exist)
    }

    async fn last_position(&self) -> Result<Option<Position>, ReadError> {
        Ok(*self.head.borrow())
    }

    fn store_id(&self) -> Uuid {
        self.log.store_id()
    }
}

#[async_trait]
impl EventStore for SqliteEventStore {
    fn submit(&self, append: Append, done: Done) {
        self.enqueue(Pending::new(append, done, true));
    }

    fn submit_unawaited(&self, append: Append, done: Done) {
        self.enqueue(Pending::new(append, done, false));
    }

    fn accepts_dependent_appends(&self) -> bool {
        true
    }

    fn lacks(&self, stream: &StreamName) -> bool {
        !self.known_streams.may_contain(name_hash(&stream.to_string()))
    }

    fn epoch(&self) -> Epoch {
        self.epoch.load()
    }

    fn head(&self) -> watch::Receiver<Option<Position>> {
        self.head.clone()
    }
}

/// Reads a store that this or another process may be writing to.
#[derive(Debug)]
pub struct SqliteEventLog {
    store_id: Uuid,
    readers: Arc<Readers>,
    /// In the process that writes.
    recent_streams: Option<RecentStreams>,
}

impl SqliteEventLog {
    /// Opens the store at `path` for reading; takes no lock.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let (store_id, reader) = open::read_only(path)?;
        Ok(Self { store_id, readers: Arc::new(readers::readers(path, reader)), recent_streams: None })
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
        let (stream, recent) = (stream.clone(), self.recent_streams.clone());
        let read =
            move |connection: &_| readers::read_stream(connection, recent.as_ref(), &stream, from, limit);
        self.readers.run(read).await
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.readers.run(move |connection| readers::read_all(connection, after, limit)).await
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        let (streams, recent) = (streams.to_vec(), self.recent_streams.clone());
        self.readers.run(move |connection| readers::exist(connection, recent.as_ref(), &streams)).await
    }

    async fn last_position(&self) -> Result<Option<Position>, ReadError> {
        self.readers.run(readers::last_position).await
    }

    fn store_id(&self) -> Uuid {
        self.store_id
    }
}

#[cfg(test)]
mod tests;

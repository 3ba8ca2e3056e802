//! Folds a whole log in bounded memory: sorts its events by stream outside memory, then folds one stream at a
//! time.
//!
//! Memory holds [`Workspace::memory_bytes_max`] at most, some megabytes of events and rows on their way, and the
//! rows of one stream. It does not grow with the log.

pub(crate) mod records;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use domain::{Position, RecordedEvent, StreamName};
use infra::{
    event_source::{Partition, layout::SourceLayout},
    event_store::{EventLog, EventMark, ReadError},
    external_sort::{Sorted, Sorter},
    read_models::{
        CountKey, Counted, MoneyKey, ParkedStream, PartitionSums, Rows, SalesDimension, SalesKey, Totals,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use self::records::{EventRecords, read_event};
use crate::{event::DecodedEvent, fold::Fold};

/// More than the bytes of a read allow for events of usual size: each read begins with a search for the last event.
pub(crate) const EVENTS_PER_READ: usize = 20_000;
const READS_AHEAD: usize = 2;
/// Stored bytes of the events that are decoded at a time.
const CHUNK_BYTES: usize = 512 << 10;
const CHUNKS_AHEAD: usize = 2;
/// Stored bytes of the streams whose rows are taken at a time, unless one stream has more.
const TAKEN_BYTES: usize = 2 << 20;
/// Sums that are taken at a time.
const SUMS_PER_CALL: usize = 5_000;
/// Sums that are added up in memory before they are sorted. About 200 bytes each.
const SUMS_IN_MEMORY_MAX: usize = 50_000;

/// Where a replay sorts, and how much memory it may use for it.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// Holds the temporary files, which need about as much space as the log.
    pub directory: PathBuf,
    pub memory_bytes_max: usize,
    /// Ends work on blocking threads when it is cancelled: a process waits for them at its end.
    pub stop: CancellationToken,
}

impl Workspace {
    /// Sorts 128 MiB at a time.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, memory_bytes_max: 128 << 20, stop: CancellationToken::new() }
    }

    /// A sorter that may use a share of the memory.
    pub(crate) fn sorter(&self, share: usize) -> Sorter {
        Sorter::new(&self.directory, self.memory_bytes_max / share)
    }
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("cannot use {} for temporary files ({source}): free space there", directory.display())]
    Workspace { directory: PathBuf, source: io::Error },
    #[error("this process is stopping")]
    Stopping,
}

/// The progress of reading the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadProgress {
    pub events: u64,
    pub position: Position,
}

impl ReadProgress {
    /// The number of events up to position `until`, estimated from the part that was read. Exact where positions
    /// count events; those of EventStoreDB count bytes.
    pub fn events_until(&self, until: Position) -> u64 {
        let Self { events, position } = *self;
        if position == 0 || until <= position {
            return events;
        }
        let estimate = u128::from(events) * u128::from(until) / u128::from(position);
        u64::try_from(estimate).unwrap_or(u64::MAX)
    }
}

/// The events of a log by stream, ready to be folded. They can be folded several times.
#[derive(Debug)]
pub(crate) struct Replay {
    /// The last event read.
    pub(crate) last_event: Option<EventMark>,
    events: Sorted,
    partitions: Arc<[Partition]>,
    /// Streams that are parked in the read models. Their events from there on are left out.
    parked: Vec<ParkedStream>,
    workspace: Workspace,
}

impl Replay {
    /// Reads the log from its beginning: all of it, or each partition up to its position in `until`.
    pub(crate) async fn read(
        log: &dyn EventLog,
        layout: &Arc<dyn SourceLayout>,
        until: Option<Vec<Option<Position>>>,
        parked: Vec<ParkedStream>,
        workspace: &Workspace,
        progress: &(dyn Fn(ReadProgress) + Send + Sync),
    ) -> Result<Self, ReplayError> {
        let (chunks, mut read) = tokio::sync::mpsc::channel::<Vec<RecordedEvent>>(READS_AHEAD);
        let end = until.as_ref().map(|until| until.iter().copied().max().flatten());
        let (of_layout, mut sorter) = (Arc::clone(layout), workspace.sorter(1));
        let sorting = tokio::task::spawn_blocking(move || {
            let mut records = EventRecords::default();
            while let Some(chunk) = read.blocking_recv() {
                for event in chunk {
                    let source = of_layout.index_of(&event.stream);
                    if until.as_ref().is_none_or(|until| Some(event.position) <= until[source]) {
                        // No fold reads the metadata.
                        records.push(&mut sorter, source, &event, &[])?;
                    }
                }
            }
            sorter.finish()
        });
        let mut last_event: Option<EventMark> = None;
        let mut events_read = 0;
        loop {
            let mut events = match &last_event {
                Some(mark) => log.read_after(mark, EVENTS_PER_READ).await?,
                None => log.read_all(None, EVENTS_PER_READ).await?,
            };
            if let Some(end) = end {
                events.truncate(events.partition_point(|event| Some(event.position) <= end));
            }
            let Some(last) = events.last() else { break };
            events_read += events.len() as u64;
            progress(ReadProgress { events: events_read, position: last.position });
            last_event = Some(last.into());
            if chunks.send(events).await.is_err() {
                // The sorter has failed; joining it gives the error.
                break;
            }
        }
        drop(chunks);
        let sorted = sorting.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let events = sorted.map_err(|source| workspace.failure(source))?;
        let partitions = layout.partitions().into();
        Ok(Self { last_event, events, partitions, parked, workspace: workspace.clone() })
    }

    /// Folds every stream, and calls `take` with the rows. Rows of a stream come together. Sums come last, in the
    /// order of their keys; the sums of one key come together. Returns the streams that the fold has parked.
    ///
    /// Blocks the thread.
    pub(crate) fn fold<E: From<io::Error>>(
        &mut self,
        mut take: impl FnMut(Rows) -> Result<(), E>,
    ) -> Result<Vec<ParkedStream>, E> {
        let mut fold = Fold::whole_streams(Arc::clone(&self.partitions)).without_parked(&self.parked);
        let mut sales = SumsSorter::new(&self.workspace, &self.partitions);
        let mut money = SumsSorter::new(&self.workspace, &self.partitions);
        let mut counts = SumsSorter::new(&self.workspace, &self.partitions);
        let mut without_sums = |mut rows: Rows| {
            sales.add(std::mem::take(&mut rows.sales))?;
            money.add(std::mem::take(&mut rows.money))?;
            counts.add(std::mem::take(&mut rows.counts))?;
            Ok::<_, io::Error>(rows)
        };
        let mut current: Option<StreamName> = None;
        let mut pending_bytes = 0;
        each_event::<E>(&mut self.events, &self.workspace.stop, |SortedEvent { source, bytes, event }| {
            if current.as_ref() != Some(&event.stream) {
                if pending_bytes >= TAKEN_BYTES {
                    take(without_sums(fold.take_rows())?)?;
                    pending_bytes = 0;
                }
                current = Some(event.stream.clone());
            }
            pending_bytes += bytes;
            fold.apply(event, *source);
            Ok(())
        })?;
        take(without_sums(fold.take_rows())?)?;
        sales.finish::<E>(|sales| take(Rows { sales, ..Rows::default() }))?;
        money.finish::<E>(|money| take(Rows { money, ..Rows::default() }))?;
        counts.finish::<E>(|counts| take(Rows { counts, ..Rows::default() }))?;
        Ok(fold.take_parked())
    }
}

impl Workspace {
    /// Fails if the process ends.
    pub(crate) fn check_stop(stop: &CancellationToken) -> io::Result<()> {
        if stop.is_cancelled() { Err(io::Error::other(ReplayError::Stopping)) } else { Ok(()) }
    }

    pub(crate) fn failure(&self, source: io::Error) -> ReplayError {
        if self.stop.is_cancelled() {
            return ReplayError::Stopping;
        }
        ReplayError::Workspace { directory: self.directory.clone(), source }
    }
}

/// An event in the order of streams.
struct SortedEvent {
    /// Index of the partition.
    source: usize,
    /// Stored bytes.
    bytes: usize,
    event: DecodedEvent,
}

/// Calls `take` with each event. Another thread reads and decodes ahead.
fn each_event<E: From<io::Error>>(
    events: &mut Sorted,
    stop: &CancellationToken,
    mut take: impl FnMut(&SortedEvent) -> Result<(), E>,
) -> Result<(), E> {
    std::thread::scope(|scope| {
        let (sender, chunks) = mpsc::sync_channel(CHUNKS_AHEAD);
        scope.spawn(move || {
            if let Err(error) = send_events(events, &sender) {
                // Fails if the receiver has failed, which has its own error.
                let _ = sender.send(Err(error));
            }
        });
        for chunk in chunks {
            Workspace::check_stop(stop)?;
            chunk?.iter().try_for_each(&mut take)?;
        }
        Ok(())
    })
}

fn send_events(
    events: &mut Sorted,
    chunks: &mpsc::SyncSender<io::Result<Vec<SortedEvent>>>,
) -> io::Result<()> {
    let mut reader = events.read()?;
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    let no_metadata: Arc<[u8]> = b"{}".as_slice().into();
    while let Some((key, value)) = reader.next()? {
        bytes += value.len();
        let (source, event) = read_event(key, value, &no_metadata).ok_or(io::ErrorKind::InvalidData)?;
        chunk.push(SortedEvent { source, bytes: value.len(), event: event.into() });
        if bytes >= CHUNK_BYTES {
            bytes = 0;
            if chunks.send(Ok(std::mem::take(&mut chunk))).is_err() {
                return Ok(());
            }
        }
    }
    let _ = chunks.send(Ok(chunk));
    Ok(())
}

/// A key of sums, which is sorted outside memory.
trait SumKey: Clone + Ord + Serialize + DeserializeOwned {
    /// Bytes that sort in the order in which the adapters store sums.
    fn sortable(&self) -> Vec<u8>;
}

/// Adds up sums of any number of keys.
struct SumsSorter<K, T> {
    sorter: Sorter,
    /// By key, and index of the partition.
    in_memory: BTreeMap<(K, usize), T>,
    partitions: Arc<[Partition]>,
}

impl<K: SumKey, T: Totals + Serialize + DeserializeOwned> SumsSorter<K, T> {
    fn new(workspace: &Workspace, partitions: &Arc<[Partition]>) -> Self {
        let (sorter, partitions) = (workspace.sorter(8), Arc::clone(partitions));
        Self { sorter, in_memory: BTreeMap::new(), partitions }
    }

    fn add(&mut self, of_partitions: Vec<PartitionSums<K, T>>) -> io::Result<()> {
        for PartitionSums { partition, sums } in of_partitions {
            let index = self.partitions.iter().position(|one| *one == partition);
            let index = index.ok_or(io::ErrorKind::InvalidInput)?;
            for (key, sum) in sums {
                self.in_memory.entry((key, index)).or_default().add(&sum);
            }
        }
        if self.in_memory.len() >= SUMS_IN_MEMORY_MAX {
            self.sort_sums()?;
        }
        Ok(())
    }

    fn sort_sums(&mut self) -> io::Result<()> {
        for ((key, index), sum) in std::mem::take(&mut self.in_memory) {
            self.sorter.push(&key.sortable(), &serde_json::to_vec(&(key, index, sum))?)?;
        }
        Ok(())
    }

    fn finish<E: From<io::Error>>(
        mut self,
        mut take: impl FnMut(Vec<PartitionSums<K, T>>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.sort_sums()?;
        let mut sorted = self.sorter.finish()?;
        let mut reader = sorted.read()?;
        let mut sums: BTreeMap<(usize, K), T> = BTreeMap::new();
        let mut last_key: Vec<u8> = Vec::new();
        while let Some((key_bytes, value)) = reader.next()? {
            if sums.len() >= SUMS_PER_CALL && last_key != key_bytes {
                take(by_partition(&self.partitions, std::mem::take(&mut sums)))?;
            }
            let (key, index, sum): (K, usize, T) = serde_json::from_slice(value).map_err(io::Error::from)?;
            sums.entry((index, key)).or_default().add(&sum);
            key_bytes.clone_into(&mut last_key);
        }
        take(by_partition(&self.partitions, sums))
    }
}

fn by_partition<K, T>(partitions: &[Partition], sums: BTreeMap<(usize, K), T>) -> Vec<PartitionSums<K, T>> {
    let mut rows: Vec<PartitionSums<K, T>> = Vec::new();
    for ((index, key), sum) in sums {
        match rows.last_mut() {
            Some(last) if last.partition == partitions[index] => last.sums.push((key, sum)),
            _ => rows.push(PartitionSums { partition: partitions[index].clone(), sums: vec![(key, sum)] }),
        }
    }
    rows
}

impl SumKey for SalesKey {
    fn sortable(&self) -> Vec<u8> {
        let (dimension, name) = match &self.dimension {
            SalesDimension::All => (0, ""),
            SalesDimension::NoLine => (1, ""),
            SalesDimension::Sku(sku) => (1, sku.as_str()),
            SalesDimension::Country(country) => (2, country.as_str()),
        };
        let mut bytes = vec![dimension];
        bytes.extend_from_slice(self.currency.as_str().as_bytes());
        bytes.extend((self.quarter ^ i64::MIN).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes
    }
}

impl SumKey for MoneyKey {
    fn sortable(&self) -> Vec<u8> {
        [self.currency.as_str().as_bytes(), &(self.quarter ^ i64::MIN).to_be_bytes()].concat()
    }
}

impl SumKey for CountKey {
    fn sortable(&self) -> Vec<u8> {
        let (kind, name) = match &self.counted {
            Counted::Charges { failure } => (0, failure.as_deref().unwrap_or_default()),
            Counted::Sold(sku) => (1, sku.as_str()),
        };
        let start = (self.start ^ i64::MIN).to_be_bytes();
        [&[kind], name.as_bytes(), &[0], &start].concat()
    }
}

#[cfg(test)]
mod tests;

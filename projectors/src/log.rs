//! Folds the whole log in memory.

use std::sync::Arc;

use domain::{Position, RecordedEvent};
use infra::{
    event_source::layout::SourceLayout,
    event_store::{EventLog, ReadError},
    read_models::{ParkedStream, audit::AllRows},
};
use tokio::sync::mpsc;

use crate::{event::DecodedEvent, fold::Fold};

const EVENTS_PER_READ: usize = 5_000;
const READS_AHEAD: usize = 4;

/// The progress of a fold of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldProgress {
    pub events: u64,
    pub position: Position,
}

/// Folds the log from its beginning: all of it, or each partition up to its position in `until`. Leaves out the
/// events for which the streams of `parked` wait. Reads and decodes the next events while it folds the events before.
pub async fn fold_log(
    log: &dyn EventLog,
    layout: &Arc<dyn SourceLayout>,
    until: Option<Vec<Option<Position>>>,
    parked: &[ParkedStream],
    progress: &(dyn Fn(FoldProgress) + Send + Sync),
) -> Result<AllRows, ReadError> {
    let (chunks, mut decoded) = mpsc::channel::<Vec<FromPartition>>(READS_AHEAD);
    let partitions = layout.partitions();
    let mut fold = Fold::whole_log(partitions).without_parked(parked);
    let folding = tokio::task::spawn_blocking(move || {
        while let Some(chunk) = decoded.blocking_recv() {
            for FromPartition { source, event } in &chunk {
                fold.apply(event, *source);
            }
        }
        fold.into_rows()
    });
    let reader = Reader { log, layout, until: until.map(Arc::new), chunks, progress };
    let position = reader.read().await;
    let rows = folding.await.map_err(|error| ReadError::Unavailable(error.to_string().into()))?;
    Ok(AllRows { store_id: log.store_id(), position: position?, ..rows })
}

/// An event, and the index of its partition.
struct FromPartition {
    source: usize,
    event: DecodedEvent,
}

/// Reads the log and sends it decoded.
struct Reader<'a> {
    log: &'a dyn EventLog,
    layout: &'a Arc<dyn SourceLayout>,
    until: Option<Arc<Vec<Option<Position>>>>,
    chunks: mpsc::Sender<Vec<FromPartition>>,
    progress: &'a (dyn Fn(FoldProgress) + Send + Sync),
}

impl Reader<'_> {
    /// Returns the position of the last event read.
    async fn read(self) -> Result<Option<Position>, ReadError> {
        let end = self.until.as_ref().map(|until| until.iter().copied().max().flatten());
        let mut position = None;
        let mut events_read = 0;
        loop {
            let mut events = self.log.read_all(position, EVENTS_PER_READ).await?;
            if let Some(end) = end {
                events.truncate(events.partition_point(|event| Some(event.position) <= end));
            }
            let Some(last) = events.last() else { return Ok(position) };
            position = Some(last.position);
            events_read += events.len() as u64;
            (self.progress)(FoldProgress { events: events_read, position: last.position });
            let chunk = self.decode(events).await?;
            if self.chunks.send(chunk).await.is_err() {
                // The fold has panicked; joining it gives the error.
                return Ok(position);
            }
        }
    }

    async fn decode(&self, events: Vec<RecordedEvent>) -> Result<Vec<FromPartition>, ReadError> {
        let (layout, until) = (Arc::clone(self.layout), self.until.clone());
        let decode = move |event: RecordedEvent| {
            let source = layout.index_of(&event.stream);
            let counts = until.as_ref().is_none_or(|until| Some(event.position) <= until[source]);
            counts.then(|| FromPartition { source, event: event.into() })
        };
        let decoding = tokio::task::spawn_blocking(|| events.into_iter().filter_map(decode).collect());
        decoding.await.map_err(|error| ReadError::Unavailable(error.to_string().into()))
    }
}

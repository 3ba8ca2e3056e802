//! The whole log, folded in memory.

use domain::{Position, RecordedEvent};
use infra::{
    event_source::Partition,
    event_store::{EventLog, ReadError},
    read_models::audit::AllRows,
};
use tokio::sync::mpsc;

use crate::fold::{Decoded, Fold};

const EVENTS_PER_READ: usize = 5_000;
const READS_AHEAD: usize = 4;

/// How far a fold of the log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub events: u64,
    pub position: Position,
}

/// Folds the log from its beginning up to `until`, or up to its end. Reading and decoding go on while the events
/// before are folded.
pub async fn fold_log(
    log: &dyn EventLog,
    partition: &Partition,
    until: Option<Position>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<AllRows, ReadError> {
    let (chunks, mut decoded) = mpsc::channel::<Vec<Decoded>>(READS_AHEAD);
    let partition = partition.clone();
    let folding = tokio::task::spawn_blocking(move || {
        let mut fold = Fold::whole_log();
        while let Some(chunk) = decoded.blocking_recv() {
            for event in &chunk {
                fold.apply(event, &partition);
            }
        }
        fold.into_rows()
    });
    let position = read_log(log, until, chunks, progress).await;
    let rows = folding.await.map_err(|error| ReadError::Unavailable(error.to_string().into()))?;
    Ok(AllRows { store_id: log.store_id(), position: position?, ..rows })
}

/// Sends the log on, decoded; answers with the position of its last event.
async fn read_log(
    log: &dyn EventLog,
    until: Option<Position>,
    chunks: mpsc::Sender<Vec<Decoded>>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Option<Position>, ReadError> {
    let mut position = None;
    let mut events_read = 0;
    loop {
        let mut events = log.read_all(position, EVENTS_PER_READ).await?;
        if let Some(until) = until {
            events.truncate(events.partition_point(|event| event.position <= until));
        }
        let Some(last) = events.last() else { return Ok(position) };
        position = Some(last.position);
        events_read += events.len() as u64;
        progress(Progress { events: events_read, position: last.position });
        let chunk = decode(events).await?;
        if chunks.send(chunk).await.is_err() {
            // The fold has panicked, and its join says so.
            return Ok(position);
        }
    }
}

async fn decode(events: Vec<RecordedEvent>) -> Result<Vec<Decoded>, ReadError> {
    let decoding = tokio::task::spawn_blocking(|| events.into_iter().map(Decoded::from).collect());
    decoding.await.map_err(|error| ReadError::Unavailable(error.to_string().into()))
}

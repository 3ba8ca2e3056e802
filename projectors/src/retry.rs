//! Resumes parked streams from the event log, after the cause is repaired.
//!
//! `orderly projections retry STREAM`, or a runner of another version, records a request. The runner that owns the
//! partition acts on it between two batches ([`apply_requests`]); if no runner acts, the command itself does
//! ([`retry`]). Both may run at once. A retry reads the checkpoint first, then the row, and then the stream to its
//! end. Its commit is refused if the checkpoint has moved since then, or if the stream is not parked as it was
//! read. The commit of a runner is refused if the runner skipped an event of a stream that was resumed meanwhile.
//! So every event up to the checkpoint is applied once, and the runner applies every later event.

use std::{collections::HashSet, time::Duration};

use domain::{Revision, StreamName, Timestamp};
use infra::{
    event_source::Partition,
    event_store::{EventLog, ReadError},
    read_models::{Changes, ParkedStream, Progress, ReadModelError, ReadModels},
};

use crate::{
    event::{DecodedEvent, Poison},
    fold::{Fold, key_of, keys_of},
};

const EVENTS_PER_READ: usize = 1_000;
const REQUEST_POLLED_EVERY: Duration = Duration::from_millis(100);

/// Why a retry has failed.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
}

impl RetryError {
    /// Why one stream stays parked, if the failure comes from that stream alone.
    fn poison(&self) -> Option<Poison> {
        match self {
            Self::Read(error @ ReadError::Corrupt(_)) => Some(Poison::Undecodable(error.to_string())),
            Self::ReadModels(error) if error.is_of_one_row() => Some(Poison::Refused(error.to_string())),
            Self::Read(_) | Self::ReadModels(_) => None,
        }
    }
}

/// The outcome of a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    NotParked,
    /// All events of the stream are projected.
    Resumed,
    StillParked(Box<ParkedStream>),
}

/// Requests a retry from the runner that owns the stream, and retries here if it does not act within
/// `patience`.
pub async fn retry(
    log: &dyn EventLog,
    models: &dyn ReadModels,
    stream: &StreamName,
    patience: Duration,
) -> Result<Retried, RetryError> {
    if !models.request_retry(stream).await? {
        return Ok(Retried::NotParked);
    }
    let give_up = tokio::time::Instant::now() + patience;
    loop {
        let requests = models.retry_requests().await?;
        let Some(request) = requests.into_iter().find(|row| row.stream == *stream) else {
            let parked = models.parked().await?.into_iter().find(|row| row.stream == *stream);
            return Ok(parked.map_or(Retried::Resumed, |row| Retried::StillParked(Box::new(row))));
        };
        if tokio::time::Instant::now() >= give_up {
            match apply_request(log, models, &request).await {
                // A runner has acted meanwhile.
                Ok(()) | Err(RetryError::ReadModels(ReadModelError::CheckpointMoved)) => {}
                Err(error) => return Err(error),
            }
        } else {
            tokio::time::sleep(REQUEST_POLLED_EVERY).await;
        }
    }
}

/// Retries every stream of a partition with a request, and returns these streams.
pub async fn apply_requests(
    log: &dyn EventLog,
    models: &dyn ReadModels,
    partition: &Partition,
) -> Result<Vec<StreamName>, RetryError> {
    let mut settled = Vec::new();
    for request in models.retry_requests().await? {
        if request.partition == *partition {
            apply_request(log, models, &request).await?;
            settled.push(request.stream);
        }
    }
    Ok(settled)
}

async fn apply_request(
    log: &dyn EventLog,
    models: &dyn ReadModels,
    request: &ParkedStream,
) -> Result<(), RetryError> {
    let ParkedStream { partition, stream, .. } = request;
    let generation = models.generation().await?;
    let position = models.checkpoint(partition).await?.map(|reached| reached.position);
    let standing = Progress { partition: partition.clone(), from: position, to: position, last_event: None };
    let settle =
        |changes| Changes { generation: Some(generation), retried: vec![request.clone()], ..changes };
    let attempt = async {
        let mut fold = Fold::batches([partition.clone()].into(), HashSet::new());
        fold.put_rows(models.load(key_of(stream)).await?);
        let next = fold.revision(stream).map_or(0, |reflected| reflected + 1);
        let events = read_from(log, stream, next).await?;
        fold.put_rows(models.load(keys_of(&events)).await?);
        for event in &events {
            fold.apply(event, 0);
        }
        let changes = settle(fold.into_changes(vec![standing.clone()]));
        let still_parked = changes.parked.first().map(|row| row.reason.clone());
        models.commit(changes).await?;
        Ok::<_, RetryError>(still_parked)
    };
    let still_parked = match attempt.await {
        Ok(still_parked) => still_parked,
        Err(error) => {
            let reason = error.poison().ok_or(error)?.to_string();
            let parked =
                ParkedStream { reason: reason.clone(), parked_at: Timestamp::now(), ..request.clone() };
            let changes = Changes { parked: vec![parked], ..Changes::of(vec![standing.clone()]) };
            models.commit(settle(changes)).await?;
            Some(reason)
        }
    };
    match still_parked {
        None => tracing::info!(%stream, "Resumed a parked stream"),
        Some(reason) => tracing::error!(%stream, reason, "Retried a parked stream and parked it again"),
    }
    Ok(())
}

/// Reads a stream from a revision to its end.
async fn read_from(
    log: &dyn EventLog,
    stream: &StreamName,
    first: Revision,
) -> Result<Vec<DecodedEvent>, ReadError> {
    let mut events: Vec<DecodedEvent> = Vec::new();
    loop {
        let next = events.last().map_or(first, |last| last.revision + 1);
        let read = log.read_stream(stream, next, EVENTS_PER_READ).await?;
        if read.is_empty() {
            return Ok(events);
        }
        events.extend(read.into_iter().map(DecodedEvent::from));
    }
}

//! Takes up streams that were parked, from the event log, once the cause is gone.
//!
//! `orderly projections retry STREAM` only notes the wish; the runner in charge acts on it between two batches
//! ([`apply_requests`]). Where no runner does, the command acts itself ([`retry`]). Either is safe beside any
//! other: rows are committed only where the checkpoint has not moved since it was read, which was before the
//! stream was read to its end, and where the stream is still parked as it was; and an owner that has passed over
//! an event of a stream that is parked no more is turned back by its own commit. So every event up to the
//! checkpoint is applied once, and none after it is lost.

use std::{collections::HashSet, time::Duration};

use domain::StreamName;
use infra::{
    event_source::Partition,
    event_store::{EventLog, ReadError},
    read_models::{ParkedStream, ReadModelError, ReadModels},
};

use crate::fold::{Decoded, Fold, keys_of};

const EVENTS_PER_READ: usize = 1_000;
const SETTLED_POLLED_EVERY: Duration = Duration::from_millis(100);

/// Why a retry was not made.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
}

/// What became of a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    NotParked,
    /// All its events are projected.
    Resumed,
    StillParked(Box<ParkedStream>),
}

/// Has a parked stream taken up: by the runner in charge if it does so within `patience`, else here.
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
                // A runner is at work after all.
                Ok(()) | Err(RetryError::ReadModels(ReadModelError::CheckpointMoved)) => {}
                Err(error) => return Err(error),
            }
        } else {
            tokio::time::sleep(SETTLED_POLLED_EVERY).await;
        }
    }
}

/// Takes up every stream of a partition that this was asked for; answers with these.
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
    let position = models.checkpoint(partition).await?;
    let events = read_whole(log, stream).await?;
    let mut fold = Fold::batch(partition.clone(), HashSet::new());
    fold.put_rows(models.load(keys_of(&events)).await?);
    for event in &events {
        fold.apply(event, 0);
    }
    let mut changes = fold.into_changes(position, position);
    changes.generation = Some(generation);
    changes.retried.push(request.clone());
    let still_parked = changes.parked.first().map(|row| row.reason.clone());
    models.commit(changes).await?;
    match still_parked {
        None => tracing::info!(%stream, "A parked stream has caught up"),
        Some(reason) => tracing::error!(%stream, reason, "A stream was retried and is parked again"),
    }
    Ok(())
}

/// The whole stream: events that its row already has are passed over.
async fn read_whole(log: &dyn EventLog, stream: &StreamName) -> Result<Vec<Decoded>, ReadError> {
    let mut events: Vec<Decoded> = Vec::new();
    loop {
        let next = events.last().map_or(0, |last| last.revision + 1);
        let read = log.read_stream(stream, next, EVENTS_PER_READ).await?;
        if read.is_empty() {
            return Ok(events);
        }
        events.extend(read.into_iter().map(Decoded::from));
    }
}

//! Resumes streams that a process of another version has parked.
//!
//! Such a process parks the stream of an event whose type it does not know. A runner that gets the partition
//! examines each parked stream once: if it can decode the event, it requests the retry that an operator requests
//! with `orderly projections retry`. The event alone decides, so this works for streams that any version parked.

use std::{collections::HashMap, time::Duration};

use domain::{Revision, StreamName, Timestamp};
use infra::{
    event_source::Partition,
    event_store::{EventLog, ReadError},
    read_models::{ParkedStream, ReadModelError, ReadModels},
};
use tokio::time::{Instant, timeout};

/// Streams of a partition that one call examines. The events of the partition wait meanwhile.
const EXAMINED_MAX: usize = 10;
const READ_TIME_MAX: Duration = Duration::from_secs(1);
/// Pause after a failed read of the log. Events that come from another bus are projected meanwhile.
const READ_PAUSE: Duration = Duration::from_secs(10);

/// The parked streams that need no examination: this process has retried or parked them itself, or cannot decode
/// their events.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    parkings: HashMap<StreamName, Parking>,
    paused_until: Option<Instant>,
}

/// Tells the present parking of a stream from an earlier one.
type Parking = (Revision, Timestamp);

fn parking(row: &ParkedStream) -> Parking {
    (row.revision, row.parked_at)
}

impl Examined {
    /// Leaves these streams parked until an operator requests a retry. If another process parks one again, it is
    /// examined again.
    pub fn note<'a>(&mut self, parked: impl IntoIterator<Item = &'a ParkedStream>) {
        self.parkings.extend(parked.into_iter().map(|row| (row.stream.clone(), parking(row))));
    }

    /// Requests a retry for streams of a partition that stopped at an event which this version can decode.
    /// `parked` has the parked streams of all partitions.
    pub async fn request_retries(
        &mut self,
        log: &dyn EventLog,
        models: &dyn ReadModels,
        partition: &Partition,
        parked: &[ParkedStream],
    ) -> Result<(), ReadModelError> {
        if self.paused_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let mut known = std::mem::take(&mut self.parkings);
        self.parkings = parked.iter().filter_map(|row| known.remove_entry(&row.stream)).collect();
        let unknown = parked.iter().filter(|row| {
            row.partition == *partition && self.parkings.get(&row.stream) != Some(&parking(row))
        });
        let unknown: Vec<&ParkedStream> = unknown.take(EXAMINED_MAX).collect();
        for row in unknown {
            match is_decodable(log, row).await {
                Ok(true) => _ = models.request_retry(&row.stream).await?,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(stream = %row.stream, %error, "Cannot examine a parked stream; retrying later");
                    self.paused_until = Some(Instant::now() + READ_PAUSE);
                    return Ok(());
                }
            }
            self.note([row]);
        }
        Ok(())
    }
}

/// True if this version can decode the event that parked the stream.
async fn is_decodable(log: &dyn EventLog, row: &ParkedStream) -> Result<bool, ReadError> {
    let reading = timeout(READ_TIME_MAX, log.read_stream(&row.stream, row.revision, 1));
    let read =
        reading.await.unwrap_or_else(|_| Err(ReadError::Unavailable("the read takes too long".into())));
    match read {
        Ok(events) => Ok(events.first().is_some_and(|event| event.decode().is_ok())),
        // Only an operator can repair the stream.
        Err(ReadError::Corrupt(_)) => Ok(false),
        Err(error @ (ReadError::Unavailable(_) | ReadError::WentBack(_))) => Err(error),
    }
}

//! Finds a time within a stream.

use domain::{Revision, StreamName, Timestamp};
use infra::event_store::{EventLog, ReadError};

/// The revision of the first event that was recorded at `time` or later; one after the last if there is none. Reads
/// about 20 events of a stream with a million. Relies on times that do not decrease within a stream.
pub(crate) async fn first_since(
    log: &dyn EventLog,
    stream: &StreamName,
    time: Timestamp,
) -> Result<Revision, ReadError> {
    let Some(last) = log.last_of(stream).await? else { return Ok(0) };
    let (mut low, mut high) = (0, last.revision + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match log.read_stream(stream, middle, 1).await?.first() {
            Some(event) if event.recorded_at < time => low = middle + 1,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

//! Reads of a stream, page by page.

use std::{ops::RangeInclusive, time::Duration};

use domain::{RecordedEvent, Revision, StreamName};
use infra::event_store::{EventLog, ReadError};
use tokio::time::timeout;

/// Events per read.
const PAGE_EVENTS: u64 = 1_000;
/// The longest wait for one page.
const READ_MAX: Duration = Duration::from_secs(10);

/// The events of a stream within a range of revisions. A short page is not the end; only an empty one is.
pub(crate) struct Pages<'a> {
    log: &'a dyn EventLog,
    stream: &'a StreamName,
    next: Revision,
    last: Revision,
}

impl<'a> Pages<'a> {
    pub(crate) fn of(
        log: &'a dyn EventLog,
        stream: &'a StreamName,
        revisions: RangeInclusive<Revision>,
    ) -> Self {
        Self { log, stream, next: *revisions.start(), last: *revisions.end() }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Vec<RecordedEvent>>, ReadError> {
        if self.next > self.last {
            return Ok(None);
        }
        let limit = (self.last - self.next).saturating_add(1).min(PAGE_EVENTS);
        let reading =
            self.log.read_stream(self.stream, self.next, usize::try_from(limit).unwrap_or(usize::MAX));
        let page = timeout(READ_MAX, reading).await.map_err(|_| {
            ReadError::Unavailable(format!("a read of {} took over {READ_MAX:?}", self.stream).into())
        })??;
        let Some(end) = page.last() else { return Ok(None) };
        self.next = end.revision + 1;
        Ok(Some(page))
    }
}

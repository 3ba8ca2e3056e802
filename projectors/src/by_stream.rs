//! The events of a log in the order of streams, with their metadata, for audits of the log itself.
//!
//! Sorts outside memory, so a log of any size needs [`Workspace::memory_bytes_max`] of memory.

use std::{io, sync::Arc};

use domain::{Position, RecordedEvent, Timestamp};
use infra::{
    event_store::{EventLog, EventMark},
    external_sort::Sorted,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::replay::{
    EVENTS_PER_READ, ReadProgress, ReplayError, Workspace,
    records::{EventRecords, read_event},
};

const READS_AHEAD: usize = 2;

/// Events in the order of streams, and of revisions within a stream.
#[derive(Debug)]
pub struct EventsByStream {
    sorted: Sorted,
    /// The position of the last event; `None` if there is none.
    pub last: Option<Position>,
    /// Number of events.
    pub events: u64,
    stop: CancellationToken,
}

impl EventsByStream {
    /// Reads the events that were recorded before `end`, and calls `take` with each in the order of the log, on a
    /// thread that may block. Relies on recorded times that do not decrease with the positions.
    pub async fn read(
        log: &dyn EventLog,
        end: Timestamp,
        workspace: &Workspace,
        progress: &(dyn Fn(ReadProgress) + Send + Sync),
        mut take: impl FnMut(&RecordedEvent) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, ReplayError> {
        let (pages, mut read) = mpsc::channel::<Vec<RecordedEvent>>(READS_AHEAD);
        let mut sorter = workspace.sorter(1);
        let sorting = tokio::task::spawn_blocking(move || {
            let mut records = EventRecords::default();
            while let Some(page) = read.blocking_recv() {
                for event in page {
                    take(&event)?;
                    records.push(&mut sorter, 0, &event, &event.metadata)?;
                }
            }
            sorter.finish()
        });
        let (mut mark, mut events): (Option<EventMark>, u64) = (None, 0);
        loop {
            let mut page = match &mark {
                Some(mark) => log.read_after(mark, EVENTS_PER_READ).await?,
                None => log.read_all(None, EVENTS_PER_READ).await?,
            };
            page.truncate(page.partition_point(|event| event.recorded_at < end));
            let Some(last) = page.last() else { break };
            events += page.len() as u64;
            progress(ReadProgress { events, position: last.position });
            mark = Some(last.into());
            if pages.send(page).await.is_err() {
                // The thread has failed; joining it gives the error.
                break;
            }
        }
        drop(pages);
        let sorted = sorting.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let sorted = sorted.map_err(|source| workspace.failure(source))?;
        let stop = workspace.stop.clone();
        Ok(Self { sorted, last: mark.map(|mark| mark.position), events, stop })
    }

    /// Calls `take` with each event. Blocks the thread.
    pub fn each<E: From<io::Error>>(
        &mut self,
        mut take: impl FnMut(RecordedEvent) -> Result<(), E>,
    ) -> Result<(), E> {
        let no_metadata: Arc<[u8]> = b"{}".as_slice().into();
        let mut reader = self.sorted.read()?;
        while let Some((key, value)) = reader.next()? {
            Workspace::check_stop(&self.stop)?;
            let (_, event) = read_event(key, value, &no_metadata)
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            take(event)?;
        }
        Ok(())
    }
}

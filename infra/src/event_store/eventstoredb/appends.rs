//! Sends appends to the server, concurrently and in no particular order.

use std::{mem, sync::Arc};

use domain::{NewEvent, Position};
use eventstore::{AppendToStreamOptions, EventData, WriteResult};
use serde_json::value::RawValue;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
};

use super::{
    connection::{CallKind, Connection},
    errors::append_error,
};
use crate::event_store::{Append, AppendError, Appended, ExpectedRevision, pending::PendingAppend};

/// Memory of an append besides its data and metadata, approximately.
const APPEND_OVERHEAD_BYTES: usize = 500;

/// An append and its share of the memory for appends, until it is answered.
pub(super) type Submitted = (PendingAppend, OwnedSemaphorePermit);

/// The way of appends to [`run`].
#[derive(Debug)]
pub(super) struct Submissions {
    queue: mpsc::UnboundedSender<Submitted>,
    /// One permit for each byte.
    bytes_left: Arc<Semaphore>,
}

impl Submissions {
    /// At most `bytes_max` bytes of appends wait for answers.
    pub fn new(bytes_max: u32) -> (Self, mpsc::UnboundedReceiver<Submitted>) {
        let (queue, submitted) = mpsc::unbounded_channel();
        let bytes_left = Arc::new(Semaphore::new(bytes_max as usize));
        (Self { queue, bytes_left }, submitted)
    }

    /// Refuses an append at once if too many bytes wait, as while the server is silent.
    pub fn submit(&self, pending: PendingAppend) {
        let bytes = u32::try_from(memory(&pending.append)).unwrap_or(u32::MAX);
        let Ok(share) = Arc::clone(&self.bytes_left).try_acquire_many_owned(bytes) else {
            let why = "too many appends wait for EventStoreDB; try again";
            return pending.answer(Err(AppendError::Unavailable(why.into())));
        };
        if let Err(mpsc::error::SendError((refused, _))) = self.queue.send((pending, share)) {
            refused.refuse_closed();
        }
    }
}

fn memory(append: &Append) -> usize {
    let content = append.events.iter().map(|event| event.data.len() + event.metadata.len());
    content.sum::<usize>() + APPEND_OVERHEAD_BYTES * (1 + append.events.len())
}

/// Sends submitted appends until every sender of the channel is dropped, then waits for those in flight.
pub(super) async fn run(
    connection: Arc<Connection>,
    mut submitted: mpsc::UnboundedReceiver<Submitted>,
    head: Arc<watch::Sender<Option<Position>>>,
) {
    let mut in_flight = JoinSet::new();
    loop {
        let received = tokio::select! {
            received = submitted.recv() => received,
            Some(_) = in_flight.join_next() => continue,
        };
        let Some((pending, share)) = received else { break };
        if pending.append.events.is_empty() {
            // Later appends do not wait for it.
            let earlier = mem::take(&mut in_flight);
            in_flight.spawn(pass_barrier(earlier, head.clone(), pending));
        } else {
            let sending = send(connection.clone(), head.clone(), pending);
            in_flight.spawn(async move {
                sending.await;
                drop(share);
            });
        }
    }
    finish(in_flight).await;
}

async fn pass_barrier(
    earlier: JoinSet<()>,
    head: Arc<watch::Sender<Option<Position>>>,
    pending: PendingAppend,
) {
    finish(earlier).await;
    let last_revision = pending.append.expected.next().checked_sub(1);
    let last_position = *head.borrow();
    pending.answer(Ok(Appended { last_revision, last_position }));
}

async fn finish(mut in_flight: JoinSet<()>) {
    while in_flight.join_next().await.is_some() {}
}

async fn send(
    connection: Arc<Connection>,
    head: Arc<watch::Sender<Option<Position>>>,
    pending: PendingAppend,
) {
    let append = &pending.append;
    let expected = match append.expected {
        ExpectedRevision::NoStream => eventstore::ExpectedRevision::NoStream,
        ExpectedRevision::Exact(revision) => eventstore::ExpectedRevision::Exact(revision),
    };
    let options = AppendToStreamOptions::default()
        .expected_revision(expected)
        .requires_leader(true)
        .deadline(connection.call_time_max());
    let events = match append.events.iter().map(event_data).collect::<Result<Vec<_>, _>>() {
        Ok(events) => events,
        Err(error) => return pending.answer(Err(AppendError::Unavailable(error.to_string().into()))),
    };
    let stream = append.stream.to_string();
    let sent = connection
        .call(
            CallKind::Append,
            |client| async move { client.append_to_stream(stream, &options, events).await },
        )
        .await;
    let outcome = match sent {
        Ok(written) => appended(append, &written).inspect(|appended| raise(&head, appended.last_position)),
        Err(error) => Err(append_error(append.expected, &error)),
    };
    pending.answer(outcome);
}

/// The server appends to a stream that was deleted or truncated, and goes on counting where that stream ended.
/// So each success is compared with the plan.
fn appended(append: &Append, written: &WriteResult) -> Result<Appended, AppendError> {
    let (planned, last_revision) =
        (append.expected.next() + append.events.len() as u64 - 1, written.next_expected_version);
    if last_revision != planned {
        let what = format!(
            "{} ends at revision {last_revision} after an append that should end at revision {planned}: earlier events \
             were deleted",
            append.stream
        );
        return Err(AppendError::StreamDamaged(what.into()));
    }
    // A server that recognises an append, and has not replicated it yet, leaves out the position. The library makes
    // that 0. No event of Orderly is there, because the server's own events come first.
    let last_position = Some(written.position.commit).filter(|position| *position > 0);
    Ok(Appended { last_revision: Some(last_revision), last_position })
}

/// Moves the head forward, never back.
pub(super) fn raise(head: &watch::Sender<Option<Position>>, to: Option<Position>) {
    head.send_if_modified(|current| {
        let ahead = to > *current;
        if ahead {
            *current = to;
        }
        ahead
    });
}

/// Converts an event to the client library's type. The bytes of data and metadata stay the same.
pub(super) fn event_data(event: &NewEvent) -> serde_json::Result<EventData> {
    let data: &RawValue = serde_json::from_slice(&event.data)?;
    Ok(EventData::json(event.type_name, &data)?.id(event.id.0).metadata(event.metadata.to_vec().into()))
}

#[cfg(test)]
mod tests;

//! Sends appends to the server, concurrently and in no particular order.

use std::{mem, sync::Arc};

use domain::{NewEvent, Position, Revision};
use eventstore::{AppendToStreamOptions, Client, EventData};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::value::RawValue;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    batches::{Batch, Batches, Unsuccessful},
    connection::{CallKind, Connection},
    errors::append_error,
};
use crate::event_store::{Append, AppendError, Appended, ExpectedRevision, pending::PendingAppend};

/// Submitted appends that are taken at once.
const RECEIVED_MAX: usize = 64;
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
    let sender = Arc::new(Sender { batches: Batches::new(connection.clone()), connection, head });
    let mut in_flight = InFlight::new();
    let mut received = Vec::new();
    loop {
        tokio::select! {
            count = submitted.recv_many(&mut received, RECEIVED_MAX) => if count == 0 { break },
            Some(()) = in_flight.next() => {}
        }
        for (pending, share) in received.drain(..) {
            if pending.append.events.is_empty() {
                // Later appends do not wait for it.
                let earlier = mem::take(&mut in_flight);
                in_flight.push(pass_barrier(earlier, sender.head.clone(), pending).boxed());
            } else {
                let batch = sender.batches.for_append(memory(&pending.append), in_flight.len());
                in_flight.push(sender.clone().send(pending, share, batch).boxed());
            }
        }
    }
    finish(in_flight).await;
}

/// Appends without an outcome.
type InFlight = FuturesUnordered<BoxFuture<'static, ()>>;

async fn pass_barrier(earlier: InFlight, head: Arc<watch::Sender<Option<Position>>>, pending: PendingAppend) {
    finish(earlier).await;
    let last_revision = pending.append.expected.next().checked_sub(1);
    let last_position = *head.borrow();
    pending.answer(Ok(Appended { last_revision, last_position }));
}

async fn finish(mut in_flight: InFlight) {
    while in_flight.next().await.is_some() {}
}

struct Sender {
    connection: Arc<Connection>,
    batches: Arc<Batches>,
    head: Arc<watch::Sender<Option<Position>>>,
}

impl Sender {
    /// Sends an append in the call that many share, and if it has no success there, by itself.
    async fn send(
        self: Arc<Self>,
        pending: PendingAppend,
        share: OwnedSemaphorePermit,
        batch: Option<Arc<Batch>>,
    ) {
        let deadline = Instant::now() + self.connection.call_time_max();
        let mut is_unknown = false;
        if let Some(batch) = batch {
            match self.send_among_others(&pending.append, &batch).await {
                Some(Ok(outcome)) => return self.answer(pending, outcome),
                Some(Err(Unsuccessful::Unknown)) => {
                    self.batches.close(&batch);
                    is_unknown = true;
                }
                Some(Err(Unsuccessful::Full)) | None => {}
            }
        }
        // In a task of its own, because a call takes much of the processor. If the task dies, the caller gets an unknown
        // outcome.
        let sending = async move {
            self.send_alone(pending, is_unknown, deadline).await;
            drop(share);
        };
        drop(AbortOnDropHandle::new(tokio::spawn(sending)).await);
    }

    /// `None` if the events cannot be sent.
    async fn send_among_others(
        &self,
        append: &Append,
        batch: &Batch,
    ) -> Option<Result<Result<Appended, AppendError>, Unsuccessful>> {
        let events = append.events.iter().map(event_data).collect::<Result<Vec<_>, _>>().ok()?;
        // The other half of the time is for sending it again.
        let answer_max = self.connection.call_time_max() / 2;
        let sent = batch.append(&append.stream.to_string(), expected(append), events, answer_max).await;
        Some(sent.and_then(|written| {
            let last_revision = written.current_revision().ok_or(Unsuccessful::Unknown)?;
            Ok(appended(append, last_revision, written.current_position()))
        }))
    }

    /// `is_unknown`: the append was sent before, and the server may still write that one.
    async fn send_alone(&self, pending: PendingAppend, is_unknown: bool, deadline: Instant) {
        let append = &pending.append;
        let options = AppendToStreamOptions::default()
            .expected_revision(expected(append))
            .requires_leader(true)
            .deadline(self.connection.call_time_max());
        let events = match append.events.iter().map(event_data).collect::<Result<Vec<_>, _>>() {
            Ok(events) => events,
            Err(error) => return pending.answer(Err(AppendError::Unavailable(error.to_string().into()))),
        };
        let stream = append.stream.to_string();
        let send = |client: Client| async move { client.append_to_stream(stream, &options, events).await };
        let outcome = match self.connection.call_until(deadline, CallKind::Append, send).await {
            Ok(written) => appended(append, written.next_expected_version, Some(written.position)),
            Err(error) => Err(match append_error(append.expected, &error) {
                AppendError::Unavailable(why) if is_unknown => AppendError::OutcomeUnknown(why),
                error => error,
            }),
        };
        self.answer(pending, outcome);
    }

    fn answer(&self, pending: PendingAppend, outcome: Result<Appended, AppendError>) {
        if let Ok(appended) = &outcome {
            raise(&self.head, appended.last_position);
        }
        pending.answer(outcome);
    }
}

fn expected(append: &Append) -> eventstore::ExpectedRevision {
    match append.expected {
        ExpectedRevision::NoStream => eventstore::ExpectedRevision::NoStream,
        ExpectedRevision::Exact(revision) => eventstore::ExpectedRevision::Exact(revision),
    }
}

/// The server appends to a stream that was deleted or truncated, and goes on counting where that stream ended.
/// So each success is compared with the plan.
fn appended(
    append: &Append,
    last_revision: Revision,
    position: Option<eventstore::Position>,
) -> Result<Appended, AppendError> {
    let planned = append.expected.next() + append.events.len() as u64 - 1;
    if last_revision != planned {
        let what = format!(
            "{} ends at revision {last_revision} after an append that should end at revision {planned}: earlier events \
             were deleted",
            append.stream
        );
        return Err(AppendError::StreamDamaged(what.into()));
    }
    // A server that recognises an append, and has not replicated it yet, leaves out the position. The library makes
    // that 0 in the answer to a single append. No event of Orderly is there, because the server's own events come first.
    let last_position = position.map(|position| position.commit).filter(|commit| *commit > 0);
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

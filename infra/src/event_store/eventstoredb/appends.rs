//! Sends appends to the server, concurrently and in no particular order.

use std::sync::Arc;

use domain::{NewEvent, Position};
use eventstore::{AppendToStreamOptions, EventData, WriteResult};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{connection::Connection, errors::append_error};
use crate::event_store::{Append, AppendError, Appended, ExpectedRevision, pending::PendingAppend};

/// Sends submitted appends until every sender of the channel is dropped, then waits for those in flight.
pub(super) async fn run(
    connection: Arc<Connection>,
    mut submitted: mpsc::UnboundedReceiver<PendingAppend>,
    head: Arc<watch::Sender<Option<Position>>>,
) {
    let mut in_flight = JoinSet::new();
    loop {
        let received = tokio::select! {
            received = submitted.recv() => received,
            Some(_) = in_flight.join_next() => continue,
        };
        let Some(pending) = received else { break };
        if pending.append.events.is_empty() {
            finish(&mut in_flight).await;
            let last_revision = pending.append.expected.next().checked_sub(1);
            let last_position = *head.borrow();
            pending.answer(Ok(Appended { last_revision, last_position }));
        } else {
            in_flight.spawn(send(connection.clone(), head.clone(), pending));
        }
    }
    finish(&mut in_flight).await;
}

async fn finish(in_flight: &mut JoinSet<()>) {
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
        .call(|client| async move { client.append_to_stream(stream, &options, events).await })
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

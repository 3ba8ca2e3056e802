//! Appends on their way to the server: as many at once as there are, in no order of their own.

use std::sync::Arc;

use domain::{NewEvent, Position};
use eventstore::{AppendToStreamOptions, EventData};
use serde_json::value::RawValue;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{connection::Connection, errors::append_error};
use crate::event_store::{Append, AppendError, Appended, Done, ExpectedRevision};

/// An append and who waits for it. Answered in any case: also when the task that sends it panics.
pub(super) struct Pending {
    append: Append,
    done: Option<Done>,
}

impl Pending {
    pub fn new(append: Append, done: Done) -> Self {
        Self { append, done: Some(done) }
    }

    pub fn answer(mut self, outcome: Result<Appended, AppendError>) {
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(AppendError::OutcomeUnknown("sending the append broke off".into())));
        }
    }
}

/// Sends what is submitted until nobody can submit any more, and then finishes what is under way.
pub(super) async fn run(
    connection: Arc<Connection>,
    mut submitted: mpsc::UnboundedReceiver<Pending>,
    head: Arc<watch::Sender<Option<Position>>>,
) {
    let mut under_way = JoinSet::new();
    loop {
        let pending = tokio::select! {
            pending = submitted.recv() => pending,
            Some(_) = under_way.join_next() => continue,
        };
        let Some(pending) = pending else { break };
        if pending.append.events.is_empty() {
            finish(&mut under_way).await;
            let last_revision = pending.append.expected.next().checked_sub(1);
            let last_position = *head.borrow();
            pending.answer(Ok(Appended { last_revision, last_position }));
        } else {
            under_way.spawn(send(connection.clone(), head.clone(), pending));
        }
    }
    finish(&mut under_way).await;
}

async fn finish(under_way: &mut JoinSet<()>) {
    while under_way.join_next().await.is_some() {}
}

async fn send(connection: Arc<Connection>, head: Arc<watch::Sender<Option<Position>>>, pending: Pending) {
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
        Ok(written) => {
            let appended = Appended {
                last_revision: Some(written.next_expected_version),
                last_position: Some(written.position.commit),
            };
            raise(&head, appended.last_position);
            Ok(appended)
        }
        Err(error) => Err(append_error(append.expected, &error)),
    };
    pending.answer(outcome);
}

/// Moves the head forward, never back.
pub(super) fn raise(head: &watch::Sender<Option<Position>>, to: Option<Position>) {
    head.send_if_modified(|head| {
        let ahead = to > *head;
        if ahead {
            *head = to;
        }
        ahead
    });
}

/// The form of an event in EventStoreDB: `type` and `content-type`, our data as it is, our metadata as user metadata.
fn event_data(event: &NewEvent) -> serde_json::Result<EventData> {
    let data: &RawValue = serde_json::from_slice(&event.data)?;
    Ok(EventData::json(event.type_name, &data)?.id(event.id.0).metadata(event.metadata.to_vec().into()))
}

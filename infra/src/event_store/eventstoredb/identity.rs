//! The id of a store: the only event of a dedicated stream.

use eventstore::{
    AppendToStreamOptions, Client, Error, EventData, ExpectedRevision, ReadAllOptions, ReadStreamOptions,
    StreamPosition,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    connection::{CallError, CallKind, Connection},
    errors::EventStoreDbOpenError,
    server::read_to_end,
};

/// Has no hyphen, so it is not the name of an aggregate's stream.
const STREAM: &str = "orderly_store";
const EVENT_TYPE: &str = "store.created.v1";

#[derive(Serialize, Deserialize)]
struct Created {
    store_id: Uuid,
}

pub(super) async fn read(connection: &Connection) -> Result<Option<Uuid>, EventStoreDbOpenError> {
    let options = ReadStreamOptions::default().max_count(1).requires_leader(true);
    let read = |client: Client| async move {
        let (mut answer, mut first) = (client.read_stream(STREAM, &options).await?, None);
        match read_to_end(&mut answer, |event| first = Some(event)).await {
            Ok(()) | Err(Error::ResourceNotFound) => Ok(first),
            Err(error) => Err(error),
        }
    };
    let event = match connection.call(CallKind::StreamRead, read).await {
        Ok(Some(event)) => event,
        Ok(None) => return Ok(None),
        Err(error) => return Err(EventStoreDbOpenError::unreachable(connection, &error).await),
    };
    let created: Created = event.as_json().map_err(|error| {
        let what = format!("the event in its stream {STREAM} is unreadable: {error}");
        EventStoreDbOpenError::Damaged { server: connection.server(), what }
    })?;
    Ok(Some(created.store_id))
}

/// Fails unless the user may read `$all`, which only administrators may by default.
pub(super) async fn check_rights(connection: &Connection) -> Result<(), EventStoreDbOpenError> {
    let options = ReadAllOptions::default().backwards().position(StreamPosition::End).max_count(1);
    let read = |client: Client| async move {
        let mut last = client.read_all(&options).await?;
        while last.next().await?.is_some() {}
        Ok(())
    };
    let called = connection.call(CallKind::AllRead, read).await;
    called.map_err(|error| EventStoreDbOpenError::unreadable_all(connection, &error))
}

/// If several processes start at once on a new server, the first one writes the id and the others read it.
pub(super) async fn read_or_create(connection: &Connection) -> Result<Uuid, EventStoreDbOpenError> {
    if let Some(store_id) = read(connection).await? {
        return Ok(store_id);
    }
    let failed = |error| EventStoreDbOpenError::failed(connection, &error);
    let created = EventData::json(EVENT_TYPE, &Created { store_id: Uuid::now_v7() })
        .map_err(|error| failed(CallError::Failed(Error::InternalParsingError(error.to_string()))))?;
    let options =
        AppendToStreamOptions::default().expected_revision(ExpectedRevision::NoStream).requires_leader(true);
    let append = |client: Client| async move { client.append_to_stream(STREAM, &options, created).await };
    match connection.call(CallKind::Append, append).await {
        Ok(_) | Err(CallError::Failed(Error::WrongExpectedVersion { .. })) => {}
        Err(error) => return Err(failed(error)),
    }
    read(connection).await?.ok_or_else(|| EventStoreDbOpenError::NotAStore { server: connection.server() })
}

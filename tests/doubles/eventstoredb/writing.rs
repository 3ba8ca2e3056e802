//! Appends, single and in batches, and tombstones.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use prost::Message;
use tonic::{Code, Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    errors,
    faults::Answer,
    log::{Proposed, Refusal, Written},
    messages::{
        AnyMessage, AppendPart, AppendRequest, AppendResponse, AppendResult, AppendTooLargeDetail, Appended,
        BatchAppendRequest, BatchAppendResponse, BatchAppendResult, CurrentVersion, Expected, ExpectedDetail,
        ExpectedVersion, LastRevision, LogPosition, MaybePosition, ProposedMessage, RpcStatus,
        StreamDeletedDetail, StreamIdentifier, TombstoneRequest, TombstoneResponse, WriteOptions,
        WrongVersion, WrongVersionDetail,
    },
    reading::stream_name,
    service::{Shared, lock},
};

pub async fn append(
    shared: Arc<Shared>,
    request: Request<Streaming<AppendRequest>>,
) -> Result<Response<AppendResponse>, Status> {
    let mut parts = request.into_inner();
    let Some(AppendPart::Options(options)) = parts.message().await?.and_then(|first| first.part) else {
        return Err(errors::missing("options"));
    };
    let (stream, expected) = target(&options)?;
    let mut events = Vec::new();
    while let Some(part) = parts.message().await? {
        let Some(AppendPart::Message(message)) = part.part else {
            return Err(errors::missing("proposed_message"));
        };
        events.push(proposed(message)?);
    }
    if total_size(&events) > shared.append_bytes_max {
        return Err(errors::append_too_large(shared.append_bytes_max));
    }
    let outcome = lock(&shared.log).append(&stream, expected, &events);
    after_writing(&shared).await?;
    let result = match outcome {
        Ok(written) => AppendResult::Success(appended(written)),
        Err(Refusal::Deleted) => return Err(errors::stream_deleted(&stream)),
        Err(Refusal::WrongVersion(current)) => {
            AppendResult::WrongExpectedVersion(wrong_version(current, expected))
        }
    };
    Ok(Response::new(AppendResponse { result: Some(result) }))
}

/// Applies the planned fault to the answer.
async fn after_writing(shared: &Shared) -> Result<(), Status> {
    match shared.faults.answer() {
        Answer::After(delay) => {
            tokio::time::sleep(delay).await;
            Ok(())
        }
        Answer::Lost => {
            shared.faults.cut_connections();
            Err(Status::unavailable("the connection is cut"))
        }
    }
}

pub type BatchResponses = Pin<Box<dyn Stream<Item = Result<BatchAppendResponse, Status>> + Send>>;

/// Collects the parts of each batch by correlation id, up to the part marked as final. Errors are answers;
/// the call continues.
pub fn batch_append(
    shared: &Arc<Shared>,
    request: Request<Streaming<BatchAppendRequest>>,
) -> Response<BatchResponses> {
    let shared = shared.clone();
    let mut batches: HashMap<Option<Uuid>, Batch> = HashMap::new();
    let responses = request.into_inner().filter_map(move |part| {
        let batch = part.map(|part| {
            let id = part.correlation_id.as_ref().and_then(super::messages::WireUuid::read);
            let batch = batches.entry(id).or_default();
            let is_final = part.is_final;
            batch.add(part);
            is_final.then(|| batches.remove(&id)).flatten()
        });
        let shared = shared.clone();
        async move {
            match batch {
                Ok(None) => None,
                Ok(Some(batch)) => Some(batch.append(&shared).await),
                Err(status) => Some(Err(status)),
            }
        }
    });
    Response::new(responses.boxed())
}

/// The parts of a batch so far.
#[derive(Default)]
struct Batch {
    first: BatchAppendRequest,
    messages: Vec<ProposedMessage>,
}

impl Batch {
    fn add(&mut self, mut part: BatchAppendRequest) {
        self.messages.append(&mut part.messages);
        if self.first.options.is_none() {
            self.first = part;
        }
    }

    async fn append(self, shared: &Shared) -> Result<BatchAppendResponse, Status> {
        let options = self.first.options.ok_or_else(|| errors::missing("options"))?;
        let (stream, expected) = target(&options)?;
        let events = self.messages.into_iter().map(proposed).collect::<Result<Vec<_>, _>>()?;
        let result = if total_size(&events) > shared.append_bytes_max {
            let bytes_max = u32::try_from(shared.append_bytes_max).unwrap_or(u32::MAX);
            let detail = detail("MaximumAppendSizeExceeded", &AppendTooLargeDetail { bytes_max });
            BatchAppendResult::Error(rpc_status(
                Code::InvalidArgument,
                "Maximum Append Size Exceeded",
                detail,
            ))
        } else {
            let outcome = lock(&shared.log).append(&stream, expected, &events);
            after_writing(shared).await?;
            batch_result(outcome, expected, options.stream.as_ref())
        };
        Ok(BatchAppendResponse {
            correlation_id: self.first.correlation_id,
            result: Some(result),
            stream: options.stream,
        })
    }
}

fn batch_result(
    outcome: Result<Written, Refusal>,
    expected: Expected,
    stream: Option<&StreamIdentifier>,
) -> BatchAppendResult {
    match outcome {
        Ok(written) => BatchAppendResult::Success(appended(written)),
        Err(Refusal::Deleted) => {
            let detail = detail("StreamDeleted", &StreamDeletedDetail { stream: stream.cloned() });
            BatchAppendResult::Error(rpc_status(Code::FailedPrecondition, "StreamDeleted", detail))
        }
        Err(Refusal::WrongVersion(current)) => {
            let current = current.map_or(LastRevision::NoStream(()), LastRevision::Revision);
            let expected = match expected {
                Expected::Revision(revision) => ExpectedDetail::Revision(revision),
                Expected::NoStream(()) => ExpectedDetail::NoStream(()),
                Expected::Any(()) => ExpectedDetail::Any(()),
                Expected::StreamExists(()) => ExpectedDetail::StreamExists(()),
            };
            let wrong = WrongVersionDetail { current: Some(current), expected: Some(expected) };
            let detail = detail("WrongExpectedVersion", &wrong);
            BatchAppendResult::Error(rpc_status(Code::FailedPrecondition, "WrongExpectedVersion", detail))
        }
    }
}

pub fn tombstone(
    shared: &Shared,
    request: Request<TombstoneRequest>,
) -> Result<Response<TombstoneResponse>, Status> {
    let options = request.into_inner().options.ok_or_else(|| errors::missing("options"))?;
    let (stream, expected) = target(&options)?;
    match lock(&shared.log).tombstone(&stream, expected) {
        Ok(position) => {
            let position = LogPosition { commit: position, prepare: position };
            Ok(Response::new(TombstoneResponse { position: Some(position) }))
        }
        Err(Refusal::Deleted) => Err(errors::stream_deleted(&stream)),
        Err(Refusal::WrongVersion(actual)) => Err(errors::wrong_version(&stream, expected, actual)),
    }
}

fn target(options: &WriteOptions) -> Result<(String, Expected), Status> {
    let stream = stream_name(options.stream.as_ref())?;
    Ok((stream, options.expected.ok_or_else(|| errors::missing("expected_stream_revision"))?))
}

fn proposed(message: ProposedMessage) -> Result<Proposed, Status> {
    let ProposedMessage { id, mut metadata, custom_metadata, data } = message;
    let mut property = |name: &str| metadata.remove(name).ok_or_else(|| errors::metadata_missing(name));
    Ok(Proposed {
        id: id.and_then(|id| id.read()).ok_or_else(|| errors::missing("id"))?,
        type_name: property("type")?,
        content_type: property("content-type")?,
        data,
        metadata: custom_metadata,
    })
}

fn total_size(events: &[Proposed]) -> usize {
    events.iter().map(Proposed::size).sum()
}

fn appended(written: Written) -> Appended {
    let position = LogPosition { commit: written.position, prepare: written.position };
    Appended {
        last_revision: Some(LastRevision::Revision(written.last_revision)),
        position: Some(MaybePosition::Position(position)),
    }
}

fn wrong_version(current: Option<u64>, expected: Expected) -> WrongVersion {
    let expected = match expected {
        Expected::Revision(revision) => ExpectedVersion::Revision(revision),
        Expected::NoStream(()) => ExpectedVersion::NoStream(()),
        Expected::Any(()) => ExpectedVersion::Any(()),
        Expected::StreamExists(()) => ExpectedVersion::StreamExists(()),
    };
    let current = current.map_or(CurrentVersion::NoStream(()), CurrentVersion::Revision);
    WrongVersion { current: Some(current), expected: Some(expected) }
}

fn detail(name: &str, message: &impl Message) -> AnyMessage {
    AnyMessage {
        type_url: format!("type.googleapis.com/event_store.client.{name}"),
        value: message.encode_to_vec().into(),
    }
}

fn rpc_status(code: Code, message: &str, detail: AnyMessage) -> RpcStatus {
    RpcStatus { code: i32::from(code), message: message.to_owned(), detail: Some(detail) }
}

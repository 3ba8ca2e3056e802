//! Appends, single and in batches, and tombstones.

use std::{collections::HashMap, future::ready, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use prost::Message;
use prost_types::Any;
use tonic::{Code, Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    access::{Caller, Right},
    errors,
    faults::{Cancelled, WriteFault},
    log::{Proposed, Refusal, Written},
    membership::Role,
    messages::{
        AppendPart, AppendRequest, AppendResponse, AppendResult, AppendTooLargeDetail, Appended, AppendedAt,
        BatchAppendRequest, BatchAppendResponse, BatchAppendResult, CurrentDetail, CurrentVersion,
        DeleteRequest, DeleteResponse, Expected, ExpectedDetail, ExpectedVersion, LastRevision, LogPosition,
        ProposedMessage, RpcStatus, StreamDeletedDetail, StreamIdentifier, WireUuid, WriteOptions,
        WrongVersion, WrongVersionDetail,
    },
    reading::stream_name,
    service::{Shared, lock},
};

/// The server's setting `CommitTimeoutMs`, shorter than its default of 2 s.
const COMMIT_TIMEOUT: Duration = Duration::from_millis(300);
/// Batches of one call that are written at once.
const BATCHES_AT_ONCE: usize = 1_024;

pub async fn append(
    shared: Arc<Shared>,
    caller: Caller,
    request: Request<Streaming<AppendRequest>>,
) -> Result<Response<AppendResponse>, Status> {
    shared.count(|calls| calls.appends += 1);
    let mut parts = request.into_inner();
    let Some(AppendPart::Options(options)) = parts.message().await?.and_then(|first| first.part) else {
        return Err(errors::missing("options"));
    };
    let (stream, expected) = target(&options)?;
    caller.check(Right::Write, &stream, &lock(&shared.log))?;
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
    let result = match write(&shared, &stream, expected, events).await? {
        Ok(written) => AppendResult::Success(appended(&shared, written)),
        Err(Refusal::Deleted) => return Err(errors::stream_deleted(&stream)),
        Err(Refusal::WrongVersion(current)) => {
            AppendResult::WrongExpectedVersion(wrong_version(current, expected))
        }
    };
    Ok(Response::new(AppendResponse { result: Some(result) }))
}

/// Writes, with the planned faults before and after it.
async fn write(
    shared: &Arc<Shared>,
    stream: &str,
    expected: Expected,
    events: Vec<Proposed>,
) -> Result<Result<Written, Refusal>, Status> {
    let fault = shared.faults.write_fault();
    if fault == Some(WriteFault::Aborted { written: false }) {
        return Err(errors::timed_out("Prepare phase timeout."));
    }
    let (delay, cancelled) = shared.faults.delay_before_writing();
    let appending = {
        let (shared, stream) = (shared.clone(), stream.to_owned());
        async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            append_as_leader(&shared, &stream, expected, &events).await
        }
    };
    // A call whose client is gone is dropped here, unless the write goes on by itself.
    let outcome = match cancelled {
        Cancelled::NotWritten => appending.await,
        Cancelled::Written => {
            tokio::spawn(appending).await.map_err(|error| Status::internal(error.to_string()))?
        }
    }?;
    match fault {
        Some(WriteFault::Aborted { .. }) => Err(errors::timed_out("Commit phase timeout.")),
        Some(WriteFault::AnswerLost) => {
            shared.faults.cut_connections();
            Err(Status::unavailable("the connection is cut"))
        }
        None => {
            let delay = shared.faults.answer_delay();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Ok(outcome)
        }
    }
}

/// Appends, if the other nodes still follow this one.
async fn append_as_leader(
    shared: &Shared,
    stream: &str,
    expected: Expected,
    events: &[Proposed],
) -> Result<Result<Written, Refusal>, Status> {
    {
        let mut log = lock(&shared.log);
        // A follower has forwarded the append.
        if matches!(shared.role(), Role::Leader | Role::Follower(_)) {
            return Ok(log.append(stream, expected, events));
        }
    }
    tokio::time::sleep(COMMIT_TIMEOUT).await;
    Err(errors::timed_out("Commit phase timeout."))
}

pub type BatchResponses = Pin<Box<dyn Stream<Item = Result<BatchAppendResponse, Status>> + Send>>;

/// Collects the parts of each batch by correlation id, up to the part marked as final. Errors are answers;
/// the call continues.
pub fn batch_append(
    shared: Arc<Shared>,
    caller: Caller,
    requires_leader: bool,
    request: Request<Streaming<BatchAppendRequest>>,
) -> Response<BatchResponses> {
    let mut batches: HashMap<Option<Uuid>, Batch> = HashMap::new();
    let complete = request.into_inner().filter_map(move |part| {
        let batch = part.map(|part| {
            let id = part.correlation_id.as_ref().and_then(WireUuid::read);
            let batch = batches.entry(id).or_default();
            let is_final = part.is_final;
            batch.add(part);
            is_final.then(|| batches.remove(&id)).flatten()
        });
        ready(batch.transpose())
    });
    let responses = complete.map(move |batch| {
        let (shared, caller) = (shared.clone(), caller.clone());
        async move { Ok(batch?.answer(&shared, &caller, requires_leader).await) }
    });
    Response::new(responses.buffer_unordered(BATCHES_AT_ONCE).boxed())
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

    async fn answer(
        self,
        shared: &Arc<Shared>,
        caller: &Caller,
        requires_leader: bool,
    ) -> BatchAppendResponse {
        shared.count(|calls| calls.batches += 1);
        let correlation_id = self.first.correlation_id.clone();
        let stream = self.first.options.as_ref().and_then(|options| options.stream.clone());
        let result = self.append(shared, caller, requires_leader).await;
        let result = result.unwrap_or_else(|status| {
            BatchAppendResult::Error(rpc_status(status.code(), status.message(), Any::default()))
        });
        BatchAppendResponse { correlation_id, result: Some(result), stream }
    }

    async fn append(
        self,
        shared: &Arc<Shared>,
        caller: &Caller,
        requires_leader: bool,
    ) -> Result<BatchAppendResult, Status> {
        if let Some(refusal) = shared.refusal(false, requires_leader) {
            return Err(refusal);
        }
        let options = self.first.options.ok_or_else(|| errors::missing("options"))?;
        let (stream, expected) = target(&options)?;
        caller.check(Right::Write, &stream, &lock(&shared.log))?;
        let events = self.messages.into_iter().map(proposed).collect::<Result<Vec<_>, _>>()?;
        if total_size(&events) > shared.append_bytes_max {
            let bytes_max = u32::try_from(shared.append_bytes_max).unwrap_or(u32::MAX);
            let detail = detail("MaximumAppendSizeExceeded", &AppendTooLargeDetail { bytes_max });
            let message = "Maximum Append Size Exceeded";
            return Ok(BatchAppendResult::Error(rpc_status(Code::InvalidArgument, message, detail)));
        }
        let outcome = write(shared, &stream, expected, events).await?;
        Ok(batch_result(shared, outcome, expected, options.stream.as_ref()))
    }
}

fn batch_result(
    shared: &Shared,
    outcome: Result<Written, Refusal>,
    expected: Expected,
    stream: Option<&StreamIdentifier>,
) -> BatchAppendResult {
    match outcome {
        Ok(written) => BatchAppendResult::Success(appended(shared, written)),
        Err(Refusal::Deleted) => {
            let detail = detail("StreamDeleted", &StreamDeletedDetail { stream: stream.cloned() });
            BatchAppendResult::Error(rpc_status(Code::FailedPrecondition, "StreamDeleted", detail))
        }
        Err(Refusal::WrongVersion(current)) => {
            let current = current.map_or(CurrentDetail::CurrentNoStream(()), CurrentDetail::CurrentRevision);
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

/// Whether a stream may be created again after its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    Soft,
    ForGood,
}

pub fn delete(
    shared: &Shared,
    caller: &Caller,
    deletion: Deletion,
    request: Request<DeleteRequest>,
) -> Result<Response<DeleteResponse>, Status> {
    shared.count(|calls| calls.deletions += 1);
    let options = request.into_inner().options.ok_or_else(|| errors::missing("options"))?;
    let (stream, expected) = target(&options)?;
    let mut log = lock(&shared.log);
    caller.check(Right::Write, &stream, &log)?;
    if shared.role() == Role::LeaderApart {
        return Err(errors::timed_out("Commit phase timeout."));
    }
    let deleted = match deletion {
        Deletion::Soft => log.delete(&stream, expected),
        Deletion::ForGood => log.tombstone(&stream, expected),
    };
    match deleted {
        Ok(position) => {
            let position = LogPosition { commit: position, prepare: position };
            Ok(Response::new(DeleteResponse { position: Some(position) }))
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

fn appended(shared: &Shared, written: Written) -> Appended {
    let position = LogPosition { commit: written.position, prepare: written.position };
    let position =
        if shared.faults.hides_position() { AppendedAt::NoPosition(()) } else { AppendedAt::At(position) };
    Appended { last_revision: Some(LastRevision::Revision(written.last_revision)), position: Some(position) }
}

fn wrong_version(current: Option<u64>, expected: Expected) -> WrongVersion {
    let expected = match expected {
        Expected::Revision(revision) => ExpectedVersion::Revision(revision),
        Expected::NoStream(()) => ExpectedVersion::NoStream(()),
        Expected::Any(()) => ExpectedVersion::Any(()),
        Expected::StreamExists(()) => ExpectedVersion::StreamExists(()),
    };
    let current = current.map_or(CurrentVersion::CurrentNoStream(()), CurrentVersion::CurrentRevision);
    WrongVersion { current: Some(current), expected: Some(expected) }
}

fn detail(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/event_store.client.{name}"), value: message.encode_to_vec() }
}

fn rpc_status(code: Code, message: &str, detail: Any) -> RpcStatus {
    RpcStatus { code: i32::from(code), message: message.to_owned(), detail: Some(detail) }
}

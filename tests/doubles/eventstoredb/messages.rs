//! The messages of the public protocol `event_store.client` that clients of streams use. Field numbers are
//! those of the protocol. The decoder skips all other fields.

mod node;

use std::collections::HashMap;

use bytes::Bytes;
use prost::{Enumeration, Message, Oneof};

pub use self::node::{ClusterInfo, EndPoint, MemberInfo, SupportedMethod, SupportedMethods};

#[derive(Clone, PartialEq, Message)]
pub struct WireUuid {
    #[prost(oneof = "UuidForm", tags = "1, 2")]
    pub form: Option<UuidForm>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum UuidForm {
    #[prost(message, tag = "1")]
    Structured(UuidHalves),
    #[prost(string, tag = "2")]
    Text(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct UuidHalves {
    #[prost(int64, tag = "1")]
    pub most_significant: i64,
    #[prost(int64, tag = "2")]
    pub least_significant: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamIdentifier {
    #[prost(bytes = "bytes", tag = "3")]
    pub name: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct LogPosition {
    #[prost(uint64, tag = "1")]
    pub commit: u64,
    #[prost(uint64, tag = "2")]
    pub prepare: u64,
}

/// The state of the stream that an append or a tombstone expects.
#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum Expected {
    #[prost(uint64, tag = "2")]
    Revision(u64),
    #[prost(message, tag = "3")]
    NoStream(()),
    #[prost(message, tag = "4")]
    Any(()),
    #[prost(message, tag = "5")]
    StreamExists(()),
}

#[derive(Clone, PartialEq, Message)]
pub struct ProposedMessage {
    #[prost(message, optional, tag = "1")]
    pub id: Option<WireUuid>,
    #[prost(map = "string, string", tag = "2")]
    pub metadata: HashMap<String, String>,
    #[prost(bytes = "bytes", tag = "3")]
    pub custom_metadata: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct AppendRequest {
    #[prost(oneof = "AppendPart", tags = "1, 2")]
    pub part: Option<AppendPart>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum AppendPart {
    #[prost(message, tag = "1")]
    Options(WriteOptions),
    #[prost(message, tag = "2")]
    Message(ProposedMessage),
}

#[derive(Clone, PartialEq, Message)]
pub struct WriteOptions {
    #[prost(message, optional, tag = "1")]
    pub stream: Option<StreamIdentifier>,
    #[prost(oneof = "Expected", tags = "2, 3, 4, 5")]
    pub expected: Option<Expected>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AppendResponse {
    #[prost(oneof = "AppendResult", tags = "1, 2")]
    pub result: Option<AppendResult>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum AppendResult {
    #[prost(message, tag = "1")]
    Success(Appended),
    #[prost(message, tag = "2")]
    WrongExpectedVersion(WrongVersion),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Appended {
    #[prost(oneof = "LastRevision", tags = "1, 2")]
    pub last_revision: Option<LastRevision>,
    #[prost(oneof = "MaybePosition", tags = "3, 4")]
    pub position: Option<MaybePosition>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum LastRevision {
    #[prost(uint64, tag = "1")]
    Revision(u64),
    #[prost(message, tag = "2")]
    NoStream(()),
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum MaybePosition {
    #[prost(message, tag = "3")]
    Position(LogPosition),
    #[prost(message, tag = "4")]
    NoPosition(()),
}

/// The answer of a unary append to a wrong version. Servers also fill a second set of fields, for clients
/// before 20.6.1.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct WrongVersion {
    #[prost(oneof = "CurrentVersion", tags = "6, 7")]
    pub current: Option<CurrentVersion>,
    #[prost(oneof = "ExpectedVersion", tags = "8, 9, 10, 11")]
    pub expected: Option<ExpectedVersion>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum CurrentVersion {
    #[prost(uint64, tag = "6")]
    Revision(u64),
    #[prost(message, tag = "7")]
    NoStream(()),
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum ExpectedVersion {
    #[prost(uint64, tag = "8")]
    Revision(u64),
    #[prost(message, tag = "9")]
    Any(()),
    #[prost(message, tag = "10")]
    StreamExists(()),
    #[prost(message, tag = "11")]
    NoStream(()),
}

#[derive(Clone, PartialEq, Message)]
pub struct BatchAppendRequest {
    #[prost(message, optional, tag = "1")]
    pub correlation_id: Option<WireUuid>,
    #[prost(message, optional, tag = "2")]
    pub options: Option<WriteOptions>,
    #[prost(message, repeated, tag = "3")]
    pub messages: Vec<ProposedMessage>,
    #[prost(bool, tag = "4")]
    pub is_final: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct BatchAppendResponse {
    #[prost(message, optional, tag = "1")]
    pub correlation_id: Option<WireUuid>,
    #[prost(oneof = "BatchAppendResult", tags = "2, 3")]
    pub result: Option<BatchAppendResult>,
    #[prost(message, optional, tag = "4")]
    pub stream: Option<StreamIdentifier>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum BatchAppendResult {
    #[prost(message, tag = "2")]
    Error(RpcStatus),
    #[prost(message, tag = "3")]
    Success(Appended),
}

/// `google.rpc.Status`, with one detail, as the server's batches report errors.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, optional, tag = "3")]
    pub detail: Option<AnyMessage>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AnyMessage {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// The detail of a batch that expected another version. Its field numbers differ from those of
/// [`WrongVersion`].
#[derive(Clone, Copy, PartialEq, Message)]
pub struct WrongVersionDetail {
    #[prost(oneof = "LastRevision", tags = "1, 2")]
    pub current: Option<LastRevision>,
    #[prost(oneof = "ExpectedDetail", tags = "3, 4, 5, 6")]
    pub expected: Option<ExpectedDetail>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum ExpectedDetail {
    #[prost(uint64, tag = "3")]
    Revision(u64),
    #[prost(message, tag = "4")]
    Any(()),
    #[prost(message, tag = "5")]
    StreamExists(()),
    #[prost(message, tag = "6")]
    NoStream(()),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamDeletedDetail {
    #[prost(message, optional, tag = "1")]
    pub stream: Option<StreamIdentifier>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct AppendTooLargeDetail {
    #[prost(uint32, tag = "1")]
    pub bytes_max: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct TombstoneRequest {
    #[prost(message, optional, tag = "1")]
    pub options: Option<WriteOptions>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct TombstoneResponse {
    #[prost(message, optional, tag = "1")]
    pub position: Option<LogPosition>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadRequest {
    #[prost(message, optional, tag = "1")]
    pub options: Option<ReadOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadOptions {
    #[prost(oneof = "ReadFrom", tags = "1, 2")]
    pub from: Option<ReadFrom>,
    #[prost(enumeration = "Direction", tag = "3")]
    pub direction: i32,
    #[prost(oneof = "ReadCount", tags = "5, 6")]
    pub count: Option<ReadCount>,
    #[prost(oneof = "ReadFilter", tags = "7, 8")]
    pub filter: Option<ReadFilter>,
    #[prost(message, optional, tag = "9")]
    pub uuid: Option<UuidOption>,
    #[prost(message, optional, tag = "10")]
    pub control: Option<ControlOption>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum ReadFrom {
    #[prost(message, tag = "1")]
    Stream(StreamOptions),
    #[prost(message, tag = "2")]
    All(AllOptions),
}

#[derive(Clone, PartialEq, Message)]
pub struct StreamOptions {
    #[prost(message, optional, tag = "1")]
    pub stream: Option<StreamIdentifier>,
    #[prost(oneof = "RevisionOption", tags = "2, 3, 4")]
    pub revision: Option<RevisionOption>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum RevisionOption {
    #[prost(uint64, tag = "2")]
    Revision(u64),
    #[prost(message, tag = "3")]
    Start(()),
    #[prost(message, tag = "4")]
    End(()),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct AllOptions {
    #[prost(oneof = "AllOption", tags = "1, 2, 3")]
    pub position: Option<AllOption>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum AllOption {
    #[prost(message, tag = "1")]
    Position(LogPosition),
    #[prost(message, tag = "2")]
    Start(()),
    #[prost(message, tag = "3")]
    End(()),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Direction {
    Forwards = 0,
    Backwards = 1,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum ReadCount {
    #[prost(uint64, tag = "5")]
    Count(u64),
    #[prost(message, tag = "6")]
    Subscription(()),
}

#[derive(Clone, PartialEq, Oneof)]
pub enum ReadFilter {
    #[prost(message, tag = "7")]
    Filter(FilterOptions),
    #[prost(message, tag = "8")]
    NoFilter(()),
}

#[derive(Clone, PartialEq, Message)]
pub struct FilterOptions {
    #[prost(oneof = "FilterOn", tags = "1, 2")]
    pub on: Option<FilterOn>,
    #[prost(oneof = "FilterWindow", tags = "3, 4")]
    pub window: Option<FilterWindow>,
    #[prost(uint32, tag = "5")]
    pub checkpoint_interval_multiplier: u32,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum FilterOn {
    #[prost(message, tag = "1")]
    StreamName(Expression),
    #[prost(message, tag = "2")]
    EventType(Expression),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Expression {
    #[prost(string, tag = "1")]
    pub regex: String,
    #[prost(string, repeated, tag = "2")]
    pub prefixes: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum FilterWindow {
    #[prost(uint32, tag = "3")]
    Max(u32),
    #[prost(message, tag = "4")]
    Count(()),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct UuidOption {
    #[prost(oneof = "UuidContent", tags = "1, 2")]
    pub content: Option<UuidContent>,
}

#[derive(Clone, Copy, PartialEq, Eq, Oneof)]
pub enum UuidContent {
    #[prost(message, tag = "1")]
    Structured(()),
    #[prost(message, tag = "2")]
    Text(()),
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ControlOption {
    #[prost(uint32, tag = "1")]
    pub compatibility: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadResponse {
    #[prost(oneof = "ReadContent", tags = "1, 2, 3, 4, 6, 8")]
    pub content: Option<ReadContent>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum ReadContent {
    #[prost(message, tag = "1")]
    Event(ReadEvent),
    #[prost(message, tag = "2")]
    Confirmation(Confirmation),
    #[prost(message, tag = "3")]
    Checkpoint(LogPosition),
    #[prost(message, tag = "4")]
    StreamNotFound(StreamNotFound),
    #[prost(uint64, tag = "6")]
    LastStreamPosition(u64),
    #[prost(message, tag = "8")]
    CaughtUp(()),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Confirmation {
    #[prost(string, tag = "1")]
    pub subscription_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamNotFound {
    #[prost(message, optional, tag = "1")]
    pub stream: Option<StreamIdentifier>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadEvent {
    #[prost(message, optional, tag = "1")]
    pub event: Option<RecordedEvent>,
    #[prost(uint64, optional, tag = "3")]
    pub commit_position: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RecordedEvent {
    #[prost(message, optional, tag = "1")]
    pub id: Option<WireUuid>,
    #[prost(message, optional, tag = "2")]
    pub stream: Option<StreamIdentifier>,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    #[prost(uint64, tag = "4")]
    pub prepare_position: u64,
    #[prost(uint64, tag = "5")]
    pub commit_position: u64,
    #[prost(map = "string, string", tag = "6")]
    pub metadata: HashMap<String, String>,
    #[prost(bytes = "bytes", tag = "7")]
    pub custom_metadata: Bytes,
    #[prost(bytes = "bytes", tag = "8")]
    pub data: Bytes,
}

impl WireUuid {
    pub fn text(id: uuid::Uuid) -> Self {
        Self { form: Some(UuidForm::Text(id.to_string())) }
    }

    pub fn structured(id: uuid::Uuid) -> Self {
        let (most, least) = id.as_u64_pair();
        let halves =
            UuidHalves { most_significant: most.cast_signed(), least_significant: least.cast_signed() };
        Self { form: Some(UuidForm::Structured(halves)) }
    }

    /// `None` for a text that is no UUID.
    pub fn read(&self) -> Option<uuid::Uuid> {
        match self.form.as_ref()? {
            UuidForm::Text(text) => text.parse().ok(),
            UuidForm::Structured(UuidHalves { most_significant, least_significant }) => {
                Some(uuid::Uuid::from_u64_pair(
                    most_significant.cast_unsigned(),
                    least_significant.cast_unsigned(),
                ))
            }
        }
    }
}

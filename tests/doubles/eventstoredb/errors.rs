//! Errors as the server reports them: a gRPC status with the kind of error in the trailer `exception`.

use std::net::SocketAddr;

use tonic::{Code, Status, metadata::MetadataMap};

use super::messages::Expected;

/// A status with trailers. Leaves out values that a trailer cannot hold.
fn with_trailers(code: Code, message: String, trailers: &[(&'static str, &str)]) -> Status {
    let mut metadata = MetadataMap::new();
    for (name, value) in trailers {
        if let Ok(value) = value.parse() {
            metadata.insert(*name, value);
        }
    }
    Status::with_metadata(code, message, metadata)
}

/// A prepare or commit that took too long. The events may be in the log, or come into it later.
pub fn timed_out(phase: &str) -> Status {
    Status::aborted(format!("Operation timed out: {phase}"))
}

/// A call that needs the leader, at another node.
pub fn not_leader(leader: SocketAddr) -> Status {
    let (host, port) = (leader.ip().to_string(), leader.port().to_string());
    let trailers =
        [("exception", "not-leader"), ("leader-endpoint-host", &*host), ("leader-endpoint-port", &*port)];
    with_trailers(Code::NotFound, "Leader info available".to_owned(), &trailers)
}

pub fn no_leader() -> Status {
    Status::unknown("No leader info available in response")
}

pub fn not_ready() -> Status {
    Status::unavailable("Server Is Not Ready")
}

pub fn too_busy() -> Status {
    Status::unavailable("Server Is Too Busy")
}

pub fn access_denied() -> Status {
    with_trailers(Code::PermissionDenied, "Access Denied".to_owned(), &[("exception", "access-denied")])
}

/// A wrong user or password.
pub fn unauthenticated() -> Status {
    Status::unauthenticated("Unauthenticated")
}

pub fn stream_deleted(stream: &str) -> Status {
    let message = format!("Event stream '{stream}' is deleted.");
    let trailers = [("exception", "stream-deleted"), ("stream-name", stream)];
    with_trailers(Code::FailedPrecondition, message, &trailers)
}

pub fn append_too_large(bytes_max: usize) -> Status {
    let message = format!("Maximum Append Size of {bytes_max} Exceeded.");
    let size = bytes_max.to_string();
    let trailers = [("exception", "maximum-append-size-exceeded"), ("maximum-append-size", &size)];
    with_trailers(Code::InvalidArgument, message, &trailers)
}

pub fn metadata_missing(property: &str) -> Status {
    let message = format!("Required Metadata Property '{property}' is missing");
    let trailers =
        [("exception", "missing-required-metadata-property"), ("required-metadata-properties", property)];
    with_trailers(Code::InvalidArgument, message, &trailers)
}

/// A tombstone at a wrong version. Clients parse this text. Appends report a wrong version in their answer
/// instead.
pub fn wrong_version(stream: &str, expected: Expected, actual: Option<u64>) -> Status {
    let actual = actual.map_or_else(|| "-1".to_owned(), |revision| revision.to_string());
    let expected = match expected {
        Expected::Revision(revision) => revision.to_string(),
        Expected::NoStream(()) => "-1".to_owned(),
        Expected::Any(()) => "-2".to_owned(),
        Expected::StreamExists(()) => "-4".to_owned(),
    };
    let message = format!(
        "Delete failed due to WrongExpectedVersion. Stream: {stream}, Expected version: {expected}, \
         Actual version: {actual}"
    );
    let trailers = [
        ("exception", "wrong-expected-version"),
        ("stream-name", stream),
        ("expected-version", &expected),
        ("actual-version", &actual),
    ];
    with_trailers(Code::FailedPrecondition, message, &trailers)
}

/// A read of the whole log at a position inside a record. Before 25.1 the server answers UNKNOWN, which clients
/// cannot tell from a lost connection.
pub fn invalid_position(is_filtered: bool) -> Status {
    let result = if is_filtered { "FilteredReadAllResult" } else { "ReadAllResult" };
    Status::unknown(format!("Unexpected {result}: InvalidPosition"))
}

pub fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("'{field}' is missing, or has a value that is not allowed"))
}

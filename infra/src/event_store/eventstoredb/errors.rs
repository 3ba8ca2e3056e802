//! Maps the errors of the client library, by code. No other module inspects them.

use eventstore::{CurrentRevision, Error};

use super::connection::{CallError, Connection};
use crate::event_store::{AppendError, ExpectedRevision, ReadError};

/// gRPC status codes of requests that the server refused before it did anything.
const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;

/// Why a store cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EventStoreDbOpenError {
    #[error(
        "ORDERLY_EVENT_STORE: no answer from EventStoreDB at {server}: {reason}; check that it runs and is \
         reachable from here, and that the URL has ?tls=false if the server has no certificate"
    )]
    Unreachable { server: String, reason: String },
    #[error(
        "ORDERLY_EVENT_STORE: EventStoreDB at {server} refuses access; put the user and password into the URL \
         (esdb://user:password@host:2113)"
    )]
    AccessDenied { server: String },
    #[error(
        "ORDERLY_EVENT_STORE: EventStoreDB at {server} has no Orderly store yet; start `orderly serve` first"
    )]
    NotAStore { server: String },
    #[error("ORDERLY_EVENT_STORE: the store at {server} is damaged: {what}")]
    Damaged { server: String, what: String },
}

impl EventStoreDbOpenError {
    pub(super) fn failed(connection: &Connection, error: &CallError) -> Self {
        let server = connection.server();
        match error {
            CallError::Failed(Error::AccessDenied) => Self::AccessDenied { server },
            error => Self::Unreachable { server, reason: error.to_string() },
        }
    }

    pub(super) fn unreadable(connection: &Connection, error: ReadError) -> Self {
        let server = connection.server();
        match error {
            ReadError::Unavailable(reason) => Self::Unreachable { server, reason: reason.to_string() },
            ReadError::Corrupt(what) | ReadError::WentBack(what) => {
                Self::Damaged { server, what: what.to_string() }
            }
        }
    }
}

/// Maps a failed append. In doubt the outcome is unknown: a retry with the same ids and expected revision is
/// always safe, but a wrong claim that nothing was written loses or repeats events.
pub(super) fn append_error(expected: ExpectedRevision, error: &CallError) -> AppendError {
    let why = error.to_string().into();
    let CallError::Failed(error) = error else {
        return match error {
            CallError::NotConnected(_) => AppendError::Unavailable(why),
            _ => AppendError::OutcomeUnknown(why),
        };
    };
    match error {
        Error::WrongExpectedVersion { current, .. } => {
            let actual = match current {
                CurrentRevision::Current(revision) => ExpectedRevision::Exact(*revision),
                CurrentRevision::NoStream => ExpectedRevision::NoStream,
            };
            AppendError::WrongExpectedRevision { expected, actual }
        }
        // Nothing was written. For the first two, the client had no connection to send the request on.
        Error::ConnectionClosed
        | Error::GrpcConnectionError(_)
        | Error::AccessDenied
        | Error::ResourceDeleted
        | Error::UnsupportedFeature
        | Error::InitializationError(_) => AppendError::Unavailable(why),
        Error::Grpc { code, .. } if is_refusal(i32::from(*code)) => AppendError::Unavailable(why),
        _ => AppendError::OutcomeUnknown(why),
    }
}

fn is_refusal(code: i32) -> bool {
    matches!(code, INVALID_ARGUMENT | RESOURCE_EXHAUSTED | FAILED_PRECONDITION | OUT_OF_RANGE)
}

impl From<CallError> for ReadError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(Error::ResourceDeleted) => Self::Corrupt("a stream was deleted".into()),
            error => Self::Unavailable(error.to_string().into()),
        }
    }
}

//! Maps the errors of the client library, by code. No other module inspects them.

use std::path::PathBuf;

use eventstore::{CurrentRevision, Error};

use super::{
    connection::{CallError, Connection},
    trust,
};
use crate::event_store::{AppendError, ExpectedRevision, ReadError};

/// gRPC status codes that only a server sends, for requests that it refused before it did anything.
///
/// The client library makes up a status for its own failures, also after the server has written. It uses
/// RESOURCE_EXHAUSTED and CANCELLED for a connection that ended, and OUT_OF_RANGE for an answer that it cannot
/// read (`tonic` 0.12, `Status::code_from_h2` and `codec/decode.rs`). So these prove nothing. ABORTED is the
/// server's, but it means that a write was not confirmed in time.
const INVALID_ARGUMENT: i32 = 3;
const FAILED_PRECONDITION: i32 = 9;

/// Why a store cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EventStoreDbOpenError {
    #[error(
        "ORDERLY_EVENT_STORE: no answer from EventStoreDB at {server}: {reason}; check that it runs and is \
         reachable from here, and that the URL has ?tls=false if the server has no certificate"
    )]
    Unreachable { server: String, reason: String },
    #[error(
        "ORDERLY_EVENT_STORE: EventStoreDB at {server} refuses access to {user}: check the user and the password in the \
         URL (esdb://user:password@host:2113), and that the user may read and write the stream orderly_store"
    )]
    AccessDenied { server: String, user: String },
    #[error(
        "ORDERLY_EVENT_STORE: {user} may not read $all of EventStoreDB at {server}: let an administrator add the user \
         to `$r` in the access list of $all, as docs/operating.md shows"
    )]
    MayNotReadAll { server: String, user: String },
    #[error(
        "ORDERLY_EVENT_STORE: the certificate of EventStoreDB is not accepted ({reason}): add tlsCAFile=FILE to the \
         URL, with the certificate of the authority that signed it, or use a host name that it names"
    )]
    Untrusted { reason: String },
    #[error("ORDERLY_EVENT_STORE: cannot read the certificates of {} (tlsCAFile): {reason}", path.display())]
    CaFile { path: PathBuf, reason: String },
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
            CallError::Failed(Error::AccessDenied) => Self::AccessDenied { server, user: user(connection) },
            error => Self::Unreachable { server, reason: error.to_string() },
        }
    }

    /// The first call of a process has failed.
    pub(super) async fn unreachable(connection: &Connection, error: &CallError) -> Self {
        if let CallError::NotConnected(_) = error
            && let Some(reason) = trust::refusal(connection.config()).await
        {
            return Self::Untrusted { reason };
        }
        Self::failed(connection, error)
    }

    /// A read of `$all` has failed.
    pub(super) fn unreadable_all(connection: &Connection, error: &CallError) -> Self {
        match error {
            CallError::Failed(Error::AccessDenied) => {
                Self::MayNotReadAll { server: connection.server(), user: user(connection) }
            }
            error => Self::failed(connection, error),
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

fn user(connection: &Connection) -> String {
    match connection.config().user() {
        Some(user) => format!("the user {user:?}"),
        None => "callers without a user".to_owned(),
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
        // Nothing was written. For the first two, the client had no connection to send the request on. The server
        // or a proxy before it says the others, and the library makes up none of them for a request that arrived.
        Error::ConnectionClosed
        | Error::GrpcConnectionError(_)
        | Error::NotLeaderException(_)
        | Error::AccessDenied
        | Error::ResourceDeleted => AppendError::Unavailable(why),
        Error::Grpc { code, .. } if is_refusal(i32::from(*code)) => AppendError::Unavailable(why),
        _ => AppendError::OutcomeUnknown(why),
    }
}

fn is_refusal(code: i32) -> bool {
    matches!(code, INVALID_ARGUMENT | FAILED_PRECONDITION)
}

impl From<CallError> for ReadError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(Error::ResourceDeleted) => Self::Corrupt("a stream was deleted".into()),
            error => Self::Unavailable(error.to_string().into()),
        }
    }
}

#[cfg(test)]
mod tests;

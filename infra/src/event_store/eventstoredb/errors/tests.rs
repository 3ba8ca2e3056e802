use std::time::Duration;

use eventstore::Endpoint;

use super::*;

/// gRPC status codes.
const CANCELLED: i32 = 1;
const RESOURCE_EXHAUSTED: i32 = 8;
const ABORTED: i32 = 10;
const OUT_OF_RANGE: i32 = 11;

fn outcome(error: Error) -> AppendError {
    append_error(ExpectedRevision::NoStream, &CallError::Failed(error))
}

fn status(code: i32) -> Error {
    Error::Grpc { code: code.into(), message: "a status".to_owned() }
}

fn leader() -> Endpoint {
    Endpoint { host: "other".to_owned(), port: 2113 }
}

#[test]
fn an_append_is_refused_only_by_a_status_that_the_client_library_never_makes_up() {
    for error in [
        status(INVALID_ARGUMENT),
        status(FAILED_PRECONDITION),
        Error::NotLeaderException(leader()),
        Error::AccessDenied,
        Error::ResourceDeleted,
        Error::ConnectionClosed,
    ] {
        let outcome = outcome(error);
        assert!(matches!(outcome, AppendError::Unavailable(_)), "{outcome}");
    }
}

#[test]
fn an_append_after_any_other_status_may_have_been_written() {
    for error in [
        status(CANCELLED),
        status(RESOURCE_EXHAUSTED),
        status(ABORTED),
        status(OUT_OF_RANGE),
        Error::DeadlineExceeded,
        Error::UnsupportedFeature,
        Error::ServerError("UNKNOWN".to_owned()),
    ] {
        let outcome = outcome(error);
        assert!(matches!(outcome, AppendError::OutcomeUnknown(_)), "{outcome}");
    }
}

#[test]
fn an_append_without_a_connection_is_refused_and_one_without_an_answer_is_unknown() {
    let refused = append_error(ExpectedRevision::NoStream, &CallError::NotConnected("no server".into()));
    assert!(matches!(refused, AppendError::Unavailable(_)), "{refused}");
    let unknown = append_error(ExpectedRevision::NoStream, &CallError::TimedOut(Duration::from_secs(5)));
    assert!(matches!(unknown, AppendError::OutcomeUnknown(_)), "{unknown}");
}

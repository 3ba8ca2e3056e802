//! What can go wrong with a query, and the one place that says how it is answered.

use axum::response::{IntoResponse, Response};
use domain::Revision;
use infra::{
    event_store::ReadError,
    http::{Code, FieldError, Problem},
    read_models::ReadModelError,
};

/// Why a query is not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The kind of resource, such as `order`.
    #[error("there is no such {0}")]
    NoSuchResource(&'static str),
    #[error("a parameter is not valid")]
    InvalidParameters(Vec<FieldError>),
    #[error("the cursor is not valid")]
    InvalidCursor,
    #[error("the read model stands at {reached:?}, not at {wanted}")]
    RevisionNotReached { wanted: Revision, reached: Option<Revision> },
    #[error("the stream is parked")]
    ProjectionParked,
    #[error("too many queries are under way")]
    Overloaded,
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error(transparent)]
    EventLog(#[from] ReadError),
}

impl QueryError {
    /// One parameter is not valid.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::InvalidParameters(vec![FieldError { field: field.to_owned(), message: message.into() }])
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::NoSuchResource(kind) => {
                Self::new(Code::NotFound).detail(format!("there is no such {kind}"))
            }
            QueryError::InvalidParameters(errors) => {
                let problem = Self::new(Code::InvalidParameter);
                errors.into_iter().fold(problem, |problem, error| problem.error(error.field, error.message))
            }
            QueryError::InvalidCursor => Self::new(Code::InvalidCursor),
            QueryError::RevisionNotReached { wanted, reached } => {
                let reached = reached
                    .map_or("nothing of it is projected yet".to_owned(), |at| format!("it stands at {at}"));
                Self::new(Code::RevisionNotReached)
                    .detail(format!("revision {wanted} of the resource is wanted; {reached}"))
            }
            QueryError::ProjectionParked => Self::new(Code::ProjectionParked),
            QueryError::Overloaded => Self::new(Code::Overloaded),
            QueryError::ReadModels(error) => {
                tracing::error!(%error, "a query failed");
                match error {
                    ReadModelError::Unavailable(_) => Self::new(Code::Unavailable),
                    ReadModelError::Corrupt(_) | ReadModelError::CheckpointMoved => Self::new(Code::Internal),
                }
            }
            QueryError::EventLog(error) => {
                tracing::error!(%error, "The event log cannot answer a query");
                match error {
                    ReadError::Unavailable(_) => Self::new(Code::Unavailable)
                        .detail("this process cannot read the event store, which holds what is asked for"),
                    ReadError::Corrupt(_) => Self::new(Code::Internal),
                }
            }
        }
    }
}

impl IntoResponse for QueryError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

//! Errors of queries, each with the codes that it can be answered with.

use domain::Revision;
use infra::{
    event_store::ReadError,
    http::{Code, Problem, ProblemSource},
    operations::OperationsError,
    read_models::ReadModelError,
};

/// A query without a result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("too many queries are running")]
    Overloaded,
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error(transparent)]
    EventLog(#[from] ReadError),
    #[error(transparent)]
    Operations(#[from] OperationsError),
}

impl ProblemSource for QueryError {
    const CODES: &'static [Code] = &[Code::Overloaded, Code::Unavailable, Code::Internal];

    fn problem(self) -> Problem {
        match self {
            Self::Overloaded => Problem::new(Code::Overloaded),
            Self::ReadModels(error) => error.problem(),
            Self::EventLog(error) => error.problem(),
            Self::Operations(error) => error.problem(),
        }
    }
}

/// A query for a revision, without a result.
#[derive(Debug, thiserror::Error)]
pub enum FreshnessError {
    #[error("the read model has revision {reached:?}; {wanted} is required")]
    NotReached { wanted: Revision, reached: Option<Revision> },
    #[error("the stream is parked")]
    Parked,
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl ProblemSource for FreshnessError {
    const CODES: &'static [Code] = &[
        Code::RevisionNotReached,
        Code::ProjectionParked,
        Code::Overloaded,
        Code::Unavailable,
        Code::Internal,
    ];

    fn problem(self) -> Problem {
        match self {
            Self::NotReached { wanted, reached: Some(reached) } => Problem::new(Code::RevisionNotReached)
                .detail(format!("the read model has revision {reached}; {wanted} is required")),
            Self::NotReached { wanted, reached: None } => Problem::new(Code::RevisionNotReached)
                .detail(format!("the read model has no revision of the resource yet; {wanted} is required")),
            Self::Parked => Problem::new(Code::ProjectionParked),
            Self::Query(error) => error.problem(),
        }
    }
}

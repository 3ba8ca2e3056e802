//! Failures of the stores as problems. Logs each failure once and hides its inner text from the caller.

use std::{fmt::Display, time::Duration};

use super::{Code, Problem, ProblemSource};
use crate::{
    event_store::ReadError, log_limit::LogLimit, operations::OperationsError, read_models::ReadModelError,
};

/// The codes of every failure in this module.
pub const FAILURES: &[Code] = &[Code::Unavailable, Code::LogWentBack, Code::Internal];

impl ProblemSource for ReadError {
    const CODES: &'static [Code] = FAILURES;

    fn problem(self) -> Problem {
        log_failure(&self, "Cannot read the event store; the request fails");
        match self {
            Self::Unavailable(_) => {
                Problem::new(Code::Unavailable).detail("this process cannot read the event store")
            }
            Self::WentBack(_) => Problem::new(Code::LogWentBack),
            Self::Corrupt(_) => Problem::new(Code::Internal),
        }
    }
}

impl ProblemSource for ReadModelError {
    const CODES: &'static [Code] = FAILURES;

    fn problem(self) -> Problem {
        log_failure(&self, "Cannot read the read models; the request fails");
        match self {
            Self::Unavailable(_) => Problem::new(Code::Unavailable),
            Self::Corrupt(_) | Self::Row(_) | Self::CheckpointMoved => Problem::new(Code::Internal),
        }
    }
}

impl ProblemSource for OperationsError {
    const CODES: &'static [Code] = FAILURES;

    fn problem(self) -> Problem {
        log_failure(&self, "Cannot read or write the operations database; the request fails");
        Problem::new(Code::Unavailable)
    }
}

/// Each request fails while a store is down, so most lines are omitted.
fn log_failure(error: &dyn Display, what_follows: &str) {
    static FAILURES: LogLimit = LogLimit::new(Duration::from_secs(1));
    if let Some(omitted) = FAILURES.pass() {
        tracing::error!(%error, lines.omitted = omitted, "{what_follows}");
    }
}

macro_rules! problems_from {
    ($($error:ty),*) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                error.problem()
            }
        }
    )*};
}
problems_from!(ReadError, ReadModelError, OperationsError);

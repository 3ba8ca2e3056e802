//! Failures of the stores as problems: logged here, once, and answered without their inner text.

use super::{Code, Problem};
use crate::{event_store::ReadError, operations::OperationsError, read_models::ReadModelError};

/// The codes of every failure in this module.
pub const FAILURES: &[Code] = &[Code::Unavailable, Code::Internal];

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "Cannot read the event store; the request fails");
        match error {
            ReadError::Unavailable(_) => {
                Self::new(Code::Unavailable).detail("this process cannot read the event store")
            }
            ReadError::Corrupt(_) => Self::new(Code::Internal),
        }
    }
}

impl From<ReadModelError> for Problem {
    fn from(error: ReadModelError) -> Self {
        tracing::error!(%error, "Cannot read the read models; the request fails");
        match error {
            ReadModelError::Unavailable(_) => Self::new(Code::Unavailable),
            ReadModelError::Corrupt(_) | ReadModelError::CheckpointMoved => Self::new(Code::Internal),
        }
    }
}

impl From<OperationsError> for Problem {
    fn from(error: OperationsError) -> Self {
        tracing::error!(%error, "Cannot read or write the operations database; the request fails");
        Self::new(Code::Unavailable)
    }
}

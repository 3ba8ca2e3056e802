//! Classifies errors of Postgres and of its connections, by SQLSTATE and never by text.

use std::{error::Error as _, sync::Arc};

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::{Error, error::SqlState};

/// The class of an error.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Transient. The outcome of a commit is unknown.
    Unavailable(Arc<str>),
    /// Stored data or tables are damaged.
    Corrupt(Arc<str>),
    /// The database refuses the values of a statement.
    Refused(Arc<str>),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text: Arc<str> = describe(&error).into();
        match error.code() {
            Some(code) if is_refusal(code) => Self::Refused(text),
            Some(code) if is_damage(code) => Self::Corrupt(text),
            // Without a code, the server has not answered.
            _ => Self::Unavailable(text),
        }
    }
}

/// Class 22: a value does not fit its column. Class 23: a row breaks a constraint. Code 54000: a row or an
/// index entry is too large.
fn is_refusal(code: &SqlState) -> bool {
    matches!(code.code().get(..2), Some("22" | "23")) || *code == SqlState::PROGRAM_LIMIT_EXCEEDED
}

/// By class: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn is_damage(code: &SqlState) -> bool {
    match code.code().get(..2) {
        // XX: damaged pages.
        Some("XX") => true,
        // 42: missing tables and columns. Missing rights have this class too, and are no damage.
        Some("42") => *code != SqlState::INSUFFICIENT_PRIVILEGE,
        _ => false,
    }
}

/// The server's message and code. Leaves out the detail, which quotes values.
fn describe(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(answer), _) => format!("{} (SQLSTATE {})", answer.message(), answer.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

impl From<PoolError> for Fault {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(TimeoutType::Wait) => {
                Self::Unavailable("every connection to Postgres is in use".into())
            }
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Self::Unavailable("Postgres does not answer".into())
            }
            PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
                Self::Unavailable(error.to_string().into())
            }
        }
    }
}

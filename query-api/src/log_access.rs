//! Access to the event log, from which the query API answers timelines.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use infra::event_store::{EventLog, ReadError};
use tokio::sync::OnceCell;

type Open = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn EventLog>, ReadError>> + Send + Sync>;

/// The event log. The first request opens it. After a failure, the next request tries again. Queries of the
/// read models work while the log is unreachable.
pub struct LogAccess {
    open: Open,
    opened: OnceCell<Arc<dyn EventLog>>,
}

impl LogAccess {
    /// A log that is already open.
    pub fn of(log: Arc<dyn EventLog>) -> Self {
        let unused: Open =
            Box::new(|| Box::pin(async { Err(ReadError::Unavailable("the log is already open".into())) }));
        Self { open: unused, opened: OnceCell::new_with(Some(log)) }
    }

    /// A log that `open` opens read-only.
    pub fn opened_by<F>(open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn EventLog>, ReadError>> + Send + 'static,
    {
        Self { open: Box::new(move || Box::pin(open())), opened: OnceCell::new() }
    }

    pub(crate) async fn get(&self) -> Result<&dyn EventLog, ReadError> {
        Ok(self.opened.get_or_try_init(|| (self.open)()).await?.as_ref())
    }
}

impl fmt::Debug for LogAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogAccess").field("is_open", &self.opened.initialized()).finish_non_exhaustive()
    }
}

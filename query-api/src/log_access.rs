//! Access to the event log, from which the query API answers timelines, lists of events and the feed.

use std::{fmt, sync::Arc};

use domain::Position;
use futures::future::BoxFuture;
use infra::event_store::{EventLog, ReadError};
use tokio::sync::{OnceCell, watch};

type Open = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn EventLog>, ReadError>> + Send + Sync>;

/// The event log. The first request opens it. After a failure, the next request tries again. Queries of the
/// read models work while the log is unreachable.
pub struct LogAccess {
    open: Open,
    opened: OnceCell<Arc<dyn EventLog>>,
    head: Option<watch::Receiver<Option<Position>>>,
}

impl LogAccess {
    /// A log that is already open.
    pub fn of(log: Arc<dyn EventLog>) -> Self {
        let unused: Open =
            Box::new(|| Box::pin(async { Err(ReadError::Unavailable("the log is already open".into())) }));
        Self { open: unused, opened: OnceCell::new_with(Some(log)), head: None }
    }

    /// A log that `open` opens read-only.
    pub fn opened_by<F>(open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Arc<dyn EventLog>, ReadError>> + Send + 'static,
    {
        Self { open: Box::new(move || Box::pin(open())), opened: OnceCell::new(), head: None }
    }

    /// A log of an event store of this process, which says where it ends.
    pub fn ending_at(self, head: watch::Receiver<Option<Position>>) -> Self {
        Self { head: Some(head), ..self }
    }

    /// Watches the end of the log. `None` if only a read shows it.
    pub(crate) fn head(&self) -> Option<watch::Receiver<Option<Position>>> {
        self.head.clone()
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

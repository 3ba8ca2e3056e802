//! Why a log delivers no new events.

use tokio::sync::watch;

use super::ReadError;

/// Watches the reader of a log that another process writes to. An embedded log has no outages.
#[derive(Debug, Clone, Default)]
pub struct Outage(Option<watch::Receiver<Option<ReadError>>>);

impl Outage {
    /// Waits for an outage, and returns its cause at once while there is one. Cancel safe.
    pub async fn cause(&mut self) -> ReadError {
        if let Some(causes) = &mut self.0
            && let Ok(cause) = causes.wait_for(Option::is_some).await
            && let Some(error) = &*cause
        {
            return error.clone();
        }
        // The reader ends with its store. The head shows that.
        std::future::pending().await
    }
}

impl From<watch::Receiver<Option<ReadError>>> for Outage {
    fn from(causes: watch::Receiver<Option<ReadError>>) -> Self {
        Self(Some(causes))
    }
}

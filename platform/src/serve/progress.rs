//! What the command API reads of the projectors' progress: their checkpoints and the end of the log.

use std::sync::Arc;

use command_api::backlog::Reading;
use infra::{event_store::EventLog, read_models::ProjectionQueries};
use tokio::sync::OnceCell;

use super::ServeConfig;
use crate::{config::ReadModelsUrl, stores::Views};

/// The checkpoints of the read models. Opened at the first reading if no other role has them open, so a command
/// API starts and works while they are down.
pub(super) struct ReadModelProgress {
    read_models: ReadModelsUrl,
    queries: OnceCell<Arc<dyn ProjectionQueries>>,
    log: Arc<dyn EventLog>,
}

impl ReadModelProgress {
    pub(super) fn new(config: &ServeConfig, views: Option<&Views>, log: Arc<dyn EventLog>) -> Self {
        let opened = views.map(|views| Arc::clone(&views.projections));
        Self { read_models: config.read_models.clone(), queries: OnceCell::new_with(opened), log }
    }

    /// `None` if the read models or the log cannot be read now.
    pub(super) async fn read(&self) -> Option<Reading> {
        let open = async || Views::open(&self.read_models).await.map(|views| views.projections);
        let queries = self.queries.get_or_try_init(open).await;
        let queries =
            queries.inspect_err(|error| tracing::debug!(%error, "Cannot open the read models")).ok()?;
        let checkpoints = queries.checkpoints().await.ok()?;
        let latest =
            checkpoints.iter().filter_map(|row| row.last_event.as_ref()).max_by_key(|mark| mark.position);
        let head = match latest.and_then(|mark| self.log.last_followed(mark)) {
            Some(last) => Some(last.position),
            // Read last, so no reading is ahead of the log.
            None => self.log.last_position().await.ok()?,
        };
        Some(Reading::of(&checkpoints, head))
    }
}

//! Read models whose writes wait until a test lets them go on.

use std::sync::Arc;

use async_trait::async_trait;
use domain::StreamName;
use infra::{
    event_source::{Partition, Reached},
    read_models::{
        BindError, Changes, Generation, ParkedStream, ReadModelError, ReadModels, RowKeys, Rows,
        sqlite::SqliteReadModels,
    },
};
use tokio::sync::watch;

/// Holds every caller until it is opened. It stays open.
#[derive(Clone)]
pub struct Gate {
    reached: watch::Sender<bool>,
    is_open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { reached: watch::Sender::new(false), is_open: watch::Sender::new(false) }
    }
}

impl Gate {
    /// Waits until a caller stands before the gate.
    pub async fn reached(&self) {
        self.reached.subscribe().wait_for(|reached| *reached).await.unwrap();
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    async fn pass(&self) {
        self.reached.send_replace(true);
        self.is_open.subscribe().wait_for(|is_open| *is_open).await.unwrap();
    }
}

/// Read models with gates before each commit and after each successful commit or rehearsal.
pub struct PacedReadModels {
    inner: Arc<SqliteReadModels>,
    before_commit: Option<Gate>,
    after_write: Option<Gate>,
}

impl PacedReadModels {
    pub fn new(inner: &Arc<SqliteReadModels>) -> Self {
        Self { inner: Arc::clone(inner), before_commit: None, after_write: None }
    }

    pub fn before_commit(self, gate: &Gate) -> Self {
        Self { before_commit: Some(gate.clone()), ..self }
    }

    pub fn after_write(self, gate: &Gate) -> Self {
        Self { after_write: Some(gate.clone()), ..self }
    }
}

async fn pass(gate: Option<&Gate>) {
    if let Some(gate) = gate {
        gate.pass().await;
    }
}

#[async_trait]
impl ReadModels for PacedReadModels {
    async fn bind(&self, store_id: uuid::Uuid) -> Result<(), BindError> {
        self.inner.bind(store_id).await
    }

    async fn generation(&self) -> Result<Generation, ReadModelError> {
        self.inner.generation().await
    }

    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Reached>, ReadModelError> {
        self.inner.checkpoint(partition).await
    }

    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError> {
        self.inner.load(keys).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError> {
        pass(self.before_commit.as_ref()).await;
        self.inner.commit(changes).await?;
        pass(self.after_write.as_ref()).await;
        Ok(())
    }

    async fn rehearse(&self, changes: Changes) -> Result<(), ReadModelError> {
        self.inner.rehearse(changes).await?;
        pass(self.after_write.as_ref()).await;
        Ok(())
    }

    async fn parked(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.inner.parked().await
    }

    async fn request_retry(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        self.inner.request_retry(stream).await
    }

    async fn retry_requests(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.inner.retry_requests().await
    }
}

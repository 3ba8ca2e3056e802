//! The webhook store in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use infra::operations::{sqlite::SqliteOperations, webhooks::WebhookStore};
use tempfile::TempDir;

use super::{Fixture, webhooks_contract};

struct Sqlite {
    directory: TempDir,
    store: Arc<SqliteOperations>,
}

#[async_trait]
impl Fixture for Sqlite {
    async fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteOperations::open(&directory.path().join("operations.db")).unwrap());
        Self { directory, store }
    }

    fn store(&self) -> Arc<dyn WebhookStore> {
        self.store.clone()
    }

    async fn store_elsewhere(&self) -> Arc<dyn WebhookStore> {
        Arc::new(SqliteOperations::open(&self.directory.path().join("operations.db")).unwrap())
    }

    async fn execute(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.directory.path().join("operations.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    }
}

webhooks_contract!(Sqlite);

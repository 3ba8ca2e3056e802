//! The webhook store in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use infra::{
    operations::{sqlite::SqliteOperations, webhooks::WebhookStore},
    sealing::SecretKeys,
};
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

    async fn store_with_keys(&self, keys: SecretKeys) -> Arc<dyn WebhookStore> {
        let store = SqliteOperations::open(&self.directory.path().join("operations.db")).unwrap();
        Arc::new(store.with_secret_keys(keys))
    }

    async fn execute(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.directory.path().join("operations.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    async fn found_in_files(&self, texts: &[String]) -> usize {
        let files = std::fs::read_dir(self.directory.path()).unwrap();
        let files: Vec<Vec<u8>> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        let is_found = |text: &&String| {
            files.iter().any(|file| file.windows(text.len()).any(|window| window == text.as_bytes()))
        };
        texts.iter().filter(is_found).count()
    }
}

webhooks_contract!(Sqlite);

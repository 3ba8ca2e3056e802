//! The store of reconciliations in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use infra::operations::{reconciliations::Reconciliations, sqlite::SqliteOperations};
use tempfile::TempDir;

use super::{Fixture, reconciliations_contract};

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

    fn store(&self) -> Arc<dyn Reconciliations> {
        self.store.clone()
    }

    async fn store_elsewhere(&self) -> Arc<dyn Reconciliations> {
        Arc::new(SqliteOperations::open(&self.directory.path().join("operations.db")).unwrap())
    }
}

reconciliations_contract!(Sqlite);

//! The store of parked reactions in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use infra::operations::{parked::ParkedReactions, sqlite::SqliteOperations};
use tempfile::TempDir;

use super::{Fixture, parked_reactions_contract};

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

    fn store(&self) -> Arc<dyn ParkedReactions> {
        self.store.clone()
    }

    async fn store_elsewhere(&self) -> Arc<dyn ParkedReactions> {
        Arc::new(SqliteOperations::open(&self.directory.path().join("operations.db")).unwrap())
    }
}

parked_reactions_contract!(Sqlite);

//! The read models in SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use infra::read_models::{
    OverdueQueries, Queries, ReadModels,
    sqlite::{SqliteQueries, SqliteReadModels},
};
use tempfile::TempDir;

use super::{Fixture, read_models_contract};

struct Sqlite {
    directory: TempDir,
    models: Arc<SqliteReadModels>,
}

#[async_trait]
impl Fixture for Sqlite {
    async fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let models = Arc::new(SqliteReadModels::open(&directory.path().join("read-models.db")).unwrap());
        Self { directory, models }
    }

    fn models(&self) -> Arc<dyn ReadModels> {
        self.models.clone()
    }

    fn queries(&self) -> Arc<dyn Queries> {
        Arc::new(self.models.queries())
    }

    fn overdue(&self) -> Arc<dyn OverdueQueries> {
        Arc::new(self.models.queries())
    }

    async fn queries_elsewhere(&self) -> Arc<dyn Queries> {
        Arc::new(SqliteQueries::open_read_only(&self.directory.path().join("read-models.db")).unwrap())
    }
}

read_models_contract!(Sqlite);

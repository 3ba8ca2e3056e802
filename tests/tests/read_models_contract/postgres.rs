//! The read models in Postgres.

use std::sync::Arc;

use async_trait::async_trait;
use infra::{
    postgres::Database,
    read_models::{
        OverdueQueries, Queries, ReadModels,
        postgres::{PostgresQueries, PostgresReadModels},
    },
};

use super::{Fixture, read_models_contract};
use crate::support::TestDatabase;

struct Postgres {
    models: Arc<PostgresReadModels>,
    queries: Arc<PostgresQueries>,
    database: TestDatabase,
}

#[async_trait]
impl Fixture for Postgres {
    async fn fresh() -> Self {
        let database = TestDatabase::create().await;
        let connected = Database::connect(database.url().parse().unwrap()).await.unwrap();
        let models = Arc::new(PostgresReadModels::open(connected.clone()).await.unwrap());
        let queries = Arc::new(PostgresQueries::open(connected).await.unwrap());
        Self { models, queries, database }
    }

    fn models(&self) -> Arc<dyn ReadModels> {
        self.models.clone()
    }

    fn queries(&self) -> Arc<dyn Queries> {
        self.queries.clone()
    }

    fn overdue(&self) -> Arc<dyn OverdueQueries> {
        self.queries.clone()
    }

    async fn queries_elsewhere(&self) -> Arc<dyn Queries> {
        let connected = Database::connect(self.database.url().parse().unwrap()).await.unwrap();
        Arc::new(PostgresQueries::open(connected).await.unwrap())
    }
}

read_models_contract!(
    #[ignore = "needs Postgres: infra/dev/services up"]
    Postgres
);

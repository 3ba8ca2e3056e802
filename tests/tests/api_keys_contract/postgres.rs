//! The store of API keys in Postgres.

use std::sync::Arc;

use async_trait::async_trait;
use infra::{
    operations::{api_keys::ApiKeys, postgres::PostgresOperations},
    postgres::Database,
};

use super::{Fixture, api_keys_contract};
use crate::support::TestDatabase;

struct Postgres {
    database: TestDatabase,
    store: Arc<PostgresOperations>,
}

#[async_trait]
impl Fixture for Postgres {
    async fn fresh() -> Self {
        let database = TestDatabase::create().await;
        let connected = Database::connect(database.url().parse().unwrap()).await.unwrap();
        Self { database, store: Arc::new(PostgresOperations::new(connected)) }
    }

    fn store(&self) -> Arc<dyn ApiKeys> {
        self.store.clone()
    }

    async fn store_elsewhere(&self) -> Arc<dyn ApiKeys> {
        Arc::new(PostgresOperations::connecting_when_used(self.database.url().parse().unwrap()))
    }
}

api_keys_contract!(
    #[ignore = "needs Postgres: infra/dev/services up"]
    Postgres
);

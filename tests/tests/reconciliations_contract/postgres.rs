//! The store of reconciliations in Postgres.

use std::sync::Arc;

use async_trait::async_trait;
use infra::{
    operations::{postgres::PostgresOperations, reconciliations::Reconciliations},
    postgres::Database,
};

use super::{Fixture, reconciliations_contract};
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

    fn store(&self) -> Arc<dyn Reconciliations> {
        self.store.clone()
    }

    async fn store_elsewhere(&self) -> Arc<dyn Reconciliations> {
        Arc::new(PostgresOperations::connecting_when_used(self.database.url().parse().unwrap()))
    }
}

reconciliations_contract!(
    #[ignore = "needs Postgres: infra/dev/services up"]
    Postgres
);

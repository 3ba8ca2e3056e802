//! The webhook store in Postgres.

use std::sync::Arc;

use async_trait::async_trait;
use infra::{
    operations::{postgres::PostgresOperations, webhooks::WebhookStore},
    postgres::Database,
    sealing::SecretKeys,
};

use super::{Fixture, webhooks_contract};
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

    fn store(&self) -> Arc<dyn WebhookStore> {
        self.store.clone()
    }

    async fn store_elsewhere(&self) -> Arc<dyn WebhookStore> {
        Arc::new(PostgresOperations::connecting_when_used(self.database.url().parse().unwrap()))
    }

    async fn store_with_keys(&self, keys: SecretKeys) -> Arc<dyn WebhookStore> {
        let options = self.database.url().parse().unwrap();
        Arc::new(PostgresOperations::connecting_when_used(options).with_secret_keys(keys))
    }

    async fn execute(&self, sql: &str) {
        let client = self.database.client().await;
        client.batch_execute(&format!("SET search_path = orderly; {sql}")).await.unwrap();
    }

    async fn found_in_files(&self, texts: &[String]) -> usize {
        const FIND: &str = "SELECT count(*) FROM unnest($1::text[]) AS sought,
                 pg_read_binary_file(pg_relation_filepath('orderly.webhook_subscriptions')) AS file
             WHERE position(convert_to(sought, 'UTF8') IN file) > 0";
        let client = self.database.client().await;
        client.batch_execute("CHECKPOINT").await.unwrap();
        let found: i64 = client.query_one(FIND, &[&texts]).await.unwrap().get(0);
        usize::try_from(found).unwrap()
    }
}

webhooks_contract!(
    #[ignore = "needs Postgres: infra/dev/services up"]
    Postgres
);

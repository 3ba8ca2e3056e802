//! The read models in Postgres.

use std::sync::Arc;

use async_trait::async_trait;
use domain::order::OrderStatus;
use infra::{
    postgres::Database,
    read_models::{
        OverdueQueries, Queries, ReadModels, ReservationRow, Rows,
        postgres::{PostgresQueries, PostgresReadModels},
    },
};

use super::{Fixture, Sample, order_id, partition, read_models_contract, rows::releases, sku, step_with};
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
        Arc::new(self.another_process().await)
    }
}

impl Postgres {
    async fn another_process(&self) -> PostgresQueries {
        let connected = Database::connect(self.database.url().parse().unwrap()).await.unwrap();
        PostgresQueries::open(connected).await.unwrap()
    }

    /// A reservation without a mark, as a process leaves it that is killed between its commit and its marks.
    async fn with_a_mark_left_out() -> Self {
        let fixture = Self::fresh().await;
        let order = Sample { status: OrderStatus::Cancelled, ..Sample::numbered(1) }.row();
        let held = ReservationRow { sku: sku("A"), order_id: order_id(1), quantity: 1 };
        let rows = Rows { orders: vec![order], reservations: vec![held], ..Rows::default() };
        fixture.models.commit(step_with(1, rows)).await.unwrap();
        let unmark = "UPDATE orderly_read_models.reservations SET order_ended = false";
        fixture.database.client().await.batch_execute(unmark).await.unwrap();
        fixture
    }
}

read_models_contract!(
    #[ignore = "needs Postgres: infra/dev/services up"]
    Postgres
);

#[tokio::test]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn the_next_owner_of_a_partition_marks_the_reservations_of_ended_orders_that_the_last_one_left_out() {
    let fixture = Postgres::with_a_mark_left_out().await;
    fixture.models.commit(step_with(2, Rows::default())).await.unwrap();
    assert_eq!(releases(&*fixture.queries).await, []);

    fixture.models.checkpoint(&partition()).await.unwrap();
    fixture.models.commit(step_with(3, Rows::default())).await.unwrap();
    assert_eq!(releases(&*fixture.queries).await, [order_id(1)]);
}

#[tokio::test]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn the_sweep_of_a_new_process_finds_reservations_of_ended_orders_without_a_mark_and_without_a_commit() {
    let fixture = Postgres::with_a_mark_left_out().await;
    let found = fixture.another_process().await.ended_orders_with_reservations(None, 10).await.unwrap();
    assert_eq!(found, [order_id(1)]);
}

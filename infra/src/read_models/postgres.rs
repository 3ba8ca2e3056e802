//! Read models in a Postgres database.
//!
//! Any number of processes may use the database: the checkpoint decides whose rows are written, and a rebuild puts a
//! new schema in the place of the old one.

mod audit;
mod changes;
mod columns;
mod copy;
mod queries;
mod rebuild;
mod sales;
mod schema;
mod write;

use async_trait::async_trait;
use domain::{OrderId, PaymentId, Position, Sku, StreamName, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

use self::changes::Listener;
pub use self::rebuild::PostgresRebuild;
use super::{
    BindError, Changes, CheckpointRow, Generation, OrderFilter, OrderRow, OrderStockEvent, Page,
    ParkedStream, PaymentFilter, PaymentRow, Queries, ReadModelError, ReadModels, ReservationRow, RowKeys,
    Rows, Sales, SalesQuery, StockFilter, StockRow, Wait, WaitFilter,
    audit::{Audit, Stored},
};
use crate::{
    event_source::Partition,
    postgres::{Database, Fault, OpenError},
};

/// The write side, for projectors. Any number of them, in any number of processes, each with partitions of its own.
#[derive(Debug, Clone)]
pub struct PostgresReadModels {
    database: Database,
}

impl PostgresReadModels {
    /// Opens the read models of a database, or makes empty ones.
    pub async fn open(database: Database) -> Result<Self, OpenError> {
        schema::ensure(&database).await?;
        Ok(Self { database })
    }
}

#[async_trait]
impl ReadModels for PostgresReadModels {
    async fn bind(&self, store_id: Uuid) -> Result<(), BindError> {
        self.database.run(async |client| write::bind(client, store_id).await).await
    }

    async fn generation(&self) -> Result<Generation, ReadModelError> {
        self.database.run(async |client| write::generation(client).await).await
    }

    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Position>, ReadModelError> {
        self.database.run(async |client| write::checkpoint(client, partition).await).await
    }

    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError> {
        if keys.is_empty() {
            return Ok(Rows::default());
        }
        self.database.run(async |client| write::load(client, &keys).await).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError> {
        self.database.run(async |client| Box::pin(write::commit(client, &changes)).await).await
    }

    async fn parked(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.database.run(async |client| write::parked(client, "true").await).await
    }

    async fn request_retry(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        self.database.run(async |client| write::request_retry(client, stream).await).await
    }

    async fn retry_requests(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.database.run(async |client| write::parked(client, "retry_requested").await).await
    }
}

/// The read side. A handle: clones share their connections.
#[derive(Debug, Clone)]
pub struct PostgresQueries {
    database: Database,
    changes: Listener,
}

impl PostgresQueries {
    /// Opens the read models of a database, or makes empty ones. It learns of commits, in whatever process they are
    /// made, as soon as they are.
    pub async fn open(database: Database) -> Result<Self, OpenError> {
        schema::ensure(&database).await?;
        let changes = Listener::start(database.clone());
        Ok(Self { database, changes })
    }
}

#[async_trait]
impl Queries for PostgresQueries {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
        self.database.run(async |client| queries::order(client, id).await).await
    }

    async fn orders(&self, filter: &OrderFilter, limit: usize) -> Result<Page<OrderRow>, ReadModelError> {
        self.database.run(async |client| queries::orders(client, filter, limit).await).await
    }

    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError> {
        self.database.run(async |client| queries::stock(client, sku).await).await
    }

    async fn stock_list(&self, filter: &StockFilter, limit: usize) -> Result<Page<StockRow>, ReadModelError> {
        self.database.run(async |client| queries::stock_list(client, filter, limit).await).await
    }

    async fn reservations(
        &self,
        sku: &Sku,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Page<ReservationRow>, ReadModelError> {
        self.database.run(async |client| queries::reservations(client, sku, after, limit).await).await
    }

    async fn order_stock_events(
        &self,
        id: OrderId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<OrderStockEvent>, ReadModelError> {
        self.database.run(async |client| queries::order_stock_events(client, id, after, limit).await).await
    }

    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
        self.database.run(async |client| queries::payment(client, id).await).await
    }

    async fn payments(
        &self,
        filter: &PaymentFilter,
        limit: usize,
    ) -> Result<Page<PaymentRow>, ReadModelError> {
        self.database.run(async |client| queries::payments(client, filter, limit).await).await
    }

    async fn sales(&self, query: &SalesQuery) -> Result<Sales, ReadModelError> {
        self.database.run(async |client| sales::sales(client, query).await).await
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointRow>, ReadModelError> {
        self.database.run(async |client| queries::checkpoints(client).await).await
    }

    async fn parked_streams(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.database.run(async |client| write::parked(client, "true").await).await
    }

    async fn is_parked(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        self.database.run(async |client| queries::is_parked(client, stream).await).await
    }

    async fn ended_orders_with_reservations(&self, limit: usize) -> Result<Vec<OrderId>, ReadModelError> {
        self.database.run(async |client| queries::ended_orders_with_reservations(client, limit).await).await
    }

    async fn placed_orders_recorded_before(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<OrderId>, ReadModelError> {
        let work = async |client: &mut _| queries::placed_orders_recorded_before(client, before, limit).await;
        self.database.run(work).await
    }

    async fn orders_due_before(&self, now: Timestamp, limit: usize) -> Result<Vec<OrderId>, ReadModelError> {
        self.database.run(async |client| queries::orders_due_before(client, now, limit).await).await
    }

    async fn payments_awaiting_provider(
        &self,
        updated_before: Timestamp,
        after: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<PaymentId>, ReadModelError> {
        let work = async |client: &mut _| {
            queries::payments_awaiting_provider(client, updated_before, after, limit).await
        };
        self.database.run(work).await
    }

    async fn waits(&self, filter: &WaitFilter, limit: usize) -> Result<Page<Wait>, ReadModelError> {
        self.database.run(async |client| queries::waits(client, filter, limit).await).await
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changes.changed.clone()
    }
}

#[async_trait]
impl Audit for PostgresQueries {
    async fn stored(&self) -> Result<Stored, ReadModelError> {
        audit::stored(&self.database, schema::IN_USE).await
    }
}

impl From<Fault> for ReadModelError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable(text) => Self::Unavailable(text),
            Fault::Corrupt(text) => Self::Corrupt(text),
        }
    }
}

impl From<Fault> for BindError {
    fn from(fault: Fault) -> Self {
        Self::ReadModels(fault.into())
    }
}

impl From<tokio_postgres::Error> for ReadModelError {
    fn from(error: tokio_postgres::Error) -> Self {
        Fault::from(error).into()
    }
}

//! Read models in a Postgres database.
//!
//! Several processes may use the database. The checkpoint decides which process writes rows. A rebuild
//! replaces the schema in use by a new one.

mod audit;
mod copy;
mod counts;
mod ended_orders;
mod listener;
mod money;
mod order_lists;
mod orders;
mod payments;
mod projections;
mod rebuild;
mod sales;
mod schema;
mod stock;
mod sums;
#[cfg(test)]
mod tests;
mod values;
mod waits;
mod walks;

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::StreamName;
use tokio_postgres::Client;
use uuid::Uuid;

pub use self::rebuild::PostgresRebuild;
use self::{
    audit::{Scan, Stop},
    ended_orders::Marks,
    listener::{CHANGES_CHANNEL, Listener},
};
use super::{
    BindError, Changes, Generation, ParkedStream, Queries, ReadModelError, ReadModels, RowKeys, Rows,
    StoredRow, StreamChanges,
    audit::{Audit, Stored},
    encoded::{EncodedRow, EncodedRows},
};
use crate::{
    event_source::{Partition, Reached},
    postgres::{Database, Fault, PostgresOpenError},
};

/// Stored in `log.schema_version`. Raise it by one with each change of a table, or of what a column holds
/// (JSON included): programs then refuse older schemas and ask for a rebuild.
pub(super) const SCHEMA_VERSION: i32 = 10;

/// The SQL files of the subjects.
const SCHEMAS: [&str; 7] = [
    projections::SCHEMA,
    stock::SCHEMA,
    orders::SCHEMA,
    payments::SCHEMA,
    sales::SCHEMA,
    money::SCHEMA,
    counts::SCHEMA,
];

async fn load_rows(client: &Object, keys: &RowKeys) -> Result<Rows, ReadModelError> {
    // The queries go out together and are answered in one round trip.
    let (stock, reservations, orders, payments) = tokio::try_join!(
        stock::load_levels(client, keys),
        stock::load_reservations(client, keys),
        orders::load(client, keys),
        payments::load(client, keys),
    )?;
    Ok(Rows { stock, reservations, orders, payments, ..Rows::default() })
}

/// Writes a batch in one transaction, which the caller ends.
///
/// Every statement is prepared first, so that it goes out when its future is first polled. The futures are
/// polled in the order below, and none waits for the answer of another: one round trip instead of a dozen,
/// and the server still works through the statements in this order. The checkpoint comes first. Its row lock
/// makes a second owner wait. That owner then finds that the checkpoint has moved.
async fn write<'c>(client: &'c mut Object, changes: &Changes) -> Result<Transaction<'c>, ReadModelError> {
    const NOTIFY: &str = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload";
    let transaction = client.transaction().await?;
    let projections = projections::Writer::prepare(&transaction).await?;
    let stock = stock::Writer::prepare(&transaction).await?;
    let orders = orders::Writer::prepare(&transaction).await?;
    let payments = payments::Writer::prepare(&transaction).await?;
    let sales = sales::Writer::prepare(&transaction).await?;
    let money = money::Writer::prepare(&transaction).await?;
    let counts = counts::Writer::prepare(&transaction).await?;
    let notify = transaction.prepare_cached(NOTIFY).await?;
    // Delivered if the transaction commits.
    let payloads = listener::payloads(changes.streams());
    let notified = async { Ok(transaction.query(&notify, &[&CHANGES_CHANNEL, &payloads]).await.map(drop)?) };
    tokio::try_join!(
        biased;
        projections.write(changes),
        stock.write(&changes.rows),
        orders.write(&changes.rows),
        payments.write(&changes.rows),
        sales.write(&changes.rows),
        money.write(&changes.rows),
        counts.write(&changes.rows),
        notified,
    )?;
    Ok(transaction)
}

/// Adds rows of a rebuild to tables without indexes.
async fn copy_rows(client: &Client, rows: &EncodedRows) -> Result<(), ReadModelError> {
    stock::copy(client, rows).await?;
    orders::copy(client, rows).await?;
    payments::copy(client, &rows.payments).await?;
    sales::copy(client, &rows.sales).await?;
    money::copy(client, &rows.money).await?;
    counts::copy(client, &rows.counts).await
}

/// Sends every row, and the faults of its search columns and index tables.
async fn scan_rows(scan: &Scan<'_, StoredRow>) -> Result<(), Stop> {
    stock::scan(scan).await?;
    orders::scan(scan).await?;
    payments::scan(scan).await?;
    sales::scan(scan).await?;
    money::scan(scan).await?;
    counts::scan(scan).await
}

/// Sends every row as it is stored.
async fn scan_encoded_rows(scan: &Scan<'_, EncodedRow>) -> Result<(), Stop> {
    stock::scan(scan).await?;
    orders::scan_encoded(scan).await?;
    payments::scan_encoded(scan).await?;
    sales::scan(scan).await?;
    money::scan(scan).await?;
    counts::scan(scan).await
}

/// The write side, for projectors. Several projectors, in several processes, may share it, each with its own
/// partitions.
#[derive(Debug, Clone)]
pub struct PostgresReadModels {
    database: Database,
    marks: Marks,
}

impl PostgresReadModels {
    /// Opens the read models of a database, or creates empty ones.
    pub async fn open(database: Database) -> Result<Self, PostgresOpenError> {
        schema::ensure(&database).await?;
        Ok(Self { database, marks: Marks::default() })
    }
}

#[async_trait]
impl ReadModels for PostgresReadModels {
    async fn bind(&self, store_id: Uuid) -> Result<(), BindError> {
        self.database.run(async |client| projections::bind(client, store_id).await).await
    }

    async fn generation(&self) -> Result<Generation, ReadModelError> {
        self.database.run(async |client| projections::generation(client).await).await
    }

    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Reached>, ReadModelError> {
        self.marks.may_be_missing();
        self.database.run(async |client| projections::checkpoint(client, partition).await).await
    }

    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError> {
        // Most batches find all their rows in the projector's cache.
        if keys == RowKeys::default() {
            return Ok(Rows::default());
        }
        self.database.run(async |client| load_rows(client, &keys).await).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError> {
        let commit = async |client: &mut Object| {
            Box::pin(write(client, &changes)).await?.commit().await?;
            self.marks.follow(&self.database, client, &changes.rows).await;
            Ok(())
        };
        self.database.run(commit).await
    }

    async fn rehearse(&self, changes: Changes) -> Result<(), ReadModelError> {
        self.database.run(async |client| Ok(Box::pin(write(client, &changes)).await?.rollback().await?)).await
    }

    async fn parked(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.database.run(async |client| projections::parked(client).await).await
    }

    async fn request_retry(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        self.database.run(async |client| projections::request_retry(client, stream).await).await
    }

    async fn retry_requests(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.database.run(async |client| projections::retry_requests(client).await).await
    }
}

/// The read side. Clones share their connections.
#[derive(Debug, Clone)]
pub struct PostgresQueries {
    /// The server that is read.
    database: Database,
    /// Listens to the primary server: a replica notifies nobody.
    listener: Listener,
    reads_replica: bool,
    /// Of the sweep.
    marks: Marks,
}

impl PostgresQueries {
    /// Opens the read models of a database, or creates empty ones. The server notifies it of the commits of
    /// every process.
    pub async fn open(database: Database) -> Result<Self, PostgresOpenError> {
        schema::ensure(&database).await?;
        let listener = Listener::start(database.clone());
        Ok(Self { database, listener, reads_replica: false, marks: Marks::default() })
    }

    /// Reads from a replica of this database, which may be behind it.
    pub async fn reading_from(&self, replica: Database) -> Result<Self, PostgresOpenError> {
        schema::expect(&replica).await?;
        let log_of = async |database: &Database| {
            database.run(async |client| projections::bound_log(client).await).await
        };
        // Not bound while it is behind, or before the first start of a projector.
        if let (Some(here), Some(there)) = (log_of(&self.database).await?, log_of(&replica).await?)
            && here != there
        {
            return Err(PostgresOpenError::NotAReplica);
        }
        Ok(Self {
            database: replica,
            listener: self.listener.clone(),
            reads_replica: true,
            marks: self.marks.clone(),
        })
    }

    pub fn database(&self) -> &Database {
        &self.database
    }
}

impl Queries for PostgresQueries {
    fn changes_of(&self, stream: &StreamName) -> StreamChanges {
        let changes = self.listener.waiters.of(stream);
        if self.reads_replica { changes.of_replica() } else { changes }
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
            Fault::Refused(text) => Self::Row(text),
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

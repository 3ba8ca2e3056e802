//! Every row of a schema, in one read transaction, with what stands beside the rows checked against them.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{Client, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::columns::{
    Dimension, ORDER_COLUMNS, OrderColumns, PAYMENT_COLUMNS, PaymentColumns, RESERVATION_COLUMNS,
    STOCK_COLUMNS, STOCK_EVENT_COLUMNS, Status, TOTALS, cell, order_row, payment_row, position,
    reservation_row, stock_event, stock_row, totals,
};
use crate::{
    event_source::Partition,
    postgres::Database,
    read_models::{
        OrderRow, Projection, ReadModelError, SalesKey, SalesTotals,
        audit::{Stored, StoredRow},
        skus_of,
        spans::month_of,
    },
};

const ROWS_PER_CHUNK: i32 = 1_000;
const CHUNKS_AHEAD: usize = 4;

type LogPositions = Vec<(Partition, Option<domain::Position>)>;

pub(super) async fn stored(database: &Database, schema: &'static str) -> Result<Stored, ReadModelError> {
    let client = database.session().await?;
    let (begun, log_positions) = oneshot::channel();
    let (chunks, rows) = mpsc::channel(CHUNKS_AHEAD);
    // Ends by itself when the receiver is dropped.
    tokio::spawn(async move {
        if let Err(Stop::Failed(error)) = read(client, schema, begun, &chunks).await {
            // An error means that nobody waits for it any more.
            let _ = chunks.send(Err(error)).await;
        }
    });
    let ended = |_| ReadModelError::Unavailable("the reading of all rows has ended".into());
    Ok(Stored { log_positions: log_positions.await.map_err(ended)??, rows })
}

enum Stop {
    NobodyReads,
    Failed(ReadModelError),
}

impl From<ReadModelError> for Stop {
    fn from(error: ReadModelError) -> Self {
        Self::Failed(error)
    }
}

impl From<tokio_postgres::Error> for Stop {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error.into())
    }
}

async fn read(
    mut client: Client,
    schema: &str,
    begun: oneshot::Sender<Result<LogPositions, ReadModelError>>,
    chunks: &mpsc::Sender<Result<Vec<StoredRow>, ReadModelError>>,
) -> Result<(), Stop> {
    let (view, log_positions) = match begin(&mut client, schema).await {
        Ok(begun) => begun,
        Err(error) => {
            let _ = begun.send(Err(error));
            return Ok(());
        }
    };
    if begun.send(Ok(log_positions)).is_err() {
        return Ok(());
    }
    let reader = Reader { view, chunks };
    reader.stock().await?;
    reader.reservations().await?;
    reader.stock_events().await?;
    reader.orders().await?;
    reader.payments().await?;
    reader.sales().await
}

async fn begin<'c>(
    client: &'c mut Client,
    schema: &str,
) -> Result<(Transaction<'c>, LogPositions), ReadModelError> {
    const SELECT: &str =
        "SELECT DISTINCT partition, position, log_position FROM checkpoints ORDER BY partition";
    let view = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let view = view.start().await?;
    view.batch_execute(&format!("SET LOCAL search_path = {schema}, orderly")).await?;
    // Keeps a rebuild from being published between two of the queries.
    view.query_one("SELECT generation FROM log", &[]).await?;
    let rows = view.query(SELECT, &[]).await?;
    let log_positions = rows.iter().map(|row| Ok((Partition(cell(row, 0)?), position(row, 2)?)));
    let log_positions = log_positions.collect::<Result<LogPositions, ReadModelError>>()?;
    match log_positions.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok((view, log_positions)),
        Some(pair) => {
            let text = format!("the projections of partition {} stand at different positions", pair[0].0.0);
            Err(ReadModelError::Corrupt(text.into()))
        }
    }
}

struct Reader<'a> {
    view: Transaction<'a>,
    chunks: &'a mpsc::Sender<Result<Vec<StoredRow>, ReadModelError>>,
}

fn broken(projection: Projection, key: String, fault: &str) -> StoredRow {
    StoredRow::Broken { projection, key, fault: fault.to_owned() }
}

/// Whose row it is, by its first column.
fn key_of(row: &Row) -> String {
    let text = row.try_get::<_, String>(0).ok();
    text.or_else(|| row.try_get::<_, Uuid>(0).ok().map(|id| id.to_string())).unwrap_or_default()
}

impl Reader<'_> {
    /// Reads a query's rows in chunks, and hands on what `take` makes of each.
    async fn each<T>(
        &self,
        sql: &str,
        projection: Projection,
        read: fn(&Row) -> Result<T, ReadModelError>,
        mut take: impl FnMut(T, &mut Vec<StoredRow>),
    ) -> Result<(), Stop> {
        let portal = self.view.bind(sql, &[]).await?;
        loop {
            let rows = self.view.query_portal(&portal, ROWS_PER_CHUNK).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut chunk = Vec::with_capacity(rows.len());
            for row in &rows {
                match read(row) {
                    Ok(row) => take(row, &mut chunk),
                    Err(error) => chunk.push(broken(projection, key_of(row), &error.to_string())),
                }
            }
            self.send(chunk).await?;
        }
    }

    async fn send(&self, chunk: Vec<StoredRow>) -> Result<(), Stop> {
        self.chunks.send(Ok(chunk)).await.map_err(|_| Stop::NobodyReads)
    }

    async fn stock(&self) -> Result<(), Stop> {
        let sql = format!("SELECT {STOCK_COLUMNS} FROM stock");
        self.each(&sql, Projection::Stock, stock_row, |row, chunk| chunk.push(StoredRow::Stock(row))).await
    }

    async fn reservations(&self) -> Result<(), Stop> {
        let sql = format!("SELECT {RESERVATION_COLUMNS} FROM reservations");
        let take = |row, chunk: &mut Vec<_>| chunk.push(StoredRow::Reservation(row));
        self.each(&sql, Projection::Stock, reservation_row, take).await
    }

    async fn stock_events(&self) -> Result<(), Stop> {
        let sql = format!("SELECT {STOCK_EVENT_COLUMNS} FROM order_stock_events");
        let take = |event, chunk: &mut Vec<_>| chunk.push(StoredRow::OrderStockEvent(event));
        self.each(&sql, Projection::Stock, stock_event, take).await
    }

    async fn orders(&self) -> Result<(), Stop> {
        let sql =
            format!("SELECT {ORDER_COLUMNS}, status, customer_id, placed_at, payment_due_at FROM orders");
        let portal = self.view.bind(&sql, &[]).await?;
        let mut skus_expected: usize = 0;
        loop {
            let rows = self.view.query_portal(&portal, ROWS_PER_CHUNK).await?;
            if rows.is_empty() {
                break;
            }
            let mut chunk = Vec::with_capacity(rows.len());
            let mut entries = Entries::default();
            for row in &rows {
                match order_row(row) {
                    Ok(order) => {
                        if !columns_fit(row, &order)? {
                            let fault =
                                "status, customer_id, placed_at or payment_due_at is not that of the order";
                            chunk.push(broken(Projection::Orders, order.order_id.to_string(), fault));
                        }
                        entries.add(&order, cell(row, 5)?, cell(row, 7)?);
                        chunk.push(StoredRow::Order(Box::new(order)));
                    }
                    Err(error) => chunk.push(broken(Projection::Orders, key_of(row), &error.to_string())),
                }
            }
            skus_expected += entries.skus.len();
            for (sku, order) in entries.not_stored(&self.view).await? {
                let fault = format!("order_skus does not list it under {sku}");
                chunk.push(broken(Projection::Orders, order.to_string(), &fault));
            }
            self.send(chunk).await?;
        }
        // Every entry expected is there; so if the numbers agree, no other one is.
        let row = self.view.query_one("SELECT count(*) FROM order_skus", &[]).await?;
        let skus_stored: i64 = cell(&row, 0)?;
        if usize::try_from(skus_stored) == Ok(skus_expected) {
            return Ok(());
        }
        let fault = format!("it has {skus_stored} entries, and the orders have {skus_expected} SKUs");
        self.send(vec![broken(Projection::Orders, "order_skus".to_owned(), &fault)]).await
    }

    async fn payments(&self) -> Result<(), Stop> {
        let sql = format!("SELECT {PAYMENT_COLUMNS}, state, awaits_provider_since FROM payments");
        let read = |row: &Row| {
            let stored = PaymentColumns { state: cell(row, 5)?, awaits_provider_since: cell(row, 6)? };
            Ok((payment_row(row)?, stored))
        };
        self.each(&sql, Projection::Payments, read, |(row, stored), chunk| {
            if !PaymentColumns::of(&row).is_ok_and(|expected| expected == stored) {
                let fault = "state or awaits_provider_since is not that of the payment";
                chunk.push(broken(Projection::Payments, row.payment_id.to_string(), fault));
            }
            chunk.push(StoredRow::Payment(row));
        })
        .await
    }

    async fn sales(&self) -> Result<(), Stop> {
        // By the hour first: the months are sums of them.
        let sql = |span| {
            format!(
                "SELECT key, dimension, currency, start, {TOTALS} FROM sales WHERE span = '{span}'
                 GROUP BY dimension, currency, start, key"
            )
        };
        let mut months: BTreeMap<SalesKey, SalesTotals> = BTreeMap::new();
        self.each(&sql("hour"), Projection::Sales, sales_row, |(key, sum), chunk| {
            let month = SalesKey { hour: month_of(key.hour), ..key.clone() };
            months.entry(month).or_default().add(&sum);
            chunk.push(StoredRow::Sales(key, sum));
        })
        .await?;
        self.each(&sql("month"), Projection::Sales, sales_row, |(key, sum), chunk| {
            if months.remove(&key) != Some(sum) {
                let fault = "the sum of the month is not the sum of its hours";
                chunk.push(broken(Projection::Sales, format!("{key:?}"), fault));
            }
        })
        .await?;
        let missing = |key| broken(Projection::Sales, format!("{key:?}"), "the month has no sum");
        self.send(months.into_keys().map(missing).collect()).await
    }
}

fn columns_fit(row: &Row, order: &OrderRow) -> Result<bool, ReadModelError> {
    let stored = OrderColumns {
        status: cell(row, 5)?,
        customer_id: cell(row, 6)?,
        placed_at: cell(row, 7)?,
        payment_due_at: cell(row, 8)?,
    };
    Ok(OrderColumns::of(order).is_ok_and(|expected| expected == stored))
}

fn sales_row(row: &Row) -> Result<(SalesKey, SalesTotals), ReadModelError> {
    let dimension = cell::<Dimension>(row, 1)?.with_key(cell(row, 0)?)?;
    let currency = cell::<&str>(row, 2)?.parse();
    let currency = currency.map_err(|error| ReadModelError::Corrupt(format!("{error}").into()))?;
    Ok((SalesKey { dimension, currency, hour: cell(row, 3)? }, totals(row, 4)?))
}

/// What `order_skus` should hold of some orders.
#[derive(Default)]
struct Entries {
    skus: Vec<String>,
    statuses: Vec<Status>,
    times: Vec<super::columns::Instant>,
    orders: Vec<Uuid>,
}

impl Entries {
    fn add(&mut self, row: &OrderRow, status: Status, placed_at: super::columns::Instant) {
        for sku in skus_of(&row.order) {
            self.skus.push(sku.as_str().to_owned());
            self.statuses.push(status);
            self.times.push(placed_at);
            self.orders.push(row.order_id.0);
        }
    }

    async fn not_stored(&self, view: &Transaction<'_>) -> Result<Vec<(String, Uuid)>, ReadModelError> {
        const MISSING: &str = "SELECT sku, order_id
             FROM unnest($1::text[], $2::order_status[], $3::timestamptz[], $4::uuid[])
                 AS expected (sku, status, placed_at, order_id)
             WHERE NOT EXISTS (SELECT FROM order_skus AS stored WHERE stored.sku = expected.sku
                 AND stored.status = expected.status AND stored.placed_at = expected.placed_at
                 AND stored.order_id = expected.order_id)";
        let rows = view.query(MISSING, &[&self.skus, &self.statuses, &self.times, &self.orders]).await?;
        rows.iter().map(|row| Ok((cell(row, 0)?, cell(row, 1)?))).collect()
    }
}

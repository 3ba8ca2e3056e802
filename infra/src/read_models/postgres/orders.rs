//! Orders, and the index table of their SKUs.

use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::{Amount, OrderId, Sku, Timestamp, order::OrderStatus};
use postgres_types::{FromSql, Json, ToSql};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::{
    PostgresQueries,
    audit::{Scan, Stop, key_of},
    copy::Copy,
    order_lists,
    values::{
        JsonText, all, cell, coded, currency, json_text, one, optional_time, revision, sku_of, time,
        unreadable,
    },
};
use crate::{
    postgres::Timestamptz,
    read_models::{
        Count, OrderFilter, OrderPage, OrderQueries, OrderRow, OrderSummary, OrderSummaryRow, OrderWork,
        Projection, ReadModelError, RowKeys, Rows, StoredRow,
        codes::{
            fulfilment_status_code, fulfilment_status_of, payment_status_code, payment_status_of, terms_code,
            terms_of,
        },
        encoded::{EncodedOrder, EncodedRow, EncodedRows, OrderHead, OrderSku},
        orders::{never_placed, skus_of},
    },
};

pub(super) const SCHEMA: &str = include_str!("orders.sql");

/// The statuses that stored orders can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "order_status", rename_all = "snake_case")]
pub(super) enum PgOrderStatus {
    Placed,
    Allocated,
    Rejected,
    Cancelled,
    Expired,
}

impl PgOrderStatus {
    /// `None` for an order that was never placed, which has no row.
    pub(super) fn of(status: OrderStatus) -> Option<Self> {
        match status {
            OrderStatus::New => None,
            OrderStatus::Placed => Some(Self::Placed),
            OrderStatus::Allocated => Some(Self::Allocated),
            OrderStatus::Rejected => Some(Self::Rejected),
            OrderStatus::Cancelled => Some(Self::Cancelled),
            OrderStatus::Expired => Some(Self::Expired),
        }
    }

    fn status(self) -> OrderStatus {
        match self {
            Self::Placed => OrderStatus::Placed,
            Self::Allocated => OrderStatus::Allocated,
            Self::Rejected => OrderStatus::Rejected,
            Self::Cancelled => OrderStatus::Cancelled,
            Self::Expired => OrderStatus::Expired,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Allocated => "allocated",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// Every column, in the order of [`encoded`].
const COLUMNS: &str = "order_id, revision, recorded_at, updated_at, status, payment_status, fulfilment_status,
     customer_id, reference, country, placed_at, currency, total, payment_due_at, to_ship, overpaid, refund_due,
     terms, overdue_from, times, summary, body";

/// Reads the [`COLUMNS`].
fn encoded(row: &Row) -> Result<EncodedOrder, ReadModelError> {
    let head = OrderHead {
        order_id: OrderId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        status: cell::<PgOrderStatus>(row, 4)?.status(),
        payment_status: coded(row, 5, "payment status", payment_status_of)?,
        fulfilment_status: coded(row, 6, "fulfilment status", fulfilment_status_of)?,
        customer_id: cell(row, 7)?,
        reference: cell(row, 8)?,
        country: cell(row, 9)?,
        placed_at: time(row, 10)?,
        currency: currency(row, 11)?,
        total: Amount::new(cell(row, 12)?).map_err(|error| unreadable(error.to_string()))?,
        payment_due_at: optional_time(row, 13)?,
        to_ship: cell(row, 14)?,
        overpaid: cell(row, 15)?,
        refund_due: cell(row, 16)?,
        terms: coded(row, 17, "number of terms", terms_of)?,
        overdue_from: optional_time(row, 18)?,
    };
    Ok(EncodedOrder {
        head,
        times: json_text(row, 19)?,
        summary: json_text(row, 20)?,
        body: json_text(row, 21)?,
    })
}

fn status_of(head: &OrderHead) -> Result<PgOrderStatus, ReadModelError> {
    PgOrderStatus::of(head.status).ok_or_else(|| never_placed(head.order_id))
}

const ROW_COLUMNS: &str = "order_id, revision, recorded_at, updated_at, times, body";

fn order_row(row: &Row) -> Result<OrderRow, ReadModelError> {
    let (Json(times), Json(order)) = (cell(row, 4)?, cell(row, 5)?);
    Ok(OrderRow {
        order_id: OrderId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        times,
        order,
    })
}

pub(super) const SUMMARY_COLUMNS: &str = "order_id, revision, recorded_at, updated_at, summary";

pub(super) fn summary_row(row: &Row) -> Result<OrderSummaryRow, ReadModelError> {
    let Json(summary): Json<OrderSummary> = cell(row, 4)?;
    Ok(OrderSummaryRow {
        order_id: OrderId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        summary,
    })
}

pub(super) async fn load(client: &Object, keys: &RowKeys) -> Result<Vec<Arc<OrderRow>>, ReadModelError> {
    if keys.orders.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = keys.orders.iter().map(|id| id.0).collect();
    let sql = format!("SELECT {ROW_COLUMNS} FROM orders WHERE order_id = ANY($1)");
    all(client, &sql, &[&ids], |row| order_row(row).map(Arc::new)).await
}

/// Runs before the orders are written, because it reads their previous statuses. SKUs contain no control
/// characters, so chr(31) separates them.
pub(super) const MOVE_SKUS: &str = "WITH changed AS MATERIALIZED (
         SELECT now.order_id, now.status, now.placed_at, now.skus, before.status AS old_status
         FROM unnest($1::uuid[], $2::order_status[], $3::timestamptz[], $4::text[])
             AS now (order_id, status, placed_at, skus)
         LEFT JOIN orders AS before ON before.order_id = now.order_id
         WHERE before.status IS DISTINCT FROM now.status
     ), entry AS MATERIALIZED (
         SELECT sku, status, old_status, placed_at, order_id
         FROM changed CROSS JOIN unnest(string_to_array(skus, chr(31))) AS sku
     ), moved AS (
         DELETE FROM order_skus AS old USING entry
         WHERE old.sku = entry.sku AND old.status = entry.old_status
         AND old.placed_at = entry.placed_at AND old.order_id = entry.order_id
     )
     INSERT INTO order_skus (sku, status, placed_at, order_id)
     SELECT sku, status, placed_at, order_id FROM entry";
const SKU_SEPARATOR: &str = "\u{1f}";
/// The columns that are left out of the update never change.
const UPSERT: &str = "INSERT INTO orders
         (order_id, revision, recorded_at, updated_at, status, payment_status, fulfilment_status,
          customer_id, reference, country, placed_at, currency, total, payment_due_at, to_ship, overpaid,
          refund_due, terms, overdue_from, times, summary, body)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[],
         $5::order_status[], $6::smallint[], $7::smallint[], $8::text[], $9::text[], $10::text[],
         $11::timestamptz[], $12::text[], $13::bigint[], $14::timestamptz[], $15::boolean[], $16::boolean[],
         $17::boolean[], $18::smallint[], $19::timestamptz[], $20::json[], $21::json[], $22::json[])
     ON CONFLICT (order_id) DO UPDATE SET revision = excluded.revision, updated_at = excluded.updated_at,
         status = excluded.status, payment_status = excluded.payment_status,
         fulfilment_status = excluded.fulfilment_status, payment_due_at = excluded.payment_due_at,
         to_ship = excluded.to_ship, overpaid = excluded.overpaid, refund_due = excluded.refund_due,
         overdue_from = excluded.overdue_from, times = excluded.times, summary = excluded.summary,
         body = excluded.body";

/// Writes the rows of a batch. See [`super::write`] for why statements are prepared first.
pub(super) struct Writer<'t> {
    transaction: &'t Transaction<'t>,
    move_skus: Statement,
    upsert: Statement,
}

impl<'t> Writer<'t> {
    pub(super) async fn prepare(transaction: &'t Transaction<'t>) -> Result<Self, ReadModelError> {
        Ok(Self {
            transaction,
            move_skus: transaction.prepare_cached(MOVE_SKUS).await?,
            upsert: transaction.prepare_cached(UPSERT).await?,
        })
    }

    pub(super) async fn write(&self, rows: &Rows) -> Result<(), ReadModelError> {
        if rows.orders.is_empty() {
            return Ok(());
        }
        tokio::try_join!(biased; self.skus(&rows.orders), self.orders(&rows.orders))?;
        Ok(())
    }

    async fn skus(&self, rows: &[Arc<OrderRow>]) -> Result<(), ReadModelError> {
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id.0).collect();
        let mut statuses = Vec::with_capacity(rows.len());
        let mut times: Vec<Timestamptz> = Vec::with_capacity(rows.len());
        for row in rows {
            let unplaced = || never_placed(row.order_id);
            statuses.push(PgOrderStatus::of(row.order.status()).ok_or_else(unplaced)?);
            times.push(row.order.placed_at().ok_or_else(unplaced)?.into());
        }
        let skus: Vec<String> = rows.iter().map(|row| joined_skus(row)).collect();
        self.transaction.execute(&self.move_skus, &[&ids, &statuses, &times, &skus]).await?;
        Ok(())
    }

    async fn orders(&self, rows: &[Arc<OrderRow>]) -> Result<(), ReadModelError> {
        let encoded = rows.iter().map(|row| EncodedOrder::of_row(row)).collect::<Result<Vec<_>, _>>()?;
        let heads = || encoded.iter().map(|row| &row.head);
        let statuses = heads().map(status_of).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<Uuid> = heads().map(|head| head.order_id.0).collect();
        let revisions: Vec<i64> = heads().map(|head| head.revision.cast_signed()).collect();
        let recorded: Vec<Timestamptz> = heads().map(|head| head.recorded_at.into()).collect();
        let updated: Vec<Timestamptz> = heads().map(|head| head.updated_at.into()).collect();
        let payment: Vec<i16> = heads().map(|head| payment_status_code(head.payment_status)).collect();
        let fulfilment: Vec<i16> =
            heads().map(|head| fulfilment_status_code(head.fulfilment_status)).collect();
        let customers: Vec<Option<&str>> = heads().map(|head| head.customer_id.as_deref()).collect();
        let references: Vec<Option<&str>> = heads().map(|head| head.reference.as_deref()).collect();
        let countries: Vec<Option<&str>> = heads().map(|head| head.country.as_deref()).collect();
        let placed: Vec<Timestamptz> = heads().map(|head| head.placed_at.into()).collect();
        let currencies: Vec<&str> = heads().map(|head| head.currency.as_str()).collect();
        let totals: Vec<i64> = heads().map(|head| head.total.minor_units()).collect();
        let due: Vec<Option<Timestamptz>> =
            heads().map(|head| head.payment_due_at.map(Timestamptz::from)).collect();
        let to_ship: Vec<bool> = heads().map(|head| head.to_ship).collect();
        let overpaid: Vec<bool> = heads().map(|head| head.overpaid).collect();
        let refund_due: Vec<bool> = heads().map(|head| head.refund_due).collect();
        let terms: Vec<i16> = heads().map(|head| terms_code(head.terms)).collect();
        let overdue: Vec<Option<Timestamptz>> =
            heads().map(|head| head.overdue_from.map(Timestamptz::from)).collect();
        let times: Vec<_> = encoded.iter().map(|row| JsonText(&row.times)).collect();
        let summaries: Vec<_> = encoded.iter().map(|row| JsonText(&row.summary)).collect();
        let bodies: Vec<_> = encoded.iter().map(|row| JsonText(&row.body)).collect();
        let values: [&(dyn ToSql + Sync); 22] = [
            &ids,
            &revisions,
            &recorded,
            &updated,
            &statuses,
            &payment,
            &fulfilment,
            &customers,
            &references,
            &countries,
            &placed,
            &currencies,
            &totals,
            &due,
            &to_ship,
            &overpaid,
            &refund_due,
            &terms,
            &overdue,
            &times,
            &summaries,
            &bodies,
        ];
        self.transaction.execute(&self.upsert, &values).await?;
        Ok(())
    }
}

fn joined_skus(row: &OrderRow) -> String {
    skus_of(&row.order).into_iter().map(Sku::as_str).collect::<Vec<_>>().join(SKU_SEPARATOR)
}

/// Adds rows of a rebuild.
pub(super) async fn copy(client: &Client, rows: &EncodedRows) -> Result<(), ReadModelError> {
    let mut orders = Copy::begin(client, "orders", COLUMNS).await?;
    for EncodedOrder { head, times, summary, body } in &rows.orders {
        orders
            .row(&[
                &head.order_id.0,
                &head.revision.cast_signed(),
                &Timestamptz::from(head.recorded_at),
                &Timestamptz::from(head.updated_at),
                &status_of(head)?,
                &payment_status_code(head.payment_status),
                &fulfilment_status_code(head.fulfilment_status),
                &head.customer_id,
                &head.reference,
                &head.country,
                &Timestamptz::from(head.placed_at),
                &head.currency.as_str(),
                &head.total.minor_units(),
                &head.payment_due_at.map(Timestamptz::from),
                &head.to_ship,
                &head.overpaid,
                &head.refund_due,
                &terms_code(head.terms),
                &head.overdue_from.map(Timestamptz::from),
                &JsonText(times),
                &JsonText(summary),
                &JsonText(body),
            ])
            .await?;
    }
    orders.finish().await?;
    let mut skus = Copy::begin(client, "order_skus", "sku, status, placed_at, order_id").await?;
    for OrderSku { sku, status, placed_at, order_id } in &rows.order_skus {
        let status = PgOrderStatus::of(*status).ok_or_else(|| never_placed(*order_id))?;
        skus.row(&[&sku.as_str(), &status, &Timestamptz::from(*placed_at), &order_id.0]).await?;
    }
    skus.finish().await
}

/// Sends every order and every row of `order_skus` as it is stored.
pub(super) async fn scan_encoded(scan: &Scan<'_, EncodedRow>) -> Result<(), Stop> {
    let sql = format!("SELECT {COLUMNS} FROM orders");
    scan.each(&sql, Projection::Orders, encoded, |row, chunk| chunk.push(EncodedRow::Order(row))).await?;
    let sql = "SELECT sku, status, placed_at, order_id FROM order_skus";
    let entry = |row: &Row| {
        Ok(OrderSku {
            sku: sku_of(cell(row, 0)?)?,
            status: cell::<PgOrderStatus>(row, 1)?.status(),
            placed_at: time(row, 2)?,
            order_id: OrderId(cell(row, 3)?),
        })
    };
    scan.each(sql, Projection::Orders, entry, |row, chunk| chunk.push(EncodedRow::OrderSku(row))).await
}

pub(super) async fn scan(scan: &Scan<'_, StoredRow>) -> Result<(), Stop> {
    let sql = format!("SELECT {COLUMNS} FROM orders");
    let mut chunks = scan.chunks(&sql).await?;
    let mut skus_expected: usize = 0;
    while let Some(stored) = scan.next_chunk(&mut chunks).await? {
        let mut rows = Vec::with_capacity(stored.len());
        let mut entries = SkuEntries::default();
        for row in &stored {
            match stored_order(row) {
                Ok((head, summary, order)) => {
                    let columns_fit = OrderHead::of(&order).is_ok_and(|expected| expected == head);
                    if !columns_fit || OrderSummary::of(&order.order) != summary {
                        let fault = "a search column or the summary differs from the order";
                        rows.push(broken(order.order_id.to_string(), fault));
                    }
                    entries.add(&order, status_of(&head)?, head.placed_at.into());
                    rows.push(StoredRow::Order(Box::new(order)));
                }
                Err(error) => rows.push(broken(key_of(row), &error.to_string())),
            }
        }
        skus_expected += entries.skus.len();
        for (sku, order) in entries.not_stored(scan.view).await? {
            rows.push(broken(order.to_string(), &format!("order_skus has no entry of {sku} for it")));
        }
        scan.send(rows).await?;
    }
    // Missing entries are reported above. If none is missing, equal numbers prove that there is no other.
    let row = scan.view.query_one("SELECT count(*) FROM order_skus", &[]).await?;
    let skus_stored: i64 = cell(&row, 0)?;
    if usize::try_from(skus_stored) == Ok(skus_expected) {
        return Ok(());
    }
    let fault = format!("it has {skus_stored} entries, and the orders have {skus_expected} SKUs");
    scan.send(vec![broken("order_skus".to_owned(), &fault)]).await
}

fn broken(key: String, fault: &str) -> StoredRow {
    StoredRow::broken(Projection::Orders, key, fault)
}

fn stored_order(row: &Row) -> Result<(OrderHead, OrderSummary, OrderRow), ReadModelError> {
    let head = encoded(row)?.head;
    let (Json(times), Json(summary), Json(order)) = (cell(row, 19)?, cell(row, 20)?, cell(row, 21)?);
    let OrderHead { order_id, revision, recorded_at, updated_at, .. } = head;
    Ok((head, summary, OrderRow { order_id, revision, recorded_at, updated_at, times, order }))
}

/// The entries that `order_skus` should hold for some orders.
#[derive(Default)]
struct SkuEntries {
    skus: Vec<String>,
    statuses: Vec<PgOrderStatus>,
    times: Vec<Timestamptz>,
    orders: Vec<Uuid>,
}

impl SkuEntries {
    fn add(&mut self, row: &OrderRow, status: PgOrderStatus, placed_at: Timestamptz) {
        for sku in skus_of(&row.order) {
            self.skus.push(sku.as_str().to_owned());
            self.statuses.push(status);
            self.times.push(placed_at);
            self.orders.push(row.order_id.0);
        }
    }

    async fn not_stored(
        &self,
        view: &tokio_postgres::Transaction<'_>,
    ) -> Result<Vec<(String, Uuid)>, ReadModelError> {
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

#[async_trait]
impl OrderQueries for PostgresQueries {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
        let sql = format!("SELECT {ROW_COLUMNS} FROM orders WHERE order_id = $1");
        self.database.run(async |client| one(client, &sql, &[&id.0], order_row).await).await
    }

    async fn order_summary(&self, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError> {
        self.database.run(async |client| summary(client, id).await).await
    }

    async fn orders(&self, filter: &OrderFilter, limit: usize) -> Result<OrderPage, ReadModelError> {
        self.database.run(async |client| order_lists::page(client, filter, limit).await).await
    }

    async fn order_count(&self, filter: &OrderFilter) -> Result<Count, ReadModelError> {
        self.database.run(async |client| order_lists::count(client, filter).await).await
    }

    async fn work_counts(&self, now: Timestamp) -> Result<Vec<(OrderWork, Count)>, ReadModelError> {
        self.database.run(async |client| order_lists::work_counts(client, now).await).await
    }
}

pub(super) async fn summary(client: &Object, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError> {
    let sql = format!("SELECT {SUMMARY_COLUMNS} FROM orders WHERE order_id = $1");
    one(client, &sql, &[&id.0], summary_row).await
}

//! Orders, and the index table of their SKUs.

use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::{
    OrderId, Sku,
    order::{Order, OrderStatus},
};
use postgres_types::{FromSql, Json, ToSql};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

pub(super) mod terms;

use self::terms::{stored_terms, terms_code};
use super::{
    PostgresQueries,
    audit::{Scan, Stop, key_of},
    copy::Copy,
    order_lists,
    values::{JsonText, all, cell, json_text, one, optional_time, revision, sku_of, time},
};
use crate::{
    postgres::Timestamptz,
    read_models::{
        OrderBalance, OrderFilter, OrderQueries, OrderRow, OrderSummary, OrderSummaryRow, Projection,
        ReadModelError, RowKeys, RowPage, Rows, StoredRow,
        encoded::{Encoded, EncodedOrder, EncodedRow, EncodedRows, OrderHead, OrderSku},
        orders::{awaited_payment_due_at, never_placed, skus_of},
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
    pub(super) const ALL: [Self; 5] =
        [Self::Placed, Self::Allocated, Self::Rejected, Self::Cancelled, Self::Expired];

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

/// Search columns besides SKUs.
#[derive(Debug, PartialEq, Eq)]
struct SearchColumns<'a> {
    status: PgOrderStatus,
    customer_id: Option<&'a str>,
    placed_at: Timestamptz,
    payment_due_at: Option<Timestamptz>,
    overpaid: bool,
    refund_due: bool,
    terms: i16,
    overdue_from: Option<Timestamptz>,
}

impl<'a> SearchColumns<'a> {
    fn of(row: &'a OrderRow) -> Result<Self, ReadModelError> {
        let columns = || {
            let status = PgOrderStatus::of(row.order.status())?;
            let placed_at = row.order.placed_at()?.into();
            let payment_due_at = awaited_payment_due_at(&row.order).map(Timestamptz::from);
            let customer_id = row.order.customer_id();
            let overpaid = OrderBalance::Overpaid.is_of(&row.order);
            let refund_due = OrderBalance::RefundDue.is_of(&row.order);
            let terms = terms_code(row.order.terms());
            let overdue_from = row.order.overdue_from().map(Timestamptz::from);
            Some(Self {
                status,
                customer_id,
                placed_at,
                payment_due_at,
                overpaid,
                refund_due,
                terms,
                overdue_from,
            })
        };
        columns().ok_or_else(|| never_placed(row.order_id))
    }

    fn of_all(rows: &'a [Arc<OrderRow>]) -> Result<Vec<Self>, ReadModelError> {
        rows.iter().map(|row| Self::of(row)).collect()
    }
}

const COLUMNS: &str = "order_id, revision, recorded_at, updated_at, body";

fn order_row(row: &Row) -> Result<OrderRow, ReadModelError> {
    let Json(order): Json<Order> = cell(row, 4)?;
    Ok(OrderRow {
        order_id: OrderId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
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
    let sql = format!("SELECT {COLUMNS} FROM orders WHERE order_id = ANY($1)");
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
/// customer_id, placed_at and terms of an order never change.
const UPSERT: &str = "INSERT INTO orders
         (order_id, revision, recorded_at, updated_at, status, customer_id, placed_at, payment_due_at, overpaid,
          refund_due, terms, overdue_from, summary, body)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[],
         $5::order_status[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::boolean[], $10::boolean[],
         $11::smallint[], $12::timestamptz[], $13::json[], $14::json[])
     ON CONFLICT (order_id) DO UPDATE SET revision = excluded.revision, updated_at = excluded.updated_at,
         status = excluded.status, payment_due_at = excluded.payment_due_at,
         overpaid = excluded.overpaid, refund_due = excluded.refund_due, overdue_from = excluded.overdue_from,
         summary = excluded.summary, body = excluded.body";

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
        let columns = SearchColumns::of_all(rows)?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id.0).collect();
        let statuses: Vec<_> = columns.iter().map(|columns| columns.status).collect();
        let times: Vec<Timestamptz> = columns.iter().map(|columns| columns.placed_at).collect();
        let skus: Vec<String> = rows.iter().map(|row| joined_skus(row)).collect();
        self.transaction.execute(&self.move_skus, &[&ids, &statuses, &times, &skus]).await?;
        Ok(())
    }

    async fn orders(&self, rows: &[Arc<OrderRow>]) -> Result<(), ReadModelError> {
        let columns = SearchColumns::of_all(rows)?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id.0).collect();
        let revisions: Vec<i64> = rows.iter().map(|row| row.revision.cast_signed()).collect();
        let recorded: Vec<Timestamptz> = rows.iter().map(|row| row.recorded_at.into()).collect();
        let updated: Vec<Timestamptz> = rows.iter().map(|row| row.updated_at.into()).collect();
        let statuses: Vec<_> = columns.iter().map(|columns| columns.status).collect();
        let customers: Vec<Option<&str>> = columns.iter().map(|columns| columns.customer_id).collect();
        let placed: Vec<Timestamptz> = columns.iter().map(|columns| columns.placed_at).collect();
        let due: Vec<Option<Timestamptz>> = columns.iter().map(|columns| columns.payment_due_at).collect();
        let bodies: Vec<_> = rows.iter().map(|row| Json(&row.order)).collect();
        let summaries: Vec<_> = rows.iter().map(|row| Json(OrderSummary::of(&row.order))).collect();
        let overpaid: Vec<bool> = columns.iter().map(|columns| columns.overpaid).collect();
        let refund_due: Vec<bool> = columns.iter().map(|columns| columns.refund_due).collect();
        let terms: Vec<i16> = columns.iter().map(|columns| columns.terms).collect();
        let overdue: Vec<Option<Timestamptz>> = columns.iter().map(|columns| columns.overdue_from).collect();
        let values: [&(dyn ToSql + Sync); 14] = [
            &ids,
            &revisions,
            &recorded,
            &updated,
            &statuses,
            &customers,
            &placed,
            &due,
            &overpaid,
            &refund_due,
            &terms,
            &overdue,
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
    let order_columns = "order_id, revision, recorded_at, updated_at, status, customer_id, placed_at,
        payment_due_at, overpaid, refund_due, terms, overdue_from, summary, body";
    let mut orders = Copy::begin(client, "orders", order_columns).await?;
    for Encoded { head, summary, body } in &rows.orders {
        orders
            .row(&[
                &head.order_id.0,
                &head.revision.cast_signed(),
                &Timestamptz::from(head.recorded_at),
                &Timestamptz::from(head.updated_at),
                &PgOrderStatus::of(head.status).ok_or_else(|| never_placed(head.order_id))?,
                &head.customer_id,
                &Timestamptz::from(head.placed_at),
                &head.payment_due_at.map(Timestamptz::from),
                &head.overpaid,
                &head.refund_due,
                &terms_code(head.terms),
                &head.overdue_from.map(Timestamptz::from),
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
    let sql =
        "SELECT order_id, revision, recorded_at, updated_at, status, customer_id, placed_at, payment_due_at,
             overpaid, refund_due, terms, overdue_from, summary, body
         FROM orders";
    let order = |row: &Row| {
        let head = OrderHead {
            order_id: OrderId(cell(row, 0)?),
            revision: revision(row, 1)?,
            recorded_at: time(row, 2)?,
            updated_at: time(row, 3)?,
            status: cell::<PgOrderStatus>(row, 4)?.status(),
            customer_id: cell(row, 5)?,
            placed_at: time(row, 6)?,
            payment_due_at: optional_time(row, 7)?,
            overpaid: cell(row, 8)?,
            refund_due: cell(row, 9)?,
            terms: stored_terms(row, 10)?,
            overdue_from: optional_time(row, 11)?,
        };
        Ok(EncodedOrder { head, summary: json_text(row, 12)?, body: json_text(row, 13)? })
    };
    scan.each(sql, Projection::Orders, order, |row, chunk| chunk.push(EncodedRow::Order(row))).await?;
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
    let sql = format!(
        "SELECT {COLUMNS}, status, customer_id, placed_at, payment_due_at, overpaid, refund_due, terms,
             overdue_from, summary
         FROM orders"
    );
    let mut chunks = scan.chunks(&sql).await?;
    let mut skus_expected: usize = 0;
    while let Some(stored) = scan.next_chunk(&mut chunks).await? {
        let mut rows = Vec::with_capacity(stored.len());
        let mut entries = SkuEntries::default();
        for row in &stored {
            match order_row(row) {
                Ok(order) => {
                    if !columns_fit(row, &order)? {
                        let fault = "a search column or the summary differs from the order";
                        rows.push(broken(order.order_id.to_string(), fault));
                    }
                    entries.add(&order, cell(row, 5)?, cell(row, 7)?);
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

fn columns_fit(row: &Row, order: &OrderRow) -> Result<bool, ReadModelError> {
    let stored = SearchColumns {
        status: cell(row, 5)?,
        customer_id: cell(row, 6)?,
        placed_at: cell(row, 7)?,
        payment_due_at: cell(row, 8)?,
        overpaid: cell(row, 9)?,
        refund_due: cell(row, 10)?,
        terms: cell(row, 11)?,
        overdue_from: cell(row, 12)?,
    };
    let Json(summary): Json<OrderSummary> = cell(row, 13)?;
    let columns_fit = SearchColumns::of(order).is_ok_and(|expected| expected == stored);
    Ok(columns_fit && OrderSummary::of(&order.order) == summary)
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
        let sql = format!("SELECT {COLUMNS} FROM orders WHERE order_id = $1");
        self.database.run(async |client| one(client, &sql, &[&id.0], order_row).await).await
    }

    async fn order_summary(&self, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError> {
        self.database.run(async |client| summary(client, id).await).await
    }

    async fn orders(
        &self,
        filter: &OrderFilter,
        limit: usize,
    ) -> Result<RowPage<OrderSummaryRow>, ReadModelError> {
        self.database.run(async |client| order_lists::list_page(client, filter, limit).await).await
    }
}

pub(super) async fn summary(client: &Object, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError> {
    let sql = format!("SELECT {SUMMARY_COLUMNS} FROM orders WHERE order_id = $1");
    one(client, &sql, &[&id.0], summary_row).await
}

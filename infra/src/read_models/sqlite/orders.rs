//! Orders, and the index table of their SKUs.

use async_trait::async_trait;
use domain::{Amount, OrderId, Timestamp, order::OrderStatus};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, ToSql, Transaction, params};

use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    order_lists, stock,
    values::{coded, currency, from_json, optional_time, revision, sku, time},
};
use crate::{
    external_sort::{Sorted, Sorter},
    read_models::{
        Count, OrderFilter, OrderPage, OrderQueries, OrderRow, OrderSummary, OrderSummaryRow, OrderWork,
        Projection, ReadModelError, RowKeys, Rows, StoredRow,
        codes::{
            STATUSES, fulfilment_status_code, fulfilment_status_of, payment_status_code, payment_status_of,
            terms_code, terms_of,
        },
        encoded::{EncodedOrder, EncodedRow, EncodedRows, OrderHead, OrderSku},
        orders::skus_of,
    },
};

pub(super) const SCHEMA: &str = include_str!("orders.sql");

/// Stored: changing a number needs a new schema version.
pub(super) fn status_code(status: OrderStatus) -> i64 {
    match status {
        OrderStatus::New => 0,
        OrderStatus::Placed => 1,
        OrderStatus::Allocated => 2,
        OrderStatus::Rejected => 3,
        OrderStatus::Cancelled => 4,
        OrderStatus::Expired => 5,
    }
}

pub(super) fn is_final_code(code: i64) -> bool {
    final_codes().any(|of_final| of_final == code)
}

pub(super) fn final_codes() -> impl Iterator<Item = i64> {
    STATUSES.into_iter().filter(|status| status.is_final()).map(status_code)
}

/// Every column but `row_no`, in the order of [`with_values`] and [`encoded`].
const COLUMNS: &str = "order_id, revision, recorded_at, updated_at, status, payment_status, fulfilment_status,
     customer_id, reference, country, placed_at, currency, total, payment_due_at, to_ship, overpaid, refund_due,
     terms, overdue_from, times, summary, body";

/// Calls `run` with the values of [`COLUMNS`].
fn with_values<R>(row: &EncodedOrder, run: impl FnOnce(&[&dyn ToSql]) -> R) -> R {
    let EncodedOrder { head, times, summary, body } = row;
    run(params![
        head.order_id.0,
        head.revision.cast_signed(),
        head.recorded_at.as_microsecond(),
        head.updated_at.as_microsecond(),
        status_code(head.status),
        payment_status_code(head.payment_status),
        fulfilment_status_code(head.fulfilment_status),
        head.customer_id,
        head.reference,
        head.country,
        head.placed_at.as_microsecond(),
        head.currency.as_str(),
        head.total.minor_units(),
        head.payment_due_at.map(Timestamp::as_microsecond),
        head.to_ship,
        head.overpaid,
        head.refund_due,
        terms_code(head.terms),
        head.overdue_from.map(Timestamp::as_microsecond),
        times,
        summary,
        body,
    ])
}

/// Reads the [`COLUMNS`].
fn encoded(row: &Row<'_>) -> rusqlite::Result<EncodedOrder> {
    let head = OrderHead {
        order_id: OrderId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        status: coded(row, 4, "status", stored_status)?,
        payment_status: coded(row, 5, "payment status", payment_status_of)?,
        fulfilment_status: coded(row, 6, "fulfilment status", fulfilment_status_of)?,
        customer_id: row.get(7)?,
        reference: row.get(8)?,
        country: row.get(9)?,
        placed_at: time(row, 10)?,
        currency: currency(row, 11)?,
        total: coded(row, 12, "total", |total| Amount::new(total).ok())?,
        payment_due_at: optional_time(row, 13)?,
        to_ship: row.get(14)?,
        overpaid: row.get(15)?,
        refund_due: row.get(16)?,
        terms: coded(row, 17, "number of terms", terms_of)?,
        overdue_from: optional_time(row, 18)?,
    };
    Ok(EncodedOrder { head, times: row.get(19)?, summary: row.get(20)?, body: row.get(21)? })
}

const ROW_COLUMNS: &str = "order_id, revision, recorded_at, updated_at, times, body";

fn order_row(row: &Row<'_>) -> rusqlite::Result<OrderRow> {
    Ok(OrderRow {
        order_id: OrderId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        times: from_json(row, 4)?,
        order: from_json(row, 5)?,
    })
}

pub(super) const SUMMARY_COLUMNS: &str = "order_id, revision, recorded_at, updated_at, summary";

pub(super) fn summary_row(row: &Row<'_>) -> rusqlite::Result<OrderSummaryRow> {
    Ok(OrderSummaryRow {
        order_id: OrderId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        summary: from_json(row, 4)?,
    })
}

pub(super) fn load(connection: &Connection, keys: &RowKeys, rows: &mut Rows) -> Result<(), ReadModelError> {
    for id in &keys.orders {
        rows.orders.extend(order(connection, *id)?.map(Into::into));
    }
    Ok(())
}

fn order(connection: &Connection, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
    let sql = format!("SELECT {ROW_COLUMNS} FROM orders WHERE order_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.0], order_row).optional()?)
}

pub(super) fn write(transaction: &Transaction<'_>, rows: &Rows) -> Result<(), ReadModelError> {
    let mut writer = OrderWriter::new(transaction)?;
    rows.orders.iter().try_for_each(|row| writer.write(row))
}

struct OrderWriter<'c> {
    connection: &'c Connection,
    select: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
    insert_sku: CachedStatement<'c>,
    delete_sku: CachedStatement<'c>,
}

const INSERT_SKU: &str = "INSERT INTO order_skus (sku, status, placed_at, order_id) VALUES (?1, ?2, ?3, ?4)";

fn insert_sql() -> String {
    let values: Vec<String> = (1..=COLUMNS.split(',').count()).map(|number| format!("?{number}")).collect();
    format!("INSERT INTO orders ({COLUMNS}) VALUES ({})", values.join(", "))
}

impl<'c> OrderWriter<'c> {
    fn new(connection: &'c Connection) -> Result<Self, ReadModelError> {
        const SELECT: &str = "SELECT status, placed_at FROM orders WHERE order_id = ?1";
        // The other columns of an order never change: their indexes stay as they are. The numbers are those of COLUMNS.
        const UPDATE: &str = "UPDATE orders
             SET revision = ?2, updated_at = ?4, status = ?5, payment_status = ?6, fulfilment_status = ?7,
                 payment_due_at = ?14, to_ship = ?15, overpaid = ?16, refund_due = ?17, overdue_from = ?19,
                 times = ?20, summary = ?21, body = ?22
             WHERE order_id = ?1";
        const DELETE_SKU: &str =
            "DELETE FROM order_skus WHERE sku = ?1 AND status = ?2 AND placed_at = ?3 AND order_id = ?4";
        Ok(Self {
            connection,
            select: connection.prepare_cached(SELECT)?,
            insert: connection.prepare_cached(&insert_sql())?,
            update: connection.prepare_cached(UPDATE)?,
            insert_sku: connection.prepare_cached(INSERT_SKU)?,
            delete_sku: connection.prepare_cached(DELETE_SKU)?,
        })
    }

    fn write(&mut self, row: &OrderRow) -> Result<(), ReadModelError> {
        let new = EncodedOrder::of_row(row)?;
        let id = row.order_id.0;
        let (status, skus) = (status_code(new.head.status), skus_of(&row.order));
        let stored =
            self.select.query_row([id], |stored| Ok((stored.get::<_, i64>(0)?, stored.get::<_, i64>(1)?)));
        match stored.optional()? {
            None => {
                with_values(&new, |values| self.insert.execute(values))?;
                let placed_at = new.head.placed_at.as_microsecond();
                for sku in &skus {
                    self.insert_sku.execute(params![sku.as_str(), status, placed_at, id])?;
                }
            }
            Some((old_status, placed_at)) => {
                with_values(&new, |values| self.update.execute(values))?;
                if old_status != status {
                    for sku in &skus {
                        self.delete_sku.execute(params![sku.as_str(), old_status, placed_at, id])?;
                        self.insert_sku.execute(params![sku.as_str(), status, placed_at, id])?;
                    }
                }
            }
        }
        if row.order.status().is_final() {
            stock::mark_order_ended(self.connection, row.order_id, &skus)?;
        }
        Ok(())
    }
}

/// Adds rows of a rebuild, and the rows of `order_skus` to `skus`.
pub(super) fn copy(
    connection: &Connection,
    skus: &mut Sorter,
    rows: &EncodedRows,
) -> Result<(), ReadModelError> {
    let mut insert = connection.prepare_cached(&insert_sql())?;
    for row in &rows.orders {
        with_values(row, |values| insert.execute(values))?;
    }
    rows.order_skus.iter().try_for_each(|entry| Ok(skus.push(&sku_key(entry), &[])?))
}

/// The key of a row of `order_skus`: its bytes sort as its columns do. SKUs contain no zero byte.
fn sku_key(entry: &OrderSku) -> Vec<u8> {
    let mut key = Vec::with_capacity(entry.sku.as_str().len() + SKU_KEY_REST);
    key.extend_from_slice(entry.sku.as_str().as_bytes());
    key.push(0);
    for number in [status_code(entry.status), entry.placed_at.as_microsecond()] {
        key.extend(sortable(number));
    }
    key.extend(entry.order_id.0.as_bytes());
    key
}

/// Writes all rows of `order_skus`.
pub(super) fn copy_skus(connection: &Connection, mut skus: Sorted) -> Result<(), ReadModelError> {
    let mut insert = connection.prepare(INSERT_SKU)?;
    let mut reader = skus.read()?;
    while let Some((key, _)) = reader.next()? {
        let damaged = || ReadModelError::Unavailable("a temporary file of the rebuild is damaged".into());
        let (sku, rest) = key.split_at_checked(key.len().wrapping_sub(SKU_KEY_REST)).ok_or_else(damaged)?;
        let sku = std::str::from_utf8(sku).map_err(|_| damaged())?;
        let number = |at: usize| rest[at..at + 8].try_into().map(number_of).map_err(|_| damaged());
        insert.execute(params![sku, number(1)?, number(9)?, &rest[17..]])?;
    }
    Ok(())
}

/// Bytes after the SKU: a zero, two numbers and an id.
const SKU_KEY_REST: usize = 1 + 8 + 8 + 16;

/// Eight bytes that sort as the number does.
fn sortable(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

fn number_of(sortable: [u8; 8]) -> i64 {
    i64::from_be_bytes(sortable) ^ i64::MIN
}

pub(super) fn scan(connection: &Connection, sink: &mut Sink<StoredRow>) -> Result<(), Stop> {
    const SKU: &str = "SELECT EXISTS (SELECT 1 FROM order_skus
         WHERE sku = ?1 AND status = ?2 AND placed_at = ?3 AND order_id = ?4)";
    let mut sku_listed = connection.prepare(SKU)?;
    let mut skus_expected: i64 = 0;
    let sql = format!("SELECT {COLUMNS} FROM orders ORDER BY row_no");
    let read = |row: &Row<'_>| {
        let stored = encoded(row)?;
        let summary: OrderSummary = from_json(row, 20)?;
        let OrderHead { order_id, revision, recorded_at, updated_at, .. } = stored.head;
        let (times, order) = (from_json(row, 19)?, from_json(row, 21)?);
        Ok((stored.head, summary, OrderRow { order_id, revision, recorded_at, updated_at, times, order }))
    };
    each(connection, sink, &sql, Projection::Orders, read, |sink, (head, summary, row)| {
        let broken = |fault| StoredRow::broken(Projection::Orders, row.order_id.to_string(), fault);
        let columns_fit = OrderHead::of(&row).is_ok_and(|expected| expected == head);
        if !columns_fit || OrderSummary::of(&row.order) != summary {
            let fault = "a search column or the summary differs from the order";
            sink.push(broken(fault.to_owned()))?;
        }
        for sku in skus_of(&row.order) {
            skus_expected += 1;
            let (status, placed_at) = (status_code(head.status), head.placed_at.as_microsecond());
            let key = params![sku.as_str(), status, placed_at, row.order_id.0];
            if !sku_listed.query_row(key, |found| found.get::<_, bool>(0))? {
                sink.push(broken(format!("order_skus has no entry of {sku} for it")))?;
            }
        }
        sink.push(StoredRow::Order(Box::new(row)))
    })?;
    // Missing entries are reported above. If none is missing, equal numbers prove that there is no other.
    let skus_stored: i64 = connection.query_row("SELECT count(*) FROM order_skus", [], |row| row.get(0))?;
    if skus_stored != skus_expected {
        let fault = format!("it has {skus_stored} entries, and the orders have {skus_expected} SKUs");
        sink.push(StoredRow::broken(Projection::Orders, "order_skus", fault))?;
    }
    Ok(())
}

/// Sends every order and every row of `order_skus` as it is stored.
pub(super) fn scan_encoded(connection: &Connection, sink: &mut Sink<EncodedRow>) -> Result<(), Stop> {
    let sql = format!("SELECT {COLUMNS} FROM orders ORDER BY row_no");
    each(connection, sink, &sql, Projection::Orders, encoded, |sink, row| sink.push(EncodedRow::Order(row)))?;
    let sql = "SELECT sku, status, placed_at, order_id FROM order_skus";
    let entry = |row: &Row<'_>| {
        let (sku, status) = (sku(row, 0)?, coded(row, 1, "status", stored_status)?);
        Ok(OrderSku { sku, status, placed_at: time(row, 2)?, order_id: OrderId(row.get(3)?) })
    };
    each(connection, sink, sql, Projection::Orders, entry, |sink, row| sink.push(EncodedRow::OrderSku(row)))
}

fn stored_status(code: i64) -> Option<OrderStatus> {
    STATUSES.into_iter().find(|status| status_code(*status) == code)
}

#[async_trait]
impl OrderQueries for SqliteQueries {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
        self.run(move |connection| order(connection, id)).await
    }

    async fn order_summary(&self, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError> {
        self.run(move |connection| summary(connection, id)).await
    }

    async fn orders(&self, filter: &OrderFilter, limit: usize) -> Result<OrderPage, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| order_lists::page(connection, &filter, limit)).await
    }

    async fn order_count(&self, filter: &OrderFilter) -> Result<Count, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| order_lists::count(connection, &filter)).await
    }

    async fn work_counts(&self, now: Timestamp) -> Result<Vec<(OrderWork, Count)>, ReadModelError> {
        self.run(move |connection| order_lists::work_counts(connection, now)).await
    }
}

pub(super) fn summary(
    connection: &Connection,
    id: OrderId,
) -> Result<Option<OrderSummaryRow>, ReadModelError> {
    let sql = format!("SELECT {SUMMARY_COLUMNS} FROM orders WHERE order_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.0], summary_row).optional()?)
}

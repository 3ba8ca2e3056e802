//! Orders, and the index table of their SKUs.

use async_trait::async_trait;
use domain::{
    OrderId, Timestamp,
    order::{Order, OrderStatus},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Statement, Transaction, params};

pub(super) mod terms;

use self::terms::{stored_terms, terms_code};
use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    order_lists, stock,
    values::{from_json, optional_time, revision, sku, time, to_json, unreadable},
};
use crate::{
    external_sort::{Sorted, Sorter},
    read_models::{
        OrderBalance, OrderFilter, OrderQueries, OrderRow, OrderSummary, OrderSummaryRow, Projection,
        ReadModelError, RowKeys, RowPage, Rows, StoredRow,
        encoded::{Encoded, EncodedOrder, EncodedRow, EncodedRows, OrderHead, OrderSku},
        orders::{awaited_payment_due_at, never_placed, skus_of},
    },
};

pub(super) const SCHEMA: &str = include_str!("orders.sql");

/// The statuses that stored orders can have.
pub(super) const STATUSES: [OrderStatus; 5] = [
    OrderStatus::Placed,
    OrderStatus::Allocated,
    OrderStatus::Rejected,
    OrderStatus::Cancelled,
    OrderStatus::Expired,
];

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

/// Search columns besides SKUs.
#[derive(Debug, PartialEq, Eq)]
struct SearchColumns<'a> {
    status: i64,
    customer_id: Option<&'a str>,
    placed_at: i64,
    payment_due_at: Option<i64>,
    overpaid: bool,
    refund_due: bool,
    terms: i64,
    overdue_from: Option<i64>,
}

impl<'a> SearchColumns<'a> {
    /// `None` for an order that was never placed.
    fn of(order: &'a Order) -> Option<Self> {
        Some(Self {
            status: status_code(order.status()),
            customer_id: order.customer_id(),
            placed_at: order.placed_at()?.as_microsecond(),
            payment_due_at: awaited_payment_due_at(order).map(Timestamp::as_microsecond),
            overpaid: OrderBalance::Overpaid.is_of(order),
            refund_due: OrderBalance::RefundDue.is_of(order),
            terms: terms_code(order.terms()),
            overdue_from: order.overdue_from().map(Timestamp::as_microsecond),
        })
    }

    fn of_row(row: &'a OrderRow) -> Result<Self, ReadModelError> {
        Self::of(&row.order).ok_or_else(|| never_placed(row.order_id))
    }
}

const COLUMNS: &str = "order_id, revision, recorded_at, updated_at, body";

fn order_row(row: &Row<'_>) -> rusqlite::Result<OrderRow> {
    Ok(OrderRow {
        order_id: OrderId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        order: from_json(row, 4)?,
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

/// The JSON columns of an order.
struct Json {
    summary: String,
    body: String,
}

impl Json {
    fn of(order: &Order) -> Result<Self, ReadModelError> {
        Ok(Self { summary: to_json(&OrderSummary::of(order))?, body: to_json(order)? })
    }
}

pub(super) fn load(connection: &Connection, keys: &RowKeys, rows: &mut Rows) -> Result<(), ReadModelError> {
    for id in &keys.orders {
        rows.orders.extend(order(connection, *id)?.map(Into::into));
    }
    Ok(())
}

fn order(connection: &Connection, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
    let sql = format!("SELECT {COLUMNS} FROM orders WHERE order_id = ?1");
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

const INSERT: &str = "INSERT INTO orders
     (order_id, revision, recorded_at, updated_at, status, customer_id, placed_at, payment_due_at, overpaid,
      refund_due, terms, overdue_from, summary, body)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
const INSERT_SKU: &str = "INSERT INTO order_skus (sku, status, placed_at, order_id) VALUES (?1, ?2, ?3, ?4)";

impl<'c> OrderWriter<'c> {
    fn new(connection: &'c Connection) -> Result<Self, ReadModelError> {
        const SELECT: &str = "SELECT row_no, status, placed_at FROM orders WHERE order_id = ?1";
        // customer_id, placed_at and terms of an order never change.
        const UPDATE: &str = "UPDATE orders
             SET revision = ?2, updated_at = ?3, status = ?4, payment_due_at = ?5, overpaid = ?6, refund_due = ?7,
                 overdue_from = ?8, summary = ?9, body = ?10
             WHERE row_no = ?1";
        const DELETE_SKU: &str =
            "DELETE FROM order_skus WHERE sku = ?1 AND status = ?2 AND placed_at = ?3 AND order_id = ?4";
        Ok(Self {
            connection,
            select: connection.prepare_cached(SELECT)?,
            insert: connection.prepare_cached(INSERT)?,
            update: connection.prepare_cached(UPDATE)?,
            insert_sku: connection.prepare_cached(INSERT_SKU)?,
            delete_sku: connection.prepare_cached(DELETE_SKU)?,
        })
    }

    fn write(&mut self, row: &OrderRow) -> Result<(), ReadModelError> {
        let columns = SearchColumns::of_row(row)?;
        let id = row.order_id.0;
        let json = Json::of(&row.order)?;
        let skus = skus_of(&row.order);
        let stored = self.select.query_row([id], |stored| {
            Ok((stored.get::<_, i64>(0)?, stored.get::<_, i64>(1)?, stored.get::<_, i64>(2)?))
        });
        match stored.optional()? {
            None => {
                insert(&mut self.insert, row, &columns, &json)?;
                for sku in &skus {
                    self.insert_sku.execute(params![sku.as_str(), columns.status, columns.placed_at, id])?;
                }
            }
            Some((row_no, old_status, placed_at)) => {
                let (revision, updated_at) = (row.revision.cast_signed(), row.updated_at.as_microsecond());
                let SearchColumns { status, payment_due_at, overpaid, refund_due, overdue_from, .. } =
                    columns;
                let Json { summary, body } = json;
                self.update.execute(params![
                    row_no,
                    revision,
                    updated_at,
                    status,
                    payment_due_at,
                    overpaid,
                    refund_due,
                    overdue_from,
                    summary,
                    body,
                ])?;
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

fn insert(
    statement: &mut Statement<'_>,
    row: &OrderRow,
    columns: &SearchColumns<'_>,
    json: &Json,
) -> Result<(), ReadModelError> {
    statement.execute(params![
        row.order_id.0,
        row.revision.cast_signed(),
        row.recorded_at.as_microsecond(),
        row.updated_at.as_microsecond(),
        columns.status,
        columns.customer_id,
        columns.placed_at,
        columns.payment_due_at,
        columns.overpaid,
        columns.refund_due,
        columns.terms,
        columns.overdue_from,
        json.summary,
        json.body,
    ])?;
    Ok(())
}

/// Adds rows of a rebuild, and the rows of `order_skus` to `skus`.
pub(super) fn copy(
    connection: &Connection,
    skus: &mut Sorter,
    rows: &EncodedRows,
) -> Result<(), ReadModelError> {
    let mut insert = connection.prepare_cached(INSERT)?;
    for Encoded { head, summary, body } in &rows.orders {
        insert.execute(params![
            head.order_id.0,
            head.revision.cast_signed(),
            head.recorded_at.as_microsecond(),
            head.updated_at.as_microsecond(),
            status_code(head.status),
            head.customer_id,
            head.placed_at.as_microsecond(),
            head.payment_due_at.map(Timestamp::as_microsecond),
            head.overpaid,
            head.refund_due,
            terms_code(head.terms),
            head.overdue_from.map(Timestamp::as_microsecond),
            summary,
            body,
        ])?;
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
    let sql = format!(
        "SELECT {COLUMNS}, status, customer_id, placed_at, payment_due_at, overpaid, refund_due, terms,
             overdue_from, summary
         FROM orders ORDER BY row_no"
    );
    let read = |row: &Row<'_>| {
        let order = order_row(row)?;
        let stored = SearchColumns {
            status: row.get(5)?,
            customer_id: row.get_ref(6)?.as_str_or_null()?,
            placed_at: row.get(7)?,
            payment_due_at: row.get(8)?,
            overpaid: row.get(9)?,
            refund_due: row.get(10)?,
            terms: row.get(11)?,
            overdue_from: row.get(12)?,
        };
        let summary: OrderSummary = from_json(row, 13)?;
        let columns_fit = SearchColumns::of(&order.order).is_some_and(|expected| expected == stored)
            && OrderSummary::of(&order.order) == summary;
        Ok((order, stored.status, stored.placed_at, columns_fit))
    };
    each(connection, sink, &sql, Projection::Orders, read, |sink, (row, status, placed_at, columns_fit)| {
        let broken = |fault| StoredRow::broken(Projection::Orders, row.order_id.to_string(), fault);
        if !columns_fit {
            let fault = "a search column or the summary differs from the order";
            sink.push(broken(fault.to_owned()))?;
        }
        for sku in skus_of(&row.order) {
            skus_expected += 1;
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
    let sql =
        "SELECT order_id, revision, recorded_at, updated_at, status, customer_id, placed_at, payment_due_at,
             overpaid, refund_due, terms, overdue_from, summary, body
         FROM orders ORDER BY row_no";
    let order = |row: &Row<'_>| {
        let head = OrderHead {
            order_id: OrderId(row.get(0)?),
            revision: revision(row, 1)?,
            recorded_at: time(row, 2)?,
            updated_at: time(row, 3)?,
            status: stored_status(row, 4)?,
            customer_id: row.get(5)?,
            placed_at: time(row, 6)?,
            payment_due_at: optional_time(row, 7)?,
            overpaid: row.get(8)?,
            refund_due: row.get(9)?,
            terms: stored_terms(row, 10)?,
            overdue_from: optional_time(row, 11)?,
        };
        Ok(EncodedOrder { head, summary: row.get(12)?, body: row.get(13)? })
    };
    each(connection, sink, sql, Projection::Orders, order, |sink, row| sink.push(EncodedRow::Order(row)))?;
    let sql = "SELECT sku, status, placed_at, order_id FROM order_skus";
    let entry = |row: &Row<'_>| {
        let (sku, status) = (sku(row, 0)?, stored_status(row, 1)?);
        Ok(OrderSku { sku, status, placed_at: time(row, 2)?, order_id: OrderId(row.get(3)?) })
    };
    each(connection, sink, sql, Projection::Orders, entry, |sink, row| sink.push(EncodedRow::OrderSku(row)))
}

fn stored_status(row: &Row<'_>, column: usize) -> rusqlite::Result<OrderStatus> {
    let code: i64 = row.get(column)?;
    let status = STATUSES.into_iter().find(|status| status_code(*status) == code);
    status.ok_or_else(|| unreadable("status", &code.to_string()))
}

#[async_trait]
impl OrderQueries for SqliteQueries {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
        self.run(move |connection| order(connection, id)).await
    }

    async fn order_summary(&self, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError> {
        self.run(move |connection| summary(connection, id)).await
    }

    async fn orders(
        &self,
        filter: &OrderFilter,
        limit: usize,
    ) -> Result<RowPage<OrderSummaryRow>, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| order_lists::list_page(connection, &filter, limit)).await
    }
}

pub(super) fn summary(
    connection: &Connection,
    id: OrderId,
) -> Result<Option<OrderSummaryRow>, ReadModelError> {
    let sql = format!("SELECT {SUMMARY_COLUMNS} FROM orders WHERE order_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.0], summary_row).optional()?)
}

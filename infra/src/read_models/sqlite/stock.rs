//! Stock levels, open reservations, and the stock events of an order.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use domain::{OrderId, Position, Sku};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params};

use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    orders::{final_codes, is_final_code},
    values::{revision, signed_position, sku},
};
use crate::read_models::{
    OrderStockEvent, Projection, ReadModelError, ReservationRow, RowKeys, RowPage, Rows, StockFilter,
    StockPage, StockPlace, StockQueries, StockRow, StoredRow,
    encoded::EncodedRows,
    paging::{one_more, sql_limit},
};

pub(super) const SCHEMA: &str = include_str!("stock.sql");

const LEVEL_COLUMNS: &str = "sku, on_hand, reserved, revision";

fn level_row(row: &Row<'_>) -> rusqlite::Result<StockRow> {
    Ok(StockRow {
        sku: sku(row, 0)?,
        on_hand: row.get(1)?,
        reserved: row.get(2)?,
        revision: revision(row, 3)?,
    })
}

const RESERVATION_COLUMNS: &str = "sku, order_id, quantity";

fn reservation_row(row: &Row<'_>) -> rusqlite::Result<ReservationRow> {
    Ok(ReservationRow { sku: sku(row, 0)?, order_id: OrderId(row.get(1)?), quantity: row.get(2)? })
}

const ORDER_EVENT_COLUMNS: &str = "order_id, position, sku, revision";

fn order_event(row: &Row<'_>) -> rusqlite::Result<OrderStockEvent> {
    Ok(OrderStockEvent {
        order_id: OrderId(row.get(0)?),
        position: row.get::<_, i64>(1)?.cast_unsigned(),
        sku: sku(row, 2)?,
        revision: revision(row, 3)?,
    })
}

pub(super) fn load(connection: &Connection, keys: &RowKeys, rows: &mut Rows) -> Result<(), ReadModelError> {
    let levels = format!("SELECT {LEVEL_COLUMNS} FROM stock WHERE sku = ?1");
    let mut select = connection.prepare_cached(&levels)?;
    for sku in &keys.stock {
        rows.stock.extend(select.query_row([sku.as_str()], level_row).optional()?);
    }
    let held = format!("SELECT {RESERVATION_COLUMNS} FROM reservations WHERE sku = ?1 AND order_id = ?2");
    let mut select_held = connection.prepare_cached(&held)?;
    for (sku, order) in &keys.reservations {
        let key = params![sku.as_str(), order.0];
        rows.reservations.extend(select_held.query_row(key, reservation_row).optional()?);
    }
    Ok(())
}

/// Call after the orders of the batch are written: reservations store whether their order has ended.
pub(super) fn write(transaction: &Transaction<'_>, rows: &Rows) -> Result<(), ReadModelError> {
    write_levels(transaction, &rows.stock)?;
    close_reservations(transaction, &rows.reservations_closed)?;
    write_reservations(transaction, rows)?;
    insert_order_events(transaction, &rows.order_stock_events)
}

/// Adds rows of a rebuild. [`mark_ended_orders`] follows once all orders are written.
pub(super) fn copy(connection: &Connection, rows: &EncodedRows) -> Result<(), ReadModelError> {
    write_levels(connection, &rows.stock)?;
    let mut upsert = connection.prepare_cached(UPSERT_RESERVATION)?;
    for ReservationRow { sku, order_id, quantity } in &rows.reservations {
        upsert.execute(params![sku.as_str(), order_id.0, quantity, false])?;
    }
    insert_order_events(connection, &rows.order_stock_events)
}

/// Marks every reservation of an ended order.
pub(super) fn mark_ended_orders(connection: &Connection) -> Result<(), ReadModelError> {
    let ended = final_codes().map(|code| code.to_string()).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "UPDATE reservations SET order_ended = 1
         WHERE (SELECT status FROM orders WHERE orders.order_id = reservations.order_id) IN ({ended})"
    );
    connection.execute_batch(&sql)?;
    Ok(())
}

fn write_levels(connection: &Connection, rows: &[StockRow]) -> Result<(), ReadModelError> {
    const UPSERT: &str = "INSERT INTO stock (sku, on_hand, reserved, revision) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (sku) DO UPDATE SET on_hand = ?2, reserved = ?3, revision = ?4";
    let mut upsert = connection.prepare_cached(UPSERT)?;
    for row in rows {
        upsert.execute(params![row.sku.as_str(), row.on_hand, row.reserved, row.revision.cast_signed()])?;
    }
    Ok(())
}

fn close_reservations(connection: &Connection, closed: &[(Sku, OrderId)]) -> Result<(), ReadModelError> {
    const CLOSE: &str = "DELETE FROM reservations WHERE sku = ?1 AND order_id = ?2";
    let mut close = connection.prepare_cached(CLOSE)?;
    for (sku, order_id) in closed {
        close.execute(params![sku.as_str(), order_id.0])?;
    }
    Ok(())
}

const UPSERT_RESERVATION: &str =
    "INSERT INTO reservations (sku, order_id, quantity, order_ended) VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (sku, order_id) DO UPDATE SET quantity = ?3, order_ended = ?4";

fn write_reservations(connection: &Connection, rows: &Rows) -> Result<(), ReadModelError> {
    const STATUS: &str = "SELECT status FROM orders WHERE order_id = ?1";
    let ended_in_batch = ended_orders(rows);
    let mut upsert = connection.prepare_cached(UPSERT_RESERVATION)?;
    let mut status = connection.prepare_cached(STATUS)?;
    for ReservationRow { sku, order_id, quantity } in &rows.reservations {
        let order_ended = if let Some(ended) = ended_in_batch.get(order_id) {
            *ended
        } else {
            let code = status.query_row([order_id.0], |row| row.get(0)).optional()?;
            code.is_some_and(is_final_code)
        };
        upsert.execute(params![sku.as_str(), order_id.0, quantity, order_ended])?;
    }
    Ok(())
}

/// The orders of `rows`, with true for those that have ended.
fn ended_orders(rows: &Rows) -> HashMap<OrderId, bool> {
    rows.orders.iter().map(|row| (row.order_id, row.order.status().is_final())).collect()
}

/// Marks the reservations that an ended order still holds.
pub(super) fn mark_order_ended(
    connection: &Connection,
    order_id: OrderId,
    skus: &BTreeSet<&Sku>,
) -> Result<(), ReadModelError> {
    const MARK: &str = "UPDATE reservations SET order_ended = 1 WHERE sku = ?1 AND order_id = ?2";
    let mut mark = connection.prepare_cached(MARK)?;
    for sku in skus {
        mark.execute(params![sku.as_str(), order_id.0])?;
    }
    Ok(())
}

fn insert_order_events(connection: &Connection, events: &[OrderStockEvent]) -> Result<(), ReadModelError> {
    const INSERT: &str =
        "INSERT INTO order_stock_events (order_id, position, sku, revision) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = connection.prepare_cached(INSERT)?;
    for OrderStockEvent { order_id, position, sku, revision } in events {
        insert.execute(params![order_id.0, position.cast_signed(), sku.as_str(), revision.cast_signed()])?;
    }
    Ok(())
}

pub(super) fn scan<R: From<StoredRow>>(connection: &Connection, sink: &mut Sink<R>) -> Result<(), Stop> {
    let levels = format!("SELECT {LEVEL_COLUMNS} FROM stock");
    each(connection, sink, &levels, Projection::Stock, level_row, |sink, row| {
        sink.push(StoredRow::Stock(row))
    })?;
    scan_reservations(connection, sink)?;
    let events = format!("SELECT {ORDER_EVENT_COLUMNS} FROM order_stock_events");
    each(connection, sink, &events, Projection::Stock, order_event, |sink, event| {
        sink.push(StoredRow::OrderStockEvent(event))
    })
}

fn scan_reservations<R: From<StoredRow>>(connection: &Connection, sink: &mut Sink<R>) -> Result<(), Stop> {
    let sql = format!(
        "SELECT {RESERVATION_COLUMNS}, order_ended, (SELECT status FROM orders WHERE order_id = held.order_id)
         FROM reservations AS held"
    );
    let read = |row: &Row<'_>| {
        let order_ended: bool = row.get(3)?;
        let status: Option<i64> = row.get(4)?;
        Ok((reservation_row(row)?, order_ended == status.is_some_and(is_final_code)))
    };
    each(connection, sink, &sql, Projection::Stock, read, |sink, (row, is_marked_right)| {
        if !is_marked_right {
            let key = format!("{} held by order {}", row.sku, row.order_id);
            let fault = "order_ended contradicts the status of the order";
            sink.push(StoredRow::broken(Projection::Stock, key, fault))?;
        }
        sink.push(StoredRow::Reservation(row))
    })
}

#[async_trait]
impl StockQueries for SqliteQueries {
    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError> {
        let sku = sku.clone();
        self.run(move |connection| {
            let sql = format!("SELECT {LEVEL_COLUMNS} FROM stock WHERE sku = ?1");
            Ok(connection.prepare_cached(&sql)?.query_row([sku.as_str()], level_row).optional()?)
        })
        .await
    }

    async fn stock_list(&self, filter: &StockFilter, limit: usize) -> Result<StockPage, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| list_page(connection, &filter, limit)).await
    }

    async fn reservations(
        &self,
        sku: &Sku,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<RowPage<ReservationRow>, ReadModelError> {
        let sku = sku.clone();
        self.run(move |connection| {
            let sql = format!(
                "SELECT {RESERVATION_COLUMNS} FROM reservations
                 WHERE sku = ?1 AND order_id > ?2 ORDER BY order_id LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let after = after.map_or(Vec::new(), |id| id.0.into_bytes().to_vec());
            let rows = statement.query_map(params![sku.as_str(), after, one_more(limit)], reservation_row)?;
            Ok(RowPage::cut(rows.collect::<rusqlite::Result<_>>()?, limit))
        })
        .await
    }

    async fn order_stock_events(
        &self,
        id: OrderId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<RowPage<OrderStockEvent>, ReadModelError> {
        self.run(move |connection| {
            let sql = format!(
                "SELECT {ORDER_EVENT_COLUMNS} FROM order_stock_events
                 WHERE order_id = ?1 AND position > ?2 ORDER BY position LIMIT ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let after = signed_position(after).unwrap_or(-1);
            let rows = statement.query_map(params![id.0, after, one_more(limit)], order_event)?;
            Ok(RowPage::cut(rows.collect::<rusqlite::Result<_>>()?, limit))
        })
        .await
    }
}

/// ?1 and ?2: available units and SKU after which the list goes on, ?3: available units below, ?4: how many.
pub(super) const BY_AVAILABLE: &str =
    "SELECT sku, on_hand, reserved, revision FROM stock INDEXED BY stock_by_available
     WHERE (available, sku) > (?1, ?2) AND available < ?3 ORDER BY available, sku LIMIT ?4";
/// ?1: the first SKU, ?2: the one that ends the list, ?3: how many.
pub(super) const BY_SKU: &str = "SELECT sku, on_hand, reserved, revision FROM stock
     WHERE sku >= ?1 AND sku < ?2 ORDER BY sku LIMIT ?3";

fn list_page(
    connection: &Connection,
    filter: &StockFilter,
    limit: usize,
) -> Result<StockPage, ReadModelError> {
    let fetched = sql_limit(filter.rows_to_read(limit));
    let read = |sql, values: &[&dyn ToSql]| {
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(values, level_row)?;
        rows.collect::<rusqlite::Result<Vec<StockRow>>>()
    };
    let rows = if let Some(below) = filter.available_below {
        let after = filter.after.as_ref().map(|StockPlace(units, sku)| (i64::from(*units), sku.as_str()));
        let (units, sku) = after.unwrap_or((-1, ""));
        let below = i64::try_from(below).unwrap_or(i64::MAX);
        read(BY_AVAILABLE, params![units, sku, below, fetched])
    } else {
        let [first, end] = filter.bounds();
        read(BY_SKU, params![first, end, fetched])
    };
    Ok(filter.page(rows?, limit))
}

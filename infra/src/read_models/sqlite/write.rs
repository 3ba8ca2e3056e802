//! The write side: what a batch touches is loaded, what it changes is written in one transaction.

use std::{collections::HashMap, sync::Arc};

use domain::{OrderId, Position, StreamName, Timestamp};
use rusqlite::{Connection, OptionalExtension, Statement, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::columns::{
    ORDER_COLUMNS, OrderColumns, PARKED_COLUMNS, PAYMENT_COLUMNS, RESERVATION_COLUMNS, STOCK_COLUMNS,
    dimension_code, is_final_code, order_row, parked_row, payment_row, position, reservation_row,
    signed_position, span_code, state_code, stock_row,
};
use crate::{
    event_source::Partition,
    read_models::{
        BindError, Changes, Generation, OrderRow, OrderStockEvent, ParkedStream, PaymentRow, Projection,
        ReadModelError, ReservationRow, RowKeys, Rows, SalesKey, SalesTotals, StockRow,
        awaits_provider_since, skus_of,
        spans::{Span, by_month},
    },
};

pub(super) fn bind(connection: &Connection, store_id: Uuid) -> Result<(), BindError> {
    const BIND: &str = "UPDATE log SET store_id = ?1 WHERE store_id IS NULL";
    connection.execute(BIND, [store_id]).map_err(ReadModelError::from)?;
    let bound: Uuid = connection
        .query_row("SELECT store_id FROM log", [], |row| row.get(0))
        .map_err(ReadModelError::from)?;
    if bound == store_id { Ok(()) } else { Err(BindError::OtherLog { bound, given: store_id }) }
}

pub(super) fn generation(connection: &Connection) -> Result<Generation, ReadModelError> {
    let mut select = connection.prepare_cached("SELECT generation FROM log")?;
    Ok(select.query_row([], |row| row.get(0).map(Generation))?)
}

pub(super) fn checkpoint(
    connection: &Connection,
    partition: &Partition,
) -> Result<Option<Position>, ReadModelError> {
    // All projections of a partition move together; this one stands for them, and commits check each.
    const SELECT: &str = "SELECT position FROM checkpoints WHERE projection = ?1 AND partition = ?2";
    let projection = Projection::fed_by(partition)[0];
    let row = connection
        .prepare_cached(SELECT)?
        .query_row(params![projection.as_str(), partition.0], |row| position(row, 0))
        .optional()?;
    Ok(row.flatten())
}

pub(super) fn load(connection: &Connection, keys: &RowKeys) -> Result<Rows, ReadModelError> {
    let mut rows = Rows::default();
    // One lock for all of them, rather than one for each.
    let connection = connection.unchecked_transaction()?;
    let mut select = select_by(&connection, STOCK_COLUMNS, "stock", "sku = ?1")?;
    for sku in &keys.stock {
        rows.stock.extend(select.query_row([sku.as_str()], stock_row).optional()?);
    }
    let by_key = "sku = ?1 AND order_id = ?2";
    let mut select = select_by(&connection, RESERVATION_COLUMNS, "reservations", by_key)?;
    for (sku, order) in &keys.reservations {
        rows.reservations
            .extend(select.query_row(params![sku.as_str(), order.0], reservation_row).optional()?);
    }
    let mut select = select_by(&connection, ORDER_COLUMNS, "orders", "order_id = ?1")?;
    for id in &keys.orders {
        rows.orders.extend(select.query_row([id.0], order_row).optional()?);
    }
    let mut select = select_by(&connection, PAYMENT_COLUMNS, "payments", "payment_id = ?1")?;
    for id in &keys.payments {
        rows.payments.extend(select.query_row([id.0], payment_row).optional()?);
    }
    Ok(rows)
}

fn select_by<'c>(
    connection: &'c Connection,
    columns: &str,
    table: &str,
    condition: &str,
) -> rusqlite::Result<rusqlite::CachedStatement<'c>> {
    connection.prepare_cached(&format!("SELECT {columns} FROM {table} WHERE {condition}"))
}

pub(super) fn commit(connection: &mut Connection, changes: &Changes) -> Result<(), ReadModelError> {
    // Immediate: a transaction that began as a read could not wait for another writer.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(known) = changes.generation
        && known != generation(&transaction)?
    {
        return Err(ReadModelError::CheckpointMoved);
    }
    move_checkpoints(&transaction, changes)?;
    settle_parked(&transaction, changes)?;
    write_stock(&transaction, &changes.stock)?;
    let ended = write_orders(&transaction, &changes.orders)?;
    write_reservations(&transaction, changes, &ended)?;
    write_stock_events(&transaction, &changes.order_stock_events)?;
    write_payments(&transaction, &changes.payments)?;
    write_sales(&transaction, &changes.partition, &changes.sales)?;
    Ok(transaction.commit()?)
}

fn move_checkpoints(transaction: &Transaction<'_>, changes: &Changes) -> Result<(), ReadModelError> {
    const BEGIN: &str = "INSERT INTO checkpoints (projection, partition, position, updated_at, log_position)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (projection, partition) DO UPDATE SET position = ?3, updated_at = ?4,
             log_position = CASE WHEN ?5 IS NULL OR ?5 < log_position THEN log_position ELSE ?5 END
         WHERE position IS NULL";
    const MOVE: &str = "UPDATE checkpoints SET position = ?3, updated_at = ?4,
             log_position = CASE WHEN ?5 IS NULL OR ?5 < log_position THEN log_position ELSE ?5 END
         WHERE projection = ?1 AND partition = ?2 AND position = ?6";
    let now = Timestamp::now().as_microsecond();
    let (to, log_position) = (signed_position(changes.to), signed_position(changes.log_position));
    for projection in &changes.projections {
        let (projection, partition) = (projection.as_str(), &changes.partition.0);
        let moved = match signed_position(changes.from) {
            None => {
                let values = params![projection, partition, to, now, log_position];
                transaction.prepare_cached(BEGIN)?.execute(values)?
            }
            Some(from) => {
                let values = params![projection, partition, to, now, log_position, from];
                transaction.prepare_cached(MOVE)?.execute(values)?
            }
        };
        if moved == 0 {
            return Err(ReadModelError::CheckpointMoved);
        }
    }
    Ok(())
}

fn settle_parked(transaction: &Transaction<'_>, changes: &Changes) -> Result<(), ReadModelError> {
    const IS_PARKED: &str = "SELECT EXISTS (SELECT 1 FROM parked WHERE projection = ?1 AND stream = ?2)";
    const UNPARK: &str = "DELETE FROM parked
         WHERE projection = ?1 AND stream = ?2 AND revision = ?3 AND parked_at = ?4 AND retry_requested = 1";
    for (projection, stream) in &changes.skipped {
        let key = params![projection.as_str(), stream.to_string()];
        let is_parked: bool = transaction.prepare_cached(IS_PARKED)?.query_row(key, |row| row.get(0))?;
        if !is_parked {
            return Err(ReadModelError::CheckpointMoved);
        }
    }
    for row in &changes.retried {
        let as_read = params![
            row.projection.as_str(),
            row.stream.to_string(),
            row.revision.cast_signed(),
            row.parked_at.as_microsecond(),
        ];
        if transaction.prepare_cached(UNPARK)?.execute(as_read)? == 0 {
            return Err(ReadModelError::CheckpointMoved);
        }
    }
    write_parked(transaction, &changes.parked)
}

pub(super) fn write_parked(connection: &Connection, parked: &[ParkedStream]) -> Result<(), ReadModelError> {
    const PARK: &str = "INSERT OR REPLACE INTO parked
         (projection, stream, partition, event_id, revision, position, reason, parked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    for row in parked {
        connection.prepare_cached(PARK)?.execute(params![
            row.projection.as_str(),
            row.stream.to_string(),
            row.partition.0,
            row.event_id.0,
            row.revision.cast_signed(),
            row.position.cast_signed(),
            row.reason,
            row.parked_at.as_microsecond(),
        ])?;
    }
    Ok(())
}

pub(super) fn write_stock(connection: &Connection, rows: &[StockRow]) -> Result<(), ReadModelError> {
    const UPSERT: &str = "INSERT INTO stock (sku, on_hand, reserved, revision) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (sku) DO UPDATE SET on_hand = ?2, reserved = ?3, revision = ?4";
    let mut upsert = connection.prepare_cached(UPSERT)?;
    for row in rows {
        upsert.execute(params![row.sku.as_str(), row.on_hand, row.reserved, row.revision.cast_signed()])?;
    }
    Ok(())
}

/// Writes orders, and says of each whether it has ended.
fn write_orders(
    transaction: &Transaction<'_>,
    rows: &[Arc<OrderRow>],
) -> Result<HashMap<OrderId, bool>, ReadModelError> {
    let mut writer = OrderWriter::new(transaction)?;
    for row in rows {
        writer.write(row)?;
    }
    Ok(rows.iter().map(|row| (row.order_id, row.order.status().is_final())).collect())
}

struct OrderWriter<'c> {
    select: rusqlite::CachedStatement<'c>,
    insert: rusqlite::CachedStatement<'c>,
    update: rusqlite::CachedStatement<'c>,
    insert_sku: rusqlite::CachedStatement<'c>,
    delete_sku: rusqlite::CachedStatement<'c>,
    mark_reservation: rusqlite::CachedStatement<'c>,
}

pub(super) const INSERT_ORDER: &str = "INSERT INTO orders
     (order_id, revision, recorded_at, updated_at, status, customer_id, placed_at, payment_due_at, body)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
pub(super) const INSERT_ORDER_SKU: &str =
    "INSERT INTO order_skus (sku, status, placed_at, order_id) VALUES (?1, ?2, ?3, ?4)";

impl<'c> OrderWriter<'c> {
    fn new(connection: &'c Connection) -> Result<Self, ReadModelError> {
        const SELECT: &str = "SELECT row_no, status, placed_at FROM orders WHERE order_id = ?1";
        // The customer of an order never changes, nor does its time.
        const UPDATE: &str = "UPDATE orders
             SET revision = ?2, updated_at = ?3, status = ?4, payment_due_at = ?5, body = ?6 WHERE row_no = ?1";
        const DELETE_SKU: &str =
            "DELETE FROM order_skus WHERE sku = ?1 AND status = ?2 AND placed_at = ?3 AND order_id = ?4";
        const MARK: &str = "UPDATE reservations SET order_ended = 1 WHERE sku = ?1 AND order_id = ?2";
        Ok(Self {
            select: connection.prepare_cached(SELECT)?,
            insert: connection.prepare_cached(INSERT_ORDER)?,
            update: connection.prepare_cached(UPDATE)?,
            insert_sku: connection.prepare_cached(INSERT_ORDER_SKU)?,
            delete_sku: connection.prepare_cached(DELETE_SKU)?,
            mark_reservation: connection.prepare_cached(MARK)?,
        })
    }

    fn write(&mut self, row: &OrderRow) -> Result<(), ReadModelError> {
        let columns = columns_of(row)?;
        let id = row.order_id.0;
        let body = json(&row.order)?;
        let stored = self.select.query_row([id], |stored| {
            Ok((stored.get::<_, i64>(0)?, stored.get::<_, i64>(1)?, stored.get::<_, i64>(2)?))
        });
        let skus = skus_of(&row.order);
        let (revision, updated_at) = (row.revision.cast_signed(), row.updated_at.as_microsecond());
        match stored.optional()? {
            None => {
                insert_order(&mut self.insert, row, &body)?;
                for sku in &skus {
                    self.insert_sku.execute(params![sku.as_str(), columns.status, columns.placed_at, id])?;
                }
            }
            Some((row_no, old_status, placed_at)) => {
                let OrderColumns { status, payment_due_at, .. } = columns;
                self.update.execute(params![row_no, revision, updated_at, status, payment_due_at, body])?;
                if old_status != columns.status {
                    for sku in &skus {
                        self.delete_sku.execute(params![sku.as_str(), old_status, placed_at, id])?;
                        self.insert_sku.execute(params![sku.as_str(), columns.status, placed_at, id])?;
                    }
                }
            }
        }
        if row.order.status().is_final() {
            for sku in &skus {
                self.mark_reservation.execute(params![sku.as_str(), id])?;
            }
        }
        Ok(())
    }
}

pub(super) fn insert_order(
    statement: &mut Statement<'_>,
    row: &OrderRow,
    body: &str,
) -> Result<(), ReadModelError> {
    let columns = columns_of(row)?;
    statement.execute(params![
        row.order_id.0,
        row.revision.cast_signed(),
        row.recorded_at.as_microsecond(),
        row.updated_at.as_microsecond(),
        columns.status,
        columns.customer_id,
        columns.placed_at,
        columns.payment_due_at,
        body,
    ])?;
    Ok(())
}

pub(super) fn columns_of(row: &OrderRow) -> Result<OrderColumns<'_>, ReadModelError> {
    OrderColumns::of(&row.order).ok_or_else(|| {
        ReadModelError::Corrupt(format!("order {} was never placed, and cannot be kept", row.order_id).into())
    })
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, ReadModelError> {
    serde_json::to_string(value).map_err(|error| ReadModelError::Corrupt(error.to_string().into()))
}

pub(super) const INSERT_RESERVATION: &str =
    "INSERT INTO reservations (sku, order_id, quantity, order_ended) VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (sku, order_id) DO UPDATE SET quantity = ?3, order_ended = ?4";

fn write_reservations(
    transaction: &Transaction<'_>,
    changes: &Changes,
    ended_in_batch: &HashMap<OrderId, bool>,
) -> Result<(), ReadModelError> {
    const CLOSE: &str = "DELETE FROM reservations WHERE sku = ?1 AND order_id = ?2";
    const STATUS: &str = "SELECT status FROM orders WHERE order_id = ?1";
    let mut close = transaction.prepare_cached(CLOSE)?;
    for (sku, order_id) in &changes.reservations_closed {
        close.execute(params![sku.as_str(), order_id.0])?;
    }
    let mut upsert = transaction.prepare_cached(INSERT_RESERVATION)?;
    let mut status = transaction.prepare_cached(STATUS)?;
    for ReservationRow { sku, order_id, quantity } in &changes.reservations {
        let ended = if let Some(ended) = ended_in_batch.get(order_id) {
            *ended
        } else {
            let code = status.query_row([order_id.0], |row| row.get(0)).optional()?;
            code.is_some_and(is_final_code)
        };
        upsert.execute(params![sku.as_str(), order_id.0, quantity, ended])?;
    }
    Ok(())
}

pub(super) fn write_stock_events(
    connection: &Connection,
    events: &[OrderStockEvent],
) -> Result<(), ReadModelError> {
    const INSERT: &str =
        "INSERT INTO order_stock_events (order_id, position, sku, revision) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = connection.prepare_cached(INSERT)?;
    for OrderStockEvent { order_id, position, sku, revision } in events {
        insert.execute(params![order_id.0, position.cast_signed(), sku.as_str(), revision.cast_signed()])?;
    }
    Ok(())
}

pub(super) const INSERT_PAYMENT: &str = "INSERT INTO payments
     (payment_id, revision, recorded_at, updated_at, state, awaits_provider_since, body)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

fn write_payments(transaction: &Transaction<'_>, rows: &[Arc<PaymentRow>]) -> Result<(), ReadModelError> {
    let upsert = format!(
        "{INSERT_PAYMENT} ON CONFLICT (payment_id) DO UPDATE
         SET revision = ?2, recorded_at = ?3, updated_at = ?4, state = ?5, awaits_provider_since = ?6, body = ?7"
    );
    let mut upsert = transaction.prepare_cached(&upsert)?;
    for row in rows {
        insert_payment(&mut upsert, row, &json(&row.payment)?)?;
    }
    Ok(())
}

pub(super) fn insert_payment(
    statement: &mut Statement<'_>,
    row: &PaymentRow,
    body: &str,
) -> Result<(), ReadModelError> {
    statement.execute(params![
        row.payment_id.0,
        row.revision.cast_signed(),
        row.recorded_at.as_microsecond(),
        row.updated_at.as_microsecond(),
        state_code(row.payment.state()),
        awaits_provider_since(row).map(Timestamp::as_microsecond),
        body,
    ])?;
    Ok(())
}

/// Adds to the hours, and to the months they lie in.
pub(super) fn write_sales(
    connection: &Connection,
    partition: &Partition,
    sales: &[(SalesKey, SalesTotals)],
) -> Result<(), ReadModelError> {
    const ADD: &str = "INSERT INTO sales (dimension, span, currency, start, key, partition,
             orders, lines, units, gross, cancelled, refunded)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (dimension, span, currency, start, key, partition) DO UPDATE
         SET orders = orders + ?7, lines = lines + ?8, units = units + ?9,
             gross = gross + ?10, cancelled = cancelled + ?11, refunded = refunded + ?12";
    let mut add = connection.prepare_cached(ADD)?;
    let mut add = |span: Span, start: i64, key: &SalesKey, totals: &SalesTotals| {
        let (dimension, name) = dimension_code(&key.dimension);
        add.execute(params![
            dimension,
            span_code(span),
            key.currency.as_str(),
            start,
            name,
            partition.0,
            totals.orders,
            totals.lines,
            totals.units,
            totals.gross,
            totals.cancelled,
            totals.refunded,
        ])
    };
    for (key, totals) in sales {
        add(Span::Hour, key.hour, key, totals)?;
    }
    for (key, totals) in by_month(sales) {
        add(Span::Month, key.hour, &key, &totals)?;
    }
    Ok(())
}

pub(super) fn parked(connection: &Connection, condition: &str) -> Result<Vec<ParkedStream>, ReadModelError> {
    let sql = format!("SELECT {PARKED_COLUMNS} FROM parked WHERE {condition} ORDER BY projection, stream");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], parked_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn request_retry(connection: &Connection, stream: &StreamName) -> Result<bool, ReadModelError> {
    const REQUEST: &str = "UPDATE parked SET retry_requested = 1 WHERE stream = ?1";
    Ok(connection.execute(REQUEST, [stream.to_string()])? > 0)
}

//! The queries, as functions of a connection. Lists fetch one row more than asked for, to see whether more follow.

use domain::{OrderId, PaymentId, Position, Sku, StreamName, Timestamp, order::OrderStatus};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use uuid::Uuid;

use super::columns::{
    ORDER_COLUMNS, ORDER_STATUSES, PAYMENT_COLUMNS, RESERVATION_COLUMNS, STOCK_COLUMNS, STOCK_EVENT_COLUMNS,
    order_row, payment_row, position, reservation_row, signed_position, state_code, status_code, stock_event,
    stock_row, time, wait_kind,
};
use crate::{
    event_source::Partition,
    read_models::{
        CheckpointRow, OrderFilter, OrderRow, OrderStockEvent, Page, PaymentFilter, PaymentRow,
        ReadModelError, ReservationRow, StockFilter, StockRow, Wait, WaitFilter, WaitKind,
    },
};

type Answer<T> = Result<T, ReadModelError>;

pub(super) fn order(connection: &Connection, id: OrderId) -> Answer<Option<OrderRow>> {
    let sql = format!("SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.0], order_row).optional()?)
}

pub(super) fn orders(connection: &Connection, filter: &OrderFilter, limit: usize) -> Answer<Page<OrderRow>> {
    let list = OrderList::of(filter);
    let sql = order_list_sql(list, filter.status);
    // Before this point in the list, which runs from the newest to the oldest.
    let until = filter.placed_to.map(|to| (to.as_microsecond(), [0; 16]));
    let after = filter.after.map(|(placed_at, id)| (placed_at.as_microsecond(), id.0.into_bytes()));
    let (before_time, before_id) = [until, after].into_iter().flatten().min().unwrap_or((i64::MAX, [0; 16]));
    let from = filter.placed_from.map_or(i64::MIN, Timestamp::as_microsecond);
    let limit_sql = one_more(limit);
    let customer = filter.customer_id.as_deref();
    let sku = filter.sku.as_ref().map(Sku::as_str);
    let mut values: Vec<&dyn ToSql> = vec![&from, &before_time, &before_id, &limit_sql];
    match list {
        OrderList::Time => {}
        OrderList::Customer => values.push(&customer),
        OrderList::Sku => values.push(&sku),
        OrderList::CustomerAndSku => values.extend([&customer as &dyn ToSql, &sku]),
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(values.as_slice(), order_row)?;
    page(rows, limit)
}

/// Which index a list of orders walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderList {
    /// All orders, or those of one status.
    Time,
    Customer,
    Sku,
    /// The customer's orders, each looked up among those of the SKU: at worst as many look-ups as the customer
    /// has orders.
    CustomerAndSku,
}

impl OrderList {
    fn of(filter: &OrderFilter) -> Self {
        match (&filter.customer_id, &filter.sku) {
            (None, None) => Self::Time,
            (Some(_), None) => Self::Customer,
            (None, Some(_)) => Self::Sku,
            (Some(_), Some(_)) => Self::CustomerAndSku,
        }
    }
}

/// One page of orders. Each branch walks one range of one index, in the order of the page and no further than the
/// page needs, so its cost does not grow with the number of orders.
/// ?1: placed from, ?2 and ?3: before this time and id, ?4: how many, ?5 and ?6: customer, SKU.
pub(super) fn order_list_sql(list: OrderList, status: Option<OrderStatus>) -> String {
    const RANGE: &str = "placed_at >= ?1 AND (placed_at, order_id) < (?2, ?3)
         ORDER BY placed_at DESC, order_id DESC LIMIT ?4";
    let statuses = status.map_or(ORDER_STATUSES.to_vec(), |status| vec![status]);
    let branch = |code: i64| match list {
        OrderList::Time => {
            format!("orders INDEXED BY orders_by_status WHERE status = {code} AND {RANGE}")
        }
        OrderList::Customer => {
            format!(
                "orders INDEXED BY orders_by_customer WHERE customer_id = ?5 AND status = {code} AND {RANGE}"
            )
        }
        OrderList::Sku => format!("order_skus WHERE sku = ?5 AND status = {code} AND {RANGE}"),
        OrderList::CustomerAndSku => format!(
            "orders INDEXED BY orders_by_customer WHERE customer_id = ?5 AND status = {code}
             AND EXISTS (SELECT 1 FROM order_skus AS contained WHERE contained.sku = ?6
                 AND contained.status = {code} AND contained.placed_at = orders.placed_at
                 AND contained.order_id = orders.order_id)
             AND {RANGE}"
        ),
    };
    let select = |table| format!("SELECT * FROM (SELECT placed_at, order_id FROM {table})");
    let selects: Vec<String> =
        statuses.into_iter().map(|status| select(branch(status_code(status)))).collect();
    let branches = selects.join(" UNION ALL ");
    // CROSS JOIN keeps SQLite from walking orders and looking each up in the page.
    format!(
        "SELECT {ORDER_COLUMNS}
         FROM (SELECT placed_at AS page_time, order_id AS page_id FROM ({branches})
               ORDER BY page_time DESC, page_id DESC LIMIT ?4)
         CROSS JOIN orders ON order_id = page_id
         ORDER BY page_time DESC, page_id DESC"
    )
}

pub(super) fn stock(connection: &Connection, sku: &Sku) -> Answer<Option<StockRow>> {
    let sql = format!("SELECT {STOCK_COLUMNS} FROM stock WHERE sku = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([sku.as_str()], stock_row).optional()?)
}

pub(super) fn stock_list(
    connection: &Connection,
    filter: &StockFilter,
    limit: usize,
) -> Answer<Page<StockRow>> {
    let sql = format!(
        "SELECT {STOCK_COLUMNS} FROM stock WHERE sku > ?1 AND on_hand - reserved < ?2 ORDER BY sku LIMIT ?3"
    );
    let after = filter.after.as_ref().map_or("", Sku::as_str);
    let below = filter.available_below.map_or(i64::MAX, i64::from);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, below, one_more(limit)], stock_row)?;
    page(rows, limit)
}

pub(super) fn reservations(
    connection: &Connection,
    sku: &Sku,
    after: Option<OrderId>,
    limit: usize,
) -> Answer<Page<ReservationRow>> {
    let sql = format!(
        "SELECT {RESERVATION_COLUMNS} FROM reservations WHERE sku = ?1 AND order_id > ?2 ORDER BY order_id LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let after = after.map_or(Vec::new(), |id| id.0.into_bytes().to_vec());
    let rows = statement.query_map(params![sku.as_str(), after, one_more(limit)], reservation_row)?;
    page(rows, limit)
}

pub(super) fn order_stock_events(
    connection: &Connection,
    id: OrderId,
    after: Option<Position>,
    limit: usize,
) -> Answer<Page<OrderStockEvent>> {
    let sql = format!(
        "SELECT {STOCK_EVENT_COLUMNS} FROM order_stock_events
         WHERE order_id = ?1 AND position > ?2 ORDER BY position LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let after = signed_position(after).unwrap_or(-1);
    let rows = statement.query_map(params![id.0, after, one_more(limit)], stock_event)?;
    page(rows, limit)
}

pub(super) fn payment(connection: &Connection, id: PaymentId) -> Answer<Option<PaymentRow>> {
    let sql = format!("SELECT {PAYMENT_COLUMNS} FROM payments WHERE payment_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.0], payment_row).optional()?)
}

pub(super) fn payments(
    connection: &Connection,
    filter: &PaymentFilter,
    limit: usize,
) -> Answer<Page<PaymentRow>> {
    // An order has one payment, whose id follows from the order's.
    if let Some(order_id) = filter.order_id {
        let found = payment(connection, PaymentId::of_order(order_id))?;
        let found = found.filter(|row| {
            row.payment.order_id() == Some(order_id)
                && filter.state.is_none_or(|state| state == row.payment.state())
                && filter.after.is_none_or(|after| after != row.payment_id)
        });
        return Ok(Page { items: found.into_iter().take(limit).collect(), has_more: false });
    }
    let after = match filter.after {
        None => 0,
        Some(id) => row_no_of_payment(connection, id)?,
    };
    let state = filter.state.map(state_code);
    let table = match state {
        None => "payments WHERE ?3 IS NULL",
        Some(_) => "payments INDEXED BY payments_by_state WHERE state = ?3",
    };
    let sql = format!("SELECT {PAYMENT_COLUMNS} FROM {table} AND row_no > ?1 ORDER BY row_no LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, one_more(limit), state], payment_row)?;
    page(rows, limit)
}

/// 0, from where the list begins again, for a payment that is not there.
fn row_no_of_payment(connection: &Connection, id: PaymentId) -> Answer<i64> {
    const SELECT: &str = "SELECT row_no FROM payments WHERE payment_id = ?1";
    Ok(connection.prepare_cached(SELECT)?.query_row([id.0], |row| row.get(0)).optional()?.unwrap_or(0))
}

pub(super) fn checkpoints(connection: &Connection) -> Answer<Vec<CheckpointRow>> {
    const SELECT: &str = "SELECT projection, partition, position, log_position, updated_at FROM checkpoints
         ORDER BY projection, partition";
    let mut statement = connection.prepare_cached(SELECT)?;
    let rows = statement.query_map([], |row| {
        Ok(CheckpointRow {
            projection: row.get(0)?,
            partition: Partition(row.get(1)?),
            position: position(row, 2)?,
            log_position: position(row, 3)?,
            updated_at: Some(time(row, 4)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn is_parked(connection: &Connection, stream: &StreamName) -> Answer<bool> {
    const SELECT: &str = "SELECT EXISTS (SELECT 1 FROM parked WHERE stream = ?1)";
    Ok(connection.prepare_cached(SELECT)?.query_row([stream.to_string()], |row| row.get(0))?)
}

pub(super) fn ended_orders_with_reservations(connection: &Connection, limit: usize) -> Answer<Vec<OrderId>> {
    const SELECT: &str = "SELECT DISTINCT order_id FROM reservations INDEXED BY reservations_of_ended_orders
         WHERE order_ended = 1 ORDER BY order_id LIMIT ?1";
    let mut statement = connection.prepare_cached(SELECT)?;
    let rows = statement.query_map([as_limit(limit)], |row| row.get(0).map(OrderId))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn placed_orders_recorded_before(
    connection: &Connection,
    before: Timestamp,
    limit: usize,
) -> Answer<Vec<OrderId>> {
    // Orders are `placed` for moments only, so there are few to look at.
    const SELECT: &str = "SELECT order_id FROM orders INDEXED BY orders_by_status
         WHERE status = ?1 AND recorded_at < ?2 ORDER BY placed_at, order_id LIMIT ?3";
    let mut statement = connection.prepare_cached(SELECT)?;
    let values = params![status_code(OrderStatus::Placed), before.as_microsecond(), as_limit(limit)];
    let rows = statement.query_map(values, |row| row.get(0).map(OrderId))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) const ORDERS_DUE: &str = "SELECT order_id FROM orders INDEXED BY orders_awaiting_payment
     WHERE payment_due_at <= ?1 ORDER BY payment_due_at, order_id LIMIT ?2";

pub(super) fn orders_due_before(
    connection: &Connection,
    now: Timestamp,
    limit: usize,
) -> Answer<Vec<OrderId>> {
    let mut statement = connection.prepare_cached(ORDERS_DUE)?;
    let values = params![now.as_microsecond(), as_limit(limit)];
    let rows = statement.query_map(values, |row| row.get(0).map(OrderId))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) const PAYMENTS_AWAITING: &str =
    "SELECT payment_id FROM payments INDEXED BY payments_awaiting_provider
     WHERE payment_id > ?1 AND awaits_provider_since < ?2 ORDER BY payment_id LIMIT ?3";

pub(super) fn payments_awaiting_provider(
    connection: &Connection,
    updated_before: Timestamp,
    after: Option<PaymentId>,
    limit: usize,
) -> Answer<Vec<PaymentId>> {
    let mut statement = connection.prepare_cached(PAYMENTS_AWAITING)?;
    let after = after.map_or(Vec::new(), |id| id.0.into_bytes().to_vec());
    let values = params![after, updated_before.as_microsecond(), as_limit(limit)];
    let rows = statement.query_map(values, |row| row.get(0).map(PaymentId))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Few rows wait at a time, in one index for each kind of wait.
/// ?1: since before, ?2, ?3 and ?4: after this beginning, id and kind, ?5: how many.
pub(super) fn waits_sql() -> String {
    let branch = |kind: WaitKind| {
        let (since, id, rows) = match kind {
            WaitKind::Allocation => {
                let placed = status_code(OrderStatus::Placed);
                let rows = format!("orders INDEXED BY orders_by_status WHERE status = {placed}");
                ("recorded_at", "order_id", rows)
            }
            WaitKind::Expiry => {
                let allocated = status_code(OrderStatus::Allocated);
                let rows = format!("orders INDEXED BY orders_awaiting_payment WHERE status = {allocated}");
                ("payment_due_at", "order_id", rows)
            }
            WaitKind::Release => {
                let held = "SELECT DISTINCT order_id AS held
                     FROM reservations INDEXED BY reservations_of_ended_orders WHERE order_ended = 1";
                (
                    "updated_at",
                    "order_id",
                    format!("({held}) CROSS JOIN orders ON order_id = held WHERE true"),
                )
            }
            WaitKind::Provider => {
                let rows = "payments INDEXED BY payments_awaiting_provider WHERE true".to_owned();
                ("awaits_provider_since", "payment_id", rows)
            }
        };
        let kind = kind.code();
        format!(
            "SELECT * FROM (SELECT {since} AS since, {id} AS id, {kind} AS kind FROM {rows}
                 AND {since} < ?1 AND {since} >= ?2 AND ({since}, {id}, {kind}) > (?2, ?3, ?4)
                 ORDER BY since, id LIMIT ?5)"
        )
    };
    let branches = WaitKind::ALL.map(branch).join(" UNION ALL ");
    format!("SELECT since, id, kind FROM ({branches}) ORDER BY since, id, kind LIMIT ?5")
}

pub(super) fn waits(connection: &Connection, filter: &WaitFilter, limit: usize) -> Answer<Page<Wait>> {
    let mut statement = connection.prepare_cached(&waits_sql())?;
    let after = filter.after.map(|(since, id, kind)| (since.as_microsecond(), id, i64::from(kind)));
    let (since, id, kind) = after.unwrap_or((i64::MIN, Uuid::nil(), -1));
    let values = params![filter.since_before.as_microsecond(), since, id, kind, one_more(limit)];
    let rows = statement.query_map(values, |row| {
        Ok(Wait { since: time(row, 0)?, id: row.get(1)?, kind: wait_kind(row.get(2)?)? })
    })?;
    page(rows, limit)
}

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn one_more(limit: usize) -> i64 {
    as_limit(limit).saturating_add(1)
}

fn page<T>(rows: impl Iterator<Item = rusqlite::Result<T>>, limit: usize) -> Answer<Page<T>> {
    let mut items = rows.collect::<rusqlite::Result<Vec<T>>>()?;
    let has_more = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, has_more })
}

#[cfg(test)]
mod tests;

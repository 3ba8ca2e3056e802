//! Waits and overdue work, read from the search columns of orders, payments and reservations.

use async_trait::async_trait;
use domain::{OrderId, PaymentId, Timestamp, order::OrderStatus};
use rusqlite::{Connection, Row, ToSql, params};
use uuid::Uuid;

use super::{
    SqliteQueries,
    orders::status_code,
    values::{time, unreadable},
};
use crate::read_models::{
    OrderAt, OverdueQueries, PaymentAt, ReadModelError, RowPage, Wait, WaitFilter, WaitKind, WaitQueries,
    paging::{one_more, sql_limit},
};

#[async_trait]
impl WaitQueries for SqliteQueries {
    async fn waits(&self, filter: &WaitFilter, limit: usize) -> Result<RowPage<Wait>, ReadModelError> {
        let filter = *filter;
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(&waits_sql())?;
            let after = filter.after.map(|(since, id, kind)| (since.as_microsecond(), id, i64::from(kind)));
            let (since, id, kind) = after.unwrap_or((i64::MIN, Uuid::nil(), -1));
            let values = params![filter.since_before.as_microsecond(), since, id, kind, one_more(limit)];
            let rows = statement.query_map(values, wait)?;
            Ok(RowPage::cut(rows.collect::<rusqlite::Result<_>>()?, limit))
        })
        .await
    }
}

fn wait(row: &Row<'_>) -> rusqlite::Result<Wait> {
    let code: i64 = row.get(2)?;
    let kind = WaitKind::of_code(code).ok_or_else(|| unreadable("kind of wait", &code.to_string()))?;
    Ok(Wait { since: time(row, 0)?, id: row.get(1)?, kind })
}

/// Each kind of wait has an index of its own, with few rows at a time.
/// ?1: since before, ?2, ?3 and ?4: after this begin, id and kind, ?5: how many.
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
                let rows = format!("({held}) CROSS JOIN orders ON order_id = held WHERE true");
                ("updated_at", "order_id", rows)
            }
            WaitKind::Provider => {
                let rows = "payments INDEXED BY payments_awaiting_provider WHERE true".to_owned();
                ("awaits_provider_since", "payment_id", rows)
            }
        };
        let code = kind.code();
        format!(
            "SELECT * FROM (SELECT {since} AS since, {id} AS id, {code} AS kind FROM {rows}
                 AND {since} < ?1 AND {since} >= ?2 AND ({since}, {id}, {code}) > (?2, ?3, ?4)
                 ORDER BY since, id LIMIT ?5)"
        )
    };
    let branches = WaitKind::ALL.map(branch).join(" UNION ALL ");
    format!("SELECT since, id, kind FROM ({branches}) ORDER BY since, id, kind LIMIT ?5")
}

const ENDED_WITH_RESERVATIONS: &str =
    "SELECT DISTINCT order_id FROM reservations INDEXED BY reservations_of_ended_orders
     WHERE order_ended = 1 AND order_id > ?1 ORDER BY order_id LIMIT ?2";
/// Orders stay `placed` for moments only, so the range of the index is short.
const PLACED_BEFORE: &str = "SELECT placed_at, order_id FROM orders INDEXED BY orders_by_status
     WHERE status = ?1 AND recorded_at < ?2 AND (placed_at, order_id) > (?3, ?4)
     ORDER BY placed_at, order_id LIMIT ?5";
pub(super) const ORDERS_DUE: &str =
    "SELECT payment_due_at, order_id FROM orders INDEXED BY orders_awaiting_payment
     WHERE payment_due_at <= ?1 AND (payment_due_at, order_id) > (?2, ?3)
     ORDER BY payment_due_at, order_id LIMIT ?4";
pub(super) const RUN_OUT: &str =
    "SELECT authorized_until, payment_id FROM payments INDEXED BY payments_authorized
     WHERE authorized_until <= ?1 AND (authorized_until, payment_id) > (?2, ?3)
     ORDER BY authorized_until, payment_id LIMIT ?4";
pub(super) const PAYMENTS_AWAITING: &str =
    "SELECT payment_id FROM payments INDEXED BY payments_awaiting_provider
     WHERE payment_id > ?1 AND awaits_provider_since < ?2 ORDER BY payment_id LIMIT ?3";

#[async_trait]
impl OverdueQueries for SqliteQueries {
    async fn ended_orders_with_reservations(
        &self,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<OrderId>, ReadModelError> {
        self.run(move |connection| {
            let values = params![after_id(after.map(|id| id.0)), sql_limit(limit)];
            Ok(ids(connection, ENDED_WITH_RESERVATIONS, values)?.into_iter().map(OrderId).collect())
        })
        .await
    }

    async fn placed_orders_recorded_before(
        &self,
        before: Timestamp,
        after: Option<OrderAt>,
        limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError> {
        self.run(move |connection| {
            let placed = status_code(OrderStatus::Placed);
            let (time, id) = after_time(after, |OrderId(id)| id);
            let values = params![placed, before.as_microsecond(), time, id, sql_limit(limit)];
            by_time(connection, PLACED_BEFORE, values, OrderId)
        })
        .await
    }

    async fn orders_due_before(
        &self,
        now: Timestamp,
        after: Option<OrderAt>,
        limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError> {
        self.run(move |connection| {
            let (time, id) = after_time(after, |OrderId(id)| id);
            let values = params![now.as_microsecond(), time, id, sql_limit(limit)];
            by_time(connection, ORDERS_DUE, values, OrderId)
        })
        .await
    }

    async fn payments_awaiting_provider(
        &self,
        updated_before: Timestamp,
        after: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<PaymentId>, ReadModelError> {
        self.run(move |connection| {
            let values =
                params![after_id(after.map(|id| id.0)), updated_before.as_microsecond(), sql_limit(limit)];
            Ok(ids(connection, PAYMENTS_AWAITING, values)?.into_iter().map(PaymentId).collect())
        })
        .await
    }

    async fn authorizations_run_out_by(
        &self,
        now: Timestamp,
        after: Option<PaymentAt>,
        limit: usize,
    ) -> Result<Vec<PaymentAt>, ReadModelError> {
        self.run(move |connection| {
            let (time, id) = after_time(after, |PaymentId(id)| id);
            let values = params![now.as_microsecond(), time, id, sql_limit(limit)];
            by_time(connection, RUN_OUT, values, PaymentId)
        })
        .await
    }
}

/// Every id is greater than the empty one, which begins the list.
fn after_id(after: Option<Uuid>) -> Vec<u8> {
    after.map_or(Vec::new(), |id| id.into_bytes().to_vec())
}

fn after_time<I>(after: Option<(Timestamp, I)>, uuid: fn(I) -> Uuid) -> (i64, Vec<u8>) {
    let (time, id) = after.unzip();
    (time.map_or(i64::MIN, Timestamp::as_microsecond), after_id(id.map(uuid)))
}

/// The places in a list by time.
fn by_time<I>(
    connection: &Connection,
    sql: &str,
    values: &[&dyn ToSql],
    id: fn(Uuid) -> I,
) -> Result<Vec<(Timestamp, I)>, ReadModelError> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(values, |row| Ok((time(row, 0)?, id(row.get(1)?))))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn ids(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<Uuid>, ReadModelError> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(values, |row| row.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

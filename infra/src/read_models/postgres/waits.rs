//! Waits and overdue work, read from the search columns of orders, payments and reservations.

use async_trait::async_trait;
use deadpool_postgres::Object;
use domain::{OrderId, PaymentId, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    PostgresQueries,
    values::{all, cell, page, time, unreadable},
};
use crate::{
    postgres::Timestamptz,
    read_models::{
        OrderAt, OverdueQueries, PaymentAt, ReadModelError, RowPage, Wait, WaitFilter, WaitKind, WaitQueries,
        paging::{one_more, sql_limit},
    },
};

#[async_trait]
impl WaitQueries for PostgresQueries {
    async fn waits(&self, filter: &WaitFilter, limit: usize) -> Result<RowPage<Wait>, ReadModelError> {
        let after = filter.after.map(|(since, id, kind)| (Timestamptz::from(since), id, i64::from(kind)));
        let (since, id, kind) = after.unwrap_or((Timestamptz::MIN, Uuid::nil(), -1));
        let (before, fetched) = (Timestamptz::from(filter.since_before), one_more(limit));
        let list = async |client: &mut Object| {
            page(client, &waits_sql(), &[&before, &since, &id, &kind, &fetched], limit, wait).await
        };
        self.database.run(list).await
    }
}

fn wait(row: &Row) -> Result<Wait, ReadModelError> {
    let code: i64 = cell(row, 2)?;
    let kind = WaitKind::of_code(code).ok_or_else(|| unreadable(format!("{code} is not a kind of wait")))?;
    Ok(Wait { since: time(row, 0)?, id: cell(row, 1)?, kind })
}

/// Each kind of wait has an index of its own, with few rows at a time. OFFSET 0 keeps a look-up from becoming
/// a join.
/// $1: since before, $2, $3 and $4: after this begin, id and kind, $5: how many.
pub(super) fn waits_sql() -> String {
    let branch = |kind: WaitKind| {
        let (since, id, rows) = match kind {
            WaitKind::Allocation => ("recorded_at", "order_id", "orders WHERE status = 'placed'"),
            WaitKind::Expiry => {
                let rows = "orders WHERE payment_due_at IS NOT NULL AND status = 'allocated'";
                ("payment_due_at", "order_id", rows)
            }
            WaitKind::Release => {
                // Looks the orders up one by one: a join could walk all orders by their last change.
                let rows = "(SELECT held, (SELECT updated_at FROM orders WHERE order_id = held) AS ended_at
                         FROM (SELECT DISTINCT order_id AS held FROM reservations WHERE order_ended) AS marked
                         OFFSET 0) AS holding WHERE true";
                ("ended_at", "held", rows)
            }
            WaitKind::Provider => {
                let rows = "payments WHERE awaits_provider_since IS NOT NULL";
                ("awaits_provider_since", "payment_id", rows)
            }
        };
        let code = kind.code();
        format!(
            "(SELECT {since} AS since, {id} AS id, {code}::bigint AS kind FROM {rows}
                 AND {since} < $1 AND {since} >= $2 AND ({since}, {id}, {code}::bigint) > ($2, $3, $4)
                 ORDER BY since, id LIMIT $5)"
        )
    };
    let branches = WaitKind::ALL.map(branch).join(" UNION ALL ");
    format!("SELECT since, id, kind FROM ({branches}) AS waits ORDER BY since, id, kind LIMIT $5")
}

pub(super) const ENDED_WITH_RESERVATIONS: &str = "SELECT DISTINCT order_id FROM reservations
     WHERE order_ended AND order_id > $1 ORDER BY order_id LIMIT $2";
/// Orders stay `placed` for moments only, so the range of the index is short.
const PLACED_BEFORE: &str = "SELECT placed_at, order_id FROM orders
     WHERE status = 'placed' AND recorded_at < $1 AND (placed_at, order_id) > ($2, $3)
     ORDER BY placed_at, order_id LIMIT $4";
pub(super) const ORDERS_DUE: &str = "SELECT payment_due_at, order_id FROM orders
     WHERE payment_due_at <= $1 AND (payment_due_at, order_id) > ($2, $3)
     ORDER BY payment_due_at, order_id LIMIT $4";
pub(super) const RUN_OUT: &str = "SELECT authorized_until, payment_id FROM payments
     WHERE authorized_until <= $1 AND (authorized_until, payment_id) > ($2, $3)
     ORDER BY authorized_until, payment_id LIMIT $4";
/// The nil id stands for the beginning of the list: no payment has it.
pub(super) const PAYMENTS_AWAITING: &str = "SELECT payment_id FROM payments
     WHERE payment_id > $1 AND awaits_provider_since < $2 ORDER BY payment_id LIMIT $3";

#[async_trait]
impl OverdueQueries for PostgresQueries {
    async fn ended_orders_with_reservations(
        &self,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<OrderId>, ReadModelError> {
        if after.is_none() {
            self.marks.look_again(&self.database).await;
        }
        let (after, limit) = (after.map_or(Uuid::nil(), |id| id.0), sql_limit(limit));
        let find = async |client: &mut Object| {
            all(client, ENDED_WITH_RESERVATIONS, &[&after, &limit], order_id).await
        };
        self.database.run(find).await
    }

    async fn placed_orders_recorded_before(
        &self,
        before: Timestamp,
        after: Option<OrderAt>,
        limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError> {
        let after = after.map(|(time, OrderId(id))| (time, id));
        self.by_time(PLACED_BEFORE, before, after, limit, order_at).await
    }

    async fn orders_due_before(
        &self,
        now: Timestamp,
        after: Option<OrderAt>,
        limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError> {
        let after = after.map(|(time, OrderId(id))| (time, id));
        self.by_time(ORDERS_DUE, now, after, limit, order_at).await
    }

    async fn payments_awaiting_provider(
        &self,
        updated_before: Timestamp,
        after: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<PaymentId>, ReadModelError> {
        let after = after.map_or(Uuid::nil(), |id| id.0);
        let (before, limit) = (Timestamptz::from(updated_before), sql_limit(limit));
        let find = async |client: &mut Object| {
            let read = |row: &Row| cell(row, 0).map(PaymentId);
            all(client, PAYMENTS_AWAITING, &[&after, &before, &limit], read).await
        };
        self.database.run(find).await
    }

    async fn authorizations_run_out_by(
        &self,
        now: Timestamp,
        after: Option<PaymentAt>,
        limit: usize,
    ) -> Result<Vec<PaymentAt>, ReadModelError> {
        let after = after.map(|(time, PaymentId(id))| (time, id));
        let read = |row: &Row| Ok((time(row, 0)?, PaymentId(cell(row, 1)?)));
        self.by_time(RUN_OUT, now, after, limit, read).await
    }
}

impl PostgresQueries {
    /// A page of a list by time.
    async fn by_time<I: Send>(
        &self,
        sql: &str,
        until: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
        read: fn(&Row) -> Result<(Timestamp, I), ReadModelError>,
    ) -> Result<Vec<(Timestamp, I)>, ReadModelError> {
        let (begin, last) = after.map_or((Timestamptz::MIN, Uuid::nil()), |(time, id)| (time.into(), id));
        let (until, limit) = (Timestamptz::from(until), sql_limit(limit));
        self.database.run(async |client| all(client, sql, &[&until, &begin, &last, &limit], read).await).await
    }
}

fn order_at(row: &Row) -> Result<OrderAt, ReadModelError> {
    Ok((time(row, 0)?, OrderId(cell(row, 1)?)))
}

fn order_id(row: &Row) -> Result<OrderId, ReadModelError> {
    cell(row, 0).map(OrderId)
}

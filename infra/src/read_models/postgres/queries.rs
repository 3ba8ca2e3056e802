//! The queries, as functions of a connection. Lists fetch one row more than asked for, to see whether more follow.

use deadpool_postgres::Object;
use domain::{OrderId, PaymentId, Position, Sku, StreamName, Timestamp};
use postgres_types::ToSql;
use tokio_postgres::Row;

use super::columns::{
    Instant, ORDER_COLUMNS, PAYMENT_COLUMNS, Projection, RESERVATION_COLUMNS, STOCK_COLUMNS,
    STOCK_EVENT_COLUMNS, State, Status, cell, order_row, payment_row, position, reservation_row,
    signed_position, stock_event, stock_row, time, wait_kind,
};
use crate::{
    event_source::Partition,
    read_models::{
        self, CheckpointRow, OrderFilter, OrderRow, OrderStockEvent, Page, PaymentFilter, PaymentRow,
        ReadModelError, ReservationRow, StockFilter, StockRow, Wait, WaitFilter, WaitKind,
    },
};

type Answer<T> = Result<T, ReadModelError>;

pub(super) async fn order(client: &Object, id: OrderId) -> Answer<Option<OrderRow>> {
    let sql = format!("SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = $1");
    one(client, &sql, &[&id.0], order_row).await
}

pub(super) async fn orders(client: &Object, filter: &OrderFilter, limit: usize) -> Answer<Page<OrderRow>> {
    let status = match filter.status.map(Status::of) {
        // Asked for orders without a row.
        Some(None) => return Ok(Page { items: Vec::new(), has_more: false }),
        Some(Some(status)) => Some(status),
        None => None,
    };
    let customer = filter.customer_id.as_deref();
    let list = OrderList::of(filter);
    let sql = order_list_sql(list, status);
    // Before this point in the list, which runs from the newest to the oldest.
    let until = filter.placed_to.map(|to| (Instant::from(to), uuid::Uuid::nil()));
    let after = filter.after.map(|(placed_at, id)| (Instant::from(placed_at), id.0));
    let end = (Instant::MAX, uuid::Uuid::nil());
    let (before_time, before_id) = [until, after].into_iter().flatten().min().unwrap_or(end);
    let from = filter.placed_from.map_or(Instant::MIN, Instant::from);
    let limit_sql = one_more(limit);
    let sku = filter.sku.as_ref().map(Sku::as_str);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&from, &before_time, &before_id, &limit_sql];
    match list {
        OrderList::Time => {}
        OrderList::Customer => values.push(&customer),
        OrderList::Sku => values.push(&sku),
        OrderList::CustomerAndSku => values.extend([&customer as &(dyn ToSql + Sync), &sku]),
    }
    page(client, &sql, &values, limit, order_row).await
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
/// OFFSET 0 keeps the look-up from becoming a join, which could be walked from the other side.
/// $1: placed from, $2 and $3: before this time and id, $4: how many, $5 and $6: customer, SKU.
pub(super) fn order_list_sql(list: OrderList, status: Option<Status>) -> String {
    const RANGE: &str = "placed_at >= $1 AND (placed_at, order_id) < ($2, $3)
         ORDER BY placed_at DESC, order_id DESC LIMIT $4";
    let branch = |status: Status| {
        let status = status.name();
        let rows = match list {
            OrderList::Time => format!("orders WHERE status = '{status}'"),
            OrderList::Customer => format!("orders WHERE customer_id = $5 AND status = '{status}'"),
            OrderList::Sku => format!("order_skus WHERE sku = $5 AND status = '{status}'"),
            OrderList::CustomerAndSku => format!(
                "orders WHERE customer_id = $5 AND status = '{status}'
                 AND EXISTS (SELECT FROM order_skus AS contained WHERE contained.sku = $6
                     AND contained.status = '{status}' AND contained.placed_at = orders.placed_at
                     AND contained.order_id = orders.order_id OFFSET 0)"
            ),
        };
        format!("(SELECT placed_at, order_id FROM {rows} AND {RANGE})")
    };
    let branches: Vec<String> = match status {
        Some(status) => vec![branch(status)],
        None => Status::ALL.into_iter().map(branch).collect(),
    };
    let branches = branches.join(" UNION ALL ");
    format!(
        "SELECT {ORDER_COLUMNS}
         FROM (SELECT placed_at AS page_time, order_id AS page_id FROM ({branches}) AS branches
               ORDER BY page_time DESC, page_id DESC LIMIT $4) AS page
         JOIN orders ON order_id = page_id
         ORDER BY page_time DESC, page_id DESC"
    )
}

pub(super) async fn stock(client: &Object, sku: &Sku) -> Answer<Option<StockRow>> {
    let sql = format!("SELECT {STOCK_COLUMNS} FROM stock WHERE sku = $1");
    one(client, &sql, &[&sku.as_str()], stock_row).await
}

pub(super) async fn stock_list(
    client: &Object,
    filter: &StockFilter,
    limit: usize,
) -> Answer<Page<StockRow>> {
    let sql = format!(
        "SELECT {STOCK_COLUMNS} FROM stock WHERE sku > $1 AND on_hand - reserved < $2 ORDER BY sku LIMIT $3"
    );
    let after = filter.after.as_ref().map_or("", Sku::as_str);
    let below = filter.available_below.map_or(i64::MAX, i64::from);
    page(client, &sql, &[&after, &below, &one_more(limit)], limit, stock_row).await
}

pub(super) async fn reservations(
    client: &Object,
    sku: &Sku,
    after: Option<OrderId>,
    limit: usize,
) -> Answer<Page<ReservationRow>> {
    let after_sql = if after.is_some() { "AND order_id > $3" } else { "AND $3::uuid IS NULL" };
    let sql = format!(
        "SELECT {RESERVATION_COLUMNS} FROM reservations WHERE sku = $1 {after_sql} ORDER BY order_id LIMIT $2"
    );
    let after = after.map(|id| id.0);
    page(client, &sql, &[&sku.as_str(), &one_more(limit), &after], limit, reservation_row).await
}

pub(super) async fn order_stock_events(
    client: &Object,
    id: OrderId,
    after: Option<Position>,
    limit: usize,
) -> Answer<Page<OrderStockEvent>> {
    let sql = format!(
        "SELECT {STOCK_EVENT_COLUMNS} FROM order_stock_events
         WHERE order_id = $1 AND position > $2 ORDER BY position LIMIT $3"
    );
    let after = signed_position(after).unwrap_or(-1);
    page(client, &sql, &[&id.0, &after, &one_more(limit)], limit, stock_event).await
}

pub(super) async fn payment(client: &Object, id: PaymentId) -> Answer<Option<PaymentRow>> {
    let sql = format!("SELECT {PAYMENT_COLUMNS} FROM payments WHERE payment_id = $1");
    one(client, &sql, &[&id.0], payment_row).await
}

pub(super) async fn payments(
    client: &Object,
    filter: &PaymentFilter,
    limit: usize,
) -> Answer<Page<PaymentRow>> {
    // The list begins again after a payment that is not there.
    const AFTER: &str = "row_no > coalesce((SELECT row_no FROM payments WHERE payment_id = $1), 0)";
    // An order has one payment, whose id follows from the order's.
    if let Some(order_id) = filter.order_id {
        let found = payment(client, PaymentId::of_order(order_id)).await?;
        let found = found.filter(|row| {
            row.payment.order_id() == Some(order_id)
                && filter.state.is_none_or(|state| state == row.payment.state())
                && filter.after.is_none_or(|after| after != row.payment_id)
        });
        return Ok(Page { items: found.into_iter().take(limit).collect(), has_more: false });
    }
    let after = filter.after.map(|id| id.0);
    let end = format!("AND {AFTER} ORDER BY row_no LIMIT $2");
    match filter.state {
        None => {
            let sql = format!("SELECT {PAYMENT_COLUMNS} FROM payments WHERE true {end}");
            page(client, &sql, &[&after, &one_more(limit)], limit, payment_row).await
        }
        Some(state) => {
            let sql = format!("SELECT {PAYMENT_COLUMNS} FROM payments WHERE state = $3 {end}");
            // `None`: asked for payments without a row.
            page(client, &sql, &[&after, &one_more(limit), &State::of(state)], limit, payment_row).await
        }
    }
}

pub(super) async fn checkpoints(client: &Object) -> Answer<Vec<CheckpointRow>> {
    const SELECT: &str = "SELECT projection, partition, position, log_position, updated_at FROM checkpoints
         ORDER BY projection, partition";
    let row = |row: &Row| {
        Ok(CheckpointRow {
            projection: read_models::Projection::from(cell::<Projection>(row, 0)?).to_string(),
            partition: Partition(cell(row, 1)?),
            position: position(row, 2)?,
            log_position: position(row, 3)?,
            updated_at: Some(time(row, 4)?),
        })
    };
    let statement = client.prepare_cached(SELECT).await?;
    client.query(&statement, &[]).await?.iter().map(row).collect()
}

pub(super) async fn is_parked(client: &Object, stream: &StreamName) -> Answer<bool> {
    const SELECT: &str = "SELECT EXISTS (SELECT FROM parked WHERE stream = $1)";
    let statement = client.prepare_cached(SELECT).await?;
    cell(&client.query_one(&statement, &[&stream.to_string()]).await?, 0)
}

/// Asked of orders and reservations together: they have different owners, so that neither can keep a mark that is
/// always right. Each order that holds units now is looked up; how many have ever ended does not matter.
pub(super) const ENDED_WITH_RESERVATIONS: &str = "SELECT DISTINCT order_id FROM reservations
     WHERE EXISTS (SELECT FROM orders WHERE orders.order_id = reservations.order_id
         AND status IN ('rejected', 'cancelled', 'expired') OFFSET 0)
     LIMIT $1";

pub(super) async fn ended_orders_with_reservations(
    client: &mut Object,
    limit: usize,
) -> Answer<Vec<OrderId>> {
    let transaction = client.build_transaction().read_only(true).start().await?;
    // All reservations are read, and quickest from first to last.
    transaction.batch_execute("SET LOCAL enable_seqscan = on").await?;
    let rows = transaction.query(ENDED_WITH_RESERVATIONS, &[&as_limit(limit)]).await?;
    transaction.commit().await?;
    let mut orders = rows.iter().map(|row| cell(row, 0).map(OrderId)).collect::<Answer<Vec<_>>>()?;
    orders.sort_unstable();
    Ok(orders)
}

pub(super) async fn placed_orders_recorded_before(
    client: &Object,
    before: Timestamp,
    limit: usize,
) -> Answer<Vec<OrderId>> {
    // Orders are `placed` for moments only, so there are few to look at.
    const SELECT: &str = "SELECT order_id FROM orders
         WHERE status = 'placed' AND recorded_at < $1 ORDER BY placed_at, order_id LIMIT $2";
    let statement = client.prepare_cached(SELECT).await?;
    let rows = client.query(&statement, &[&Instant::from(before), &as_limit(limit)]).await?;
    rows.iter().map(|row| cell(row, 0).map(OrderId)).collect()
}

pub(super) const ORDERS_DUE: &str = "SELECT order_id FROM orders
     WHERE payment_due_at <= $1 ORDER BY payment_due_at, order_id LIMIT $2";

pub(super) async fn orders_due_before(client: &Object, now: Timestamp, limit: usize) -> Answer<Vec<OrderId>> {
    let statement = client.prepare_cached(ORDERS_DUE).await?;
    let rows = client.query(&statement, &[&Instant::from(now), &as_limit(limit)]).await?;
    rows.iter().map(|row| cell(row, 0).map(OrderId)).collect()
}

/// No id is before the nil one, which is no payment's.
pub(super) const PAYMENTS_AWAITING: &str = "SELECT payment_id FROM payments
     WHERE payment_id > $1 AND awaits_provider_since < $2 ORDER BY payment_id LIMIT $3";

pub(super) async fn payments_awaiting_provider(
    client: &Object,
    updated_before: Timestamp,
    after: Option<PaymentId>,
    limit: usize,
) -> Answer<Vec<PaymentId>> {
    let statement = client.prepare_cached(PAYMENTS_AWAITING).await?;
    let after = after.map_or(uuid::Uuid::nil(), |id| id.0);
    let rows = client.query(&statement, &[&after, &Instant::from(updated_before), &as_limit(limit)]).await?;
    rows.iter().map(|row| cell(row, 0).map(PaymentId)).collect()
}

/// Few rows wait at a time, in one index for each kind of wait. OFFSET 0 keeps a look-up from becoming a join.
/// $1: since before, $2, $3 and $4: after this beginning, id and kind, $5: how many.
pub(super) fn waits_sql() -> String {
    let branch = |kind: WaitKind| {
        let (since, id, rows) = match kind {
            WaitKind::Allocation => ("recorded_at", "order_id", "orders WHERE status = 'placed'"),
            WaitKind::Expiry => {
                let rows = "orders WHERE payment_due_at IS NOT NULL AND status = 'allocated'";
                ("payment_due_at", "order_id", rows)
            }
            WaitKind::Release => {
                let rows = "(SELECT DISTINCT order_id AS held FROM reservations
                         WHERE EXISTS (SELECT FROM orders AS ended WHERE ended.order_id = reservations.order_id
                             AND ended.status IN ('rejected', 'cancelled', 'expired') OFFSET 0)
                         OFFSET 0) AS holding
                     JOIN orders ON order_id = held WHERE true";
                ("updated_at", "order_id", rows)
            }
            WaitKind::Provider => {
                let rows = "payments WHERE awaits_provider_since IS NOT NULL";
                ("awaits_provider_since", "payment_id", rows)
            }
        };
        let kind = kind.code();
        format!(
            "(SELECT {since} AS since, {id} AS id, {kind}::bigint AS kind FROM {rows}
                 AND {since} < $1 AND {since} >= $2 AND ({since}, {id}, {kind}::bigint) > ($2, $3, $4)
                 ORDER BY since, id LIMIT $5)"
        )
    };
    let branches = WaitKind::ALL.map(branch).join(" UNION ALL ");
    format!("SELECT since, id, kind FROM ({branches}) AS waits ORDER BY since, id, kind LIMIT $5")
}

pub(super) async fn waits(client: &Object, filter: &WaitFilter, limit: usize) -> Answer<Page<Wait>> {
    let after = filter.after.map(|(since, id, kind)| (Instant::from(since), id, i64::from(kind)));
    let (since, id, kind) = after.unwrap_or((Instant::MIN, uuid::Uuid::nil(), -1));
    let before = Instant::from(filter.since_before);
    let values: [&(dyn ToSql + Sync); 5] = [&before, &since, &id, &kind, &one_more(limit)];
    let read =
        |row: &Row| Ok(Wait { since: time(row, 0)?, id: cell(row, 1)?, kind: wait_kind(cell(row, 2)?)? });
    page(client, &waits_sql(), &values, limit, read).await
}

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn one_more(limit: usize) -> i64 {
    as_limit(limit).saturating_add(1)
}

async fn one<T>(
    client: &Object,
    sql: &str,
    key: &[&(dyn ToSql + Sync)],
    read: fn(&Row) -> Answer<T>,
) -> Answer<Option<T>> {
    let statement = client.prepare_cached(sql).await?;
    client.query_opt(&statement, key).await?.as_ref().map(read).transpose()
}

async fn page<T>(
    client: &Object,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
    limit: usize,
    read: fn(&Row) -> Answer<T>,
) -> Answer<Page<T>> {
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, values).await?;
    let has_more = rows.len() > limit;
    Ok(Page { items: rows.iter().take(limit).map(read).collect::<Answer<_>>()?, has_more })
}

#[cfg(test)]
mod tests;

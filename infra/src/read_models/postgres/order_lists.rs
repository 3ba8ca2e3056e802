//! Pages and counts of orders.

use deadpool_postgres::Object;
use domain::{OrderId, Timestamp};

use super::{
    orders::{PgOrderStatus, SUMMARY_COLUMNS, summary_row},
    payments::has_state,
    values::{cell, unreadable},
    walks::{self, Walked},
};
use crate::{
    postgres::Timestamptz,
    read_models::{
        Count, OrderFilter, OrderPage, OrderPlace, OrderSort, OrderWork, ReadModelError, ScannedPage,
        list_sql::{Dialect, ListSql},
        order_lists::{count_of, filters_of_work},
    },
};

pub(super) static DIALECT: Dialect = Dialect {
    mark: '$',
    names_indexes: false,
    // An order that was never placed has no row.
    status: |status| {
        PgOrderStatus::of(status).map_or("NULL".to_owned(), |status| format!("'{}'", status.name()))
    },
    has_state,
    is_set: "",
    look_up: "JOIN",
    row: "order_id",
    // Keeps the sub-query from becoming a join, which Postgres could walk from the other side.
    by_itself: " OFFSET 0",
    among: |sql| format!("= ANY (ARRAY({sql}))"),
};

pub(super) async fn page(
    client: &mut Object,
    filter: &OrderFilter,
    limit: usize,
) -> Result<OrderPage, ReadModelError> {
    let Some(walked) = walked(filter, limit) else { return Ok(ScannedPage::empty()) };
    let key = |row: &tokio_postgres::Row| match filter.sort {
        OrderSort::Total => cell(row, 0),
        OrderSort::Placed | OrderSort::Updated | OrderSort::Overdue => {
            let at = cell::<Timestamptz>(row, 0)?.timestamp();
            Ok(at.map_err(|error| unreadable(error.to_string()))?.as_microsecond())
        }
    };
    let place = |row: &tokio_postgres::Row| Ok(OrderPlace(key(row)?, OrderId(cell(row, 1)?)));
    let (rows, looked_up_to) = walks::page(client, &walked, limit, summary_row, place).await?;
    Ok(ScannedPage::cut(rows, limit, |row| filter.sort.place(row), looked_up_to))
}

/// The statements of a page. `None` if no order can pass.
pub(super) fn walked(filter: &OrderFilter, limit: usize) -> Option<Walked> {
    let mut sql = ListSql::new(&DIALECT);
    let keys = sql.page_keys(filter, limit.saturating_add(1))?;
    let key_values = sql.values.len();
    let left = sql.conditions_left(filter);
    let limit = sql.bind_limit(limit.saturating_add(1));
    let direction = filter.direction.as_str();
    let conditions = if left.is_empty() { "true".to_owned() } else { left.join(" AND ") };
    let page = format!(
        "SELECT {SUMMARY_COLUMNS} FROM ({}) AS page JOIN orders ON order_id = page_id WHERE {conditions}
         ORDER BY page_key {direction}, page_id {direction} LIMIT {limit}",
        keys.sql
    );
    let words = [filter.status.len(), filter.payment_status.len(), filter.fulfilment_status.len()];
    let is_found = filter.text.is_some() || filter.payment_reference.is_some();
    let is_kept = !is_found && words.into_iter().sum::<usize>() <= 1;
    Some(Walked { page, keys, values: sql.values, key_values, is_kept })
}

pub(super) async fn count(client: &Object, filter: &OrderFilter) -> Result<Count, ReadModelError> {
    let mut counting = ListSql::new(&DIALECT);
    let Some(sql) = counting.count(filter) else { return Ok(count_of(0, 0)) };
    walks::count(client, &sql, &counting.values).await
}

pub(super) async fn work_counts(
    client: &Object,
    now: Timestamp,
) -> Result<Vec<(OrderWork, Count)>, ReadModelError> {
    let mut counting = ListSql::new(&DIALECT);
    let sql = counting.work_counts(&filters_of_work(now));
    let row = walks::one_row(client, &sql, &counting.values).await?;
    let count = |(column, work)| {
        let counted: i64 = cell(&row, column)?;
        Ok((work, count_of(counted.max(cell(&row, column + 1)?), counted)))
    };
    (0..).step_by(2).zip(OrderWork::ALL).map(count).collect()
}

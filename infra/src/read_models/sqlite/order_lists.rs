//! Pages and counts of orders.

use domain::Timestamp;
use rusqlite::{Connection, params_from_iter};

use super::{
    orders::{SUMMARY_COLUMNS, status_code, summary_row},
    payments::has_state,
    walks,
};
use crate::read_models::{
    Count, OrderFilter, OrderPage, OrderPlace, OrderWork, ReadModelError, ScannedPage,
    list_sql::{Bound, Dialect, ListSql},
    order_lists::{count_of, filters_of_work},
};

pub(super) static DIALECT: Dialect = Dialect {
    mark: '?',
    names_indexes: true,
    status: |status| status_code(status).to_string(),
    has_state,
    is_set: " = 1",
    // SQLite otherwise may walk orders, and look each up in the page.
    look_up: "CROSS JOIN",
    row: "row_no",
    by_itself: "",
    among: |sql| format!("IN ({sql})"),
};

pub(super) fn page(
    connection: &Connection,
    filter: &OrderFilter,
    limit: usize,
) -> Result<OrderPage, ReadModelError> {
    let mut walked = ListSql::new(&DIALECT);
    let Some(keys) = walked.page_keys(filter, limit.saturating_add(1)) else {
        return Ok(ScannedPage::empty());
    };
    let mut look_up = ListSql::new(&DIALECT);
    let sql = look_up_sql(&mut look_up, filter);
    let (rows, looked_up_to) =
        walks::page(connection, (&keys, &walked.values), (&sql, &look_up.values), limit, summary_row)?;
    let last = looked_up_to.map(|(key, id)| OrderPlace(key, domain::OrderId(id)));
    Ok(ScannedPage::cut(rows, limit, |row| filter.sort.place(row), last))
}

/// Reads an order, if it passes the filters that the walk has not. ?1: the id.
pub(super) fn look_up_sql(look_up: &mut ListSql, filter: &OrderFilter) -> String {
    let id = look_up.bind(Bound::Id(uuid::Uuid::nil()));
    let mut conditions = vec![format!("order_id = {id}")];
    conditions.extend(look_up.conditions_left(filter));
    format!("SELECT {SUMMARY_COLUMNS} FROM orders WHERE {}", conditions.join(" AND "))
}

pub(super) fn count(connection: &Connection, filter: &OrderFilter) -> Result<Count, ReadModelError> {
    let mut counting = ListSql::new(&DIALECT);
    let Some(sql) = counting.count(filter) else { return Ok(count_of(0, 0)) };
    walks::count(connection, &sql, &counting.values)
}

pub(super) fn work_counts(
    connection: &Connection,
    now: Timestamp,
) -> Result<Vec<(OrderWork, Count)>, ReadModelError> {
    let mut counting = ListSql::new(&DIALECT);
    let sql = counting.work_counts(&filters_of_work(now));
    let mut statement = connection.prepare_cached(&sql)?;
    let counts = statement.query_row(params_from_iter(&counting.values), |row| {
        let count = |(column, work)| {
            let counted: i64 = row.get(column)?;
            Ok((work, count_of(counted.max(row.get(column + 1)?), counted)))
        };
        (0_usize..).step_by(2).zip(OrderWork::ALL).map(count).collect::<rusqlite::Result<_>>()
    })?;
    Ok(counts)
}

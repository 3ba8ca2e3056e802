//! Money that moved, by quarter hour. A currency has at most 35,136 rows a year and partition.

use std::sync::LazyLock;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value};

use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    sums::{add_sql, amounts, columns_of, sums_of},
    values::currency,
};
use crate::read_models::{
    Money, MoneyKey, MoneyQueries, MoneyQuery, MoneyTotals, PartitionMoney, Projection, ReadModelError,
    RowPage, StoredRow,
    paging::sql_limit,
    sales::spans::{groups_of_time, quarters, range_after, starts_max},
};

pub(super) const SCHEMA: &str = include_str!("money.sql");

/// Sums of rows, in the order that [`amounts`] reads.
static TOTALS: LazyLock<String> = LazyLock::new(|| sums_of(&[], &MoneyTotals::COLUMNS));

/// Adds to the quarter hours. Also adds rows of a rebuild.
pub(super) fn write(connection: &Connection, money: &[PartitionMoney]) -> Result<(), ReadModelError> {
    static ADD: LazyLock<String> =
        LazyLock::new(|| add_sql("money", &["currency", "start", "partition"], &[], &MoneyTotals::COLUMNS));
    for PartitionMoney { partition, sums } in money {
        let mut statement = connection.prepare_cached(&ADD)?;
        for (key, sum) in sums {
            let mut values: Vec<Value> =
                vec![key.currency.as_str().to_owned().into(), key.quarter.into(), partition.0.clone().into()];
            for amount in sum.amounts() {
                values.extend(columns_of(amount)?);
            }
            statement.execute(params_from_iter(values))?;
        }
    }
    Ok(())
}

pub(super) fn scan<R: From<StoredRow>>(connection: &Connection, sink: &mut Sink<R>) -> Result<(), Stop> {
    let sql = format!("SELECT currency, start, {} FROM money GROUP BY currency, start", *TOTALS);
    let read = |row: &Row<'_>| {
        let key = MoneyKey { currency: currency(row, 0)?, quarter: row.get(1)? };
        Ok((key, MoneyTotals::of(amounts(row, 2)?)))
    };
    each(connection, sink, &sql, Projection::Payments, read, |sink, (key, sum)| {
        sink.push(StoredRow::Money(key, sum))
    })
}

#[async_trait]
impl MoneyQueries for SqliteQueries {
    async fn money(&self, query: &MoneyQuery, limit: usize) -> Result<Money, ReadModelError> {
        let query = query.clone();
        self.run(move |connection| sum(connection, &query, limit)).await
    }
}

fn sum(connection: &Connection, query: &MoneyQuery, limit: usize) -> Result<Money, ReadModelError> {
    const RANGE: &str = "currency = ?1 AND start >= ?2 AND start < ?3";
    // One transaction, so that the total and its groups are sums of the same rows.
    let view = connection.unchecked_transaction()?;
    let sql = format!("SELECT {} FROM money WHERE {RANGE} GROUP BY currency", *TOTALS);
    let (currency, range) = (query.currency.as_str(), quarters(&query.range));
    let total = view
        .prepare_cached(&sql)?
        .query_row(params![currency, range.from, range.to], |row| amounts(row, 0))
        .optional()?;
    let mut money = Money { total: MoneyTotals::of(total.unwrap_or_default()), ..Money::default() };
    let Some(group) = query.group else { return Ok(money) };
    let sql =
        format!("SELECT start, {} FROM money WHERE {RANGE} GROUP BY start ORDER BY start LIMIT ?4", *TOTALS);
    let mut statement = view.prepare_cached(&sql)?;
    let range = quarters(&range_after(&query.range, group, query.after.as_deref()));
    let values = params![currency, range.from, range.to, sql_limit(starts_max(group, limit))];
    let read = |row: &Row<'_>| Ok((row.get(0)?, MoneyTotals::of(amounts(row, 1)?)));
    let by_start = statement.query_map(values, read)?.collect::<Result<Vec<_>, _>>()?;
    money.groups = RowPage::cut(groups_of_time(group, &query.range.zone, &by_start), limit);
    Ok(money)
}

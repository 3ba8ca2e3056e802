//! Money that moved, by quarter hour. A currency has at most 35,136 rows a year and partition.

use std::sync::LazyLock;

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use postgres_types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::{
    PostgresQueries,
    audit::{Scan, Stop},
    sums::{add_sql, snapshot, sums_of},
    values::{amounts, cell, currency, money_columns},
};
use crate::read_models::{
    Money, MoneyKey, MoneyQueries, MoneyQuery, MoneyTotals, PartitionMoney, Projection, ReadModelError,
    RowPage, Rows, StoredRow,
    paging::sql_limit,
    sales::spans::{groups_of_time, quarters, range_after, starts_max},
};

pub(super) const SCHEMA: &str = include_str!("money.sql");

/// Sums of rows, in the order that [`totals`] reads.
static TOTALS: LazyLock<String> = LazyLock::new(|| sums_of(&[], &MoneyTotals::COLUMNS));

/// The sums of [`TOTALS`], from column `first` on.
fn totals(row: &Row, first: usize) -> Result<MoneyTotals, ReadModelError> {
    Ok(MoneyTotals::of(amounts(row, first)?))
}

static ADD: LazyLock<String> = LazyLock::new(|| {
    add_sql("money", &[("currency", "text"), ("start", "bigint")], &[], &MoneyTotals::COLUMNS)
});

/// Writes the rows of a batch. See [`super::write`] for why statements are prepared first.
pub(super) struct Writer<'t> {
    transaction: &'t Transaction<'t>,
    add: Statement,
}

impl<'t> Writer<'t> {
    pub(super) async fn prepare(transaction: &'t Transaction<'t>) -> Result<Self, ReadModelError> {
        Ok(Self { transaction, add: transaction.prepare_cached(&ADD).await? })
    }

    /// A batch has sums of one partition at most.
    pub(super) async fn write(&self, rows: &Rows) -> Result<(), ReadModelError> {
        for money in &rows.money {
            add(self.transaction.client(), &self.add, money).await?;
        }
        Ok(())
    }
}

/// Adds rows of a rebuild.
pub(super) async fn copy(client: &Client, rows: &[PartitionMoney]) -> Result<(), ReadModelError> {
    let statement = client.prepare(&ADD).await?;
    for money in rows {
        add(client, &statement, money).await?;
    }
    Ok(())
}

async fn add(client: &Client, statement: &Statement, money: &PartitionMoney) -> Result<(), ReadModelError> {
    if money.sums.is_empty() {
        return Ok(());
    }
    let currencies: Vec<&str> = money.sums.iter().map(|(key, _)| key.currency.as_str()).collect();
    let starts: Vec<i64> = money.sums.iter().map(|(key, _)| key.quarter).collect();
    let [captured, refunded, disputed] = money_columns(money.sums.iter().map(|(_, sum)| sum.amounts()))?;
    let values: [&(dyn ToSql + Sync); 6] =
        [&currencies, &starts, &captured, &refunded, &disputed, &money.partition.0];
    client.execute(statement, &values).await?;
    Ok(())
}

pub(super) async fn scan<R: From<StoredRow>>(scan: &Scan<'_, R>) -> Result<(), Stop> {
    // The first column names an unreadable row.
    let sql = format!("SELECT currency, start, {} FROM money GROUP BY currency, start", *TOTALS);
    let read =
        |row: &Row| Ok((MoneyKey { currency: currency(row, 0)?, quarter: cell(row, 1)? }, totals(row, 2)?));
    scan.each(&sql, Projection::Payments, read, |(key, sum), chunk| {
        chunk.push(StoredRow::Money(key, sum).into());
    })
    .await
}

#[async_trait]
impl MoneyQueries for PostgresQueries {
    async fn money(&self, query: &MoneyQuery, limit: usize) -> Result<Money, ReadModelError> {
        self.database.run(async |client| sum(client, query, limit).await).await
    }
}

async fn sum(client: &mut Object, query: &MoneyQuery, limit: usize) -> Result<Money, ReadModelError> {
    const RANGE: &str = "currency = $1 AND start >= $2 AND start < $3";
    let view = snapshot(client).await?;
    let sql = format!("SELECT {} FROM money WHERE {RANGE} GROUP BY currency", *TOTALS);
    let statement = view.prepare_cached(&sql).await?;
    let (currency, range) = (query.currency.as_str(), quarters(&query.range));
    let row = view.query_opt(&statement, &[&currency, &range.from, &range.to]).await?;
    let mut money = Money::default();
    if let Some(row) = row {
        money.total = totals(&row, 0)?;
    }
    if let Some(group) = query.group {
        let sql = format!(
            "SELECT start, {} FROM money WHERE {RANGE} GROUP BY start ORDER BY start LIMIT $4",
            *TOTALS
        );
        let statement = view.prepare_cached(&sql).await?;
        let range = quarters(&range_after(&query.range, group, query.after.as_deref()));
        let fetched = sql_limit(starts_max(group, limit));
        let rows = view.query(&statement, &[&currency, &range.from, &range.to, &fetched]).await?;
        let read = |row: &Row| Ok((cell(row, 0)?, totals(row, 1)?));
        let by_start = rows.iter().map(read).collect::<Result<Vec<_>, ReadModelError>>()?;
        money.groups = RowPage::cut(groups_of_time(group, &query.range.zone, &by_start), limit);
    }
    view.commit().await?;
    Ok(money)
}

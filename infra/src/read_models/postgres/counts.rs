//! Counts by time. A SKU has one row for each day on which it was sold, in each partition.

use std::{collections::BTreeMap, sync::LazyLock};

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::Sku;
use postgres_types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::{
    PostgresQueries,
    audit::{Scan, Stop},
    sums::{add_sql, snapshot},
    values::{all, cell, sku_of},
};
use crate::read_models::{
    ChargeQuery, ChargeTotals, Charges, CountKey, CountQueries, Counted, FAILURES_MAX, PartitionCounts,
    Projection, ReadModelError, RowPage, Rows, StoredRow,
    counts::{CHARGES, SOLD, charges_of},
    paging::sql_limit,
    sales::spans::{groups_of_time, quarters, range_after, starts_max},
};

pub(super) const SCHEMA: &str = include_str!("counts.sql");

static ADD: LazyLock<String> = LazyLock::new(|| {
    add_sql("counts", &[("kind", "smallint"), ("name", "text"), ("start", "bigint")], &["count"], &[])
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

    /// A batch has counts of one partition at most.
    pub(super) async fn write(&self, rows: &Rows) -> Result<(), ReadModelError> {
        for counts in &rows.counts {
            add(self.transaction.client(), &self.add, counts).await?;
        }
        Ok(())
    }
}

/// Adds rows of a rebuild.
pub(super) async fn copy(client: &Client, rows: &[PartitionCounts]) -> Result<(), ReadModelError> {
    let statement = client.prepare(&ADD).await?;
    for counts in rows {
        add(client, &statement, counts).await?;
    }
    Ok(())
}

async fn add(client: &Client, statement: &Statement, rows: &PartitionCounts) -> Result<(), ReadModelError> {
    if rows.sums.is_empty() {
        return Ok(());
    }
    let (kinds, names): (Vec<i16>, Vec<&str>) = rows.sums.iter().map(|(key, _)| key.columns()).unzip();
    let (starts, counts): (Vec<i64>, Vec<i64>) =
        rows.sums.iter().map(|(key, count)| (key.start, *count)).unzip();
    let values: [&(dyn ToSql + Sync); 5] = [&kinds, &names, &starts, &counts, &rows.partition.0];
    client.execute(statement, &values).await?;
    Ok(())
}

pub(super) async fn scan<R: From<StoredRow>>(scan: &Scan<'_, R>) -> Result<(), Stop> {
    // The first column names an unreadable row.
    let sql = |kind: i16| {
        format!("SELECT name, start, sum(count)::bigint FROM counts WHERE kind = {kind} GROUP BY name, start")
    };
    let charges = |row: &Row| {
        Ok((CountKey { counted: charges_of(cell(row, 0)?), start: cell(row, 1)? }, cell(row, 2)?))
    };
    scan.each(&sql(CHARGES), Projection::Payments, charges, |(key, count), chunk| {
        chunk.push(StoredRow::Count(key, count).into());
    })
    .await?;
    let sold = |row: &Row| {
        Ok((CountKey { counted: Counted::Sold(sku_of(cell(row, 0)?)?), start: cell(row, 1)? }, cell(row, 2)?))
    };
    scan.each(&sql(SOLD), Projection::Sales, sold, |(key, count), chunk| {
        chunk.push(StoredRow::Count(key, count).into());
    })
    .await
}

/// $1: [`SOLD`], $2: the SKUs, $3 and $4: the days. Each SKU is looked up by itself: for a list of names, Postgres may
/// read the days of every SKU.
pub(super) const UNITS_SOLD: &str = "SELECT wanted.sku, sold.units FROM unnest($2::text[]) AS wanted (sku)
     CROSS JOIN LATERAL (SELECT sum(count)::bigint AS units FROM counts
         WHERE kind = $1 AND name = wanted.sku AND start >= $3 AND start < $4) AS sold
     WHERE sold.units IS NOT NULL";

#[async_trait]
impl CountQueries for PostgresQueries {
    async fn charges(&self, query: &ChargeQuery, limit: usize) -> Result<Charges, ReadModelError> {
        self.database.run(async |client| charges(client, query, limit).await).await
    }

    async fn units_sold(
        &self,
        skus: &[Sku],
        (from, to): (i64, i64),
    ) -> Result<BTreeMap<Sku, i64>, ReadModelError> {
        let names: Vec<&str> = skus.iter().map(Sku::as_str).collect();
        let read =
            |row: &Row| -> Result<(Sku, i64), ReadModelError> { Ok((sku_of(cell(row, 0)?)?, cell(row, 1)?)) };
        let sold = self
            .database
            .run(async |client| all(client, UNITS_SOLD, &[&SOLD, &names, &from, &to], read).await);
        Ok(sold.await?.into_iter().collect())
    }
}

/// The charges of a range, $1 to $2.
pub(super) const OF_CHARGES: &str = "FROM counts WHERE kind = 0 AND start >= $1 AND start < $2";
const DECLINED: &str = "coalesce(sum(count) FILTER (WHERE name <> ''), 0)::bigint";

fn totals(row: &Row, first: usize) -> Result<ChargeTotals, ReadModelError> {
    Ok(ChargeTotals { attempts: cell(row, first)?, declined: cell(row, first + 1)? })
}

async fn charges(client: &mut Object, query: &ChargeQuery, limit: usize) -> Result<Charges, ReadModelError> {
    let view = snapshot(client).await?;
    let range = quarters(&query.range);
    let sql = format!("SELECT coalesce(sum(count), 0)::bigint, {DECLINED} {OF_CHARGES}");
    let row = view.query_one(&view.prepare_cached(&sql).await?, &[&range.from, &range.to]).await?;
    let sql = format!(
        "SELECT name, sum(count)::bigint AS charges {OF_CHARGES} AND name <> '' GROUP BY name
         ORDER BY charges DESC, name LIMIT $3"
    );
    let fetched = sql_limit(FAILURES_MAX);
    let failures = view.query(&view.prepare_cached(&sql).await?, &[&range.from, &range.to, &fetched]).await?;
    let failure = |row: &Row| Ok((cell(row, 0)?, cell(row, 1)?));
    let failures = failures.iter().map(failure).collect::<Result<_, ReadModelError>>()?;
    let mut charges = Charges { total: totals(&row, 0)?, failures, ..Charges::default() };
    if let Some(group) = query.group {
        let sql = format!(
            "SELECT start, sum(count)::bigint, {DECLINED} {OF_CHARGES} GROUP BY start ORDER BY start LIMIT $3"
        );
        let statement = view.prepare_cached(&sql).await?;
        let range = quarters(&range_after(&query.range, group, query.after.as_deref()));
        let fetched = sql_limit(starts_max(group, limit));
        let rows = view.query(&statement, &[&range.from, &range.to, &fetched]).await?;
        let read = |row: &Row| Ok((cell(row, 0)?, totals(row, 1)?));
        let by_start = rows.iter().map(read).collect::<Result<Vec<_>, ReadModelError>>()?;
        charges.groups = RowPage::cut(groups_of_time(group, &query.range.zone, &by_start), limit);
    }
    view.commit().await?;
    Ok(charges)
}

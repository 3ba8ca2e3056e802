//! Counts by time. A SKU has one row for each day on which it was sold, in each partition.

use std::{collections::BTreeMap, sync::LazyLock};

use async_trait::async_trait;
use domain::Sku;
use rusqlite::{Connection, Row, params};

use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    sums::add_sql,
    values::sku,
};
use crate::read_models::{
    ChargeQuery, ChargeTotals, Charges, CountKey, CountQueries, Counted, FAILURES_MAX, PartitionCounts,
    Projection, ReadModelError, RowPage, StoredRow,
    counts::{CHARGES, SOLD, charges_of},
    paging::sql_limit,
    sales::spans::{groups_of_time, quarters, range_after, starts_max},
};

pub(super) const SCHEMA: &str = include_str!("counts.sql");

/// Adds to the counts. Also adds rows of a rebuild.
pub(super) fn write(connection: &Connection, counts: &[PartitionCounts]) -> Result<(), ReadModelError> {
    static ADD: LazyLock<String> =
        LazyLock::new(|| add_sql("counts", &["kind", "name", "start", "partition"], &["count"], &[]));
    for PartitionCounts { partition, sums } in counts {
        let mut statement = connection.prepare_cached(&ADD)?;
        for (key, count) in sums {
            let (kind, name) = key.columns();
            statement.execute(params![kind, name, key.start, partition.0, count])?;
        }
    }
    Ok(())
}

pub(super) fn scan<R: From<StoredRow>>(connection: &Connection, sink: &mut Sink<R>) -> Result<(), Stop> {
    let sql = |kind: i16| {
        format!("SELECT name, start, sum(count) FROM counts WHERE kind = {kind} GROUP BY name, start")
    };
    let charges =
        |row: &Row<'_>| Ok((CountKey { counted: charges_of(row.get(0)?), start: row.get(1)? }, row.get(2)?));
    each(connection, sink, &sql(CHARGES), Projection::Payments, charges, |sink, (key, count)| {
        sink.push(StoredRow::Count(key, count))
    })?;
    let sold = |row: &Row<'_>| {
        Ok((CountKey { counted: Counted::Sold(sku(row, 0)?), start: row.get(1)? }, row.get(2)?))
    };
    each(connection, sink, &sql(SOLD), Projection::Sales, sold, |sink, (key, count)| {
        sink.push(StoredRow::Count(key, count))
    })
}

#[async_trait]
impl CountQueries for SqliteQueries {
    async fn charges(&self, query: &ChargeQuery, limit: usize) -> Result<Charges, ReadModelError> {
        let query = query.clone();
        self.run(move |connection| charges(connection, &query, limit)).await
    }

    async fn units_sold(
        &self,
        skus: &[Sku],
        (from, to): (i64, i64),
    ) -> Result<BTreeMap<Sku, i64>, ReadModelError> {
        let skus = skus.to_vec();
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(UNITS_SOLD)?;
            let mut sold = BTreeMap::new();
            for sku in skus {
                let units: Option<i64> =
                    statement.query_row(params![SOLD, sku.as_str(), from, to], |row| row.get(0))?;
                sold.extend(units.map(|units| (sku, units)));
            }
            Ok(sold)
        })
        .await
    }
}

/// ?1: [`SOLD`], ?2: the SKU, ?3 and ?4: the days.
pub(super) const UNITS_SOLD: &str =
    "SELECT sum(count) FROM counts WHERE kind = ?1 AND name = ?2 AND start >= ?3 AND start < ?4";
/// The charges of a range, ?1 to ?2.
const OF_CHARGES: &str =
    "FROM counts INDEXED BY counts_of_charges WHERE kind = 0 AND start >= ?1 AND start < ?2";

fn charges(connection: &Connection, query: &ChargeQuery, limit: usize) -> Result<Charges, ReadModelError> {
    // One transaction, so that the total and its groups are counts of the same rows.
    let view = connection.unchecked_transaction()?;
    let range = quarters(&query.range);
    let total = format!("SELECT coalesce(sum(count), 0), {DECLINED} {OF_CHARGES}");
    let total = view.prepare_cached(&total)?.query_row([range.from, range.to], |row| totals(row, 0))?;
    let failures = format!(
        "SELECT name, sum(count) AS charges {OF_CHARGES} AND name <> '' GROUP BY name ORDER BY charges DESC, name LIMIT ?3"
    );
    let mut failures = view.prepare_cached(&failures)?;
    let values = params![range.from, range.to, sql_limit(FAILURES_MAX)];
    let failures =
        failures.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut charges = Charges { total, failures, ..Charges::default() };
    let Some(group) = query.group else { return Ok(charges) };
    let by_start =
        format!("SELECT start, sum(count), {DECLINED} {OF_CHARGES} GROUP BY start ORDER BY start LIMIT ?3");
    let mut by_start = view.prepare_cached(&by_start)?;
    let range = quarters(&range_after(&query.range, group, query.after.as_deref()));
    let values = params![range.from, range.to, sql_limit(starts_max(group, limit))];
    let read = |row: &Row<'_>| Ok((row.get(0)?, totals(row, 1)?));
    let by_start = by_start.query_map(values, read)?.collect::<Result<Vec<_>, _>>()?;
    charges.groups = RowPage::cut(groups_of_time(group, &query.range.zone, &by_start), limit);
    Ok(charges)
}

const DECLINED: &str = "coalesce(sum(count) FILTER (WHERE name <> ''), 0)";

fn totals(row: &Row<'_>, first: usize) -> rusqlite::Result<ChargeTotals> {
    Ok(ChargeTotals { attempts: row.get(first)?, declined: row.get(first + 1)? })
}

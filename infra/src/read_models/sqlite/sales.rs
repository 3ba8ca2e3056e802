//! Sums of sales, over as few rows as cover the time asked for.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::columns::{span_code, totals};
use crate::read_models::{
    ReadModelError, Sales, SalesGroup, SalesQuery, SalesTotals,
    spans::{self, Range},
};

/// How `sales.dimension` says by what its rows are summed.
const ALL: i64 = 0;
const BY_SKU: i64 = 1;
const BY_COUNTRY: i64 = 2;

pub(super) fn sales(connection: &Connection, query: &SalesQuery) -> Result<Sales, ReadModelError> {
    // One view for the total and its parts.
    let view = connection.unchecked_transaction()?;
    let ranges = spans::ranges(query);
    let by_start = sum_by_start(&view, query, &ranges)?;
    let by_key = match query.group {
        Some(SalesGroup::Sku) => sum_by_key(&view, query, &ranges, BY_SKU)?,
        Some(SalesGroup::Country) => sum_by_key(&view, query, &ranges, BY_COUNTRY)?,
        None | Some(SalesGroup::Hour | SalesGroup::Day | SalesGroup::Month) => BTreeMap::new(),
    };
    Ok(spans::answer(query, &by_start, by_key))
}

/// By time, oldest first.
fn sum_by_start(
    connection: &Connection,
    query: &SalesQuery,
    ranges: &[Range],
) -> Result<Vec<(i64, SalesTotals)>, ReadModelError> {
    const SUM: &str =
        "SELECT start, sum(orders), sum(lines), sum(units), sum(gross), sum(cancelled), sum(refunded)
         FROM sales WHERE dimension = ?1 AND span = ?2 AND currency = ?3 AND start >= ?4 AND start < ?5
         GROUP BY start ORDER BY start";
    let mut statement = connection.prepare_cached(SUM)?;
    let mut sums = Vec::new();
    for Range { span, from, to } in ranges {
        let rows = statement
            .query_map(params![ALL, span_code(*span), query.currency.as_str(), from, to], |row| {
                Ok((row.get(0)?, totals(row, 1)?))
            })?;
        for row in rows {
            sums.push(row?);
        }
    }
    Ok(sums)
}

fn sum_by_key(
    connection: &Connection,
    query: &SalesQuery,
    ranges: &[Range],
    dimension: i64,
) -> Result<BTreeMap<String, SalesTotals>, ReadModelError> {
    const SUM: &str =
        "SELECT key, sum(orders), sum(lines), sum(units), sum(gross), sum(cancelled), sum(refunded)
         FROM sales WHERE dimension = ?1 AND span = ?2 AND currency = ?3 AND start >= ?4 AND start < ?5
         GROUP BY key";
    let mut statement = connection.prepare_cached(SUM)?;
    let mut groups: BTreeMap<String, SalesTotals> = BTreeMap::new();
    for Range { span, from, to } in ranges {
        let values = params![dimension, span_code(*span), query.currency.as_str(), from, to];
        let rows = statement.query_map(values, |row| Ok((row.get::<_, String>(0)?, totals(row, 1)?)))?;
        for row in rows {
            let (key, sum) = row?;
            groups.entry(key).or_default().add(&sum);
        }
    }
    Ok(groups)
}

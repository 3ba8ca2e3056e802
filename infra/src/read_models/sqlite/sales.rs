//! Sums of sales, over as few rows as cover the time asked for.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{
    columns::totals,
    spans::{Range, cover, date_of, hours, instant_of},
};
use crate::read_models::{ReadModelError, Sales, SalesGroup, SalesQuery, SalesTotals};

/// How `sales.dimension` says by what its rows are summed.
const ALL: i64 = 0;
const BY_SKU: i64 = 1;
const BY_COUNTRY: i64 = 2;

pub(super) fn sales(connection: &Connection, query: &SalesQuery) -> Result<Sales, ReadModelError> {
    let (from, to) = (query.from_hour, query.to_hour);
    // One view for the total and its parts.
    let view = connection.unchecked_transaction()?;
    let ranges = match query.group {
        Some(SalesGroup::Hour | SalesGroup::Day) => hours(from, to),
        None | Some(SalesGroup::Month | SalesGroup::Sku | SalesGroup::Country) => cover(from, to),
    };
    let by_start = sum_by_start(&view, query, &ranges)?;
    let mut sales = Sales::default();
    for (_, sum) in &by_start {
        sales.total.add(sum);
    }
    sales.groups = match query.group {
        None => Vec::new(),
        Some(SalesGroup::Hour) => grouped(&by_start, |hour| instant_of(hour).to_string()),
        Some(SalesGroup::Day) => grouped(&by_start, |hour| date_of(hour).to_string()),
        Some(SalesGroup::Month) => grouped(&by_start, |hour| date_of(hour).strftime("%Y-%m").to_string()),
        Some(SalesGroup::Sku) => sum_by_key(&view, query, &ranges, BY_SKU)?,
        Some(SalesGroup::Country) => sum_by_key(&view, query, &ranges, BY_COUNTRY)?,
    };
    Ok(sales)
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
        let rows = statement.query_map(params![ALL, span, query.currency.as_str(), from, to], |row| {
            Ok((row.get(0)?, totals(row, 1)?))
        })?;
        for row in rows {
            sums.push(row?);
        }
    }
    Ok(sums)
}

fn grouped(by_start: &[(i64, SalesTotals)], key: impl Fn(i64) -> String) -> Vec<(String, SalesTotals)> {
    let mut groups: Vec<(String, SalesTotals)> = Vec::new();
    for (hour, sum) in by_start {
        let key = key(*hour);
        match groups.last_mut() {
            Some((last, total)) if *last == key => total.add(sum),
            _ => groups.push((key, *sum)),
        }
    }
    groups
}

fn sum_by_key(
    connection: &Connection,
    query: &SalesQuery,
    ranges: &[Range],
    dimension: i64,
) -> Result<Vec<(String, SalesTotals)>, ReadModelError> {
    const SUM: &str =
        "SELECT key, sum(orders), sum(lines), sum(units), sum(gross), sum(cancelled), sum(refunded)
         FROM sales WHERE dimension = ?1 AND span = ?2 AND currency = ?3 AND start >= ?4 AND start < ?5
         GROUP BY key";
    let mut statement = connection.prepare_cached(SUM)?;
    let mut groups: BTreeMap<String, SalesTotals> = BTreeMap::new();
    for Range { span, from, to } in ranges {
        let values = params![dimension, span, query.currency.as_str(), from, to];
        let rows = statement.query_map(values, |row| Ok((row.get::<_, String>(0)?, totals(row, 1)?)))?;
        for row in rows {
            let (key, sum) = row?;
            groups.entry(key).or_default().add(&sum);
        }
    }
    Ok(groups.into_iter().collect())
}

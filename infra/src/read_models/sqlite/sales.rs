//! Sales, by quarter hour and by month. Queries read as few rows as cover the range of time.

use std::{collections::BTreeMap, sync::LazyLock};

use async_trait::async_trait;
use domain::Currency;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value};

use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    sums::{add_sql, amounts, columns_of, counts, sums_of},
    values::{currency, sku_of, unreadable},
};
use crate::read_models::{
    PartitionSales, Projection, ReadModelError, RowPage, Sales, SalesDimension, SalesGroup, SalesKey,
    SalesQueries, SalesQuery, SalesTotals, StoredRow, TimeGroup, Totals,
    paging::{one_more, sql_limit},
    sales::{
        MonthCheck,
        spans::{self, Range, Span, by_month},
    },
};

pub(super) const SCHEMA: &str = include_str!("sales.sql");

/// Values of `sales.dimension`. Stored: changing a number needs a new schema version.
const ALL: i64 = 0;
const BY_SKU: i64 = 1;
const BY_COUNTRY: i64 = 2;

fn dimension_columns(dimension: &SalesDimension) -> (i64, &str) {
    match dimension {
        SalesDimension::All => (ALL, ""),
        SalesDimension::Sku(sku) => (BY_SKU, sku.as_str()),
        SalesDimension::Country(country) => (BY_COUNTRY, country),
        // No SKU is empty.
        SalesDimension::NoLine => (BY_SKU, ""),
    }
}

fn dimension_of(code: i64, key: &str) -> rusqlite::Result<SalesDimension> {
    match code {
        ALL => Ok(SalesDimension::All),
        BY_SKU if key.is_empty() => Ok(SalesDimension::NoLine),
        BY_SKU => sku_of(key).map(SalesDimension::Sku),
        BY_COUNTRY => Ok(SalesDimension::Country(key.to_owned())),
        _ => Err(unreadable("dimension", &code.to_string())),
    }
}

/// Stored: changing a number needs a new schema version.
fn span_code(span: Span) -> i64 {
    match span {
        Span::Quarter => 0,
        Span::Month => 1,
    }
}

/// Sums of rows, in the order that [`totals`] reads.
static TOTALS: LazyLock<String> = LazyLock::new(|| sums_of(&SalesTotals::COUNTS, &SalesTotals::MONEY));

/// The sums of [`TOTALS`], from column `first` on.
fn totals(row: &Row<'_>, first: usize) -> rusqlite::Result<SalesTotals> {
    Ok(SalesTotals::of(counts(row, first)?, amounts(row, first + SalesTotals::COUNTS.len())?))
}

/// Adds to the quarter hours and to their months. Also adds rows of a rebuild.
pub(super) fn write(connection: &Connection, sales: &[PartitionSales]) -> Result<(), ReadModelError> {
    sales.iter().try_for_each(|sales| add(connection, sales))
}

fn add(connection: &Connection, sales: &PartitionSales) -> Result<(), ReadModelError> {
    static ADD: LazyLock<String> = LazyLock::new(|| {
        let key = ["dimension", "span", "currency", "start", "key", "partition"];
        add_sql("sales", &key, &SalesTotals::COUNTS, &SalesTotals::MONEY)
    });
    let mut statement = connection.prepare_cached(&ADD)?;
    let mut add_sum = |span: Span, key: &SalesKey, sum: &SalesTotals| {
        let (dimension, name) = dimension_columns(&key.dimension);
        let mut values: Vec<Value> = vec![
            dimension.into(),
            span_code(span).into(),
            key.currency.as_str().to_owned().into(),
            key.quarter.into(),
            name.to_owned().into(),
            sales.partition.0.clone().into(),
        ];
        values.extend(sum.counts().map(Value::from));
        for amount in sum.money() {
            values.extend(columns_of(amount)?);
        }
        statement.execute(params_from_iter(values))?;
        Ok::<_, ReadModelError>(())
    };
    for (key, sum) in &sales.sums {
        add_sum(Span::Quarter, key, sum)?;
    }
    for (key, sum) in &by_month(&sales.sums) {
        add_sum(Span::Month, key, sum)?;
    }
    Ok(())
}

pub(super) fn scan<R: From<StoredRow>>(connection: &Connection, sink: &mut Sink<R>) -> Result<(), Stop> {
    let sql = |span| {
        format!(
            "SELECT dimension, key, currency, start, {}
             FROM sales WHERE span = {} GROUP BY dimension, currency, start, key",
            *TOTALS,
            span_code(span)
        )
    };
    let read = |row: &Row<'_>| {
        let dimension = dimension_of(row.get(0)?, row.get_ref(1)?.as_str()?)?;
        let currency = currency(row, 2)?;
        Ok((SalesKey { dimension, currency, quarter: row.get(3)? }, totals(row, 4)?))
    };
    let mut check = MonthCheck::default();
    each(connection, sink, &sql(Span::Quarter), Projection::Sales, read, |sink, (key, sum)| {
        check.add_quarter(&key, &sum);
        sink.push(StoredRow::Sales(key, sum))
    })?;
    each(connection, sink, &sql(Span::Month), Projection::Sales, read, |sink, (key, sum)| {
        check.check_month(&key, &sum).map_or(Ok(()), |broken| sink.push(broken))
    })?;
    check.missing().try_for_each(|broken| sink.push(broken))
}

#[async_trait]
impl SalesQueries for SqliteQueries {
    async fn sales(&self, query: &SalesQuery, limit: usize) -> Result<Sales, ReadModelError> {
        let query = query.clone();
        self.run(move |connection| sum(connection, &query, limit)).await
    }

    async fn currencies(&self) -> Result<Vec<Currency>, ReadModelError> {
        self.run(currencies).await
    }
}

fn sum(connection: &Connection, query: &SalesQuery, limit: usize) -> Result<Sales, ReadModelError> {
    // One transaction, so that the total and its groups are sums of the same rows.
    let view = connection.unchecked_transaction()?;
    let mut sales = Sales { total: total(&view, query)?, ..Sales::default() };
    let groups = match query.group {
        None => return Ok(sales),
        Some(SalesGroup::Time(group)) => {
            spans::groups_of_time(group, &query.range.zone, &sums_by_start(&view, query, group, limit)?)
        }
        Some(group @ SalesGroup::Sku) => sums_by_key(&view, query, group, BY_SKU, limit)?,
        Some(group @ SalesGroup::Country) => sums_by_key(&view, query, group, BY_COUNTRY, limit)?,
    };
    sales.groups = RowPage::cut(groups, limit);
    Ok(sales)
}

const RANGE: &str = "dimension = ?1 AND span = ?2 AND currency = ?3 AND start >= ?4 AND start < ?5";

/// Sums over all orders.
fn total(connection: &Connection, query: &SalesQuery) -> Result<SalesTotals, ReadModelError> {
    let sql = format!("SELECT {} FROM sales WHERE {RANGE} GROUP BY dimension", *TOTALS);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut total = SalesTotals::default();
    for Range { span, from, to } in &spans::total_ranges(query) {
        let values = params![ALL, span_code(*span), query.currency.as_str(), from, to];
        if let Some(sum) = statement.query_row(values, |row| totals(row, 0)).optional()? {
            total.add(&sum);
        }
    }
    Ok(total)
}

/// Looks up the next currency after each: a few steps in the index, however many rows each has.
fn currencies(connection: &Connection) -> Result<Vec<Currency>, ReadModelError> {
    const NEXT: &str = "SELECT currency FROM sales WHERE dimension = ?1 AND span = ?2 AND currency > ?3 ORDER BY currency LIMIT 1";
    let view = connection.unchecked_transaction()?;
    let mut statement = view.prepare_cached(NEXT)?;
    let mut currencies: Vec<Currency> = Vec::new();
    loop {
        let after = currencies.last().map_or("", Currency::as_str);
        let values = params![ALL, span_code(Span::Month), after];
        match statement.query_row(values, |row| currency(row, 0)).optional()? {
            Some(next) => currencies.push(next),
            None => return Ok(currencies),
        }
    }
}

/// Sums over all orders, oldest first.
fn sums_by_start(
    connection: &Connection,
    query: &SalesQuery,
    group: TimeGroup,
    limit: usize,
) -> Result<Vec<(i64, SalesTotals)>, ReadModelError> {
    let sql =
        format!("SELECT start, {} FROM sales WHERE {RANGE} GROUP BY start ORDER BY start LIMIT ?6", *TOTALS);
    let mut statement = connection.prepare_cached(&sql)?;
    let fetched = sql_limit(spans::starts_max(group, limit));
    let mut sums = Vec::new();
    for Range { span, from, to } in &spans::group_ranges(query, SalesGroup::Time(group)) {
        let values = params![ALL, span_code(*span), query.currency.as_str(), from, to, fetched];
        for row in statement.query_map(values, |row| Ok((row.get(0)?, totals(row, 1)?)))? {
            sums.push(row?);
        }
    }
    Ok(sums)
}

/// Sums by SKU or country. The first keys of each range contain the first keys of all ranges.
fn sums_by_key(
    connection: &Connection,
    query: &SalesQuery,
    group: SalesGroup,
    dimension: i64,
    limit: usize,
) -> Result<Vec<(String, SalesTotals)>, ReadModelError> {
    let sql = format!(
        "SELECT key, {} FROM sales WHERE {RANGE} AND (?6 IS NULL OR key > ?6)
         GROUP BY key ORDER BY key LIMIT ?7",
        *TOTALS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let (after, fetched) = (query.after.as_deref(), one_more(limit));
    let mut groups: BTreeMap<String, SalesTotals> = BTreeMap::new();
    for Range { span, from, to } in &spans::group_ranges(query, group) {
        let values = params![dimension, span_code(*span), query.currency.as_str(), from, to, after, fetched];
        for row in statement.query_map(values, |row| Ok((row.get::<_, String>(0)?, totals(row, 1)?)))? {
            let (key, sum) = row?;
            groups.entry(key).or_default().add(&sum);
        }
    }
    Ok(groups.into_iter().collect())
}

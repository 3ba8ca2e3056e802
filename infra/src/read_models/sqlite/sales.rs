//! Sales, by hour and by month. Queries read as few rows as cover the range of time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::Currency;
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    values::{conversion, sku_of, unreadable},
};
use crate::read_models::{
    PartitionSales, Projection, ReadModelError, RowPage, Sales, SalesDimension, SalesGroup, SalesKey,
    SalesQueries, SalesQuery, SalesTotals, StoredRow,
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
    }
}

fn dimension_of(code: i64, key: &str) -> rusqlite::Result<SalesDimension> {
    match code {
        ALL => Ok(SalesDimension::All),
        BY_SKU => sku_of(key).map(SalesDimension::Sku),
        BY_COUNTRY => Ok(SalesDimension::Country(key.to_owned())),
        _ => Err(unreadable("dimension", &code.to_string())),
    }
}

/// Stored: changing a number needs a new schema version.
fn span_code(span: Span) -> i64 {
    match span {
        Span::Hour => 0,
        Span::Month => 1,
    }
}

/// Sums of rows, in the order that [`totals`] reads.
const TOTALS: &str = "sum(orders), sum(lines), sum(units), sum(gross_high), sum(gross),
    sum(cancelled_high), sum(cancelled), sum(refunded_high), sum(refunded)";

/// The sums of [`TOTALS`], from column `first` on.
fn totals(row: &Row<'_>, first: usize) -> rusqlite::Result<SalesTotals> {
    Ok(SalesTotals {
        orders: row.get(first)?,
        lines: row.get(first + 1)?,
        units: row.get(first + 2)?,
        gross: money(row, first + 3)?,
        cancelled: money(row, first + 5)?,
        refunded: money(row, first + 7)?,
    })
}

/// Bits of the low column of an amount of money. See `sales.sql`.
const LOW_BITS: u32 = 32;

fn money(row: &Row<'_>, column: usize) -> rusqlite::Result<i128> {
    let (high, low): (i64, i64) = (row.get(column)?, row.get(column + 1)?);
    Ok((i128::from(high) << LOW_BITS) + i128::from(low))
}

/// The high and the low column.
fn columns_of(money: i128) -> Result<(i64, i64), ReadModelError> {
    let beyond = |_| ReadModelError::Row(format!("{money} is more money than a row can hold").into());
    let high = i64::try_from(money >> LOW_BITS).map_err(beyond)?;
    let low = i64::try_from(money & ((1 << LOW_BITS) - 1)).map_err(beyond)?;
    Ok((high, low))
}

/// Adds to the hours and to their months. Also adds rows of a rebuild.
pub(super) fn write(connection: &Connection, sales: &[PartitionSales]) -> Result<(), ReadModelError> {
    sales.iter().try_for_each(|sales| add(connection, sales))
}

fn add(connection: &Connection, sales: &PartitionSales) -> Result<(), ReadModelError> {
    // Each low column passes its carry to the high one.
    const ADD: &str =
        "INSERT INTO sales (dimension, span, currency, start, key, partition, orders, lines, units,
             gross_high, gross, cancelled_high, cancelled, refunded_high, refunded)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (dimension, span, currency, start, key, partition) DO UPDATE
         SET orders = orders + ?7, lines = lines + ?8, units = units + ?9,
             gross_high = gross_high + ?10 + ((gross + ?11) >> 32), gross = (gross + ?11) & 4294967295,
             cancelled_high = cancelled_high + ?12 + ((cancelled + ?13) >> 32),
             cancelled = (cancelled + ?13) & 4294967295,
             refunded_high = refunded_high + ?14 + ((refunded + ?15) >> 32),
             refunded = (refunded + ?15) & 4294967295";
    let mut statement = connection.prepare_cached(ADD)?;
    let mut add_sum = |span: Span, key: &SalesKey, sum: &SalesTotals| {
        let (dimension, name) = dimension_columns(&key.dimension);
        let (gross_high, gross) = columns_of(sum.gross)?;
        let (cancelled_high, cancelled) = columns_of(sum.cancelled)?;
        let (refunded_high, refunded) = columns_of(sum.refunded)?;
        statement.execute(params![
            dimension,
            span_code(span),
            key.currency.as_str(),
            key.hour,
            name,
            sales.partition.0,
            sum.orders,
            sum.lines,
            sum.units,
            gross_high,
            gross,
            cancelled_high,
            cancelled,
            refunded_high,
            refunded,
        ])?;
        Ok::<_, ReadModelError>(())
    };
    for (key, sum) in &sales.sums {
        add_sum(Span::Hour, key, sum)?;
    }
    for (key, sum) in &by_month(&sales.sums) {
        add_sum(Span::Month, key, sum)?;
    }
    Ok(())
}

pub(super) fn scan<R: From<StoredRow>>(connection: &Connection, sink: &mut Sink<R>) -> Result<(), Stop> {
    let sql = |span| {
        let span = span_code(span);
        format!(
            "SELECT dimension, key, currency, start, {TOTALS}
             FROM sales WHERE span = {span} GROUP BY dimension, currency, start, key"
        )
    };
    let read = |row: &Row<'_>| {
        let dimension = dimension_of(row.get(0)?, row.get_ref(1)?.as_str()?)?;
        let currency: Result<Currency, _> = row.get_ref(2)?.as_str()?.parse();
        let currency = currency.map_err(|error| conversion(2, Type::Text, error))?;
        Ok((SalesKey { dimension, currency, hour: row.get(3)? }, totals(row, 4)?))
    };
    let mut check = MonthCheck::default();
    each(connection, sink, &sql(Span::Hour), Projection::Sales, read, |sink, (key, sum)| {
        check.add_hour(&key, &sum);
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
}

fn sum(connection: &Connection, query: &SalesQuery, limit: usize) -> Result<Sales, ReadModelError> {
    // One transaction, so that the total and its groups are sums of the same rows.
    let view = connection.unchecked_transaction()?;
    let mut sales = Sales { total: total(&view, query)?, ..Sales::default() };
    let groups = match query.group {
        None => return Ok(sales),
        Some(group @ (SalesGroup::Hour | SalesGroup::Day | SalesGroup::Month)) => {
            spans::groups_of_time(group, &sums_by_start(&view, query, group, limit)?)
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
    let sql = format!("SELECT {TOTALS} FROM sales WHERE {RANGE} GROUP BY dimension");
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

/// Sums over all orders, oldest first.
fn sums_by_start(
    connection: &Connection,
    query: &SalesQuery,
    group: SalesGroup,
    limit: usize,
) -> Result<Vec<(i64, SalesTotals)>, ReadModelError> {
    let sql =
        format!("SELECT start, {TOTALS} FROM sales WHERE {RANGE} GROUP BY start ORDER BY start LIMIT ?6");
    let mut statement = connection.prepare_cached(&sql)?;
    let fetched = sql_limit(spans::starts_max(group, limit));
    let mut sums = Vec::new();
    for Range { span, from, to } in &spans::group_ranges(query, group) {
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
        "SELECT key, {TOTALS} FROM sales WHERE {RANGE} AND (?6 IS NULL OR key > ?6)
         GROUP BY key ORDER BY key LIMIT ?7"
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

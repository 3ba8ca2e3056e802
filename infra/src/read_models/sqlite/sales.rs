//! Sales, by hour and by month. Queries read as few rows as cover the range of time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::Currency;
use rusqlite::{Connection, Row, Transaction, params, types::Type};

use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    values::{conversion, sku_of, unreadable},
};
use crate::read_models::{
    PartitionSales, Projection, ReadModelError, Rows, Sales, SalesDimension, SalesGroup, SalesKey,
    SalesQueries, SalesQuery, SalesTotals, StoredRow,
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

/// Six sums, from column `first` on.
fn totals(row: &Row<'_>, first: usize) -> rusqlite::Result<SalesTotals> {
    Ok(SalesTotals {
        orders: row.get(first)?,
        lines: row.get(first + 1)?,
        units: row.get(first + 2)?,
        gross: row.get(first + 3)?,
        cancelled: row.get(first + 4)?,
        refunded: row.get(first + 5)?,
    })
}

/// Adds to the hours and to their months. Also writes the rows of a whole log.
pub(super) fn write(transaction: &Transaction<'_>, rows: &Rows) -> Result<(), ReadModelError> {
    rows.sales.iter().try_for_each(|sales| add(transaction, sales))
}

fn add(transaction: &Transaction<'_>, sales: &PartitionSales) -> Result<(), ReadModelError> {
    const ADD: &str = "INSERT INTO sales (dimension, span, currency, start, key, partition,
             orders, lines, units, gross, cancelled, refunded)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (dimension, span, currency, start, key, partition) DO UPDATE
         SET orders = orders + ?7, lines = lines + ?8, units = units + ?9,
             gross = gross + ?10, cancelled = cancelled + ?11, refunded = refunded + ?12";
    let mut statement = transaction.prepare_cached(ADD)?;
    let mut add_sum = |span: Span, key: &SalesKey, sum: &SalesTotals| {
        let (dimension, name) = dimension_columns(&key.dimension);
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
            sum.gross,
            sum.cancelled,
            sum.refunded,
        ])
    };
    for (key, sum) in &sales.sums {
        add_sum(Span::Hour, key, sum)?;
    }
    for (key, sum) in &by_month(&sales.sums) {
        add_sum(Span::Month, key, sum)?;
    }
    Ok(())
}

pub(super) fn scan(connection: &Connection, sink: &mut Sink) -> Result<(), Stop> {
    let sql = |span| {
        let span = span_code(span);
        format!(
            "SELECT dimension, key, currency, start,
                 sum(orders), sum(lines), sum(units), sum(gross), sum(cancelled), sum(refunded)
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
    async fn sales(&self, query: &SalesQuery) -> Result<Sales, ReadModelError> {
        let query = query.clone();
        self.run(move |connection| sum(connection, &query)).await
    }
}

fn sum(connection: &Connection, query: &SalesQuery) -> Result<Sales, ReadModelError> {
    // One transaction, so that the total and its groups are sums of the same rows.
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

/// Sums over all orders, oldest first.
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
        let values = params![ALL, span_code(*span), query.currency.as_str(), from, to];
        for row in statement.query_map(values, |row| Ok((row.get(0)?, totals(row, 1)?)))? {
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
        for row in statement.query_map(values, |row| Ok((row.get::<_, String>(0)?, totals(row, 1)?)))? {
            let (key, sum) = row?;
            groups.entry(key).or_default().add(&sum);
        }
    }
    Ok(groups)
}

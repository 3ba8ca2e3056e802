//! Sales, by quarter hour and by month. Queries read as few rows as cover the range of time.

use std::{collections::BTreeMap, sync::LazyLock};

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::Currency;
use postgres_types::{FromSql, ToSql};
use tokio_postgres::{Client, Row, Statement};

use super::{
    PostgresQueries,
    audit::{Scan, Stop},
    sums::{add_sql, snapshot, sums_of},
    values::{all, amounts, cell, currency, money_columns, sku_of},
};
use crate::read_models::{
    PartitionSales, Projection, ReadModelError, RowPage, Rows, Sales, SalesDimension, SalesGroup, SalesKey,
    SalesQueries, SalesQuery, SalesTotals, StoredRow, TimeGroup, Totals,
    paging::{one_more, sql_limit},
    sales::{
        MonthCheck,
        spans::{self, Range, Span, by_month},
    },
};

pub(super) const SCHEMA: &str = include_str!("sales.sql");

#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "sales_dimension", rename_all = "snake_case")]
enum PgSalesDimension {
    All,
    Sku,
    Country,
}

impl PgSalesDimension {
    /// The dimension, and the SKU or country.
    fn of(dimension: &SalesDimension) -> (Self, &str) {
        match dimension {
            SalesDimension::All => (Self::All, ""),
            SalesDimension::Sku(sku) => (Self::Sku, sku.as_str()),
            SalesDimension::Country(country) => (Self::Country, country),
            // No SKU is empty.
            SalesDimension::NoLine => (Self::Sku, ""),
        }
    }

    fn with_key(self, key: &str) -> Result<SalesDimension, ReadModelError> {
        Ok(match self {
            Self::All => SalesDimension::All,
            Self::Sku if key.is_empty() => SalesDimension::NoLine,
            Self::Sku => SalesDimension::Sku(sku_of(key)?),
            Self::Country => SalesDimension::Country(key.to_owned()),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "sales_span", rename_all = "snake_case")]
enum PgSalesSpan {
    QuarterHour,
    Month,
}

impl From<Span> for PgSalesSpan {
    fn from(span: Span) -> Self {
        match span {
            Span::Quarter => Self::QuarterHour,
            Span::Month => Self::Month,
        }
    }
}

/// Sums of rows, in the order that [`totals`] reads.
static TOTALS: LazyLock<String> = LazyLock::new(|| sums_of(&SalesTotals::COUNTS, &SalesTotals::MONEY));

/// The sums of [`TOTALS`], from column `first` on.
fn totals(row: &Row, first: usize) -> Result<SalesTotals, ReadModelError> {
    let counts = [cell(row, first)?, cell(row, first + 1)?, cell(row, first + 2)?];
    Ok(SalesTotals::of(counts, amounts(row, first + 3)?))
}

static ADD: LazyLock<String> = LazyLock::new(|| {
    let key = [
        ("dimension", "sales_dimension"),
        ("span", "sales_span"),
        ("currency", "text"),
        ("start", "bigint"),
        ("key", "text"),
    ];
    add_sql("sales", &key, &SalesTotals::COUNTS, &SalesTotals::MONEY)
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
        for sales in &rows.sales {
            add(self.transaction.client(), &self.add, sales).await?;
        }
        Ok(())
    }
}

/// Adds rows of a rebuild. The table has its primary key already, because further rows add to months.
pub(super) async fn copy(client: &Client, rows: &[PartitionSales]) -> Result<(), ReadModelError> {
    let statement = client.prepare(&ADD).await?;
    for sales in rows {
        add(client, &statement, sales).await?;
    }
    Ok(())
}

/// Adds to the quarter hours and to their months.
async fn add(client: &Client, statement: &Statement, sales: &PartitionSales) -> Result<(), ReadModelError> {
    if sales.sums.is_empty() {
        return Ok(());
    }
    let months = by_month(&sales.sums);
    let quarters = sales.sums.iter().map(|(key, sum)| (Span::Quarter, key, sum));
    let rows: Vec<_> = quarters.chain(months.iter().map(|(key, sum)| (Span::Month, key, sum))).collect();
    let (dimensions, names): (Vec<PgSalesDimension>, Vec<&str>) =
        rows.iter().map(|(_, key, _)| PgSalesDimension::of(&key.dimension)).unzip();
    let spans: Vec<PgSalesSpan> = rows.iter().map(|(span, ..)| (*span).into()).collect();
    let currencies: Vec<&str> = rows.iter().map(|(_, key, _)| key.currency.as_str()).collect();
    let starts: Vec<i64> = rows.iter().map(|(_, key, _)| key.quarter).collect();
    let counts = |index: usize| rows.iter().map(|(_, _, sum)| sum.counts()[index]).collect::<Vec<_>>();
    let (orders, lines, units) = (counts(0), counts(1), counts(2));
    let money = money_columns(rows.iter().map(|(_, _, sum)| sum.money()))?;
    let keys: [&(dyn ToSql + Sync); 8] =
        [&dimensions, &spans, &currencies, &starts, &names, &orders, &lines, &units];
    let money = money.iter().map(|column| column as &(dyn ToSql + Sync));
    let partition: &(dyn ToSql + Sync) = &sales.partition.0;
    let values: Vec<_> = keys.into_iter().chain(money).chain([partition]).collect();
    client.execute(statement, &values).await?;
    Ok(())
}

pub(super) async fn scan<R: From<StoredRow>>(scan: &Scan<'_, R>) -> Result<(), Stop> {
    let sql = |span| {
        format!(
            "SELECT key, dimension, currency, start, {} FROM sales WHERE span = '{span}'
             GROUP BY dimension, currency, start, key",
            *TOTALS
        )
    };
    let mut check = MonthCheck::default();
    scan.each(&sql("quarter_hour"), Projection::Sales, sales_row, |(key, sum), chunk| {
        check.add_quarter(&key, &sum);
        chunk.push(StoredRow::Sales(key, sum).into());
    })
    .await?;
    scan.each(&sql("month"), Projection::Sales, sales_row, |(key, sum), chunk| {
        chunk.extend(check.check_month(&key, &sum).map(R::from));
    })
    .await?;
    scan.send(check.missing().map(R::from).collect()).await
}

fn sales_row(row: &Row) -> Result<(SalesKey, SalesTotals), ReadModelError> {
    let dimension = cell::<PgSalesDimension>(row, 1)?.with_key(cell(row, 0)?)?;
    Ok((SalesKey { dimension, currency: currency(row, 2)?, quarter: cell(row, 3)? }, totals(row, 4)?))
}

#[async_trait]
impl SalesQueries for PostgresQueries {
    async fn sales(&self, query: &SalesQuery, limit: usize) -> Result<Sales, ReadModelError> {
        self.database.run(async |client| sum(client, query, limit).await).await
    }

    async fn currencies(&self) -> Result<Vec<Currency>, ReadModelError> {
        // Looks up the next currency after each: a few steps in the index, however many rows each has.
        const CURRENCIES: &str = "WITH RECURSIVE found (currency) AS (
                 SELECT min(currency) FROM sales WHERE dimension = 'all' AND span = 'month'
                 UNION ALL
                 SELECT (SELECT min(currency) FROM sales
                     WHERE dimension = 'all' AND span = 'month' AND currency > found.currency)
                 FROM found WHERE currency IS NOT NULL)
             SELECT currency FROM found WHERE currency IS NOT NULL ORDER BY currency";
        self.database.run(async |client| all(client, CURRENCIES, &[], |row| currency(row, 0)).await).await
    }
}

async fn sum(client: &mut Object, query: &SalesQuery, limit: usize) -> Result<Sales, ReadModelError> {
    let view = snapshot(client).await?;
    let total = total(&view, query).await?;
    let groups = match query.group {
        None => Vec::new(),
        Some(SalesGroup::Time(group)) => {
            let by_start = sums_by_start(&view, query, group, limit).await?;
            spans::groups_of_time(group, &query.range.zone, &by_start)
        }
        Some(group @ SalesGroup::Sku) => {
            sums_by_key(&view, query, group, PgSalesDimension::Sku, limit).await?
        }
        Some(group @ SalesGroup::Country) => {
            sums_by_key(&view, query, group, PgSalesDimension::Country, limit).await?
        }
    };
    view.commit().await?;
    Ok(Sales { total, groups: RowPage::cut(groups, limit) })
}

const RANGE: &str = "dimension = $1 AND span = $2 AND currency = $3 AND start >= $4 AND start < $5";

/// Sums over all orders.
async fn total(view: &Transaction<'_>, query: &SalesQuery) -> Result<SalesTotals, ReadModelError> {
    let sql = format!("SELECT {} FROM sales WHERE {RANGE} GROUP BY dimension", *TOTALS);
    let statement = view.prepare_cached(&sql).await?;
    let currency = query.currency.as_str();
    let mut total = SalesTotals::default();
    for Range { span, from, to } in &spans::total_ranges(query) {
        let values: [&(dyn ToSql + Sync); 5] =
            [&PgSalesDimension::All, &PgSalesSpan::from(*span), &currency, from, to];
        if let Some(row) = view.query_opt(&statement, &values).await? {
            total.add(&totals(&row, 0)?);
        }
    }
    Ok(total)
}

/// Sums over all orders, oldest first.
async fn sums_by_start(
    view: &Transaction<'_>,
    query: &SalesQuery,
    group: TimeGroup,
    limit: usize,
) -> Result<Vec<(i64, SalesTotals)>, ReadModelError> {
    let sql =
        format!("SELECT start, {} FROM sales WHERE {RANGE} GROUP BY start ORDER BY start LIMIT $6", *TOTALS);
    let statement = view.prepare_cached(&sql).await?;
    let (currency, fetched) = (query.currency.as_str(), sql_limit(spans::starts_max(group, limit)));
    let mut sums = Vec::new();
    for Range { span, from, to } in &spans::group_ranges(query, SalesGroup::Time(group)) {
        let values: [&(dyn ToSql + Sync); 6] =
            [&PgSalesDimension::All, &PgSalesSpan::from(*span), &currency, from, to, &fetched];
        for row in view.query(&statement, &values).await? {
            sums.push((cell(&row, 0)?, totals(&row, 1)?));
        }
    }
    Ok(sums)
}

/// Sums by SKU or country. The first keys of each range contain the first keys of all ranges.
async fn sums_by_key(
    view: &Transaction<'_>,
    query: &SalesQuery,
    group: SalesGroup,
    dimension: PgSalesDimension,
    limit: usize,
) -> Result<Vec<(String, SalesTotals)>, ReadModelError> {
    let sql = format!(
        "SELECT key, {} FROM sales WHERE {RANGE} AND ($6::text IS NULL OR key > $6)
         GROUP BY key ORDER BY key LIMIT $7",
        *TOTALS
    );
    let statement = view.prepare_cached(&sql).await?;
    let (currency, after, fetched) = (query.currency.as_str(), query.after.as_deref(), one_more(limit));
    let mut groups: BTreeMap<String, SalesTotals> = BTreeMap::new();
    for Range { span, from, to } in &spans::group_ranges(query, group) {
        let values: [&(dyn ToSql + Sync); 7] =
            [&dimension, &PgSalesSpan::from(*span), &currency, from, to, &after, &fetched];
        for row in view.query(&statement, &values).await? {
            groups.entry(cell(&row, 0)?).or_default().add(&totals(&row, 1)?);
        }
    }
    Ok(groups.into_iter().collect())
}

//! Sums of sales, over as few rows as cover the time asked for.

use std::collections::BTreeMap;

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::IsolationLevel;

use super::columns::{Dimension, Span, TOTALS, cell, totals};
use crate::read_models::{
    ReadModelError, Sales, SalesGroup, SalesQuery, SalesTotals,
    spans::{self, Range},
};

pub(super) async fn sales(client: &mut Object, query: &SalesQuery) -> Result<Sales, ReadModelError> {
    // One view for the total and its parts.
    let view = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let view = view.start().await?;
    // Keeps a rebuild from being published between two of the queries.
    view.query_one("SELECT generation FROM log", &[]).await?;
    let ranges = spans::ranges(query);
    let mut by_start = Vec::new();
    let mut by_key = BTreeMap::new();
    for range in &ranges {
        by_start.extend(sum_by_start(&view, query, range).await?);
        match query.group {
            Some(SalesGroup::Sku) => sum_by_key(&view, query, range, Dimension::Sku, &mut by_key).await?,
            Some(SalesGroup::Country) => {
                sum_by_key(&view, query, range, Dimension::Country, &mut by_key).await?;
            }
            None | Some(SalesGroup::Hour | SalesGroup::Day | SalesGroup::Month) => {}
        }
    }
    view.commit().await?;
    Ok(spans::answer(query, &by_start, by_key))
}

const RANGE: &str = "dimension = $1 AND span = $2 AND currency = $3 AND start >= $4 AND start < $5";

/// By time, oldest first.
async fn sum_by_start(
    view: &Transaction<'_>,
    query: &SalesQuery,
    Range { span, from, to }: &Range,
) -> Result<Vec<(i64, SalesTotals)>, ReadModelError> {
    let sql = format!("SELECT start, {TOTALS} FROM sales WHERE {RANGE} GROUP BY start ORDER BY start");
    let statement = view.prepare_cached(&sql).await?;
    let currency = query.currency.as_str();
    let rows = view.query(&statement, &[&Dimension::All, &Span::from(*span), &currency, from, to]).await?;
    rows.iter().map(|row| Ok((cell(row, 0)?, totals(row, 1)?))).collect()
}

async fn sum_by_key(
    view: &Transaction<'_>,
    query: &SalesQuery,
    Range { span, from, to }: &Range,
    dimension: Dimension,
    groups: &mut BTreeMap<String, SalesTotals>,
) -> Result<(), ReadModelError> {
    let sql = format!("SELECT key, {TOTALS} FROM sales WHERE {RANGE} GROUP BY key");
    let statement = view.prepare_cached(&sql).await?;
    let currency = query.currency.as_str();
    for row in view.query(&statement, &[&dimension, &Span::from(*span), &currency, from, to]).await? {
        groups.entry(cell(&row, 0)?).or_default().add(&totals(&row, 1)?);
    }
    Ok(())
}

//! Queries over counts by time.

use std::collections::BTreeMap;

use domain::Sku;
use infra::read_models::{
    ChargeQuery, ChargeTotals, Charges, Counted, FAILURES_MAX, RowPage, Totals, group_key,
};

use super::Tables;

pub(super) fn charges(tables: &Tables, query: &ChargeQuery, limit: usize) -> Charges {
    let mut total = ChargeTotals::default();
    let mut failures: BTreeMap<String, i64> = BTreeMap::new();
    let mut groups: BTreeMap<String, ChargeTotals> = BTreeMap::new();
    for (key, count) in tables.counts_in_all() {
        let Counted::Charges { failure } = key.counted else { continue };
        let (from, to) = (query.range.from, query.range.to);
        if from.is_some_and(|from| key.start < from) || to.is_some_and(|to| key.start >= to) {
            continue;
        }
        let counted = ChargeTotals { attempts: count, declined: if failure.is_some() { count } else { 0 } };
        total.add(&counted);
        if let Some(group) = query.group {
            groups.entry(group_key(group, &query.range.zone, key.start)).or_default().add(&counted);
        }
        failures.entry(failure.unwrap_or_default()).or_default().add(&count);
    }
    failures.remove("");
    let mut failures: Vec<_> = failures.into_iter().collect();
    failures.sort_by_key(|(code, count)| (-count, code.clone()));
    failures.truncate(FAILURES_MAX);
    let is_next = |key: &String| query.after.as_ref().is_none_or(|after| key > after);
    let groups = groups.into_iter().filter(|(key, _)| is_next(key)).take(limit.saturating_add(1));
    Charges { total, failures, groups: RowPage::cut(groups.collect(), limit) }
}

pub(super) fn units_sold(tables: &Tables, skus: &[Sku], (from, to): (i64, i64)) -> BTreeMap<Sku, i64> {
    let mut sold: BTreeMap<Sku, i64> = BTreeMap::new();
    for (key, count) in tables.counts_in_all() {
        match key.counted {
            Counted::Sold(sku) if skus.contains(&sku) && (from..to).contains(&key.start) => {
                sold.entry(sku).or_default().add(&count);
            }
            Counted::Sold(_) | Counted::Charges { .. } => {}
        }
    }
    sold
}

//! The report of a reconciliation, as tables and as JSON.

use std::{collections::BTreeMap, fmt};

use domain::{Amount, Currency, Timestamp};
use infra::{
    operations::reconciliations::{Difference, Kind, Reconciliation, Sums},
    payment_provider::Period,
};
use jiff::civil::Date;
use serde::Serialize;

use crate::commands::empty_table;

#[derive(Debug)]
pub(super) struct Report {
    pub day: Date,
    pub period: Period,
    pub provider: &'static str,
    pub sums: BTreeMap<(Kind, Currency), Sums>,
    /// What differs, without what was recorded.
    pub differences: Vec<Difference>,
    /// What differed until it was recorded.
    pub recorded: Vec<Difference>,
}

#[derive(Serialize)]
struct JsonReport<'a> {
    day: Date,
    from: Timestamp,
    to: Timestamp,
    provider: &'a str,
    totals: Vec<JsonTotals>,
    differences: Vec<JsonDifference<'a>>,
    recorded: Vec<JsonDifference<'a>>,
}

#[derive(Serialize)]
struct JsonTotals {
    kind: Kind,
    currency: Currency,
    #[serde(flatten)]
    sums: Sums,
    difference: Amount,
}

#[derive(Serialize)]
struct JsonDifference<'a> {
    #[serde(flatten)]
    found: &'a Difference,
    difference: Amount,
}

impl<'a> JsonDifference<'a> {
    fn of(found: &'a Difference) -> Self {
        Self { found, difference: found.difference() }
    }
}

impl Report {
    /// What the operational state keeps.
    pub fn kept(&self, compared_at: Timestamp) -> Reconciliation {
        let first = |all: &[Difference]| all.iter().take(Reconciliation::KEPT_MAX).cloned().collect();
        Reconciliation {
            provider: self.provider.to_owned(),
            from: self.period.from,
            to: self.period.to,
            compared_at,
            totals: self.sums.iter().map(|(&(kind, currency), &sums)| (kind, currency, sums)).collect(),
            differences: first(&self.differences),
            differences_count: self.differences.len() as u64,
            recorded: first(&self.recorded),
            recorded_count: self.recorded.len() as u64,
        }
    }

    pub fn json(&self) -> serde_json::Result<String> {
        let totals = self.sums.iter().map(|(&(kind, currency), &sums)| {
            let difference = sums.theirs.saturating_sub(sums.ours);
            JsonTotals { kind, currency, sums, difference }
        });
        serde_json::to_string_pretty(&JsonReport {
            day: self.day,
            from: self.period.from,
            to: self.period.to,
            provider: self.provider,
            totals: totals.collect(),
            differences: self.differences.iter().map(JsonDifference::of).collect(),
            recorded: self.recorded.iter().map(JsonDifference::of).collect(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, 00:00 to 24:00 UTC, against {}; amounts in minor units", self.day, self.provider)?;
        let mut totals = empty_table(&["KIND", "CURRENCY", "COUNT", "OURS", "THEIRS", "DIFFERENCE"]);
        for (&(kind, currency), sums) in &self.sums {
            totals.add_row([
                kind.as_str().to_owned(),
                currency.to_string(),
                sums.count.to_string(),
                sums.ours.to_string(),
                sums.theirs.to_string(),
                sums.theirs.saturating_sub(sums.ours).to_string(),
            ]);
        }
        writeln!(f, "\n{totals}")?;
        for (title, differences) in [("recorded now", &self.recorded), ("different", &self.differences)] {
            if differences.is_empty() {
                writeln!(f, "\nNothing is {title}.")?;
            } else {
                writeln!(f, "\n{} {title}:\n{}", differences.len(), table_of(differences))?;
            }
        }
        Ok(())
    }
}

fn table_of(differences: &[Difference]) -> comfy_table::Table {
    let header = ["KIND", "AT", "PAYMENT", "AT PROVIDER", "CURRENCY", "OURS", "THEIRS", "DIFFERENCE", "WHY"];
    let mut table = empty_table(&header);
    for found in differences {
        let id = found.reference.clone().or(found.refund_id.map(|id| id.to_string()));
        table.add_row([
            found.kind.as_str().to_owned(),
            format!("{:.0}", found.at),
            format!("{} charge {}", found.payment_id, found.charge),
            id.unwrap_or_default(),
            found.currency.to_string(),
            found.ours.to_string(),
            found.theirs.to_string(),
            found.difference().to_string(),
            found.finding.why().to_owned(),
        ]);
    }
    table
}

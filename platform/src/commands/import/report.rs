//! What an import has done, to be read by people and checked by scripts: one `name  value` per line.

use std::{collections::BTreeMap, fmt, time::Instant};

use domain::Amount;
use indicatif::HumanCount;

use super::{
    client::Refusal,
    sales_file::{Sale, SalesFile, Skipped},
};

/// The most refusals that are listed one by one.
const REFUSALS_LISTED_MAX: usize = 20;

#[derive(Debug)]
pub struct Report {
    file_id: String,
    started: Instant,
    skus: Count,
    orders: Count,
    lines: u64,
    units: u64,
    gross: Amount,
    guests: u64,
    skipped: Skipped,
    refused_by_code: BTreeMap<String, u64>,
    refusals: Vec<String>,
}

/// How many are there now, and how many of them were before this run.
#[derive(Debug, Default)]
struct Count {
    all: u64,
    before: u64,
}

impl Count {
    fn add(&mut self, count: u64, before: bool) {
        self.all += count;
        self.before += if before { count } else { 0 };
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} already there)", HumanCount(self.all), HumanCount(self.before))
    }
}

impl Report {
    pub fn new(file: &SalesFile) -> Self {
        Self {
            file_id: file.id.clone(),
            started: Instant::now(),
            skus: Count::default(),
            orders: Count::default(),
            lines: 0,
            units: 0,
            gross: Amount::ZERO,
            guests: 0,
            skipped: file.skipped,
            refused_by_code: BTreeMap::new(),
            refusals: Vec::new(),
        }
    }

    /// Stock of so many SKUs is received.
    pub fn received(&mut self, skus: usize, before: bool) {
        self.skus.add(skus as u64, before);
    }

    /// An order is placed and its payment settled.
    pub fn imported(&mut self, sale: &Sale, before: bool) {
        self.orders.add(1, before);
        self.lines += sale.lines.len() as u64;
        self.units += sale.units();
        self.gross = self.gross.saturating_add(sale.gross());
        self.guests += u64::from(sale.customer_id.is_none());
    }

    pub fn refuse(&mut self, what: &str, refusal: &Refusal) {
        if self.refusals.len() < REFUSALS_LISTED_MAX {
            self.refusals.push(format!("{what}: {refusal}"));
        }
        *self.refused_by_code.entry(refusal.code.clone()).or_default() += 1;
    }

    /// How many receipts and orders were refused.
    pub fn refused(&self) -> u64 {
        self.refused_by_code.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = &self.skipped;
        writeln!(f, "file         {} (in {:.1} s)", self.file_id, self.started.elapsed().as_secs_f64())?;
        writeln!(f, "SKUs         {}", self.skus)?;
        writeln!(f, "orders       {}", self.orders)?;
        writeln!(f, "lines        {}", HumanCount(self.lines))?;
        writeln!(f, "units        {}", HumanCount(self.units))?;
        writeln!(f, "gross        {} pence", HumanCount(self.gross.minor_units().unsigned_abs()))?;
        writeln!(f, "guests       {}", HumanCount(self.guests))?;
        writeln!(
            f,
            "skipped      {} credits, {} adjustments, {} write-offs, {} without a price, {} unknown",
            HumanCount(skipped.credits),
            HumanCount(skipped.adjustments),
            HumanCount(skipped.write_offs),
            HumanCount(skipped.unpriced),
            HumanCount(skipped.unknown)
        )?;
        writeln!(f, "refused      {}", HumanCount(self.refused()))?;
        for (code, count) in &self.refused_by_code {
            writeln!(f, "  {code}: {}", HumanCount(*count))?;
        }
        for refusal in &self.refusals {
            writeln!(f, "  {refusal}")?;
        }
        Ok(())
    }
}

//! Reads a file that matches the credit lines of a sales file to sale lines: one row per pair, in CSV, plain
//! or compressed with zstd.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{self, Read},
    path::Path,
};

use domain::Amount;
use serde::Deserialize;

use super::{
    client::Refusal,
    sales_file::{Sale, SalesFile},
    table::open,
};

/// The returns that follow from the credits of a sales file.
#[derive(Debug)]
pub struct RefundsFile {
    /// Sorted by invoice number of the sale.
    pub orders: Vec<OrderReturns>,
    /// Rows that do not fit the sales file, each with its place and the reason.
    pub unfit: Vec<(String, Refusal)>,
}

/// The returns of one order, in file order.
#[derive(Debug, PartialEq, Eq)]
pub struct OrderReturns {
    /// Invoice number of the sale.
    pub invoice: String,
    /// All units of the order are returned.
    pub wholly: bool,
    pub returns: Vec<Return>,
}

/// Units of one sale line that one credit line returns.
#[derive(Debug, PartialEq, Eq)]
pub struct Return {
    /// Row numbers of the two lines in the sales file. Together they identify this return.
    pub credit_row: u64,
    pub sale_row: u64,
    pub credit_invoice: String,
    /// Number of the credit line in its invoice; the first is 1.
    pub credit_line: u32,
    /// Number of the line in the order; the first is 1.
    pub line: u32,
    pub quantity: u32,
    /// Minor units: units times the price of the credit line, which may differ from the price of the sale.
    pub refund_amount: Amount,
}

/// Why a file cannot be used. The whole file is read before the first request is sent.
#[derive(Debug, thiserror::Error)]
pub enum RefundsFileError {
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the file is not a CSV file of matched credit lines: {0}")]
    Csv(#[from] csv::Error),
    #[error("line {line}: {reason}")]
    Row { line: u64, reason: String },
}

/// A row of the file.
#[derive(Debug, Deserialize)]
struct Row<'a> {
    cancel_row: u64,
    cancel_invoice: &'a str,
    sale_row: u64,
    sale_invoice: &'a str,
    stock_code: &'a str,
    units: u32,
}

/// Reads the matches of `sales`. A name that ends in `.zst` is read as compressed.
pub fn read(path: &Path, sales: &SalesFile) -> Result<RefundsFile, RefundsFileError> {
    parse(open(path)?, sales)
}

/// Parses CSV.
pub fn parse(content: impl Read, sales: &SalesFile) -> Result<RefundsFile, RefundsFileError> {
    let mut reader = csv::Reader::from_reader(content);
    let headers = reader.headers()?.clone();
    let mut record = csv::StringRecord::new();
    let mut matches = Matches { sales, credited: HashMap::new(), seen: HashSet::new() };
    let mut returns: BTreeMap<&str, (&Sale, Vec<Return>)> = BTreeMap::new();
    let mut unfit = Vec::new();
    while reader.read_record(&mut record)? {
        let row: Row<'_> = record.deserialize(Some(&headers))?;
        let line = record.position().map_or(0, csv::Position::line);
        match matches.resolve(&row) {
            Ok((sale, part)) => {
                returns.entry(&sale.invoice).or_insert((sale, Vec::new())).1.push(part);
            }
            Err(Misfit::Unfit(refusal)) => {
                let subject =
                    format!("{} (row {}) of {}", row.cancel_invoice, row.cancel_row, row.sale_invoice);
                unfit.push((subject, refusal));
            }
            Err(Misfit::Unreadable(reason)) => return Err(RefundsFileError::Row { line, reason }),
        }
    }
    let orders = returns.into_values().map(|(sale, returns)| OrderReturns::of(sale, returns));
    Ok(RefundsFile { orders: orders.collect(), unfit })
}

impl OrderReturns {
    fn of(sale: &Sale, returns: Vec<Return>) -> Self {
        let units: u64 = returns.iter().map(|part| u64::from(part.quantity)).sum();
        Self { invoice: sale.invoice.clone(), wholly: units == sale.units(), returns }
    }
}

/// Why a row is not a return.
enum Misfit {
    /// It names lines that the sales file does not have.
    Unfit(Refusal),
    Unreadable(String),
}

/// Checks each row against the sales file and the rows before it.
struct Matches<'a> {
    sales: &'a SalesFile,
    /// Matched units by row of the credit line. One credit line may return parts of several sale lines.
    credited: HashMap<u64, u64>,
    seen: HashSet<(u64, u64)>,
}

impl<'a> Matches<'a> {
    fn resolve(&mut self, row: &Row<'_>) -> Result<(&'a Sale, Return), Misfit> {
        if !self.seen.insert((row.cancel_row, row.sale_row)) {
            let reason = format!("rows {} and {} are matched twice", row.cancel_row, row.sale_row);
            return Err(Misfit::Unreadable(reason));
        }
        let (credit_line, unit_price) = self.credit(row)?;
        let (sale, line) = self.sale_line(row)?;
        let refund_amount = unit_price.saturating_mul(row.units);
        let part = Return {
            credit_row: row.cancel_row,
            sale_row: row.sale_row,
            credit_invoice: row.cancel_invoice.to_owned(),
            credit_line,
            line,
            quantity: row.units,
            refund_amount,
        };
        Ok((sale, part))
    }

    /// The number of the credit line and its price per unit, in minor units. Counts the row's units as credited.
    fn credit(&mut self, row: &Row<'_>) -> Result<(u32, Amount), Misfit> {
        let at_row = self.sales.credits.get(&row.cancel_row);
        let matching = at_row
            .filter(|credit| credit.invoice == row.cancel_invoice && credit.stock_code == row.stock_code);
        let Some(credit) = matching else {
            let detail = format!("row {} is not this credit line", row.cancel_row);
            return Err(unfit("credit_line_not_found", detail));
        };
        let unreadable =
            |reason| Misfit::Unreadable(format!("row {} of the sales: {reason}", row.cancel_row));
        let (units, unit_price) =
            (credit.units.clone().map_err(unreadable)?, credit.unit_price.clone().map_err(unreadable)?);
        let credited = self.credited.entry(row.cancel_row).or_default();
        *credited += u64::from(row.units);
        if *credited > units {
            let detail = format!("{credited} units are matched to a credit line of {units} units");
            return Err(unfit("credit_line_exceeded", detail));
        }
        Ok((credit.number, unit_price))
    }

    /// The order, and the number of its line.
    fn sale_line(&self, row: &Row<'_>) -> Result<(&'a Sale, u32), Misfit> {
        let orders = &self.sales.orders;
        let sale = orders.binary_search_by(|sale| sale.invoice.as_str().cmp(row.sale_invoice));
        let sale = sale.ok().map(|index| &orders[index]);
        let line = sale.and_then(|sale| {
            let mut lines = (1..).zip(&sale.lines);
            let found =
                lines.find(|(_, line)| line.row == row.sale_row && line.sku.as_str() == row.stock_code);
            found.map(|(number, _)| (sale, number))
        });
        line.ok_or_else(|| {
            unfit("sale_line_not_found", format!("row {} is not this sale line", row.sale_row))
        })
    }
}

fn unfit(code: &str, detail: String) -> Misfit {
    Misfit::Unfit(Refusal::new(code, detail))
}

#[cfg(test)]
mod tests;

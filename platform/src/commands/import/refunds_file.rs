//! Reads a file that says which sale line each credit line of a sales file gives money back for: a row per pair,
//! in CSV, plain or with zstd.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{self, Read},
    path::Path,
};

use domain::Amount;
use serde::Deserialize;

use super::{
    client::Refusal,
    sales_file::{Sale, SalesFile, open},
};

/// What the credits of a sales file send back.
#[derive(Debug)]
pub struct RefundsFile {
    /// By invoice number of the sale.
    pub orders: Vec<OrderReturns>,
    /// Rows that do not fit the sales file: where they stand, and why.
    pub unfit: Vec<(String, Refusal)>,
}

/// The returns of one order, in the order of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct OrderReturns {
    /// Of the sale.
    pub invoice: String,
    /// All units of the order come back.
    pub wholly: bool,
    pub returns: Vec<Return>,
}

/// Units of a sale line that a credit line takes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Return {
    /// The places of the two lines among the rows of the sales file: together they name this return.
    pub credit_row: u64,
    pub sale_row: u64,
    pub credit_invoice: String,
    /// The line's 1-based number in the order.
    pub line: u32,
    pub quantity: u32,
    /// Pence: the units at the price of the credit line, which need not be the price of the sale.
    pub refund_amount: Amount,
}

/// Why a file cannot be used. Nothing is sent before all of it was read.
#[derive(Debug, thiserror::Error)]
pub enum RefundsFileError {
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the file is not CSV of matched credit lines: {0}")]
    Csv(#[from] csv::Error),
    #[error("line {line}: {reason}")]
    Row { line: u64, reason: String },
}

/// A row as it stands in the file.
#[derive(Debug, Deserialize)]
struct Row<'a> {
    cancel_row: u64,
    cancel_invoice: &'a str,
    sale_row: u64,
    sale_invoice: &'a str,
    stock_code: &'a str,
    units: u32,
}

/// Reads a whole file about the credits of `sales`; its name ends in `.zst` where it is compressed.
pub fn read(path: &Path, sales: &SalesFile) -> Result<RefundsFile, RefundsFileError> {
    parse(open(path)?, sales)
}

/// Reads CSV.
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
                let what = format!("{} (row {}) of {}", row.cancel_invoice, row.cancel_row, row.sale_invoice);
                unfit.push((what, refusal));
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

/// Why a row is no return.
enum Misfit {
    /// It names what the sales file does not have.
    Unfit(Refusal),
    Unreadable(String),
}

/// The rows so far, and the file they are about.
struct Matches<'a> {
    sales: &'a SalesFile,
    /// Units by row of the credit line: one credit line may take back parts of several sale lines.
    credited: HashMap<u64, u64>,
    seen: HashSet<(u64, u64)>,
}

impl<'a> Matches<'a> {
    fn resolve(&mut self, row: &Row<'_>) -> Result<(&'a Sale, Return), Misfit> {
        if !self.seen.insert((row.cancel_row, row.sale_row)) {
            let reason = format!("rows {} and {} are matched before", row.cancel_row, row.sale_row);
            return Err(Misfit::Unreadable(reason));
        }
        let unit_price = self.credit(row)?;
        let (sale, line) = self.sale_line(row)?;
        let refund_amount = unit_price.saturating_mul(row.units);
        let part = Return {
            credit_row: row.cancel_row,
            sale_row: row.sale_row,
            credit_invoice: row.cancel_invoice.to_owned(),
            line,
            quantity: row.units,
            refund_amount,
        };
        Ok((sale, part))
    }

    /// What the credit line pays for a unit.
    fn credit(&mut self, row: &Row<'_>) -> Result<Amount, Misfit> {
        let credit = self.sales.credits.get(&row.cancel_row);
        let credit = credit
            .filter(|credit| credit.invoice == row.cancel_invoice && credit.stock_code == row.stock_code);
        let Some(credit) = credit else {
            let detail = format!("row {} is no such credit line", row.cancel_row);
            return Err(unfit("credit_line_not_found", detail));
        };
        let unreadable =
            |reason| Misfit::Unreadable(format!("row {} of the sales: {reason}", row.cancel_row));
        let (units, unit_price) =
            (credit.units().map_err(unreadable)?, credit.unit_price().map_err(unreadable)?);
        let credited = self.credited.entry(row.cancel_row).or_default();
        *credited += u64::from(row.units);
        if *credited > units {
            let detail = format!("{credited} units are matched to a credit line of {units}");
            return Err(unfit("credit_line_exceeded", detail));
        }
        Ok(unit_price)
    }

    /// The order and the number of its line.
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
        line.ok_or_else(|| unfit("sale_line_not_found", format!("row {} is no such sale line", row.sale_row)))
    }
}

fn unfit(code: &str, detail: String) -> Misfit {
    Misfit::Unfit(Refusal { code: code.to_owned(), detail })
}

#[cfg(test)]
mod tests;

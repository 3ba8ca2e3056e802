//! Reads a file of the Online Retail columns into orders: one row per order line, in CSV, plain or compressed
//! with zstd.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    path::Path,
};

use domain::{Amount, Sku, Timestamp};
use jiff::{civil, tz::TimeZone};
use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Time zone of the times in these files, which name none.
const SHOP_TIME_ZONE: &str = "Europe/London";

/// The content of a sales file.
#[derive(Debug)]
pub struct SalesFile {
    /// Identifies the content: the first 32 hex digits of the SHA-256 of the uncompressed CSV.
    pub id: String,
    /// Sorted by invoice number.
    pub orders: Vec<Sale>,
    /// Credit lines by row number in the file. The first row is 1.
    pub credits: HashMap<u64, CreditLine>,
    pub skipped: Skipped,
}

/// The sale lines of one invoice, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    pub invoice: String,
    /// `None` for a guest.
    pub customer_id: Option<String>,
    pub country: String,
    /// The earliest time of its lines.
    pub placed_at: Timestamp,
    pub lines: Vec<SaleLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleLine {
    /// Row number in the file; the first row is 1.
    pub row: u64,
    pub sku: Sku,
    pub quantity: u32,
    /// Pence.
    pub unit_price: Amount,
}

/// A line of an invoice `C…`. Its figures stay text: only matched lines are parsed, so a malformed line
/// without a match does not stop the import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditLine {
    pub invoice: String,
    pub stock_code: String,
    pub quantity: String,
    pub unit_price: String,
}

impl Sale {
    pub fn units(&self) -> u64 {
        self.lines.iter().map(|line| u64::from(line.quantity)).sum()
    }

    /// Pence. Saturates at the limit of [`Amount`]; the platform refuses such an order.
    pub fn gross(&self) -> Amount {
        self.lines
            .iter()
            .fold(Amount::ZERO, |sum, line| sum.saturating_add(line.unit_price.saturating_mul(line.quantity)))
    }
}

/// Rows that are not sale lines, counted by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Invoice number `C…`.
    pub credits: u64,
    /// Invoice number `A…`: bookkeeping.
    pub adjustments: u64,
    /// Zero or negative units: stock written off.
    pub write_offs: u64,
    /// Zero or negative price.
    pub unpriced: u64,
    /// An invoice number of any other form.
    pub unknown: u64,
}

/// Why a file cannot be imported. The whole file is read before the first request is sent.
#[derive(Debug, thiserror::Error)]
pub enum SalesFileError {
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the file is not a CSV file with the Online Retail columns: {0}")]
    Csv(#[from] csv::Error),
    #[error("line {line}: {reason}")]
    Row { line: u64, reason: String },
}

/// A row of the file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    invoice_no: &'a str,
    stock_code: &'a str,
    quantity: &'a str,
    invoice_date: &'a str,
    unit_price: &'a str,
    #[serde(rename = "CustomerID")]
    customer_id: Option<&'a str>,
    country: &'a str,
}

/// Reads a whole file. A name that ends in `.zst` is read as compressed.
pub fn read(path: &Path) -> Result<SalesFile, SalesFileError> {
    parse(open(path)?)
}

/// Opens a file and uncompresses it if needed.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    let is_compressed = path.extension().is_some_and(|extension| extension == "zst");
    Ok(if is_compressed { Box::new(zstd::Decoder::new(file)?) } else { Box::new(file) })
}

/// Parses CSV.
pub fn parse(content: impl Read) -> Result<SalesFile, SalesFileError> {
    let mut reader = csv::Reader::from_reader(Hashed { content, hash: Sha256::new() });
    let headers = reader.headers()?.clone();
    let mut record = csv::StringRecord::new();
    let time_zone = shop_time_zone()?;
    let mut invoices = Invoices { time_zone, by_number: BTreeMap::new(), credits: HashMap::new() };
    let mut skipped = Skipped::default();
    let mut number = 0;
    while reader.read_record(&mut record)? {
        number += 1;
        let row: Row<'_> = record.deserialize(Some(&headers))?;
        let line = record.position().map_or(0, csv::Position::line);
        let added = invoices.add(number, &row, &mut skipped);
        added.map_err(|reason| SalesFileError::Row { line, reason })?;
    }
    let mut id = String::new();
    for byte in &reader.into_inner().hash.finalize()[..16] {
        write!(id, "{byte:02x}").expect("writing to a string does not fail");
    }
    let Invoices { by_number, credits, .. } = invoices;
    Ok(SalesFile { id, orders: by_number.into_values().collect(), credits, skipped })
}

fn shop_time_zone() -> Result<TimeZone, io::Error> {
    TimeZone::get(SHOP_TIME_ZONE).map_err(io::Error::other)
}

/// The invoices read so far. The rows of one invoice may be scattered over the file.
struct Invoices {
    time_zone: TimeZone,
    by_number: BTreeMap<String, Sale>,
    credits: HashMap<u64, CreditLine>,
}

impl Invoices {
    /// Adds a sale line, or counts a row of another kind. The error says what is malformed. `number` is the
    /// row number.
    fn add(&mut self, number: u64, row: &Row<'_>, skipped: &mut Skipped) -> Result<(), String> {
        let invoice = row.invoice_no;
        let is_sales_invoice = invoice.len() == 6 && invoice.bytes().all(|byte| byte.is_ascii_digit());
        if !is_sales_invoice {
            match invoice.bytes().next() {
                Some(b'C') => {
                    skipped.credits += 1;
                    self.credits.insert(number, CreditLine::of(row));
                }
                Some(b'A') => skipped.adjustments += 1,
                _ => skipped.unknown += 1,
            }
            return Ok(());
        }
        let quantity: i64 = parsed("Quantity", row.quantity)?;
        let price = pounds(row.unit_price)?;
        if quantity <= 0 {
            skipped.write_offs += 1;
            return Ok(());
        }
        if price <= Decimal::ZERO {
            skipped.unpriced += 1;
            return Ok(());
        }
        let line = SaleLine {
            row: number,
            sku: Sku::new(row.stock_code)
                .map_err(|error| format!("StockCode {:?}: {error}", row.stock_code))?,
            quantity: quantity.try_into().map_err(|_| format!("Quantity {quantity} is too large"))?,
            unit_price: pence(price)?,
        };
        self.add_line(row, line)
    }

    fn add_line(&mut self, row: &Row<'_>, line: SaleLine) -> Result<(), String> {
        let placed_at = self.instant(row.invoice_date)?;
        match self.by_number.entry(row.invoice_no.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(Sale {
                    invoice: row.invoice_no.to_owned(),
                    customer_id: row.customer_id.map(str::to_owned),
                    country: row.country.to_owned(),
                    placed_at,
                    lines: vec![line],
                });
            }
            Entry::Occupied(entry) => {
                let sale = entry.into_mut();
                if sale.customer_id.as_deref() != row.customer_id || sale.country != row.country {
                    return Err(format!(
                        "invoice {} has another customer or country in an earlier row",
                        sale.invoice
                    ));
                }
                sale.placed_at = sale.placed_at.min(placed_at);
                sale.lines.push(line);
            }
        }
        Ok(())
    }

    /// The shop's wall-clock time as an instant. A time in the hour skipped in spring is read as winter time;
    /// a time in the repeated hour of autumn is read as the first of the two.
    fn instant(&self, wall_clock: &str) -> Result<Timestamp, String> {
        let time: civil::DateTime = parsed("InvoiceDate", wall_clock)?;
        let instant = self.time_zone.to_ambiguous_timestamp(time).compatible();
        instant.map_err(|error| format!("InvoiceDate {wall_clock:?}: {error}"))
    }
}

impl CreditLine {
    fn of(row: &Row<'_>) -> Self {
        Self {
            invoice: row.invoice_no.to_owned(),
            stock_code: row.stock_code.to_owned(),
            quantity: row.quantity.to_owned(),
            unit_price: row.unit_price.to_owned(),
        }
    }

    /// The returned units, as a positive number.
    pub fn units(&self) -> Result<u64, String> {
        let quantity: i64 = parsed("Quantity", &self.quantity)?;
        if quantity < 0 {
            Ok(quantity.unsigned_abs())
        } else {
            Err(format!("Quantity {quantity} is not negative, so the line is not a credit"))
        }
    }

    /// Pence per unit, rounded like the price of a sale.
    pub fn unit_price(&self) -> Result<Amount, String> {
        let price = pounds(&self.unit_price)?;
        if price < Decimal::ZERO { Err(format!("UnitPrice {price} is negative")) } else { pence(price) }
    }
}

fn pounds(price: &str) -> Result<Decimal, String> {
    Decimal::from_str_exact(price).map_err(|error| format!("UnitPrice {price:?}: {error}"))
}

/// Pounds as whole pence, rounded half up. A price of 0.001 makes the line free.
fn pence(price: Decimal) -> Result<Amount, String> {
    let exact = price.checked_mul(Decimal::ONE_HUNDRED);
    let rounded = exact.map(|pence| pence.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero));
    let amount = rounded.and_then(|pence| pence.to_i64()).and_then(|pence| Amount::new(pence).ok());
    amount.ok_or_else(|| format!("UnitPrice {price} is too large"))
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(column: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{column} {text:?}: {error}"))
}

/// A reader that hashes the bytes it reads.
struct Hashed<R> {
    content: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;

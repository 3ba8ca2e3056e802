//! Reads a sales file into orders: one row per order line.
//!
//! The rows of an invoice may be scattered over the file, so all orders are held: about 50 bytes for each row and 300
//! for each invoice. SKUs, customers and countries are held once each, other cells not at all.

mod layout;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use domain::{Amount, Currency, Sku, Timestamp, text};
use jiff::tz::TimeZone;
use rust_decimal::{Decimal, RoundingStrategy, prelude::ToPrimitive};

use self::layout::{Cells, Columns};
use super::{
    cells,
    columns::ColumnChoice,
    dates::{DateOrder, Dates, Instants},
    decoding::TextEncoding,
    keys::Source,
    numbers::{DecimalMark, Numbers},
    rejects::{Rejects, RowListError},
    table::{Dialect, Table, TableEnd, TableError, open},
};

/// Rows of one file, which bounds the memory of an import to about a gigabyte.
const ROWS_MAX: u64 = 10_000_000;

/// How to read a sales file. What is not given is found out.
#[derive(Debug, Clone)]
pub struct SalesFormat {
    pub dialect: Dialect,
    pub columns: Vec<ColumnChoice>,
    pub date_order: Option<DateOrder>,
    pub decimal: Option<DecimalMark>,
    pub time_zone: Option<TimeZone>,
    pub currency: Currency,
    /// True to keep credit lines, which only refunds need.
    pub keeps_credits: bool,
}

impl SalesFormat {
    /// Finds out everything but the currency, and leaves credits out.
    pub fn new(currency: Currency) -> Self {
        let (dialect, columns) = (Dialect::default(), Vec::new());
        let (date_order, decimal, time_zone) = (None, None, None);
        Self { dialect, columns, date_order, decimal, time_zone, currency, keeps_credits: false }
    }
}

/// Whose invoice numbers a file has. The header of the invoice column shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The Online Retail data. Six digits are a sale, `C…` is a credit, `A…` is bookkeeping.
    OnlineRetail,
    /// Any other file. Every invoice is a sale.
    Other,
}

impl Kind {
    /// The source if the operator names none.
    pub fn source(self) -> Source {
        Source::new(match self {
            Self::OnlineRetail => "online-retail",
            Self::Other => "sales",
        })
    }

    /// The time zone of times that name none, if the operator names none.
    fn time_zone(self) -> Result<TimeZone, io::Error> {
        match self {
            Self::OnlineRetail => TimeZone::get("Europe/London").map_err(io::Error::other),
            Self::Other => Ok(TimeZone::UTC),
        }
    }
}

/// The content of a sales file.
#[derive(Debug)]
pub struct SalesFile {
    /// Identifies the bytes: the first 32 hex digits of the SHA-256 of the uncompressed file.
    pub id: String,
    pub kind: Kind,
    pub encoding: TextEncoding,
    pub rows: u64,
    /// Cells with white space at an end.
    pub trimmed: u64,
    /// Sorted by invoice number. Without the invoices of rejected rows.
    pub orders: Vec<Sale>,
    /// Invoices with a rejected row, and how many of their rows are right.
    pub held_back: HeldBack,
    /// Credit lines by row number in the file. The first row is 1.
    pub credits: HashMap<u64, CreditLine>,
    pub skipped: Skipped,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldBack {
    pub invoices: u64,
    pub rows: u64,
}

/// The sale lines of one invoice, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sale {
    pub invoice: String,
    /// `None` for a guest.
    pub customer_id: Option<Arc<str>>,
    pub country: Option<Arc<str>>,
    /// The earliest time of its lines.
    pub placed_at: Timestamp,
    pub lines: Vec<SaleLine>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleLine {
    /// Row number in the file; the first row below the header is 1.
    pub row: u64,
    /// Line of the file on which the row begins.
    pub line: u64,
    pub sku: Sku,
    pub quantity: u32,
    /// Minor units.
    pub unit_price: Amount,
}

/// A line of an invoice `C…`. A malformed figure is an error only if the line is matched to a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditLine {
    pub invoice: String,
    /// Number of the line in its invoice; the first is 1.
    pub number: u32,
    pub stock_code: String,
    /// The returned units, as a positive number.
    pub units: Result<u64, String>,
    /// Minor units per unit, rounded like the price of a sale.
    pub unit_price: Result<Amount, String>,
}

impl Sale {
    pub fn units(&self) -> u64 {
        self.lines.iter().map(|line| u64::from(line.quantity)).sum()
    }

    /// Minor units. Saturates at the limit of [`Amount`]; the platform refuses such an order.
    pub fn gross(&self) -> Amount {
        self.lines
            .iter()
            .fold(Amount::ZERO, |sum, line| sum.saturating_add(line.unit_price.saturating_mul(line.quantity)))
    }

    /// The units of each SKU.
    pub fn units_by_sku(&self) -> BTreeMap<&Sku, u64> {
        let mut units = BTreeMap::new();
        for line in &self.lines {
            *units.entry(&line.sku).or_default() += u64::from(line.quantity);
        }
        units
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
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the file has more than {ROWS_MAX} rows: divide it")]
    TooManyRows,
    /// A column is missing, or dates or numbers can be read in two ways.
    #[error("{0}")]
    Unclear(String),
    #[error("prices in {0} cannot be read: it has no minor unit")]
    NoMinorUnit(Currency),
    #[error(transparent)]
    Rejects(#[from] RowListError),
}

/// Reads a whole file. A name that ends in `.zst` is read as compressed.
pub fn read(path: &Path, format: &SalesFormat, rejects: &mut Rejects) -> Result<SalesFile, SalesFileError> {
    parse(open(path)?, format, rejects)
}

/// Reads a table of sales. Rows that cannot be imported go to `rejects`, and their whole invoices are left out.
pub fn parse(
    content: impl Read,
    format: &SalesFormat,
    rejects: &mut Rejects,
) -> Result<SalesFile, SalesFileError> {
    let mut table = Table::new(content, format.dialect)?;
    let headers = table.headers().to_vec();
    rejects.set_headers(&headers);
    let mut sales = Sales::new(&headers, format)?;
    let mut rows = 0;
    while let Some(row) = table.next_row()? {
        if row.number > ROWS_MAX {
            return Err(SalesFileError::TooManyRows);
        }
        rows += 1;
        let cells = sales.columns.cells(&row);
        let added = row.check_width(&headers).and_then(|()| sales.add((row.number, row.line), &cells));
        if let Err(reason) = added {
            sales.hold_back(cells.invoice);
            rejects.add(row.line, &reason, row.cells())?;
        }
    }
    sales.finish(rows, table.finish())
}

/// The sales read so far.
struct Sales {
    kind: Kind,
    columns: Columns,
    dates: Dates,
    numbers: Numbers,
    /// Decimals of the currency.
    decimals: u32,
    drafts: BTreeMap<String, Draft>,
    skus: HashMap<Box<str>, Sku>,
    texts: HashSet<Arc<str>>,
    keeps_credits: bool,
    credits: HashMap<u64, CreditLine>,
    credit_lines: HashMap<String, u32>,
    skipped: Skipped,
}

/// Customer and country of an invoice.
type Head = (Option<Arc<str>>, Option<Arc<str>>);

/// An invoice whose rows may not be complete yet.
#[derive(Default)]
struct Draft {
    /// From its first row.
    head: Option<Head>,
    instants: Instants,
    lines: Vec<SaleLine>,
    is_held_back: bool,
}

impl Sales {
    fn new(headers: &[String], format: &SalesFormat) -> Result<Self, SalesFileError> {
        let columns = Columns::find(headers, &format.columns)?;
        let kind = if columns.invoice.is_known { Kind::OnlineRetail } else { Kind::Other };
        let time_zone = format.time_zone.clone().map_or_else(|| kind.time_zone(), Ok)?;
        let decimals = iso_currency::Currency::from_code(format.currency.as_str());
        let decimals = decimals.and_then(iso_currency::Currency::exponent);
        let decimals = decimals.ok_or(SalesFileError::NoMinorUnit(format.currency))?;
        Ok(Self {
            kind,
            columns,
            dates: Dates::new(time_zone, format.date_order),
            numbers: Numbers::new(format.decimal),
            decimals: decimals.into(),
            drafts: BTreeMap::new(),
            skus: HashMap::new(),
            texts: HashSet::new(),
            keeps_credits: format.keeps_credits,
            credits: HashMap::new(),
            credit_lines: HashMap::new(),
            skipped: Skipped::default(),
        })
    }

    /// Adds a sale line, or counts a row of another kind. The error says why the row cannot be imported.
    fn add(&mut self, (row, line): (u64, u64), cells: &Cells<'_>) -> Result<(), String> {
        let invoice = self.invoice(cells.invoice)?;
        if self.kind == Kind::OnlineRetail && !is_sales_invoice(invoice) {
            match invoice.bytes().next() {
                Some(b'C') => {
                    self.skipped.credits += 1;
                    self.add_credit((row, line), invoice, cells);
                }
                Some(b'A') => self.skipped.adjustments += 1,
                _ => self.skipped.unknown += 1,
            }
            return Ok(());
        }
        // The price comes first, because it nearly always shows the decimal mark.
        let price = self.price(line, cells.price)?;
        let quantity = self.quantity(line, cells.quantity)?;
        match self.kind {
            Kind::OnlineRetail if quantity <= 0 => {
                self.skipped.write_offs += 1;
                return Ok(());
            }
            Kind::OnlineRetail if price <= Decimal::ZERO => {
                self.skipped.unpriced += 1;
                return Ok(());
            }
            Kind::Other if quantity <= 0 => {
                return Err(self.columns.quantity.fault(format!("{quantity} is not above zero")));
            }
            Kind::Other if price < Decimal::ZERO => {
                return Err(self.columns.price.fault(format!("{price} is below zero")));
            }
            Kind::OnlineRetail | Kind::Other => {}
        }
        let too_large = || self.columns.quantity.fault(format!("{quantity} is too large"));
        let sale_line = SaleLine {
            row,
            line,
            quantity: quantity.try_into().map_err(|_| too_large())?,
            unit_price: self.minor_units(price)?,
            sku: self.sku(cells.sku)?,
        };
        let invoice = invoice.to_owned();
        self.add_line(invoice, line, cells, sale_line)
    }

    fn add_line(
        &mut self,
        invoice: String,
        line: u64,
        cells: &Cells<'_>,
        sale_line: SaleLine,
    ) -> Result<(), String> {
        let in_date = |reason| self.columns.date.fault(reason);
        let instants = self.dates.read(line, cells.date).map_err(in_date)?;
        let customer = match &self.columns.customer {
            Some(column) => cells::code(cells.customer).map_err(|reason| column.fault(reason))?,
            None => "",
        };
        let country = match &self.columns.country {
            Some(column) => cells::undamaged(cells.country).map_err(|reason| column.fault(reason))?,
            None => "",
        };
        let head = (self.text(cells::without_decimals(customer)), self.text(country));
        let draft = self.drafts.entry(invoice).or_default();
        if draft.head.as_ref().is_some_and(|earlier| *earlier != head) {
            return Err("the invoice has another customer or country in an earlier row".to_owned());
        }
        draft.head = Some(head);
        draft.instants = draft.instants.earlier(instants);
        draft.lines.push(sale_line);
        Ok(())
    }

    fn add_credit(&mut self, (row, line): (u64, u64), invoice: &str, cells: &Cells<'_>) {
        if !self.keeps_credits {
            return;
        }
        let unit_price = self.price(line, cells.price).and_then(|price| {
            if price < Decimal::ZERO {
                return Err(self.columns.price.fault(format!("{price} is negative")));
            }
            self.minor_units(price)
        });
        let units = self.quantity(line, cells.quantity).and_then(|quantity| {
            if quantity < 0 {
                return Ok(quantity.unsigned_abs());
            }
            let reason = format!("{quantity} is not negative, so the line is not a credit");
            Err(self.columns.quantity.fault(reason))
        });
        let number = self.credit_lines.entry(invoice.to_owned()).or_default();
        *number += 1;
        let (invoice, stock_code) = (invoice.to_owned(), cells.sku.to_owned());
        self.credits.insert(row, CreditLine { invoice, number: *number, stock_code, units, unit_price });
    }

    /// Leaves out the invoice of a rejected row, if it is known.
    fn hold_back(&mut self, invoice: &str) {
        if let Ok(invoice) = self.invoice(invoice)
            && (self.kind == Kind::Other || is_sales_invoice(invoice))
        {
            self.drafts.entry(invoice.to_owned()).or_default().is_held_back = true;
        }
    }

    fn invoice<'a>(&self, cell: &'a str) -> Result<&'a str, String> {
        let in_invoice = |reason| self.columns.invoice.fault(reason);
        let invoice = cells::without_decimals(cells::code(cell).map_err(in_invoice)?);
        text::check(invoice).map_err(|error| in_invoice(error.to_string()))?;
        Ok(invoice)
    }

    fn sku(&mut self, cell: &str) -> Result<Sku, String> {
        if let Some(sku) = self.skus.get(cell) {
            return Ok(sku.clone());
        }
        let in_sku = |reason| self.columns.sku.fault(reason);
        let code = cells::code(cell).map_err(in_sku)?;
        if cells::without_decimals(code) != code {
            return Err(in_sku(format!(
                "{code:?} has the decimals of a number: a program for tables may have changed it"
            )));
        }
        let sku = Sku::new(code).map_err(|error| in_sku(format!("{code:?}: {error}")))?;
        self.skus.insert(cell.into(), sku.clone());
        Ok(sku)
    }

    /// Whole units. `6.0` is 6.
    fn quantity(&mut self, line: u64, cell: &str) -> Result<i64, String> {
        let read = self.numbers.read(line, cell).and_then(|number| {
            let is_whole = number.fract().is_zero();
            number
                .to_i64()
                .filter(|_| is_whole)
                .ok_or_else(|| format!("{cell:?} is not a whole number of units"))
        });
        read.map_err(|reason| self.columns.quantity.fault(reason))
    }

    fn price(&mut self, line: u64, cell: &str) -> Result<Decimal, String> {
        self.numbers.read(line, cell).map_err(|reason| self.columns.price.fault(reason))
    }

    /// A price in whole minor units, rounded half up. A price of 0.001 makes the line free.
    fn minor_units(&self, price: Decimal) -> Result<Amount, String> {
        let exact = price.checked_mul(Decimal::from(10_u64.pow(self.decimals)));
        let rounded = exact
            .map(|minor_units| minor_units.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero));
        let amount = rounded.and_then(|minor_units| minor_units.to_i64());
        let amount = amount.and_then(|minor_units| Amount::new(minor_units).ok());
        amount.ok_or_else(|| self.columns.price.fault(format!("{price} is too large")))
    }

    /// A text that is held once. `None` if it is empty.
    fn text(&mut self, text: &str) -> Option<Arc<str>> {
        if text.is_empty() {
            return None;
        }
        if let Some(known) = self.texts.get(text) {
            return Some(Arc::clone(known));
        }
        let new: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&new));
        Some(new)
    }

    fn finish(self, rows: u64, end: TableEnd) -> Result<SalesFile, SalesFileError> {
        let order = self.dates.finish().map_err(SalesFileError::Unclear)?;
        self.numbers.finish().map_err(SalesFileError::Unclear)?;
        let mut held_back = HeldBack::default();
        let mut orders = Vec::new();
        for (invoice, draft) in self.drafts {
            let Draft { head, instants, mut lines, is_held_back } = draft;
            let (Some((customer_id, country)), Some(placed_at), false) =
                (head, instants.of(order), is_held_back)
            else {
                held_back.invoices += 1;
                held_back.rows += lines.len() as u64;
                continue;
            };
            lines.shrink_to_fit();
            orders.push(Sale { invoice, customer_id, country, placed_at, lines });
        }
        let TableEnd { id, encoding } = end;
        let (kind, credits, skipped) = (self.kind, self.credits, self.skipped);
        let trimmed = self.columns.trimmed;
        Ok(SalesFile { id, kind, encoding, rows, trimmed, orders, held_back, credits, skipped })
    }
}

fn is_sales_invoice(invoice: &str) -> bool {
    invoice.len() == 6 && invoice.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests;

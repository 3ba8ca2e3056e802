//! Where a sales file has its columns.

use super::{
    super::{
        columns::{self, Column, ColumnChoice, Found},
        table::{Row, TableError},
    },
    SalesFileError,
};

/// In the order of [`Columns`].
const COLUMNS: [Column; 7] = [
    Column { name: "invoice", headers: &["InvoiceNo", "Invoice"], can_be_missing: false },
    Column { name: "sku", headers: &["StockCode", "SKU"], can_be_missing: false },
    Column { name: "quantity", headers: &["Quantity"], can_be_missing: false },
    Column { name: "date", headers: &["InvoiceDate"], can_be_missing: false },
    Column { name: "price", headers: &["UnitPrice", "Price"], can_be_missing: false },
    Column { name: "customer", headers: &["CustomerID"], can_be_missing: true },
    Column { name: "country", headers: &["Country"], can_be_missing: true },
];

/// Where the columns are.
pub struct Columns {
    pub invoice: Found,
    pub sku: Found,
    pub quantity: Found,
    pub date: Found,
    pub price: Found,
    pub customer: Option<Found>,
    pub country: Option<Found>,
    /// Cells with white space at an end, so far.
    pub trimmed: u64,
}

/// The cells of a row without white space at their ends.
pub struct Cells<'a> {
    pub invoice: &'a str,
    pub sku: &'a str,
    pub quantity: &'a str,
    pub date: &'a str,
    pub price: &'a str,
    pub customer: &'a str,
    pub country: &'a str,
}

impl Columns {
    pub fn find(headers: &[String], choices: &[ColumnChoice]) -> Result<Self, SalesFileError> {
        let found = columns::find(&COLUMNS, headers, choices).map_err(SalesFileError::Unclear)?;
        let [Some(invoice), Some(sku), Some(quantity), Some(date), Some(price), customer, country] =
            <[Option<Found>; 7]>::try_from(found).map_err(|_| TableError::NoHeader)?
        else {
            return Err(TableError::NoHeader.into());
        };
        Ok(Self { invoice, sku, quantity, date, price, customer, country, trimmed: 0 })
    }

    pub fn cells<'a>(&mut self, row: &'a Row<'_>) -> Cells<'a> {
        let mut trimmed = 0;
        let mut cell = |index: usize| {
            let text = row.cell(index);
            let trim = text.trim();
            trimmed += u64::from(trim.len() < text.len());
            trim
        };
        let mut optional = |found: &Option<Found>| found.as_ref().map_or("", |found| cell(found.index));
        let (customer, country) = (optional(&self.customer), optional(&self.country));
        let cells = Cells {
            invoice: cell(self.invoice.index),
            sku: cell(self.sku.index),
            quantity: cell(self.quantity.index),
            date: cell(self.date.index),
            price: cell(self.price.index),
            customer,
            country,
        };
        self.trimmed += trimmed;
        cells
    }
}

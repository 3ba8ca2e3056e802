//! Lists as CSV (RFC 4180), for spreadsheets.

use http::{HeaderMap, header};
use serde::Serialize;
use serde_json::Value;

/// An item of a list that can be a row of a table.
pub trait TableRow: Serialize {
    /// The members of the item, in the order of the columns.
    const COLUMNS: &'static [&'static str];
}

/// Implements [`TableRow`] for an item by the names of its members.
#[macro_export]
macro_rules! table_row {
    ($row:ty: $($column:ident)*) => {
        impl $crate::http::tables::TableRow for $row {
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),*];
        }
    };
}

/// How a list is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    Csv,
}

impl Format {
    pub(super) const ALL: [Self; 2] = [Self::Json, Self::Csv];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }

    /// The format that a caller accepts: JSON, unless it accepts CSV and not JSON.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let types: Vec<&str> = accepted
            .flat_map(|value| value.split(','))
            .map(|range| range.split(';').next().unwrap_or_default().trim())
            .collect();
        let accepts = |wanted: &str| types.iter().any(|range| range.eq_ignore_ascii_case(wanted));
        if accepts("text/csv") && !accepts("application/json") { Self::Csv } else { Self::Json }
    }
}

/// A header row, and a row for each item. Members that are lists or objects are cells with JSON.
pub(super) fn csv<T: TableRow>(items: &[T]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(T::COLUMNS)?;
    for item in items {
        let item = serde_json::to_value(item).expect("items have string keys and no failing serializers");
        writer.write_record(T::COLUMNS.iter().map(|column| cell(&item[*column])))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => harmless(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A spreadsheet takes a text that begins with one of these characters as a formula, and runs it. An apostrophe before it
/// makes it a text.
fn harmless(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests;

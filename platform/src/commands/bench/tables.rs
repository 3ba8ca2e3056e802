//! Tables of figures, in one style for all parts.

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use indicatif::HumanCount;

use super::load::LoadSummary;

/// One line under the header and no other lines.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table whose first column is aligned left and whose other columns, mostly numbers, are aligned right.
pub fn table<const N: usize>(header: [String; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(cells(header));
    for row in rows {
        table.add_row(cells(row));
    }
    table
}

/// One row for each load.
pub fn load_table<'a>(name: &str, loads: impl IntoIterator<Item = (&'a str, &'a LoadSummary)>) -> Table {
    let header = [name, "per second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];
    let row = |(name, LoadSummary { rate_per_s, latency }): (&str, &LoadSummary)| {
        [
            name.to_owned(),
            rate(*rate_per_s),
            milliseconds(latency.p50_ms),
            milliseconds(latency.p90_ms),
            milliseconds(latency.p99_ms),
            milliseconds(latency.p99_9_ms),
            milliseconds(latency.max_ms),
        ]
    };
    table(header.map(str::to_owned), loads.into_iter().map(row))
}

/// One row for each figure.
pub fn fact_table<'a>(name: &str, facts: impl IntoIterator<Item = (&'a str, String)>) -> Table {
    let rows = facts.into_iter().map(|(name, value)| [name.to_owned(), value]);
    table([name.to_owned(), String::new()], rows)
}

fn cells<const N: usize>(texts: [String; N]) -> impl Iterator<Item = Cell> {
    (0..).zip(texts).map(|(column, text)| cell(column, &text))
}

fn cell(column: usize, text: &str) -> Cell {
    let alignment = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
    Cell::new(text).set_alignment(alignment)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive and small")]
pub fn rate(per_second: f64) -> String {
    HumanCount(per_second.round() as u64).to_string()
}

pub fn milliseconds(ms: f64) -> String {
    format!("{ms:.2}")
}

pub fn ratio(ratio: f64) -> String {
    format!("{ratio:.2}")
}

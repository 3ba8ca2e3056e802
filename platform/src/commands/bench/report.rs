//! What a benchmark prints: tables for people, and the same figures as JSON.

use std::fmt;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use indicatif::HumanCount;
use serde::Serialize;

use super::{
    hot::HotReport,
    load::LoadSummary,
    queries::{self, HistoryLatencies},
    read_back::{Agreement, Drain},
    rebuild::{self, RebuildReport},
    spread::SpreadReport,
};

/// Everything that one call of `orderly bench` has measured.
#[derive(Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub cores: usize,
    pub clients: usize,
    pub load_duration_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<SpreadReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot: Option<HotReport>,
    /// From the shortest history to the longest, as queries.
    pub rebuild: Vec<RebuildReport>,
    pub queries: Vec<HistoryLatencies>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, cores, clients, load_duration_s, spread, hot, rebuild, queries } = self;
        writeln!(f, "orderly {version}, {cores} cores, {clients} clients, loads of {load_duration_s} s")?;
        if let Some(spread) = spread {
            writeln!(f, "\n{}", spread.tables())?;
        }
        if let Some(hot) = hot {
            writeln!(f, "\n{}", hot.tables())?;
        }
        if !rebuild.is_empty() {
            writeln!(f, "\n{}", rebuild::tables(rebuild))?;
        }
        if !queries.is_empty() {
            writeln!(f, "\n{}", queries::tables(queries))?;
        }
        Ok(())
    }
}

/// A line under the header and no others.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table with its first column to the left and the others, numbers mostly, to the right.
pub fn table<const N: usize>(header: [String; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(cells(header));
    for row in rows {
        table.add_row(cells(row));
    }
    table
}

/// Loads as rows.
pub fn load_table<const N: usize>(name: &str, loads: [(&str, &LoadSummary); N]) -> Table {
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
    table(header.map(str::to_owned), loads.map(row))
}

/// Single figures as rows.
pub fn fact_table<const N: usize>(name: &str, facts: [(&str, String); N]) -> Table {
    table([name.to_owned(), String::new()], facts.map(|(name, value)| [name.to_owned(), value]))
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

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, gone after {:.0} ms", HumanCount(self.lag_events), self.drained_ms)
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "yes: {} orders, {} units reserved",
            HumanCount(self.orders_read as u64),
            HumanCount(self.units_reserved)
        )
    }
}

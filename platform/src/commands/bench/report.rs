//! The figures of one run: tables for people, and the same figures as JSON.

use std::fmt;

use serde::Serialize;

use super::{
    hot::HotReport,
    queries::{self, HistoryLatencies},
    rebuild::{self, RebuildReport},
    spread::SpreadReport,
};

/// The figures of one call of `orderly bench`.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    pub version: &'static str,
    pub cores: usize,
    pub clients: usize,
    pub load_duration_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<SpreadReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot: Option<HotReport>,
    /// From the shortest history to the longest, like `queries`.
    pub rebuild: Vec<RebuildReport>,
    pub queries: Vec<HistoryLatencies>,
}

impl fmt::Display for BenchReport {
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

//! Logging to standard error: one readable line or one JSON object per event.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The client of EventStoreDB reports each append that a refused one leaves without an answer as an error. The adapter
/// sends such an append again.
const SILENT: &str = "eventstore::batch=off";

/// Checks the syntax of a filter.
pub fn check(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(format!("{SILENT},{filter}")).map_err(|error| error.to_string())
}

/// Installs the log of the process. `filter` has the syntax of `RUST_LOG`, for example
/// `info,command_api=debug`.
pub fn init(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = parse(filter)?;
    let colours = std::io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    }
    .map_err(|error| error.to_string())
}

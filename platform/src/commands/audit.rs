//! `orderly audit`: shows events and earlier states from the log, exports them, and checks the read models.
//!
//! Reads only. Works beside a running server.

mod export;
mod history;
mod output;
mod state;
mod totals;

use clap::Subcommand;
use indicatif::HumanCount;
use infra::event_store::sqlite;
use projectors::replay::ReadProgress;
use tokio::task::block_in_place;

use self::output::Output;
use super::Failure;
use crate::{
    config::{EventStoreUrl, Settings},
    progress::ProgressDisplay,
    stores::{self, Views},
};

/// Events read from the store at a time.
const PAGE_EVENTS: usize = 1_000;

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Print every event of a stream, a SKU, a customer, a correlation or an actor with its time, command, cause and
    /// actor.
    History(history::HistoryOptions),
    /// Print the state of a stream as JSON, now or at an earlier time.
    State(state::StateOptions),
    /// Print the sums over all orders, payments and SKUs as JSON, now or at earlier times.
    Totals(totals::TotalsOptions),
    /// Write events, orders, payments and the stock ledger of a period into a new directory, with sums and checksums.
    Export(export::ExportOptions),
    /// Fold the whole log and compare the result with every row of the read models.
    Verify,
}

pub async fn run(settings: &Settings, command: AuditCommand) -> Result<(), Failure> {
    let log = async || stores::open_log(&settings.event_store()).await;
    match command {
        AuditCommand::History(options) => history::history(log().await?, options).await,
        AuditCommand::State(options) => state::state(log().await?, options).await,
        AuditCommand::Totals(options) => {
            let workspace = stores::workspace(&settings.read_models());
            totals::totals(&*log().await?, &workspace, options).await
        }
        AuditCommand::Export(options) => export::export(&*log().await?, options).await,
        AuditCommand::Verify => verify(settings).await,
    }
}

/// Checks the file of an embedded event store, and prints what is damaged. Returns the number of findings. A
/// server checks its own files.
fn check_event_store(settings: &Settings, output: &mut Output) -> Result<u64, Failure> {
    let path = match settings.event_store() {
        EventStoreUrl::Sqlite(path) => path,
        EventStoreUrl::EventStoreDb(_) => return Ok(0),
    };
    let progress = ProgressDisplay::start("events checked", 0);
    let report = sqlite::check(&path, |done, total| progress.set(done, total))?;
    drop(progress);
    for finding in &report.findings {
        output.line(finding)?;
    }
    if report.unchecked > 0 {
        output.line(format_args!(
            "{} events of an earlier build have no checksum",
            HumanCount(report.unchecked)
        ))?;
    }
    Ok(report.findings_total)
}

/// Prints every difference, and fails if there is one.
pub(super) async fn verify(settings: &Settings) -> Result<(), Failure> {
    let mut output = Output::new();
    let damages = block_in_place(|| check_event_store(settings, &mut output))?;
    let log = stores::open_log(&settings.event_store()).await?;
    let views = Views::open(&settings.read_models()).await?;
    let until =
        views.projections.checkpoints().await?.iter().filter_map(|row| row.log_position).max().unwrap_or(0);
    let progress = ProgressDisplay::start("events read", 0);
    let report = |read: ReadProgress| progress.set(read.events, read.events_until(until));
    let layout = stores::source_layout(&settings.bus, &log);
    let workspace = stores::workspace(&settings.read_models());
    let found =
        projectors::verify::verify(log.as_ref(), &layout, views.audit.as_ref(), &workspace, &report).await?;
    drop(progress);
    for difference in &found.described {
        output.line(difference)?;
    }
    let position = found.position.unwrap_or(0);
    for row in &found.parked {
        // Leaves out the reason, which an earlier program may have taken from a panic.
        let (stream, revision) = (&row.stream, row.revision);
        output.line(format_args!(
            "{stream}: parked at revision {revision}; later events are not in the rows"
        ))?;
    }
    let rows = HumanCount(found.rows);
    output.line(format_args!("{rows} rows compared with the log up to position {position}"))?;
    output.finish()?;
    let mut faults = Vec::new();
    if damages > 0 {
        let count = HumanCount(damages);
        faults.push(format!(
            "the event store is damaged ({count} findings): restore a backup, as docs/operating.md describes"
        ));
    }
    if found.differences > 0 {
        let count = HumanCount(found.differences);
        faults.push(format!(
            "{count} rows of the read models differ from the log: run `orderly projections rebuild`"
        ));
    }
    if !found.parked.is_empty() {
        let count = found.parked.len();
        faults.push(format!("{count} streams are parked: `orderly projections list` shows the reasons"));
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::new(faults.join("; "))) }
}

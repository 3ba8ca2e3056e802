//! `orderly audit`: shows events and earlier states from the log, exports them, and checks the read models.
//!
//! Reads only. Works beside a running server.

pub mod export;
mod history;
mod output;
mod state;
pub mod totals;
pub mod verify;

use clap::Subcommand;
use indicatif::HumanCount;
use infra::event_store::sqlite;
use tokio::task::block_in_place;

use self::output::Output;
use super::Failure;
use crate::{
    config::{EventStoreUrl, Settings},
    progress::ProgressDisplay,
    stores,
};

/// Events read from the store at a time.
const PAGE_EVENTS: usize = 1_000;

/// Gets the number of events that were read, and of all events to read.
pub type Report<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

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
    let (event_store, read_models) = (settings.event_store(), settings.read_models());
    let progress = ProgressDisplay::start("events read", 0);
    let report = |done, total| progress.set(done, total);
    let workspace = stores::workspace(&read_models);
    let found = verify::compare(&event_store, &settings.bus, &read_models, &workspace, &report).await?;
    drop(progress);
    let told = verify::Told::of(&found);
    for finding in &told.findings {
        output.line(finding)?;
    }
    output.line(&told.summary)?;
    output.finish()?;
    let mut faults = Vec::new();
    if damages > 0 {
        let count = HumanCount(damages);
        faults.push(format!(
            "the event store is damaged ({count} findings): restore a backup, as docs/operating.md describes"
        ));
    }
    faults.extend(told.faults);
    if faults.is_empty() { Ok(()) } else { Err(Failure::new(faults.join("; "))) }
}

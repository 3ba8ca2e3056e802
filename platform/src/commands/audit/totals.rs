//! `orderly audit totals`: sums over all orders, payments and SKUs, now or at earlier times.

use clap::Args;
use domain::{Position, Timestamp};
use infra::event_store::EventLog;
use projectors::{
    as_of::{Faults, Totals, totals_at},
    by_stream::EventsByStream,
    replay::{ReadProgress, Workspace},
};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::{Failure, Output};
use crate::progress::ProgressDisplay;

#[derive(Debug, Args)]
pub struct TotalsOptions {
    /// Count only events recorded up to this time. Repeat it for several times: the log is read once.
    #[arg(long, value_name = "TIME")]
    at: Vec<Timestamp>,
}

/// The totals of the log.
#[derive(Serialize)]
struct Report {
    /// Number of events that the last totals count.
    events: u64,
    position: Option<Position>,
    totals: Vec<TotalsAt>,
}

#[derive(Serialize)]
struct TotalsAt {
    /// `None`: with every event.
    at: Option<Timestamp>,
    #[serde(flatten)]
    totals: Totals,
}

pub(super) async fn totals(
    log: &dyn EventLog,
    workspace: &Workspace,
    TotalsOptions { at: mut instants }: TotalsOptions,
) -> Result<(), Failure> {
    let is_now = instants.is_empty();
    if is_now {
        instants.push(Timestamp::MAX);
    }
    instants.sort_unstable();
    instants.dedup();
    let last = instants[instants.len() - 1];
    let mut events = read(log, after(last), workspace, |_| Ok(())).await?;
    let (count, position) = (events.events, events.last);
    let folding = spawn_blocking(move || totals_at(&mut events, &instants).map(|found| (instants, found)));
    let (instants, (totals, faults)) = folding.await??;
    let at = |instant| (!is_now).then_some(instant);
    let totals =
        instants.into_iter().zip(totals).map(|(instant, totals)| TotalsAt { at: at(instant), totals });
    let report = Report { events: count, position, totals: totals.collect() };
    let mut output = Output::new();
    output.line(serde_json::to_string_pretty(&report)?)?;
    output.finish()?;
    refuse(&faults)
}

/// The end of a range that includes an instant. The store counts microseconds.
fn after(instant: Timestamp) -> Timestamp {
    instant.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(Timestamp::MAX)
}

/// Reads the events that were recorded before `end`, and shows the progress.
pub(super) async fn read(
    log: &dyn EventLog,
    end: Timestamp,
    workspace: &Workspace,
    take: impl FnMut(&domain::RecordedEvent) -> std::io::Result<()> + Send + 'static,
) -> Result<EventsByStream, Failure> {
    let until = log.last_position().await?.unwrap_or(0);
    let progress = ProgressDisplay::start("events read", 0);
    let report = |read: ReadProgress| progress.set(read.events, read.events_until(until));
    Ok(EventsByStream::read(log, end, workspace, &report, take).await?)
}

/// Fails if the sums lack events.
pub(super) fn refuse(faults: &Faults) -> Result<(), Failure> {
    if faults.count == 0 {
        return Ok(());
    }
    let first = faults.described.first().map(String::as_str).unwrap_or_default();
    let count = faults.count;
    Err(Failure::new(format!(
        "the events of {count} streams cannot all be folded, and are left out: {first}"
    )))
}

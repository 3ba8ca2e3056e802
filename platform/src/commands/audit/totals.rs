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

/// Totals at several instants.
#[derive(Debug)]
pub struct Found {
    /// Number of events that the last totals count.
    pub events: u64,
    pub position: Option<Position>,
    /// One for each instant.
    pub totals: Vec<Totals>,
    pub faults: Faults,
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
    let progress = ProgressDisplay::start("events read", 0);
    let found = find(log, workspace, instants.clone(), &|done, total| progress.set(done, total)).await?;
    drop(progress);
    let at = |instant| (!is_now).then_some(instant);
    let totals =
        instants.into_iter().zip(found.totals).map(|(instant, totals)| TotalsAt { at: at(instant), totals });
    let report = Report { events: found.events, position: found.position, totals: totals.collect() };
    let mut output = Output::new();
    output.line(serde_json::to_string_pretty(&report)?)?;
    output.finish()?;
    refuse(&found.faults)
}

/// Reads the log once. `instants` ascend, and there is at least one.
pub async fn find(
    log: &dyn EventLog,
    workspace: &Workspace,
    instants: Vec<Timestamp>,
    report: super::Report<'_>,
) -> Result<Found, Failure> {
    let last = instants.last().copied().unwrap_or(Timestamp::MAX);
    let mut read = read(log, after(last), workspace, report, |_| Ok(())).await?;
    let (events, position) = (read.events, read.last);
    let (totals, faults) = spawn_blocking(move || totals_at(&mut read, &instants)).await??;
    Ok(Found { events, position, totals, faults })
}

/// The end of a range that includes an instant. The store counts microseconds.
fn after(instant: Timestamp) -> Timestamp {
    instant.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(Timestamp::MAX)
}

/// Reads the events that were recorded before `end`.
pub(super) async fn read(
    log: &dyn EventLog,
    end: Timestamp,
    workspace: &Workspace,
    report: super::Report<'_>,
    take: impl FnMut(&domain::RecordedEvent) -> std::io::Result<()> + Send + 'static,
) -> Result<EventsByStream, Failure> {
    let until = log.last_position().await?.unwrap_or(0);
    let progress = |read: ReadProgress| report(read.events, read.events_until(until));
    Ok(EventsByStream::read(log, end, workspace, &progress, take).await?)
}

/// Fails if the sums lack events.
pub(super) fn refuse(faults: &Faults) -> Result<(), Failure> {
    told(faults).map_or(Ok(()), |fault| Err(Failure::new(fault)))
}

/// What the sums lack.
pub fn told(faults: &Faults) -> Option<String> {
    let first = faults.described.first().map(String::as_str).unwrap_or_default();
    let count = faults.count;
    (count > 0)
        .then(|| format!("the events of {count} streams cannot all be folded, and are left out: {first}"))
}

//! Compares the read models with the log, and says what differs.

use indicatif::HumanCount;
use projectors::{
    replay::{ReadProgress, Workspace},
    verify::Verification,
};

use super::{Failure, Report};
use crate::{
    config::{BusUrl, EventStoreUrl, ReadModelsUrl},
    stores::{self, Views},
};

/// Folds the whole log and compares the result with every row.
pub async fn compare(
    event_store: &EventStoreUrl,
    bus: &BusUrl,
    read_models: &ReadModelsUrl,
    workspace: &Workspace,
    report: Report<'_>,
) -> Result<Verification, Failure> {
    let log = stores::open_log(event_store).await?;
    let views = Views::open(read_models).await?;
    let until =
        views.projections.checkpoints().await?.iter().filter_map(|row| row.log_position).max().unwrap_or(0);
    let progress = |read: ReadProgress| report(read.events, read.events_until(until));
    let layout = stores::source_layout(bus, &log);
    let comparing =
        projectors::verify::verify(log.as_ref(), &layout, views.audit.as_ref(), workspace, &progress);
    Ok(comparing.await?)
}

/// A result in words.
#[derive(Debug)]
pub struct Told {
    /// One for each difference and each parked stream.
    pub findings: Vec<String>,
    pub summary: String,
    /// What is wrong, and what to do.
    pub faults: Vec<String>,
}

impl Told {
    pub fn of(found: &Verification) -> Self {
        let mut findings: Vec<String> = found.described.iter().map(ToString::to_string).collect();
        // Leaves out the reason, which an earlier program may have taken from a panic.
        findings.extend(found.parked.iter().map(|row| {
            let (stream, revision) = (&row.stream, row.revision);
            format!("{stream}: parked at revision {revision}; later events are not in the rows")
        }));
        let (rows, position) = (HumanCount(found.rows), found.position.unwrap_or(0));
        let summary = format!("{rows} rows compared with the log up to position {position}");
        let mut faults = Vec::new();
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
        Self { findings, summary, faults }
    }
}

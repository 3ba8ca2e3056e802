//! `orderly projections`: shows how far the read models are, rebuilds them, and retries parked streams.
//!
//! Works beside a running server.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use clap::Subcommand;
use domain::{Position, StreamName};
use indicatif::HumanCount;
use infra::event_source::Partition;
use projectors::{
    rebuild::{self, RebuildStep},
    retry::{self, Retried},
};

use super::{Failure, empty_table};
use crate::{
    config::Settings,
    progress::ProgressDisplay,
    stores::{self, Views, WritableViews},
};

/// Time for a running server to start a requested retry. After it, this process retries.
const RETRY_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Subcommand)]
pub enum ProjectionsCommand {
    /// Print the position of each projection, and the parked streams.
    List,
    /// Rebuild all read models from the event log.
    Rebuild,
    /// Apply the events of a parked stream again.
    Retry {
        /// `stock-SKU`, `order-UUID` or `payment-UUID`.
        stream: StreamName,
    },
}

pub async fn run(settings: &Settings, command: ProjectionsCommand) -> Result<(), Failure> {
    match command {
        ProjectionsCommand::List => list(settings).await,
        ProjectionsCommand::Rebuild => rebuild(settings).await,
        ProjectionsCommand::Retry { stream } => retry(settings, &stream).await,
    }
}

async fn list(settings: &Settings) -> Result<(), Failure> {
    let queries = Views::open(&settings.read_models()).await?.projections;
    let checkpoints = queries.checkpoints().await?;
    let parked = queries.parked_streams().await?;
    // Reads the ends last, so no projection appears ahead of its source.
    let log = stores::open_log(&settings.event_store()).await?;
    let layout = stores::source_layout(&settings.bus, &log);
    let ends: HashMap<Partition, Option<Position>> =
        layout.partitions().into_iter().zip(layout.last_positions().await?).collect();

    let header = ["PROJECTION", "PARTITION", "POSITION", "BEHIND", "LOG POSITION", "UPDATED"];
    let mut projection_table = empty_table(&header);
    for row in checkpoints {
        let behind = ends.get(&row.partition).map(|end| row.behind(*end).to_string());
        let updated = row.updated_at.map(|time| format!("{time:.3}")).unwrap_or_default();
        projection_table.add_row([
            row.projection,
            row.partition.0,
            number(row.position),
            behind.unwrap_or_else(|| "?".to_owned()),
            number(row.log_position),
            updated,
        ]);
    }
    println!("{projection_table}");
    if parked.is_empty() {
        println!("\nNo stream is parked.");
        return Ok(());
    }
    let mut parked_table = empty_table(&["PARKED STREAM", "PROJECTION", "REVISION", "SINCE", "REASON"]);
    for row in parked {
        let (stream, revision) = (row.stream.to_string(), row.revision.to_string());
        let since = format!("{:.3}", row.parked_at);
        parked_table.add_row([stream, row.projection.to_string(), revision, since, row.reason]);
    }
    println!("\n{parked_table}");
    Ok(())
}

fn number(position: Option<Position>) -> String {
    position.map_or_else(|| "-".to_owned(), |position| position.to_string())
}

/// Rebuilds all read models and prints the result.
pub(super) async fn rebuild(settings: &Settings) -> Result<(), Failure> {
    let log = stores::open_log(&settings.event_store()).await?;
    let layout = stores::source_layout(&settings.bus, &log);
    let target = stores::open_rebuild(&settings.read_models()).await?;
    let head = log.last_position().await?.unwrap_or(0);
    let progress = ProgressDisplay::start("events read", 0);
    let started = Instant::now();
    let report = |step| match step {
        RebuildStep::Reading(read) => progress.set(read.events, read.events_until(head)),
        RebuildStep::Folding => progress.step("folding the events"),
        RebuildStep::Writing => progress.step("writing the rows"),
        RebuildStep::Verifying => progress.step("comparing the rows with the log"),
        RebuildStep::Publishing => progress.step("swapping the rows in"),
    };
    let workspace = stores::workspace(&settings.read_models());
    let rebuilt = rebuild::rebuild(log.as_ref(), &layout, target.as_ref(), &workspace, &report).await?;
    drop(progress);
    println!(
        "{} rows rebuilt from the log up to position {} in {:.1} s",
        HumanCount(rebuilt.rows),
        rebuilt.position.unwrap_or(0),
        started.elapsed().as_secs_f64()
    );
    match rebuilt.parked {
        0 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} streams are parked; `orderly projections list` shows the reasons"
        ))),
    }
}

async fn retry(settings: &Settings, stream: &StreamName) -> Result<(), Failure> {
    let log = stores::open_log(&settings.event_store()).await?;
    let WritableViews { models, .. } = WritableViews::open(&settings.read_models()).await?;
    match retry::retry(log.as_ref(), models.as_ref(), stream, RETRY_PATIENCE).await? {
        Retried::Resumed => {
            println!("{stream} has caught up");
            Ok(())
        }
        Retried::NotParked => Err(Failure::new(format!("{stream} is not parked"))),
        Retried::StillParked(row) => Err(Failure::new(format!(
            "{stream} is still parked at revision {}: {}",
            row.revision, row.reason
        ))),
    }
}

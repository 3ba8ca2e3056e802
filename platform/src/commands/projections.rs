//! `orderly projections`: how far the read models are, and what to do when they are not as they should be.
//!
//! Works beside a running server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Subcommand;
use comfy_table::{Table, presets::NOTHING};
use domain::StreamName;
use indicatif::HumanCount;
use infra::{
    event_source::layout::{SourceLayout, WholeLog},
    read_models::{
        Queries,
        sqlite::{SqliteReadModels, SqliteRebuild},
    },
};
use projectors::{
    rebuild::{self, Step},
    retry::{self, Retried},
};

use super::{Failure, open_log, open_queries};
use crate::{
    config::{ReadModelsUrl, Settings},
    progress::Progress,
};

/// How long a running server has to take up a retry before this process does it itself.
const RETRY_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Subcommand)]
pub enum ProjectionsCommand {
    /// How far each projection is, and which streams are parked.
    List,
    /// Make all read models anew from the event log.
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
    let read_models = open_queries(settings)?;
    let checkpoints = read_models.checkpoints().await?;
    let parked = read_models.parked_streams().await?;
    // Read last, so that nothing seems to be ahead of the log.
    let head = open_log(settings)?.last_position().await?.unwrap_or(0);

    let mut table = table(&["PROJECTION", "PARTITION", "POSITION", "BEHIND", "UPDATED"]);
    for row in checkpoints {
        let position = row.position.unwrap_or(0);
        let updated = row.updated_at.map(|time| format!("{time:.3}")).unwrap_or_default();
        let (position, behind) = (position.to_string(), head.saturating_sub(position).to_string());
        table.add_row([row.projection, row.partition.0, position, behind, updated]);
    }
    println!("{table}");
    if parked.is_empty() {
        println!("\nNo stream is parked.");
        return Ok(());
    }
    let mut table = self::table(&["PARKED STREAM", "PROJECTION", "REVISION", "SINCE", "REASON"]);
    for row in parked {
        let (stream, revision) = (row.stream.to_string(), row.revision.to_string());
        let since = format!("{:.3}", row.parked_at);
        table.add_row([stream, row.projection.to_string(), revision, since, row.reason]);
    }
    println!("\n{table}");
    Ok(())
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

async fn rebuild(settings: &Settings) -> Result<(), Failure> {
    let ReadModelsUrl::Sqlite(path) = settings.read_models();
    let log = open_log(settings)?;
    let layout: Arc<dyn SourceLayout> = Arc::new(WholeLog(Arc::clone(&log)));
    let head = log.last_position().await?.unwrap_or(0);
    let progress = Progress::start("events folded", head);
    let started = Instant::now();
    let report = |step| match step {
        Step::Folding(folded) => progress.set(folded.position, head.max(folded.position)),
        Step::Writing => progress.step("writing the rows"),
        Step::Verifying => progress.step("comparing what was written"),
        Step::Publishing => progress.step("putting the rows in place"),
    };
    let rebuilt = rebuild::rebuild(log.as_ref(), &layout, &SqliteRebuild::new(&path), &report).await?;
    drop(progress);
    println!(
        "{} rows made from the log up to position {} in {:.1} s",
        HumanCount(rebuilt.rows),
        rebuilt.position.unwrap_or(0),
        started.elapsed().as_secs_f64()
    );
    match rebuilt.parked {
        0 => Ok(()),
        count => {
            Err(Failure::new(format!("{count} streams are parked; `orderly projections list` says why")))
        }
    }
}

async fn retry(settings: &Settings, stream: &StreamName) -> Result<(), Failure> {
    let ReadModelsUrl::Sqlite(path) = settings.read_models();
    let read_models = SqliteReadModels::open(&path)?;
    match retry::retry(open_log(settings)?.as_ref(), &read_models, stream, RETRY_PATIENCE).await? {
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

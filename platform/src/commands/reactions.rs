//! `orderly reactions`: lists the parked reactions of the process manager, and has them run again.
//!
//! Works beside a running server. Only a process manager runs reactions, so a retry is a request to it.

use std::time::Duration;

use clap::Subcommand;
use domain::Timestamp;
use infra::operations::parked::{ParkedReaction, ParkedReactions};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Failure, empty_table};
use crate::{config::Settings, stores};

/// Time for a running process manager to make a requested retry.
const RETRY_PATIENCE: Duration = Duration::from_secs(5);
const RETRY_POLLED_EVERY: Duration = Duration::from_millis(100);
const PAGE: usize = 1_000;

#[derive(Debug, Subcommand)]
pub enum ReactionsCommand {
    /// Print the parked reactions with their reasons.
    List,
    /// Run parked reactions again.
    Retry {
        /// Orders, payments, receipts or exchanges, or events whose reaction is parked.
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<Uuid>,
        /// Run all parked reactions again.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

pub async fn run(settings: &Settings, command: ReactionsCommand) -> Result<(), Failure> {
    let store_id = stores::open_log(&settings.event_store()).await?.store_id();
    let parked = stores::open_operations(&settings.read_models(), None, &settings.data_dir)?.parked;
    match command {
        ReactionsCommand::List => list(&*parked, store_id).await,
        ReactionsCommand::Retry { all: true, .. } => retry_all(&*parked, store_id).await,
        ReactionsCommand::Retry { ids, .. } => {
            let mut open = Vec::new();
            for id in ids {
                if let Err(failure) = retry(&*parked, store_id, id).await? {
                    open.push(failure);
                }
            }
            if open.is_empty() { Ok(()) } else { Err(Failure::new(open.join("\n"))) }
        }
    }
}

async fn list(parked: &dyn ParkedReactions, store_id: Uuid) -> Result<(), Failure> {
    let mut table =
        empty_table(&["PARKED", "EVENT", "TYPE", "REVISIONS", "SINCE", "ATTEMPTS", "NEXT ATTEMPT", "REASON"]);
    let (mut after, mut is_empty) = (None, true);
    loop {
        let page = parked.list(store_id, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        (after, is_empty) = (Some(last.stream.clone()), false);
        for entry in page {
            table.add_row([
                entry.stream.to_string(),
                entry.event_id.to_string(),
                entry.event_type,
                format!("{} to {}", entry.revision, entry.last_revision),
                format!("{:.3}", entry.parked_at),
                entry.attempts.to_string(),
                format!("{:.3}", entry.next_attempt_at),
                entry.reason,
            ]);
        }
    }
    if is_empty {
        println!("No reaction is parked.");
    } else {
        println!("{table}");
    }
    Ok(())
}

async fn retry_all(parked: &dyn ParkedReactions, store_id: Uuid) -> Result<(), Failure> {
    let requested = parked.request_retry(store_id, None, Timestamp::now()).await?;
    println!("{requested} retries are requested; `orderly reactions list` shows what is still parked");
    Ok(())
}

/// Requests a retry and waits for its outcome. The inner error says why the reaction is still parked.
async fn retry(
    parked: &dyn ParkedReactions,
    store_id: Uuid,
    id: Uuid,
) -> Result<Result<(), String>, Failure> {
    let Some(found) = parked.find(store_id, id).await? else {
        return Ok(Err(format!("{id} has no parked reaction")));
    };
    let stream = &found.stream;
    parked.request_retry(store_id, Some(stream), Timestamp::now()).await?;
    let give_up = Instant::now() + RETRY_PATIENCE;
    loop {
        // By the stream: the entry may go on to a later event.
        match parked.find(store_id, found.stream_id()).await? {
            None => {
                println!("{stream} has caught up");
                return Ok(Ok(()));
            }
            Some(entry) if !entry.retry_requested => {
                let ParkedReaction { revision, reason, .. } = entry;
                return Ok(Err(format!("{stream} is still parked at revision {revision}: {reason}")));
            }
            Some(_) if Instant::now() >= give_up => {
                let seconds = RETRY_PATIENCE.as_secs();
                return Ok(Err(format!(
                    "{stream} is still parked: no process manager has made the retry within {seconds} s; it \
                     makes the retry when it runs"
                )));
            }
            Some(_) => sleep(RETRY_POLLED_EVERY).await,
        }
    }
}

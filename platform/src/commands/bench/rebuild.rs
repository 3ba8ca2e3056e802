//! `rebuild`: how fast `orderly projections rebuild` makes all read models anew, beside merely reading the log.

use std::{path::PathBuf, time::Instant};

use indicatif::HumanCount;
use infra::event_store::{EventLog, sqlite::SqliteEventLog};
use serde::Serialize;

use super::{
    dataset::Dataset,
    load::per_second,
    report::{rate, ratio, table},
    server::run_to_end,
};
use crate::commands::Failure;

const PAGE_EVENTS: usize = 5_000;

#[derive(Debug, Serialize)]
pub struct RebuildReport {
    pub orders: u64,
    pub events: u64,
    pub log_read_events_per_s: f64,
    /// Of the whole command, from its start to its end.
    pub rebuild_events_per_s: f64,
    pub ratio_to_log_read: f64,
}

/// Makes the read models of `dataset`.
pub async fn run(dataset: &Dataset) -> Result<RebuildReport, Failure> {
    let Dataset { directory, orders, events, .. } = dataset;
    eprintln!("rebuild: reading {} events", HumanCount(*events));
    let log_read_events_per_s = read_log(directory.path().join("events.db"), *events).await?;
    eprintln!("rebuild: rebuilding the read models of {} orders", HumanCount(*orders));
    let began = Instant::now();
    run_to_end(&["projections", "rebuild"], directory.path()).await?;
    let rebuild_events_per_s = per_second(*events, began.elapsed());
    Ok(RebuildReport {
        orders: *orders,
        events: *events,
        log_read_events_per_s,
        rebuild_events_per_s,
        ratio_to_log_read: rebuild_events_per_s / log_read_events_per_s,
    })
}

async fn read_log(path: PathBuf, events: u64) -> Result<f64, Failure> {
    let log = tokio::task::spawn_blocking(move || SqliteEventLog::open_read_only(&path)).await??;
    let began = Instant::now();
    let (mut after, mut read) = (None, 0);
    loop {
        let page = log.read_all(after, PAGE_EVENTS).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.position);
        read += page.len() as u64;
    }
    if read == events {
        return Ok(per_second(read, began.elapsed()));
    }
    Err(Failure::new(format!("{events} events were written and {read} are in the log")))
}

pub fn tables(rebuilds: &[RebuildReport]) -> String {
    let header = ["rebuild", "events", "log read, events/s", "rebuild, events/s", "ratio"].map(str::to_owned);
    let rows = rebuilds.iter().map(|rebuild| {
        [
            format!("{} orders", HumanCount(rebuild.orders)),
            HumanCount(rebuild.events).to_string(),
            rate(rebuild.log_read_events_per_s),
            rate(rebuild.rebuild_events_per_s),
            ratio(rebuild.ratio_to_log_read),
        ]
    });
    table(header, rows).to_string()
}

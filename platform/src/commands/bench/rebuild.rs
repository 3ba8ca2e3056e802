//! `rebuild`: the speed of `orderly projections rebuild`, beside the speed of reading the log.

use std::time::Instant;

use indicatif::HumanCount;
use serde::Serialize;

use super::{
    dataset::Dataset,
    load::per_second,
    server::run_to_end,
    setup::event_store_url,
    tables::{rate, ratio, table},
};
use crate::{commands::Failure, config::EventStoreUrl, stores};

const PAGE_EVENTS: usize = 5_000;

#[derive(Debug, Serialize)]
pub struct RebuildReport {
    pub orders: u64,
    pub events: u64,
    pub log_read_events_per_s: f64,
    /// Includes the start of the process.
    pub rebuild_events_per_s: f64,
    pub ratio_to_log_read: f64,
}

/// Rebuilds the read models of `dataset`.
pub async fn run(dataset: &Dataset) -> Result<RebuildReport, Failure> {
    let Dataset { directory, orders, events, .. } = dataset;
    eprintln!("rebuild: reading {} events", HumanCount(*events));
    let log_read_events_per_s = read_log(&event_store_url(directory), *events).await?;
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

async fn read_log(event_store: &EventStoreUrl, events: u64) -> Result<f64, Failure> {
    let log = stores::open_log(event_store).await?;
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
    Err(Failure::new(format!("the log holds {read} events, but {events} were written")))
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

//! Kills the running binary with SIGKILL at random moments under load and checks its data after each restart.
//!
//! `ORDERLY_CRASH_CYCLES` sets the number of kills (default 5); `ORDERLY_CRASH_SEED` repeats the load of a
//! run.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod customers;
mod ledger;
mod log_reader;
mod server;

use std::{env, str::FromStr, time::Duration};

use crate::{customers::Shop, ledger::Ledger, log_reader::LogReader, server::Server};

/// Cycles on one data directory. More would be slow: each cycle adds data, and each restart checks all of it.
const CYCLES_PER_DIRECTORY: u64 = 25;
/// How many of the latest requests, and how many earlier ones, are repeated after a restart.
const SAMPLE: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_no_acknowledged_command_and_repeats_none() {
    let cycles: u64 = setting("ORDERLY_CRASH_CYCLES").unwrap_or(5);
    let seed: u64 = setting("ORDERLY_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{cycles} cycles, ORDERLY_CRASH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut killed = 0;
    while killed < cycles {
        let run = (cycles - killed).min(CYCLES_PER_DIRECTORY);
        crash_repeatedly(run, killed, &mut random).await;
        killed += run;
    }
}

fn setting<T: FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs some cycles on one directory. Checks the log after each cycle and the read models at the end.
async fn crash_repeatedly(cycles: u64, first: u64, random: &mut fastrand::Rng) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::default();
    let mut server = Server::start(dir.path()).await;
    let mut log = LogReader::open(&dir.path().join("events.db"));
    for cycle in first..first + cycles {
        let shop = Shop { server: server.address(), ledger: ledger.clone() };
        shop.receive_stock(cycle).await;
        let after = Duration::from_millis(random.u64(20..500));
        let customers = shop.open(cycle, random.fork());
        tokio::time::sleep(after).await;
        server.kill().await;
        customers.await;

        server = Server::start(dir.path()).await;
        let unanswered = ledger.retry_unanswered(&server.address()).await;
        ledger.repeat_answered(&server.address(), SAMPLE, random).await;
        log.wait_until_drained().await;
        ledger.assert_recorded(&log);
        let read_back = ledger.read_back(&server.address(), random).await;
        println!(
            "cycle {cycle}: killed after {after:?}, {} orders, {unanswered} requests retried, {read_back} read back",
            log.orders.len()
        );
    }
    server.stop().await;
    server::assert_read_models_agree(dir.path()).await;
    server::assert_no_panic(dir.path());
}

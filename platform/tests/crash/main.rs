//! Kills the running binary with SIGKILL at a random moment under load, again and again, and looks at what is
//! left after each restart.
//!
//! `ORDERLY_CRASH_CYCLES` says how often (default 5), `ORDERLY_CRASH_SEED` repeats the load of a run.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod customers;
mod ledger;
mod log_reader;
mod server;

use std::{env, str::FromStr, time::Duration};

use crate::{customers::Shop, ledger::Ledger, log_reader::LogReader, server::Server};

/// A fresh start now and then keeps the time of a cycle the same however many there are.
const CYCLES_PER_DIRECTORY: u64 = 25;
/// Answers from before the kill that are asked for again, besides the latest ones.
const SAMPLE: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
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

/// Some cycles on one directory, which must be found sound after each, and agree with its read models at the end.
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
        ledger.ask_again(&server.address(), SAMPLE, random).await;
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

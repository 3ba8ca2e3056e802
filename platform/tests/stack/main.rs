//! The production path with each role in its own process: events go from the event store through Kafka to
//! Postgres, while processes are killed, paused and added.
//!
//! `ORDERLY_CRASH_CYCLES` sets the number of kills (default 5). `ORDERLY_PAUSE_SECONDS` sets the length of a
//! pause (default 12, longer than a session with Kafka). `ORDERLY_CRASH_SEED` repeats the load of a run.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod customers;
mod feed;
mod process;
mod stack;
mod traces;

use std::{env, str::FromStr, time::Duration};

use crate::{customers::Customers, process::Process, stack::Stack};

fn setting<T: FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

fn random() -> fastrand::Rng {
    let seed = setting("ORDERLY_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("ORDERLY_CRASH_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres and Kafka: infra/dev/services up"]
async fn another_process_reads_every_acknowledged_order_also_during_a_rebuild() {
    let stack = Stack::new().await;
    let _owner = stack.owner().await;
    let _projectors = [stack.projectors().await, stack.projectors().await];
    let _queries = stack.queries().await;
    let customers = Customers::open(&stack, random());
    stack.run_well(&["projections", "rebuild"]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let orders = customers.close().await;
    assert!(orders.len() > 20, "only {} orders were placed", orders.len());
    for order in &orders {
        stack.assert_read_back(order).await;
    }
    stack.assert_drained_and_sound(&orders).await;
    stack.run_well(&["projections", "rebuild"]).await;
    stack.assert_drained_and_sound(&orders).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres and Kafka: infra/dev/services up"]
async fn killed_projectors_lose_no_event_and_apply_none_twice() {
    let mut random = random();
    let cycles: u64 = setting("ORDERLY_CRASH_CYCLES").unwrap_or(5);
    let stack = Stack::new().await;
    let _owner = stack.owner().await;
    let _queries = stack.queries().await;
    let mut projectors = [stack.projectors().await, stack.projectors().await];
    let mut orders = Vec::new();
    for cycle in 0..cycles {
        let customers = Customers::open(&stack, random.fork());
        tokio::time::sleep(Duration::from_millis(random.u64(200..2_000))).await;
        let killed = &mut projectors[random.usize(..2)];
        killed.kill().await;
        *killed = stack.projectors().await;
        orders.extend(customers.close().await);
        // Kafka delivers the events of a killed process again, to either projector, after its session has
        // ended.
        if cycle % 25 == 24 || cycle + 1 == cycles {
            stack.assert_drained_and_sound(&orders).await;
        }
        println!("cycle {cycle}: {} orders", orders.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres and Kafka: infra/dev/services up"]
async fn a_process_paused_for_longer_than_its_session_continues_where_the_others_stopped() {
    let mut random = random();
    let pause = Duration::from_secs(setting("ORDERLY_PAUSE_SECONDS").unwrap_or(12));
    let stack = Stack::new().await;
    let owner = stack.owner().await;
    let queries = stack.queries().await;
    let projectors = [stack.projectors().await, stack.projectors().await];
    let mut orders = Vec::new();
    for paused in [&projectors[0], &queries, &owner] {
        let customers = Customers::open(&stack, random.fork());
        tokio::time::sleep(Duration::from_millis(random.u64(200..1_000))).await;
        paused.pause_for(pause).await;
        orders.extend(customers.close().await);
        stack.assert_drained_and_sound(&orders).await;
        println!("{} orders", orders.len());
    }
    for process in [owner, queries].into_iter().chain(projectors) {
        process.terminate().await;
    }
}

/// A killed relay leaves a transaction open; the next relay aborts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres and Kafka: infra/dev/services up"]
async fn a_killed_owner_publishes_the_rest_after_its_restart() {
    let mut random = random();
    let stack = Stack::new().await;
    let mut owner = stack.owner().await;
    let _queries = stack.queries().await;
    let _projectors: Process = stack.projectors().await;
    let mut orders = Vec::new();
    for _ in 0..2 {
        let customers = Customers::open(&stack, random.fork());
        tokio::time::sleep(Duration::from_millis(random.u64(500..2_000))).await;
        owner.kill().await;
        owner = stack.owner().await;
        orders.extend(customers.close().await);
        stack.assert_drained_and_sound(&orders).await;
    }
}

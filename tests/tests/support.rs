//! Support of the tests: a platform in the test's process, faults on demand, and resources of one test in
//! Postgres and Kafka.

mod answer;
mod clock;
mod configured;
pub mod documented;
mod eventstoredb;
mod faulty_store;
mod kafka;
mod log;
mod network;
mod postgres;
mod sandbox;
mod shop;
mod sockets;
mod standby;

use std::time::Duration;

pub use self::{
    answer::Answer,
    clock::TestClock,
    configured::Configured,
    eventstoredb::{EventStoreDbServer, SecuredEventStoreDb},
    faulty_store::{Fault, FaultyStore, Spoiled, appends},
    kafka::KafkaTopics,
    log::{Log, metadata},
    network::Network,
    postgres::TestDatabase,
    sandbox::TestSandbox,
    shop::{Shop, ShopOptions, line},
    sockets::without_delay,
    standby::Standby,
};

/// Time limit of every wait. A test that waits longer fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls `look` every 2 ms until it returns a value, at most [`PATIENCE`]. For conditions without a channel.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

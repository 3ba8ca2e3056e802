//! What the tests of the command side share: a platform in this process whose event store fails on demand.

mod answer;
mod faulty_store;
mod kafka;
mod log;
mod network;
mod postgres;
mod shop;
mod till;

use std::time::Duration;

pub use self::{
    answer::Answer,
    faulty_store::{Fault, FaultyStore, appends},
    kafka::KafkaTopics,
    log::{Log, metadata},
    network::Network,
    postgres::TestDatabase,
    shop::{Shop, ShopOptions, line},
    till::Till,
};

/// A condition that has not come true after this long never will: the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds that nothing announces, such as a file being there.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

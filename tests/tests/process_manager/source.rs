//! After a failed read, the process manager seeks its partitions again and misses no event.

use std::sync::Arc;

use async_trait::async_trait;
use infra::{
    event_source::{Batch, EventSource, Partition, Reached, SourceUpdate, direct::DirectSource},
    event_store::{EventStore, ReadError},
};

use super::*;

/// Follows the log one event at a time. Fails once after each event, and then delivers nothing until it is
/// sought, as a source over Kafka does with a failed partition.
struct Failing {
    inner: DirectSource,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Reading,
    FailsNext,
    AwaitsSeek,
}

#[async_trait]
impl EventSource for Failing {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        match self.state {
            State::Reading => {}
            State::FailsNext => {
                self.state = State::AwaitsSeek;
                return Err(ReadError::Unavailable("failed by the test".into()));
            }
            State::AwaitsSeek => std::future::pending().await,
        }
        let update = self.inner.next().await?;
        if let SourceUpdate::Events(Batch { .. }) = update {
            self.state = State::FailsNext;
        }
        Ok(update)
    }

    fn seek(&mut self, partition: &Partition, reached: Option<Reached>) {
        self.inner.seek(partition, reached);
        self.state = State::Reading;
    }
}

#[tokio::test]
async fn a_partition_is_sought_again_after_a_failed_read() {
    let quiet = ShopOptions { process_manager: false, projectors: false, ..ShopOptions::default() };
    let mut shop = Shop::with(quiet).await;
    shop.receive("a", 5).await;
    let order = id_of(&place(&shop, "first", "a", json!({})).await.expect(201));
    let log = shop.log().await;
    shop.save_reacted_up_to(log.0[log.0.len() - 2].position).await;
    cancel(&shop, order).await;
    let store: Arc<dyn EventStore> = shop.store.clone();
    let inner = DirectSource::new(store, 1);
    shop.start_process_manager_over(Box::new(Failing { inner, state: State::Reading }));
    shop.until("the stock is released", |log| log.count("stock.released.v1") == 1).await;
}

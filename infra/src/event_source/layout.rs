//! How a source divides the log, and how far each part reaches: for those who look at all of it at once.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use domain::{Position, StreamName};

use super::Partition;
use crate::{
    event_store::{EventLog, ReadError},
    kafka::{self, KafkaConfig, Topic},
};

/// The partitions of a source. Which one a stream is in is a pure function of its name.
#[async_trait]
pub trait SourceLayout: Send + Sync + 'static {
    /// Every partition, in an order that stays.
    fn partitions(&self) -> Vec<Partition>;

    /// Which of [`SourceLayout::partitions`] has the events of a stream.
    fn index_of(&self, stream: &StreamName) -> usize;

    /// The last position of each partition, in the order of [`SourceLayout::partitions`]; `None` while it is empty.
    async fn last_positions(&self) -> Result<Vec<Option<Position>>, ReadError>;
}

/// Of a source that reads the event store itself: one partition.
pub struct WholeLog(pub Arc<dyn EventLog>);

impl fmt::Debug for WholeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WholeLog").field(&self.0.store_id()).finish()
    }
}

#[async_trait]
impl SourceLayout for WholeLog {
    fn partitions(&self) -> Vec<Partition> {
        vec![Partition::whole_log()]
    }

    fn index_of(&self, _stream: &StreamName) -> usize {
        0
    }

    async fn last_positions(&self) -> Result<Vec<Option<Position>>, ReadError> {
        Ok(vec![self.0.last_position().await?])
    }
}

#[async_trait]
impl SourceLayout for KafkaConfig {
    fn partitions(&self) -> Vec<Partition> {
        self.all_partitions()
    }

    fn index_of(&self, stream: &StreamName) -> usize {
        let topic = match Topic::of(stream) {
            Topic::Stock => 0,
            Topic::Orders => 1,
            Topic::Payments => 2,
        };
        topic * usize::from(self.partitions()) + usize::from(self.partition_number(&stream.to_string()))
    }

    async fn last_positions(&self) -> Result<Vec<Option<Position>>, ReadError> {
        let positions = kafka::topics::last_positions(self).await;
        let positions = positions.map_err(|error| ReadError::Unavailable(error.to_string().into()))?;
        Ok(positions.into_iter().map(|(_, position)| position).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_found_in_the_partition_that_the_relay_writes_it_to() {
        let config: KafkaConfig = "kafka://127.0.0.1:9?partitions=5".parse().unwrap();
        let partitions = SourceLayout::partitions(&config);
        for number in 0..50 {
            let order = domain::OrderId(uuid::Uuid::from_u128(number));
            let sku = domain::Sku::new(&format!("S{number}")).unwrap();
            let streams = [order.into(), domain::PaymentId::of_order(order).into(), StreamName::Stock(sku)];
            for stream in streams {
                assert_eq!(partitions[config.index_of(&stream)], config.partition_of(&stream), "{stream}");
            }
        }
    }
}

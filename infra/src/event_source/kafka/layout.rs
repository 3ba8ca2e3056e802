//! Layout of the topics of events: every partition of every topic.

use async_trait::async_trait;
use domain::{Position, StreamName};

use crate::{
    event_source::{Partition, layout::SourceLayout},
    event_store::ReadError,
    kafka::{KafkaConfig, Topic, topics},
};

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
        let positions = topics::last_positions(self)
            .await
            .map_err(|error| ReadError::Unavailable(error.to_string().into()))?;
        Ok(positions.into_iter().map(|(_, position)| position).collect())
    }
}

#[cfg(test)]
mod tests {
    use domain::{OrderId, PaymentId, Sku};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_source_reads_a_stream_from_the_partition_that_the_relay_writes_it_to() {
        let config: KafkaConfig = "kafka://127.0.0.1:9?partitions=5".parse().unwrap();
        let partitions = SourceLayout::partitions(&config);
        for number in 0..50 {
            let order = OrderId(Uuid::from_u128(number));
            let sku = Sku::new(&format!("S{number}")).unwrap();
            let streams = [order.into(), PaymentId::of_order(order).into(), StreamName::Stock(sku)];
            for stream in streams {
                assert_eq!(partitions[config.index_of(&stream)], config.partition_of(&stream), "{stream}");
            }
        }
    }
}

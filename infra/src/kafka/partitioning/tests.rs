use domain::{ExchangeId, OrderId, ReceiptId, Sku};
use uuid::Uuid;

use super::*;

fn config(partitions: u16) -> KafkaConfig {
    format!("kafka://a:1?partitions={partitions}").parse().unwrap()
}

/// Expected values are from Kafka's tests of its hash (org.apache.kafka.common.utils), where they are signed.
#[test]
fn the_hash_equals_that_of_kafkas_java_clients() {
    for (data, hash) in [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(data.as_bytes()).cast_signed(), hash, "{data}");
    }
}

/// Checkpoints depend on these partitions: a changed result would move the events of existing streams.
#[test]
fn partitions_of_streams_never_change() {
    let stock = StreamName::Stock(Sku::new("85123A").unwrap());
    let order = StreamName::Order(OrderId(Uuid::nil()));
    assert_eq!(config(12).partition_of(&stock).0, "orderly.stock/10");
    assert_eq!(config(12).partition_of(&order).0, "orderly.orders/10");
    assert_eq!(config(1).partition_of(&order).0, "orderly.orders/0");
    let receipt = StreamName::Receipt(ReceiptId(Uuid::nil()));
    assert_eq!(config(1).partition_of(&receipt).0, "orderly.stock/0");
    let exchange = StreamName::Exchange(ExchangeId(Uuid::nil()));
    assert_eq!(config(1).partition_of(&exchange).0, "orderly.orders/0");
}

#[test]
fn streams_are_spread_evenly_over_all_partitions() {
    let config = config(12);
    let mut streams = [0u32; 12];
    for number in 0..12_000u128 {
        let stream = StreamName::Order(OrderId(Uuid::from_u128(number << 64)));
        let (topic, partition) = config.parse_partition(&config.partition_of(&stream)).unwrap();
        assert_eq!(topic, Topic::Orders);
        streams[usize::from(partition)] += 1;
    }
    assert!(streams.iter().all(|count| (800..1_200).contains(count)), "{streams:?}");
}

#[test]
fn names_of_partitions_parse_to_their_topic_and_number() {
    let config = config(3);
    for topic in Topic::ALL {
        assert_eq!(config.parse_partition(&config.partition(topic, 2)), Some((topic, 2)));
    }
    assert_eq!(config.all_partitions().len(), 9);
    for name in
        ["log", "orderly.orders", "orderly.orders/3", "orderly.orders/x", "other.orders/1", "orderly.relay/0"]
    {
        assert_eq!(config.parse_partition(&Partition(name.to_owned())), None, "{name}");
    }
}

//! docs/events.md.

use std::fmt::Write;

use infra::kafka::{KafkaConfig, Topic, message};

use super::{STORE_ID, examples, shown};

const INTRODUCTION: &str = "\
# Events in Kafka

With `ORDERLY_BUS=kafka://…` the relay publishes every event of the event store. Whoever wants to know what happens in
the shop may read along; this page is the contract. [asyncapi.json](asyncapi.json) says the same to tools. The page is
written from the stored form of each event (`domain/golden/`) by a test, which also checks it: do not edit it by hand.

## Topics

| topic | has the streams | key |
| --- | --- | --- |
| `orderly.stock` | `stock-SKU` | the stream's name |
| `orderly.orders` | `order-UUID` | the stream's name |
| `orderly.payments` | `payment-UUID` | the stream's name |

`orderly` is the prefix that `ORDERLY_BUS` sets. All events of a stream are in one partition, in the order of their
revisions; events of one partition are in the order of their positions in the log. There is no order between
partitions. The partition is the one that Kafka's Java clients choose for the key, so topics of others under the same
keys and with as many partitions can be joined partition by partition. Events are kept for ever.

`orderly.relay` is the relay's own: how far it has come. Leave it alone.

## Reading

Read with `isolation.level=read_committed`: then every event is there exactly once, whatever happened to the relay. (The
default of most clients is `read_uncommitted`, which also shows what was sent in vain and sent again.) Offsets have
gaps, where transactions begin and end. What your own consumer does is applied at least once unless you store your
offsets with it; `ce_id` is the key to tell repetitions by, the same for ever, and `ce_revision` counts up by one within
a stream.

Fields may be added to an event. One that changes in any other way gets a new type, `….v2`, and the old type is no
longer written; events that exist are never rewritten. Ignore fields and types that you do not know.

## Messages

A message is a [CloudEvent](https://github.com/cloudevents/spec) 1.0 in binary mode. Its value is the event's data: the
JSON that the event store has, byte for byte. Its timestamp is when the event was recorded, in milliseconds. Headers
are UTF-8:

| header | what it is |
| --- | --- |
| `content-type` | `application/json` |
| `ce_specversion` | `1.0` |
| `ce_id` | the event's id, a UUID: its deduplication key |
| `ce_source` | the event store that it is from: `urn:uuid:` and the store's id |
| `ce_type` | its type and version |
| `ce_subject` | its stream |
| `ce_time` | when it was recorded: RFC 3339, UTC, up to microseconds |
| `ce_revision` | its number in its stream, from 0 without a gap |
| `ce_position` | its place in the whole log; increases, with gaps |
| `ce_correlationid` | the UUID of the command from outside that began it all |
| `ce_causationid` | the `ce_id` of the event that it follows from; absent where a command from outside led to it |
| `orderly_metadata` | the stored metadata, JSON: command, ids, and the caller's idempotency key |

Amounts are integers in minor units of the order's currency; see [http.md](http.md) for the other kinds of values.

## Every event
";

pub fn page() -> String {
    let config: KafkaConfig = "kafka://localhost:9092".parse().unwrap();
    let mut page = INTRODUCTION.to_owned();
    for topic in Topic::ALL {
        write!(page, "\n### `{}`\n", config.topic_name(topic)).unwrap();
        for event in examples().iter().filter(|event| Topic::of(&event.stream) == topic) {
            let headers = message::headers(event, STORE_ID).into_iter();
            let headers: Vec<_> =
                headers.map(|(name, value)| (name, String::from_utf8(value).unwrap())).collect();
            let value = str::from_utf8(&event.data).unwrap();
            let shown = shown(&event.stream.to_string(), &headers, value);
            write!(page, "\n#### {}\n\n```text\n{shown}```\n", event.type_name).unwrap();
        }
    }
    page
}

//! Writes docs/events.md.

use std::fmt::Write;

use infra::kafka::{KafkaConfig, Topic, message};

use super::{STORE_ID, examples, examples::is_earlier_version, shown};

const INTRODUCTION: &str = "\
# Events in Kafka

With `ORDERLY_BUS=kafka://…` the relay publishes every event of the event store to Kafka. Any consumer may read them.
This page is the contract; [asyncapi.json](asyncapi.json) is the same contract for tools. A test generates this page from
the stored form of each event (`domain/golden/`) and fails if the page differs. To change the page, edit
`tests/tests/events_doc/page.rs`.

## Topics

| topic | streams | key |
| --- | --- | --- |
| `orderly.stock` | `stock-SKU`, `receipt-UUID` | the stream's name |
| `orderly.orders` | `order-UUID`, `exchange-UUID` | the stream's name |
| `orderly.payments` | `payment-UUID` | the stream's name |

`ORDERLY_BUS` sets the [prefix](operating.md#kafka); `orderly` is the default. All events of a stream are in one
partition, in the order of their revisions. The events of a partition are in the order of their positions in the log.
Events of different partitions have no order. The relay chooses the partition of a key as Kafka's Java clients do, so you
can join other topics with the same keys and number of partitions partition by partition. Topics keep events for ever.

The topic `orderly.relay` is internal: the relay stores its progress there. Do not read or write it.

## Reading

Read with `isolation.level=read_committed`: each event then appears exactly once, even after a crash of the relay. Many
clients default to `read_uncommitted`, which also delivers aborted sends and their repetitions. Offsets have gaps at the
ends of transactions. Your consumer processes events at least once, unless it stores its offsets in one transaction with
its results. Detect repetitions by `ce_id`, which never changes. `ce_revision` increases by 1 within a stream.

Later versions may add members to an event. Any other change creates a new type (`….v2`), and Orderly no longer writes
the old type. Orderly never rewrites existing events. Ignore members and types that you do not know.

## Messages

A message is a [CloudEvent](https://github.com/cloudevents/spec) 1.0 in binary mode. The value is the event's data: the
same JSON bytes as in the event store. The timestamp is the time of recording, in milliseconds. Headers are UTF-8:

| header | meaning |
| --- | --- |
| `content-type` | `application/json` |
| `ce_specversion` | `1.0` |
| `ce_id` | the event's id, a UUID: the deduplication key |
| `ce_source` | the event store: `urn:uuid:` and the store's id |
| `ce_type` | the event's type and version |
| `ce_subject` | the event's stream |
| `ce_time` | the time of recording: RFC 3339, UTC, up to microseconds |
| `ce_revision` | the event's number in its stream, from 0 without gaps |
| `ce_position` | the event's place in the whole log; increases, with gaps |
| `ce_correlationid` | a UUID that all events of a chain share: the id of the first command; of an expiry, the id of the order |
| `ce_causationid` | the `ce_id` of the event that led to this event; absent after a command of a caller, a timer, or a webhook of the provider |
| `ce_actor` | the principal that sent the command; of a step that Orderly takes by itself `orderly:process-manager` or `orderly:timer`; of a webhook `provider:` and its name; absent in events of earlier builds |
| `ce_person` | the person behind the principal, as `Orderly-Actor` named it; absent if there is none |
| `traceparent` | the span that sent the command, as [W3C Trace Context](https://www.w3.org/TR/trace-context/) writes it; absent unless its trace was sampled. A span of yours for this event has it as its parent |
| `orderly_metadata` | the stored metadata as JSON: the command, ids and the caller's idempotency key |

Amounts are integers in minor units of the order's currency. [http.md](http.md) describes the other kinds of values.

## Every event
";

pub fn page() -> String {
    let config: KafkaConfig = "kafka://localhost:9092".parse().unwrap();
    let mut page = INTRODUCTION.to_owned();
    for topic in Topic::ALL {
        write!(page, "\n### `{}`\n", config.topic_name(topic)).unwrap();
        for event in examples().iter().filter(|event| Topic::of(&event.stream) == topic) {
            let headers: Vec<_> = message::headers(event, STORE_ID)
                .into_iter()
                .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
                .collect();
            let value = str::from_utf8(&event.data).unwrap();
            let message = shown(&event.stream.to_string(), &headers, value);
            let note =
                if is_earlier_version(&event.type_name) { "Only earlier builds wrote it.\n\n" } else { "" };
            write!(page, "\n#### {}\n\n{note}```text\n{message}```\n", event.type_name).unwrap();
        }
    }
    page
}

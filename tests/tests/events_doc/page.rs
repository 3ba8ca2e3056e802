//! Writes docs/events.md.

use std::fmt::Write;

use infra::kafka::{KafkaConfig, Topic, message};

use super::{STORE_ID, examples, examples::is_earlier_version, shown};

const INTRODUCTION: &str = r#"# Events in Kafka

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
its results, as [below](#into-a-database-exactly-once). Detect repetitions by `ce_id`, which never changes. `ce_revision`
increases by 1 within a stream.

Later versions may add members to an event. Any other change creates a new type (`….v2`), and Orderly no longer writes
the old type. Orderly never rewrites existing events. Ignore members and types that you do not know.

## Into a database, exactly once

[examples/consumers](../examples/consumers/README.md) follows these rules, in Python and in Java. Copy one of them, and
replace its tables by yours. `tests/scripts/foreign-consumers.sh` kills each 50 times under load, and compares its tables
with the log.

1. Store the offset in your database, in the transaction that stores the rows. A crash then undoes both or neither. The
   offsets of the group cannot do this: they are committed to Kafka before or after your transaction. A crash between the
   two loses the rows of a batch, or stores them twice.
2. Use the group only to share the partitions, and turn its automatic commit off. When the group assigns a partition, read
   its offset from your database and seek there. Set `auto.offset.reset` to `none` (librdkafka: `error`). A topic that
   lacks your offset was made anew, and every jump would lose or repeat events.
3. In each transaction, first lock the row of the offset. Compare it with the offset that this process has reached. If
   they differ, store nothing and seek to the stored one. A process that was frozen still believes that it has its
   partitions, and Kafka cannot keep it from writing to your database. Let the database undo a transaction that is open for
   longer than the session of the group (`idle_in_transaction_session_timeout` of Postgres). Otherwise a frozen process
   keeps its locks, and stops the others.
4. Refuse repetitions and gaps: keep stream, `ce_revision` and `ce_id` of each event. The same revision with the same id is
   a repetition: skip it. The same revision with another id, or a revision without the one before it, means that events are
   lost: stop. To save space, keep only the last revision and id of each stream.
5. At a message that you cannot use, store the messages before it and stop its partition. Say so where people look. The
   other partitions go on. Never skip it, because later events of its stream build on it.
6. Repeat a transaction that ends with a deadlock or a serialization failure: two processes may add to the same sum.
7. Change nothing but this database. To send a mail or a request for an event, insert a row for it, and let another program
   send it under the event's `ce_id`.

**Order.** Streams in different partitions have no order: a payment can arrive before its order, and hours before it
if a partition has stopped. Give each stream rows of its own, without foreign keys to those of other streams, and join them
in queries. A reader that needs the order of the whole log reads `GET /v1/events` or the [feed](http.md#events) instead.

**Another prefix.** After a restore, or to change the number of partitions, operators fill
[other topics](operating.md#kafka). Their offsets are others too. After a restore, the log can lack events that you have
stored: fill a new database, as another group, and let your readers change to it when it has caught up. If `ce_source` is
the same as before, you may keep the database: key the offsets by the name of the topic, begin at 0, and rule 4 skips
every event that you have.

**What is proven.** `orderly audit verify` compares Orderly's own read models with the log. With Kafka they come from the
same topics, so a clean result also shows that the topics delivered every event. It does not read your tables. To compare
them, take an instant: the manifest of [`orderly audit export --to TIME`](audit.md#export) counts the events of each
type that were recorded before it, `orderly audit totals --at TIME` sums orders and money, and `GET /v1/sales` sums SKUs and
days.

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

## Schemas

[asyncapi.json](asyncapi.json) has the JSON Schema (draft 7) of each type's data, as `payload` of `components.messages.TYPE`.
A member is required if Orderly itself cannot read an event of this type without it. Other members are permitted.

```sh
jq '.components.messages["order.placed.v2"].payload' docs/asyncapi.json
```

A registry can keep them. A topic has several types, so the subject is the type, and no message names a schema: look it up
by `ce_type`. Clients that expect the id of a schema before the value cannot read the values, which are plain JSON.
Set the compatibility to `FORWARD` first, because a later version of Orderly adds optional members; `BACKWARD` refuses that.
For a registry with the API of Confluent's, such as Apicurio (tried with 3.0.9, where `$REGISTRY` ends with `/apis/ccompat/v7`):

```sh
jq -r '.components.messages[] | .name, ({schemaType: "JSON", schema: (.payload | tojson)} | tojson)' docs/asyncapi.json |
while read -r type && read -r body; do
  curl -sf -H 'Content-Type: application/vnd.schemaregistry.v1+json' -d "$body" "$REGISTRY/subjects/$type/versions"
done
```

## Every event
"#;

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

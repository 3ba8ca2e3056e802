//! Writes docs/asyncapi.json: AsyncAPI 3.0.

use domain::RecordedEvent;
use infra::kafka::{KafkaConfig, Topic, message};
use serde_json::{Map, Value, json};

use super::{STORE_ID, examples, schema::schema};

pub fn document() -> String {
    let config: KafkaConfig = "kafka://localhost:9092".parse().unwrap();
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for topic in Topic::ALL {
        let name = config.topic_name(topic);
        let channel = name.rsplit('.').next().unwrap();
        let mut members = Map::new();
        for event in examples().iter().filter(|event| Topic::of(&event.stream) == topic) {
            let type_name = event.type_name.to_string();
            members
                .insert(type_name.clone(), json!({ "$ref": format!("#/components/messages/{type_name}") }));
            messages.insert(type_name, message_of(event));
        }
        channels.insert(
            channel.to_owned(),
            json!({ "address": name, "messages": members, "bindings": bindings(&config) }),
        );
        operations.insert(
            format!("publish-{channel}"),
            json!({ "action": "send", "channel": { "$ref": format!("#/channels/{channel}") } }),
        );
    }
    let document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Orderly events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every event of the event store, in Kafka. Read with isolation.level=read_committed. \
                docs/events.md is the same contract as text.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "messageTraits": { "cloudevent": cloudevent() } },
    });
    serde_json::to_string_pretty(&document).unwrap() + "\n"
}

/// The settings of a topic.
fn bindings(config: &KafkaConfig) -> Value {
    json!({ "kafka": {
        "partitions": config.partitions(),
        "topicConfiguration": { "cleanup.policy": ["delete"], "retention.ms": -1, "retention.bytes": -1 },
        "bindingVersion": "0.5.0",
    }})
}

fn message_of(event: &RecordedEvent) -> Value {
    let headers: Map<String, Value> = message::headers(event, STORE_ID)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), String::from_utf8(value).unwrap().into()))
        .collect();
    let payload: Value = serde_json::from_slice(&event.data).unwrap();
    json!({
        "name": event.type_name,
        "contentType": "application/json",
        "traits": [{ "$ref": "#/components/messageTraits/cloudevent" }],
        "payload": schema(&event.type_name),
        "examples": [{ "headers": headers, "payload": payload }],
    })
}

fn cloudevent() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "headers": {
            "type": "object",
            "required": ["content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time",
                "ce_revision", "ce_position", "orderly_metadata"],
            "properties": {
                "content-type": { "const": "application/json" },
                "ce_specversion": { "const": "1.0" },
                "ce_id": { "type": "string", "format": "uuid", "description": "Deduplication key." },
                "ce_source": text("The event store: urn:uuid: and its id."),
                "ce_type": text("Type and version."),
                "ce_subject": text("The stream."),
                "ce_time": { "type": "string", "format": "date-time", "description": "When it was recorded." },
                "ce_revision": { "type": "string", "pattern": "^[0-9]+$", "description": "Number in its stream, from 0." },
                "ce_position": { "type": "string", "pattern": "^[0-9]+$", "description": "Place in the whole log." },
                "ce_correlationid": { "type": "string", "format": "uuid" },
                "ce_causationid": { "type": "string", "format": "uuid" },
                "ce_actor": text("The principal that sent the command. Absent in events of earlier builds."),
                "ce_person": text("The person behind the principal, as the principal named it."),
                "traceparent": text("The span that sent the command, in the form of W3C Trace Context. Absent unless its \
                    trace was sampled."),
                "orderly_metadata": text("The stored metadata, JSON."),
            },
        },
        "bindings": { "kafka": {
            "key": { "type": "string", "description": "The stream's name." },
            "bindingVersion": "0.5.0",
        }},
    })
}

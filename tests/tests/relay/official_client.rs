//! kcat, an independent client, reads what docs/events.md shows.

use std::{process::Command, sync::Arc};

use infra::{
    event_store::EventLog,
    kafka::Topic,
    relay::{Relay, RelayOptions},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    events_doc,
    projectors::memory_log::MemoryLog,
    support::{KafkaTopics, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka and kcat: infra/dev/services up; apt-get install kcat"]
async fn kcat_reads_every_event_as_the_documentation_shows_it() {
    let (topics, examples) = (KafkaTopics::new(), events_doc::examples());
    let (last, count) = (examples.last().unwrap().position, examples.len());
    let log = Arc::new(MemoryLog::new(examples));
    let head = log.head_changes();
    let config = topics.config();
    let relay =
        Relay::open(config.clone(), log as Arc<dyn EventLog>, head, RelayOptions::default()).await.unwrap();
    let shutdown = CancellationToken::new();
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    eventually("the examples are published", async || (topics.published() == Some(last)).then_some(())).await;
    shutdown.cancel();
    relay.await.unwrap().unwrap();

    let page = events_doc::written_page();
    let read: Vec<String> =
        Topic::ALL.into_iter().flat_map(|topic| read(&topics, &config.topic_name(topic))).collect();
    assert_eq!(read.len(), count);
    for message in read {
        assert!(
            page.contains(&format!("```text\n{message}```\n")),
            "docs/events.md does not show\n{message}"
        );
    }
}

/// Every message of a topic, in the format of the page.
fn read(topics: &KafkaTopics, topic: &str) -> Vec<String> {
    let config = topics.config();
    let output = Command::new("kcat")
        .args(["-C", "-J", "-e", "-q", "-o", "beginning", "-X", "isolation.level=read_committed"])
        .args(["-b", config.brokers(), "-t", topic])
        .output()
        .expect("kcat must be installed: apt-get install kcat");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| shown(&serde_json::from_str(line).unwrap())).collect()
}

fn shown(message: &Value) -> String {
    let headers: Vec<&str> =
        message["headers"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let headers: Vec<_> = headers.chunks(2).map(|pair| (pair[0], pair[1].to_owned())).collect();
    events_doc::shown(message["key"].as_str().unwrap(), &headers, message["payload"].as_str().unwrap())
}

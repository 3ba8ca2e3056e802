//! The metrics of the relay, of Postgres and of EventStoreDB, over a platform that uses all three servers. Those of a
//! platform without servers are tested in `platform/tests/cli/measurements.rs`.

use clap::Parser;
use infra::measurements;
use tests::eventstoredb::{FixtureOptions, Server};

use crate::support::{Configured, KafkaTopics, TestDatabase, eventually};

const OF_SERVERS: [&str; 3] = ["orderly_relay_", "orderly_postgres_", "orderly_eventstoredb_"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and Postgres: infra/dev/services up"]
async fn the_relay_postgres_and_eventstoredb_are_measured() {
    let (topics, database) = (KafkaTopics::new(), TestDatabase::create().await);
    let store = Server::start(FixtureOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (any, config) = ("127.0.0.1:0", topics.config());
    let bus =
        format!("kafka://{}?partitions={}&prefix={}", config.brokers(), config.partitions(), config.prefix());
    let listen = ["test", "--command-listen", any, "--query-listen", any, "--admin-listen", any];
    let stores = ["--event-store", store.url(), "--bus", &bus, "--read-models", database.url()];
    let rest = ["--data-dir", directory.path().to_str().unwrap(), "--payment-provider", "none"];
    let platform = Configured::parse_from(listen.iter().chain(&stores).chain(&rest));
    let running = platform.start().await;

    let url = format!("http://{}/metrics", running.admin_address.unwrap());
    let text = eventually("the relay publishes", async || {
        let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
        text.lines().any(|line| line == "orderly_relay_publishing 1").then_some(text)
    })
    .await;
    let of_servers = measurements::ALL
        .iter()
        .filter(|metric| OF_SERVERS.iter().any(|prefix| metric.name.starts_with(prefix)));
    for metric in of_servers {
        assert!(
            text.contains(&format!("# TYPE {} {}", metric.name, metric.kind.as_str())),
            "{}",
            metric.name
        );
    }
    running.stop().await;
}

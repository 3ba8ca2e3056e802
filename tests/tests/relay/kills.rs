//! Kills relays at random moments while another one runs.

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use domain::StreamName;
use infra::{
    event_store::{Append, EventLog, EventStore, ExpectedRevision, sqlite::SqliteEventLog},
    kafka::KafkaConfig,
    relay::Relay,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{QUICK, Source, event, order, sku};
use crate::support::KafkaTopics;

const LOG: &str = "ORDERLY_TEST_RELAY_LOG";
const BUS: &str = "ORDERLY_TEST_RELAY_BUS";
/// Number of kills. tests/scripts/relay-kills.sh sets a higher number.
const KILLS: &str = "ORDERLY_RELAY_KILLS";

/// The process of a relay. The test below runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_relay_in_a_separate_process() {
    let Ok(file) = env::var(LOG) else { return };
    let config: KafkaConfig = env::var(BUS).unwrap().parse().unwrap();
    let log: Arc<dyn EventLog> = Arc::new(SqliteEventLog::open_read_only(Path::new(&file)).unwrap());
    let (head, following) = watch::channel(None);
    let followed = Arc::clone(&log);
    tokio::spawn(async move {
        while head.send(followed.last_position().await.unwrap()).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let relay = Relay::open(config, log, following, QUICK).await.unwrap();
    relay.run(CancellationToken::new()).await.unwrap();
}

/// Dropping it kills the process.
struct RelayProcess(Child);

impl RelayProcess {
    fn start(source: &Source, topics: &KafkaTopics) -> Self {
        let test = "relay::kills::a_relay_in_a_separate_process";
        let child = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(LOG, source.directory.path().join("events.db"))
            .env(BUS, topics.config().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "a relay must run until it is killed");
        // Sends SIGKILL.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn killed_relays_publish_every_event_once_and_in_order() {
    let kills: u32 = env::var(KILLS).map_or(6, |kills| kills.parse().unwrap());
    let (topics, source) = (KafkaTopics::new(), Source::new());
    let streams: Vec<StreamName> =
        (0..20).map(|number| sku(&number.to_string())).chain([order(), order()]).collect();
    let appending =
        tokio::spawn(append_until_aborted(Arc::clone(&source.store) as Arc<dyn EventStore>, streams));

    let mut relays = [RelayProcess::start(&source, &topics), RelayProcess::start(&source, &topics)];
    for kill in 0..kills {
        // Some relays live long enough to publish, others do not.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..1_200))).await;
        relays[fastrand::usize(..2)] = RelayProcess::start(&source, &topics);
        if kill % 10 == 9 {
            eprintln!("{} relays killed, {:?} published", kill + 1, topics.published());
        }
    }
    appending.abort();
    drop(appending.await);
    source.eventually_all_in(&topics).await;
    let aborted = aborted_offsets(&topics);
    eprintln!("{} events, {aborted} offsets of aborted messages and markers", source.log().await.len());
}

/// Keeps the relays busy: appends five events to each stream, repeatedly.
async fn append_until_aborted(store: Arc<dyn EventStore>, streams: Vec<StreamName>) {
    for round in 0u64.. {
        for stream in &streams {
            let expected = ExpectedRevision::of((round * 5).checked_sub(1));
            let events = (0..5).map(|_| event()).collect();
            store.append(Append { stream: stream.clone(), expected, events, epoch: None }).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Number of offsets that hold no readable event: transaction markers and aborted messages.
fn aborted_offsets(topics: &KafkaTopics) -> u64 {
    let config = topics.config();
    let last = futures::executor::block_on(infra::kafka::topics::last_positions(&config)).unwrap();
    let offsets: u64 = last.iter().filter_map(|(_, last)| last.map(|last| last + 1)).sum();
    offsets - topics.committed().values().map(|events| events.len() as u64).sum::<u64>()
}

//! Consumers in separate processes that are stopped for longer than their session, or killed.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use domain::Position;
use infra::{
    event_source::{
        Partition,
        kafka::{KafkaSource, KafkaSourceOptions},
    },
    event_store::EventStore,
    kafka::topics::last_positions,
};

use super::{
    super::{Fixture, new_stream},
    KafkaFixture,
    ledger::{Entry, Ledger, consume},
    members::{SESSION_TIME_MAX, append_until_aborted},
};
use crate::support::eventually;

const BUS: &str = "ORDERLY_TEST_CONSUMER_BUS";
const STORE_ID: &str = "ORDERLY_TEST_CONSUMER_STORE_ID";

/// The process of a consumer, which the test below starts. It holds no lock while it is stopped: it asks its
/// parent for positions, and sends it batches to apply. Its requests begin with `@`, because the test runner
/// writes to the same output.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_consumer_in_a_separate_process() {
    let Ok(bus) = env::var(BUS) else { return };
    let store_id = env::var(STORE_ID).unwrap().parse().unwrap();
    let options = KafkaSourceOptions {
        session_time_max: SESSION_TIME_MAX,
        ..KafkaSourceOptions::new("projectors", 50)
    };
    let source = KafkaSource::open(bus.parse().unwrap(), options, store_id).await.unwrap();
    let asking = Mutex::new(());
    let ask = |question: String| {
        let _one_at_a_time = asking.lock().unwrap();
        println!("@{question}");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    };
    let position = |partition: &Partition| number(&ask(format!("position {}", partition.0)));
    let apply = |entry: &Entry| {
        let events: Vec<_> =
            entry.events.iter().map(|(stream, revision)| format!("{stream}#{revision}")).collect();
        let after = entry.after.map_or("none".to_owned(), |after| after.to_string());
        ask(format!("apply {} {after} {} {}", entry.partition.0, entry.position, events.join(","))) == "true"
    };
    consume(source, position, apply).await;
}

fn number(text: &str) -> Option<Position> {
    text.parse().ok()
}

/// Dropping it kills the process.
struct Consumer(Child);

impl Consumer {
    fn start(fixture: &KafkaFixture, ledger: &Arc<Ledger>) -> Self {
        let test = "event_source_contract::kafka::paused::a_consumer_in_a_separate_process";
        let mut child = Command::new(env::current_exe().unwrap())
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(BUS, fixture.topics.config().to_string())
            .env(STORE_ID, fixture.store.log().store_id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let questions = BufReader::new(child.stdout.take().unwrap());
        let mut answers = child.stdin.take().unwrap();
        let ledger = Arc::clone(ledger);
        thread::spawn(move || {
            for line in questions.lines().map_while(Result::ok) {
                let Some(question) = line.strip_prefix('@') else { continue };
                // Fails if the child was killed.
                drop(writeln!(answers, "{}", answer(&ledger, question)));
            }
        });
        Self(child)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SIGKILL also ends a stopped process.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn answer(ledger: &Ledger, question: &str) -> String {
    let words: Vec<&str> = question.split(' ').collect();
    match *words {
        ["position", partition] => {
            ledger.position(&Partition(partition.to_owned())).map_or("none".to_owned(), |at| at.to_string())
        }
        ["apply", partition, after, position, events] => {
            let event = |text: &str| {
                let (stream, revision) = text.split_once('#').unwrap();
                (stream.to_owned(), revision.parse().unwrap())
            };
            let entry = Entry {
                partition: Partition(partition.to_owned()),
                after: number(after),
                position: position.parse().unwrap(),
                events: events.split(',').map(event).collect(),
            };
            ledger.apply(&entry).to_string()
        }
        _ => panic!("unknown request: {question}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn stopped_and_killed_consumers_apply_every_event_once() {
    let fixture = KafkaFixture::fresh().await;
    let ledger = Arc::new(Ledger::default());
    let streams = (0..30).map(|_| new_stream()).collect();
    let appending = tokio::spawn(append_until_aborted(fixture.store(), streams));
    // Waits until 500 more events are stored and all of them are applied. Waits for every partition, so that
    // the test notices a partition without a reader.
    let config = fixture.topics.config();
    let catch_up = async || {
        let target = ledger.applied() + 500;
        eventually("new events are stored", async || {
            (fixture.store.log().last_position().await.unwrap() > Some(target)).then_some(())
        })
        .await;
        let written = last_positions(&config).await.unwrap();
        eventually("every partition is read", async || {
            written.iter().all(|(partition, last)| ledger.position(partition) >= *last).then_some(())
        })
        .await;
    };
    let mut consumers = [Consumer::start(&fixture, &ledger), Consumer::start(&fixture, &ledger)];
    catch_up().await;
    for turn in 0..4 {
        let stopped = &consumers[turn % 2];
        stopped.signal("-STOP");
        // The other consumer must get the partitions of the stopped one. They move when its session ends.
        catch_up().await;
        stopped.signal("-CONT");
        if turn == 2 {
            consumers[0] = Consumer::start(&fixture, &ledger);
        }
    }
    appending.abort();
    drop(appending.await);
    eventually("all events are applied", async || {
        // Reads the position each time, because an aborted append may still be in progress.
        let appended = fixture.store.log().last_position().await.unwrap();
        (Some(ledger.applied()) == appended).then_some(())
    })
    .await;
    ledger.assert_every_event_was_applied_once_and_in_order();
    eprintln!("{} events applied, {} batches came too late", ledger.applied(), ledger.refused());
}

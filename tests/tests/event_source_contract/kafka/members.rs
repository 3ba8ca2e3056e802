//! Several consumers of one group that join and leave.

use std::{sync::Arc, time::Duration};

use domain::StreamName;
use infra::{
    event_source::kafka::{KafkaSource, KafkaSourceOptions},
    event_store::{EventStore, ExpectedRevision},
};
use tokio::task::JoinHandle;

use super::{
    super::{Fixture, given_events, new_stream},
    KafkaFixture,
    ledger::{Ledger, consume},
};
use crate::support::eventually;

/// Short, so that partitions of a dead consumer move soon. The broker of infra/dev allows it.
pub const SESSION_TIME_MAX: Duration = Duration::from_secs(2);

/// Starts a consumer of the group that applies batches to the ledger.
async fn member(fixture: &KafkaFixture, ledger: &Arc<Ledger>) -> JoinHandle<()> {
    let options = KafkaSourceOptions {
        session_time_max: SESSION_TIME_MAX,
        ..KafkaSourceOptions::new("projectors", 50)
    };
    let source =
        KafkaSource::open(fixture.topics.config(), options, fixture.store.log().store_id()).await.unwrap();
    let (reads, writes) = (Arc::clone(ledger), Arc::clone(ledger));
    tokio::spawn(consume(
        source,
        move |partition| reads.position(partition),
        move |entry| writes.apply(entry),
    ))
}

/// Appends to many streams until it is aborted.
pub async fn append_until_aborted(store: Arc<dyn EventStore>, streams: Vec<StreamName>) {
    for round in 0u64.. {
        for stream in &streams {
            given_events(&*store, stream, ExpectedRevision::of((round * 2).checked_sub(1)), 2).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn members_that_join_and_leave_apply_every_event_once_and_in_order() {
    let fixture = KafkaFixture::fresh().await;
    let ledger = Arc::new(Ledger::default());
    let streams = (0..30).map(|_| new_stream()).collect();
    let appending = tokio::spawn(append_until_aborted(fixture.store(), streams));
    let mut members = vec![member(&fixture, &ledger).await];
    for turn in 0..8 {
        let before = ledger.applied();
        eventually("some progress", async || (ledger.applied() > before + 100).then_some(())).await;
        if turn % 2 == 0 {
            members.push(member(&fixture, &ledger).await);
        } else {
            members.remove(fastrand::usize(..members.len())).abort();
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
    members.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_consumer_that_has_caught_up_is_at_the_end_of_its_partitions() {
    let fixture = KafkaFixture::fresh().await;
    let ledger = Arc::new(Ledger::default());
    let member = member(&fixture, &ledger).await;
    for _ in 0..20 {
        given_events(&*fixture.store(), &new_stream(), ExpectedRevision::NoStream, 3).await;
    }
    let config = fixture.topics.config();
    eventually("no lag", async || {
        let last = infra::kafka::topics::last_positions(&config).await.unwrap();
        let caught_up = last.iter().all(|(partition, last)| ledger.position(partition) == *last);
        (ledger.applied() == 60 && caught_up).then_some(())
    })
    .await;
    member.abort();
}

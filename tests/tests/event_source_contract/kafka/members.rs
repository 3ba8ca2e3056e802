//! Several consumers of one group that join and leave.

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::{Sku, StreamName};
use infra::{
    event_source::{
        EventSource, Partition, SourceUpdate,
        kafka::{KafkaSource, KafkaSourceOptions},
    },
    event_store::{EventStore, ExpectedRevision},
};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    super::{Fixture, given_events, new_stream},
    KafkaFixture,
    ledger::{Ledger, consume},
};
use crate::support::{PATIENCE, eventually};

/// Short, so that partitions of a dead consumer move soon. The broker of infra/dev allows it.
pub const SESSION_TIME_MAX: Duration = Duration::from_secs(2);

/// Starts a consumer of the group that applies batches to the ledger.
async fn member(fixture: &KafkaFixture, ledger: &Arc<Ledger>) -> JoinHandle<()> {
    let source = source(fixture, SESSION_TIME_MAX, None).await;
    let (reads, writes) = (Arc::clone(ledger), Arc::clone(ledger));
    tokio::spawn(consume(
        source,
        move |partition| reads.position(partition),
        move |entry| writes.apply(entry),
    ))
}

async fn source(fixture: &KafkaFixture, session_time_max: Duration, instance: Option<&str>) -> KafkaSource {
    let instance = instance.map(str::to_owned);
    let options =
        KafkaSourceOptions { session_time_max, instance, ..KafkaSourceOptions::new("projectors", 50) };
    KafkaSource::open(fixture.topics.config(), options, fixture.store.log().store_id()).await.unwrap()
}

/// Reads until this consumer, which has the partitions `owned`, has `count`. Returns them in order.
async fn assigned(source: &mut KafkaSource, mut owned: Vec<Partition>, count: usize) -> Vec<Partition> {
    while owned.len() != count {
        match timeout(PATIENCE, source.next()).await.expect("partitions must arrive").unwrap() {
            SourceUpdate::Assigned(partitions) => owned.extend(partitions),
            SourceUpdate::Revoked(partitions) => owned.retain(|partition| !partitions.contains(partition)),
            SourceUpdate::Events(_) => {}
        }
    }
    owned.sort();
    owned
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_named_member_that_restarts_gets_its_partitions_and_the_others_keep_theirs() {
    let fixture = KafkaFixture::fresh().await;
    // Longer than the test may take, so that no session ends.
    let session = 2 * PATIENCE;
    let (all, half) = (fixture.partitions().len(), fixture.partitions().len() / 2);
    let mut first = source(&fixture, session, Some("one")).await;
    let of_first = assigned(&mut first, vec![], all).await;
    let mut second = source(&fixture, session, Some("two")).await;
    let (of_first, of_second) =
        tokio::join!(assigned(&mut first, of_first, all - half), assigned(&mut second, vec![], half));

    drop(second);
    let mut second = source(&fixture, session, Some("two")).await;
    assert_eq!(assigned(&mut second, vec![], half).await, of_second);
    // The other one heard of no change: its next update is an event of a partition that it had.
    for partition in &of_first {
        first.seek(partition, None);
    }
    // It has at most the three partitions of payments, so two or more are of orders or stock.
    let stream = (0..1_000)
        .flat_map(|number| [new_stream(), Sku::new(&format!("SKU-{number}")).unwrap().into()])
        .find(|stream| of_first.contains(&fixture.partition_of(stream)))
        .unwrap();
    given_events(&*fixture.store(), &stream, ExpectedRevision::NoStream, 1).await;
    let update = timeout(PATIENCE, first.next()).await.expect("the event must arrive").unwrap();
    assert!(matches!(update, SourceUpdate::Events(_)), "{update:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn two_members_of_the_same_name_share_the_partitions() {
    let fixture = KafkaFixture::fresh().await;
    let all = fixture.partitions().len();
    let mut first = source(&fixture, SESSION_TIME_MAX, Some("one")).await;
    assigned(&mut first, vec![], all).await;
    let mut second = source(&fixture, SESSION_TIME_MAX, Some("one")).await;
    // The broker expels the first one, which joins again without the name.
    let (of_first, of_second) =
        tokio::join!(assigned(&mut first, vec![], all / 2), assigned(&mut second, vec![], all - all / 2));
    let together: HashSet<Partition> = of_first.into_iter().chain(of_second).collect();
    assert_eq!(together.len(), all);
}

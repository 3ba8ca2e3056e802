//! The cache of aggregates, snapshots, and remembered commands.

use std::fs;

use command_api::executor::Outcome;
use domain::{Revision, stock::StockCommand};
use futures::{future::join_all, poll};
use serde_json::Value;

use super::*;
use crate::support::{appends, eventually};

const SNAPSHOT_FORMAT: u32 = 1;

fn tiny_cache() -> ExecutorOptions {
    ExecutorOptions { shards: 1, cache_weight_max: 1, ..ExecutorOptions::default() }
}

#[tokio::test]
async fn an_evicted_aggregate_is_reloaded() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), tiny_cache());
    let skus: Vec<Sku> = (0..10).map(|number| sku(&number.to_string())).collect();
    for round in 1..=3 {
        for sku in &skus {
            let received = stock.receive(sku, 1, &format!("round {round}")).await.unwrap();
            assert_eq!(received.summary.on_hand, round);
        }
    }
    assert!(stock.store.reads_of(&skus[0].clone().into()).contains(&0), "the cache kept everything");
}

#[tokio::test]
async fn an_aggregate_with_events_under_way_is_not_evicted() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), tiny_cache());
    stock.store.hold_from(appends("stock.received.v1"));
    let skus: Vec<Sku> = (0..5).map(|number| sku(&number.to_string())).collect();
    let mut received = Box::pin(join_all(skus.iter().map(|sku| stock.receive(sku, 1, "a"))));
    assert!(poll!(&mut received).is_pending());
    stock.store.held(5).await;
    let mut reserved = Box::pin(join_all(skus.iter().map(|sku| stock.reserve(sku, 1, 1))));
    assert!(poll!(&mut reserved).is_pending());
    stock.store.held(10).await;
    stock.store.release();
    assert!(received.await.iter().all(is_recorded));
    assert!(reserved.await.iter().all(is_recorded), "decided on a log without the receipts");
}

/// A store with snapshots, and a SKU with 3,000 receipts of one unit.
async fn with_a_long_stream(sku: &Sku) -> (Files, Arc<SnapshotStore>, Revision) {
    let files = Files::new();
    let snapshots = files.snapshots();
    let store = FaultyStore::owned(files.events.clone());
    let stock = Stock::with_snapshots(&store, Some(&snapshots), one_shard());
    let keys: Vec<String> = (0..3_000).map(|key| key.to_string()).collect();
    for keys in keys.chunks(1_000) {
        assert!(join_all(keys.iter().map(|key| stock.receive(sku, 1, key))).await.iter().all(is_recorded));
    }
    let stream = StreamName::from(sku.clone());
    let written = eventually("a snapshot of the last batch", async || {
        snapshots.load::<Value>(&stream, SNAPSHOT_FORMAT).filter(|snapshot| snapshot.revision == 2_999)
    });
    let revision = written.await.revision;
    (files, snapshots, revision)
}

/// Reloads the SKU in a new executor. Returns the first revision of each read of its stream.
async fn reload(files: &Files, snapshots: &Arc<SnapshotStore>, sku: &Sku) -> Vec<Revision> {
    let store = FaultyStore::owned(files.events.clone());
    let stock = Stock::with_snapshots(&store, Some(snapshots), one_shard());
    let on_hand = stock.executor.read(sku, |stock, _| stock.levels().on_hand).await.unwrap();
    assert_eq!(on_hand, 3_000);
    let again = stock.receive(sku, 1, "0").await.unwrap();
    assert!(matches!(again.outcome, Outcome::Duplicate { revision: 0 }), "{again:?}");
    store.reads_of(&sku.clone().into())
}

#[tokio::test]
async fn a_long_stream_is_reloaded_from_its_snapshot_and_the_later_events() {
    let long = sku("long");
    let (files, snapshots, revision) = with_a_long_stream(&long).await;
    let reads = reload(&files, &snapshots, &long).await;
    assert!(reads.iter().all(|from| *from >= revision), "read from {reads:?}");
}

#[tokio::test]
async fn a_snapshot_that_is_torn_or_does_not_fit_the_log_is_ignored() {
    let long = sku("long");
    let (files, snapshots, revision) = with_a_long_stream(&long).await;
    let stream = StreamName::from(long.clone());
    let snapshot = snapshots.load::<Value>(&stream, SNAPSHOT_FORMAT).unwrap();
    let mut wrong_state = snapshot.state;
    wrong_state["state"]["on_hand"] = 999_999.into();

    // The file is valid, but the log has another event at the snapshot's revision.
    let other_event = EventId(Uuid::new_v4());
    snapshots.save(&stream, SNAPSHOT_FORMAT, revision, other_event, &wrong_state).unwrap();
    assert!(reload(&files, &snapshots, &long).await.contains(&0));
    // The snapshot's revision is beyond the end of the stream, as after the restore of an older backup.
    snapshots.save(&stream, SNAPSHOT_FORMAT, revision + 5, snapshot.event_id, &wrong_state).unwrap();
    assert!(reload(&files, &snapshots, &long).await.contains(&0));
    // Another version of the code wrote it.
    snapshots.save(&stream, SNAPSHOT_FORMAT + 1, revision, snapshot.event_id, &wrong_state).unwrap();
    assert!(reload(&files, &snapshots, &long).await.contains(&0));

    let file = fs::read_dir(files.dir.path().join("snapshots")).unwrap().next().unwrap().unwrap().path();
    let half = fs::metadata(&file).unwrap().len() / 2;
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(half).unwrap();
    assert!(reload(&files, &snapshots, &long).await.contains(&0));
}

#[tokio::test]
async fn a_command_that_is_no_longer_in_memory_is_found_in_the_stream() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), one_shard());
    let busy = sku("busy");
    let keys: Vec<String> = (0..10_100).map(|key| key.to_string()).collect();
    for keys in keys[..10_000].chunks(1_000) {
        assert!(join_all(keys.iter().map(|key| stock.receive(&busy, 1, key))).await.iter().all(is_recorded));
    }
    let stream = StreamName::from(busy.clone());
    let read_before = stock.store.reads_of(&stream).len();
    assert!(matches!(
        stock.receive(&busy, 1, "0").await.unwrap().outcome,
        Outcome::Duplicate { revision: 0 }
    ));
    assert_eq!(
        stock.store.reads_of(&stream).len(),
        read_before,
        "the stream was read although all 10,000 commands are in memory"
    );

    assert!(
        join_all(keys[10_000..].iter().map(|key| stock.receive(&busy, 1, key))).await.iter().all(is_recorded)
    );
    let old = stock.receive(&busy, 1, "7").await.unwrap();
    assert!(matches!(old.outcome, Outcome::Duplicate { revision: 7 }), "{old:?}");
    let other = StockCommand::Receive { quantity: 2, reference: None };
    let reused = stock.run(&busy, other, external(&busy, "7", "another receipt")).await.unwrap();
    assert!(matches!(reused.outcome, Outcome::KeyReused), "{reused:?}");
    assert!(is_recorded(&stock.receive(&busy, 1, "never seen").await));
    assert_eq!(files.log().await.stock("busy").levels().on_hand, 10_101);
}

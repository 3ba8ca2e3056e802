//! The cache of aggregates, snapshots, and remembered commands.

use std::{fs, ops::Range};

use command_api::executor::Outcome;
use domain::{
    Amount, Revision,
    order::{NewLine, OrderCommand, OrderDecider, PaymentTerms, PlaceOrder},
    stock::StockCommand,
};
use futures::{future::join_all, poll};
use serde_json::Value;

use super::*;
use crate::support::{appends, eventually};

const SNAPSHOT_FORMAT: u32 = 4;

fn tiny_cache() -> ExecutorOptions {
    ExecutorOptions { cache_bytes_max: 1, ..ExecutorOptions::default() }
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
    let stock = Stock::with_snapshots(&store, Some(&snapshots), ExecutorOptions::default());
    receive_each(&stock, sku, 0..3_000).await;
    let revision = snapshot_at_least(&stock, &snapshots, sku, 900).await;
    (files, snapshots, revision)
}

/// Receives one unit under each key.
async fn receive_each(stock: &Stock, sku: &Sku, keys: Range<u32>) {
    let keys: Vec<String> = keys.map(|key| key.to_string()).collect();
    for keys in keys.chunks(1_000) {
        assert!(join_all(keys.iter().map(|key| stock.receive(sku, 1, key))).await.iter().all(is_recorded));
    }
}

/// Waits for a snapshot at this revision or later. The last one covers all but the last 2,000 events: up to
/// 1,000 under way when it began, and fewer than 1,000 since.
async fn snapshot_at_least(
    stock: &Stock,
    snapshots: &SnapshotStore,
    sku: &Sku,
    at_least: Revision,
) -> Revision {
    let stream = StreamName::from(sku.clone());
    eventually("a snapshot of the last events", async || {
        // A snapshot that is due starts with the next work on the stream.
        stock.executor.read(sku, |_, _| ()).await.unwrap();
        let snapshot = snapshots.load::<Value>(&stream, SNAPSHOT_FORMAT)?;
        (snapshot.revision >= at_least).then_some(snapshot.revision)
    })
    .await
}

/// Reloads the SKU in a new executor. Returns the first revision of each read of its stream.
async fn reload(files: &Files, snapshots: &Arc<SnapshotStore>, sku: &Sku) -> Vec<Revision> {
    let store = FaultyStore::owned(files.events.clone());
    let stock = Stock::with_snapshots(&store, Some(snapshots), ExecutorOptions::default());
    let on_hand = stock.executor.read(sku, |stock, _| stock.levels().on_hand).await.unwrap();
    assert_eq!(on_hand, 3_000);
    let reads = store.reads_of(&sku.clone().into());
    let again = stock.receive(sku, 1, "0").await.unwrap();
    assert!(matches!(again.outcome, Outcome::Duplicate { revision: 0 }), "{again:?}");
    reads
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
    wrong_state["on_hand"] = 999_999.into();

    let other_event = EventId(Uuid::new_v4());
    let unfit = [
        ("the log has another event at its revision", SNAPSHOT_FORMAT, revision, other_event),
        ("the log ends before it, as after a restore", SNAPSHOT_FORMAT, revision + 9_000, snapshot.event_id),
        ("another version of the code wrote it", SNAPSHOT_FORMAT + 1, revision, snapshot.event_id),
    ];
    for (why, format, revision, event_id) in unfit {
        let (_dir, copy) = copy_of_snapshots(&files);
        copy.save(&stream, format, revision, event_id, &wrong_state).unwrap();
        assert!(reload(&files, &copy, &long).await.contains(&0), "{why}");
    }

    let (dir, copy) = copy_of_snapshots(&files);
    let mut paths = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    let file = paths.find(|path| path.extension().is_some_and(|extension| extension == "json")).unwrap();
    let half = fs::metadata(&file).unwrap().len() / 2;
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(half).unwrap();
    assert!(reload(&files, &copy, &long).await.contains(&0));
}

#[tokio::test]
async fn a_load_of_many_events_reads_them_once_and_leaves_a_snapshot() {
    let long = sku("long");
    for over in [FaultyStore::owned, FaultyStore::shared] {
        let files = Files::new();
        let without_snapshots =
            Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
        receive_each(&without_snapshots, &long, 0..3_000).await;
        let snapshots = files.snapshots();
        let store = over(files.events.clone());
        let stock = Stock::with_snapshots(&store, Some(&snapshots), ExecutorOptions::default());
        assert!(is_recorded(&stock.receive(&long, 1, "after the start").await));
        // The snapshot is there at the first answer, so a process that stops now leaves it behind.
        let snapshot = snapshots.load::<Value>(&long.clone().into(), SNAPSHOT_FORMAT).unwrap();
        assert_eq!(snapshot.revision, 2_999);
        let from_the_beginning = store.reads_of(&long.clone().into()).into_iter().filter(|from| *from == 0);
        assert_eq!(from_the_beginning.count(), 1);
        let old = stock.receive(&long, 1, "0").await.unwrap();
        assert!(matches!(old.outcome, Outcome::Duplicate { revision: 0 }), "{old:?}");

        let store = over(files.events.clone());
        let restarted = Stock::with_snapshots(&store, Some(&snapshots), ExecutorOptions::default());
        assert!(is_recorded(&restarted.receive(&long, 1, "after a restart").await));
        let reads = store.reads_of(&long.clone().into());
        assert!(reads.iter().all(|from| *from >= 2_999), "read from {reads:?}");
    }
}

/// A reload without a snapshot writes one, so each case has a copy of its own.
fn copy_of_snapshots(files: &Files) -> (TempDir, Arc<SnapshotStore>) {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(files.dir.path().join("snapshots")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let snapshots = SnapshotStore::open(copy.path(), files.events.log().store_id()).unwrap();
    (copy, Arc::new(snapshots))
}

#[tokio::test]
async fn a_snapshot_whose_index_of_commands_was_deleted_is_ignored() {
    let long = sku("long");
    let (files, snapshots, _) = with_a_long_stream(&long).await;
    drop(snapshots);
    fs::remove_file(files.dir.path().join("snapshots/commands.db")).unwrap();
    // `reload` repeats the first receipt, which is still recognised.
    assert!(reload(&files, &files.snapshots(), &long).await.contains(&0));
}

#[tokio::test]
async fn a_new_key_costs_no_read_and_an_old_one_two_however_long_the_stream_is() {
    let files = Files::new();
    let snapshots = files.snapshots();
    let store = FaultyStore::owned(files.events.clone());
    let stock = Stock::with_snapshots(&store, Some(&snapshots), ExecutorOptions::default());
    let busy = sku("busy");
    receive_each(&stock, &busy, 0..12_000).await;
    snapshot_at_least(&stock, &snapshots, &busy, 9_900).await;

    let reads_before = store.reads_of(&busy.clone().into()).len();
    // A snapshot in the background reads the later events.
    let reads = || {
        let mut reads = store.reads_of(&busy.clone().into()).split_off(reads_before);
        reads.retain(|from| *from < 9_000);
        reads
    };
    assert!(is_recorded(&stock.receive(&busy, 1, "never seen").await));
    assert!(reads().is_empty(), "{:?}", reads());
    let old = stock.receive(&busy, 1, "7").await.unwrap();
    assert!(matches!(old.outcome, Outcome::Duplicate { revision: 7 }), "{old:?}");
    assert_eq!(reads(), [7, 7]);
    let other = StockCommand::Receive { quantity: 2, reference: None };
    let reused = stock.run(&busy, other, external(&busy, "7", "another receipt")).await.unwrap();
    assert!(matches!(reused.outcome, Outcome::KeyReused), "{reused:?}");
    assert_eq!(files.log().await.stock("busy").levels().on_hand, 12_001);
}

/// The index may have commands of a history that the log lost when it was restored to an earlier state.
#[tokio::test]
async fn a_command_that_only_the_index_has_is_executed() {
    let long = sku("long");
    let (files, snapshots, _) = with_a_long_stream(&long).await;
    let lost = external(&long, "lost", "receipt");
    snapshots
        .index_commands(&long.clone().into(), vec![(lost.id, 5), (external(&long, "beyond", "").id, 9_999)])
        .unwrap();
    let store = FaultyStore::owned(files.events.clone());
    let stock = Stock::with_snapshots(&store, Some(&snapshots), ExecutorOptions::default());
    for key in ["lost", "beyond"] {
        assert!(is_recorded(&stock.receive(&long, 1, key).await));
    }
}

#[tokio::test]
async fn on_a_shared_store_snapshots_are_written_and_old_commands_are_found() {
    let files = Files::new();
    let snapshots = files.snapshots();
    let store = FaultyStore::shared(files.events.clone());
    let stock = Stock::with_snapshots(&store, Some(&snapshots), ExecutorOptions::default());
    let busy = sku("busy");
    receive_each(&stock, &busy, 0..3_000).await;
    snapshot_at_least(&stock, &snapshots, &busy, 900).await;
    let old = stock.receive(&busy, 1, "7").await.unwrap();
    assert!(matches!(old.outcome, Outcome::Duplicate { revision: 7 }), "{old:?}");
    assert!(is_recorded(&stock.receive(&busy, 1, "never seen").await));
}

#[tokio::test]
async fn the_cache_is_bounded_by_the_bytes_of_its_orders() {
    let files = Files::new();
    let mib = 1024 * 1024;
    let options = ExecutorOptions { cache_bytes_max: 4 * mib, ..ExecutorOptions::default() };
    for (metadata_bytes, is_kept) in [(10, true), (100_000, false)] {
        let store = FaultyStore::owned(files.events.clone());
        let dyn_store: Arc<dyn EventStore> = store.clone();
        let unreadable = UnreadableStreams::reported_to(Health::default());
        let orders: Executor<OrderDecider> = Executor::start(&dyn_store, None, &unreadable, options);
        let ids: Vec<OrderId> = (0..100).map(|_| OrderId(Uuid::new_v4())).collect();
        for id in &ids {
            let command = OrderCommand::Place(Box::new(order_with_metadata(*id, metadata_bytes)));
            let context =
                CommandContext::reaction(EventId(id.0), id.0, &StreamName::from(*id), "order.place");
            orders.execute(id, command, &context).await.unwrap();
        }
        let reads = || store.reads_of(&ids[0].into()).len();
        let reads_before = reads();
        orders.read(&ids[0], |_, _| ()).await.unwrap();
        let was_reloaded = reads() > reads_before;
        assert_eq!(!was_reloaded, is_kept, "100 orders with {metadata_bytes} bytes of metadata");
    }
}

fn order_with_metadata(order_id: OrderId, bytes: usize) -> PlaceOrder {
    let unit_price = Amount::new(100).unwrap();
    PlaceOrder {
        order_id,
        customer_id: None,
        currency: "GBP".parse().unwrap(),
        country: None,
        lines: vec![NewLine {
            sku: sku("a"),
            quantity: 1,
            unit_price,
            stocked: true,
            adjustments: Vec::new(),
        }],
        adjustments: Vec::new(),
        prices_include_tax: false,
        reference: None,
        // A text has at most 500 characters, of 4 bytes here.
        metadata: (0..50).map(|key| (key.to_string(), "😀".repeat(bytes / 200))).collect(),
        placed_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
        payment_due_at: None,
        terms: PaymentTerms::Prepaid,
        captures_in_parts: true,
        payment: None,
        payments: Vec::new(),
    }
}

//! Commands that wait at the same time share appends, up to the bounds.

use command_api::executor::{ExecuteError, Flow};
use domain::stock::StockCommand;
use futures::{FutureExt, future::join_all};

use super::*;
use crate::support::{appends, eventually};

// These tests run on one thread, so the task of a stream runs only after all commands are sent.

#[tokio::test]
async fn waiting_commands_of_one_stream_cost_one_append_and_are_answered_in_order() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::shared(files.events.clone()), ExecutorOptions::default());
    let (hot, keys) = (sku("hot"), (0..1_000).map(|key| key.to_string()).collect::<Vec<_>>());
    let answers = join_all(keys.iter().map(|key| stock.receive(&hot, 1, key))).await;

    let revisions = answers.iter().map(|answer| answer.as_ref().unwrap().revision.unwrap());
    assert!(revisions.eq(0..1_000), "{answers:?}");
    let on_hand = answers.iter().map(|answer| answer.as_ref().unwrap().summary.on_hand);
    assert!(on_hand.eq(1..=1_000));
    let appends = stock.store.submitted();
    assert_eq!(appends.iter().map(|append| append.events.len()).collect::<Vec<_>>(), [1_000]);
}

#[tokio::test]
async fn an_append_is_cut_at_a_thousand_events_and_at_half_a_mebibyte() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::shared(files.events.clone()), ExecutorOptions::default());
    let (many, keys) = (sku("many"), (0..1_020).map(|key| key.to_string()).collect::<Vec<_>>());
    join_all(keys.iter().map(|key| stock.receive(&many, 1, key))).await;
    let lengths: Vec<usize> = stock.store.submitted().iter().map(|append| append.events.len()).collect();
    assert_eq!(lengths, [1_000, 20]);

    let large = sku("large");
    let reference = Some("x".repeat(2_000));
    let receive = |key: &String| {
        let command = StockCommand::Receive { quantity: 1, reference: reference.clone() };
        stock.run(&large, command, external(&large, key, "receipt"))
    };
    join_all(keys[..500].iter().map(receive)).await;
    for append in &stock.store.submitted()[2..] {
        let bytes: usize = append.events.iter().map(|event| event.data.len() + event.metadata.len()).sum();
        assert!(bytes < 512 * 1024 + 4_096, "an append of {bytes} bytes");
    }
    assert_eq!(files.log().await.stock("large").levels().on_hand, 500);
}

#[tokio::test]
async fn a_command_on_cached_state_is_submitted_before_its_caller_waits() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
    let (unknown, known, keys) = (sku("unknown"), sku("known"), ["a", "b", "c"]);
    // The store learns the names of its streams in the background. Before, a new stream is looked up.
    let stream = StreamName::from(unknown.clone());
    eventually("the store knows its streams", async || stock.store.lacks(&stream).then_some(())).await;
    for (sent, key) in (1..).zip(keys) {
        let mut answer = Box::pin(stock.receive(&unknown, 1, key));
        // Polled once, so no other task has run.
        assert!(futures::poll!(&mut answer).is_pending());
        assert_eq!(stock.store.submitted().len(), sent);
        assert!(is_recorded(&answer.await));
    }

    files
        .append_unchecked(&known, ExpectedRevision::NoStream, "stock.received.v1", r#"{"quantity":1}"#)
        .await;
    let mut answer = Box::pin(stock.receive(&known, 1, "d"));
    assert!(futures::poll!(&mut answer).is_pending());
    assert_eq!(stock.store.submitted().len(), keys.len(), "submitted before the stream was read");
    assert_eq!(answer.await.unwrap().revision, Some(1));
}

#[tokio::test]
async fn while_the_disk_stalls_commands_beyond_the_bound_are_refused_and_reactions_are_not() {
    let files = Files::new();
    let options = ExecutorOptions { queue_commands_max: 4, ..ExecutorOptions::default() };
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), options);
    let hot = sku("hot");
    stock.receive(&hot, 10, "first").await.unwrap();
    stock.store.hold_from(appends("stock.received.v1"));

    let keys: Vec<String> = (0..4).map(|key| key.to_string()).collect();
    let mut under_way = Box::pin(join_all(keys.iter().map(|key| stock.receive(&hot, 1, key))));
    assert!(futures::poll!(&mut under_way).is_pending());
    stock.store.held(1).await;
    let refused = stock.receive(&hot, 1, "one too many").now_or_never().expect("refused at once");
    assert_eq!(refused.unwrap_err(), ExecuteError::Overloaded);

    // Answered when submitted, like the steps of placing an order.
    let command = StockCommand::Reserve { order_id: OrderId(Uuid::from_u128(1)), quantity: 1 };
    let context = external(&hot, "a reaction", "order");
    let reserved = stock.executor.submit_in(Flow::begin(&*stock.store), &hot, command, context).await;
    assert!(is_recorded(&reserved), "{reserved:?}");

    stock.store.release();
    assert!(under_way.await.iter().all(is_recorded));
    assert!(is_recorded(&stock.receive(&hot, 1, "one too many").await));
}

#[tokio::test]
async fn an_unreadable_stream_does_not_affect_other_streams() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
    let (unknown, broken, sound) = (sku("unknown"), sku("broken"), sku("sound"));
    files.append_unchecked(&unknown, ExpectedRevision::NoStream, "stock.teleported.v9", "{}").await;
    let shipped = serde_json::json!({"order_id": Uuid::nil(), "shipment_id": Uuid::nil(), "quantity": 5});
    files
        .append_unchecked(&broken, ExpectedRevision::NoStream, "stock.shipped.v1", &shipped.to_string())
        .await;

    let answers = join_all([&unknown, &broken, &sound].map(|sku| stock.receive(sku, 1, "a"))).await;
    assert!(matches!(answers[0], Err(ExecuteError::Unreadable(_))), "{:?}", answers[0]);
    assert!(matches!(answers[1], Err(ExecuteError::Unreadable(_))), "{:?}", answers[1]);
    assert!(is_recorded(&answers[2]), "{:?}", answers[2]);
    assert!(is_recorded(&stock.receive(&sound, 1, "b").await));
}

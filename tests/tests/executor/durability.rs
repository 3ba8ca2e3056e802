//! When a command is answered, and what follows a failed or lost append.

use command_api::executor::{ExecuteError, Outcome};
use domain::stock::{StockCommand, StockRefusal};
use futures::{future::join_all, poll};

use super::*;
use crate::support::{Fault, appends};

#[tokio::test]
async fn a_command_is_answered_only_after_it_is_durable() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
    let hot = sku("hot");
    stock.store.hold_from(appends("stock.received.v1"));
    let mut received = Box::pin(stock.receive(&hot, 1, "a"));
    assert!(poll!(&mut received).is_pending());
    stock.store.held(1).await;
    assert!(poll!(&mut received).is_pending());
    stock.store.release();
    assert!(is_recorded(&received.await));
}

#[tokio::test]
async fn an_outcome_without_events_is_answered_only_after_the_events_it_depends_on_are_durable() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
    let hot = sku("hot");
    stock.receive(&hot, 10, "stock").await.unwrap();
    stock.store.hold_from(appends("stock.reserved.v1"));
    let mut held = Box::pin(stock.reserve(&hot, 10, 1));
    assert!(poll!(&mut held).is_pending());
    stock.store.held(1).await;

    let mut refused = Box::pin(stock.reserve(&hot, 1, 2));
    let mut unchanged = Box::pin(stock.reserve(&hot, 10, 1));
    let mut read = Box::pin(stock.executor.read(&hot, |stock, _| stock.levels().available()));
    assert!(poll!(&mut refused).is_pending() && poll!(&mut unchanged).is_pending());
    assert!(poll!(&mut read).is_pending());
    // The barrier behind the reservation shows that all three are decided.
    stock.store.held(2).await;
    assert!(poll!(&mut refused).is_pending(), "refused because of a reservation that may be lost");
    assert!(poll!(&mut unchanged).is_pending(), "answered as reserved although the reservation may be lost");
    assert!(poll!(&mut read).is_pending(), "read a reservation that may be lost");

    stock.store.release();
    assert!(is_recorded(&held.await));
    let insufficient = StockRefusal::Insufficient { requested: 1, available: 0 };
    assert!(matches!(refused.await.unwrap().outcome, Outcome::Refused(refusal) if refusal == insufficient));
    assert!(matches!(unchanged.await.unwrap().outcome, Outcome::Unchanged));
    assert_eq!(read.await.unwrap(), 0);
}

#[tokio::test]
async fn a_command_that_depends_on_a_failed_append_is_decided_again() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
    let hot = sku("hot");
    stock.receive(&hot, 1, "stock").await.unwrap();
    stock.store.fail_next(appends("stock.reserved.v1"), Fault::Refuse);
    let first = stock.reserve(&hot, 1, 1).await;
    assert!(matches!(first, Err(ExecuteError::Unavailable(_))), "{first:?}");
    // The failed reservation must not stay in memory.
    assert!(is_recorded(&stock.reserve(&hot, 1, 2).await));
    assert_eq!(files.log().await.stock("hot").levels().reserved, 1);
}

/// The append of one SKU is under way when the append of the other fails. The
/// reload must include the first append.
#[tokio::test]
async fn state_dropped_after_a_failure_is_reloaded_only_after_earlier_appends_are_durable() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
    let (slow, failing) = (sku("slow"), sku("failing"));
    stock.store.hold_from(appends("stock.received.v1"));
    let mut received = Box::pin(stock.receive(&slow, 10, "a"));
    assert!(poll!(&mut received).is_pending());
    stock.store.held(1).await;
    stock.store.fail_next(appends("stock.received.v1"), Fault::Refuse);
    assert!(stock.receive(&failing, 1, "b").await.is_err());

    let mut reserved = Box::pin(stock.reserve(&slow, 10, 1));
    assert!(poll!(&mut reserved).is_pending());
    stock.store.held(2).await;
    stock.store.release();
    assert!(is_recorded(&received.await));
    let reserved = reserved.await;
    assert!(is_recorded(&reserved), "10 units were durable: {reserved:?}");
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_returns_the_recorded_outcome() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
    let hot = sku("hot");
    for (fault, written) in [(Fault::LoseAnswer, true), (Fault::LoseAppend, false)] {
        let key = format!("{fault:?}");
        stock.store.fail_next(appends("stock.received.v1"), fault);
        let lost = stock.receive(&hot, 1, &key).await;
        assert!(matches!(lost, Err(ExecuteError::OutcomeUnknown(_))), "{lost:?}");
        let again = stock.receive(&hot, 1, &key).await.unwrap();
        assert_eq!(matches!(again.outcome, Outcome::Duplicate { .. }), written, "{again:?}");
    }
    assert_eq!(files.log().await.stock("hot").levels().on_hand, 2);
}

#[tokio::test]
async fn a_repeated_command_gets_its_recorded_outcome_and_another_content_is_refused() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
    let hot = sku("hot");
    let twins = join_all((0..8).map(|_| stock.receive(&hot, 5, "a"))).await;
    let recorded = twins.iter().filter(|answer| is_recorded(answer)).count();
    let duplicates = twins
        .iter()
        .filter(|answer| matches!(answer.as_ref().unwrap().outcome, Outcome::Duplicate { revision: 0 }));
    assert_eq!((recorded, duplicates.count()), (1, 7));
    let other = StockCommand::Receive { quantity: 6, reference: None };
    let reused = stock.run(&hot, other, external(&hot, "a", "another receipt")).await;
    assert!(matches!(reused.unwrap().outcome, Outcome::KeyReused));
    assert_eq!(files.log().await.stock("hot").levels().on_hand, 5);
}

#[tokio::test]
async fn a_command_for_another_revision_is_not_executed() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::owned(files.events.clone()), ExecutorOptions::default());
    let hot = sku("hot");
    stock.receive(&hot, 5, "a").await.unwrap();
    let adjust = |key: &str, if_revision| {
        let context = CommandContext { if_revision, ..external(&hot, key, "adjustment") };
        stock.run(&hot, StockCommand::Adjust { delta: -1, reason: None }, context)
    };
    assert!(matches!(adjust("b", Some(1)).await.unwrap().outcome, Outcome::PreconditionFailed));
    assert!(is_recorded(&adjust("b", Some(0)).await));
    // The retry still names the revision before its first attempt, which is no longer current.
    assert!(matches!(adjust("b", Some(0)).await.unwrap().outcome, Outcome::Duplicate { revision: 1 }));
    assert!(is_recorded(&adjust("c", None).await), "without a revision the command runs");
}

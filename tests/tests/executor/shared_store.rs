//! A store with several writing processes, like EventStoreDB.

use command_api::executor::{ExecuteError, Outcome};
use domain::stock::StockRefusal;
use futures::{future::join_all, join};
use serde_json::json;

use super::*;
use crate::support::{Fault, appends};

#[tokio::test]
async fn a_command_overtaken_by_another_writer_is_decided_again() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::shared(files.events.clone()), ExecutorOptions::default());
    let last = sku("last");
    stock.receive(&last, 1, "stock").await.unwrap();
    let data = json!({"order_id": Uuid::from_u128(9), "quantity": 1}).to_string();
    let other = append_of_another_writer(&last, ExpectedRevision::Exact(0), "stock.reserved.v1", &data);
    stock.store.fail_next(appends("stock.reserved.v1"), Fault::Overtake(other));
    let reserved = stock.reserve(&last, 1, 1).await.unwrap();
    let insufficient = StockRefusal::Insufficient { requested: 1, available: 0 };
    assert!(
        matches!(&reserved.outcome, Outcome::Refused(refusal) if *refusal == insufficient),
        "{reserved:?}"
    );
}

#[tokio::test]
async fn a_refusal_is_decided_on_the_events_of_other_writers_too() {
    let files = Files::new();
    let here = Stock::over(&FaultyStore::shared(files.events.clone()), ExecutorOptions::default());
    let there = Stock::over(&FaultyStore::shared(files.events.clone()), ExecutorOptions::default());
    let contested = sku("contested");
    here.receive(&contested, 1, "a").await.unwrap();
    assert!(is_recorded(&here.reserve(&contested, 1, 1).await));
    there.receive(&contested, 1, "b").await.unwrap();
    assert!(is_recorded(&here.reserve(&contested, 1, 2).await), "refused on stale cached state");
}

#[tokio::test]
async fn two_processes_on_one_stream_both_make_progress_and_lose_nothing() {
    let files = Files::new();
    let processes =
        [0, 1].map(|_| Stock::over(&FaultyStore::shared(files.events.clone()), ExecutorOptions::default()));
    let hot = sku("hot");
    let buyers = async |process: &Stock, first: u128| {
        let mut held = 0;
        for round in 0..20 {
            let orders = (0..25).map(|order| process.reserve(&hot, 1, first + round * 25 + order));
            for answer in join_all(orders).await {
                match answer {
                    Ok(executed) if matches!(executed.outcome, Outcome::Recorded) => held += 1,
                    // An earlier attempt was appended although its answer was a conflict.
                    Ok(executed) if matches!(executed.outcome, Outcome::Unchanged) => held += 1,
                    Ok(executed) => assert!(matches!(executed.outcome, Outcome::Refused(_)), "{executed:?}"),
                    Err(error) => assert_eq!(error, ExecuteError::Conflict),
                }
            }
        }
        held
    };
    processes[0].receive(&hot, 700, "stock").await.unwrap();
    let (here, there) = join!(buyers(&processes[0], 0), buyers(&processes[1], 1_000));
    assert!(here > 0 && there > 0, "{here} and {there}");
    let log = files.log().await;
    log.walk_stock(|_, _, _| {});
    assert_eq!(log.stock("hot").levels().reserved, here + there);
    assert_eq!(u32::try_from(log.count("stock.reserved.v1")), Ok(here + there));
}

#[tokio::test]
async fn an_append_without_an_answer_is_repeated_unchanged_until_it_is_answered() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::shared(files.events.clone()), ExecutorOptions::default());
    let hot = sku("hot");
    for (fault, key) in [(Fault::LoseAnswer, "written"), (Fault::LoseAppend, "not written")] {
        let before = stock.store.submitted().len();
        stock.store.fail_next(appends("stock.received.v1"), fault);
        assert!(is_recorded(&stock.receive(&hot, 1, key).await));
        let sent = &stock.store.submitted()[before..];
        assert_eq!(sent.len(), 2);
        assert_eq!((&sent[0].events, sent[0].expected), (&sent[1].events, sent[1].expected));
    }
    assert_eq!(files.log().await.types(hot), ["stock.received.v1", "stock.received.v1"]);
}

#[tokio::test]
async fn an_append_with_an_unknown_outcome_is_repeated_while_the_store_is_unavailable() {
    let files = Files::new();
    let stock = Stock::over(&FaultyStore::shared(files.events.clone()), ExecutorOptions::default());
    let (wanted, count) = (sku("wanted"), 5);
    stock.receive(&wanted, count, "stock").await.unwrap();
    stock.store.fail_next(appends("stock.reserved.v1"), Fault::LoseAnswer);
    stock.store.fail_next(appends("stock.reserved.v1"), Fault::Refuse);
    let reserved = stock.reserve(&wanted, 1, 1).await.unwrap();
    assert!(matches!(reserved.outcome, Outcome::Recorded), "{reserved:?}");
}

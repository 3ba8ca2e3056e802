//! What the process manager does when, and never again.

use domain::{EventId, NewEvent};
use infra::event_store::{Append, ExpectedRevision};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::support::{ShopOptions, eventually, metadata};

#[tokio::test]
async fn what_a_rejected_order_holds_is_released_by_the_reaction_to_its_rejection() {
    let shop = Shop::open().await;
    shop.receive("a", 5).await;
    let rejected = shop.place("checkout", &basket()).await.problem(409, "insufficient_stock");
    assert_eq!(rejected["shortages"], json!([{"sku": "b", "requested": 3, "available": 0}]));
    let log = shop.until("it is released", |log| log.count("stock.released.v1") == 1).await;
    assert_eq!(log.stock("a").levels().available(), 5);
    let released = metadata(log.first("stock.released.v1"));
    assert_eq!(released.causation_id, Some(log.first("order.rejected.v1").id));
}

/// Were the units of `a` given back as soon as `b` is found short, a rejection lost in a crash would leave an
/// order that is still to be placed and holds half of what it needs.
#[tokio::test]
async fn nothing_is_released_before_the_rejection_is_durable() {
    let shop = Shop::open().await;
    shop.receive("a", 5).await;
    leave_at(&shop, "order.rejected.v1").await;
    let mut shop = shop.crash_into(ShopOptions { process_manager: false, ..ShopOptions::default() }).await;
    assert_eq!(shop.log().await.stock("a").levels().reserved, 2);
    // What was short comes in, and the order is allocated after all.
    shop.receive("b", 5).await;
    shop.start_process_manager();
    let log = shop.until("the payment is requested", |log| log.count("payment.requested.v1") == 1).await;
    assert_placed_once(&log);
}

#[tokio::test]
async fn the_position_stays_before_a_reaction_that_is_not_done_and_a_restart_repeats_it() {
    let mut shop = Shop::open().await;
    shop.receive("stuck", 1).await;
    shop.receive("free", 1).await;
    let stuck = order_id(&shop.place("stuck", &[line("stuck", 1, 100)]).await.expect(201));
    let free = order_id(&shop.place("free", &[line("free", 1, 100)]).await.expect(201));
    shop.store.refuse_all(Box::new(|append| append.stream.to_string() == "stock-stuck"));
    for order in [stuck, free] {
        shop.post(&format!("/v1/orders/{order}/cancel"), "cancel", json!({})).await.expect(200);
    }
    let released = |log: &Log, sku: &str| log.stock(sku).levels().reserved == 0;
    let log = shop.until("the other order is done", |log| released(log, "free")).await;
    assert!(!released(&log, "stuck"));
    shop.stop_process_manager().await;
    let cancelled = log.of(stuck).last().unwrap().position;
    let reacted = shop.reacted_up_to().await.unwrap();
    assert!(reacted < cancelled, "{reacted} is past the cancellation at {cancelled}");

    let shop = shop.crash().await;
    shop.until("the reaction is repeated", |log| released(log, "stuck")).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_holds_the_position_and_nothing_else() {
    let mut shop = Shop::open().await;
    shop.receive("a", 5).await;
    let order = order_id(&shop.place("first", &[line("a", 1, 100)]).await.expect(201));
    let metadata = shop.log().await.of(order)[0].metadata.to_vec().into();
    let (id, type_name) = (EventId(Uuid::new_v4()), "order.gift_wrapped.v1");
    let event = NewEvent { id, type_name, data: b"{}".to_vec(), metadata };
    let expected = ExpectedRevision::Exact(1);
    let append = Append { stream: order.into(), expected, events: vec![event], epoch: None };
    let position = shop.events().append(append).await.unwrap().last_position.unwrap();

    let second = order_id(&shop.place("second", &[line("a", 1, 100)]).await.expect(201));
    shop.post(&format!("/v1/orders/{second}/cancel"), "cancel", json!({})).await.expect(200);
    shop.until("the other order is done", |log| log.count("stock.released.v1") == 1).await;
    shop.stop_process_manager().await;
    let reached = shop.reacted_up_to().await;
    assert!(reached < Some(position), "{reached:?} is not before {position}");
}

/// A shop in which everything that has a reaction has happened.
async fn eventful_shop() -> Shop {
    let shop = Shop::open().await;
    stock_up(&shop).await;
    let sold = shop.place("sold", &[line("a", 2, 100)]).await.expect(201);
    shop.pay(&sold).await;
    let path = format!("/v1/orders/{}", sold["order_id"].as_str().unwrap());
    let part = json!({"lines": [{"line": 1, "quantity": 1}]});
    shop.post(&format!("{path}/shipments"), "part", part.clone()).await.expect(201);
    shop.post(&format!("{path}/returns"), "return", part).await.expect(201);
    shop.post(&format!("{path}/refunds"), "refund", json!({"amount": 50})).await.expect(201);
    shop.post(&format!("{path}/cancel"), "cancel", json!({})).await.expect(200);
    let failed = shop.place("failed", &[line("b", 1, 100)]).await.expect(201);
    let path = format!("/v1/payments/{}/fail", failed["payment_id"].as_str().unwrap());
    shop.post(&path, "fail", json!({})).await.expect(200);
    let voided = shop.place("voided", &[line("b", 1, 100)]).await.expect(201);
    let path = format!("/v1/payments/{}/void", voided["payment_id"].as_str().unwrap());
    shop.post(&path, "void", json!({})).await.expect(200);
    shop.place("rejected", &[line("a", 1, 100), line("b", 9, 100)]).await.problem(409, "insufficient_stock");
    let asynchronous = [("prefer", "respond-async")];
    let body = json!({"currency": "GBP", "lines": [line("a", 1, 0)]});
    shop.post_with("/v1/orders", "free", body, &asynchronous).await.expect(202);
    settled(&shop).await;
    shop
}

/// Waits until the process manager has come to the end of the log and says so.
async fn settled(shop: &Shop) {
    eventually("everything is reacted to", async || {
        let last = shop.log().await.0.last().map(|event| event.position);
        (shop.reacted_up_to().await == last).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reactions_that_are_all_repeated_change_nothing() {
    let shop = eventful_shop().await;
    let before = shop.log().await;
    assert_eq!(before.loose_reservations(), []);
    assert_eq!(before.stock("b").levels().reserved, 0);
    let shop = shop.crash_without(&["operations.db"]).await;
    settled(&shop).await;
    let log = shop.log().await;
    let added: Vec<_> = log.0[before.0.len()..].iter().map(|event| &event.type_name).collect();
    assert!(added.is_empty(), "{added:?}");
    assert_eq!(shop.store.submitted().len(), 0);
}

#[tokio::test]
async fn a_rebuild_of_the_read_models_replays_no_reaction() {
    let mut shop = eventful_shop().await;
    shop.stop_process_manager().await;
    let (position, log) = (shop.reacted_up_to().await, shop.log().await);
    let mut shop = shop.crash_without(&["read-models.db"]).await;
    let queries = shop.queries.clone();
    eventually("the read models are built anew", async || {
        let checkpoints = queries.checkpoints().await.unwrap();
        let head = log.0.last().map(|event| event.position);
        checkpoints.iter().any(|checkpoint| checkpoint.position == head).then_some(())
    })
    .await;
    shop.stop_process_manager().await;
    assert_eq!(shop.reacted_up_to().await, position);
    for order in log.orders() {
        // Without a projector in the way: a reaction would have read its order.
        assert!(shop.store.reads_of(&order.into()).is_empty(), "{order} was looked at again");
    }
}

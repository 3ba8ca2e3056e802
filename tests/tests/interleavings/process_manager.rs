//! When the process manager runs a reaction, and when it must not.

use domain::{EventId, NewEvent};
use infra::event_store::{Append, ExpectedRevision};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::{
    fair_stock::shop_in_which_b_sells_out,
    support::{Fault, ShopOptions, eventually, metadata},
};

#[tokio::test]
async fn the_reaction_to_a_rejection_releases_the_stock_that_its_handler_did_not() {
    let shop = shop_in_which_b_sells_out(ShopOptions::default()).await;
    shop.store.fail_next(appends("stock.released.v1"), Fault::Refuse);
    let rejected = shop.place("checkout", &basket()).await.problem(409, "insufficient_stock");
    assert_eq!(rejected["shortages"], json!([{"sku": "b", "requested": 3, "available": 0}]));
    let log = shop.until("the stock is released", |log| log.count("stock.released.v1") == 1).await;
    assert_eq!(log.stock("a").levels().available(), 5);
    let released = metadata(log.first("stock.released.v1"));
    assert_eq!(released.causation_id, Some(log.first("order.rejected.v1").id));
}

/// Suppose that the units of `a` were released as soon as `b` is short. If a crash then lost the rejection,
/// the order would still be `placed`, without the units of `a`.
#[tokio::test]
async fn nothing_is_released_before_the_rejection_is_durable() {
    let options = ShopOptions { process_manager: false, ..ShopOptions::default() };
    let shop = shop_in_which_b_sells_out(options).await;
    shop.store.hold_only(appends("order.rejected.v1"));
    let lines = basket();
    tokio::select! {
        answer = shop.place("checkout", &lines) => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
    let mut shop = shop.crash().await;
    assert_eq!(shop.log().await.stock("a").levels().reserved, 2);
    // The missing stock arrives, so the order is allocated.
    shop.post("/v1/stock/b/receipts", "more", json!({"quantity": 5})).await.expect(201);
    shop.start_process_manager();
    let log = shop.until("the payment is requested", |log| log.count("payment.requested.v1") == 1).await;
    assert_placed_once(&log);
}

#[tokio::test]
async fn the_saved_position_stays_before_an_unfinished_reaction_and_a_restart_repeats_it() {
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
    let log = shop.until("the other order is released", |log| released(log, "free")).await;
    assert!(!released(&log, "stuck"));
    shop.stop_process_manager().await;
    let cancelled = log.of(stuck).last().unwrap().position;
    let reacted = shop.reacted_up_to().await.unwrap();
    assert!(reacted < cancelled, "{reacted} is past the cancellation at {cancelled}");

    let shop = shop.crash().await;
    shop.until("the reaction is repeated", |log| released(log, "stuck")).await;
}

#[tokio::test]
async fn an_undecodable_event_is_parked_and_delays_no_other_reaction() {
    let shop = Shop::open().await;
    shop.receive("a", 5).await;
    let order = order_id(&shop.place("first", &[line("a", 1, 100)]).await.expect(201));
    let metadata = shop.log().await.of(order)[0].metadata.to_vec().into();
    let (id, type_name) = (EventId(Uuid::new_v4()), "order.gift_wrapped.v1");
    let event = NewEvent { id, type_name, data: b"{}".to_vec(), metadata };
    let expected = ExpectedRevision::Exact(1);
    let append = Append { stream: order.into(), expected, events: vec![event], epoch: None };
    shop.events().append(append).await.unwrap();

    let second = order_id(&shop.place("second", &[line("a", 1, 100)]).await.expect(201));
    shop.post(&format!("/v1/orders/{second}/cancel"), "cancel", json!({})).await.expect(200);
    shop.until("the other order is released", |log| log.count("stock.released.v1") == 1).await;
    shop.until_all_reacted().await;
    let parked = shop.parked().await;
    let place: Vec<_> = parked.iter().map(|parked| (parked.event_id, parked.revision)).collect();
    assert_eq!(place, [(id, 2)]);
}

/// A shop whose log contains events with every reaction.
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
    let respond_async = [("prefer", "respond-async")];
    let body = json!({"currency": "GBP", "lines": [line("a", 1, 0)]});
    shop.post_with("/v1/orders", "free", body, &respond_async).await.expect(202);
    shop.until_all_reacted().await;
    shop
}

#[tokio::test]
async fn repeating_all_reactions_changes_nothing() {
    let shop = eventful_shop().await;
    let before = shop.log().await;
    assert_eq!(before.loose_reservations(), []);
    assert_eq!(before.stock("b").levels().reserved, 0);
    let shop = shop.crash_without(&["operations.db"]).await;
    shop.until_all_reacted().await;
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
    eventually("the read models are rebuilt", async || {
        let checkpoints = queries.checkpoints().await.unwrap();
        let head = log.0.last().map(|event| event.position);
        checkpoints.iter().any(|checkpoint| checkpoint.position == head).then_some(())
    })
    .await;
    shop.stop_process_manager().await;
    assert_eq!(shop.reacted_up_to().await, position);
    for order in log.orders() {
        // A reaction reads its order's stream; a projector does not.
        assert!(shop.store.reads_of(&order.into()).is_empty(), "a reaction read {order} again");
    }
}

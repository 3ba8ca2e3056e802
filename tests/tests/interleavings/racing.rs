//! Two tasks that work on one order at the same time.

use futures::future::join_all;
use serde_json::json;

use super::*;
use crate::support::{ShopOptions, eventually, metadata};

/// The release of a cancelled order must come after the reservation that it undoes. Both are reactions of one
/// order, and those run one at a time.
#[tokio::test]
async fn an_order_cancelled_during_its_reservation_releases_all_stock() {
    let shop = Shop::with(ShopOptions { shared_store: true, ..ShopOptions::default() }).await;
    // So much that no SKU is contested: the order reserves both at once.
    shop.receive("a", 100).await;
    shop.receive("b", 100).await;
    shop.store.hold_only(appends("stock.reserved.v1"));
    let lines = basket();
    let mut placing = Box::pin(shop.place("checkout", &lines));
    tokio::select! {
        answer = &mut placing => panic!("answered: {answer:?}"),
        () = shop.store.held(2) => {}
    }
    let order = shop.log().await.orders()[0];
    let cancelled = shop.post(&format!("/v1/orders/{order}/cancel"), "cancel", json!({})).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    shop.store.release();
    let answer = placing.await;
    assert_eq!(answer.problem(409, "order_status")["order_id"], order.to_string());

    let log = shop.until("both SKUs are released", |log| log.count("stock.released.v1") == 2).await;
    assert_eq!(log.loose_reservations(), []);
    assert_eq!(log.count("payment.requested.v1"), 0);
    let cancelled = log.first("order.cancelled.v2").id;
    for released in log.0.iter().filter(|event| &*event.type_name == "stock.released.v1") {
        assert_eq!(
            metadata(released).causation_id,
            Some(cancelled),
            "released by the sweep instead of the reaction"
        );
    }
    let again = shop.place("checkout", &basket()).await;
    assert_eq!(again.json(), answer.json());
    assert!(again.is_replayed());
}

/// Both orders release one SKU. The locked order is cancelled first, so its release would come first. The
/// release of the other order proves that the locked order waits.
#[tokio::test]
async fn a_reaction_waits_for_the_lock_of_its_order() {
    let shop = Shop::open().await;
    shop.receive("a", 2).await;
    let locked = order_id(&shop.place("locked", &[line("a", 1, 100)]).await.expect(201));
    let other = order_id(&shop.place("other", &[line("a", 1, 100)]).await.expect(201));
    let lock = shop.checkout.lock_order(locked).await.unwrap();
    for order in [locked, other] {
        shop.post(&format!("/v1/orders/{order}/cancel"), "cancel", json!({})).await.expect(200);
    }
    let log = shop.until("the other order is released", |log| log.count("stock.released.v1") > 0).await;
    let stock = log.stock("a");
    assert!(stock.reservation(locked).is_some() && stock.reservation(other).is_none());
    drop(lock);
    shop.until("both orders are released", |log| log.count("stock.released.v1") == 2).await;
}

#[tokio::test]
async fn a_retry_waits_for_the_lock_of_its_order() {
    let shop = Shop::without_process_manager().await;
    shop.receive("a", 2).await;
    let lines = [line("a", 1, 100)];
    let body = json!({"currency": "GBP", "lines": lines});
    let respond_async = [("prefer", "respond-async")];
    let placed = shop.post_with("/v1/orders", "locked", body.clone(), &respond_async).await.expect(202);
    let lock = shop.checkout.lock_order(order_id(&placed)).await.unwrap();
    let mut retry = Box::pin(shop.post("/v1/orders", "locked", body));
    tokio::select! {
        biased;
        answer = &mut retry => panic!("answered: {answer:?}"),
        answer = shop.place("other", &lines) => drop(answer.expect(201)),
    }
    assert!(shop.log().await.stock("a").reservation(order_id(&placed)).is_none());
    drop(lock);
    retry.await.expect(201);
}

#[tokio::test]
async fn a_request_that_does_not_get_the_lock_of_its_order_in_time_is_answered_with_busy() {
    let shop =
        Shop::with(ShopOptions { process_manager: false, projectors: false, ..ShopOptions::default() }).await;
    shop.receive("a", 2).await;
    let lines = [line("a", 1, 100)];
    let placed = shop.place("locked", &lines).await.expect(201);
    let lock = shop.checkout.lock_order(order_id(&placed)).await.unwrap();
    // Nothing else runs, so the time moves on to the end of the wait at once.
    tokio::time::pause();
    let busy = shop.place("locked", &lines).await;
    tokio::time::resume();
    assert_eq!(busy.headers["retry-after"], "1");
    busy.problem(503, "busy");
    drop(lock);
    assert!(shop.place("locked", &lines).await.is_replayed());
}

#[tokio::test]
async fn orders_cancelled_at_any_moment_end_without_reservations_and_with_closed_payments() {
    let shop = Shop::open().await;
    shop.receive("a", 200).await;
    shop.receive("b", 300).await;
    let shop = &shop;
    let place_and_cancel = async |number: usize| {
        let body = json!({"currency": "GBP", "lines": basket()});
        let respond_async = [("prefer", "respond-async")];
        let placed =
            shop.post_with("/v1/orders", &number.to_string(), body, &respond_async).await.expect(202);
        // Gives the process manager a different number of turns each time.
        for _ in 0..number {
            tokio::task::yield_now().await;
        }
        let path = format!("/v1/orders/{}/cancel", placed["order_id"].as_str().unwrap());
        shop.post(&path, "cancel", json!({})).await.expect(200);
    };
    join_all((0..100).map(place_and_cancel)).await;
    let is_closed = |log: &Log, order: OrderId| {
        let payment = log.order(order).payment_id();
        payment.is_none_or(|payment| log.payment(payment).is_closed())
    };
    let log = shop.until("no stock is reserved and all payments are closed", |log| {
        log.loose_reservations().is_empty() && log.orders().into_iter().all(|order| is_closed(log, order))
    });
    let log = log.await;
    log.walk_stock(|_, _, _| {});
    assert_eq!((log.stock("a").levels().available(), log.stock("b").levels().available()), (200, 300));
}

/// A delayed reservation is appended after its order was rejected and released.
#[tokio::test]
async fn the_sweep_releases_a_reservation_that_was_appended_after_the_release() {
    let mut shop = Shop::open().await;
    shop.receive("a", 1).await;
    let rejected = shop.place("checkout", &[line("a", 2, 100)]).await.problem(409, "insufficient_stock");
    let order = order_id(&rejected);
    shop.stop_process_manager().await;
    shop.post("/v1/stock/a/receipts", "more", json!({"quantity": 5})).await.expect(201);
    // As if another process had sent it before the rejection.
    reserve_late(&shop, order, "a", 2).await;
    let overdue = shop.overdue.clone();
    eventually("the read models show the reservation", async || {
        let candidates = overdue.ended_orders_with_reservations(None, 10).await.unwrap();
        candidates.contains(&order).then_some(())
    })
    .await;
    assert_eq!(shop.log().await.loose_reservations(), [(Sku::new("a").unwrap(), order)]);

    shop.start_process_manager();
    let log = shop.until("the reservation is released", |log| log.loose_reservations().is_empty()).await;
    assert_eq!(log.stock("a").levels().available(), 6);
}

#[tokio::test]
async fn the_sweep_finishes_an_order_that_stayed_placed() {
    let shop = Shop::without_process_manager().await;
    stock_up(&shop).await;
    stop_at(&shop, "stock.reserved.v1").await;
    let shop = shop.crash().await;
    let order = shop.log().await.orders()[0];
    shop.checkout.sweep_placed(order).await.unwrap();
    assert_placed_once(&shop.log().await);
    // A second sweep changes nothing.
    shop.checkout.sweep_placed(order).await.unwrap();
    shop.checkout.sweep_ended(order).await.unwrap();
    assert_placed_once(&shop.log().await);
}

async fn reserve_late(shop: &Shop, order_id: OrderId, sku: &str, quantity: u32) {
    use domain::{CommandContext, EventId, stock::StockCommand};
    let sku = Sku::new(sku).unwrap();
    let cause = EventId(uuid::Uuid::new_v4());
    let context = CommandContext::reaction(cause, order_id.0, &sku.clone().into(), "stock.reserve");
    let command = StockCommand::Reserve { order_id, quantity };
    shop.checkout.stock.execute_reaction(&sku, command, &context).await.unwrap();
}

/// The refusal is decided on an event that may never become durable, so its answer must wait for that event.
#[tokio::test]
async fn a_reused_key_is_refused_only_after_its_first_use_is_durable() {
    let shop = Shop::without_process_manager().await;
    shop.store.hold_from(appends("order.placed.v2"));
    let first = json!({"currency": "GBP", "lines": [line("a", 1, 100)]});
    let mut placing =
        Box::pin(shop.post_with("/v1/orders", "checkout", first, &[("prefer", "respond-async")]));
    tokio::select! {
        answer = &mut placing => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
    let other = [line("a", 1, 999)];
    let mut reusing = Box::pin(shop.place("checkout", &other));
    tokio::select! {
        answer = &mut reusing => panic!("answered: {answer:?}"),
        // The second held append is the barrier that the answer waits for.
        () = shop.store.held(2) => {}
    }
    shop.store.release();
    placing.await.expect(202);
    reusing.await.problem(422, "idempotency_key_reused");
}

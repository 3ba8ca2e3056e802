//! Two that work on one order at the same time.

use futures::future::join_all;
use serde_json::json;

use super::*;
use crate::support::{ShopOptions, eventually, metadata};

/// The release of a cancelled order must not come before the reservation it is to undo: both are reactions of
/// one order, and those run one at a time.
#[tokio::test]
async fn an_order_cancelled_while_its_stock_is_being_reserved_gives_it_all_back() {
    let shop = Shop::with(ShopOptions { shared_store: true, ..ShopOptions::default() }).await;
    stock_up(&shop).await;
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
    let cancelled = log.first("order.cancelled.v1").id;
    for released in log.0.iter().filter(|event| &*event.type_name == "stock.released.v1") {
        assert_eq!(metadata(released).causation_id, Some(cancelled), "not by the reaction, but by the sweep");
    }
    let again = shop.place("checkout", &basket()).await;
    assert_eq!(again.json(), answer.json());
    assert!(again.is_replayed());
}

/// Both orders' commands go to one SKU, so they land in the order in which they are sent: what the second one
/// has done, the first one would have done before, had it not waited for its lock.
#[tokio::test]
async fn a_reaction_waits_until_whoever_works_on_its_order_is_done() {
    let shop = Shop::open().await;
    shop.receive("a", 2).await;
    let worked_on = order_id(&shop.place("worked on", &[line("a", 1, 100)]).await.expect(201));
    let other = order_id(&shop.place("other", &[line("a", 1, 100)]).await.expect(201));
    let working = shop.checkout.locks.lock(worked_on).await;
    for order in [worked_on, other] {
        shop.post(&format!("/v1/orders/{order}/cancel"), "cancel", json!({})).await.expect(200);
    }
    let log = shop.until("the other is released", |log| log.count("stock.released.v1") > 0).await;
    let held = log.stock("a");
    assert!(held.reservation(worked_on).is_some() && held.reservation(other).is_none());
    drop(working);
    shop.until("both are released", |log| log.count("stock.released.v1") == 2).await;
}

#[tokio::test]
async fn a_retry_waits_until_whoever_works_on_its_order_is_done() {
    let shop = Shop::without_process_manager().await;
    shop.receive("a", 2).await;
    let lines = [line("a", 1, 100)];
    let body = json!({"currency": "GBP", "lines": lines});
    let asynchronous = [("prefer", "respond-async")];
    let placed = shop.post_with("/v1/orders", "worked on", body.clone(), &asynchronous).await.expect(202);
    let working = shop.checkout.locks.lock(order_id(&placed)).await;
    let mut retry = Box::pin(shop.post("/v1/orders", "worked on", body));
    tokio::select! {
        biased;
        answer = &mut retry => panic!("answered: {answer:?}"),
        answer = shop.place("other", &lines) => drop(answer.expect(201)),
    }
    assert!(shop.log().await.stock("a").reservation(order_id(&placed)).is_none());
    drop(working);
    retry.await.expect(201);
}

#[tokio::test]
async fn orders_cancelled_at_any_moment_hold_nothing_in_the_end() {
    let shop = Shop::open().await;
    shop.receive("a", 200).await;
    shop.receive("b", 300).await;
    let shop = &shop;
    let place_and_cancel = async |number: usize| {
        let body = json!({"currency": "GBP", "lines": basket()});
        let asynchronous = [("prefer", "respond-async")];
        let placed = shop.post_with("/v1/orders", &number.to_string(), body, &asynchronous).await.expect(202);
        // The process manager is at it meanwhile, each time somewhere else.
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
    let log = shop.until("nothing is held, and nothing can be paid", |log| {
        log.loose_reservations().is_empty() && log.orders().into_iter().all(|order| is_closed(log, order))
    });
    let log = log.await;
    log.walk_stock(|_, _, _| {});
    assert_eq!((log.stock("a").levels().available(), log.stock("b").levels().available()), (200, 300));
}

/// A reserve that was on its way for so long that its order has ended, and been released, in between.
#[tokio::test]
async fn the_sweep_gives_back_what_landed_after_the_release() {
    let mut shop = Shop::open().await;
    shop.receive("a", 1).await;
    let rejected = shop.place("checkout", &[line("a", 2, 100)]).await.problem(409, "insufficient_stock");
    let order = order_id(&rejected);
    shop.stop_process_manager().await;
    shop.post("/v1/stock/a/receipts", "more", json!({"quantity": 5})).await.expect(201);
    // As another process would have sent it.
    late_reserve(&shop, order, "a", 2).await;
    let queries = shop.queries.clone();
    eventually("the read models show it", async || {
        let candidates = queries.ended_orders_with_reservations(10).await.unwrap();
        candidates.contains(&order).then_some(())
    })
    .await;
    assert_eq!(shop.log().await.loose_reservations(), [(Sku::new("a").unwrap(), order)]);

    shop.start_process_manager();
    let log = shop.until("it is released", |log| log.loose_reservations().is_empty()).await;
    assert_eq!(log.stock("a").levels().available(), 6);
}

#[tokio::test]
async fn the_sweep_finishes_an_order_that_was_left_placed() {
    let shop = Shop::without_process_manager().await;
    stock_up(&shop).await;
    leave_at(&shop, "stock.reserved.v1").await;
    let shop = shop.crash().await;
    let order = shop.log().await.orders()[0];
    shop.checkout.sweep_placed(order).await.unwrap();
    assert_placed_once(&shop.log().await);
    // Once more changes nothing.
    shop.checkout.sweep_placed(order).await.unwrap();
    shop.checkout.sweep_ended(order).await.unwrap();
    assert_placed_once(&shop.log().await);
}

async fn late_reserve(shop: &Shop, order_id: OrderId, sku: &str, quantity: u32) {
    use command_api::executor::Mode;
    use domain::{CommandContext, EventId, stock::StockCommand};
    let sku = Sku::new(sku).unwrap();
    let cause = EventId(uuid::Uuid::new_v4());
    let context = CommandContext::reaction(cause, order_id.0, &sku.clone().into(), "stock.reserve");
    let command = StockCommand::Reserve { order_id, quantity };
    shop.checkout.stock.execute(&sku, command, &context, Mode::REACTION).await.unwrap();
}

/// A refusal is decided upon what may never become durable: it must wait for it like any other answer.
#[tokio::test]
async fn a_key_is_not_said_to_be_reused_before_its_first_use_is_durable() {
    let shop = Shop::without_process_manager().await;
    shop.store.hold_from(appends("order.placed.v1"));
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
        // The barrier behind which the answer waits.
        () = shop.store.held(2) => {}
    }
    shop.store.release();
    placing.await.expect(202);
    reusing.await.problem(422, "idempotency_key_reused");
}

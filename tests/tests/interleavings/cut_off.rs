//! The process dies, or a step fails, after the order is placed and before the client gets its answer.

use serde_json::json;

use super::*;
use crate::support::{Fault, ShopOptions};

const STEPS: [&str; 3] = ["stock.reserved.v1", "order.allocated.v1", "payment.requested.v1"];

#[tokio::test]
async fn the_process_manager_finishes_an_order_that_a_crash_cut_off() {
    for step in STEPS {
        let shop = Shop::without_process_manager().await;
        stock_up(&shop).await;
        stop_at(&shop, step).await;
        let shop = shop.crash_into(ShopOptions::default()).await;
        let log = shop.until("the payment is requested", |log| log.count("payment.requested.v1") == 1).await;
        assert_placed_once(&log);
        let retried = shop.place("checkout", &basket()).await;
        assert_eq!(retried.expect(201)["order_id"], log.orders()[0].to_string());
        assert!(retried.is_replayed());
        assert_eq!(shop.log().await.0.len(), log.0.len(), "the retry after {step} recorded something");
    }
}

#[tokio::test]
async fn a_retry_finishes_an_order_that_a_crash_cut_off() {
    for step in STEPS {
        let shop = Shop::without_process_manager().await;
        stock_up(&shop).await;
        stop_at(&shop, step).await;
        let shop = shop.crash().await;
        let answer = shop.place("checkout", &basket()).await.expect(201);
        assert_placed_once(&shop.log().await);
        // The payment that the answer names exists.
        shop.pay(&answer).await;
    }
}

#[tokio::test]
async fn a_retried_capture_is_recorded_on_the_order_if_a_crash_prevented_that() {
    let shop = Shop::without_process_manager().await;
    shop.receive("a", 1).await;
    let order = shop.place("checkout", &[line("a", 1, 100)]).await.expect(201);
    let payment = format!("/v1/payments/{}", order["payment_id"].as_str().unwrap());
    shop.post(&format!("{payment}/authorize"), "authorize", json!({})).await.expect(200);
    let capture = format!("{payment}/capture");
    shop.store.hold_from(appends("order.payment_recorded.v1"));
    tokio::select! {
        answer = shop.post(&capture, "capture", json!({})) => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
    let shop = shop.crash().await;
    let retried = shop.post(&capture, "capture", json!({})).await;
    assert_eq!(retried.expect(200)["captured"], 100);
    assert!(retried.is_replayed());
    let ship = format!("/v1/orders/{}/shipments", order["order_id"].as_str().unwrap());
    shop.post(&ship, "ship", json!({})).await.expect(201);
    assert_eq!(shop.post(&capture, "capture", json!({})).await.json(), retried.json());
}

#[tokio::test]
async fn the_process_manager_finishes_the_order_of_a_client_that_disconnects() {
    let shop = Shop::open().await;
    stock_up(&shop).await;
    stop_at(&shop, "stock.reserved.v1").await;
    shop.store.release();
    let log = shop.until("the payment is requested", |log| log.count("payment.requested.v1") == 1).await;
    assert_placed_once(&log);
}

#[tokio::test]
async fn a_step_after_a_failed_step_has_no_effect() {
    for step in ["order.placed.v2", STEPS[0], STEPS[1], STEPS[2]] {
        for fault in [Fault::Refuse, Fault::LoseAppend, Fault::LoseAnswer] {
            let shop = Shop::without_process_manager().await;
            stock_up(&shop).await;
            let what = format!("{fault:?} of {step}");
            shop.store.fail_next(appends(step), fault);
            let mut answer = shop.place("checkout", &basket()).await;
            if answer.status == 503 {
                answer = shop.place("checkout", &basket()).await;
            }
            assert_eq!(answer.status, 201, "{what}: {}", answer.text());
            assert_placed_once(&shop.log().await);
        }
    }
}

/// The first order's reservation fails, so the next order may reserve the units. The first order must not be
/// answered as allocated.
#[tokio::test]
async fn stock_is_never_promised_twice_when_a_reservation_fails() {
    let shop = Shop::without_process_manager().await;
    shop.receive("last", 1).await;
    shop.store.fail_next(appends("stock.reserved.v1"), Fault::Refuse);
    let lines = [line("last", 1, 100)];
    let (first, second) = tokio::join!(shop.place("first", &lines), shop.place("second", &lines));
    let mut outcomes = [first.status.as_u16(), second.status.as_u16()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [201, 409], "{} {}", first.text(), second.text());
    let log = shop.log().await;
    let allocated: Vec<OrderId> =
        log.orders().into_iter().filter(|id| log.order(*id).status() == OrderStatus::Allocated).collect();
    assert!(log.stock("last").open_reservations().keys().eq(&allocated));
}

//! The rules that keep checkout correct under interleavings and crashes. Each test forces the interleaving in
//! which code that breaks the rule fails.

mod cut_off;
mod process_manager;
mod racing;

use domain::{OrderId, Sku, order::OrderStatus};
use serde_json::Value;

use crate::support::{Log, Shop, appends, line};

/// Two units of `a` and three of `b`. [`stock_up`] receives five of each.
fn basket() -> [Value; 2] {
    [line("a", 2, 100), line("b", 3, 200)]
}

async fn stock_up(shop: &Shop) {
    shop.receive("a", 5).await;
    shop.receive("b", 5).await;
}

/// Starts placing the basket and stops at the first append of this type, which never becomes durable.
async fn stop_at(shop: &Shop, type_name: &'static str) {
    shop.store.hold_from(appends(type_name));
    let lines = basket();
    tokio::select! {
        answer = shop.place("checkout", &lines) => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
}

fn order_id(answer: &Value) -> OrderId {
    answer["order_id"].as_str().unwrap().parse().unwrap()
}

/// Asserts that the only order of the log is allocated, its units are reserved once and its payment is
/// requested once.
fn assert_placed_once(log: &Log) {
    let [order] = log.orders()[..] else { panic!("{:?}", log.orders()) };
    assert_eq!(log.types(order), ["order.placed.v2", "order.allocated.v1"]);
    assert_eq!((log.stock("a").levels().reserved, log.stock("b").levels().reserved), (2, 3));
    assert_eq!(log.count("stock.reserved.v1"), 2);
    assert_eq!(log.types(log.order(order).payment_id().unwrap()), ["payment.requested.v1"]);
}

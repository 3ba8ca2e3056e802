//! The rules that keep checkout right when things happen at the worst moment, each with the interleaving that
//! breaks it otherwise.

mod cut_off;
mod process_manager;
mod racing;

use domain::{OrderId, Sku, order::OrderStatus};
use serde_json::Value;

use crate::support::{Log, Shop, appends, line};

/// Two units of `a` and three of `b`, of which five each are on hand.
fn basket() -> [Value; 2] {
    [line("a", 2, 100), line("b", 3, 200)]
}

async fn stock_up(shop: &Shop) {
    shop.receive("a", 5).await;
    shop.receive("b", 5).await;
}

/// Begins to place the basket and leaves it at the first append of this type, which never becomes durable.
async fn leave_at(shop: &Shop, type_name: &'static str) {
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

/// The one order of the log is allocated, holds its units once, and its payment is requested once.
fn assert_placed_once(log: &Log) {
    let [order] = log.orders()[..] else { panic!("{:?}", log.orders()) };
    assert_eq!(log.types(order), ["order.placed.v1", "order.allocated.v1"]);
    assert_eq!((log.stock("a").levels().reserved, log.stock("b").levels().reserved), (2, 3));
    assert_eq!(log.count("stock.reserved.v1"), 2);
    assert_eq!(log.types(log.order(order).payment_id().unwrap()), ["payment.requested.v1"]);
}

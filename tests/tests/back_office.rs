//! The back office at work: every command at every stage of an order, and commands that race each other.
//!
//! Every order is of four mugs at 100 and postage at 50, which is no stock: 450 in all. Ten mugs are on hand.

mod racing;
mod table;

use domain::{
    Amount, OrderId,
    order::Order,
    payment::{Payment, RefundState},
};
use serde_json::{Value, json};

use crate::support::{Answer, Log, Shop, eventually, line};

const ON_HAND: u32 = 10;

/// An order that was just placed, and the SKU that it alone is about.
struct Placed {
    sku: String,
    order_id: OrderId,
    order: Value,
}

impl Placed {
    /// Stocks up and orders the basket; `headers` may ask for an early answer.
    async fn basket(shop: &Shop, sku: &str, headers: &[(&'static str, &str)]) -> Self {
        Self::basket_of(shop, sku, 4, headers).await
    }

    async fn basket_of(shop: &Shop, sku: &str, mugs: u32, headers: &[(&'static str, &str)]) -> Self {
        shop.receive(sku, ON_HAND).await;
        let postage = json!({"sku": "POST", "quantity": 1, "unit_price": 50, "stocked": false});
        let body = json!({"currency": "GBP", "lines": [line(sku, mugs, 100), postage]});
        let order = shop.post_with("/v1/orders", sku, body, headers).await.json();
        let order_id = order["order_id"].as_str().unwrap().parse().unwrap();
        Self { sku: sku.to_owned(), order_id, order }
    }

    async fn post(&self, shop: &Shop, rest: &str, key: &str, body: Value) -> Answer {
        shop.post(&format!("/v1/orders/{}/{rest}", self.order_id), key, body).await
    }

    async fn pay(&self, shop: &Shop, step: &str, body: Value) -> Answer {
        let payment = self.order["payment_id"].as_str().unwrap();
        shop.post(&format!("/v1/payments/{payment}/{step}"), step, body).await
    }

    async fn paid(shop: &Shop, sku: &str) -> Self {
        let placed = Self::basket(shop, sku, &[]).await;
        shop.pay(&placed.order).await;
        placed
    }
}

/// `quantity` mugs.
fn mugs(quantity: u32) -> Value {
    json!({"lines": [{"line": 1, "quantity": quantity}]})
}

/// Waits until the process manager has come to the end of the log and says so.
async fn settled(shop: &Shop) -> Log {
    eventually("everything is reacted to", async || {
        let log = shop.log().await;
        let last = log.0.last().map(|event| event.position);
        (shop.reacted_up_to().await == last).then_some(log)
    })
    .await
}

/// What is asked back of a payment, paid out or not.
fn asked_back(payment: &Payment) -> Amount {
    let refunds = payment.refunds().iter().filter(|refund| refund.state != RefundState::Failed);
    refunds.fold(Amount::ZERO, |sum, refund| sum.saturating_add(refund.amount))
}

fn payment_of(log: &Log, order: &Order) -> Payment {
    order.payment_id().map(|id| log.payment(id)).unwrap_or_default()
}

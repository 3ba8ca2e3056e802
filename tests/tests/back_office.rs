//! Back-office commands: every command at every stage of an order, and commands that race each other.
//!
//! Each order has four mugs at 100 and postage at 50, which is not stocked: 450 in total. Ten mugs are on
//! hand.

mod at_sandbox;
mod money;
mod racing;
mod table;
mod terms;
mod undo;

use domain::{
    Amount, OrderId,
    order::Order,
    payment::{Payment, RefundState},
};
use serde_json::{Value, json};

use crate::support::{Answer, Log, Shop, line};

const ON_HAND: u32 = 10;

/// An order that was just placed, and its SKU, which no other order has.
struct Placed {
    sku: String,
    order_id: OrderId,
    order: Value,
}

impl Placed {
    /// Receives stock and places the order. `headers` may contain `Prefer: respond-async`.
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

/// The body of a request about this many mugs.
fn mugs(quantity: u32) -> Value {
    json!({"lines": [{"line": 1, "quantity": quantity}]})
}

/// The sum of a payment's refunds, paid out or not, without failed ones.
fn amount_to_refund(payment: &Payment) -> Amount {
    let refunds = payment.refunds().iter().filter(|refund| refund.state != RefundState::Failed);
    refunds.fold(Amount::ZERO, |sum, refund| sum.saturating_add(refund.amount))
}

fn payment_of(log: &Log, order: &Order) -> Payment {
    order.payment_id().map(|id| log.payment(id)).unwrap_or_default()
}

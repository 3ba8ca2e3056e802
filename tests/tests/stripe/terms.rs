//! Orders with the terms `on_shipment` and `net`, paid through Stripe.

use std::{sync::Arc, time::Duration};

use domain::{
    OrderId,
    order::{Order, OrderStatus},
};
use serde_json::{Value, json};
use tests::stripe::{Moved, StripeDouble};

use super::{double, options, provider_with, requests::assert_valid};
use crate::support::{Shop, ShopOptions, TestClock, eventually, line};

const MINUTES_OF_8_DAYS: i64 = 8 * 24 * 60;

/// A shop with the double of Stripe, which sends no webhooks, and an order over 2,800: two mugs at 1,000, a bowl at
/// 500 and shipping of 300.
struct Sale {
    stripe: StripeDouble,
    clock: TestClock,
    shop: Shop,
    order: Value,
    id: OrderId,
}

impl Sale {
    async fn on(terms: Value) -> Self {
        let (stripe, clock) = (double().await, TestClock::default());
        let provider = Arc::new(provider_with(&stripe, options(&stripe).with_multicapture()));
        let options =
            ShopOptions { provider: Some(provider), clock: clock.clock(), ..ShopOptions::default() };
        let shop = Shop::with(options).await;
        for sku in ["mug", "bowl"] {
            shop.receive(sku, 2).await;
        }
        let mut body = json!({
            "currency": "EUR",
            "lines": [line("mug", 2, 1000), line("bowl", 1, 500)],
            "adjustments": [{"kind": "shipping", "code": "DHL", "amount": 300}],
        });
        body.as_object_mut().unwrap().extend(terms.as_object().unwrap().clone());
        let order = shop.post("/v1/orders", "checkout", body).await.expect(201);
        let id = order["order_id"].as_str().unwrap().parse().unwrap();
        Self { stripe, clock, shop, order, id }
    }

    async fn on_shipment() -> Self {
        let sale = Self::on(json!({"terms": "on_shipment", "payment": {"method": "pm_card_visa"}})).await;
        sale.until("it is authorized", |order| order.authorized().minor_units() == 2800).await;
        sale
    }

    async fn net() -> Self {
        Self::on(json!({"terms": "net", "payment_due_days": 30})).await
    }

    async fn post(&self, what: &str, key: &str, body: Value) -> Value {
        let answer = self.shop.post(&format!("/v1/orders/{}/{what}", self.id), key, body).await;
        assert!(answer.status.is_success(), "{what}: {}", answer.text());
        answer.json()
    }

    async fn pay(&self, step: &str, key: &str, body: Value) -> Value {
        let path = format!("/v1/payments/{}/{step}", self.order["payment_id"].as_str().unwrap());
        self.shop.post(&path, key, body).await.expect(200)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Order) -> bool) -> Order {
        self.shop.until(what, |log| holds(&log.order(self.id))).await.order(self.id)
    }

    async fn until_captured(&self, minor_units: i64) -> Order {
        let what = format!("{minor_units} are captured");
        self.until(&what, |order| order.captured().minor_units() == minor_units).await
    }

    /// What all charges of the order moved at Stripe.
    fn moved(&self) -> Moved {
        self.stripe.moved("orderly_order", &self.id.to_string())
    }

    async fn until_released(&self) {
        eventually("the rest is released", async || (self.moved().held == 0).then_some(())).await;
    }
}

fn units(line: u32, quantity: u32) -> Value {
    json!({"lines": [{"line": line, "quantity": quantity}]})
}

async fn ships_in_parts() -> Sale {
    let sale = Sale::on_shipment().await;
    sale.post("shipments", "first", units(1, 1)).await;
    sale.until_captured(1300).await;
    assert_eq!((sale.moved().captures, sale.moved().captured, sale.moved().held), (1, 1300, 1500));
    sale.post("shipments", "second", units(1, 1)).await;
    sale.until_captured(2300).await;
    let cancelled = sale.post("cancel", "bowl", json!({})).await;
    assert_eq!(cancelled["refunds"], json!([]));
    sale.until_released().await;
    sale
}

#[tokio::test]
async fn each_shipment_is_captured_and_what_does_not_ship_is_released() {
    let sale = ships_in_parts().await;
    assert_eq!((sale.moved().captures, sale.moved().captured), (2, 2300));
    let order = sale.shop.log().await.order(sale.id);
    assert_eq!((order.status(), order.owed().minor_units()), (OrderStatus::Cancelled, 2300));
}

async fn is_authorized_twice() -> Sale {
    let sale = Sale::on_shipment().await;
    let intent = sale.stripe.intents()[0]["id"].as_str().unwrap().to_owned();
    let log = sale.shop.log().await;
    let order = log.order(sale.id);
    let until = order.authorized_until().expect("Stripe says until when it holds the money");
    assert_eq!(until.duration_since(sale.stripe.now()).as_hours(), 7 * 24 - 1);
    sale.stripe.expire(&intent);
    sale.stripe.advance(Duration::from_mins(MINUTES_OF_8_DAYS.unsigned_abs()));
    sale.clock.advance_minutes(MINUTES_OF_8_DAYS);
    // No webhook says it: a timer looks the intent up.
    sale.until("it has run out", |order| order.authorized().is_zero()).await;
    let again = sale.pay("charge", "again", json!({"method": "pm_card_visa"})).await;
    assert_eq!(again["authorized"], 2800);
    sale.until("it is authorized again", |order| order.authorized().minor_units() == 2800).await;
    sale.post("shipments", "all", json!({})).await;
    sale.until_captured(2800).await;
    sale
}

#[tokio::test]
async fn an_authorisation_that_ran_out_is_found_by_a_timer_and_asked_for_again() {
    let sale = is_authorized_twice().await;
    assert_eq!((sale.stripe.intents().len(), sale.moved().captured), (2, 2800));
}

async fn is_paid_after_it_shipped() -> Sale {
    let sale = Sale::net().await;
    sale.post("shipments", "all", json!({})).await;
    sale.post("returns", "bowl", units(2, 1)).await;
    sale.shop.until_all_reacted().await;
    let declined = sale.pay("charge", "declined", json!({"method": "pm_card_visa_chargeDeclined"})).await;
    assert_eq!((&declined["status"], &declined["captured"]), (&json!("failed"), &json!(0)));
    assert_eq!(sale.shop.log().await.order(sale.id).status(), OrderStatus::Allocated);
    sale.pay("charge", "part", json!({"method": "pm_card_visa", "capture": "manual"})).await;
    sale.pay("capture", "part", json!({"amount": 800})).await;
    sale.pay("void", "rest", json!({})).await;
    sale.until("the rest may be asked of another payment", |order| order.unclaimed().minor_units() == 1500)
        .await;
    sale.post("payments", "other", json!({"method": "pm_card_visa"})).await;
    sale.until_captured(2300).await;
    sale
}

#[tokio::test]
async fn a_net_order_is_paid_by_several_payments_after_it_shipped() {
    let sale = is_paid_after_it_shipped().await;
    assert_eq!((sale.moved().captured, sale.moved().held), (2300, 0));
    let log = sale.shop.log().await;
    let order = log.order(sale.id);
    assert_eq!((order.is_paid(), order.overpaid().minor_units(), log.count("order.paid.v1")), (true, 0, 1));
}

#[tokio::test]
#[ignore = "needs stripe-mock: infra/dev/services up; source .dev/env"]
async fn every_request_of_these_terms_is_valid_by_stripes_openapi_description() {
    for sale in [ships_in_parts().await, is_authorized_twice().await, is_paid_after_it_shipped().await] {
        assert_valid(&sale.stripe.requests()).await;
    }
}

//! The word of Stripe, over HTTP: what begins in its dashboard, and what ends late.

use std::sync::Arc;

use infra::{
    clock::Clock,
    payment_provider::stripe::{StripeOptions, StripeProvider},
};
use serde_json::{Value, json};
use tests::stripe::{SECRET_KEY, StripeDouble, WEBHOOK_SECRET, signature};

use super::{charge, payment_of};
use crate::support::{Shop, ShopOptions, line};

/// A shop with the double of Stripe, which gets each webhook twice, and a paid order over 1,000.
struct Paid {
    stripe: StripeDouble,
    shop: Shop,
    order: Value,
    intent: String,
}

impl Paid {
    async fn by(method: &str) -> Self {
        let stripe = StripeDouble::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let options = StripeOptions::new(SECRET_KEY, WEBHOOK_SECRET).unwrap();
        let options = options.with_api_url(&stripe.url()).unwrap();
        let provider = Arc::new(StripeProvider::new(options, Clock::system()).unwrap());
        let shop = Shop::with(ShopOptions { provider: Some(provider), ..ShopOptions::default() }).await;
        shop.receive("a", 1).await;
        let order = shop.place("checkout", &[line("a", 1, 1_000)]).await.expect(201);
        charge(&shop, &order, "charge", json!({"method": method})).await.expect(200);
        shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
        let intent = stripe.intents()[0]["id"].as_str().unwrap().to_owned();
        Self { stripe, shop, order, intent }
    }

    /// Delivers all webhooks so far, the latest first.
    async fn deliver(&self) {
        for body in self.stripe.events().iter().rev() {
            let signed = signature(body, WEBHOOK_SECRET, jiff::Timestamp::now().as_second());
            let body = serde_json::from_str(body).unwrap();
            let headers = [("stripe-signature", signed.as_str())];
            self.shop.post_with("/v1/webhooks/stripe", "", body, &headers).await.expect(200);
        }
    }

    /// Captured, refunded and disputed, as the order records them.
    async fn amounts(&self) -> [i64; 3] {
        let id = self.order["order_id"].as_str().unwrap().parse().unwrap();
        let order = self.shop.checkout.order(id).await.unwrap().state;
        [order.captured(), order.refunded(), order.disputed()].map(domain::Amount::minor_units)
    }

    async fn refund(&self, key: &str, amount: i64) -> crate::support::Answer {
        let path = format!("/v1/orders/{}/refunds", self.order["order_id"].as_str().unwrap());
        self.shop.post(&path, key, json!({"amount": amount})).await
    }
}

#[tokio::test]
async fn a_refund_from_the_dashboard_is_recorded_once() {
    let paid = Paid::by("pm_card_visa").await;
    paid.stripe.refund_from_dashboard(&paid.intent, 1_000);
    paid.deliver().await;
    paid.deliver().await;
    assert_eq!(paid.amounts().await, [1_000, 1_000, 0]);
    paid.refund("again", 1).await.problem(409, "refund_too_large");
    let log = paid.shop.log().await;
    assert_eq!((log.count("payment.refund_found.v1"), log.count("payment.refunded.v1")), (1, 1));
}

#[tokio::test]
async fn a_lost_dispute_is_money_gone_and_a_won_one_comes_back() {
    for (is_won, disputed) in [(true, 0), (false, 600)] {
        let paid = Paid::by("pm_card_visa").await;
        let dispute = paid.stripe.dispute(&paid.intent, 600);
        paid.deliver().await;
        assert_eq!(paid.amounts().await, [1_000, 0, 600]);
        paid.stripe.close_dispute(&dispute, is_won);
        paid.deliver().await;
        assert_eq!(paid.amounts().await, [1_000, 0, disputed]);
        paid.refund("all", 1_001 - disputed).await.problem(409, "refund_too_large");
    }
}

#[tokio::test]
async fn a_refund_that_fails_after_it_was_paid_is_refundable_again() {
    let paid = Paid::by("pm_card_visa").await;
    paid.refund("first", 1_000).await.expect(201);
    paid.shop.until("it is paid", |log| log.count("order.payment_recorded.v1") == 2).await;
    let refund = paid.stripe.refunds()[0]["id"].as_str().unwrap().to_owned();
    paid.stripe.settle_refund(&refund, false);
    paid.deliver().await;
    assert_eq!(paid.amounts().await, [1_000, 0, 0]);
    paid.refund("second", 1_000).await.expect(201);
    paid.shop.until("it is paid again", |log| log.count("payment.refunded.v1") == 2).await;
    assert_eq!(payment_of(&paid.order), paid.stripe.intents()[0]["metadata"]["orderly_payment"]);
}

//! The Stripe adapter, against a stateful test double with multicapture.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{PaymentId, Timestamp};
use http::HeaderMap;
use infra::{
    clock::Clock,
    payment_provider::{
        ChargeRequest, PaymentProvider, RefundRequest,
        stripe::{StripeOptions, StripeProvider},
    },
};
use serde_json::Value;
use tests::stripe::{Fault, SECRET_KEY, StripeDouble, WEBHOOK_SECRET, signature};

use super::{Behaviour, Moved, Webhook, payment_provider_contract};

payment_provider_contract!(StripeFixture);

struct StripeFixture(StripeDouble);

impl StripeFixture {
    fn provider_of(&self, secret_key: &str) -> Arc<dyn PaymentProvider> {
        let options = StripeOptions::new(secret_key, WEBHOOK_SECRET).unwrap().with_multicapture();
        let options = options.with_api_url(&self.0.url()).unwrap();
        Arc::new(StripeProvider::new(options, Clock::system()).unwrap())
    }

    fn intent_of(&self, request: &ChargeRequest) -> Value {
        let (payment, charge) = (request.payment_id.to_string(), request.charge.number.to_string());
        let is_of = |intent: &Value| {
            intent["metadata"]["orderly_payment"] == payment && intent["metadata"]["orderly_charge"] == charge
        };
        self.0.intents().into_iter().find(is_of).expect("an intent of this charge")
    }
}

fn header(value: &str) -> HeaderMap {
    HeaderMap::from_iter([("stripe-signature".parse().unwrap(), value.parse().unwrap())])
}

/// True if the webhook endpoint, set up as documented, gets this event.
fn is_subscribed(event: &Value) -> bool {
    event["type"] != "payment_intent.created"
}

#[async_trait]
impl super::Fixture for StripeFixture {
    async fn fresh() -> Self {
        Self(StripeDouble::start("127.0.0.1:0".parse().unwrap()).await.unwrap())
    }

    fn provider(&self) -> Arc<dyn PaymentProvider> {
        self.provider_of(SECRET_KEY)
    }

    fn provider_without_credentials(&self) -> Arc<dyn PaymentProvider> {
        self.provider_of("sk_test_unknown")
    }

    fn method(&self, behaviour: Behaviour) -> &'static str {
        match behaviour {
            Behaviour::Fine => "pm_card_visa",
            Behaviour::DeclinesForGood => "pm_card_visa_chargeDeclinedStolenCard",
            Behaviour::Declines => "pm_card_visa_chargeDeclinedInsufficientFunds",
            Behaviour::WaitsForCustomer => "pm_card_authenticationRequired",
            Behaviour::RefundsFail => "pm_card_refundFail",
            Behaviour::RefundsWait => "pm_card_pendingRefund",
        }
    }

    async fn settle(&self, request: &ChargeRequest, completed: bool) {
        self.0.authenticate(self.intent_of(request)["id"].as_str().unwrap(), completed);
    }

    async fn settle_refund(&self, request: &RefundRequest, succeeds: bool) {
        let id = request.refund_id.to_string();
        let refunds = self.0.refunds();
        let refund = refunds.iter().find(|refund| refund["metadata"]["orderly_refund"] == id).unwrap();
        self.0.settle_refund(refund["id"].as_str().unwrap(), succeeds);
    }

    async fn refund_at_provider(&self, charge: &ChargeRequest, minor_units: i64) {
        self.0.refund_from_dashboard(self.intent_of(charge)["id"].as_str().unwrap(), minor_units);
    }

    async fn dispute(&self, charge: &ChargeRequest, minor_units: i64) {
        self.0.dispute(self.intent_of(charge)["id"].as_str().unwrap(), minor_units);
    }

    async fn close_dispute(&self, charge: &ChargeRequest, is_won: bool) {
        let intent = self.intent_of(charge)["id"].clone();
        let events = self.0.events();
        let disputes = events.iter().map(|event| serde_json::from_str::<Value>(event).unwrap());
        let mut objects = disputes.map(|event| event["data"]["object"].clone());
        let is_of = |object: &Value| object["object"] == "dispute" && object["payment_intent"] == intent;
        let dispute = objects.find(is_of).expect("a dispute of this charge");
        self.0.close_dispute(dispute["id"].as_str().unwrap(), is_won);
    }

    async fn take_down(&self) {
        self.0.take_down().await;
    }

    async fn bring_up(&self) {
        self.0.bring_up().await.unwrap();
    }

    /// Applies to requests that move money. The creation of an intent moves none.
    async fn lose_next_answer(&self) {
        let moving = "/v1/payment_intents/*/confirm|/v1/payment_intents/*/capture|/v1/refunds";
        self.0.fail("POST", moving, Fault::LoseAnswer, 1);
    }

    async fn moved(&self, payment: PaymentId) -> Moved {
        let moved = self.0.moved("orderly_payment", &payment.to_string());
        Moved {
            captures: moved.captures.try_into().unwrap(),
            captured: moved.captured,
            refunds: moved.refunds.try_into().unwrap(),
            refunded: moved.refunded,
            held: moved.held,
        }
    }

    fn webhooks(&self, payment: PaymentId) -> Vec<Webhook> {
        let payment = payment.to_string();
        let is_ours = |object: &Value| object["metadata"]["orderly_payment"] == payment;
        let intents: Vec<Value> = self.0.intents().into_iter().filter(is_ours).collect();
        let is_of = |event: &Value| {
            let object = &event["data"]["object"];
            is_ours(object) || intents.iter().any(|intent| intent["id"] == object["payment_intent"])
        };
        let mut webhooks = Vec::new();
        for body in self.0.events() {
            let event: Value = serde_json::from_str(&body).unwrap();
            if is_of(&event) && is_subscribed(&event) {
                webhooks.push(Webhook {
                    headers: self.sign(body.as_bytes(), Timestamp::now()),
                    body: body.into(),
                });
            }
        }
        webhooks
    }

    fn sign(&self, body: &[u8], at: Timestamp) -> HeaderMap {
        header(&signature(std::str::from_utf8(body).unwrap(), WEBHOOK_SECRET, at.as_second()))
    }

    fn sign_while_rotating(&self, body: &[u8], at: Timestamp) -> HeaderMap {
        let body = std::str::from_utf8(body).unwrap();
        let [other, own] =
            ["whsec_other", WEBHOOK_SECRET].map(|secret| signature(body, secret, at.as_second()));
        let (_, own) = own.split_once(',').unwrap();
        header(&format!("{other},{own}"))
    }

    fn forge(&self, body: &[u8], at: Timestamp) -> HeaderMap {
        header(&signature(std::str::from_utf8(body).unwrap(), "whsec_other", at.as_second()))
    }
}

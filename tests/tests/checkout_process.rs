//! An allocated order is paid through a payment provider, or expires.

mod charging;
mod expiry;
mod failing_provider;
mod provider_notices;
mod provider_word;
mod several_payments;
mod sources_of_money;
mod stripe_word;

use serde_json::{Value, json};

use crate::support::{Answer, Shop, line};

/// Places an order of one unit for 100, charged with this method.
async fn place(shop: &Shop, key: &str, method: &str) -> Value {
    shop.receive("a", 10).await;
    let payment = json!({"method": method});
    let order = json!({"currency": "GBP", "lines": [line("a", 1, 100)], "payment": payment});
    shop.post("/v1/orders", key, order).await.expect(201)
}

async fn charge(shop: &Shop, order: &Value, key: &str, body: Value) -> Answer {
    shop.post(&format!("/v1/payments/{}/charge", payment_of(order)), key, body).await
}

fn payment_of(order: &Value) -> &str {
    order["payment_id"].as_str().unwrap()
}

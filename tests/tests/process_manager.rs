//! The process manager: one failing order delays no other, and a dead task ends the role.

mod parking;
mod patrols;
mod source;

use domain::{OrderId, Sku, StreamName, Timestamp};
use infra::operations::parked::ParkedReaction;
use serde_json::{Value, json};

use crate::support::{Answer, Shop, ShopOptions, Spoiled, eventually, line};

/// Orders of [`due_soon`] are overdue after this time, and all others are not.
const DUE_PASSED_MINUTES: i64 = 11;

/// A shop in which the events of SKU `poison` have types that this build does not know. SKU `a` is healthy.
async fn poisoned_shop(options: ShopOptions) -> Shop {
    let quiet = ShopOptions { process_manager: false, projectors: false, ..options.clone() };
    let shop = Shop::with(quiet).await;
    shop.receive("poison", 1_000).await;
    shop.receive("a", 1_000).await;
    let shop = shop.crash_into(options).await;
    shop.store.spoil(poison(), Spoiled::UnknownTypes);
    shop
}

fn poison() -> Sku {
    Sku::new("poison").unwrap()
}

/// Places an order of one unit. `more` has further members of the request.
async fn place(shop: &Shop, key: &str, sku: &str, more: Value) -> Answer {
    let mut order = json!({"currency": "GBP", "lines": [line(sku, 1, 100)]});
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    shop.post("/v1/orders", key, order).await
}

/// The member of a request for an order that is due before the clock has advanced [`DUE_PASSED_MINUTES`].
fn due_soon() -> Value {
    json!({"payment_due_at": (Timestamp::now() + jiff::SignedDuration::from_mins(10)).to_string()})
}

fn id_of(answer: &Value) -> OrderId {
    answer["order_id"].as_str().unwrap().parse().unwrap()
}

/// Waits until as many streams are parked.
async fn until_parked(shop: &Shop, count: usize) -> Vec<ParkedReaction> {
    eventually("the failing reactions are parked", async || {
        let parked = shop.parked().await;
        (parked.len() == count).then_some(parked)
    })
    .await
}

async fn until_none_is_parked(shop: &Shop) {
    until_parked(shop, 0).await;
}

async fn cancel(shop: &Shop, order: OrderId) {
    shop.post(&format!("/v1/orders/{order}/cancel"), "cancel", json!({})).await.expect(200);
}

fn stream(order: OrderId) -> StreamName {
    order.into()
}

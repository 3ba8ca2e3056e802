//! The command API over HTTP: every endpoint, answer and replay.

mod bulk_receipts;
mod command_ids;
mod conventions;
mod exchanges;
mod fulfilment;
mod payments;
mod placing;
mod replays;
mod stock;
mod unreadable;

use serde_json::{Value, json};

use crate::support::{Answer, Shop, line};

/// An order for ten units of `85123A` at 2.55, placed and paid.
async fn paid_order(shop: &Shop) -> Value {
    shop.receive("85123A", 100).await;
    let placed = shop.place("order", &[line("85123A", 10, 255)]).await.expect(201);
    shop.pay(&placed).await;
    placed
}

/// The path of an order or of a part of it.
fn path_of(order: &Value, rest: &str) -> String {
    format!("/v1/orders/{}{rest}", order["order_id"].as_str().unwrap())
}

fn payment_path(order: &Value, rest: &str) -> String {
    format!("/v1/payments/{}{rest}", order["payment_id"].as_str().unwrap())
}

/// Checks some members of an answer.
#[track_caller]
fn assert_has(answer: &Value, members: Value) {
    for (name, expected) in members.as_object().unwrap() {
        assert_eq!(&answer[name], expected, "{name} in {answer}");
    }
}

/// Sends a request twice. The second answer repeats the first and is marked as a replay.
async fn post_twice(shop: &Shop, path: &str, key: &str, body: Value) -> Answer {
    let first = shop.post(path, key, body.clone()).await;
    let second = shop.post(path, key, body).await;
    assert_eq!((second.status, second.text()), (first.status, first.text()));
    assert_eq!(second.header("etag"), first.header("etag"));
    assert!(!first.is_replayed() && second.is_replayed(), "{}", first.text());
    first
}

fn part(number: u32, quantity: u32) -> Value {
    json!({"line": number, "quantity": quantity})
}

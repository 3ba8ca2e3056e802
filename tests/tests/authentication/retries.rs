//! Retries of commands while keys rotate, authentication is switched on, and callers share idempotency keys.

use infra::{auth::Scope, operations::api_keys::ApiKeys};
use serde_json::{Value, json};

use super::{Keys, Platform, bearer, claims, new_key, token};
use crate::support::{Shop, ShopOptions, line, metadata};

const RECEIPTS: &str = "/v1/stock/A/receipts";

fn receipt() -> Value {
    json!({"quantity": 10})
}

async fn receipts(platform: &Platform) -> usize {
    platform.shop.log().await.count("stock.received.v1")
}

#[tokio::test]
async fn a_retry_with_the_successor_of_a_key_gets_the_first_answer_and_the_old_key_ends() {
    let keys = Keys::new();
    let (id, old) = keys.add("shop", [Scope::StockWrite]).await;
    let platform = Platform::open(keys.gate()).await;
    let first = platform.post(&old, RECEIPTS, "po-1", receipt()).await;
    first.expect(201);

    let (secret, successor) = new_key("shop", [Scope::StockWrite]);
    keys.store.replace(&id, successor.created_at, &successor).await.unwrap();
    // A gate that has read the keys again: the other one does so within 5 seconds.
    let shop = platform.shop.crash_into(ShopOptions { gate: keys.gate(), ..ShopOptions::default() }).await;
    let platform = Platform::over(shop, keys.gate());
    let again = platform.post(&bearer(&secret), RECEIPTS, "po-1", receipt()).await;
    assert_eq!((again.text(), again.is_replayed()), (first.text(), true));
    assert_eq!(receipts(&platform).await, 1);
    platform.post(&old, RECEIPTS, "po-2", receipt()).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn the_heir_does_not_repeat_what_was_done_before_authentication_was_switched_on() {
    let shop = Shop::open().await;
    let first = shop.post(RECEIPTS, "po-1", receipt()).await;
    first.expect(201);
    let placed = shop.place("checkout-1", &[line("A", 1, 100)]).await;
    placed.expect(201);

    let keys = Keys::new();
    let (_, heir) = keys.add("shop", [Scope::StockWrite, Scope::OrdersWrite]).await;
    let (_, other) = keys.add("back-office", [Scope::StockWrite]).await;
    let gate = keys.gate_of(Some("shop"));
    let shop = shop.crash_into(ShopOptions { gate: gate.clone(), ..ShopOptions::default() }).await;
    let platform = Platform::over(shop, gate);
    let again = platform.post(&heir, RECEIPTS, "po-1", receipt()).await;
    assert_eq!((again.text(), again.is_replayed()), (first.text(), true));
    let order = json!({"currency": "GBP", "lines": [line("A", 1, 100)]});
    let again = platform.post(&heir, "/v1/orders", "checkout-1", order).await;
    assert_eq!((again.text(), again.is_replayed()), (placed.text(), true));
    assert_eq!(receipts(&platform).await, 1);
    // Another principal means another receipt by the same key.
    assert!(!platform.post(&other, RECEIPTS, "po-1", receipt()).await.is_replayed());
    assert_eq!(receipts(&platform).await, 2);
}

#[tokio::test]
async fn callers_may_use_the_same_key_and_tokens_of_one_subject_share_theirs() {
    let keys = Keys::new();
    let (_, shop_key) = keys.add("shop", [Scope::StockWrite]).await;
    let platform = Platform::open(keys.gate()).await;
    let of_subject = |subject: &str, issued: i64| {
        let mut claims = claims("stock:write");
        claims["sub"] = subject.into();
        claims["iat"] = issued.into();
        token(&claims)
    };
    for caller in [&shop_key, &of_subject("7", 1), &of_subject("8", 1)] {
        let answer = platform.post(caller, RECEIPTS, "po-1", receipt()).await;
        assert_eq!((answer.status.as_u16(), answer.is_replayed()), (201, false));
    }
    assert!(platform.post(&of_subject("7", 2), RECEIPTS, "po-1", receipt()).await.is_replayed());
    assert_eq!(receipts(&platform).await, 3);
}

#[tokio::test]
async fn every_event_names_its_actor() {
    let keys = Keys::new();
    let (_, shop_key) = keys.add("shop", [Scope::StockWrite, Scope::OrdersWrite]).await;
    let platform = Platform::open(keys.gate()).await;
    let headers = [("authorization", shop_key.as_str()), ("orderly-actor", "jana@shop.example")];
    platform.shop.post_with(RECEIPTS, "po-1", receipt(), &headers).await.expect(201);
    let order = json!({"currency": "GBP", "lines": [line("A", 1, 100)]});
    platform.post(&token(&claims("orders:write")), "/v1/orders", "o", order).await.expect(201);
    let log = platform.shop.log().await;
    let actors: Vec<(String, Value)> = log
        .0
        .iter()
        .map(|event| (event.type_name.to_string(), serde_json::to_value(metadata(event).actor).unwrap()))
        .collect();
    let process_manager = json!({"principal": "orderly:process-manager"});
    let expected = [
        ("stock.received.v1", json!({"principal": "shop", "person": "jana@shop.example"})),
        ("order.placed.v2", json!({"principal": "https://id.example|7"})),
        ("stock.reserved.v1", process_manager.clone()),
        ("order.allocated.v1", process_manager.clone()),
        ("payment.requested.v1", process_manager),
    ];
    assert_eq!(actors, expected.map(|(type_name, actor)| (type_name.to_owned(), actor)));

    let too_long = "x".repeat(256);
    let headers = [("authorization", shop_key.as_str()), ("orderly-actor", too_long.as_str())];
    let refused = platform.shop.post_with(RECEIPTS, "po-2", receipt(), &headers).await;
    assert_eq!(refused.invalid_fields(), ["Orderly-Actor"]);
}

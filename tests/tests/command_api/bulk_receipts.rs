//! Receipts of several SKUs under one key: all of them or none.

use command_api::idempotency;
use domain::{CommandContext, CommandId, EventId, Sku, StreamName, stock::StockCommand};
use serde_json::value::RawValue;

use super::*;
use crate::support::{Log, ShopOptions, appends, metadata};

const PATH: &str = "/v1/stock/receipts";
const LIMIT: u32 = 1_000_000_000;

fn receipts(items: &[(&str, u32)]) -> Value {
    let items: Vec<Value> =
        items.iter().map(|(sku, quantity)| json!({"sku": sku, "quantity": quantity})).collect();
    json!({"receipts": items})
}

fn on_hand(log: &Log, skus: &[&str]) -> Vec<u32> {
    skus.iter().map(|sku| log.stock(sku).levels().on_hand).collect()
}

#[tokio::test]
async fn a_bulk_receipt_records_its_intent_first_and_then_the_units_of_each_sku() {
    let shop = Shop::without_process_manager().await;
    let body = json!({"receipts": [
        {"sku": "a", "quantity": 1, "reference": "po-2"},
        {"sku": "b", "quantity": 2},
    ]});
    let answer = post_twice(&shop, PATH, "po-2", body).await.expect(200);
    let levels = |sku: &str, units: u32| json!({"sku": sku, "on_hand": units, "reserved": 0, "available": units, "revision": 0});
    assert_eq!(answer, json!({"receipts": [levels("a", 1), levels("b", 2)], "refused": []}));
    let log = shop.log().await;
    let types: Vec<&str> = log.0.iter().map(|event| &*event.type_name).collect();
    assert_eq!(types, ["receipt.accepted.v1", "stock.received.v1", "stock.received.v1"]);
    for received in &log.0[1..] {
        assert_eq!(metadata(received).causation_id, Some(log.0[0].id));
    }
}

#[tokio::test]
async fn a_refused_bulk_receipt_names_every_refused_sku_and_changes_nothing() {
    let shop = Shop::open().await;
    shop.receive("full", LIMIT).await;
    shop.receive("half", LIMIT / 2).await;
    let before = shop.log().await;
    let refused = async |code: &str, status: u16, items: &[(&str, u32)]| {
        let problem = shop.post(PATH, "po-1", receipts(items)).await.problem(status, code);
        let errors = problem["errors"].as_array().unwrap().iter();
        errors
            .map(|error| (error["field"].as_str().unwrap().to_owned(), error["message"].to_string()))
            .collect::<Vec<_>>()
    };
    let errors = refused(
        "stock_limit",
        409,
        &[("a", 1), ("full", 1), ("half", LIMIT / 2), ("half2", 7), ("b", LIMIT)],
    )
    .await;
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].0, "receipts[1].quantity");
    assert!(errors[0].1.contains("full: "), "{errors:?}");
    let errors = refused("stock_limit", 409, &[("half", LIMIT / 2 + 1), ("a", 1), ("full", 2)]).await;
    assert_eq!(
        errors.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(),
        ["receipts[0].quantity", "receipts[2].quantity"]
    );
    let errors = refused("invalid_request", 422, &[("a", 1), ("b", 0), ("a", 2), ("c", LIMIT + 1)]).await;
    assert_eq!(
        errors.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(),
        ["receipts[1].quantity", "receipts[2].sku", "receipts[3].quantity"]
    );
    let many: Vec<(String, u32)> = (0..1_001).map(|number| (format!("S{number}"), 1)).collect();
    let many: Vec<(&str, u32)> = many.iter().map(|(sku, quantity)| (sku.as_str(), *quantity)).collect();
    for count in [&[][..], &many] {
        assert_eq!(refused("invalid_request", 422, count).await[0].0, "receipts");
    }
    assert_eq!(shop.log().await.0.len(), before.0.len());

    // Nothing was recorded under the key, so it is free for the corrected request.
    shop.post(PATH, "po-1", receipts(&[("a", 1), ("half", 1)])).await.expect(200);
    assert_eq!(on_hand(&shop.log().await, &["a", "half"]), [1, LIMIT / 2 + 1]);
}

#[tokio::test]
async fn a_reused_key_of_a_bulk_receipt_changes_nothing() {
    let shop = Shop::open().await;
    shop.post(PATH, "bulk", receipts(&[("a", 1)])).await.expect(200);
    shop.until_all_reacted().await;
    let before = shop.log().await;
    for other in [&[("b", 5), ("a", 1)][..], &[("b", 5)], &[("a", 2)]] {
        shop.post(PATH, "bulk", receipts(other)).await.problem(422, "idempotency_key_reused");
    }
    assert_eq!(shop.log().await.0.len(), before.0.len());
}

#[tokio::test]
async fn a_stale_if_match_of_a_bulk_receipt_changes_nothing() {
    let shop = Shop::open().await;
    let body = receipts(&[("a", 1)]);
    let answer = shop.post_with(PATH, "bulk", body, &[("if-match", "\"7\"")]).await;
    answer.problem(412, "precondition_failed");
    assert_eq!(shop.log().await.0.len(), 0);
}

/// The process dies after the intent. Before the restart reacts to it, another receipt fills up one SKU.
#[tokio::test]
async fn an_accepted_receipt_is_finished_after_a_crash_also_where_a_sku_filled_up_meanwhile() {
    let options = ShopOptions { process_manager: false, ..ShopOptions::default() };
    let shop = Shop::with(options.clone()).await;
    let body = receipts(&[("a", 1), ("filled", 2), ("b", 3)]);
    shop.store.hold_from(appends("stock.received.v1"));
    tokio::select! {
        answer = shop.post(PATH, "bulk", body.clone()) => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
    let mut shop = shop.crash_into(options).await;
    assert_eq!(shop.log().await.0.len(), 1, "only the intent is durable");
    shop.receive("filled", LIMIT).await;

    shop.start_process_manager();
    let log = shop.until("every SKU is received", |log| log.count("stock.received.v1") == 4).await;
    assert_eq!(on_hand(&log, &["a", "filled", "b"]), [1, LIMIT + 2, 3]);
    // A retry gets the answer, and receives nothing again.
    let retried = shop.post(PATH, "bulk", body).await;
    assert!(retried.is_replayed());
    assert_eq!(retried.expect(200)["receipts"][1]["on_hand"], LIMIT + 2);
    assert_eq!(shop.log().await.0.len(), log.0.len());
}

#[tokio::test]
async fn a_retry_finishes_an_accepted_receipt_without_the_process_manager() {
    let options = ShopOptions { process_manager: false, ..ShopOptions::default() };
    let shop = Shop::with(options.clone()).await;
    let body = receipts(&[("a", 1), ("full", 2)]);
    shop.store.hold_from(appends("stock.received.v1"));
    tokio::select! {
        answer = shop.post(PATH, "bulk", body.clone()) => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
    let shop = shop.crash_into(options).await;
    shop.receive("full", LIMIT).await;
    shop.post(PATH, "bulk", body).await.expect(200);
    assert_eq!(on_hand(&shop.log().await, &["a", "full"]), [1, LIMIT + 2]);
}

/// Receives one SKU of the request as version 0.1.0 did: by a command of its own, without an intent.
async fn receive_as_earlier(shop: &Shop, key: &str, items: &[(&str, u32)], index: usize) {
    // Members in the order of the fingerprint.
    let item = |(sku, quantity): &(&str, u32)| {
        format!("{{\"sku\":\"{sku}\",\"quantity\":{quantity},\"reference\":null}}")
    };
    let listed: Vec<String> = items.iter().map(item).collect();
    let request = RawValue::from_string(format!("{{\"receipts\":[{}]}}", listed.join(","))).unwrap();
    let context = idempotency::context("anonymous", PATH, key.to_owned(), &request);
    let (sku, quantity) = (Sku::new(items[index].0).unwrap(), items[index].1);
    let stream = StreamName::from(sku.clone());
    let id = CommandId::of_reaction(EventId(context.id.0), &stream, "stock.receive");
    let command = StockCommand::Receive { quantity, reference: None };
    let context = CommandContext { id, ..context };
    shop.checkout.stock.execute(&sku, command, &context).await.unwrap();
}

#[tokio::test]
async fn a_key_of_version_0_1_0_is_completed_sku_by_sku() {
    let shop = Shop::open().await;
    shop.receive("full", LIMIT).await;
    let items = [("a", 1), ("full", 1), ("b", 2), ("none", 0)];
    receive_as_earlier(&shop, "bulk", &items, 0).await;
    let completed = shop.post(PATH, "bulk", receipts(&items)).await;
    assert!(!completed.is_replayed());
    let refused: Vec<Value> = completed.expect(200)["refused"].as_array().unwrap().clone();
    assert_eq!(refused.iter().map(|refused| &refused["field"]).collect::<Vec<_>>(), ["full", "none"]);
    let log = shop.log().await;
    assert_eq!(on_hand(&log, &["a", "full", "b"]), [1, LIMIT, 2]);
    assert_eq!(log.count("receipt.accepted.v1"), 0);
    assert!(shop.post(PATH, "bulk", receipts(&items)).await.is_replayed());

    let reused = receipts(&[("new", 5), ("a", 1)]);
    shop.post(PATH, "bulk", reused).await.problem(422, "idempotency_key_reused");
    assert_eq!(shop.log().await.0.len(), log.0.len());
}

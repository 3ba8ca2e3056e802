//! Conventions of every command: `If-Match`, overload, failures of the store, and the documented operations.

use axum::{body::Body, http::Request};

use super::*;

#[tokio::test]
async fn if_match_executes_a_command_only_at_its_revision() {
    let shop = Shop::open().await;
    let order = paid_order(&shop).await;
    let ship = async |key: &str, revision: &str| {
        let body = json!({"lines": [part(1, 1)]});
        shop.post_with(&path_of(&order, "/shipments"), key, body, &[("if-match", revision)]).await
    };
    // Placed, allocated, payment recorded, paid.
    let stale = ship("s", "\"1\"").await;
    stale.problem(412, "precondition_failed");
    assert_eq!(stale.header("etag"), Some("\"3\""));
    ship("s", "\"3\"").await.expect(201);
    ship("s", "\"3\"").await.expect(201);
    ship("t", "*").await.expect(201);
    for malformed in ["3", "W/\"3\"", "\"3\", \"4\"", "\"x\"", "\"+3\"", "\"\"", "\"99999999999999999999\""] {
        ship("u", malformed).await.problem(400, "invalid_parameter");
    }
    let two = [("if-match", "\"3\""), ("if-match", "\"3\"")];
    let twice = shop.post_with(&path_of(&order, "/shipments"), "u", json!({}), &two).await;
    twice.problem(400, "invalid_parameter");
    let adjust = json!({"delta": 1});
    let path = "/v1/stock/85123A/adjustments";
    shop.post_with(path, "a", adjust, &[("if-match", "\"99\"")]).await.problem(412, "precondition_failed");
}

#[tokio::test]
async fn a_command_beyond_the_limit_is_refused_with_retry_after() {
    use crate::support::{ShopOptions, appends};
    use command_api::ExecutorOptions;
    let executor = ExecutorOptions { queue_commands_max: 1, ..ExecutorOptions::default() };
    let shop = Shop::with(ShopOptions { executor, ..ShopOptions::default() }).await;
    shop.store.hold_from(appends("stock.received.v1"));
    let receive = |key: &'static str| shop.post("/v1/stock/a/receipts", key, json!({"quantity": 1}));
    let mut first = Box::pin(receive("first"));
    tokio::select! {
        answer = &mut first => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
    let refused = receive("second").await;
    refused.problem(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    shop.store.release();
    first.await.expect(201);
    receive("second").await.expect(201);
}

#[tokio::test]
async fn the_answer_to_a_failed_write_hides_the_inner_error() {
    use crate::support::{Fault, appends};
    let shop = Shop::open().await;
    for (fault, code) in [(Fault::Refuse, "unavailable"), (Fault::LoseAppend, "outcome_unknown")] {
        shop.store.fail_next(appends("stock.received.v1"), fault);
        let refused = shop.post("/v1/stock/a/receipts", "in", json!({"quantity": 1})).await;
        refused.problem(503, code);
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(!refused.text().contains("on demand"), "{}", refused.text());
    }
    shop.receive("a", 1).await;
}

#[tokio::test]
async fn a_full_disk_is_not_answered_as_a_conflict() {
    let shop = Shop::without_process_manager().await;
    shop.receive("a", 1).await;
    shop.store.supersede_all();
    shop.post("/v1/stock/a/receipts", "in", json!({"quantity": 1})).await.problem(503, "unavailable");
    shop.place("order", &[line("a", 1, 100)]).await.problem(503, "unavailable");
}

#[tokio::test]
async fn every_documented_operation_is_served_and_codes_have_pages() {
    let shop = Shop::open().await;
    let description = shop.get("/openapi.json").await.expect(200);
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = description["paths"].as_object().unwrap();
    for (path, operations) in paths {
        let concrete = path
            .replace("{id}", "00000000-0000-0000-0000-000000000000")
            .replace("{refund_id}", "00000000-0000-0000-0000-000000000000")
            .replace("{shipment}", "00000000-0000-0000-0000-000000000000")
            .replace("{provider}", "none")
            .replace("{delivery}", "msg_00000000-0000-0000-0000-000000000000")
            .replace("{sku}", "none");
        for method in operations.as_object().unwrap().keys() {
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&concrete);
            let answer = shop.send(request.body(Body::empty()).unwrap()).await;
            let text = answer.text();
            assert!(answer.status != 405 && !text.contains("nothing is served"), "{method} {path}: {text}");
        }
        let wrong = shop.send(Request::put(&concrete).body(Body::empty()).unwrap()).await;
        wrong.problem(405, "method_not_allowed");
        assert!(wrong.headers.contains_key("allow"), "{path}");
    }
    assert_eq!(paths.len(), 34, "{:?}", paths.keys());
    assert_eq!(shop.get("/docs/").await.status, 200);
    shop.get("/docs/nope").await.problem(404, "not_found");
    assert_eq!(shop.get("/livez").await.text(), "ok\n");
    assert_eq!(shop.get("/readyz").await.json(), json!({ "status": "ready", "degraded": [] }));
    for code in ["insufficient_stock", "idempotency_key_reused"] {
        assert!(shop.get(&format!("/problems/{code}")).await.text().starts_with(code));
    }
    shop.get("/problems/no_such_code").await.problem(404, "not_found");
}

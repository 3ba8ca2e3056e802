use std::collections::BTreeSet;

use infra::{http::Code, operations::webhooks::SubscriptionId};
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::{error, http::command::NoContent, idempotency};

/// The codes that the operations under a path document.
fn documented(path_prefix: &str) -> BTreeSet<String> {
    let document = serde_json::to_value(openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let items = paths.filter(|(path, _)| path.starts_with(path_prefix)).map(|(_, item)| item);
    let operations = items.flat_map(|item| item.as_object().unwrap().values());
    let responses = operations.flat_map(|operation| operation["responses"].as_object().unwrap().values());
    let resolved = responses.map(|response: &Value| match response["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => response,
    });
    let examples = resolved.filter_map(|response| {
        response.pointer("/content/application~1problem+json/examples").and_then(Value::as_object)
    });
    examples.flat_map(|examples| examples.keys().cloned()).collect()
}

#[test]
fn every_refusal_is_documented_by_an_operation_of_its_resource() {
    // Only the timer expires orders, and only a reaction reserves stock.
    let never_answered = [Code::PaymentNotDue, Code::InsufficientStock];
    for (path, refusals) in [
        ("/v1/stock", error::STOCK_REFUSALS),
        ("/v1/orders", error::ORDER_REFUSALS),
        ("/v1/payments", error::PAYMENT_REFUSALS),
    ] {
        let documented = documented(path);
        for code in refusals.iter().filter(|code| !never_answered.contains(code)) {
            assert!(documented.contains(code.as_str()), "{path} does not document {code}");
        }
    }
}

#[test]
fn every_operation_documents_what_any_request_can_get() {
    let document = serde_json::to_value(openapi()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for status in ["400", "403", "405", "408", "414", "421", "431", "500"] {
                assert!(operation["responses"].get(status).is_some(), "{method} {path} {status}");
            }
        }
    }
}

#[test]
fn operation_ids_are_unique_and_every_request_has_an_example() {
    let document = serde_json::to_value(openapi()).unwrap();
    let items = document["paths"].as_object().unwrap().values();
    let operations: Vec<&Value> = items.flat_map(|item| item.as_object().unwrap().values()).collect();
    let ids: BTreeSet<&str> =
        operations.iter().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations.len());
    for operation in operations {
        let id = operation["operationId"].as_str().unwrap();
        let body = operation.pointer("/requestBody/content/application~1json");
        let answer = ["200", "201", "202"]
            .map(|status| operation["responses"][status].pointer("/content/application~1json"));
        for content in body.into_iter().chain(answer.into_iter().flatten()) {
            let is_of_provider = id == "receiveProviderWebhook";
            assert!(content.get("example").is_some() || is_of_provider, "{id} has no example");
        }
    }
}

#[test]
fn command_ids_of_webhook_subscriptions_stay_the_same() {
    let subscribe = infra::http::path::canonical("/v1/webhook-subscriptions", &());
    let context = idempotency::context("anonymous", &subscribe, "subscribe".to_owned(), &NoContent);
    assert_eq!(context.id.to_string(), "6433f563-09be-5b7f-b8e5-482867375874");

    let route = "/v1/webhook-subscriptions/{id}/rotate-secret";
    let rotate = infra::http::path::canonical(route, &SubscriptionId(Uuid::nil()));
    let context = idempotency::context("anonymous", &rotate, "rotate".to_owned(), &NoContent);
    assert_eq!(context.id.to_string(), "812208a1-a593-533e-bed6-169acfc225fc");
    // printf null | sha256sum
    let sha256_of_null = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b";
    assert_eq!(context.idempotency.unwrap().fingerprint, sha256_of_null);
}

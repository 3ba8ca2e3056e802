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
    let problems = responses.filter(|response| response["content"].get("application/problem+json").is_some());
    let descriptions = problems.map(|response: &Value| response["description"].as_str().unwrap().to_owned());
    let codes = descriptions.flat_map(|text| {
        let codes = text.split('`').skip(1).step_by(2).map(str::to_owned);
        codes.collect::<Vec<_>>()
    });
    codes.collect()
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
fn every_operation_documents_an_internal_error_or_has_no_store() {
    let document = serde_json::to_value(openapi()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let documents_it = operation["responses"].get("500").is_some();
            let reads_a_store = !["/livez", "/version"].contains(&path.as_str());
            assert_eq!(documents_it, reads_a_store, "{method} {path}");
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

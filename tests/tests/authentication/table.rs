//! A table of caller, operation and object over both OpenAPI documents, with the expected answer.

use std::collections::{BTreeMap, BTreeSet};

use axum::{body::Body, http::Request};
use futures::StreamExt;
use infra::auth::Scope;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Keys, Platform, customer_token};
use crate::support::{Answer, documented, eventually};

const OF_BOTH_APIS: [&str; 3] = ["GET /livez", "GET /readyz", "GET /version"];

/// What a caller needs. `None`: nothing.
const SCOPES: [(&str, Option<&str>); 58] = [
    ("GET /livez", None),
    ("GET /readyz", None),
    ("GET /v1/currencies", Some("read")),
    ("GET /v1/declines", Some("read")),
    ("GET /v1/events", Some("audit")),
    ("GET /v1/feed", Some("read")),
    ("GET /v1/money", Some("read")),
    ("GET /v1/orders", Some("read")),
    ("GET /v1/orders/stuck", Some("read")),
    ("GET /v1/orders/{id}", Some("read")),
    ("GET /v1/orders/{id}/timeline", Some("audit")),
    ("GET /v1/payments", Some("read")),
    ("GET /v1/payments/{id}", Some("read")),
    ("GET /v1/projections", Some("read")),
    ("GET /v1/reactions/parked", Some("read")),
    ("GET /v1/reconciliations", Some("read")),
    ("GET /v1/reconciliations/{day}", Some("read")),
    ("GET /v1/sales", Some("read")),
    ("GET /v1/stock", Some("read")),
    ("GET /v1/stock/{sku}", Some("read")),
    ("GET /v1/stock/{sku}/cover", Some("read")),
    ("GET /v1/stock/{sku}/movements", Some("read")),
    ("GET /v1/stock/{sku}/reservations", Some("read")),
    ("GET /v1/summary", Some("read")),
    ("GET /v1/webhook-subscriptions", Some("admin")),
    ("GET /v1/webhook-subscriptions/{id}", Some("admin")),
    ("GET /v1/webhook-subscriptions/{id}/deliveries", Some("admin")),
    ("GET /version", None),
    ("DELETE /v1/webhook-subscriptions/{id}", Some("admin")),
    ("PATCH /v1/webhook-subscriptions/{id}", Some("admin")),
    ("POST /v1/orders", Some("orders:write")),
    ("POST /v1/orders/{id}/cancel", Some("orders:write")),
    ("POST /v1/orders/{id}/deliveries", Some("orders:write")),
    ("POST /v1/orders/{id}/due", Some("orders:write")),
    ("POST /v1/orders/{id}/exchanges", Some("orders:write")),
    ("POST /v1/orders/{id}/payments", Some("payments:write")),
    ("POST /v1/orders/{id}/refunds", Some("refunds:write")),
    ("POST /v1/orders/{id}/returns", Some("orders:write")),
    ("POST /v1/orders/{id}/shipments", Some("orders:write")),
    ("POST /v1/orders/{id}/shipments/{shipment}/undo", Some("orders:write")),
    ("POST /v1/payments/{id}/authorize", Some("payments:write")),
    ("POST /v1/payments/{id}/capture", Some("payments:write")),
    ("POST /v1/payments/{id}/charge", Some("payments:write")),
    ("POST /v1/payments/{id}/fail", Some("payments:write")),
    ("POST /v1/payments/{id}/look-up", Some("payments:write")),
    ("POST /v1/payments/{id}/refunds/{refund_id}/fail", Some("refunds:write")),
    ("POST /v1/payments/{id}/refunds/{refund_id}/retry", Some("refunds:write")),
    ("POST /v1/payments/{id}/refunds/{refund_id}/succeed", Some("refunds:write")),
    ("POST /v1/payments/{id}/void", Some("payments:write")),
    ("POST /v1/reactions/{id}/retry", Some("admin")),
    ("POST /v1/stock/receipts", Some("stock:write")),
    ("POST /v1/stock/{sku}/adjustments", Some("stock:write")),
    ("POST /v1/stock/{sku}/receipts", Some("stock:write")),
    ("POST /v1/webhook-subscriptions", Some("admin")),
    ("POST /v1/webhook-subscriptions/{id}/deliveries/{delivery}/retry", Some("admin")),
    ("POST /v1/webhook-subscriptions/{id}/replay", Some("admin")),
    ("POST /v1/webhook-subscriptions/{id}/rotate-secret", Some("admin")),
    ("POST /v1/webhooks/{provider}", None),
];

/// The operations of a customer, who sees its own resources.
const OF_CUSTOMERS: [&str; 4] =
    ["GET /v1/orders", "GET /v1/orders/{id}", "GET /v1/payments", "GET /v1/payments/{id}"];

const UNKNOWN: &str = "0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f";

/// The operations of both documents, with the scope of each.
fn documented_scopes() -> BTreeMap<String, Option<String>> {
    let documents = [&documented::COMMAND_API, &documented::QUERY_API];
    let paths = documents.into_iter().flat_map(|document| document.document()["paths"].as_object().unwrap());
    let operations = paths.flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| {
            let scope = operation["security"][0]["credentials"][0].as_str().map(str::to_owned);
            (format!("{} {path}", method.to_uppercase()), scope)
        })
    });
    operations.collect()
}

/// Whose the object of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object<'a> {
    Own(&'a Value),
    Others(&'a Value),
    Unknown,
}

impl Object<'_> {
    fn id(self, member: &str) -> String {
        match self {
            Self::Own(order) | Self::Others(order) => order[member].as_str().unwrap().to_owned(),
            Self::Unknown => UNKNOWN.to_owned(),
        }
    }

    /// The path of an operation with this object.
    fn uri(self, operation: &str) -> String {
        let (_, path) = operation.split_once(' ').unwrap();
        let id = if path.starts_with("/v1/payments") { self.id("payment_id") } else { self.id("order_id") };
        let path = path.replace("{id}", &id).replace("{sku}", "A").replace("{provider}", "none");
        let path = path
            .replace("{shipment}", UNKNOWN)
            .replace("{refund_id}", UNKNOWN)
            .replace("{delivery}", "msg_1")
            .replace("{day}", "latest");
        match operation {
            "GET /v1/payments" => format!("{path}?order_id={}", self.id("order_id")),
            // Without a topic it needs another scope as well.
            "GET /v1/feed" => format!("{path}?topic=tiles"),
            "GET /v1/sales" => format!("{path}?currency=GBP"),
            "GET /v1/money" => format!("{path}?currency=GBP&group_by=day"),
            _ => path,
        }
    }
}

async fn send(platform: &Platform, caller: Option<&str>, operation: &str, uri: &str) -> Answer {
    let (method, _) = operation.split_once(' ').unwrap();
    let is_query =
        documented::QUERY_API.document()["paths"][operation.split_once(' ').unwrap().1].is_object();
    if method == "GET" && is_query && !OF_BOTH_APIS.contains(&operation) {
        return platform.get(caller, uri).await;
    }
    let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    request = request.header("idempotency-key", format!("{operation}/{uri}"));
    if let Some(caller) = caller {
        request = request.header("authorization", caller);
    }
    platform.shop.send(request.body(Body::from("{}")).unwrap()).await
}

/// A platform with an order of customer 1 and one of customer 2, and every kind of caller.
async fn platform(keys: &Keys) -> (Platform, Value, Value) {
    let platform = Platform::open(keys.gate()).await;
    let (_, admin) = keys.add("setup", [Scope::Admin]).await;
    platform.post(&admin, "/v1/stock/A/receipts", "r", json!({"quantity": 10})).await.expect(201);
    let mut orders = Vec::new();
    for customer in ["1", "2"] {
        let line = json!({"sku": "A", "quantity": 1, "unit_price": 100});
        let body = json!({"customer_id": customer, "currency": "GBP", "lines": [line]});
        orders.push(platform.post(&admin, "/v1/orders", customer, body).await.expect(201));
    }
    eventually("both orders are projected", async || {
        let mut found = true;
        for order in &orders {
            let uri = format!("/v1/payments/{}", order["payment_id"].as_str().unwrap());
            found &= platform.get(Some(&admin), &uri).await.status == 200;
        }
        found.then_some(())
    })
    .await;
    let [own, other]: [Value; 2] = orders.try_into().unwrap();
    (platform, own, other)
}

#[test]
fn every_operation_declares_the_expected_scope() {
    let expected: BTreeMap<String, Option<String>> = SCOPES
        .into_iter()
        .map(|(operation, scope)| (operation.to_owned(), scope.map(str::to_owned)))
        .collect();
    assert_eq!(documented_scopes(), expected);
    let scopes: BTreeSet<&str> = SCOPES.into_iter().filter_map(|(_, scope)| scope).collect();
    assert!(scopes.iter().all(|scope| scope.parse::<Scope>().is_ok()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_a_valid_credential_or_the_scope_is_refused_everywhere() {
    let keys = Keys::new();
    let mut callers = vec![];
    for scope in Scope::ALL {
        callers.push((*scope, keys.add(&scope.as_str().replace(':', "-"), [*scope]).await.1));
    }
    let (platform, own, _) = platform(&keys).await;
    let before = platform.shop.log().await.0.len();
    for (operation, scope) in SCOPES {
        let Some(scope) = scope else {
            let status = send(&platform, None, operation, &Object::Own(&own).uri(operation)).await.status;
            assert!(![401, 403].contains(&status.as_u16()), "{operation}: {status}");
            continue;
        };
        for object in [Object::Own(&own), Object::Unknown] {
            let uri = object.uri(operation);
            for invalid in [None, Some("Bearer x"), Some("Bearer ork_1"), Some("Basic YTpi"), Some("")] {
                let answer = send(&platform, invalid, operation, &uri).await;
                answer.problem(401, "unauthenticated");
                assert!(
                    answer.header("www-authenticate").unwrap().starts_with("Bearer realm="),
                    "{operation}"
                );
            }
            for (held, caller) in &callers {
                if *held == Scope::Admin || held.as_str() == scope {
                    continue;
                }
                let problem = send(&platform, Some(caller), operation, &uri).await.problem(403, "forbidden");
                assert_eq!(problem["scope"], scope, "{operation} with {held}");
            }
        }
    }
    assert_eq!(platform.shop.log().await.0.len(), before, "a refused request was executed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_with_the_scope_is_admitted_everywhere() {
    let keys = Keys::new();
    let mut callers = BTreeMap::new();
    for scope in Scope::ALL {
        callers.insert(scope.as_str(), keys.add(&scope.as_str().replace(':', "-"), [*scope]).await.1);
    }
    let (platform, own, other) = platform(&keys).await;
    for (operation, scope) in SCOPES {
        let Some(scope) = scope else { continue };
        for object in [Object::Own(&own), Object::Others(&other), Object::Unknown] {
            for caller in [&callers[scope], &callers["admin"]] {
                let answer = send(&platform, Some(caller), operation, &object.uri(operation)).await;
                let status = answer.status.as_u16();
                assert!(![401, 403].contains(&status), "{operation} {object:?}: {}", answer.text());
                if operation.starts_with("GET /v1/orders/{id}") || operation == "GET /v1/payments/{id}" {
                    assert_eq!(
                        status,
                        if object == Object::Unknown { 404 } else { 200 },
                        "{operation} {object:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_reads_its_own_orders_and_payments_and_finds_nothing_else() {
    let keys = Keys::new();
    let (platform, own, other) = platform(&keys).await;
    let before = platform.shop.log().await.0.len();
    // Whatever else the token permits.
    for scope in ["read", "read orders:write payments:write refunds:write stock:write audit admin"] {
        let customer = customer_token(scope, "1");
        for (operation, _) in SCOPES.into_iter().filter(|(_, scope)| scope.is_some()) {
            let mut answers = Vec::new();
            for object in [Object::Own(&own), Object::Others(&other), Object::Unknown] {
                let is_own = matches!(object, Object::Own(_)) || operation == "GET /v1/orders";
                let answer = send(&platform, Some(&customer), operation, &object.uri(operation)).await;
                if OF_CUSTOMERS.contains(&operation) && is_own {
                    answer.expect(200);
                } else {
                    answer.problem(404, "not_found");
                    answers.push(answer.text());
                }
            }
            assert!(
                answers.windows(2).all(|pair| pair[0] == pair[1]),
                "{operation} tells others from unknown"
            );
        }
    }
    assert_eq!(platform.shop.log().await.0.len(), before, "a customer has changed something");
    let no_scope = customer_token("profile", "1");
    for operation in OF_CUSTOMERS {
        let answer = send(&platform, Some(&no_scope), operation, &Object::Own(&own).uri(operation)).await;
        assert_eq!(answer.problem(403, "forbidden")["scope"], "read");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_shows_the_content_of_events_to_the_scope_audit_only() {
    let keys = Keys::new();
    let (_, reader) = keys.add("reader", [Scope::Read]).await;
    let (_, auditor) = keys.add("auditor", [Scope::Read, Scope::Audit]).await;
    let (platform, own, _) = platform(&keys).await;
    let refused = platform.get(Some(&reader), "/v1/feed").await.problem(403, "forbidden");
    assert_eq!(refused["scope"], "audit");
    assert_eq!(platform.get(Some(&auditor), "/v1/feed").await.status, 200);

    let stream = format!("/v1/feed?stream=order-{}&after=0", own["order_id"].as_str().unwrap());
    let second_frame = async |caller: &str| {
        let request = Request::get(&stream).header("authorization", caller).body(Body::empty()).unwrap();
        let response = platform.queries.clone().oneshot(request).await.unwrap();
        let mut frames = response.into_body().into_data_stream();
        frames.next().await.unwrap().unwrap();
        let frame = frames.next().await.unwrap().unwrap();
        String::from_utf8(frame.to_vec()).unwrap()
    };
    let (notice, content) = (second_frame(&reader).await, second_frame(&auditor).await);
    assert!(notice.contains(r#""actor":null,"data":null"#), "{notice}");
    assert!(content.contains(r#""principal":"orderly:process-manager""#), "{content}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lists_of_a_customer_have_its_own_resources_only() {
    let keys = Keys::new();
    let (platform, own, other) = platform(&keys).await;
    let customer = customer_token("read", "1");
    let get = async |uri: String| platform.get(Some(&customer), &uri).await;
    for uri in ["/v1/orders", "/v1/orders?customer_id=1", "/v1/orders?sku=A", "/v1/orders?status=allocated"] {
        let listed = get(uri.to_owned()).await.expect(200);
        let ids: Vec<&Value> =
            listed["items"].as_array().unwrap().iter().map(|item| &item["order_id"]).collect();
        assert_eq!(ids, [&own["order_id"]], "{uri}");
    }
    for filter in
        ["work=overdue", "work=overpaid", "work=refund_due", "terms=prepaid", "terms=net", "limit=1"]
    {
        let listed = get(format!("/v1/orders?{filter}")).await.expect(200);
        let ids = listed["items"].as_array().unwrap().iter().map(|item| &item["order_id"]);
        assert_eq!(ids.filter(|id| **id != own["order_id"]).count(), 0, "{filter}");
    }
    get("/v1/orders?customer_id=2".to_owned()).await.problem(404, "not_found");
    assert_eq!(get("/v1/payments".to_owned()).await.invalid_fields(), ["order_id"]);
    let payments_of =
        |order: &Value| format!("/v1/payments?order_id={}", order["order_id"].as_str().unwrap());
    let listed = get(payments_of(&own)).await.expect(200);
    assert_eq!(listed["items"][0]["payment_id"], own["payment_id"]);
    get(payments_of(&other)).await.problem(404, "not_found");
    // A wait for a revision does not tell another's order from an unknown one.
    let waiting = async |order: &str| get(format!("/v1/orders/{order}?min_revision=0")).await.text();
    assert_eq!(waiting(other["order_id"].as_str().unwrap()).await, waiting(UNKNOWN).await);
}

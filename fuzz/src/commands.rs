//! Bodies of commands: a byte, which chooses the endpoint, and the body.
//!
//! Every body is answered with success or with a problem of the caller, and a repetition gets the same answer.

use std::sync::{
    LazyLock, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use http::StatusCode;
use serde_json::{Value, json};

use crate::platform_in_memory::{PlatformInMemory, SKU};

/// The files of a platform grow, so another one takes over after as many bodies.
const BODIES_PER_PLATFORM: u64 = 20_000;

/// Every endpoint with a body. `{order}` and `{payment}` are those of a new order.
const PATHS: [&str; 19] = [
    "/v1/orders",
    "/v1/orders/{order}/cancel",
    "/v1/orders/{order}/shipments",
    "/v1/orders/{order}/due",
    "/v1/orders/{order}/payments",
    "/v1/orders/{order}/deliveries",
    "/v1/orders/{order}/returns",
    "/v1/orders/{order}/exchanges",
    "/v1/orders/{order}/refunds",
    "/v1/payments/{payment}/charge",
    "/v1/payments/{payment}/authorize",
    "/v1/payments/{payment}/capture",
    "/v1/payments/{payment}/fail",
    "/v1/payments/{payment}/void",
    "/v1/stock/receipts",
    "/v1/stock/{sku}/receipts",
    "/v1/stock/{sku}/adjustments",
    "/v1/webhooks/sandbox",
    "/v1/webhooks/stripe",
];

static PLATFORM: LazyLock<Mutex<PlatformInMemory>> =
    LazyLock::new(|| Mutex::new(PlatformInMemory::open(false)));
static BODIES: AtomicU64 = AtomicU64::new(0);

pub fn check(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let mut platform = PLATFORM.lock().unwrap_or_else(PoisonError::into_inner);
    let number = BODIES.fetch_add(1, Ordering::Relaxed);
    if number > 0 && number.is_multiple_of(BODIES_PER_PLATFORM) {
        *platform = PlatformInMemory::open(false);
    }
    let order = platform.order(&format!("order-{number}"));
    let path = PATHS[usize::from(*choice) % PATHS.len()];
    let id = |member: &str| order[member].as_str().unwrap_or_default().to_owned();
    let path = path.replace("{order}", &id("order_id")).replace("{payment}", &id("payment_id"));
    let path = path.replace("{sku}", SKU);
    let key = format!("body-{number}");
    let answer = platform.post(&path, &key, body.to_vec());
    assert!(!answer.status.is_server_error() || is_no_provider(&path, answer.status), "{path}: {answer:?}");
    if !answer.status.is_success() {
        assert!(answer.json()["code"].is_string(), "{path}: {answer:?}");
        return;
    }
    let again = platform.post(&path, &key, body.to_vec());
    assert_eq!((again.status, json(&again.body)), (answer.status, json(&answer.body)), "{path}");
}

/// The platform has no payment provider.
fn is_no_provider(path: &str, status: StatusCode) -> bool {
    path.ends_with("/charge") && status == StatusCode::SERVICE_UNAVAILABLE
}

fn json(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

pub fn seeds() -> Vec<Vec<u8>> {
    let line = json!({"line": 1, "quantity": 1});
    let adjustments = json!([{"kind": "tax", "code": "VAT20", "amount": 51}]);
    let new_line = json!({"sku": SKU, "quantity": 1, "unit_price": 255, "adjustments": [
        {"kind": "discount", "code": "TEN", "amount": -20}
    ]});
    let bodies = [
        json!({"customer_id": "17850", "currency": "GBP", "country": "Österreich", "reference": "café-1",
            "terms": "prepaid", "lines": [new_line], "adjustments": adjustments, "metadata": {"channel": "web"},
            "payments": [{"amount": 100}, {"amount": 186}]}),
        json!({"lines": [line], "refund_amount": 0, "reason": "demandé par le client"}),
        json!({"lines": [line], "carrier": "DHL", "tracking_number": "1Z"}),
        json!({"payment_due_at": "2027-01-31T00:00:00Z"}),
        json!({"amount": 100}),
        json!({}),
        json!({"lines": [{"line": 1, "quantity": 1, "restock": true}], "refund_amount": 0}),
        json!({"return": {"lines": [{"line": 1, "quantity": 1, "restock": true}]}, "order": {"lines": [new_line]}}),
        json!({"amount": 100, "lines": [{"line": 1, "amount": 100}]}),
        json!({"method": "ok"}),
        json!({"amount": 2550}),
        json!({"amount": 2550}),
        json!({"reason": "declined", "retryable": true}),
        json!({}),
        json!({"lines": [{"sku": SKU, "quantity": 1}], "reference": "po-1"}),
        json!({"quantity": 1, "reference": "po-1"}),
        json!({"delta": -1, "reason": "zerstört"}),
        json!({"id": "evt_1", "type": "charge.succeeded"}),
        json!({"id": "evt_1", "type": "payment_intent.succeeded"}),
    ];
    let seed = |(choice, body): (u8, Value)| [&[choice], body.to_string().as_bytes()].concat();
    (0..).zip(bodies).map(seed).collect()
}

//! Random requests.

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;

/// JSON-like text: mostly well-formed, with known members and unexpected values.
fn json() -> impl Strategy<Value = String> {
    let member = prop::sample::select(vec![
        "sku",
        "quantity",
        "unit_price",
        "currency",
        "lines",
        "stocked",
        "amount",
        "delta",
        "receipts",
        "reference",
        "metadata",
        "adjustments",
        "code",
        "line",
        "restock",
        "payment_due_at",
        "placed_at",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("\"GBP\"".to_owned()),
        Just("\"2030-01-01T00:00:00Z\"".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        (0..5u8).prop_map(|value| value.to_string()),
        any::<f64>().prop_map(|value| format!("{value:e}")),
        ".{0,8}".prop_map(|text| serde_json::Value::from(text).to_string()),
        "[ -~]{0,4}",
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let members = prop::collection::vec((member.clone(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            members.prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => prop::sample::select(vec![
            "v1", "orders", "stock", "payments", "receipts", "adjustments", "cancel", "shipments", "returns",
            "refunds", "authorize", "capture", "00000000-0000-0000-0000-000000000000", "a",
        ]).prop_map(str::to_owned),
        1 => any::<u8>().prop_map(|byte| format!("%{byte:02X}")),
        1 => "[a-zA-Z0-9._~!$&'()*+,;=:@-]{0,6}",
    ];
    let anything =
        prop::collection::vec(segment, 0..6).prop_map(|segments| format!("/{}", segments.join("/")));
    let known = prop::sample::select(vec![
        "/v1/orders",
        "/v1/stock/a/receipts",
        "/v1/stock/a/adjustments",
        "/v1/stock/receipts",
        "/v1/orders/00000000-0000-0000-0000-000000000000/returns",
        "/v1/payments/00000000-0000-0000-0000-000000000000/capture",
    ]);
    prop_oneof![2 => known.prop_map(str::to_owned), 1 => anything]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => json().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..64),
    ]
}

#[test]
fn every_request_is_accepted_or_gets_a_4xx_problem() {
    let runtime = Runtime::new().unwrap();
    let shop = runtime.block_on(Shop::open());
    let case = (path(), body(), prop::option::weighted(0.9, "[ -~]{1,12}"));
    proptest!(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() }, |(case in case)| {
        let (path, body, key) = case;
        let answer = runtime.block_on(send(&shop, Method::POST, &path, key.as_deref().map(str::as_bytes), body));
        let status = answer.status.as_u16();
        prop_assert!(status < 500, "{status} {}", answer.text());
        if status >= 400 {
            let problem = answer.json();
            prop_assert_eq!(answer.header(header::CONTENT_TYPE), Some("application/problem+json"));
            prop_assert_eq!(problem["status"].as_u64(), Some(u64::from(status)));
            prop_assert!(problem["code"].as_str().is_some_and(|code| code != "internal"));
        }
    });
    // Every recorded event can be folded.
    runtime.block_on(async { shop.log().await.walk_stock(|_, _, _| {}) });
}

//! A table of malformed bodies, paths and headers, each with its answer.

use axum::body::Bytes;
use futures::stream;
use serde_json::{Value, json};

use super::*;
use crate::support::line;

const UNKNOWN_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Sends each body to one path. A case is the body, the status, the code and the field that the answer names.
async fn assert_refused(shop: &Shop, path: &str, cases: &[(&[u8], u16, &str, &str)]) {
    for (body, status, code, field) in cases {
        let answer = post(shop, path, body.to_vec()).await;
        let problem = answer.problem(*status, code);
        if !field.is_empty() {
            let named = problem["errors"][0]["field"].as_str().unwrap_or_default();
            let body: String = String::from_utf8_lossy(body).chars().take(200).collect();
            assert_eq!(named, *field, "{body}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn malformed_orders_are_refused() {
    let shop = Shop::open().await;
    let nested = "[".repeat(200_000);
    let deep = format!(r#"{{"currency":"GBP","lines":{nested}"#);
    let nul = "{\"currency\":\"GBP\",\"lines\":[{\"sku\":\"a\\u0000\",\"quantity\":1,\"unit_price\":1}]}";
    assert_refused(
        &shop,
        "/v1/orders",
        &[
            (b"", 422, "invalid_request", "currency"),
            (b"{", 400, "malformed_json", ""),
            (b"not json", 400, "malformed_json", ""),
            (b"{\"currency\":\"GBP\",\"lines\":[]} {}", 400, "malformed_json", ""),
            (b"\xff\xfe", 400, "malformed_json", ""),
            (b"{\"currency\":\"G\xffP\",\"lines\":[]}", 400, "malformed_json", ""),
            (b"{\"currency\":\"\\ud800\",\"lines\":[]}", 400, "malformed_json", ""),
            (deep.as_bytes(), 400, "malformed_json", ""),
            (nested.as_bytes(), 400, "malformed_json", ""),
            (b"null", 422, "invalid_request", "body"),
            (b"[]", 422, "invalid_request", ""),
            (b"7", 422, "invalid_request", "body"),
            (b"\"order\"", 422, "invalid_request", "body"),
            (b"{\"currency\":\"GBP\"}", 422, "invalid_request", "lines"),
            (b"{\"currency\":\"gbp\",\"lines\":[]}", 422, "invalid_request", "currency"),
            (b"{\"currency\":\"XYZ\",\"lines\":[]}", 422, "invalid_request", "currency"),
            (b"{\"currency\":7,\"lines\":[]}", 422, "invalid_request", "currency"),
            (b"{\"currency\":\"GBP\",\"currency\":\"EUR\",\"lines\":[]}", 422, "invalid_request", "body"),
            (b"{\"currency\":\"GBP\",\"lines\":{}}", 422, "invalid_request", "lines"),
            (b"{\"currency\":\"GBP\",\"lines\":[]}", 422, "invalid_request", "lines"),
            (b"{\"currency\":\"GBP\",\"lines\":[[\"a\",1,1,true]]}", 422, "invalid_request", "lines[0]"),
            (
                b"[null,\"GBP\",null,[{\"sku\":\"a\",\"quantity\":1,\"unit_price\":1}]]",
                422,
                "invalid_request",
                "body",
            ),
            (b"{\"currency\":\"GBP\",\"lines\":[null]}", 422, "invalid_request", "lines[0]"),
            (b"{\"currency\":\"GBP\",\"lines\":[],\"admin\":true}", 422, "invalid_request", "admin"),
            (nul.as_bytes(), 422, "invalid_request", "lines[0].sku"),
        ],
    )
    .await;
    assert_eq!(shop.log().await.0.len(), 0);
    // Brackets inside a text are not arrays.
    let brackets =
        r#"{"currency":"GBP","reference":"[\"[\\","lines":[{"sku":"[","quantity":1,"unit_price":1}]}"#;
    post(&shop, "/v1/orders", brackets).await.problem(409, "insufficient_stock");
}

/// A JSON object of these members, with one member replaced or added.
fn object_with(members: &[(&str, &str)], name: &str, value: &str) -> String {
    let kept = members.iter().copied().filter(|(known, _)| *known != name);
    let all = kept.chain([(name, value)]).map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", all.collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn out_of_bounds_members_of_an_order_are_refused() {
    let shop = Shop::open().await;
    let with = |name: &str, value: &str| {
        let lines = ("lines", r#"[{"sku":"a","quantity":1,"unit_price":1}]"#);
        object_with(&[("currency", "\"GBP\""), lines], name, value).into_bytes()
    };
    let line_with = |name: &str, value: &str| {
        let line = object_with(&[("sku", "\"a\""), ("quantity", "1"), ("unit_price", "1")], name, value);
        with("lines", &format!("[{line}]"))
    };
    let text = |length: usize| format!("\"{}\"", "x".repeat(length));
    let entries: serde_json::Map<String, Value> =
        (0..51).map(|entry| (entry.to_string(), json!("x"))).collect();
    let adjustments = json!(vec![json!({"code": "x", "amount": 1}); 101]).to_string();
    let (quantity, price, sku) = ("lines[0].quantity", "lines[0].unit_price", "lines[0].sku");
    let cases: Vec<(Vec<u8>, u16, &str, &str)> = vec![
        (line_with("quantity", "0"), 422, "invalid_request", quantity),
        (line_with("quantity", "-1"), 422, "invalid_request", quantity),
        (line_with("quantity", "1.5"), 422, "invalid_request", quantity),
        (line_with("quantity", "\"1\""), 422, "invalid_request", quantity),
        (line_with("quantity", "null"), 422, "invalid_request", quantity),
        (line_with("quantity", "1000001"), 422, "invalid_request", quantity),
        (line_with("quantity", "4294967296"), 422, "invalid_request", quantity),
        (line_with("quantity", "99999999999999999999999"), 422, "invalid_request", quantity),
        (line_with("quantity", "1e400"), 400, "malformed_json", ""),
        (line_with("quantity", "01"), 400, "malformed_json", ""),
        (line_with("quantity", "NaN"), 400, "malformed_json", ""),
        (line_with("unit_price", "-1"), 422, "invalid_request", price),
        (line_with("unit_price", "0.99"), 422, "invalid_request", price),
        (line_with("unit_price", "9007199254740992"), 422, "invalid_request", price),
        (line_with("unit_price", "9223372036854775808"), 422, "invalid_request", price),
        (line_with("unit_price", "true"), 422, "invalid_request", price),
        (line_with("sku", "\"\""), 422, "invalid_request", sku),
        (line_with("sku", "\" a\""), 422, "invalid_request", sku),
        (line_with("sku", "\"a\\n\""), 422, "invalid_request", sku),
        (line_with("sku", &text(65)), 422, "invalid_request", sku),
        (line_with("stocked", "\"no\""), 422, "invalid_request", "lines[0].stocked"),
        (line_with("weight", "1"), 422, "invalid_request", "lines[0].weight"),
        (with("customer_id", &text(501)), 422, "invalid_request", "customer_id"),
        (with("customer_id", "\"\""), 422, "invalid_request", "customer_id"),
        (with("customer_id", "17850"), 422, "invalid_request", "customer_id"),
        (with("country", "\"\\u0007\""), 422, "invalid_request", "country"),
        (with("reference", "[]"), 422, "invalid_request", "reference"),
        (with("metadata", "{\"a\":1}"), 422, "invalid_request", "metadata.a"),
        (with("metadata", &Value::from(entries).to_string()), 422, "invalid_request", "metadata"),
        (with("metadata", "[]"), 422, "invalid_request", "metadata"),
        (with("metadata", "{\"a\":\"1\",\"a\":\"1\"}"), 422, "invalid_request", "metadata"),
        (with("adjustments", &adjustments), 422, "invalid_request", "adjustments"),
        (
            with("adjustments", "[{\"code\":\"\",\"amount\":1}]"),
            422,
            "invalid_request",
            "adjustments[0].code",
        ),
        (with("payment_due_at", "\"tomorrow\""), 422, "invalid_request", "payment_due_at"),
        (with("payment_due_at", "12"), 422, "invalid_request", "payment_due_at"),
        (with("placed_at", "\"2010-12-01\""), 422, "invalid_request", "placed_at"),
        (with("placed_at", "\"-009999-01-01T00:00:00Z\""), 422, "invalid_request", "placed_at"),
    ];
    let cases: Vec<_> =
        cases.iter().map(|(body, status, code, field)| (&body[..], *status, *code, *field)).collect();
    assert_refused(&shop, "/v1/orders", &cases).await;

    // Each line is within bounds, but their sum is not.
    let expensive = vec![line("a", 1_000_000, 9_007_199_254_740_991)];
    shop.place("expensive", &expensive).await.problem(422, "invalid_request");
    let many: Vec<Value> = (0..1_001).map(|_| line("a", 1_000_000, 0)).collect();
    shop.place("many", &many).await.problem(422, "invalid_request");
    assert_eq!(shop.log().await.0.len(), 0);
}

#[tokio::test]
async fn malformed_keys_and_wrong_content_types_are_refused() {
    let shop = Shop::open().await;
    let (path, body) = ("/v1/stock/a/receipts", json!({"quantity": 1}).to_string());
    let long = [b'x'; 256];
    let cases: [(Option<&[u8]>, &str); 9] = [
        (None, "idempotency_key_missing"),
        (Some(b""), "idempotency_key_missing"),
        (Some(b"\"\""), "idempotency_key_missing"),
        (Some(&long), "invalid_parameter"),
        (Some("schlüssel".as_bytes()), "invalid_parameter"),
        (Some(b"a\tb"), "invalid_parameter"),
        (Some(b"\"open"), "invalid_parameter"),
        (Some(b"in\"side"), "invalid_parameter"),
        (Some(b"\"bad \\escape\""), "invalid_parameter"),
    ];
    for (key, code) in cases {
        send(&shop, Method::POST, path, key, body.clone()).await.problem(400, code);
    }
    let two = Request::post(path).header("idempotency-key", "a").header("idempotency-key", "b");
    let two = two.header(header::CONTENT_TYPE, "application/json").body(body.clone().into()).unwrap();
    shop.send(two).await.problem(400, "invalid_parameter");
    let send_as = async |content_type: Option<&str>, coding: Option<&str>| {
        let mut request = Request::post(path).header("idempotency-key", "a");
        for (name, value) in [(header::CONTENT_TYPE, content_type), (header::CONTENT_ENCODING, coding)] {
            if let Some(value) = value {
                request = request.header(name, value.as_bytes());
            }
        }
        shop.send(request.body(body.clone().into()).unwrap()).await
    };
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("é"),
        Some("application/json; charset=utf-16"),
        Some("application/json; a=b; Charset=\"iso-8859-1\""),
    ] {
        send_as(content_type, None).await.problem(415, "unsupported_media_type");
    }
    for coding in ["gzip", "identity, br"] {
        send_as(Some("application/json"), Some(coding)).await.problem(415, "unsupported_media_type");
    }
    assert_eq!(shop.log().await.0.len(), 0);
    send_as(Some("application/json; charset=\"UTF-8\""), Some("identity")).await.expect(201);
}

#[tokio::test]
async fn large_bodies_are_refused_with_and_without_a_declared_size() {
    let shop = Shop::open().await;
    let large = vec![b' '; 2 * 1024 * 1024 + 1];
    let request = || Request::post("/v1/orders").header("idempotency-key", "a");
    let request = |length: Option<usize>| {
        let request = request().header(header::CONTENT_TYPE, "application/json");
        match length {
            Some(length) => request.header(header::CONTENT_LENGTH, length),
            None => request,
        }
    };
    let declared = request(Some(large.len())).body(Body::from(large.clone())).unwrap();
    shop.send(declared).await.problem(413, "payload_too_large");
    let chunks = large.chunks(64 * 1024).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk)));
    let chunked = Body::from_stream(stream::iter(chunks.collect::<Vec<_>>()));
    shop.send(request(None).body(chunked).unwrap()).await.problem(413, "payload_too_large");
    let broken = stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("reset"))]);
    shop.send(request(None).body(Body::from_stream(broken)).unwrap()).await.problem(400, "malformed_json");
}

#[tokio::test]
async fn an_answer_repeats_only_the_beginning_of_a_long_name() {
    let shop = Shop::open().await;
    let name = "x".repeat(1_000_000);
    let answer = post(&shop, "/v1/orders", format!("{{\"{name}\":1}}")).await;
    answer.problem(422, "invalid_request");
    assert!(answer.body.len() < 2_000, "{} bytes", answer.body.len());
}

#[tokio::test]
async fn unknown_and_malformed_ids_are_not_found() {
    let shop = Shop::open().await;
    let shipment = json!({"shipment_id": UNKNOWN_ID}).to_string();
    for (rest, body) in [
        ("cancel", "{}"),
        ("shipments", "{}"),
        ("deliveries", &shipment),
        ("returns", r#"{"lines":[{"line":1,"quantity":1}]}"#),
        (
            "exchanges",
            r#"{"return":{"lines":[{"line":1,"quantity":1}]},"order":{"lines":[{"sku":"a","quantity":1,"unit_price":1}]}}"#,
        ),
        ("refunds", r#"{"amount":1}"#),
        ("payments", r#"{"amount":1}"#),
    ] {
        for id in [UNKNOWN_ID, "1", "x", "%00", "..%2F..%2Fetc", "0%20or%201=1"] {
            post(&shop, &format!("/v1/orders/{id}/{rest}"), body.to_owned()).await.problem(404, "not_found");
        }
    }
    for rest in
        ["authorize", "capture", "fail", "void", &format!("refunds/{UNKNOWN_ID}/succeed"), "refunds/x/fail"]
    {
        for id in [UNKNOWN_ID, "x"] {
            post(&shop, &format!("/v1/payments/{id}/{rest}"), "").await.problem(404, "not_found");
        }
    }
    for path in ["/", "/v1", "/v1/orders/", "/v2/orders", "/v1/stock", "/v1/orders/x/ship"] {
        let status = post(&shop, path, "{}").await;
        assert_eq!(status.status, 404, "{path}: {}", status.text());
    }
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
        let answer = send(&shop, method, "/v1/orders", Some(b"a"), "{}").await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
}

#[tokio::test]
async fn malformed_skus_in_the_path_are_refused() {
    let shop = Shop::open().await;
    let long = "x".repeat(65);
    for sku in ["", "%FF", "%C3%28", "%00", "a%0Ab", "%20a", "a%20", &long] {
        let path = format!("/v1/stock/{sku}/receipts");
        post(&shop, &path, r#"{"quantity":1}"#).await.problem(400, "invalid_parameter");
    }
    post(&shop, "/v1/orders/%FF/cancel", "{}").await.problem(400, "invalid_parameter");
    for body in [r#"{"quantity":0}"#, r#"{"quantity":1000000001}"#, r#"{"quantity":1,"reference":""}"#] {
        post(&shop, "/v1/stock/a/receipts", body).await.problem(422, "invalid_request");
    }
    let delta = r#"{"delta":-9223372036854775808}"#;
    post(&shop, "/v1/stock/a/adjustments", delta).await.problem(409, "stock_below_reserved");
    let delta = r#"{"delta":9223372036854775807}"#;
    post(&shop, "/v1/stock/a/adjustments", delta).await.problem(409, "stock_limit");
    assert_eq!(shop.log().await.0.len(), 0);
}

#[tokio::test]
async fn all_faults_of_a_body_are_reported_together_with_their_pointers() {
    let shop = Shop::open().await;
    let pointers = async |path: &str, body: Value| {
        let problem = post(&shop, path, body.to_string()).await.problem(422, "invalid_request");
        let errors = problem["errors"].as_array().unwrap().iter();
        let mut pointers: Vec<String> =
            errors.map(|error| error["pointer"].as_str().unwrap().to_owned()).collect();
        pointers.sort();
        pointers
    };
    // serde refuses the first one, and stops at its currency.
    let of_serde = json!({"currency": 1, "lines": [{"sku": "", "quantity": 0}], "colour": "red"});
    let expected = ["/colour", "/currency", "/lines/0/quantity", "/lines/0/sku", "/lines/0/unit_price"];
    assert_eq!(pointers("/v1/orders", of_serde).await, expected);
    // serde accepts the second one. The domain refuses it, and stops at its first line.
    let of_domain = json!({"currency": "GBP", "country": "", "lines": [line("a", 0, 1), line("b", 1, -1)],
        "adjustments": [{"code": "x", "amount": 1}, {"code": "", "amount": 1}]});
    let expected = ["/adjustments/1/code", "/country", "/lines/0/quantity", "/lines/1/unit_price"];
    assert_eq!(pointers("/v1/orders", of_domain).await, expected);
    // A fault that only the domain knows stands beside those of the schema.
    let mixed =
        json!({"currency": "GBP", "lines": [line("a", 1, 1)], "payments": [{"amount": 2}], "reference": ""});
    assert_eq!(pointers("/v1/orders", mixed).await, ["/reference"]);
    let of_parameter = shop.post("/v1/stock/a%00/receipts", "k", json!({"quantity": 1})).await;
    assert!(of_parameter.problem(400, "invalid_parameter")["errors"][0].get("pointer").is_none());
}

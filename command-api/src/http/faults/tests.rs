use super::*;
use crate::http::orders::PlaceOrderRequest;

/// The faults of an order that serde refuses because of `first`: `POINTER MESSAGE`.
fn faults(body: &str, first: &str) -> Vec<String> {
    let problem = problem::<PlaceOrderRequest>(body.as_bytes(), FieldError::of_member(first, "first"));
    assert_eq!(problem.code, Code::InvalidRequest);
    let line = |error: &FieldError| format!("{} {}", error.pointer.clone().unwrap(), error.message);
    problem.errors().iter().map(line).collect()
}

#[test]
fn all_faults_are_reported_with_their_pointers() {
    let body = r#"{"currency": "gbp", "colour": 1, "lines": [
        {"sku": " A", "quantity": 0, "unit_price": -1},
        {"sku": "A", "quantity": "2"},
        {"sku": "A", "quantity": 1.5, "unit_price": 9007199254740992, "adjustments": [{"code": "", "amount": 1, "kind": "gift"}]}],
        "metadata": {"a/b": 1}, "payment_due_at": "tomorrow", "payments": []}"#;
    let mut found = faults(body, "currency");
    found.sort();
    let expected = [
        "/colour is unknown here",
        "/currency is not an ISO 4217 currency code in capitals, such as GBP",
        "/lines/0/quantity expected at least 1",
        "/lines/0/sku has a control character, or white space at an end",
        "/lines/0/unit_price expected at least 0",
        "/lines/1/quantity expected a whole number, found a text",
        "/lines/1/unit_price is required",
        "/lines/2/adjustments/0/code is empty",
        "/lines/2/adjustments/0/kind is none of discount, tax, shipping, fee",
        "/lines/2/quantity expected a whole number, without fraction and exponent, of at most 2^53 - 1",
        "/lines/2/unit_price expected at most 9007199254740991",
        "/metadata/a~1b expected a text, found a number",
        "/payment_due_at is not a time of RFC 3339, such as 2026-01-31T12:00:00Z",
        "/payments is an empty list",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_fault_that_no_schema_shows_is_reported_beside_the_others() {
    let found = faults(r#"{"currency": "ZZZ"}"#, "currency");
    assert_eq!(found, ["/currency first", "/lines is required"]);
}

#[test]
fn a_body_that_is_no_json_has_no_faults() {
    let problem =
        problem::<PlaceOrderRequest>(b"{\"currency\": 1", FieldError::of_member("currency", "first"));
    assert_eq!(problem.code, Code::MalformedJson);
}

#[test]
fn an_answer_has_at_most_100_faults() {
    let line = r#"{"sku": "A", "quantity": 0, "unit_price": 1}"#;
    let lines = vec![line; 200].join(",");
    assert_eq!(faults(&format!(r#"{{"currency": "GBP", "lines": [{lines}]}}"#), "lines").len(), FAULTS_MAX);
}

#[test]
fn a_member_is_named_as_the_domain_names_it() {
    let body = json!({ "lines": [{ "sku": "A" }], "metadata": { "1": "x" } });
    assert_eq!(member_at("/lines/0/sku", &body), "lines[0].sku");
    assert_eq!(member_at("/metadata/1", &body), "metadata.1");
    assert_eq!(member_at("", &body), "body");
}

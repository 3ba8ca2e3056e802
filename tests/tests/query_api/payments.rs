//! `/v1/payments`.

use axum::http::header;
use domain::{
    PaymentId, RefundId,
    payment::{
        Operation, PaymentAuthorized, PaymentCaptured, PaymentFailed, PaymentOutcomeUnknown,
        PaymentRefundFailed, PaymentRefundRequested, PaymentRefunded, RefundReason, RefundSource,
    },
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Api,
    rows::{amount, order_id, payment_row},
};

#[tokio::test]
async fn a_payment_is_answered_with_its_refunds() {
    let api = Api::new();
    let refund_id = RefundId(Uuid::from_u128(40));
    let happened = vec![
        PaymentAuthorized {
            amount: amount(1_800),
            reference: Some("auth-1".to_owned()),
            charge: None,
            until: None,
        }
        .into(),
        PaymentCaptured { amount: amount(1_000), reference: None, charge: None, late: false }.into(),
        PaymentRefundRequested {
            refund_id,
            amount: amount(300),
            reason: RefundReason::Return,
            source: None,
            part_of: None,
        }
        .into(),
        PaymentRefunded { refund_id, amount: amount(300), reference: None }.into(),
        PaymentOutcomeUnknown { operation: Operation::Capture }.into(),
    ];
    api.queries.change(|rows| rows.payments.push(payment_row(1, happened)));

    let payment_id = PaymentId::of_order(order_id(1));
    let answer = api.get(&format!("/v1/payments/{payment_id}")).await;

    assert_eq!(answer.header(header::ETAG), Some("\"5\""));
    assert_eq!(
        answer.expect(200),
        json!({
            "payment_id": payment_id,
            "order_id": order_id(1),
            "status": "outcome_unknown",
            "currency": "GBP",
            "amount": 1_800,
            "authorized": 1_800,
            "authorized_until": null,
            "captured": 1_000,
            "refunded": 300,
            "disputed": 0,
            "capturable": 800,
            "refundable": 700,
            "retryable": false,
            "unknown_operation": "capture",
            "void_requested": false,
            "closed": false,
            "reference": "auth-1",
            "failure_code": null,
            "recorded_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:02Z",
            "revision": 5,
            "kind": "manual",
            "failure": null,
            "refunds": [{"refund_id": refund_id, "amount": 300, "reason": "return", "status": "refunded",
                         "charge": null, "part_of": null, "since": null, "failure": null,
                         "requested_at": null, "settled_at": null}],
            "disputes": [],
        })
    );
}

#[tokio::test]
async fn a_refund_shows_why_it_failed_and_since_when_it_waits() {
    let api = Api::new();
    let [failed, open] = [40, 41].map(|id| RefundId(Uuid::from_u128(id)));
    let requested = |refund_id| PaymentRefundRequested {
        refund_id,
        amount: amount(300),
        reason: RefundReason::Return,
        source: Some(RefundSource::Charge(1)),
        part_of: None,
    };
    let reason = Some("account_closed".to_owned());
    let happened = vec![
        PaymentCaptured { amount: amount(1_000), reference: None, charge: Some(1), late: false }.into(),
        requested(failed).into(),
        PaymentRefundFailed { refund_id: failed, amount: amount(300), reason, by_provider: true }.into(),
        requested(open).into(),
    ];
    api.queries.change(|rows| rows.payments.push(payment_row(1, happened)));
    let payment = api.get(&format!("/v1/payments/{}", PaymentId::of_order(order_id(1)))).await.expect(200);
    let shown = |index: usize| {
        let refund = &payment["refunds"][index];
        [&refund["status"], &refund["since"], &refund["failure"]]
    };
    assert_eq!(shown(0), [&json!("failed"), &json!(null), &json!("account_closed")]);
    assert_eq!(shown(1), [&json!("requested"), &json!("2026-01-01T00:00:02Z"), &json!(null)]);
}

#[tokio::test]
async fn an_unknown_or_malformed_payment_id_is_not_found() {
    let api = Api::new();
    for id in [&order_id(1).to_string(), "4711"] {
        let problem = api.get(&format!("/v1/payments/{id}")).await.problem(404, "not_found");
        assert_eq!(problem["detail"], "the payment does not exist");
    }
}

#[tokio::test]
async fn payments_are_listed_by_order_and_by_status_the_latest_first() {
    let api = Api::new();
    let failed = |code: &str, retryable| {
        let (reason, code) = (Some(code.to_owned()), Some(code.to_owned()));
        PaymentFailed { reason, retryable, code }.into()
    };
    api.queries.change(|rows| {
        let captured = PaymentCaptured {
            amount: amount(1_800),
            reference: Some("ch_3".to_owned()),
            charge: None,
            late: false,
        };
        rows.payments = (1..=6)
            .map(|number| match number {
                3 => payment_row(number, vec![captured.clone().into()]),
                4 => payment_row(number, vec![failed("card_declined", true)]),
                5 => payment_row(number, vec![failed("card_declined", false)]),
                _ => payment_row(number, Vec::new()),
            })
            .collect();
    });
    let cases: [(&str, &[u128]); 9] = [
        ("limit=2", &[6, 5, 4, 3, 2, 1]),
        ("limit=2&direction=asc", &[1, 2, 3, 4, 5, 6]),
        ("status=captured", &[3]),
        ("status=captured,failed&limit=1", &[5, 4, 3]),
        ("failure=card_declined", &[5, 4]),
        ("declined=true", &[4]),
        ("reference=ch_3", &[3]),
        ("order_id=00000000-0000-0000-0000-000000000004", &[4]),
        ("order_id=00000000-0000-0000-0000-000000000004&status=captured", &[]),
    ];
    for (query, numbers) in cases {
        let expected: Vec<_> =
            numbers.iter().map(|number| PaymentId::of_order(order_id(*number)).to_string()).collect();
        assert_eq!(api.walk(&format!("/v1/payments?{query}"), "payment_id").await, expected, "{query}");
    }
    let declined = api.get("/v1/payments?declined=true").await.expect(200);
    assert_eq!(declined["items"][0]["failure_code"], "card_declined");
    let answer = api.get("/v1/payments?order_id=4711&status=paid&direction=up&declined=false").await;
    assert_eq!(answer.invalid_fields(), ["order_id", "status", "declined", "direction"]);
}

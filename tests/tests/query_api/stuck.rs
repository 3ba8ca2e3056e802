//! `/v1/orders/stuck`.

use domain::{
    PaymentId, RefundId,
    payment::{
        Operation, PaymentAuthorized, PaymentCaptured, PaymentChargePending, PaymentEvent,
        PaymentOutcomeUnknown, PaymentRefundRequested, PaymentVoidRequested, RefundReason,
    },
};
use infra::read_models::{Wait, WaitKind};
use serde_json::json;
use uuid::Uuid;

use super::{
    Api,
    rows::{allocated, amount, at, order_id, order_row, payment_row, placed},
};

/// A wait that began at 00:`minute`. The clock of the API always shows 00:10.
fn since(minute: u32, id: Uuid, kind: WaitKind) -> Wait {
    Wait { since: at(&format!("2026-01-01T00:{minute:02}:00Z")), id, kind }
}

#[tokio::test]
async fn a_stuck_order_is_listed_with_its_reason_and_waiting_time() {
    let api = Api::new();
    api.queries.change(|rows| {
        rows.orders = vec![order_row(&[placed(1).into()]), order_row(&[placed(2).into(), allocated(2)])];
        rows.payments = vec![payment_row(2, Vec::new())];
        rows.waits = vec![
            since(4, order_id(1).0, WaitKind::Allocation),
            since(5, order_id(2).0, WaitKind::Expiry),
            since(6, order_id(3).0, WaitKind::Release),
        ];
    });
    let page = api.get("/v1/orders/stuck").await.expect(200);
    assert_eq!(
        page["items"][0],
        json!({
            "order_id": order_id(1), "payment_id": null, "why": "placed", "since": "2026-01-01T00:04:00Z",
            "waiting_seconds": 360, "status": "placed", "payment_status": "pending",
            "fulfilment_status": "unfulfilled", "payment_state": null,
        })
    );
    assert_eq!(
        page["items"][1],
        json!({
            "order_id": order_id(2), "payment_id": PaymentId::of_order(order_id(2)), "why": "payment_overdue",
            "since": "2026-01-01T00:05:00Z", "waiting_seconds": 300, "status": "allocated",
            "payment_status": "pending", "fulfilment_status": "unfulfilled", "payment_state": "requested",
        })
    );
    assert_eq!(page["items"][2]["why"], "reservation_open");
    assert_eq!(
        api.walk("/v1/orders/stuck?limit=1", "why").await,
        ["placed", "payment_overdue", "reservation_open"]
    );
}

#[tokio::test]
async fn the_reason_of_a_stuck_payment_is_the_next_step_of_the_provider() {
    let api = Api::new();
    let authorized: PaymentEvent =
        PaymentAuthorized { amount: amount(1_800), reference: None, charge: Some(1), until: None }.into();
    let captured: PaymentEvent =
        PaymentCaptured { amount: amount(1_800), reference: None, charge: Some(1), late: false }.into();
    let refund_id = RefundId(Uuid::from_u128(1));
    let refund = PaymentRefundRequested {
        refund_id,
        amount: amount(1),
        reason: RefundReason::Requested,
        source: None,
        part_of: None,
    };
    let unknown = PaymentOutcomeUnknown { operation: Operation::Capture };
    let waiting = [
        (1, vec![authorized.clone(), PaymentVoidRequested {}.into()], "void_pending"),
        (2, vec![authorized.clone(), unknown.into()], "outcome_unknown"),
        (3, vec![captured, refund.into()], "refund_pending"),
    ];
    api.queries.change(|rows| {
        for (number, happened, _) in waiting.clone() {
            rows.orders.push(order_row(&[placed(number).into(), allocated(number)]));
            rows.payments.push(payment_row(number, happened));
            let id = PaymentId::of_order(order_id(number)).0;
            rows.waits.push(since(u32::try_from(number).unwrap(), id, WaitKind::Provider));
        }
        // This wait ended after it was listed and before its rows were read.
        rows.payments.push(payment_row(4, vec![authorized]));
        rows.waits.push(since(4, PaymentId::of_order(order_id(4)).0, WaitKind::Provider));
        // The customer is busy with the provider.
        let pending = PaymentChargePending { charge: 1, reference: "pi_1".to_owned() };
        rows.payments.push(payment_row(5, vec![pending.into()]));
        rows.waits.push(since(5, PaymentId::of_order(order_id(5)).0, WaitKind::Provider));
    });
    let page = api.get("/v1/orders/stuck").await.expect(200);
    let found: Vec<_> =
        page["items"].as_array().unwrap().iter().map(|item| (&item["order_id"], &item["why"])).collect();
    let expected: Vec<_> =
        waiting.iter().map(|(number, _, why)| (json!(order_id(*number)), json!(why))).collect();
    assert_eq!(found, expected.iter().map(|(id, why)| (id, why)).collect::<Vec<_>>());
}

#[tokio::test]
async fn older_than_sets_the_allowed_waiting_time() {
    let api = Api::new();
    api.queries.change(|rows| {
        rows.waits =
            (1..=9).map(|minute| since(minute, order_id(minute.into()).0, WaitKind::Release)).collect();
    });
    let count = async |uri: &str| api.get(uri).await.expect(200)["items"].as_array().unwrap().len();
    assert_eq!(count("/v1/orders/stuck").await, 8);
    assert_eq!(count("/v1/orders/stuck?older_than=0").await, 9);
    assert_eq!(count("/v1/orders/stuck?older_than=539").await, 1);
    assert_eq!(count("/v1/orders/stuck?older_than=4294967295").await, 0);
    let invalid = api.get("/v1/orders/stuck?older_than=-1&min_revision=1").await;
    assert_eq!(invalid.invalid_fields(), ["older_than", "min_revision"]);
}

//! Stripe's webhooks as notices.

use http::HeaderMap;
use infra::payment_provider::{NoticeContent, PaymentProvider, RefundAnswer};
use serde_json::{Value, json};
use tests::stripe::{StripeDouble, WEBHOOK_SECRET, signature};

use super::{PAID, charge, double, figures, provider};

fn read(double: &StripeDouble, body: &str) -> NoticeContent {
    let now = double.now();
    let mut headers = HeaderMap::new();
    let signed = signature(body, WEBHOOK_SECRET, now.as_second());
    headers.insert("stripe-signature", signed.parse().unwrap());
    provider(double).read_notice(&headers, body.as_bytes(), now).unwrap().content
}

fn body_of(double: &StripeDouble, kind: &str) -> String {
    let events = double.events();
    let found = events.iter().rev().find(|event| event.contains(&format!("\"type\":\"{kind}\"")));
    found.unwrap_or_else(|| panic!("no {kind} in {events:?}")).clone()
}

/// When this webhook arrives, the intent can still succeed, because the customer may confirm it again.
#[tokio::test]
async fn a_failed_confirmation_is_pending_until_it_is_looked_up() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_authenticationRequired"));
    let waiting = provider.charge(&request).await.unwrap();
    assert_eq!(
        waiting.next_action.unwrap()["client_secret"],
        format!("{}_secret_double", waiting.report.reference)
    );
    double.authenticate(&waiting.report.reference, false);
    let notice = read(&double, &body_of(&double, "payment_intent.payment_failed"));
    let NoticeContent::Charge { payment_id, report } = notice else { panic!("{notice:?}") };
    assert_eq!((payment_id, report.charge, figures(&report)), (request.payment_id, 1, (0, 0, None)));
    let found = provider.look_up(&request).await.unwrap().unwrap().report;
    assert_eq!(figures(&found), (0, 0, Some("failed for now")));
    let notice = read(&double, &body_of(&double, "payment_intent.canceled"));
    let NoticeContent::Charge { report, .. } = notice else { panic!("{notice:?}") };
    assert_eq!(figures(&report), (0, 0, Some("failed for now")));
}

#[tokio::test]
async fn webhooks_report_the_charge_and_the_refund() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa"));
    let report = provider.charge(&request).await.unwrap().report;
    let notice = read(&double, &body_of(&double, "payment_intent.succeeded"));
    assert_eq!(notice, NoticeContent::Charge { payment_id: request.payment_id, report: report.clone() });
    assert_eq!(figures(&report), PAID);

    let charge = super::known_by(&request, &report);
    let refund_id = domain::RefundId(uuid::Uuid::new_v4());
    let requested_at = double.now();
    let refund = infra::payment_provider::RefundRequest {
        charge,
        refund_id,
        amount: super::amount(100),
        requested_at,
    };
    let answer = provider.refund(&refund).await.unwrap();
    assert!(matches!(answer, RefundAnswer::Refunded { .. }));
    let notice = read(&double, &body_of(&double, "refund.created"));
    let NoticeContent::Refund { payment_id, report } = notice else { panic!("{notice:?}") };
    assert_eq!((payment_id, report.refund_id), (request.payment_id, refund_id));
    assert_eq!(answer, RefundAnswer::Refunded { reference: report.reference });
}

#[tokio::test]
async fn webhooks_about_other_payments_are_ignored() {
    let double = double().await;
    provider(&double).charge(&charge(&double, "pm_card_visa")).await.unwrap();
    assert_eq!(read(&double, &body_of(&double, "payment_intent.created")), NoticeContent::Other);
    let mut event: Value = serde_json::from_str(&body_of(&double, "payment_intent.succeeded")).unwrap();
    event["data"]["object"]["metadata"] = json!({ "shop": "another one" });
    assert_eq!(read(&double, &event.to_string()), NoticeContent::Other);
    event["type"] = json!("customer.created");
    event["data"]["object"] = json!({ "id": "cus_1", "object": "customer" });
    assert_eq!(read(&double, &event.to_string()), NoticeContent::Other);
}

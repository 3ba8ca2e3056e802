use domain::payment::ChargeEnding;
use serde_json::{Value, json};

use super::{
    super::{
        object::{Intent, Refund},
        report::{answer, refund_answer, report},
    },
    amount,
};
use crate::payment_provider::{ProviderError, RefundAnswer};

fn intent(status: &str, members: &Value) -> Intent {
    let mut intent = json!({ "id": "pi_1", "status": status, "currency": "gbp", "amount": 1000,
        "amount_capturable": 0, "amount_received": 0, "client_secret": "pi_1_secret" });
    for (name, value) in members.as_object().expect("members") {
        intent[name] = value.clone();
    }
    serde_json::from_value(intent).expect("an intent")
}

fn failed(reason: &str, retryable: bool) -> ChargeEnding {
    ChargeEnding::Failed { reason: Some(reason.to_owned()), retryable }
}

#[test]
fn every_status_of_an_intent_is_reported_as_sums() {
    let voided = Some(ChargeEnding::Voided);
    for (status, members, authorized, captured, ending) in [
        ("requires_payment_method", json!({}), 0, 0, None),
        ("requires_confirmation", json!({}), 0, 0, None),
        ("requires_action", json!({}), 0, 0, None),
        ("processing", json!({}), 0, 0, None),
        ("requires_capture", json!({ "amount_capturable": 1000 }), 1000, 0, None),
        ("requires_capture", json!({ "amount_capturable": 700, "amount_received": 300 }), 1000, 300, None),
        ("succeeded", json!({ "amount_received": 1000 }), 1000, 1000, None),
        ("succeeded", json!({ "amount_received": 300 }), 1000, 300, voided.clone()),
        ("canceled", json!({}), 0, 0, voided.clone()),
        (
            "canceled",
            json!({ "latest_charge": { "status": "succeeded", "amount": 1000 } }),
            1000,
            0,
            voided.clone(),
        ),
        // Stripe cancels an intent that was captured in part.
        ("canceled", json!({ "amount_received": 300 }), 300, 300, voided.clone()),
        // Webhooks contain only the id of the attempt.
        ("canceled", json!({ "latest_charge": "ch_1", "cancellation_reason": "expired" }), 0, 0, voided),
    ] {
        let reported = report(&intent(status, &members), 2).expect("a report");
        let expected = (2, "pi_1", amount(authorized), amount(captured), ending);
        let actual = (
            reported.charge,
            reported.reference.as_str(),
            reported.authorized,
            reported.captured,
            reported.ending,
        );
        assert_eq!(actual, expected, "{status}");
    }
    let unknown = report(&intent("requires_a_miracle", &json!({})), 1);
    assert!(matches!(unknown, Err(ProviderError::OutcomeUnknown(_))), "{unknown:?}");
}

#[test]
fn the_end_of_an_authorisation_is_reported_while_money_is_held() {
    let card = json!({ "capture_before": 1_700_000_000 });
    let attempt =
        json!({ "status": "succeeded", "amount": 1000, "payment_method_details": { "card": card } });
    let until = |status: &str| {
        let members = json!({ "amount_capturable": 1000, "latest_charge": attempt });
        let report = report(&intent(status, &members), 1).expect("a report");
        report.authorized_until.map(domain::Timestamp::as_second)
    };
    assert_eq!(until("requires_capture"), Some(1_700_000_000));
    assert_eq!(until("succeeded"), None);
}

#[test]
fn a_cancelled_intent_has_the_reason_of_its_failure_if_stripe_still_has_it() {
    let error = json!({ "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
        "message": "Your card has\ninsufficient funds." });
    let attempt = json!({ "status": "failed", "amount": 1000, "failure_code": "card_declined",
        "failure_message": "Your card was declined.", "outcome": { "reason": "lost_card" } });
    for (members, expected) in [
        (
            json!({ "last_payment_error": error }),
            failed("insufficient_funds: Your card has insufficient funds.", true),
        ),
        (json!({ "latest_charge": attempt }), failed("lost_card: Your card was declined.", false)),
        (json!({ "cancellation_reason": "abandoned" }), failed("declined", true)),
        // The first card failed and another one succeeded.
        (
            json!({ "last_payment_error": error, "latest_charge": { "status": "succeeded", "amount": 1000 } }),
            ChargeEnding::Voided,
        ),
    ] {
        assert_eq!(report(&intent("canceled", &members), 1).expect("a report").ending, Some(expected));
    }
}

#[test]
fn declines_because_of_fraud_are_not_retryable() {
    for (code, retryable) in [
        ("generic_decline", true),
        ("insufficient_funds", true),
        ("expired_card", true),
        ("do_not_try_again", true),
        ("lost_card", false),
        ("stolen_card", false),
        ("fraudulent", false),
    ] {
        let error = json!({ "type": "card_error", "code": "card_declined", "decline_code": code });
        let ended =
            report(&intent("canceled", &json!({ "last_payment_error": error })), 1).expect("a report").ending;
        assert_eq!(ended, Some(failed(code, retryable)));
    }
}

#[test]
fn the_customer_action_is_reported_only_while_it_is_required() {
    let action = json!({ "next_action": { "type": "redirect_to_url", "redirect_to_url": { "url": "https://bank.example" } } });
    let reported = answer(&intent("requires_action", &action), 1).expect("an answer").next_action;
    let expected = json!({ "type": "redirect_to_url", "client_secret": "pi_1_secret", "redirect_url": "https://bank.example" });
    assert_eq!(reported, Some(expected));
    assert_eq!(answer(&intent("canceled", &action), 1).expect("an answer").next_action, None);
}

#[test]
fn every_status_of_a_refund_is_reported() {
    let refund = |status: Value, reason: Value| -> Refund {
        let of = json!({
            "id": "re_1", "status": status, "failure_reason": reason, "amount": 100, "currency": "gbp",
            "payment_intent": "pi_1",
        });
        serde_json::from_value(of).expect("a refund")
    };
    let failed = |reason: &str| RefundAnswer::Failed { reason: reason.to_owned() };
    for (status, reason, expected) in [
        (json!("succeeded"), Value::Null, RefundAnswer::Refunded { reference: "re_1".to_owned() }),
        (json!("pending"), Value::Null, RefundAnswer::Pending),
        (json!("requires_action"), Value::Null, RefundAnswer::Pending),
        (json!("newer"), Value::Null, RefundAnswer::Pending),
        (Value::Null, Value::Null, RefundAnswer::Pending),
        (json!("canceled"), Value::Null, failed("canceled")),
        (json!("failed"), json!("lost_or_stolen_card"), failed("lost_or_stolen_card")),
    ] {
        assert_eq!(refund_answer(&refund(status, reason)), expected);
    }
}

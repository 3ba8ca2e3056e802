//! Stripe's objects and their JSON.

use serde_json::{Map, Value, json};

#[derive(Debug, Clone)]
pub(super) struct Intent {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub status: &'static str,
    pub manual_capture: bool,
    pub multicapture: bool,
    pub capturable: i64,
    pub received: i64,
    pub metadata: Map<String, Value>,
    pub payment_method: Option<String>,
    pub error: Option<Value>,
    pub canceled_at: Option<i64>,
    pub cancellation_reason: Option<String>,
    pub charge: Option<Charge>,
}

/// One attempt to charge an intent.
#[derive(Debug, Clone)]
pub(super) struct Charge {
    pub id: String,
    pub created: i64,
    pub status: &'static str,
    pub captured: i64,
    pub captures: usize,
    pub released: i64,
    pub refunded: i64,
    pub disputed: bool,
    pub payment_method: String,
    pub failure: Option<(String, String, String)>,
}

#[derive(Debug, Clone)]
pub(super) struct Refund {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub intent: String,
    pub charge: String,
    pub status: &'static str,
    pub failure_reason: Option<&'static str>,
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Clone)]
pub(super) struct Dispute {
    pub id: String,
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub intent: String,
    pub charge: String,
    pub status: &'static str,
}

impl Intent {
    pub(super) fn json(&self, with_charge: bool) -> Value {
        let next_action = (self.status == "requires_action").then(
            || json!({ "type": "use_stripe_sdk", "use_stripe_sdk": { "type": "three_d_secure_redirect" } }),
        );
        let charge =
            self.charge.as_ref().map(|charge| if with_charge { charge.json(self) } else { json!(charge.id) });
        json!({
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_capturable": self.capturable,
            "amount_details": { "tip": {} },
            "amount_received": self.received,
            "application": null,
            "application_fee_amount": null,
            "automatic_payment_methods": { "enabled": true, "allow_redirects": "never" },
            "canceled_at": self.canceled_at,
            "cancellation_reason": self.cancellation_reason,
            "capture_method": if self.manual_capture { "manual" } else { "automatic" },
            "client_secret": format!("{}_secret_double", self.id),
            "confirmation_method": "automatic",
            "created": self.created,
            "currency": self.currency,
            "customer": null,
            "description": null,
            "last_payment_error": self.error,
            "latest_charge": charge,
            "livemode": false,
            "metadata": self.metadata,
            "next_action": next_action,
            "on_behalf_of": null,
            "payment_method": self.payment_method,
            "payment_method_options": {},
            "payment_method_types": ["card"],
            "processing": null,
            "receipt_email": null,
            "review": null,
            "setup_future_usage": null,
            "shipping": null,
            "statement_descriptor": null,
            "statement_descriptor_suffix": null,
            "status": self.status,
            "transfer_data": null,
            "transfer_group": null,
        })
    }
}

/// Banks hold the money of most cards this long.
const AUTHORIZATION_SECONDS: i64 = 7 * 24 * 60 * 60;

impl Charge {
    fn json(&self, intent: &Intent) -> Value {
        let (code, reason, message) = self.failure.clone().unzip3();
        let kind = if self.failure.is_some() { "issuer_declined" } else { "authorized" };
        let mut charge = json!({
            "id": self.id,
            "object": "charge",
            "amount": intent.amount,
            "amount_captured": self.captured,
            "amount_refunded": self.released + self.refunded,
            "balance_transaction": null,
            "billing_details": { "address": null, "email": null, "name": null, "phone": null, "tax_id": null },
            "captured": self.captured > 0,
            "created": self.created,
            "currency": intent.currency,
            "disputed": self.disputed,
            "failure_code": code,
            "failure_message": message,
            "livemode": false,
            "metadata": intent.metadata,
            "outcome": {
                "advice_code": null, "network_advice_code": null, "network_decline_code": null,
                "network_status": if self.failure.is_some() { "declined_by_network" } else { "approved_by_network" },
                "reason": reason,
                "seller_message": null,
                "type": kind,
            },
            "paid": self.status == "succeeded",
            "payment_intent": intent.id,
            "payment_method": self.payment_method,
            "payment_method_details": {
                "type": "card",
                "card": {
                    "brand": "visa", "checks": null, "country": "US", "exp_month": 8, "exp_year": 2030, "funding": "credit",
                    "installments": null, "last4": "4242", "mandate": null, "network": "visa", "three_d_secure": null,
                    "wallet": null,
                    "multicapture": { "status": if intent.multicapture { "available" } else { "unavailable" } },
                },
            },
            "refunded": self.released + self.refunded == intent.amount,
            "status": self.status,
        });
        if intent.manual_capture && self.status == "succeeded" {
            let card = &mut charge["payment_method_details"]["card"];
            card["capture_before"] = json!(self.created + AUTHORIZATION_SECONDS);
        }
        charge
    }
}

trait Unzip3 {
    fn unzip3(self) -> (Option<String>, Option<String>, Option<String>);
}

impl Unzip3 for Option<(String, String, String)> {
    fn unzip3(self) -> (Option<String>, Option<String>, Option<String>) {
        self.map_or((None, None, None), |(first, second, third)| (Some(first), Some(second), Some(third)))
    }
}

impl Dispute {
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "object": "dispute",
            "amount": self.amount,
            "balance_transactions": [],
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "enhanced_eligibility_types": [],
            "evidence": { "enhanced_evidence": {} },
            "evidence_details": {
                "due_by": null, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
                "submission_count": 0,
            },
            "is_charge_refundable": false,
            "livemode": false,
            "metadata": {},
            "payment_intent": self.intent,
            "reason": "fraudulent",
            "status": self.status,
        })
    }
}

impl Refund {
    pub(super) fn json(&self) -> Value {
        let mut refund = json!({
            "id": self.id,
            "object": "refund",
            "amount": self.amount,
            "balance_transaction": null,
            "charge": self.charge,
            "created": self.created,
            "currency": self.currency,
            "metadata": self.metadata,
            "payment_intent": self.intent,
            "reason": null,
            "receipt_number": null,
            "source_transfer_reversal": null,
            "status": self.status,
            "transfer_reversal": null,
        });
        if let Some(reason) = self.failure_reason {
            refund["failure_reason"] = json!(reason);
        }
        refund
    }
}

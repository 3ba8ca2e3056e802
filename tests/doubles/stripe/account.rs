//! The state of an account at Stripe, and its changes.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    API_VERSION,
    cards::{BankAnswer, bank_answer},
    objects::{Charge, Dispute, Intent, Refund},
};

/// An error answer.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub status: StatusCode,
    /// The member `error` of the body.
    pub error: Value,
    /// True if the idempotency key stores it: errors of execution are stored, errors of parsing are not.
    pub is_stored: bool,
}

impl Refusal {
    pub(super) fn unparsed(message: &str, param: &str) -> Self {
        let error = json!({ "type": "invalid_request_error", "message": message, "param": param });
        Self { status: StatusCode::BAD_REQUEST, error, is_stored: false }
    }

    fn executed(status: StatusCode, code: &str, message: &str) -> Self {
        let error = json!({ "type": "invalid_request_error", "code": code, "message": message });
        Self { status, error, is_stored: true }
    }

    fn missing(kind: &str, id: &str) -> Self {
        Self::executed(StatusCode::NOT_FOUND, "resource_missing", &format!("No such {kind}: '{id}'"))
    }

    fn wrong_state(intent: &Intent, operation: &str) -> Self {
        let message = format!("This PaymentIntent cannot be {operation}: its status is {}.", intent.status);
        let mut refusal =
            Self::executed(StatusCode::BAD_REQUEST, "payment_intent_unexpected_state", &message);
        refusal.error["payment_intent"] = intent.json(false);
        refusal
    }
}

/// Sums in Stripe's units, and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    pub captures: usize,
    pub captured: i64,
    pub refunds: usize,
    pub refunded: i64,
    /// Authorized, and neither captured nor released.
    pub held: i64,
}

#[derive(Debug, Default)]
pub(super) struct Account {
    clock: Duration,
    pub search_lag: Duration,
    pub(super) intents: Vec<Intent>,
    /// Each intent after each of its changes, for the search.
    history: Vec<(Timestamp, Intent)>,
    pub(super) refunds: Vec<Refund>,
    pub(super) disputes: Vec<Dispute>,
    pub events: Vec<Value>,
    ids: u32,
}

#[derive(Debug)]
pub(super) struct NewIntent {
    pub amount: i64,
    pub currency: String,
    pub payment_method: Option<String>,
    pub manual_capture: bool,
    pub multicapture: bool,
    pub metadata: Map<String, Value>,
}

impl Account {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::try_from(self.clock).unwrap_or_default()
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.clock += by;
    }

    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}_{:08}", self.ids)
    }

    /// The money moved by the intents with this metadata.
    pub(super) fn moved(&self, name: &str, value: &str) -> Moved {
        let mut moved = Moved::default();
        for intent in self.intents.iter().filter(|intent| intent.metadata.get(name) == Some(&json!(value))) {
            moved.captures += intent.charge.as_ref().map_or(0, |charge| charge.captures);
            moved.captured += intent.received;
            moved.held += intent.capturable;
            let paid = |refund: &&Refund| refund.intent == intent.id && refund.status == "succeeded";
            moved.refunds += self.refunds.iter().filter(paid).count();
            moved.refunded += self.refunds.iter().filter(paid).map(|refund| refund.amount).sum::<i64>();
        }
        moved
    }

    /// All intents, or those that a search for this metadata finds.
    pub(super) fn intents(&self, metadata: Option<&[(String, String)]>) -> Vec<Value> {
        let Some(wanted) = metadata else {
            return self.intents.iter().map(|intent| intent.json(true)).collect();
        };
        let seen_at = self.now() - SignedDuration::try_from(self.search_lag).unwrap_or_default();
        let as_seen = self.intents.iter().filter_map(|intent| {
            let is_seen = |(at, old): &&(Timestamp, Intent)| *at <= seen_at && old.id == intent.id;
            self.history.iter().rfind(is_seen).map(|(_, seen)| seen)
        });
        let found = as_seen.filter(|intent| {
            wanted.iter().all(|(name, value)| intent.metadata.get(name) == Some(&json!(value)))
        });
        found.map(|intent| intent.json(false)).collect()
    }

    pub(super) fn refunds(&self, of_intent: Option<&str>) -> Vec<Value> {
        let refunds =
            self.refunds.iter().filter(|refund| of_intent.is_none_or(|intent| refund.intent == intent));
        refunds.map(Refund::json).collect()
    }

    pub(super) fn create(&mut self, new: NewIntent) -> Result<String, Refusal> {
        if let Some(method) = &new.payment_method {
            bank_answer(method).ok_or_else(|| {
                let refusal = Refusal::missing("PaymentMethod", method);
                Refusal { status: StatusCode::BAD_REQUEST, ..refusal }
            })?;
        }
        let id = self.id("pi");
        let status =
            if new.payment_method.is_some() { "requires_confirmation" } else { "requires_payment_method" };
        self.intents.push(Intent {
            id: id.clone(),
            created: self.now().as_second(),
            amount: new.amount,
            currency: new.currency,
            status,
            manual_capture: new.manual_capture,
            multicapture: new.multicapture && new.manual_capture,
            capturable: 0,
            received: 0,
            metadata: new.metadata,
            payment_method: new.payment_method,
            error: None,
            canceled_at: None,
            cancellation_reason: None,
            charge: None,
        });
        self.record_change(&id, "created");
        Ok(id)
    }

    pub(super) fn intent(&self, id: &str) -> Result<&Intent, Refusal> {
        let found = self.intents.iter().find(|intent| intent.id == id);
        found.ok_or_else(|| Refusal::missing("payment_intent", id))
    }

    fn intent_mut(&mut self, id: &str) -> Result<&mut Intent, Refusal> {
        let found = self.intents.iter_mut().find(|intent| intent.id == id);
        found.ok_or_else(|| Refusal::missing("payment_intent", id))
    }

    pub(super) fn confirm(&mut self, id: &str, payment_method: Option<&str>) -> Result<(), Refusal> {
        let intent = self.intent_mut(id)?;
        if !matches!(intent.status, "requires_confirmation" | "requires_payment_method") {
            return Err(Refusal::wrong_state(intent, "confirmed"));
        }
        let method = payment_method.map(ToOwned::to_owned).or_else(|| intent.payment_method.clone());
        let method =
            method.ok_or_else(|| Refusal::wrong_state(intent, "confirmed without a payment method"))?;
        let answer = bank_answer(&method).ok_or_else(|| Refusal::missing("PaymentMethod", &method))?;
        intent.payment_method = Some(method);
        intent.error = None;
        match answer {
            BankAnswer::Approved => self.approve(id),
            BankAnswer::Declined { code, decline_code, message } => {
                return Err(self.decline(id, code, decline_code, message));
            }
            BankAnswer::NeedsCustomer => self.wait(id, "requires_action"),
            BankAnswer::Processing => self.wait(id, "processing"),
        }
        Ok(())
    }

    fn wait(&mut self, id: &str, status: &'static str) {
        if let Ok(intent) = self.intent_mut(id) {
            intent.status = status;
        }
        self.record_change(id, status);
    }

    fn approve(&mut self, id: &str) {
        let charge = self.attempt(id, "succeeded", None);
        let Ok(intent) = self.intent_mut(id) else { return };
        intent.charge = Some(charge);
        intent.error = None;
        if intent.manual_capture {
            intent.status = "requires_capture";
            intent.capturable = intent.amount;
            self.record_change(id, "amount_capturable_updated");
        } else {
            intent.status = "succeeded";
            intent.received = intent.amount;
            if let Some(charge) = &mut intent.charge {
                charge.captured = intent.amount;
                charge.captures = 1;
            }
            self.record_change(id, "succeeded");
        }
    }

    fn decline(&mut self, id: &str, code: &str, decline_code: &str, message: &str) -> Refusal {
        let failure = (code.to_owned(), decline_code.to_owned(), message.to_owned());
        let charge = self.attempt(id, "failed", Some(failure));
        let error =
            json!({ "type": "card_error", "code": code, "decline_code": decline_code, "message": message });
        let Ok(intent) = self.intent_mut(id) else { return Refusal::missing("payment_intent", id) };
        intent.charge = Some(charge);
        intent.status = "requires_payment_method";
        intent.payment_method = None;
        intent.error = Some(error.clone());
        let mut refusal = Refusal { status: StatusCode::PAYMENT_REQUIRED, error, is_stored: true };
        refusal.error["payment_intent"] = intent.json(false);
        self.record_change(id, "payment_failed");
        refusal
    }

    fn attempt(
        &mut self,
        id: &str,
        status: &'static str,
        failure: Option<(String, String, String)>,
    ) -> Charge {
        let payment_method = self.intent(id).ok().and_then(|intent| intent.payment_method.clone());
        Charge {
            id: self.id("ch"),
            created: self.now().as_second(),
            status,
            captured: 0,
            captures: 0,
            released: 0,
            refunded: 0,
            disputed: false,
            payment_method: payment_method.unwrap_or_default(),
            failure,
        }
    }

    pub(super) fn capture(&mut self, id: &str, amount: Option<i64>, is_last: bool) -> Result<(), Refusal> {
        let intent = self.intent_mut(id)?;
        if intent.status != "requires_capture" {
            return Err(Refusal::wrong_state(intent, "captured"));
        }
        let amount = amount.unwrap_or(intent.capturable);
        if amount > intent.capturable {
            let message = "The amount to capture is more than what is authorized.";
            return Err(Refusal::executed(StatusCode::BAD_REQUEST, "amount_too_large", message));
        }
        let is_release = amount == 0 && is_last && intent.received > 0;
        if (!is_last && !intent.multicapture) || (amount < 1 && !is_release) {
            return Err(Refusal::unparsed(
                "This PaymentIntent cannot be captured this way.",
                "final_capture",
            ));
        }
        intent.received += amount;
        intent.capturable -= amount;
        let is_over = is_last || intent.capturable == 0;
        if is_over {
            intent.status = "succeeded";
            intent.capturable = 0;
        }
        if let Some(charge) = &mut intent.charge {
            charge.captured = intent.received;
            charge.captures += usize::from(amount > 0);
        }
        self.record_change(id, if is_over { "succeeded" } else { "amount_capturable_updated" });
        Ok(())
    }

    pub(super) fn cancel(&mut self, id: &str, reason: Option<String>) -> Result<(), Refusal> {
        let now = self.now().as_second();
        let intent = self.intent_mut(id)?;
        // Stripe does not document whether it cancels a partly captured intent. The double refuses.
        if matches!(intent.status, "succeeded" | "processing" | "canceled") || intent.received > 0 {
            return Err(Refusal::wrong_state(intent, "canceled"));
        }
        intent.status = "canceled";
        intent.canceled_at = Some(now);
        intent.cancellation_reason = reason;
        intent.capturable = 0;
        // Stripe documents `last_payment_error` as cleared by any later update.
        intent.error = None;
        if let Some(charge) = intent.charge.as_mut().filter(|charge| charge.status == "succeeded") {
            charge.released = intent.amount;
        }
        self.record_change(id, "canceled");
        Ok(())
    }

    pub(super) fn expire(&mut self, id: &str) {
        self.cancel(id, Some("expired".to_owned())).expect("only an authorized intent can expire");
    }

    pub(super) fn authenticate(&mut self, id: &str, succeeds: bool) {
        assert_eq!(self.intent(id).map(|intent| intent.status).ok(), Some("requires_action"));
        self.decide(id, succeeds, "payment_intent_authentication_failure");
    }

    pub(super) fn finish_processing(&mut self, id: &str, succeeds: bool) {
        assert_eq!(self.intent(id).map(|intent| intent.status).ok(), Some("processing"));
        self.decide(id, succeeds, "payment_intent_payment_attempt_failed");
    }

    fn decide(&mut self, id: &str, succeeds: bool, code: &str) {
        if succeeds {
            self.approve(id);
        } else if let Ok(intent) = self.intent_mut(id) {
            // Authentication failed before the bank was charged, so there is no charge.
            intent.status = "requires_payment_method";
            intent.payment_method = None;
            let message = "The payment method could not be used.";
            intent.error = Some(json!({ "type": "card_error", "code": code, "message": message }));
            self.record_change(id, "payment_failed");
        }
    }

    pub(super) fn refund(
        &mut self,
        intent: &str,
        amount: Option<i64>,
        metadata: Map<String, Value>,
    ) -> Result<Value, Refusal> {
        let of = self.intent(intent)?.clone();
        let charge = of.charge.filter(|_| of.received > 0).ok_or_else(|| {
            let message = "This PaymentIntent does not have a successful charge to refund.";
            Refusal::executed(StatusCode::BAD_REQUEST, "payment_intent_unexpected_state", message)
        })?;
        let counted =
            self.refunds.iter().filter(|refund| refund.intent == intent && refund.status != "failed");
        let disputes = self.disputes.iter().filter(|dispute| dispute.intent == intent);
        let disputed = disputes.filter(|dispute| dispute.status != "won").map(|dispute| dispute.amount);
        let refundable =
            of.received - counted.map(|refund| refund.amount).sum::<i64>() - disputed.sum::<i64>();
        if refundable == 0 {
            let message = format!("Charge {} has already been refunded.", charge.id);
            return Err(Refusal::executed(StatusCode::BAD_REQUEST, "charge_already_refunded", &message));
        }
        let amount = amount.unwrap_or(refundable);
        if amount > refundable {
            let message = "The refund is more than what was not refunded yet.";
            return Err(Refusal { is_stored: true, ..Refusal::unparsed(message, "amount") });
        }
        let (status, failure_reason) = match charge.payment_method.as_str() {
            "pm_card_pendingRefund" => ("pending", None),
            // Fails at once; Stripe takes some time.
            "pm_card_refundFail" => ("failed", Some("expired_or_canceled_card")),
            _ => ("succeeded", None),
        };
        let refund = Refund {
            id: self.id("re"),
            created: self.now().as_second(),
            amount,
            currency: of.currency,
            intent: intent.to_owned(),
            charge: charge.id,
            status,
            failure_reason,
            metadata,
        };
        let body = refund.json();
        self.refunds.push(refund);
        self.count_refunds(intent);
        self.emit("refund.created", &body);
        Ok(body)
    }

    pub(super) fn refund_from_dashboard(&mut self, intent: &str, amount: i64) -> String {
        let refund = self.refund(intent, Some(amount), Map::new()).expect("so much is left to refund");
        refund["id"].as_str().expect("an id").to_owned()
    }

    /// Makes an intent that is paid at once.
    pub(super) fn create_paid(&mut self, amount: i64, metadata: Map<String, Value>) -> String {
        let created = self.create(NewIntent {
            amount,
            currency: "gbp".to_owned(),
            payment_method: Some("pm_card_visa".to_owned()),
            manual_capture: false,
            multicapture: false,
            metadata,
        });
        let id = created.expect("the double knows this card");
        self.confirm(&id, None).expect("this card is approved");
        id
    }

    /// Shows the refunds of every intent on its charge.
    pub(super) fn show_all_refunds(&mut self) {
        let ids: Vec<String> = self.intents.iter().map(|intent| intent.id.clone()).collect();
        for id in ids {
            self.count_refunds(&id);
        }
    }

    /// Shows the refunds of an intent on its charge.
    fn count_refunds(&mut self, intent: &str) {
        let counted =
            self.refunds.iter().filter(|refund| refund.intent == intent && refund.status != "failed");
        let refunded: i64 = counted.map(|refund| refund.amount).sum();
        if let Some(charge) = self.intent_mut(intent).ok().and_then(|intent| intent.charge.as_mut()) {
            charge.refunded = refunded;
        }
    }

    pub(super) fn dispute(&mut self, intent: &str, amount: i64) -> String {
        let of = self.intent_mut(intent).expect("an intent");
        let (currency, charge) = (of.currency.clone(), of.charge.as_mut().expect("a charge"));
        charge.disputed = true;
        let charge = charge.id.clone();
        let (id, created) = (self.id("dp"), self.now().as_second());
        let intent = intent.to_owned();
        let status = "needs_response";
        let dispute = Dispute { id: id.clone(), created, amount, currency, intent, charge, status };
        let body = dispute.json();
        self.disputes.push(dispute);
        self.emit("charge.dispute.created", &body);
        id
    }

    pub(super) fn close_dispute(&mut self, id: &str, is_won: bool) {
        let dispute =
            self.disputes.iter_mut().find(|dispute| dispute.id == id).expect("no dispute has this id");
        dispute.status = if is_won { "won" } else { "lost" };
        let body = dispute.json();
        self.emit("charge.dispute.closed", &body);
    }

    pub(super) fn disputes(&self, of_intent: Option<&str>) -> Vec<Value> {
        let disputes =
            self.disputes.iter().filter(|dispute| of_intent.is_none_or(|intent| dispute.intent == intent));
        disputes.map(Dispute::json).collect()
    }

    pub(super) fn find_refund(&self, id: &str) -> Result<Value, Refusal> {
        let found = self.refunds.iter().find(|refund| refund.id == id);
        found.map(Refund::json).ok_or_else(|| Refusal::missing("refund", id))
    }

    pub(super) fn settle_refund(&mut self, id: &str, succeeds: bool) {
        let refund = self.refunds.iter_mut().find(|refund| refund.id == id);
        let refund = refund.expect("no refund has this id");
        refund.status = if succeeds { "succeeded" } else { "failed" };
        refund.failure_reason = (!succeeds).then_some("expired_or_canceled_card");
        let (body, intent) = (refund.json(), refund.intent.clone());
        self.count_refunds(&intent);
        self.emit(if succeeds { "refund.updated" } else { "refund.failed" }, &body);
    }

    fn record_change(&mut self, id: &str, event: &str) {
        let now = self.now();
        let Some(intent) = self.intents.iter().find(|intent| intent.id == id).cloned() else { return };
        self.emit(&format!("payment_intent.{event}"), &intent.json(false));
        self.history.push((now, intent));
    }

    fn emit(&mut self, kind: &str, object: &Value) {
        let id = self.id("evt");
        self.events.push(json!({
            "id": id,
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now().as_second(),
            "data": { "object": object },
            "livemode": false,
            "pending_webhooks": 1,
            "request": { "id": null, "idempotency_key": null },
            "type": kind,
        }));
    }
}

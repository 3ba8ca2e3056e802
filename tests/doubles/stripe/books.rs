//! Changes of the books that no request makes, for tests of the comparison.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{StripeDouble, account::Account};

impl StripeDouble {
    /// Adds a paid charge with the metadata of this platform. Returns the id of its intent.
    pub fn add_charge(&self, payment: &str, charge: u32, amount: i64, made_at: Timestamp) -> String {
        let metadata = json!({ "orderly_payment": payment, "orderly_charge": charge.to_string() });
        self.lock().account.add_paid(amount, metadata, made_at)
    }

    /// Removes an intent with its refunds and disputes, or one of these.
    pub fn forget(&self, id: &str) {
        self.lock().account.forget(id);
    }

    /// Gives an intent, a refund or a dispute another amount.
    pub fn set_amount(&self, id: &str, amount: i64) {
        self.lock().account.rewrite(id, Some(amount), None);
    }

    /// Moves an intent, a refund or a dispute to another time.
    pub fn set_made_at(&self, id: &str, made_at: Timestamp) {
        self.lock().account.rewrite(id, None, Some(made_at));
    }
}

impl Account {
    fn add_paid(&mut self, amount: i64, metadata: Value, made_at: Timestamp) -> String {
        let metadata: Map<String, Value> = serde_json::from_value(metadata).expect("an object");
        let id = self.create_paid(amount, metadata);
        self.rewrite(&id, None, Some(made_at));
        id
    }

    fn forget(&mut self, id: &str) {
        self.intents.retain(|intent| intent.id != id);
        self.refunds.retain(|refund| refund.id != id && refund.intent != id);
        self.disputes.retain(|dispute| dispute.id != id && dispute.intent != id);
        self.show_all_refunds();
    }

    fn rewrite(&mut self, id: &str, amount: Option<i64>, made_at: Option<Timestamp>) {
        let made_at = made_at.map(Timestamp::as_second);
        for intent in self.intents.iter_mut().filter(|intent| intent.id == id) {
            intent.received = amount.unwrap_or(intent.received);
            intent.created = made_at.unwrap_or(intent.created);
        }
        for refund in self.refunds.iter_mut().filter(|refund| refund.id == id) {
            refund.amount = amount.unwrap_or(refund.amount);
            refund.created = made_at.unwrap_or(refund.created);
        }
        for dispute in self.disputes.iter_mut().filter(|dispute| dispute.id == id) {
            dispute.amount = amount.unwrap_or(dispute.amount);
            dispute.created = made_at.unwrap_or(dispute.created);
        }
        self.show_all_refunds();
    }
}

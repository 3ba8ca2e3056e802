//! What a payment's stream says about the money that moved at the provider.

use std::collections::HashMap;

use domain::{
    Amount, Decider, PaymentId, StreamName, Timestamp,
    payment::{Charge, Dispute, Payment, PaymentDecider, PaymentEvent, RefundSource, RefundState},
};
use infra::event_store::EventLog;

use super::{Item, ReconcileError};
use crate::pages::Pages;

pub(super) struct Recorded {
    pub payment: Payment,
    /// When money of each item was recorded first.
    since: HashMap<Item, Timestamp>,
}

/// The charge, refund or dispute whose money the event records. `None` also for money that an operator took outside a charge.
pub(super) fn money_of(event: &PaymentEvent) -> Option<Item> {
    match event {
        PaymentEvent::Captured(captured) => captured.charge.map(Item::Charge),
        PaymentEvent::Refunded(refunded) => Some(Item::Refund(refunded.refund_id)),
        PaymentEvent::Disputed(disputed) => Some(Item::of_dispute(&disputed.dispute)),
        _ => None,
    }
}

impl Recorded {
    /// Reads the whole stream. Empty if there is no such payment.
    pub async fn read(log: &dyn EventLog, id: PaymentId) -> Result<Self, ReconcileError> {
        let stream: StreamName = id.into();
        let mut recorded = Self { payment: Payment::default(), since: HashMap::new() };
        let mut pages = Pages::of(log, &stream, 0..=domain::Revision::MAX);
        while let Some(page) = pages.next().await? {
            for event in page {
                let unreadable = |source| ReconcileError::Unreadable { stream: stream.clone(), source };
                let data: PaymentEvent = event.decode_as().map_err(unreadable)?;
                PaymentDecider::evolve(&mut recorded.payment, &data);
                if let Some(item) = money_of(&data) {
                    recorded.since.entry(item).or_insert(event.recorded_at);
                }
            }
        }
        Ok(recorded)
    }

    /// The recorded money of an item. 0 if it is not the provider's.
    pub fn amount(&self, item: Item, provider: &str) -> Amount {
        let is_its_own = |charge: &Charge| charge.provider.is_empty() || charge.provider == provider;
        let charge = self.charge_of(item).and_then(|number| self.charge(number));
        let Some(charge) = charge.filter(|charge| is_its_own(charge)) else { return Amount::ZERO };
        match item {
            Item::Charge(_) => charge.captured,
            Item::Refund(id) => {
                let paid = self.payment.refund(id).filter(|refund| refund.state == RefundState::Refunded);
                paid.map_or(Amount::ZERO, |refund| refund.amount)
            }
            Item::Dispute(_) => {
                let taken = self.dispute(item).filter(|dispute| dispute.state.takes_money());
                taken.map_or(Amount::ZERO, |dispute| dispute.amount)
            }
        }
    }

    pub fn dispute(&self, item: Item) -> Option<&Dispute> {
        self.payment.disputes().iter().find(|dispute| Item::of_dispute(&dispute.reference) == item)
    }

    /// True if the item is a dispute that is recorded, also one that was won and takes no money.
    pub fn has_dispute(&self, item: Item) -> bool {
        self.dispute(item).is_some()
    }

    /// When money of the item was recorded first.
    pub fn since(&self, item: Item) -> Option<Timestamp> {
        self.since.get(&item).copied()
    }

    /// The number of the item's charge. `None` for money that an operator pays out.
    pub fn charge_of(&self, item: Item) -> Option<u32> {
        match item {
            Item::Charge(number) => Some(number),
            Item::Refund(id) => match self.payment.source_of(self.payment.refund(id)?) {
                RefundSource::Charge(number) => Some(number),
                RefundSource::Manual => None,
            },
            Item::Dispute(_) => self.dispute(item).map(|dispute| dispute.charge),
        }
    }

    /// The provider's id of a charge.
    pub fn reference(&self, number: u32) -> Option<&str> {
        self.charge(number)?.reference.as_deref()
    }

    fn charge(&self, number: u32) -> Option<&Charge> {
        self.payment.charges().iter().find(|charge| charge.number == number)
    }
}

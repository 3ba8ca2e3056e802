//! A payment with its events, which show when each piece of work was requested.

use domain::{
    Event, PaymentId, RecordedEvent, Revision, StreamName,
    decider::Decider,
    payment::{Payment, PaymentDecider, PaymentEvent, ProviderWork, Refund, RefundReason, RefundState},
};
use infra::{
    event_store::EventLog,
    payment_provider::{ChargeRequest, PaymentProvider},
};

use crate::{executor::ExecuteError, pages::Pages};

pub(super) struct PaymentWithEvents {
    pub id: PaymentId,
    pub state: Payment,
    /// The whole stream, oldest first.
    pub events: Vec<(RecordedEvent, PaymentEvent)>,
}

impl PaymentWithEvents {
    pub async fn read(log: &dyn EventLog, id: PaymentId) -> Result<Self, ExecuteError> {
        let stream: StreamName = id.into();
        let mut events = Vec::new();
        let mut pages = Pages::of(log, &stream, 0..=Revision::MAX);
        while let Some(page) = pages.next().await? {
            for recorded in page {
                match recorded.decode()? {
                    Event::Payment(event) => events.push((recorded, event)),
                    Event::Stock(_) | Event::Order(_) | Event::Receipt(_) | Event::Exchange(_) => {}
                }
            }
        }
        let state = PaymentDecider::fold(events.iter().map(|(_, event)| event));
        Ok(Self { id, state, events })
    }

    /// The revision of the last event; `None` for an empty stream.
    pub fn revision(&self) -> Option<Revision> {
        self.events.last().map(|(last, _)| last.revision)
    }

    /// The latest event that requests this work.
    pub fn cause(&self, work: ProviderWork) -> Option<&RecordedEvent> {
        let requests = |event: &PaymentEvent| match (work, event) {
            (
                ProviderWork::Charge(number) | ProviderWork::LookUp(number),
                PaymentEvent::ChargeRequested(requested),
            ) => requested.charge == number,
            (ProviderWork::Capture { .. }, PaymentEvent::CaptureRequested(_))
            | (ProviderWork::Void(_), PaymentEvent::VoidRequested(_)) => true,
            (ProviderWork::Refund { refund_id, .. }, PaymentEvent::RefundRequested(requested)) => {
                requested.refund_id == refund_id
            }
            _ => false,
        };
        let requesting = self.events.iter().rev().find(|(_, event)| requests(event));
        // A charge that started at the provider has no request in this stream.
        requesting.or(self.events.last()).map(|(recorded, _)| recorded)
    }

    pub fn charge_request(&self, work: ProviderWork) -> Option<ChargeRequest> {
        let number = charge_of(work);
        let charge = self.state.charges().iter().find(|charge| charge.number == number)?.clone();
        Some(ChargeRequest {
            payment_id: self.id,
            order_id: self.state.order_id()?,
            currency: self.state.currency()?,
            charge,
            requested_at: self.cause(ProviderWork::Charge(number))?.recorded_at,
        })
    }

    /// True if the work is an automatic refund of a closed payment, and an earlier one has failed.
    pub fn repeats_a_failed_refund(&self, work: ProviderWork) -> bool {
        let is_automatic = |refund: &&Refund| refund.reason == RefundReason::OrderClosed;
        let mut automatic = self.state.refunds().iter().filter(is_automatic);
        let ProviderWork::Refund { refund_id, .. } = work else { return false };
        automatic.clone().any(|refund| refund.refund_id == refund_id)
            && automatic.any(|refund| refund.state == RefundState::Failed)
    }

    /// True if the charge belongs to this provider. Charges of another provider stay open and are logged.
    pub fn is_known_to(&self, provider: &dyn PaymentProvider, work: ProviderWork) -> bool {
        let number = charge_of(work);
        let charge = self.state.charges().iter().find(|charge| charge.number == number);
        let is_its_own =
            charge.is_some_and(|charge| charge.provider.is_empty() || charge.provider == provider.name());
        if !is_its_own {
            tracing::error!(payment.id = %self.id, payment.charge = number, provider = provider.name(),
                "A charge of another payment provider is open; set ORDERLY_PAYMENT_PROVIDER to that provider");
        }
        is_its_own
    }
}

/// The number of the charge that the work belongs to.
pub(super) fn charge_of(work: ProviderWork) -> u32 {
    match work {
        ProviderWork::Charge(charge)
        | ProviderWork::LookUp(charge)
        | ProviderWork::Void(charge)
        | ProviderWork::Capture { charge, .. }
        | ProviderWork::Refund { charge, .. } => charge,
    }
}

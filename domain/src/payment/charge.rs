//! Charges: what is requested of the provider, and what it reports.

use serde::{Deserialize, Serialize};

use super::{CaptureMode, DisputeReport, NewCharge, RefundReport};
use crate::{Amount, RefundId, Timestamp, heap::HeapBytes};

/// What a provider reports of a charge. Amounts are cumulative, so a repeated or late report changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderReport {
    /// The number of the charge. 0 for a charge that this payment did not request.
    pub charge: u32,
    /// The provider's id of the charge.
    pub reference: String,
    /// The highest amount authorized so far, captured or not.
    pub authorized: Amount,
    /// The amount captured so far, refunded or not.
    pub captured: Amount,
    /// When the authorisation runs out, if the provider says so.
    pub authorized_until: Option<Timestamp>,
    /// None while the charge is under way, and after it was captured in full.
    pub ending: Option<ChargeEnding>,
    /// The refunds of the charge at the provider, as far as the report includes them.
    pub refunds: Vec<RefundReport>,
    /// The disputes of the charge, as far as the report includes them.
    pub disputes: Vec<DisputeReport>,
}

impl ProviderReport {
    /// A report of amounts alone: the charge is under way, or captured in full.
    pub fn of_amounts(
        charge: u32,
        reference: impl Into<String>,
        authorized: Amount,
        captured: Amount,
    ) -> Self {
        Self {
            charge,
            reference: reference.into(),
            authorized,
            captured,
            authorized_until: None,
            ending: None,
            refunds: Vec::new(),
            disputes: Vec::new(),
        }
    }
}

/// How a charge ended without capturing its whole amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeEnding {
    /// `retryable`: the customer may try again, for example with another card.
    Failed { reason: Option<String>, retryable: bool },
    /// The amount authorized and not captured was given back. The provider takes no more.
    Voided,
}

/// A charge, folded from the payment's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub number: u32,
    pub provider: String,
    pub method: String,
    pub amount: Amount,
    pub capture: CaptureMode,
    pub reference: Option<String>,
    /// Cumulative, as in [`ProviderReport`].
    pub authorized: Amount,
    /// Cumulative, as in [`ProviderReport`].
    pub captured: Amount,
    /// The captured amount after all requested captures: 0 until the first capture command. Equal to
    /// `captured` once the charge has ended.
    pub capture_requested: Amount,
    pub state: ChargeState,
}

impl HeapBytes for Charge {
    fn heap_bytes(&self) -> usize {
        let Self {
            number: _,
            provider,
            method,
            amount: _,
            capture: _,
            reference,
            authorized: _,
            captured: _,
            capture_requested: _,
            state: _,
        } = self;
        provider.heap_bytes() + method.heap_bytes() + reference.heap_bytes()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeState {
    /// Requested. The provider has not answered yet.
    Requested,
    /// The provider has it and waits for the customer or a bank.
    Pending,
    /// Authorized, and possibly captured.
    Live,
    /// Failed or voided.
    Ended,
}

impl Charge {
    /// A charge that only the provider's reports mention.
    pub(super) fn reported(number: u32, reference: Option<String>) -> Self {
        Self {
            number,
            provider: String::new(),
            method: String::new(),
            amount: Amount::ZERO,
            capture: CaptureMode::default(),
            reference,
            authorized: Amount::ZERO,
            captured: Amount::ZERO,
            capture_requested: Amount::ZERO,
            state: ChargeState::Requested,
        }
    }

    /// True if the charge was requested with the same method and the same kind of capture.
    pub(super) fn is_same(&self, new: &NewCharge) -> bool {
        let NewCharge { provider, method, capture } = new;
        self.provider == *provider && self.method == *method && self.capture == *capture
    }

    /// True if the charge has authorized nothing yet, and the provider may still authorize it.
    pub fn is_open(&self) -> bool {
        match self.state {
            ChargeState::Requested | ChargeState::Pending => true,
            ChargeState::Live | ChargeState::Ended => false,
        }
    }
}

/// What the provider must do, by the number of the charge. Sending one again is safe: the provider does it
/// once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderWork {
    Charge(u32),
    /// An answer was lost or the provider waits: read the state of the charge.
    LookUp(u32),
    /// `total` is the captured amount of the charge after this capture.
    Capture {
        charge: u32,
        amount: Amount,
        total: Amount,
    },
    /// Give back what is authorized and not captured. Afterwards this charge takes no more money.
    Void(u32),
    /// Refund a part of what this charge captured.
    Refund {
        charge: u32,
        refund_id: RefundId,
        amount: Amount,
    },
}

//! Charges: what the provider is asked for, and what it says of it.

use serde::{Deserialize, Serialize};

use super::CaptureMode;
use crate::{Amount, RefundId};

/// What a provider says that a charge stands at. Amounts are cumulative, so a report that comes twice or was overtaken
/// by a later one changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderReport {
    /// The number of the charge; 0 for one that was not asked for here.
    pub charge: u32,
    /// The provider's own id.
    pub reference: String,
    /// What was ever authorized of this charge, captured or not.
    pub authorized: Amount,
    /// What was ever captured of this charge, refunded or not.
    pub captured: Amount,
    /// None while it goes on, and when it was captured in full.
    pub ending: Option<ChargeEnding>,
}

/// How a charge ended without all of its money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeEnding {
    /// `retryable`: the customer may try again, for example with another card.
    Failed { reason: Option<String>, retryable: bool },
    /// What was authorized and not captured was given back, and nothing more will be taken.
    Voided,
}

/// A charge, as far as it is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub number: u32,
    pub provider: String,
    pub method: String,
    pub amount: Amount,
    pub capture: CaptureMode,
    pub reference: Option<String>,
    /// As in [`ProviderReport`].
    pub authorized: Amount,
    pub captured: Amount,
    /// What is to be captured in all, as far as it was asked for apart.
    pub capture_requested: Amount,
    pub state: ChargeState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeState {
    /// To be asked for, or asked for and not answered yet.
    Requested,
    /// The provider has it and waits, for the customer or for a bank.
    Pending,
    /// Authorized, and perhaps captured.
    Live,
    /// Failed or voided.
    Ended,
}

impl Charge {
    /// A charge that is known from the provider's reports alone.
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

    /// Nothing is authorized yet, and may be any time.
    pub fn is_open(&self) -> bool {
        matches!(self.state, ChargeState::Requested | ChargeState::Pending)
    }
}

/// What is to be asked of the provider, by the number of the charge. Each may be asked any number of times: the provider
/// does it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderWork {
    Charge(u32),
    /// An answer was lost, or the provider waits: ask what the charge stands at.
    LookUp(u32),
    /// `total` is what the charge has captured when it is done.
    Capture {
        charge: u32,
        amount: Amount,
        total: Amount,
    },
    /// Give back what is authorized and not captured; nothing may be taken of this charge any more.
    Void(u32),
    /// Pay out a refund, of the money that this charge captured.
    Refund {
        charge: u32,
        refund_id: RefundId,
        amount: Amount,
    },
}

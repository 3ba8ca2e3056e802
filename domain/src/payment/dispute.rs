//! Disputes: a customer takes money back through the bank. While a dispute is open, and after it is lost, its money
//! is gone, and nothing refunds it again.

use serde::{Deserialize, Serialize};

use super::{Payment, PaymentDisputeLost, PaymentDisputeWon, PaymentDisputed, PaymentEvent, PaymentRefusal};
use crate::{Amount, heap::HeapBytes, text::truncated};

/// A dispute, folded from the payment's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispute {
    /// The provider's id of the dispute.
    pub reference: String,
    /// The number of the disputed charge.
    pub charge: u32,
    pub amount: Amount,
    pub state: DisputeState,
}

impl HeapBytes for Dispute {
    fn heap_bytes(&self) -> usize {
        let Self { reference, charge: _, amount: _, state: _ } = self;
        reference.heap_bytes()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeState {
    /// The bank holds the money until it decides.
    Open,
    /// The money is back.
    Won,
    /// The money is gone.
    Lost,
}

impl DisputeState {
    /// True if the disputed money is not in the account.
    pub fn takes_money(self) -> bool {
        match self {
            Self::Open | Self::Lost => true,
            Self::Won => false,
        }
    }
}

/// What a provider reports of a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeReport {
    /// The number of the disputed charge.
    pub charge: u32,
    /// The provider's id of the dispute.
    pub reference: String,
    pub amount: Amount,
    pub reason: Option<String>,
    pub state: DisputeState,
}

/// The events that a report adds to what is recorded. None for a repeated or late report.
pub(super) fn events_of_report(
    payment: &Payment,
    report: DisputeReport,
) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
    let DisputeReport { charge, reference, amount, reason, state } = report;
    if !amount.is_positive() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    let dispute = truncated(&reference).unwrap_or_else(|| "unknown".to_owned());
    let known = payment.disputes().iter().find(|known| known.reference == dispute);
    let mut events = Vec::new();
    if known.is_none() {
        let reason = reason.and_then(|reason| truncated(&reason));
        events.push(PaymentDisputed { dispute: dispute.clone(), charge, amount, reason }.into());
    }
    let is_settled = known.is_some_and(|known| known.state == state);
    match state {
        DisputeState::Won if !is_settled => events.push(PaymentDisputeWon { dispute }.into()),
        DisputeState::Lost if !is_settled => events.push(PaymentDisputeLost { dispute }.into()),
        // A late copy of an earlier report does not open the dispute again.
        DisputeState::Open | DisputeState::Won | DisputeState::Lost => {}
    }
    Ok(events)
}

use super::{NewCharge, Operation, ProviderReport, RefundReason};
use crate::{Amount, Currency, OrderId, PaymentId, RefundId};

/// What can be asked of a payment. Amounts are minor units of its currency.
///
/// Where a provider has a charge, capture and void are asked of the provider, and what it says is recorded by
/// [`PaymentCommand::Report`]. Otherwise they record what was done by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentCommand {
    /// An order has been allocated and waits for its money; `charge`: and says how to get it.
    Request {
        payment_id: PaymentId,
        order_id: OrderId,
        amount: Amount,
        currency: Currency,
        charge: Option<NewCharge>,
    },
    /// Ask the provider for the money.
    Charge(NewCharge),
    /// What the provider says that a charge stands at: always recorded, also on a closed payment. `is_answer`: it was
    /// just asked. What it sends of itself may be old, and so ends no doubt about what was asked since.
    Report {
        report: ProviderReport,
        is_answer: bool,
    },
    /// `amount` is what stands authorized in all, so that a part may be raised; none: all of what was requested.
    Authorize {
        amount: Option<Amount>,
        reference: Option<String>,
    },
    /// No amount given: all of what is authorized and not yet captured.
    Capture {
        amount: Option<Amount>,
        reference: Option<String>,
    },
    /// `retryable`: the customer may try again, for example with another card.
    Fail {
        reason: Option<String>,
        retryable: bool,
    },
    /// The authorisation, or what is left of it, is given back.
    Void {
        reason: Option<String>,
    },
    /// The provider was asked and its answer was lost.
    MarkOutcomeUnknown {
        operation: Operation,
    },
    RequestRefund {
        refund_id: RefundId,
        amount: Amount,
        reason: RefundReason,
    },
    RecordRefunded {
        refund_id: RefundId,
        reference: Option<String>,
    },
    RecordRefundFailed {
        refund_id: RefundId,
        reason: Option<String>,
    },
    /// The order ended and keeps `amount_due` of what was captured.
    Close {
        order_id: OrderId,
        amount_due: Amount,
    },
}

impl PaymentCommand {
    /// Stored in metadata, and part of the ids of reactions.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Request { .. } => "payment.request",
            Self::Charge(_) => "payment.charge",
            Self::Report { .. } => "payment.report",
            Self::Authorize { .. } => "payment.authorize",
            Self::Capture { .. } => "payment.capture",
            Self::Fail { .. } => "payment.fail",
            Self::Void { .. } => "payment.void",
            Self::MarkOutcomeUnknown { .. } => "payment.mark_outcome_unknown",
            Self::RequestRefund { .. } => "payment.request_refund",
            Self::RecordRefunded { .. } => "payment.record_refunded",
            Self::RecordRefundFailed { .. } => "payment.record_refund_failed",
            Self::Close { .. } => "payment.close",
        }
    }
}

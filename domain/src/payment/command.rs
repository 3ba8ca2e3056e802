use super::{Operation, RefundReason};
use crate::{Amount, Currency, OrderId, PaymentId, RefundId};

/// Who says that money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Somebody asks for it to be recorded: refused where the rules refuse it. After a lost answer the operator
    /// says what has happened, also on a closed payment.
    Operator,
    /// The provider reports what has happened: always recorded, also on a closed payment.
    Provider,
}

/// What can be asked of a payment. Amounts are minor units of its currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentCommand {
    /// An order has been allocated and waits for its money.
    Request {
        payment_id: PaymentId,
        order_id: OrderId,
        amount: Amount,
        currency: Currency,
    },
    /// `amount` is what stands authorized in all, so that a part may be raised; none: all of what was requested.
    Authorize {
        amount: Option<Amount>,
        reference: Option<String>,
        source: Source,
    },
    /// No amount given: all of what is authorized and not yet captured.
    Capture {
        amount: Option<Amount>,
        reference: Option<String>,
        source: Source,
    },
    /// `retryable`: the customer may try again, for example with another card.
    Fail {
        reason: Option<String>,
        retryable: bool,
    },
    /// The authorisation, or what is left of it, was given back.
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

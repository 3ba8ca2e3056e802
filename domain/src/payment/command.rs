use super::{
    DisputeReport, NewCharge, Operation, PaymentAdjusted, PaymentTerms, ProviderReport, RefundReason,
    RefundReport,
};
use crate::{Amount, Currency, OrderId, PaymentId, RefundId, Timestamp, credit::CreditSource};

/// Commands to a payment. Amounts are minor units of its currency.
///
/// While the provider has a charge, [`PaymentCommand::Capture`] and [`PaymentCommand::Void`] only request the
/// operation, and [`PaymentCommand::Report`] records the outcome. Otherwise they record what an operator did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentCommand {
    /// Requests the money of an allocated order, and a charge if the order was placed with one.
    Request {
        payment_id: PaymentId,
        order_id: OrderId,
        amount: Amount,
        currency: Currency,
        charge: Option<NewCharge>,
        terms: PaymentTerms,
        /// Set for the credit of an exchange.
        credit: Option<CreditSource>,
    },
    /// The credit of an exchange is given: its whole amount is captured. If the order has ended, it goes back at once.
    GiveCredit,
    /// Requests a charge from the provider.
    Charge(NewCharge),
    /// Records what the provider reports of a charge, on a closed payment too.
    ///
    /// `is_answer` is false for webhooks: they may be stale and cannot resolve an unknown outcome.
    Report { report: ProviderReport, is_answer: bool },
    /// `amount` is this authorisation alone, added to what is authorized. None: what is left of the requested amount.
    /// After a lost answer it is all that the charge authorized, and None is the requested amount.
    Authorize { amount: Option<Amount>, reference: Option<String> },
    /// `amount` is this capture alone. None: everything authorized and not captured.
    Capture { amount: Option<Amount>, reference: Option<String> },
    /// `retryable`: the customer may try again, for example with another card.
    Fail { reason: Option<String>, retryable: bool },
    /// Gives back what is authorized and not captured.
    Void { reason: Option<String> },
    /// The provider received the request and its answer was lost.
    MarkOutcomeUnknown { operation: Operation },
    /// Divides the amount over the charges and the money recorded by hand that hold it. What none of them holds any
    /// more is recorded as failed, so the order knows.
    RequestRefund { refund_id: RefundId, amount: Amount, reason: RefundReason },
    /// Requests an automatic refund of a closed payment again, after it has failed too often. `by_hand`: an operator
    /// pays it out another way.
    RetryRefund { refund_id: RefundId, by_hand: bool },
    /// Records what the provider reports of a refund, also of one that it made without a request.
    ReportRefund(RefundReport),
    /// Records what the provider reports of a dispute.
    ReportDispute(DisputeReport),
    /// The provider received the request of a refund and its answer was lost.
    MarkRefundOutcomeUnknown { refund_id: RefundId },
    /// An operator records that a refund was paid. While the provider knows its outcome, it alone reports it.
    RecordRefunded { refund_id: RefundId, reference: Option<String> },
    /// An operator records that a refund failed; see [`PaymentCommand::RecordRefunded`].
    RecordRefundFailed { refund_id: RefundId, reason: Option<String> },
    /// Ends an authorisation that has run out at this time, so that the customer can be charged again.
    EndAuthorization { now: Timestamp },
    /// Units of the order were shipped, cancelled or returned.
    Adjust(PaymentAdjusted),
    /// The order ended and keeps `amount_due` of the captured amount. `refund` is the part of the rest that it
    /// refunds under an id of its own.
    Close { order_id: OrderId, amount_due: Amount, refund: Option<(RefundId, Amount)> },
}

impl PaymentCommand {
    /// Stored in metadata, and part of the ids of reactions, so it never changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Request { .. } => "payment.request",
            Self::GiveCredit => "payment.give_credit",
            Self::Charge(_) => "payment.charge",
            Self::Report { .. } => "payment.report",
            Self::Authorize { .. } => "payment.authorize",
            Self::Capture { .. } => "payment.capture",
            Self::Fail { .. } => "payment.fail",
            Self::Void { .. } => "payment.void",
            Self::MarkOutcomeUnknown { .. } => "payment.mark_outcome_unknown",
            Self::RequestRefund { .. } => "payment.request_refund",
            Self::RetryRefund { .. } => "payment.retry_refund",
            Self::ReportRefund(_) => "payment.report_refund",
            Self::ReportDispute(_) => "payment.report_dispute",
            Self::MarkRefundOutcomeUnknown { .. } => "payment.mark_refund_outcome_unknown",
            Self::RecordRefunded { .. } => "payment.record_refunded",
            Self::RecordRefundFailed { .. } => "payment.record_refund_failed",
            Self::EndAuthorization { .. } => "payment.end_authorization",
            Self::Adjust(_) => "payment.adjust",
            Self::Close { .. } => "payment.close",
        }
    }
}

//! The credit of an exchange: a payment whose money is with another order. It is captured at once and in whole, and a
//! refund of it is paid as soon as it is requested: [`crate::checkout`] then gives the money back there.

use super::{
    Payment, PaymentCaptured, PaymentCommand, PaymentEvent, PaymentRefunded, PaymentRefusal,
    decide::{decide_on_money, with_closing_effects},
};

type Decided = Result<Vec<PaymentEvent>, PaymentRefusal>;

/// Refuses the words of operators and providers: only the orders of the exchange know.
pub(super) fn decide(payment: &Payment, command: PaymentCommand) -> Decided {
    match command {
        PaymentCommand::GiveCredit => Ok(with_refunds_paid(give(payment))),
        PaymentCommand::Request { .. }
        | PaymentCommand::RequestRefund { .. }
        | PaymentCommand::Adjust(_)
        | PaymentCommand::EndAuthorization { .. }
        | PaymentCommand::Close { .. } => decide_on_money(payment, command).map(with_refunds_paid),
        PaymentCommand::Charge(_)
        | PaymentCommand::Report { .. }
        | PaymentCommand::Authorize { .. }
        | PaymentCommand::Capture { .. }
        | PaymentCommand::Fail { .. }
        | PaymentCommand::Void { .. }
        | PaymentCommand::MarkOutcomeUnknown { .. }
        | PaymentCommand::RetryRefund { .. }
        | PaymentCommand::ReportRefund(_)
        | PaymentCommand::ReportDispute(_)
        | PaymentCommand::MarkRefundOutcomeUnknown { .. }
        | PaymentCommand::RecordRefunded { .. }
        | PaymentCommand::RecordRefundFailed { .. } => Err(PaymentRefusal::OfCredit),
    }
}

fn give(payment: &Payment) -> Vec<PaymentEvent> {
    if payment.captured().is_positive() {
        return Vec::new();
    }
    let captured = PaymentCaptured { amount: payment.amount(), reference: None, charge: None, late: false };
    with_closing_effects(payment, vec![captured.into()])
}

/// Pays each refund that the events request and do not fail.
fn with_refunds_paid(mut events: Vec<PaymentEvent>) -> Vec<PaymentEvent> {
    let failed = |events: &[PaymentEvent], id| {
        events
            .iter()
            .any(|event| matches!(event, PaymentEvent::RefundFailed(failed) if failed.refund_id == id))
    };
    let paid = |event: &PaymentEvent| {
        let PaymentEvent::RefundRequested(requested) = event else { return None };
        let (refund_id, amount) = (requested.refund_id, requested.amount);
        let is_failed = failed(&events, refund_id);
        (!is_failed).then(|| PaymentRefunded { refund_id, amount, reference: None }.into())
    };
    let paid: Vec<PaymentEvent> = events.iter().filter_map(paid).collect();
    events.extend(paid);
    events
}

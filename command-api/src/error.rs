//! From refusals and failures to HTTP problems: the one place that decides which is which.

use domain::{
    order::{InvalidOrder, OrderRefusal},
    payment::PaymentRefusal,
    stock::StockRefusal,
};
use infra::{
    event_store::ReadError,
    http::{Code, Problem},
};

use crate::executor::ExecuteError;

/// A failure that is nobody's answer: logged here, once, and shown without its inner text.
pub fn failure(error: &ExecuteError) -> Problem {
    let code = match error {
        ExecuteError::Overloaded => return Problem::new(Code::Overloaded),
        ExecuteError::Superseded | ExecuteError::Conflict => return Problem::new(Code::Conflict),
        ExecuteError::Unavailable(_) => Code::Unavailable,
        ExecuteError::OutcomeUnknown(_) => Code::OutcomeUnknown,
        ExecuteError::Unreadable(_) => Code::Internal,
    };
    tracing::error!(%error, code = code.as_str(), "a command failed");
    Problem::new(code)
}

/// A failed read of the event store.
pub fn failed_read(error: &ReadError) -> Problem {
    tracing::error!(%error, "the event store could not be read for an answer");
    Problem::new(match error {
        ReadError::Unavailable(_) => Code::Unavailable,
        ReadError::Corrupt(_) => Code::Internal,
    })
}

pub fn stock_refused(refusal: &StockRefusal) -> Problem {
    let code = match refusal {
        StockRefusal::Insufficient { .. } => Code::InsufficientStock,
        StockRefusal::BelowReserved { .. } => Code::StockBelowReserved,
        StockRefusal::AboveLimit => Code::StockLimit,
        StockRefusal::ReservedOtherwise { .. } => Code::Conflict,
        StockRefusal::InvalidQuantity => {
            return Problem::new(Code::InvalidRequest).error("quantity", refusal.to_string());
        }
    };
    Problem::new(code).detail(refusal.to_string())
}

pub fn order_refused(refusal: &OrderRefusal) -> Problem {
    let code = match refusal {
        OrderRefusal::NotFound => Code::NotFound,
        OrderRefusal::Invalid(invalid) => return invalid_order(invalid),
        OrderRefusal::WrongStatus(_) => Code::OrderStatus,
        OrderRefusal::NotPaid => Code::OrderNotPaid,
        OrderRefusal::UnknownLine(_) => {
            return Problem::new(Code::InvalidRequest).error("lines", refusal.to_string());
        }
        OrderRefusal::NotShippable { requested: 0, .. }
        | OrderRefusal::NotReturnable { requested: 0, .. } => {
            return Problem::new(Code::InvalidRequest).error("lines", "a quantity is at least 1");
        }
        OrderRefusal::NotShippable { .. } | OrderRefusal::NotReturnable { .. } => Code::QuantityUnavailable,
        OrderRefusal::NothingToShip => Code::NothingToShip,
        OrderRefusal::NothingToCancel => Code::NothingToCancel,
        OrderRefusal::UnknownShipment(_) => {
            return Problem::new(Code::InvalidRequest).error("shipment_id", refusal.to_string());
        }
        OrderRefusal::RefundTooLarge { .. } => Code::RefundTooLarge,
        OrderRefusal::NotDueYet { .. } | OrderRefusal::NeverDue => Code::PaymentNotDue,
        OrderRefusal::TooManyParts => Code::TooManyParts,
    };
    Problem::new(code).detail(refusal.to_string())
}

fn invalid_order(invalid: &InvalidOrder) -> Problem {
    let field = match invalid {
        InvalidOrder::LineCount | InvalidOrder::UnitCount | InvalidOrder::RepeatedLine => "lines".to_owned(),
        InvalidOrder::Quantity { line } => format!("lines[{}].quantity", line - 1),
        InvalidOrder::NegativePrice { line } => format!("lines[{}].unit_price", line - 1),
        InvalidOrder::TotalOutOfRange | InvalidOrder::NegativeTotal => "lines, adjustments".to_owned(),
        InvalidOrder::AdjustmentCount => "adjustments".to_owned(),
        InvalidOrder::MetadataCount => "metadata".to_owned(),
        InvalidOrder::Text { member } => (*member).to_owned(),
        InvalidOrder::Payment(token) => format!("payment.{}", token.member),
        InvalidOrder::RefundAmount => "refund_amount, amount".to_owned(),
    };
    Problem::new(Code::InvalidRequest).error(field, invalid.to_string())
}

pub fn payment_refused(refusal: &PaymentRefusal) -> Problem {
    let code = match refusal {
        PaymentRefusal::NotFound | PaymentRefusal::UnknownRefund(_) => Code::NotFound,
        PaymentRefusal::WrongState(_) => Code::PaymentState,
        PaymentRefusal::Closed => Code::PaymentClosed,
        PaymentRefusal::ChargeUnderWay => Code::ChargeUnderWay,
        PaymentRefusal::InvalidToken(token) => {
            return Problem::new(Code::InvalidRequest).error(token.member, refusal.to_string());
        }
        PaymentRefusal::InvalidAmount => {
            return Problem::new(Code::InvalidRequest).error("amount", refusal.to_string());
        }
        PaymentRefusal::InvalidText { member } => {
            return Problem::new(Code::InvalidRequest).error(*member, refusal.to_string());
        }
        PaymentRefusal::AboveRequested { .. }
        | PaymentRefusal::AboveAuthorized { .. }
        | PaymentRefusal::AboveCaptured { .. } => Code::AmountTooLarge,
        PaymentRefusal::RefundSettled => Code::RefundSettled,
        PaymentRefusal::TooManyCharges | PaymentRefusal::TooManyRefunds => Code::TooManyParts,
    };
    Problem::new(code).detail(refusal.to_string())
}

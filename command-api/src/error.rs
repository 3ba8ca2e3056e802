//! Refusals and failures of commands as HTTP problems: the one place that assigns their codes.

use std::time::Duration;

use domain::{
    exchange::ExchangeRefusal,
    order::{InvalidOrder, OrderRefusal},
    payment::PaymentRefusal,
    receipt::{ItemRefusal, ReceiptRefusal, ReceiptRefusals},
    stock::StockRefusal,
};
use infra::{
    http::{Code, Problem, ProblemSource},
    log_limit::LogLimit,
};

use crate::executor::ExecuteError;

/// Makes a list of codes and the function that assigns them from one exhaustive match: a new variant does not
/// compile until it has a code, and its code is then in the list.
macro_rules! codes {
    ($(#[$doc:meta])* $list:ident: $function:ident($error:ty) { $($pattern:pat => $code:ident,)* }) => {
        $(#[$doc])*
        pub const $list: &[Code] = &[$(Code::$code),*];

        fn $function(error: &$error) -> Code {
            match error { $($pattern => Code::$code,)* }
        }
    };
}

codes! {
    /// The codes of a command without an outcome.
    EXECUTION_FAILURES: failure_code(ExecuteError) {
        ExecuteError::Overloaded => Overloaded,
        ExecuteError::Conflict => Conflict,
        ExecuteError::Busy => Busy,
        // Every attempt followed an append that failed, as on a full disk.
        ExecuteError::Superseded | ExecuteError::Unavailable(_) => Unavailable,
        ExecuteError::OutcomeUnknown(_) => OutcomeUnknown,
        ExecuteError::Unreadable(_) => StreamUnreadable,
        ExecuteError::LogWentBack => LogWentBack,
    }
}

/// Logs a failure, once, and hides its inner text from the caller.
impl ProblemSource for ExecuteError {
    const CODES: &'static [Code] = EXECUTION_FAILURES;

    fn problem(self) -> Problem {
        let code = failure_code(&self);
        match self {
            Self::Overloaded | Self::Superseded | Self::Conflict | Self::Busy | Self::LogWentBack => {}
            // The executor logs an unreadable stream once. A line for each command would fill the log.
            Self::Unreadable(_) => {
                tracing::debug!(error = %self, %code, "A command names an unreadable stream");
            }
            Self::Unavailable(_) | Self::OutcomeUnknown(_) => {
                static FAILURES: LogLimit = LogLimit::new(Duration::from_secs(1));
                if let Some(omitted) = FAILURES.pass() {
                    tracing::error!(
                        error = %self,
                        %code,
                        lines.omitted = omitted,
                        "Cannot execute a command; the request fails"
                    );
                }
            }
        }
        Problem::new(code)
    }
}

impl From<ExecuteError> for Problem {
    fn from(error: ExecuteError) -> Self {
        error.problem()
    }
}

/// The refusal of one kind of aggregate.
pub trait Refusal {
    fn problem(&self) -> Problem;
}

codes! {
    STOCK_REFUSALS: stock_code(StockRefusal) {
        StockRefusal::Insufficient { .. } => InsufficientStock,
        StockRefusal::BelowReserved { .. } => StockBelowReserved,
        StockRefusal::AboveLimit => StockLimit,
        StockRefusal::ReservedOtherwise { .. } => Conflict,
        StockRefusal::InvalidQuantity => InvalidRequest,
    }
}

impl Refusal for StockRefusal {
    fn problem(&self) -> Problem {
        let member = match self {
            Self::InvalidQuantity => Some("quantity".to_owned()),
            Self::Insufficient { .. }
            | Self::BelowReserved { .. }
            | Self::AboveLimit
            | Self::ReservedOtherwise { .. } => None,
        };
        refused(stock_code(self), member, self)
    }
}

impl Refusal for ReceiptRefusals {
    fn problem(&self) -> Problem {
        let add = |problem: Problem, refusal: &ReceiptRefusal| {
            let member = match refusal {
                ReceiptRefusal::ItemCount | ReceiptRefusal::ReferencesTooLong => "receipts".to_owned(),
                ReceiptRefusal::Item { index, why, .. } => {
                    let member = match why {
                        ItemRefusal::Repeated => "sku",
                        ItemRefusal::Quantity => "quantity",
                        ItemRefusal::Reference(_) => "reference",
                    };
                    format!("receipts[{index}].{member}")
                }
            };
            problem.error(member, refusal.to_string())
        };
        self.0.iter().fold(Problem::new(Code::InvalidRequest), add)
    }
}

codes! {
    ORDER_REFUSALS: order_code(OrderRefusal) {
        OrderRefusal::NotFound | OrderRefusal::NoSuchShipment | OrderRefusal::NoPayment => NotFound,
        OrderRefusal::Invalid(_) | OrderRefusal::UnknownLine(_) | OrderRefusal::UnknownShipment(_)
        | OrderRefusal::UnknownPayment(_)
        | OrderRefusal::NotShippable { requested: 0, .. } | OrderRefusal::NotReturnable { requested: 0, .. }
        | OrderRefusal::NotCancellable { requested: 0, .. }
            => InvalidRequest,
        OrderRefusal::WrongStatus(_) => OrderStatus,
        OrderRefusal::NotPaid => OrderNotPaid,
        OrderRefusal::NotAuthorized { .. } => OrderNotAuthorized,
        OrderRefusal::TermsNotSupported | OrderRefusal::TermsOfOnePayment => TermsNotSupported,
        OrderRefusal::AllRefunded => OrderRefunded,
        OrderRefusal::NotShippable { .. } | OrderRefusal::NotReturnable { .. }
        | OrderRefusal::NotCancellable { .. } => QuantityUnavailable,
        OrderRefusal::ShipmentArrived => ShipmentArrived,
        OrderRefusal::ShipmentUndone => ShipmentUndone,
        OrderRefusal::NothingToShip => NothingToShip,
        OrderRefusal::NothingToCancel => NothingToCancel,
        OrderRefusal::RefundTooLarge { .. } | OrderRefusal::LineRefundTooLarge { .. } => RefundTooLarge,
        OrderRefusal::NotDueYet { .. } | OrderRefusal::NeverDue => PaymentNotDue,
        OrderRefusal::TooLarge { .. } => OrderTooLarge,
        OrderRefusal::TooManyParts => TooManyParts,
        OrderRefusal::PaymentTooLarge { .. } => AmountTooLarge,
    }
}

impl Refusal for ExchangeRefusal {
    fn problem(&self) -> Problem {
        match self {
            Self::NotFound => Problem::new(Code::NotFound),
            Self::Return(refusal) => refusal.problem().within("return"),
            Self::Order(refusal) => refusal.problem().within("order"),
            Self::OtherCurrency(_) => refused(Code::InvalidRequest, Some("order.currency".to_owned()), self),
            Self::NotPrepaid => refused(Code::TermsNotSupported, Some("order.terms".to_owned()), self),
            Self::NothingToCredit => refused(Code::NothingToCredit, None, self),
            Self::TooLarge { .. } => refused(Code::OrderTooLarge, None, self),
        }
    }
}

impl Refusal for OrderRefusal {
    fn problem(&self) -> Problem {
        let member = match self {
            Self::Invalid(invalid) => Some(invalid_member(invalid)),
            Self::UnknownShipment(_) => Some("shipment_id".to_owned()),
            Self::TermsNotSupported | Self::TermsOfOnePayment => Some("terms".to_owned()),
            Self::UnknownPayment(_) => Some("payment_id".to_owned()),
            Self::UnknownLine(_)
            | Self::NotShippable { requested: 0, .. }
            | Self::NotReturnable { requested: 0, .. }
            | Self::NotCancellable { requested: 0, .. } => Some("lines".to_owned()),
            Self::NotFound
            | Self::NoSuchShipment
            | Self::NoPayment
            | Self::PaymentTooLarge { .. }
            | Self::WrongStatus(_)
            | Self::NotPaid
            | Self::NotAuthorized { .. }
            | Self::NotShippable { .. }
            | Self::NotReturnable { .. }
            | Self::NotCancellable { .. }
            | Self::AllRefunded
            | Self::TooLarge { .. }
            | Self::ShipmentArrived
            | Self::ShipmentUndone
            | Self::NothingToShip
            | Self::NothingToCancel
            | Self::RefundTooLarge { .. }
            | Self::LineRefundTooLarge { .. }
            | Self::NotDueYet { .. }
            | Self::NeverDue
            | Self::TooManyParts => None,
        };
        refused(order_code(self), member, self)
    }
}

/// The member of the request with the invalid content.
fn invalid_member(invalid: &InvalidOrder) -> String {
    match invalid {
        InvalidOrder::LineCount
        | InvalidOrder::UnitCount
        | InvalidOrder::RepeatedLine
        | InvalidOrder::LinesAboveRefund => "lines".to_owned(),
        InvalidOrder::Quantity { line } => format!("lines[{}].quantity", line - 1),
        InvalidOrder::NegativePrice { line } => format!("lines[{}].unit_price", line - 1),
        InvalidOrder::TotalOutOfRange | InvalidOrder::NegativeTotal => "lines, adjustments".to_owned(),
        InvalidOrder::AdjustmentCount
        | InvalidOrder::PositiveDiscount { line: None }
        | InvalidOrder::TaxAboveAdjustments => "adjustments".to_owned(),
        InvalidOrder::NegativeLineTotal { line } => format!("lines[{}]", line - 1),
        InvalidOrder::PositiveDiscount { line: Some(line) }
        | InvalidOrder::LineAdjustmentCount { line }
        | InvalidOrder::TaxAboveLine { line } => {
            format!("lines[{}].adjustments", line - 1)
        }
        InvalidOrder::MetadataCount => "metadata".to_owned(),
        InvalidOrder::Text { member } => (*member).to_owned(),
        InvalidOrder::DueInThePast { .. } | InvalidOrder::NetWithoutDue => "payment_due_at".to_owned(),
        InvalidOrder::Payment(token) => format!("payment.{}", token.member),
        InvalidOrder::PaymentToken { payment, token } => {
            format!("payments[{}].{}", payment - 1, token.member)
        }
        InvalidOrder::PaymentAmount { payment: Some(payment) } => {
            format!("payments[{}].amount", payment - 1)
        }
        InvalidOrder::PaymentAmount { payment: None } => "amount".to_owned(),
        InvalidOrder::PaymentCount | InvalidOrder::PaymentsAboveTotal { .. } => "payments".to_owned(),
        InvalidOrder::RefundAmount => "refund_amount, amount".to_owned(),
    }
}

codes! {
    PAYMENT_REFUSALS: payment_code(PaymentRefusal) {
        PaymentRefusal::NotFound | PaymentRefusal::UnknownRefund(_) => NotFound,
        PaymentRefusal::WrongState(_) => PaymentState,
        PaymentRefusal::Closed => PaymentClosed,
        PaymentRefusal::ChargeUnderWay => ChargeUnderWay,
        PaymentRefusal::InvalidToken(_) | PaymentRefusal::InvalidAmount | PaymentRefusal::InvalidText { .. }
            => InvalidRequest,
        PaymentRefusal::AboveRequested { .. } | PaymentRefusal::AboveAuthorized { .. } => AmountTooLarge,
        PaymentRefusal::RefundSettled | PaymentRefusal::NotRetryable => RefundSettled,
        PaymentRefusal::RefundUnderWay => RefundUnderWay,
        PaymentRefusal::OfProvider => PaymentOfProvider,
        PaymentRefusal::OfCredit => PaymentOfCredit,
        PaymentRefusal::TooManyCharges => TooManyParts,
    }
}

impl Refusal for PaymentRefusal {
    fn problem(&self) -> Problem {
        let member = match self {
            Self::InvalidToken(token) => Some(token.member),
            Self::InvalidAmount => Some("amount"),
            Self::InvalidText { member } => Some(*member),
            Self::NotFound
            | Self::UnknownRefund(_)
            | Self::WrongState(_)
            | Self::Closed
            | Self::ChargeUnderWay
            | Self::AboveRequested { .. }
            | Self::AboveAuthorized { .. }
            | Self::RefundSettled
            | Self::RefundUnderWay
            | Self::OfProvider
            | Self::OfCredit
            | Self::NotRetryable
            | Self::TooManyCharges => None,
        };
        refused(payment_code(self), member.map(str::to_owned), self)
    }
}

/// `member` is the member of the request with the error, if it is one member.
fn refused(code: Code, member: Option<String>, refusal: &impl std::error::Error) -> Problem {
    let (problem, text) = (Problem::new(code), refusal.to_string());
    match member {
        Some(member) => problem.error(member, text),
        None => problem.detail(text),
    }
}

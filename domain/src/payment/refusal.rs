use super::{CHARGES_MAX, InvalidToken, PaymentState};
use crate::{Amount, RefundId, text::TEXT_CHARS_MAX};

/// Why a payment command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRefusal {
    #[error("the payment does not exist")]
    NotFound,
    #[error("the payment is {}, and this state does not allow the command", .0.as_str())]
    WrongState(PaymentState),
    #[error("the order of this payment has ended, so nothing more is authorized or captured")]
    Closed,
    #[error("the provider has a charge under way; wait until it reports the outcome")]
    ChargeUnderWay,
    #[error("a payment has at most {CHARGES_MAX} charges")]
    TooManyCharges,
    #[error(transparent)]
    InvalidToken(#[from] InvalidToken),
    #[error(
        "an amount is more than 0, and the captured amounts add up to at most {} minor units",
        Amount::MAX
    )]
    InvalidAmount,
    #[error("{member} is empty or has more than {TEXT_CHARS_MAX} characters or a control character")]
    InvalidText { member: &'static str },
    #[error("{requested} cannot be authorized: {left} of the requested amount is left (minor units)")]
    AboveRequested { requested: Amount, left: Amount },
    #[error("{requested} cannot be captured: {capturable} is authorized and not captured (minor units)")]
    AboveAuthorized { requested: Amount, capturable: Amount },
    #[error("the payment has no refund {0}")]
    UnknownRefund(RefundId),
    #[error("the refund already has another amount or outcome")]
    RefundSettled,
    #[error("the provider knows the outcome of this refund and reports it; wait for its report")]
    RefundUnderWay,
    #[error("only an automatic refund that has failed is requested again")]
    NotRetryable,
    #[error("the payment is the credit of an exchange, which only its order takes and gives back")]
    OfCredit,
    #[error("a provider has money of this payment; add another payment to the order for money by hand")]
    OfProvider,
}

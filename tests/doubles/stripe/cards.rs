//! Stripe's test cards, with the names of its documentation, and the bank's answer to a charge of each.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BankAnswer {
    Approved,
    Declined { code: &'static str, decline_code: &'static str, message: &'static str },
    NeedsCustomer,
    Processing,
}

/// `None` for an unknown payment method.
pub(super) fn bank_answer(payment_method: &str) -> Option<BankAnswer> {
    let no =
        |decline_code, message| Some(BankAnswer::Declined { code: "card_declined", decline_code, message });
    match payment_method {
        "pm_card_visa" | "pm_card_mastercard" | "pm_card_pendingRefund" | "pm_card_refundFail" => {
            Some(BankAnswer::Approved)
        }
        "pm_card_visa_chargeDeclined" => no("generic_decline", "Your card was declined."),
        "pm_card_visa_chargeDeclinedInsufficientFunds" => {
            no("insufficient_funds", "Your card has insufficient funds.")
        }
        "pm_card_visa_chargeDeclinedLostCard" => no("lost_card", "Your card was declined."),
        "pm_card_visa_chargeDeclinedStolenCard" => no("stolen_card", "Your card was declined."),
        "pm_card_visa_chargeDeclinedFraudulent" => no("fraudulent", "Your card was declined."),
        "pm_card_chargeDeclinedExpiredCard" => Some(BankAnswer::Declined {
            code: "expired_card",
            decline_code: "expired_card",
            message: "Your card has expired.",
        }),
        "pm_card_authenticationRequired" | "pm_card_threeDSecure2Required" => Some(BankAnswer::NeedsCustomer),
        "pm_usBankAccount_success" => Some(BankAnswer::Processing),
        _ => None,
    }
}

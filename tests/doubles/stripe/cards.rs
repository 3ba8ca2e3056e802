//! Stripe's test cards, by the names of its documentation: what happens when one is charged.

/// What a bank says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Yes,
    No { code: &'static str, decline_code: &'static str, message: &'static str },
    AskTheCustomer,
    Later,
}

/// None for a means of payment that there is not.
pub(super) fn bank_of(payment_method: &str) -> Option<Says> {
    let no = |decline_code, message| Some(Says::No { code: "card_declined", decline_code, message });
    match payment_method {
        "pm_card_visa" | "pm_card_mastercard" | "pm_card_pendingRefund" | "pm_card_refundFail" => {
            Some(Says::Yes)
        }
        "pm_card_visa_chargeDeclined" => no("generic_decline", "Your card was declined."),
        "pm_card_visa_chargeDeclinedInsufficientFunds" => {
            no("insufficient_funds", "Your card has insufficient funds.")
        }
        "pm_card_visa_chargeDeclinedLostCard" => no("lost_card", "Your card was declined."),
        "pm_card_visa_chargeDeclinedStolenCard" => no("stolen_card", "Your card was declined."),
        "pm_card_visa_chargeDeclinedFraudulent" => no("fraudulent", "Your card was declined."),
        "pm_card_chargeDeclinedExpiredCard" => Some(Says::No {
            code: "expired_card",
            decline_code: "expired_card",
            message: "Your card has expired.",
        }),
        "pm_card_authenticationRequired" | "pm_card_threeDSecure2Required" => Some(Says::AskTheCustomer),
        "pm_usBankAccount_success" => Some(Says::Later),
        _ => None,
    }
}

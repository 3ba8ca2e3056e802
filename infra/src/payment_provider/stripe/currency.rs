//! Converts amounts to Stripe's units. These are the minor units of ISO 4217, with the exceptions in this
//! table.
//!
//! Source: docs.stripe.com/currencies, "Zero-decimal currencies", "Three-decimal currencies" and "Special
//! cases".

use domain::{Amount, Currency};

/// How Stripe's units relate to the minor units of ISO 4217.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Same,
    /// Stripe's unit is 1/100 of ISO's minor unit.
    Hundredths,
    /// Stripe's unit is 100 of ISO's minor units. Amounts that are not multiples of 100 are refused.
    Hundreds,
    /// The same units, but Stripe accepts only multiples of 10.
    WholeTens,
    /// Stripe does not support the currency, or does not document its unit.
    Unsupported,
}

/// The amount cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unrepresentable {
    #[error("Stripe does not support {0}")]
    Currency(Currency),
    #[error("Stripe accepts {currency} only in multiples of {step} minor units, not {amount}")]
    Fraction { currency: Currency, amount: Amount, step: i64 },
    #[error("Stripe's amount {0} is not a whole number of minor units of {1}")]
    Answer(i64, Currency),
}

fn scale(currency: Currency) -> Scale {
    match currency.as_str() {
        // No minor unit in ISO 4217, but two decimals at Stripe, which are always 00.
        "ISK" | "UGX" => Scale::Hundredths,
        // Two decimals in ISO 4217, none at Stripe.
        "MGA" => Scale::Hundreds,
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => Scale::WholeTens,
        // Three or four decimals, and ISO codes of units that are not means of payment, such as gold.
        "IQD" | "LYD" | "CLF" | "UYW" | "UYI" | "XAG" | "XAU" | "XPD" | "XPT" | "XBA" | "XBB" | "XBC"
        | "XBD" | "XDR" | "XSU" | "XUA" | "XTS" | "XXX" => Scale::Unsupported,
        _ => Scale::Same,
    }
}

/// The amount in Stripe's units.
pub(super) fn to_stripe(amount: Amount, currency: Currency) -> Result<i64, Unrepresentable> {
    let units = amount.minor_units();
    let whole = |step: i64| {
        if units % step == 0 { Ok(units) } else { Err(Unrepresentable::Fraction { currency, amount, step }) }
    };
    match scale(currency) {
        Scale::Same => Ok(units),
        // Within i64: an amount is below 2^53.
        Scale::Hundredths => Ok(units * 100),
        Scale::Hundreds => Ok(whole(100)? / 100),
        Scale::WholeTens => whole(10),
        Scale::Unsupported => Err(Unrepresentable::Currency(currency)),
    }
}

/// The amount for a number of Stripe's units.
pub(super) fn from_stripe(units: i64, currency: Currency) -> Result<Amount, Unrepresentable> {
    let minor_units = match scale(currency) {
        Scale::Same | Scale::WholeTens => Some(units),
        Scale::Hundredths => (units % 100 == 0).then_some(units / 100),
        Scale::Hundreds => units.checked_mul(100),
        Scale::Unsupported => return Err(Unrepresentable::Currency(currency)),
    };
    let amount = minor_units.and_then(|minor_units| Amount::new(minor_units).ok());
    amount.ok_or(Unrepresentable::Answer(units, currency))
}

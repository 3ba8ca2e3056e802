//! Amounts as Stripe counts them. Its units are the minor units of ISO 4217, except where this table says otherwise.
//!
//! Source: docs.stripe.com/currencies, "Zero-decimal currencies", "Three-decimal currencies" and "Special cases".

use domain::{Amount, Currency};

/// How many of Stripe's units make minor units of ISO 4217.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Same,
    /// Stripe counts the hundredth part of ISO's minor unit.
    Hundredths,
    /// Stripe counts a hundred of ISO's minor units as one, and so takes no less.
    Hundreds,
    /// As ISO, and the last digit is zero.
    WholeTens,
    /// Not taken by Stripe, or in units that nobody has written down.
    Unsupported,
}

/// An amount that Stripe cannot take, or has given, in this currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unrepresentable {
    #[error("Stripe takes no {0}")]
    Currency(Currency),
    #[error("Stripe takes {currency} in multiples of {step} minor units, and {amount} is none")]
    Fraction { currency: Currency, amount: Amount, step: i64 },
    #[error("Stripe's amount {0} cannot be told in minor units of {1}")]
    Answer(i64, Currency),
}

fn scale(currency: Currency) -> Scale {
    match currency.as_str() {
        // Without a minor unit in ISO 4217, and still with two decimals, always 00, at Stripe.
        "ISK" | "UGX" => Scale::Hundredths,
        // Two decimals in ISO 4217, none at Stripe.
        "MGA" => Scale::Hundreds,
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => Scale::WholeTens,
        // Three and four decimals, and codes that ISO gives to what is no money to pay with.
        "IQD" | "LYD" | "CLF" | "UYW" | "UYI" | "XAG" | "XAU" | "XPD" | "XPT" | "XBA" | "XBB" | "XBC"
        | "XBD" | "XDR" | "XSU" | "XUA" | "XTS" | "XXX" => Scale::Unsupported,
        _ => Scale::Same,
    }
}

/// What Stripe is to be told for this amount.
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

/// The amount that Stripe tells.
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

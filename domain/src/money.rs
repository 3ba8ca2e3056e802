//! Money: whole minor units of one currency, with checked arithmetic.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An amount in minor units (pence, cents). The currency is stored separately.
///
/// Bounded by ±[`Amount::MAX`], the largest integer that every JSON parser keeps exactly (2^53 - 1, RFC 8259
/// section 6). Signed, because adjustments and differences may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Amount(i64);

/// An amount, or a sum of amounts, beyond ±[`Amount::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount lies between -{max} and {max} minor units", max = Amount::MAX.0)]
pub struct AmountOutOfRange;

impl Amount {
    pub const ZERO: Self = Self(0);
    pub const MAX: Self = Self((1 << 53) - 1);

    pub fn new(minor_units: i64) -> Result<Self, AmountOutOfRange> {
        if (-Self::MAX.0..=Self::MAX.0).contains(&minor_units) {
            Ok(Self(minor_units))
        } else {
            Err(AmountOutOfRange)
        }
    }

    pub fn minor_units(self) -> i64 {
        self.0
    }

    /// By reference, because serde calls it.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    pub fn is_positive(self) -> bool {
        self.0 > 0
    }

    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    pub fn checked_add(self, other: Self) -> Result<Self, AmountOutOfRange> {
        Self::new(self.0 + other.0)
    }

    pub fn checked_sub(self, other: Self) -> Result<Self, AmountOutOfRange> {
        Self::new(self.0 - other.0)
    }

    pub fn checked_mul(self, factor: u32) -> Result<Self, AmountOutOfRange> {
        self.0.checked_mul(i64::from(factor)).ok_or(AmountOutOfRange).and_then(Self::new)
    }

    /// The sum, clamped to ±[`Amount::MAX`]. For folds, whose amounts were checked by the decision.
    pub fn saturating_add(self, other: Self) -> Self {
        Self((self.0 + other.0).clamp(-Self::MAX.0, Self::MAX.0))
    }

    /// The difference, clamped to ±[`Amount::MAX`].
    pub fn saturating_sub(self, other: Self) -> Self {
        self.saturating_add(Self(-other.0))
    }

    /// The product, clamped to ±[`Amount::MAX`].
    pub fn saturating_mul(self, factor: u32) -> Self {
        Self(self.0.saturating_mul(i64::from(factor)).clamp(-Self::MAX.0, Self::MAX.0))
    }
}

impl TryFrom<i64> for Amount {
    type Error = AmountOutOfRange;
    fn try_from(minor_units: i64) -> Result<Self, AmountOutOfRange> {
        Self::new(minor_units)
    }
}

impl From<Amount> for i64 {
    fn from(amount: Amount) -> Self {
        amount.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An ISO 4217 currency code, in capitals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// A text that is not an ISO 4217 code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an ISO 4217 currency code, such as GBP")]
pub struct UnknownCurrency(String);

impl Currency {
    pub fn as_str(&self) -> &str {
        // The bytes are ASCII capitals, so the fallback is never used.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = iso_currency::Currency::from_code(text);
        let code: Option<[u8; 3]> = text.as_bytes().try_into().ok();
        match (known, code) {
            (Some(_), Some(code)) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(UnknownCurrency(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;
    fn try_from(text: String) -> Result<Self, UnknownCurrency> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_products_beyond_the_limit_are_refused() {
        assert_eq!(Amount::MAX.checked_add(Amount(1)), Err(AmountOutOfRange));
        assert_eq!(Amount(i64::MAX / 2).checked_mul(3), Err(AmountOutOfRange));
        assert_eq!(Amount(-5).checked_mul(3), Ok(Amount(-15)));
        assert_eq!(Amount::new(i64::MIN), Err(AmountOutOfRange));
    }

    #[test]
    fn a_currency_is_an_iso_4217_code_in_capitals() {
        assert_eq!("GBP".parse::<Currency>().map(|gbp| gbp.to_string()), Ok("GBP".to_owned()));
        for text in ["gbp", "", "G", "ZZZ", "GBPX", "€"] {
            assert!(text.parse::<Currency>().is_err(), "{text} was accepted");
        }
    }
}

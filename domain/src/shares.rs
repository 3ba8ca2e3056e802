//! The shares of an order's lines in adjustments of the whole order, and the worth of single units.
//!
//! An order stores the shares when it is placed, so a later change of the algorithm does not change it.

use serde::{Deserialize, Serialize};

use crate::Amount;

#[cfg(test)]
mod tests;

/// What an adjustment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentKind {
    /// 0 or less.
    Discount,
    Tax,
    Shipping,
    Fee,
}

impl AdjustmentKind {
    pub const ALL: [Self; 4] = [Self::Discount, Self::Tax, Self::Shipping, Self::Fee];

    /// The kind of an adjustment whose request names none.
    pub fn of_amount(amount: Amount) -> Self {
        if amount.is_negative() { Self::Discount } else { Self::Fee }
    }

    /// True if an adjustment of the order is spread over its lines, unless the request says otherwise.
    pub fn is_spread(self) -> bool {
        match self {
            Self::Discount | Self::Tax => true,
            Self::Shipping | Self::Fee => false,
        }
    }

    /// True if the amount is added to the price. A tax is not if the price contains it.
    pub fn is_added(self, prices_include_tax: bool) -> bool {
        match self {
            Self::Tax => !prices_include_tax,
            Self::Discount | Self::Shipping | Self::Fee => true,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discount => "discount",
            Self::Tax => "tax",
            Self::Shipping => "shipping",
            Self::Fee => "fee",
        }
    }
}

/// Amounts in minor units, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub discount: Amount,
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub tax: Amount,
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub shipping: Amount,
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub fee: Amount,
}

impl Shares {
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    pub fn of_kind(&self, kind: AdjustmentKind) -> Amount {
        match kind {
            AdjustmentKind::Discount => self.discount,
            AdjustmentKind::Tax => self.tax,
            AdjustmentKind::Shipping => self.shipping,
            AdjustmentKind::Fee => self.fee,
        }
    }

    pub fn of_kind_mut(&mut self, kind: AdjustmentKind) -> &mut Amount {
        match kind {
            AdjustmentKind::Discount => &mut self.discount,
            AdjustmentKind::Tax => &mut self.tax,
            AdjustmentKind::Shipping => &mut self.shipping,
            AdjustmentKind::Fee => &mut self.fee,
        }
    }
}

/// Divides `amount` in proportion to `weights`, so that the parts add up to it. What rounding down leaves goes
/// one minor unit each to the largest remainders; of equal ones, to the first. `None` if all weights are 0.
///
/// `weights` are 0 or more. A part is never larger than its weight if `amount` is at most their sum.
pub fn spread(amount: Amount, weights: &[Amount]) -> Option<Vec<Amount>> {
    let weights: Vec<i128> = weights.iter().map(|weight| weight.minor_units().into()).collect();
    assert!(weights.iter().all(|weight| *weight >= 0), "a weight is negative: {weights:?}");
    let sum: i128 = weights.iter().sum();
    if sum == 0 {
        return None;
    }
    let whole = i128::from(amount.minor_units().abs());
    let mut parts: Vec<i128> = weights.iter().map(|weight| whole * weight / sum).collect();
    let left = whole - parts.iter().sum::<i128>();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    // The sort is stable, so of equal remainders the first stays first.
    by_remainder.sort_by_key(|&index| std::cmp::Reverse(whole * weights[index] % sum));
    for &index in by_remainder.iter().take(usize::try_from(left).unwrap_or_default()) {
        parts[index] += 1;
    }
    let sign = if amount.is_negative() { -1 } else { 1 };
    Some(parts.into_iter().map(|part| in_range(part * sign)).collect())
}

/// What the first `count` of `units` units of a line are worth, rounded half up. All units are worth `total`.
///
/// The worth of later units is the difference of two such amounts. So it does not depend on the steps in which
/// units leave the line, and is never negative if `total` is not.
pub fn worth_of_first(count: u32, units: u32, total: Amount) -> Amount {
    if units == 0 {
        return Amount::ZERO;
    }
    let (count, units, total) = (i128::from(count), i128::from(units), i128::from(total.minor_units()));
    in_range((2 * total * count + units).div_euclid(2 * units))
}

/// A part of an amount is never larger than the amount.
fn in_range(minor_units: i128) -> Amount {
    i64::try_from(minor_units).ok().and_then(|part| Amount::new(part).ok()).unwrap_or(Amount::MAX)
}

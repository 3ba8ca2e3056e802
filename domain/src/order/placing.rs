//! The content of a new order: its limits, its total and the shares of its lines.

use super::{
    ADJUSTMENTS_MAX, Adjustment, LINE_ADJUSTMENTS_MAX, LINE_QUANTITY_MAX, LINES_MAX, METADATA_ENTRIES_MAX,
    NewLine, NewTender, ORDER_VALUE_MAX, OrderLine, OrderPlaced, PAYMENTS_MAX, PaymentTerms, PlaceOrder,
};
use crate::{
    Amount, Timestamp,
    money::AmountOutOfRange,
    new_charge::InvalidToken,
    shares::{self, AdjustmentKind, Shares},
    stock::UNITS_MAX,
    text::{self, TEXT_CHARS_MAX},
};

/// Why the content of a command is invalid. Each text names the member of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrder {
    #[error("an order has 1 to {LINES_MAX} lines")]
    LineCount,
    #[error("line {line}: a quantity is between 1 and {LINE_QUANTITY_MAX} units")]
    Quantity { line: usize },
    #[error("an order has at most {UNITS_MAX} units in total")]
    UnitCount,
    #[error("line {line}: a unit price is not negative")]
    NegativePrice { line: usize },
    #[error("lines and adjustments add up to more than {ORDER_VALUE_MAX} minor units")]
    TotalOutOfRange,
    #[error("lines and adjustments add up to less than 0")]
    NegativeTotal,
    #[error(
        "line {line}: its units, its adjustments and its share of the order's adjustments add up to less than 0"
    )]
    NegativeLineTotal { line: usize },
    #[error("an adjustment of the kind discount is 0 or less; give another kind to an amount above 0")]
    PositiveDiscount { line: Option<usize> },
    #[error("line {line}: the price includes the tax, so its taxes are between 0 and the total of the line")]
    TaxAboveLine { line: usize },
    #[error(
        "prices include the tax, so taxes that are not spread are between 0 and the other adjustments that are not spread"
    )]
    TaxAboveAdjustments,
    #[error("line {line}: a line has at most {LINE_ADJUSTMENTS_MAX} adjustments")]
    LineAdjustmentCount { line: usize },
    #[error("an order has at most {ADJUSTMENTS_MAX} adjustments")]
    AdjustmentCount,
    #[error("metadata has at most {METADATA_ENTRIES_MAX} entries")]
    MetadataCount,
    #[error("{member} is empty or has more than {TEXT_CHARS_MAX} characters or a control character")]
    Text { member: &'static str },
    #[error("name at least one line, and each line once")]
    RepeatedLine,
    #[error("a refund amount is more than 0")]
    RefundAmount,
    #[error("the amounts of the lines add up to more than the refund")]
    LinesAboveRefund,
    #[error("the payment is due at {due_at}, which is in the past")]
    DueInThePast { due_at: Timestamp },
    #[error("an order with the terms net needs the time at which its payment is due")]
    NetWithoutDue,
    #[error("payment: {0}")]
    Payment(#[from] InvalidToken),
    #[error("payment {payment}: {token}")]
    PaymentToken { payment: usize, token: InvalidToken },
    #[error("an order has either `payment` or `payments`, and at most {PAYMENTS_MAX} of them")]
    PaymentCount,
    #[error("the amount of a payment is more than 0")]
    PaymentAmount { payment: Option<usize> },
    #[error("the payments add up to more than the total of the order, which is {total} (minor units)")]
    PaymentsAboveTotal { total: Amount },
}

impl From<AmountOutOfRange> for InvalidOrder {
    fn from(_: AmountOutOfRange) -> Self {
        Self::TotalOutOfRange
    }
}

/// The event that records a new order.
pub(super) fn placed(place: PlaceOrder) -> Result<OrderPlaced, InvalidOrder> {
    validate(&place)?;
    check_due(place.payment_due_at, place.now)?;
    check_terms(place.terms, place.payment_due_at)?;
    let (terms, includes_tax) = (place.terms, place.prices_include_tax);
    let values = place.lines.iter().map(|line| line_value(line, includes_tax));
    let values = values.collect::<Result<Vec<Amount>, InvalidOrder>>()?;
    let total = total(&values, &place.adjustments, includes_tax)?;
    if let Some(line) = values.iter().position(|value| value.is_negative()) {
        return Err(InvalidOrder::NegativeLineTotal { line: line + 1 });
    }
    check_payments(&place, total)?;
    let (adjustments, shares) = spread(&place.lines, place.adjustments, &values, includes_tax)?;
    let line = |(line, shares): (NewLine, Shares)| OrderLine {
        sku: line.sku,
        quantity: line.quantity,
        unit_price: line.unit_price,
        stocked: line.stocked,
        adjustments: line.adjustments,
        shares,
    };
    Ok(OrderPlaced {
        order_id: place.order_id,
        customer_id: place.customer_id,
        currency: place.currency,
        country: place.country,
        lines: place.lines.into_iter().zip(shares).map(line).collect(),
        adjustments,
        total,
        prices_include_tax: includes_tax,
        reference: place.reference,
        metadata: place.metadata,
        placed_at: place.placed_at,
        payment_due_at: place.payment_due_at,
        terms: Some(terms),
        payment: place.payment.map(|charge| charge.under(terms)),
        payments: place.payments,
    })
}

fn check_payments(place: &PlaceOrder, total: Amount) -> Result<(), InvalidOrder> {
    let is_stated_twice = place.payment.is_some() && !place.payments.is_empty();
    if is_stated_twice || place.payments.len() > PAYMENTS_MAX {
        return Err(InvalidOrder::PaymentCount);
    }
    if let Some(charge) = &place.payment {
        charge.check()?;
    }
    let mut sum = Amount::ZERO;
    for (payment, NewTender { amount, charge, .. }) in (1..).zip(&place.payments) {
        if !amount.is_positive() {
            return Err(InvalidOrder::PaymentAmount { payment: Some(payment) });
        }
        if let Some(charge) = charge {
            charge.check().map_err(|token| InvalidOrder::PaymentToken { payment, token })?;
        }
        sum = sum.saturating_add(*amount);
    }
    if sum > total { Err(InvalidOrder::PaymentsAboveTotal { total }) } else { Ok(()) }
}

pub(super) fn check_due(payment_due_at: Option<Timestamp>, now: Timestamp) -> Result<(), InvalidOrder> {
    match payment_due_at {
        Some(due_at) if due_at < now => Err(InvalidOrder::DueInThePast { due_at }),
        Some(_) | None => Ok(()),
    }
}

/// Money that is due later needs a time from which on it is overdue.
pub(super) fn check_terms(
    terms: PaymentTerms,
    payment_due_at: Option<Timestamp>,
) -> Result<(), InvalidOrder> {
    match terms {
        PaymentTerms::Net if payment_due_at.is_none() => Err(InvalidOrder::NetWithoutDue),
        PaymentTerms::Prepaid | PaymentTerms::OnShipment | PaymentTerms::Net => Ok(()),
    }
}

fn validate(place: &PlaceOrder) -> Result<(), InvalidOrder> {
    if place.lines.is_empty() || place.lines.len() > LINES_MAX {
        return Err(InvalidOrder::LineCount);
    }
    for (number, line) in (1..).zip(&place.lines) {
        if !(1..=LINE_QUANTITY_MAX).contains(&line.quantity) {
            return Err(InvalidOrder::Quantity { line: number });
        }
        if line.unit_price.is_negative() {
            return Err(InvalidOrder::NegativePrice { line: number });
        }
        if line.adjustments.len() > LINE_ADJUSTMENTS_MAX {
            return Err(InvalidOrder::LineAdjustmentCount { line: number });
        }
        for adjustment in &line.adjustments {
            check_adjustment(Some(adjustment.kind), &adjustment.code, adjustment.amount, Some(number))?;
        }
    }
    let units: u64 = place.lines.iter().map(|line| u64::from(line.quantity)).sum();
    if units > u64::from(UNITS_MAX) {
        return Err(InvalidOrder::UnitCount);
    }
    if place.adjustments.len() > ADJUSTMENTS_MAX {
        return Err(InvalidOrder::AdjustmentCount);
    }
    if place.metadata.len() > METADATA_ENTRIES_MAX {
        return Err(InvalidOrder::MetadataCount);
    }
    check_texts(&[
        ("customer_id", place.customer_id.as_ref()),
        ("country", place.country.as_ref()),
        ("reference", place.reference.as_ref()),
    ])?;
    for adjustment in &place.adjustments {
        check_adjustment(adjustment.kind, &adjustment.code, adjustment.amount, None)?;
    }
    for (key, value) in &place.metadata {
        check_text("metadata", key)?;
        // An empty metadata value is valid: the shop owns this data.
        if !value.is_empty() {
            check_text("metadata", value)?;
        }
    }
    Ok(())
}

fn check_adjustment(
    kind: Option<AdjustmentKind>,
    code: &str,
    amount: Amount,
    line: Option<usize>,
) -> Result<(), InvalidOrder> {
    check_text(if line.is_some() { "lines.adjustments.code" } else { "adjustments.code" }, code)?;
    if kind == Some(AdjustmentKind::Discount) && amount.is_positive() {
        return Err(InvalidOrder::PositiveDiscount { line });
    }
    Ok(())
}

/// Units times price, with the line's own adjustments.
fn line_value(line: &NewLine, includes_tax: bool) -> Result<Amount, InvalidOrder> {
    let mut added = line.adjustments.iter().filter(|adjustment| adjustment.kind.is_added(includes_tax));
    added.try_fold(line.unit_price.checked_mul(line.quantity)?, |sum, adjustment| add(sum, adjustment.amount))
}

fn total(
    line_values: &[Amount],
    adjustments: &[Adjustment],
    includes_tax: bool,
) -> Result<Amount, InvalidOrder> {
    let is_added = |one: &&Adjustment| one.kind.is_none_or(|kind| kind.is_added(includes_tax));
    let added = adjustments.iter().filter(is_added).map(|adjustment| adjustment.amount);
    let amounts = line_values.iter().copied().chain(added);
    let mut sum = Amount::ZERO;
    for amount in amounts {
        sum = add(sum, amount)?;
    }
    if sum.is_negative() { Err(InvalidOrder::NegativeTotal) } else { Ok(sum) }
}

/// The adjustments as they are stored, and the shares of each line. A tax that the prices contain is spread last, in
/// proportion to what the lines cost after all other adjustments.
fn spread(
    lines: &[NewLine],
    mut adjustments: Vec<Adjustment>,
    line_values: &[Amount],
    includes_tax: bool,
) -> Result<(Vec<Adjustment>, Vec<Shares>), InvalidOrder> {
    let mut shares = vec![Shares::default(); line_values.len()];
    let (added, contained): (Vec<AdjustmentKind>, Vec<AdjustmentKind>) =
        AdjustmentKind::ALL.into_iter().partition(|kind| kind.is_added(includes_tax));
    for kind in &added {
        spread_kind(*kind, &mut adjustments, line_values, &mut shares);
    }
    let total = |(value, shares): (&Amount, &Shares)| {
        added.iter().fold(*value, |sum, kind| sum.saturating_add(shares.of_kind(*kind)))
    };
    let totals: Vec<Amount> = line_values.iter().zip(&shares).map(total).collect();
    if let Some(line) = totals.iter().position(|total| total.is_negative()) {
        return Err(InvalidOrder::NegativeLineTotal { line: line + 1 });
    }
    for kind in contained {
        spread_kind(kind, &mut adjustments, &totals, &mut shares);
        check_contained(kind, lines, &adjustments, &totals, &shares)?;
    }
    Ok((adjustments, shares))
}

/// Adjustments of one kind are spread together: several discounts that add up to the value of the lines then
/// leave no line below 0.
fn spread_kind(
    kind: AdjustmentKind,
    adjustments: &mut [Adjustment],
    weights: &[Amount],
    shares: &mut [Shares],
) {
    let of_kind = |adjustment: &&mut Adjustment| adjustment.kind == Some(kind) && adjustment.spread;
    let amounts = adjustments.iter_mut().filter(of_kind).map(|adjustment| adjustment.amount);
    let sum = amounts.fold(Amount::ZERO, Amount::saturating_add);
    match shares::spread(sum, weights) {
        Some(parts) => {
            for (shares, part) in shares.iter_mut().zip(parts) {
                *shares.of_kind_mut(kind) = part;
            }
        }
        None => adjustments.iter_mut().filter(of_kind).for_each(|adjustment| adjustment.spread = false),
    }
}

/// A line contains its taxes. Shipping and fees contain the taxes that are not spread.
fn check_contained(
    kind: AdjustmentKind,
    lines: &[NewLine],
    adjustments: &[Adjustment],
    line_totals: &[Amount],
    shares: &[Shares],
) -> Result<(), InvalidOrder> {
    for (number, (line, (total, shares))) in (1..).zip(lines.iter().zip(line_totals.iter().zip(shares))) {
        let own = line.adjustments.iter().filter(|adjustment| adjustment.kind == kind);
        let tax = own.fold(shares.of_kind(kind), |sum, adjustment| sum.saturating_add(adjustment.amount));
        if !(Amount::ZERO..=*total).contains(&tax) {
            return Err(InvalidOrder::TaxAboveLine { line: number });
        }
    }
    let (mut tax, mut others) = (Amount::ZERO, Amount::ZERO);
    for adjustment in adjustments.iter().filter(|adjustment| !adjustment.spread) {
        let sum = if adjustment.kind == Some(kind) { &mut tax } else { &mut others };
        *sum = sum.saturating_add(adjustment.amount);
    }
    let is_contained = (Amount::ZERO..=others.max(Amount::ZERO)).contains(&tax);
    if is_contained { Ok(()) } else { Err(InvalidOrder::TaxAboveAdjustments) }
}

/// Adds a part of an order's value. Refuses a sum beyond ±[`ORDER_VALUE_MAX`].
fn add(sum: Amount, part: Amount) -> Result<Amount, InvalidOrder> {
    let sum = sum.checked_add(part)?;
    if sum.minor_units().abs() > ORDER_VALUE_MAX { Err(InvalidOrder::TotalOutOfRange) } else { Ok(sum) }
}

pub(super) fn check_texts(members: &[(&'static str, Option<&String>)]) -> Result<(), InvalidOrder> {
    members.iter().try_for_each(|(member, value)| value.map_or(Ok(()), |value| check_text(member, value)))
}

fn check_text(member: &'static str, value: &str) -> Result<(), InvalidOrder> {
    text::check(value).map_err(|_| InvalidOrder::Text { member })
}

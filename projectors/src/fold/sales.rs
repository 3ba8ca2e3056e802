//! Sales, summed by quarter hour and currency: over all orders, by SKU, by country.
//!
//! What an order adds to the sums follows from its state alone, and each event adds the difference that it makes. An
//! order counts from its allocation on, in the quarter hour of `placed_at`. A refund counts for the lines that it is
//! for. What is for no line has a place of its own beside the SKUs, so the sums by SKU and of that place add up to the
//! total. The credit of an exchange counts as refunded on the first order, as long as the new order has it.

use std::collections::BTreeMap;

use domain::{
    Amount, Sku,
    order::{Line, Order, OrderEvent, OrderStatus},
    shares::{self, AdjustmentKind},
};
use infra::read_models::{SalesDimension, SalesKey, SalesTotals, Totals, quarter_of};

/// What an order adds, by SKU. None: what belongs to no line.
type BySku<'a> = BTreeMap<Option<&'a Sku>, SalesTotals>;

/// The sums that one event adds.
pub(super) fn fold(
    before: Option<&Order>,
    after: &Order,
    event: &OrderEvent,
) -> Vec<(SalesKey, SalesTotals)> {
    let may_differ = match event {
        OrderEvent::Allocated(_) => true,
        OrderEvent::PaymentRecorded(_)
        | OrderEvent::LinesCancelled(_)
        | OrderEvent::Cancelled(_)
        | OrderEvent::Expired(_)
        | OrderEvent::Returned(_)
        | OrderEvent::CreditTakenBack(_)
        | OrderEvent::RefundRequested(_) => is_reduced(after) || before.is_some_and(is_reduced),
        OrderEvent::Placed(_)
        | OrderEvent::Rejected(_)
        | OrderEvent::PaymentAdded(_)
        | OrderEvent::PaymentEnded(_)
        | OrderEvent::Paid(_)
        | OrderEvent::AuthorizationRecorded(_)
        | OrderEvent::Shipped(_)
        | OrderEvent::Delivered(_)
        | OrderEvent::ShipmentUndone(_)
        | OrderEvent::DueMoved(_) => false,
    };
    if !may_differ {
        return Vec::new();
    }
    let mut added = sums_of(after);
    for (sku, sum) in before.map(sums_of).unwrap_or_default() {
        added.entry(sku).or_default().add(&negative(&sum));
    }
    spread_over_dimensions(after, &added)
}

/// False if no column of a reduction can be above 0, so that most events need no comparison of lines.
fn is_reduced(order: &Order) -> bool {
    order.refunded().is_positive() || order.lines().iter().any(|line| line.cancelled + line.returned > 0)
}

fn negative(sum: &SalesTotals) -> SalesTotals {
    let SalesTotals { orders, lines, units, gross, discounts, tax, shipping, fees, cancelled, refunded } =
        *sum;
    SalesTotals {
        orders: -orders,
        lines: -lines,
        units: -units,
        gross: -gross,
        discounts: -discounts,
        tax: -tax,
        shipping: -shipping,
        fees: -fees,
        cancelled: -cancelled,
        refunded: -refunded,
    }
}

/// An allocated order has a payment, or was paid at allocation because its total is 0.
fn was_allocated(order: &Order) -> bool {
    order.payment_id().is_some() || order.is_paid()
}

fn sums_of(order: &Order) -> BySku<'_> {
    let mut by_sku = BySku::new();
    if !was_allocated(order) {
        return by_sku;
    }
    for line in order.lines() {
        let sum = by_sku.entry(Some(&line.sku)).or_default();
        sum.orders = 1;
        sum.lines += 1;
        sum.units += i64::from(line.quantity);
        add_line(sum, line);
    }
    add_unspread(by_sku.entry(None).or_default(), order);
    for (sku, amount) in cancelled(order) {
        by_sku.entry(sku).or_default().cancelled += wide(amount);
    }
    for (sku, amount) in refunded(order).into_iter().chain(credited(order)) {
        by_sku.entry(sku).or_default().refunded += wide(amount);
    }
    by_sku
}

fn wide(amount: Amount) -> i128 {
    amount.minor_units().into()
}

fn column(sum: &mut SalesTotals, kind: AdjustmentKind) -> &mut i128 {
    match kind {
        AdjustmentKind::Discount => &mut sum.discounts,
        AdjustmentKind::Tax => &mut sum.tax,
        AdjustmentKind::Shipping => &mut sum.shipping,
        AdjustmentKind::Fee => &mut sum.fees,
    }
}

fn add_line(sum: &mut SalesTotals, line: &Line) {
    sum.gross += wide(line.value());
    for kind in AdjustmentKind::ALL {
        *column(sum, kind) += wide(line.adjusted(kind));
    }
    if line.tax_included {
        sum.gross -= wide(line.adjusted(AdjustmentKind::Tax));
    }
}

/// Adds the adjustments that are not spread. A tax that the prices include is a part of the shipping, and beyond it of
/// the fees.
fn add_unspread(sum: &mut SalesTotals, order: &Order) {
    for adjustment in order.adjustments().iter().filter(|adjustment| !adjustment.spread) {
        let kind = adjustment.kind.unwrap_or(AdjustmentKind::of_amount(adjustment.amount));
        *column(sum, kind) += wide(adjustment.amount);
    }
    if order.prices_include_tax() {
        let of_shipping = sum.tax.min(sum.shipping.max(0));
        sum.shipping -= of_shipping;
        sum.fees -= sum.tax - of_shipping;
    }
}

/// The worth of what was cancelled or returned before it was paid. What was paid before goes back as a refund, so no
/// unit is subtracted twice.
fn cancelled(order: &Order) -> Vec<(Option<&Sku>, Amount)> {
    let left =
        |line: &Line| shares::worth_of_first(line.cancelled + line.returned, line.quantity, line.total());
    let mut worths: Vec<(Option<&Sku>, Amount)> =
        order.lines().iter().map(|line| (Some(&line.sku), left(line))).collect();
    worths.push((None, dropped(order)));
    let worth = worths.iter().fold(Amount::ZERO, |sum, (_, worth)| sum.saturating_add(*worth));
    let unpaid = order.total().saturating_sub(order.captured()).max(Amount::ZERO);
    if worth <= unpaid {
        return worths;
    }
    let weights: Vec<Amount> = worths.iter().map(|(_, worth)| (*worth).max(Amount::ZERO)).collect();
    let parts = shares::spread(unpaid, &weights).unwrap_or_default();
    worths.into_iter().zip(parts).map(|((sku, _), part)| (sku, part)).collect()
}

/// The adjustments that drop out, because the order ended before anything was shipped.
fn dropped(order: &Order) -> Amount {
    let is_ended = match order.status() {
        OrderStatus::Cancelled | OrderStatus::Expired => true,
        OrderStatus::New | OrderStatus::Placed | OrderStatus::Allocated | OrderStatus::Rejected => false,
    };
    let is_unshipped = order.lines().iter().all(|line| line.shipped == 0);
    if is_ended && is_unshipped { order.unspread() } else { Amount::ZERO }
}

/// Divides the refunded amount over the SKUs that it is for. Refunds are paid out in the order of their requests: only
/// the sum that was paid out is known here. A refund of what was paid beyond the total reduces no sale.
fn refunded(order: &Order) -> Vec<(Option<&Sku>, Amount)> {
    let at_provider = order.refunded_at_provider().min(order.refunded());
    let mut left = order.refunded().saturating_sub(at_provider);
    let mut for_no_line = at_provider;
    let mut parts = Vec::new();
    for refund in order.refunds() {
        let paid_out = refund.amount.min(left);
        left = left.saturating_sub(paid_out);
        let mut rest = paid_out;
        for part in &refund.lines {
            let amount = part.amount.min(rest);
            rest = rest.saturating_sub(amount);
            parts.push((order.line(part.line).map(|line| &line.sku), amount));
        }
        for_no_line = for_no_line.saturating_add(rest);
    }
    let beyond_total = order.captured().saturating_sub(order.total()).max(Amount::ZERO).min(order.refunded());
    parts.push((None, for_no_line.saturating_add(left).saturating_sub(beyond_total)));
    parts
}

/// What pays other orders, by the SKU that came back for it.
fn credited(order: &Order) -> Vec<(Option<&Sku>, Amount)> {
    let mut parts = Vec::new();
    for credit in order.credits() {
        let weights: Vec<Amount> = credit.lines.iter().map(|part| part.amount).collect();
        let amounts = shares::spread(credit.outstanding(), &weights);
        let amounts = amounts.unwrap_or_else(|| vec![Amount::ZERO; weights.len()]);
        let of_lines = credit.lines.iter().zip(amounts);
        parts.extend(of_lines.map(|(part, amount)| (order.line(part.line).map(|line| &line.sku), amount)));
    }
    parts
}

fn spread_over_dimensions(order: &Order, by_sku: &BySku<'_>) -> Vec<(SalesKey, SalesTotals)> {
    let (Some(currency), Some(placed_at)) = (order.currency(), order.placed_at()) else {
        return Vec::new();
    };
    let mut total = SalesTotals::default();
    for sum in by_sku.values() {
        total.add(sum);
    }
    // An order with three SKUs counts as one order.
    total.orders = total.orders.min(1);
    let country = SalesDimension::Country(order.country().unwrap_or_default().to_owned());
    let dimension =
        |sku: Option<&Sku>| sku.map_or(SalesDimension::NoLine, |sku| SalesDimension::Sku(sku.clone()));
    let by_sku = by_sku.iter().map(|(sku, sum)| (dimension(*sku), *sum));
    let sums = [(SalesDimension::All, total), (country, total)].into_iter().chain(by_sku);
    let changed = sums.filter(|(_, sum)| *sum != SalesTotals::default());
    let quarter = quarter_of(placed_at);
    changed.map(|(dimension, sum)| (SalesKey { dimension, currency, quarter }, sum)).collect()
}

#[cfg(test)]
mod tests;

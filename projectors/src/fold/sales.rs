//! Sales, summed by hour and currency: over all orders, by SKU, by country.
//!
//! An order counts from its allocation on, in the hour (UTC) of `placed_at`, and is never subtracted. Later
//! cancellations and refunds go to the same hour. A refund counts for the lines that it is for. What is for no line is
//! spread over the order's SKUs by their value, so the sums by SKU add up to the total.

use std::collections::{BTreeMap, HashMap};

use domain::{
    Sku,
    order::{Line, Order, OrderEvent},
};
use infra::{
    event_source::Partition,
    read_models::{PartitionSales, SalesDimension, SalesKey, SalesTotals},
};

const SECONDS_PER_HOUR: i64 = 3_600;

/// The sums that the events add, by partition.
#[derive(Debug, Default)]
pub(super) struct SalesFold(Vec<HashMap<SalesKey, SalesTotals>>);

impl SalesFold {
    pub(super) fn of(partitions: usize) -> Self {
        Self((0..partitions).map(|_| HashMap::new()).collect())
    }

    /// `source`: index of the partition that the event came from.
    pub(super) fn add(&mut self, source: usize, sums: Vec<(SalesKey, SalesTotals)>) {
        for (key, sum) in sums {
            self.0[source].entry(key).or_default().add(&sum);
        }
    }

    /// The sums of each partition that has any, sorted by key.
    pub(super) fn take_rows(&mut self, partitions: &[Partition]) -> Vec<PartitionSales> {
        let with_sums = partitions.iter().zip(&mut self.0).filter(|(_, sums)| !sums.is_empty());
        let rows = |(partition, sums): (&Partition, &mut HashMap<_, _>)| PartitionSales {
            partition: partition.clone(),
            sums: sorted(std::mem::take(sums)),
        };
        with_sums.map(rows).collect()
    }
}

fn sorted(sums: HashMap<SalesKey, SalesTotals>) -> Vec<(SalesKey, SalesTotals)> {
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    rows
}

/// The sums that one event adds.
pub(super) fn fold(
    before: Option<&Order>,
    after: &Order,
    event: &OrderEvent,
) -> Vec<(SalesKey, SalesTotals)> {
    let by_sku = match event {
        OrderEvent::Allocated(_) => allocated(after),
        OrderEvent::LinesCancelled(_) | OrderEvent::Cancelled(_) | OrderEvent::Expired(_) => match before {
            Some(before) if was_allocated(before) => cancelled(before, after),
            _ => return Vec::new(),
        },
        OrderEvent::PaymentRecorded(_) => {
            let refunded_before = before.map_or(0, |order| order.refunded().minor_units());
            refunded(after, refunded_before)
        }
        OrderEvent::Placed(_)
        | OrderEvent::Rejected(_)
        | OrderEvent::PaymentAdded(_)
        | OrderEvent::PaymentEnded(_)
        | OrderEvent::Paid(_)
        | OrderEvent::Shipped(_)
        | OrderEvent::Delivered(_)
        | OrderEvent::ShipmentUndone(_)
        | OrderEvent::DueMoved(_)
        | OrderEvent::Returned(_)
        | OrderEvent::RefundRequested(_) => return Vec::new(),
    };
    spread_over_dimensions(after, by_sku)
}

/// An allocated order has a payment, or was paid at allocation because its total is 0.
fn was_allocated(order: &Order) -> bool {
    order.payment_id().is_some() || order.is_paid()
}

fn allocated(order: &Order) -> BTreeMap<&Sku, SalesTotals> {
    let mut by_sku: BTreeMap<&Sku, SalesTotals> = BTreeMap::new();
    for line in order.lines() {
        let sum = by_sku.entry(&line.sku).or_default();
        sum.orders = 1;
        sum.lines += 1;
        sum.units += i64::from(line.quantity);
        sum.gross += i128::from(line.value().minor_units());
    }
    by_sku
}

fn cancelled<'a>(before: &Order, after: &'a Order) -> BTreeMap<&'a Sku, SalesTotals> {
    let mut by_sku: BTreeMap<&Sku, SalesTotals> = BTreeMap::new();
    for (old, new) in before.lines().iter().zip(after.lines()) {
        let units = new.cancelled - old.cancelled;
        if units > 0 {
            by_sku.entry(&new.sku).or_default().cancelled +=
                i128::from(new.unit_price.saturating_mul(units).minor_units());
        }
    }
    by_sku
}

fn refunded(order: &Order, refunded_before: i64) -> BTreeMap<&Sku, SalesTotals> {
    let refunded = order.refunded().minor_units();
    if refunded == refunded_before {
        return BTreeMap::new();
    }
    let shares_before = refunded_by_sku(order, refunded_before);
    let mut by_sku: BTreeMap<&Sku, SalesTotals> = BTreeMap::new();
    for (sku, share) in refunded_by_sku(order, refunded) {
        let growth = i128::from(share - shares_before.get(sku).copied().unwrap_or(0));
        by_sku.insert(sku, SalesTotals { refunded: growth, ..SalesTotals::default() });
    }
    by_sku
}

/// Divides the refunded amount of an order over its SKUs. Refunds are paid out in the order of their requests; only the
/// sum that was paid out is known here.
fn refunded_by_sku(order: &Order, refunded: i64) -> BTreeMap<&Sku, i64> {
    let (mut left, mut for_no_line) = (refunded, 0);
    let mut by_sku: BTreeMap<&Sku, i64> = BTreeMap::new();
    for refund in order.refunds() {
        let paid_out = refund.amount.minor_units().min(left);
        left -= paid_out;
        let mut for_lines = 0;
        for part in &refund.lines {
            let amount = part.amount.minor_units().min(paid_out - for_lines);
            for_lines += amount;
            if let Some(line) = order.line(part.line) {
                *by_sku.entry(&line.sku).or_default() += amount;
            }
        }
        for_no_line += paid_out - for_lines;
    }
    for (sku, share) in shares(order.lines(), for_no_line + left) {
        *by_sku.entry(sku).or_default() += share;
    }
    by_sku
}

/// Divides an amount over the SKUs of an order in proportion to their value, or to their units if all are
/// free. The shares add up to the amount: the rest of rounding down goes to the largest remainders. Pass the
/// cumulative amount, so that the shares do not depend on the steps in which it was refunded.
fn shares(lines: &[Line], amount: i64) -> BTreeMap<&Sku, i64> {
    let weights = |of: fn(&Line) -> i128| {
        let mut weights: BTreeMap<&Sku, i128> = BTreeMap::new();
        for line in lines {
            *weights.entry(&line.sku).or_default() += of(line);
        }
        let sum: i128 = weights.values().sum();
        (weights, sum)
    };
    let (mut by_sku, mut sum) = weights(|line| i128::from(line.value().minor_units()));
    if sum == 0 {
        (by_sku, sum) = weights(|line| i128::from(line.quantity));
    }
    let amount_wide = i128::from(amount);
    let mut rest = amount;
    let mut remainders = Vec::with_capacity(by_sku.len());
    let mut shares = BTreeMap::new();
    for (sku, weight) in by_sku {
        let share = i64::try_from(amount_wide * weight / sum).unwrap_or(amount);
        rest -= share;
        remainders.push((amount_wide * weight % sum, sku));
        shares.insert(sku, share);
    }
    // Largest remainder first; ties go to the lower SKU.
    remainders.sort_by(|(a, a_sku), (b, b_sku)| b.cmp(a).then_with(|| a_sku.cmp(b_sku)));
    for (_, sku) in remainders.into_iter().take(usize::try_from(rest).unwrap_or(0)) {
        *shares.entry(sku).or_default() += 1;
    }
    shares
}

fn spread_over_dimensions(
    order: &Order,
    by_sku: BTreeMap<&Sku, SalesTotals>,
) -> Vec<(SalesKey, SalesTotals)> {
    let (Some(currency), Some(placed_at)) = (order.currency(), order.placed_at()) else {
        return Vec::new();
    };
    if by_sku.is_empty() {
        return Vec::new();
    }
    let hour = placed_at.as_second().div_euclid(SECONDS_PER_HOUR);
    let mut total = SalesTotals::default();
    for sum in by_sku.values() {
        total.add(sum);
    }
    // An order with three SKUs counts as one order.
    total.orders = total.orders.min(1);
    let country = SalesDimension::Country(order.country().unwrap_or_default().to_owned());
    let key = |dimension| SalesKey { dimension, currency, hour };
    let mut sums = Vec::with_capacity(by_sku.len() + 2);
    sums.push((key(SalesDimension::All), total));
    sums.push((key(country), total));
    sums.extend(by_sku.into_iter().map(|(sku, sum)| (key(SalesDimension::Sku(sku.clone())), sum)));
    sums
}

#[cfg(test)]
mod tests;

//! Sums over all orders, payments and SKUs at given instants.

use std::{
    collections::BTreeMap,
    io,
    ops::{AddAssign, SubAssign},
};

use domain::{Currency, RecordedEvent, Timestamp};
use infra::read_models::MoneyTotals;
use serde::Serialize;

use super::{Faults, FoldedStream, StreamState, Visitor, visit};
use crate::by_stream::EventsByStream;

/// Sums at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Number of orders by status.
    pub orders: BTreeMap<&'static str, i128>,
    pub currencies: BTreeMap<String, CurrencyTotals>,
    /// SKUs with at least one event.
    pub skus: i128,
    /// Units.
    pub on_hand: i128,
    /// Units.
    pub reserved: i128,
}

/// Sums of one currency, in minor units. The credits of exchanges move no money and are left out of the payments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CurrencyTotals {
    /// Number of orders.
    pub orders: i128,
    /// What all orders cost, as placed.
    pub total: i128,
    /// What customers owe in all.
    pub owed: i128,
    /// Money that came in.
    pub captured: i128,
    /// Paid out.
    pub refunded: i128,
    /// Taken by disputes that are open or lost.
    pub disputed: i128,
}

/// What one stream adds to the totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    order: Option<&'static str>,
    currency: Option<(Currency, CurrencyTotals)>,
    skus: i128,
    on_hand: i128,
    reserved: i128,
}

impl Share {
    fn of(state: &StreamState) -> Self {
        match state {
            StreamState::Stock(stock) => {
                let levels = stock.levels();
                let (on_hand, reserved) = (levels.on_hand.into(), levels.reserved.into());
                Self { skus: 1, on_hand, reserved, ..Self::default() }
            }
            StreamState::Order(order) => {
                let sums = CurrencyTotals {
                    orders: 1,
                    total: order.total().minor_units().into(),
                    owed: order.owed().minor_units().into(),
                    ..CurrencyTotals::default()
                };
                let currency = order.currency().map(|currency| (currency, sums));
                Self { order: Some(order.status().as_str()), currency, ..Self::default() }
            }
            StreamState::Payment(payment) => {
                let MoneyTotals { captured, refunded, disputed } = MoneyTotals::of_payment(payment);
                let sums = CurrencyTotals { captured, refunded, disputed, ..CurrencyTotals::default() };
                Self { currency: payment.currency().map(|currency| (currency, sums)), ..Self::default() }
            }
            StreamState::Other => Self::default(),
        }
    }
}

impl Totals {
    fn add(&mut self, share: &Share) {
        self.change(share, 1, |sum, part| *sum += part);
    }

    fn subtract(&mut self, share: &Share) {
        self.change(share, -1, |sum, part| *sum -= part);
    }

    fn change(
        &mut self,
        share: &Share,
        sign: i128,
        currency_sum: impl FnOnce(&mut CurrencyTotals, CurrencyTotals),
    ) {
        if let Some(status) = share.order {
            *self.orders.entry(status).or_default() += sign;
        }
        if let Some((currency, sums)) = share.currency {
            currency_sum(self.currencies.entry(currency.to_string()).or_default(), sums);
        }
        self.skus += sign * share.skus;
        self.on_hand += sign * share.on_hand;
        self.reserved += sign * share.reserved;
    }

    /// Adds the changes between two instants.
    fn advance(&mut self, changes: &Self) {
        for (status, count) in &changes.orders {
            *self.orders.entry(status).or_default() += count;
        }
        for (currency, sums) in &changes.currencies {
            *self.currencies.entry(currency.clone()).or_default() += *sums;
        }
        self.skus += changes.skus;
        self.on_hand += changes.on_hand;
        self.reserved += changes.reserved;
    }

    /// Leaves out statuses without orders, and currencies that nothing had yet.
    fn without_zeros(mut self) -> Self {
        self.orders.retain(|_, count| *count != 0);
        self.currencies.retain(|_, sums| *sums != CurrencyTotals::default());
        self
    }
}

impl AddAssign for CurrencyTotals {
    fn add_assign(&mut self, other: Self) {
        self.orders += other.orders;
        self.total += other.total;
        self.owed += other.owed;
        self.captured += other.captured;
        self.refunded += other.refunded;
        self.disputed += other.disputed;
    }
}

impl SubAssign for CurrencyTotals {
    fn sub_assign(&mut self, other: Self) {
        self.orders -= other.orders;
        self.total -= other.total;
        self.owed -= other.owed;
        self.captured -= other.captured;
        self.refunded -= other.refunded;
        self.disputed -= other.disputed;
    }
}

/// The totals at each of these instants, which ascend. An instant includes the events recorded at it. Blocks the
/// thread.
pub fn totals_at(
    events: &mut EventsByStream,
    instants: &[Timestamp],
) -> Result<(Vec<Totals>, Faults), io::Error> {
    let changes = vec![Totals::default(); instants.len()];
    let mut changes = Changes { instants, changes, share: Share::default() };
    let faults = visit(events, &mut changes)?;
    let mut sum = Totals::default();
    let totals = changes.changes.iter().map(|since_last| {
        sum.advance(since_last);
        sum.clone().without_zeros()
    });
    Ok((totals.collect(), faults))
}

/// The changes that each instant includes and the one before it does not.
struct Changes<'a> {
    instants: &'a [Timestamp],
    changes: Vec<Totals>,
    /// What the current stream added at its event before.
    share: Share,
}

impl Visitor for Changes<'_> {
    type Error = io::Error;

    fn event(&mut self, event: &RecordedEvent, stream: &FoldedStream) -> Result<(), io::Error> {
        if stream.revision == 0 {
            self.share = Share::default();
        }
        let index = self.instants.partition_point(|instant| *instant < event.recorded_at);
        if let Some(changes) = self.changes.get_mut(index) {
            changes.subtract(&self.share);
            self.share = Share::of(&stream.state);
            changes.add(&self.share);
        }
        Ok(())
    }

    fn end(&mut self, _: &FoldedStream) -> Result<(), io::Error> {
        Ok(())
    }
}

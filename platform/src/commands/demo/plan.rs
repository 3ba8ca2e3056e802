//! The orders of the past weeks. The same seed gives the same orders.

use std::collections::BTreeMap;

use domain::Timestamp;
use fastrand::Rng;
use jiff::{SignedDuration, tz::TimeZone};
use serde::Serialize;

use super::goods::{self, Chance, GOODS, SCARCE};

const DAYS: f64 = 42.0;
/// An order below it pays for its delivery, in minor units.
const FREE_DELIVERY_FROM: i64 = 5_000;
const DELIVERY: i64 = 495;

/// A request to place an order, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct OrderBody {
    customer_id: Option<String>,
    currency: &'static str,
    country: &'static str,
    lines: Vec<Line>,
    adjustments: Vec<Adjustment>,
    prices_include_tax: bool,
    pub reference: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<Charge>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Line {
    sku: &'static str,
    quantity: u32,
    unit_price: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Adjustment {
    kind: &'static str,
    code: &'static str,
    amount: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Charge {
    pub method: &'static str,
}

/// An order and what becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedOrder {
    pub body: OrderBody,
    pub fate: Fate,
}

/// Each contains what comes before it, from `Paid` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// The provider does not answer its charge.
    Stuck,
    Declined,
    /// Paid and then cancelled.
    Cancelled,
    Paid,
    Shipped,
    Delivered,
    Returned,
}

impl OrderBody {
    /// An order of now.
    pub fn random(rng: &mut Rng, reference: String) -> Self {
        let (country, currency) = goods::country(rng);
        let basket = if rng.chance(2) { vec![(SCARCE.0, SCARCE.1, 1)] } else { goods::basket(rng) };
        let goods: i64 = basket.iter().map(|(_, price, quantity)| price * i64::from(*quantity)).sum();
        let mut adjustments = Vec::new();
        if rng.chance(8) {
            adjustments.push(Adjustment { kind: "discount", code: "AUTUMN10", amount: -goods / 10 });
        }
        if goods < FREE_DELIVERY_FROM {
            adjustments.push(Adjustment { kind: "shipping", code: "standard", amount: DELIVERY });
        }
        let line = |(sku, unit_price, quantity)| Line { sku, quantity, unit_price };
        Self {
            customer_id: goods::customer(rng),
            currency,
            country,
            lines: basket.into_iter().map(line).collect(),
            adjustments,
            prices_include_tax: true,
            reference,
            placed_at: None,
            payment: None,
        }
    }

    pub fn charged_by(self, method: &'static str) -> Self {
        Self { payment: Some(Charge { method }), ..self }
    }
}

/// The orders from the earliest to the latest.
pub(super) fn orders(seed: u64, now: Timestamp, count: u32) -> Vec<PlannedOrder> {
    let mut rng = Rng::with_seed(seed);
    let mut times: Vec<Timestamp> = (0..count).map(|_| placed_at(&mut rng, now)).collect();
    times.sort_unstable();
    // The stuck order is one of today.
    let stuck = times.len() - 1;
    let numbered = times.into_iter().enumerate();
    numbered
        .map(|(number, placed_at)| {
            let body = OrderBody::random(&mut rng, format!("WEB-{}", 100_001 + number));
            let age = now.duration_since(placed_at);
            let fate = if number == stuck { Fate::Stuck } else { fate(&mut rng, age) };
            let body = if fate == Fate::Stuck { body.charged_by("error") } else { body };
            PlannedOrder { body: OrderBody { placed_at: Some(placed_at), ..body }, fate }
        })
        .collect()
}

/// The shop grows: later days have more orders.
fn placed_at(rng: &mut Rng, now: Timestamp) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "from 0 to 42")]
    let age_days = (rng.f64().powf(1.15) * DAYS) as i64;
    let day = now.to_zoned(TimeZone::UTC).start_of_day().map_or(now, |day| day.timestamp());
    let minutes = 60 * i64::try_from(goods::hour(rng)).unwrap_or_default() + rng.i64(0..60);
    let at = day - SignedDuration::from_hours(24 * age_days)
        + SignedDuration::from_mins(minutes)
        + SignedDuration::from_secs(rng.i64(0..60));
    if at < now { at } else { at - SignedDuration::from_hours(24) }
}

fn fate(rng: &mut Rng, age: SignedDuration) -> Fate {
    let days = age.as_hours() / 24;
    match rng.u32(0..100) {
        0..3 => Fate::Declined,
        3..6 => Fate::Cancelled,
        _ if days < 1 => Fate::Paid,
        // The warehouse is a little behind.
        6..9 if days < 4 => Fate::Paid,
        _ if days < 4 => Fate::Shipped,
        9..15 => Fate::Returned,
        _ => Fate::Delivered,
    }
}

/// What is received of each SKU, so that all orders have their goods except for some of the scarce ones.
pub(super) fn receipts(seed: u64, orders: &[PlannedOrder]) -> BTreeMap<&'static str, u32> {
    let mut rng = Rng::with_seed(!seed);
    let mut wanted: BTreeMap<&'static str, u32> = BTreeMap::new();
    for line in orders.iter().flat_map(|order| &order.body.lines) {
        *wanted.entry(line.sku).or_default() += line.quantity;
    }
    let mut receipts: BTreeMap<&'static str, u32> = GOODS
        .iter()
        .map(|(sku, _)| (*sku, wanted.get(sku).copied().unwrap_or_default() + rng.u32(4..160)))
        .collect();
    let scarce = wanted.get(SCARCE.0).copied().unwrap_or_default();
    receipts.insert(SCARCE.0, (scarce * 2 / 3).max(1));
    receipts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_orders_and_stock_for_all_but_the_scarce_ones() {
        let now = "2026-11-20T15:00:00Z".parse().unwrap();
        let plan = orders(7, now, 2_000);
        assert_eq!(plan, orders(7, now, 2_000));
        assert_ne!(plan, orders(8, now, 2_000));

        let oldest = now - SignedDuration::from_hours(24 * 43);
        let times: Vec<Timestamp> = plan.iter().map(|order| order.body.placed_at.unwrap()).collect();
        assert!(times.is_sorted() && times.iter().all(|at| (oldest..now).contains(at)));
        assert_eq!(plan.iter().filter(|order| order.fate == Fate::Stuck).count(), 1);
        for fate in
            [Fate::Declined, Fate::Cancelled, Fate::Paid, Fate::Shipped, Fate::Delivered, Fate::Returned]
        {
            assert!(plan.iter().any(|order| order.fate == fate), "{fate:?}");
        }

        let received = receipts(7, &plan);
        for (sku, units) in &received {
            let lines = plan.iter().flat_map(|order| &order.body.lines).filter(|line| line.sku == *sku);
            let wanted: u32 = lines.map(|line| line.quantity).sum();
            assert_eq!(*units >= wanted, *sku != SCARCE.0, "{sku}: {units} for {wanted}");
        }
    }
}

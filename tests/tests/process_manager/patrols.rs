//! The sweep and the timers go on past candidates that fail, hang or panic.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use domain::{PaymentId, Timestamp};
use infra::read_models::{OrderAt, OverdueQueries, PaymentAt, ReadModelError};

use super::*;
use crate::support::{PATIENCE, TestClock};

/// Lists these overdue orders, and nothing else.
struct Overdue {
    orders: Vec<OrderId>,
    panics: AtomicBool,
}

impl Overdue {
    fn of(orders: Vec<OrderId>) -> Self {
        Self { orders, panics: AtomicBool::new(false) }
    }
}

#[async_trait]
impl OverdueQueries for Overdue {
    async fn ended_orders_with_reservations(
        &self,
        _after: Option<OrderId>,
        _limit: usize,
    ) -> Result<Vec<OrderId>, ReadModelError> {
        Ok(Vec::new())
    }

    async fn placed_orders_recorded_before(
        &self,
        _before: Timestamp,
        _after: Option<OrderAt>,
        _limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError> {
        Ok(Vec::new())
    }

    async fn orders_due_before(
        &self,
        now: Timestamp,
        after: Option<OrderAt>,
        limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError> {
        assert!(!self.panics.load(Ordering::Acquire), "the test makes this task panic");
        let times = (0..).map(|second| {
            now - jiff::SignedDuration::from_hours(1) + jiff::SignedDuration::from_secs(second)
        });
        let all = times.zip(self.orders.iter().copied());
        let begin = after.map_or(0, |(_, after)| self.orders.iter().position(|id| *id == after).unwrap() + 1);
        Ok(all.skip(begin).take(limit).collect())
    }

    async fn payments_awaiting_provider(
        &self,
        _updated_before: Timestamp,
        _after: Option<PaymentId>,
        _limit: usize,
    ) -> Result<Vec<PaymentId>, ReadModelError> {
        Ok(Vec::new())
    }

    async fn authorizations_run_out_by(
        &self,
        _now: Timestamp,
        _after: Option<PaymentAt>,
        _limit: usize,
    ) -> Result<Vec<PaymentAt>, ReadModelError> {
        Ok(Vec::new())
    }
}

fn quiet(time: &TestClock) -> ShopOptions {
    ShopOptions { clock: time.clock(), process_manager: false, projectors: false, ..ShopOptions::default() }
}

/// A shop whose first orders cannot be read, and which lists all of its orders as overdue.
async fn shop_with_failing_orders(failing: usize, fault: Spoiled) -> (Shop, OrderId) {
    let (time, due) = (TestClock::default(), due_soon());
    let quiet = quiet(&time);
    let shop = Shop::with(quiet.clone()).await;
    shop.receive("a", 2_000).await;
    let mut orders = Vec::new();
    for number in 0..=failing {
        orders.push(id_of(&place(&shop, &number.to_string(), "a", due.clone()).await.expect(201)));
    }
    let mut shop = shop.crash_into(quiet).await;
    let healthy = *orders.last().unwrap();
    for order in &orders[..failing] {
        shop.store.spoil(*order, fault);
    }
    let log = shop.log().await;
    shop.save_reacted_up_to(log.0.last().unwrap().position).await;
    shop.overdue = Arc::new(Overdue::of(orders));
    time.advance_minutes(DUE_PASSED_MINUTES);
    shop.start_process_manager();
    (shop, healthy)
}

fn expired(log: &crate::support::Log, order: OrderId) -> bool {
    log.types(order).contains(&"order.expired.v1".to_owned())
}

/// More failing orders than fit on one page of candidates.
#[tokio::test]
async fn an_order_behind_thousands_of_unreadable_ones_expires() {
    let (shop, healthy) = shop_with_failing_orders(1_100, Spoiled::UnknownTypes).await;
    shop.until("the healthy order expires", |log| expired(log, healthy)).await;
}

/// The lock of an order is held for long, as by a hanging request.
#[tokio::test]
async fn an_order_expires_beside_orders_whose_locks_are_held() {
    let (time, due) = (TestClock::default(), due_soon());
    let mut shop = Shop::with(quiet(&time)).await;
    shop.receive("a", 1_000).await;
    let (mut orders, mut locks) = (Vec::new(), Vec::new());
    for number in 0..40 {
        orders.push(id_of(&place(&shop, &number.to_string(), "a", due.clone()).await.expect(201)));
    }
    let healthy = orders.pop().unwrap();
    for order in &orders {
        locks.push(shop.checkout.lock_order(*order).await.unwrap());
    }
    orders.push(healthy);
    shop.overdue = Arc::new(Overdue::of(orders));
    time.advance_minutes(DUE_PASSED_MINUTES);
    shop.start_process_manager();
    shop.until("the healthy order expires", |log| expired(log, healthy)).await;
}

#[tokio::test]
async fn a_task_that_panics_ends_the_role() {
    let overdue = Arc::new(Overdue::of(Vec::new()));
    let mut shop = Shop::with(ShopOptions { process_manager: false, ..ShopOptions::default() }).await;
    shop.overdue = overdue.clone();
    shop.start_process_manager();
    overdue.panics.store(true, Ordering::Release);
    tokio::time::timeout(PATIENCE, shop.process_manager_ended()).await.expect("the role ends");
}

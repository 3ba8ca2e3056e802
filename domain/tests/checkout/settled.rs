//! What must be true after all faults have stopped and all reactions are done.

use std::collections::BTreeMap;

use domain::{
    Amount, OrderId, Sku,
    checkout::payment_of_credit,
    exchange::ExchangeOutcome,
    order::{Order, OrderStatus, PaymentTerms, RefundRecord, Tender},
    payment::{Payment, Refund, RefundReason, RefundState},
};

use crate::{process::Process, world::World};

/// Lets every process finish and sweep until no event follows.
pub fn quiesce(world: &mut World, processes: &mut [Process]) {
    const ROUNDS_MAX: usize = 20;
    for _ in 0..ROUNDS_MAX {
        let length = world.log.len();
        for process in processes.iter_mut() {
            process.drain(world);
            process.sweep(world);
            process.drain(world);
        }
        if world.log.len() == length {
            return;
        }
    }
    panic!("events still follow after {ROUNDS_MAX} rounds");
}

pub fn everything_adds_up(world: &World) {
    for (id, order) in world.orders() {
        assert_ne!(order.status(), OrderStatus::Placed, "{id} was left placed");
        stock_adds_up(world, id, order);
        money_adds_up(world, order);
    }
    credits_add_up(world);
    for (sku, stock) in world.stocks() {
        for (id, held) in stock.open_reservations() {
            assert!(!world.order(*id).status().is_final(), "{held:?} of {sku} is open for an ended order");
        }
    }
}

/// An order reserves what it still has to ship, and each of its shipments and returns moved stock once.
fn stock_adds_up(world: &World, id: OrderId, order: &Order) {
    let mut expected: BTreeMap<&Sku, [u32; 3]> = BTreeMap::new();
    for line in order.lines().iter().filter(|line| line.stocked) {
        let [open, shipped, _] = expected.entry(&line.sku).or_default();
        *open += if order.status().is_final() { 0 } else { line.open() };
        *shipped += line.shipped;
    }
    for part in order.returns().iter().flat_map(|record| &record.lines).filter(|part| part.restock) {
        let line = order.line(part.line).expect("the order has the returned line");
        if let Some([_, _, returned]) = expected.get_mut(&line.sku).filter(|_| line.stocked) {
            *returned += part.quantity;
        }
    }
    for (sku, [open, shipped, returned]) in expected {
        let held = world.stock(sku).reservation(id).map_or(0, |held| held.quantity);
        assert_eq!(held, open, "{sku} held for {id}, which is {}", order.status().as_str());
        assert_eq!(world.units(sku, id), (shipped, returned), "{sku} shipped for and returned from {id}");
    }
}

/// Each exchange took place or did not. What the first order pays is what the new order has of it, so all real payments
/// together hold what all orders hold.
fn credits_add_up(world: &World) {
    let mut outstanding = Amount::ZERO;
    for id in world.exchanges() {
        let (exchange, requested) = world.exchange(id).expect("an exchange that was requested");
        let (first, new) = (world.order(requested.order_id), world.order(requested.order.order_id));
        let payment = world.payment(payment_of_credit(requested));
        let credit = first.credits().iter().find(|credit| credit.exchange_id == id);
        match exchange.outcome().expect("every exchange ends") {
            ExchangeOutcome::Settled(settled) => {
                let credit = credit.expect("the units of a settled exchange are back");
                assert_eq!(credit.amount, payment.captured());
                assert_eq!(credit.outstanding(), payment.captured().saturating_sub(payment.refunded()));
                assert_eq!(new.exchange_of(), Some(requested.source()));
                let record = first.returns().iter().find(|record| record.return_id == requested.return_id);
                assert_eq!(record.map(|record| record.refund_amount), Some(settled.refund_amount));
            }
            ExchangeOutcome::Refused(_) => {
                assert_eq!(credit, None, "a refused exchange takes nothing back");
                assert!(new.status().is_final() && !new.captured().is_positive(), "{new:?}");
            }
        }
        outstanding = credit.map_or(outstanding, |credit| outstanding.saturating_add(credit.outstanding()));
    }
    let kept = |payment: &Payment| {
        payment.captured().saturating_sub(payment.refunded()).saturating_sub(payment.disputed())
    };
    let tenders = world.orders().flat_map(|(_, order)| order.tenders());
    let real =
        tenders.map(|tender| world.payment(tender.payment_id)).filter(|payment| payment.credit().is_none());
    let by_orders = world
        .orders()
        .map(|(_, order)| order.captured().saturating_sub(order.refunded()).saturating_sub(order.disputed()));
    assert_eq!(sum(real.map(|payment| kept(&payment))), sum(by_orders).saturating_sub(outstanding));
}

/// The order has recorded the amounts of its payments, and an ended order has requested the refund of all it does not
/// keep.
fn money_adds_up(world: &World, order: &Order) {
    let payments: Vec<Payment> =
        order.tenders().iter().map(|tender| world.payment(tender.payment_id)).collect();
    let left = |payment: &Payment| {
        payment.captured().saturating_sub(payment.refunded()).saturating_sub(payment.disputed())
    };
    let on_order = order.captured().saturating_sub(order.refunded()).saturating_sub(order.disputed());
    assert_eq!(sum(payments.iter().map(left)), on_order);
    for (tender, payment) in order.tenders().iter().zip(&payments) {
        tender_adds_up(order, tender, payment);
    }
    net_adds_up(order, &payments);
    if order.status().is_final() {
        let kept: i64 = payments.iter().map(kept_in_time).sum();
        // The order repeats a refund that failed only when an operator asks for it.
        let allowed = order.owed().saturating_add(order.refunds_failed()).saturating_add(order.credited());
        assert!(kept <= allowed.minor_units(), "kept {kept}: {payments:?} of {order:?}");
    }
}

/// The payments of a net order of which units left ask for no more than it still costs.
fn net_adds_up(order: &Order, payments: &[Payment]) {
    let has_changed = !order.shipments().is_empty() || !order.cancellations().is_empty();
    let is_open = !order.status().is_final() && order.refunds_failed().is_zero();
    if order.terms() != PaymentTerms::Net || !has_changed || !is_open {
        return;
    }
    // Without payments that have ended, and without what the provider took beyond what it was asked for.
    let asked = |(tender, payment): (&Tender, &Payment)| {
        let beyond = payment.captured().saturating_sub(tender.amount).max(Amount::ZERO);
        payment.amount().saturating_sub(beyond)
    };
    let open = order.tenders().iter().zip(payments).filter(|(_, payment)| !payment.is_ended());
    let asked = sum(open.map(asked));
    let whole = order.owed().saturating_add(sum(order.refunds().iter().map(|refund| refund.amount)));
    let whole = whole.saturating_add(order.credited());
    assert!(asked <= whole.max(order.captured()), "{payments:?} of {order:?}");
}

/// Money that arrived by hand after the end stays until the order refunds it.
fn kept_in_time(payment: &Payment) -> i64 {
    let standing = payment.refunds().iter().filter(|refund| refund.state != RefundState::Failed);
    let requested_back = standing.map(|refund| refund.amount.minor_units()).sum::<i64>();
    payment.captured().saturating_sub(payment.captured_late()).minor_units() - requested_back
}

fn sum(amounts: impl Iterator<Item = Amount>) -> Amount {
    amounts.fold(Amount::ZERO, Amount::saturating_add)
}

fn tender_adds_up(order: &Order, tender: &Tender, payment: &Payment) {
    assert_eq!(payment.captured(), tender.recorded.captured);
    assert_eq!(payment.refunded(), tender.recorded.refunded);
    assert_eq!(payment.refunds_failed(), tender.recorded.refunds_failed);

    let of_order = payment
        .refunds()
        .iter()
        .filter(|refund| matches!(refund.reason, RefundReason::Return | RefundReason::Requested));
    let mut requested_at_payment: BTreeMap<_, Amount> = BTreeMap::new();
    for part in of_order {
        let whole = requested_at_payment.entry(part.part_of.unwrap_or(part.refund_id)).or_default();
        *whole = whole.saturating_add(part.amount);
    }
    let is_its_own = |refund: &&RefundRecord| refund.payment_id == Some(tender.payment_id);
    let by_order = order.refunds().iter().filter(is_its_own).filter(|refund| !refund.at_closing);
    let requested_by_order: BTreeMap<_, _> =
        by_order.map(|refund| (refund.refund_id, refund.amount)).collect();
    assert_eq!(requested_at_payment, requested_by_order);
    for refund in order.refunds().iter().filter(is_its_own).filter(|refund| refund.at_closing) {
        let is_part =
            |part: &&Refund| part.refund_id == refund.refund_id || part.part_of == Some(refund.refund_id);
        let parts = payment.refunds().iter().filter(is_part).map(|part| part.amount);
        assert_eq!(sum(parts), refund.amount);
    }

    if order.status().is_final() {
        assert_eq!(payment.amount_due_at_closing(), tender.kept_at_closing, "not closed: {payment:?}");
        // The rest of an authorisation is voided once shipped goods are captured.
        let waits_for_capture = payment.capture_due() > payment.captured();
        let is_voided = !payment.capturable().is_positive() || payment.void_requested();
        assert!(is_voided || waits_for_capture, "not voided: {payment:?}");
    } else {
        assert!(!payment.is_closed());
        assert_eq!(payment.order_id(), order.order_id());
        terms_add_up(order, tender, payment);
    }
}

/// The payment of an open order knows what it is to take, and the order knows what is authorized.
fn terms_add_up(order: &Order, tender: &Tender, payment: &Payment) {
    if order.terms().is_prepaid() {
        assert_eq!(payment.amount(), tender.amount);
        return;
    }
    assert!(!order.awaits_payment() || order.terms() == PaymentTerms::OnShipment, "a net order expires");
    let by_order = order.refunds().iter().filter(|refund| !refund.at_closing).map(|refund| refund.amount);
    let by_order = sum(by_order).saturating_add(order.credited());
    let whole = order.owed().saturating_add(by_order);
    let has_changed = !order.shipments().is_empty() || !order.cancellations().is_empty();
    // A refund that failed after the last change is a part of the amounts until the next one.
    if has_changed && order.refunds_failed().is_zero() {
        if order.terms() == PaymentTerms::OnShipment {
            assert_eq!(payment.amount(), whole, "{payment:?} of {order:?}");
            let due = order.owed_for_shipped().saturating_add(by_order);
            assert_eq!(payment.capture_due(), due, "{payment:?} of {order:?}");
        } else if tender.ending.is_some() {
            // It keeps its amount, and asks for nothing.
            assert!(tender.asks_for().is_zero(), "{tender:?}");
        } else {
            let most = tender.amount.min(whole).max(payment.captured());
            assert!(payment.amount() <= most, "{payment:?} of {order:?}");
        }
    }
    if order.terms() == PaymentTerms::OnShipment && payment.authorized().is_positive() {
        let known = order.authorized().max(order.captured());
        assert_eq!(known, payment.authorized(), "{payment:?} of {order:?}");
    }
}

//! Lists the unfinished work. After the last fault the list must become empty within a time limit (invariants
//! *everything drains* and *money agrees*).

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Amount, OrderId, PaymentId, Sku, StreamName,
    checkout::{WhenDue, when_due},
    order::{Order, OrderDecider, OrderStatus, PaymentTerms},
    payment::{Payment, PaymentDecider, PaymentState, RefundReason},
    stock::StockEvent,
};
use infra::{event_source::Partition, operations::parked::ParkedReaction};

use crate::{
    environment::Environment,
    exchanges::exchanged_in_part,
    isolation::{self, unreadable_stream},
    receipts::received_in_part,
};

/// The ids of all orders of the log.
fn orders(env: &Environment) -> Vec<OrderId> {
    let log = env.log.lock();
    let ids: BTreeSet<OrderId> = log
        .events()
        .iter()
        .filter_map(|event| match event.stream {
            StreamName::Order(id) => Some(id),
            StreamName::Stock(_)
            | StreamName::Payment(_)
            | StreamName::Receipt(_)
            | StreamName::Exchange(_) => None,
        })
        .collect();
    ids.into_iter().collect()
}

/// True if an order may still expire.
pub fn any_may_expire(env: &Environment) -> bool {
    orders(env).into_iter().any(|id| {
        let order = env.folded::<OrderDecider>(&id.into(), usize::MAX);
        order.awaits_payment() && order.payment_due_at().is_some()
    })
}

/// True if the projectors and the process manager have read the whole log.
fn caught_up(env: &Environment) -> bool {
    let last = env.log.lock().last_position();
    let projected = env.tables.lock().checkpoint(&Partition::whole_log());
    projected.map(|reached| reached.position) == last && env.positions.lock().furthest() == last
}

/// Describes each piece of unfinished work that no lasting failure holds up.
pub fn unfinished_work(env: &Environment) -> Vec<String> {
    let (mut unfinished, mut held_up) = (Vec::new(), BTreeSet::new());
    if !caught_up(env) {
        unfinished.push("everything drains: the log is not read to its end".to_owned());
    }
    let parked: Vec<ParkedReaction> = env.positions.lock().parked().cloned().collect();
    let moved = moved_units(env);
    for id in orders(env) {
        let order = env.folded::<OrderDecider>(&id.into(), usize::MAX);
        if isolation::is_held_up(env, id, &order) {
            held_up.extend(payment_ids(id, &order));
            continue;
        }
        let payments: Vec<(PaymentId, Payment)> = payment_ids(id, &order)
            .into_iter()
            .map(|id| (id, env.folded::<PaymentDecider>(&id.into(), usize::MAX)))
            .collect();
        if needs_unreadable_stock(&order) {
            if !parked.iter().any(|entry| entry.stream == id.into()) {
                unfinished.push(format!("isolation: {id} needs an unreadable stream, and is not parked"));
            }
        } else {
            check_order(&mut unfinished, id, &order, &moved);
            check_not_parked(&mut unfinished, id, &payments, &parked);
        }
        for (payment_id, payment) in &payments {
            check_payment(&mut unfinished, (id, *payment_id), &order, payment);
            check_provider(&mut unfinished, env, *payment_id, payment);
        }
        let payments: Vec<Payment> = payments.into_iter().map(|(_, payment)| payment).collect();
        check_money(&mut unfinished, id, &order, &payments);
        if when_due(&order, &payments, env.now()) != WhenDue::Nothing {
            unfinished.push(format!("everything drains: {id} is overdue, and neither paid nor expired"));
        }
    }
    unfinished.extend(received_in_part(env));
    unfinished.extend(exchanged_in_part(env));
    if !env.ledger.lock().is_quiet(&held_up) {
        unfinished.push("everything drains: the provider has open work".to_owned());
    }
    unfinished
}

/// The payments of an order. One that has none yet is checked for its first payment.
pub fn payment_ids(id: OrderId, order: &Order) -> Vec<PaymentId> {
    match order.tenders() {
        [] => vec![PaymentId::of_order(id)],
        tenders => tenders.iter().map(|tender| tender.payment_id).collect(),
    }
}

/// The order and its payments have the same money in all. An ended order keeps what is owed.
fn check_money(unfinished: &mut Vec<String>, id: OrderId, order: &Order, payments: &[Payment]) {
    let sum = |of: fn(&Payment) -> Amount| {
        payments.iter().fold(Amount::ZERO, |sum, payment| sum.saturating_add(of(payment))).minor_units()
    };
    let on_payments = sum(Payment::captured) - sum(Payment::refunded) - sum(Payment::disputed);
    let on_order =
        order.captured().saturating_sub(order.refunded()).saturating_sub(order.disputed()).minor_units();
    if on_order != on_payments {
        unfinished.push(format!("money agrees: {id} shows {on_order}, and its payments {on_payments}"));
    }
    if !order.status().is_final() {
        return;
    }
    // Money that arrived by hand after the end stays until a client refunds it.
    let lost = sum(Payment::refunded) + sum(Payment::disputed);
    let kept = sum(Payment::captured) - sum(Payment::captured_late) - lost;
    // The order repeats a refund that failed only when an operator asks for it.
    let to_keep = order.owed().saturating_add(order.refunds_failed()).saturating_add(order.credited());
    if kept > to_keep.minor_units() {
        unfinished.push(format!(
            "money agrees: the ended order {id} keeps {kept}, but only {} is owed",
            order.owed()
        ));
    }
}

/// True if the order has a line of [`UNREADABLE_SKU`](crate::plan::UNREADABLE_SKU). No reaction to it can finish.
fn needs_unreadable_stock(order: &Order) -> bool {
    order.lines().iter().any(|line| line.stocked && StreamName::from(line.sku.clone()) == unreadable_stream())
}

fn check_not_parked(
    unfinished: &mut Vec<String>,
    id: OrderId,
    payments: &[(PaymentId, Payment)],
    parked: &[ParkedReaction],
) {
    let of_payments = payments.iter().map(|(payment, _)| StreamName::from(*payment));
    let streams: Vec<StreamName> = [id.into()].into_iter().chain(of_payments).collect();
    if let Some(entry) = parked.iter().find(|entry| streams.contains(&entry.stream)) {
        unfinished.push(format!("isolation: a reaction of another order is parked: {entry:?}"));
    }
}

/// Units that the stock stream has recorded for one order and SKU.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Moved {
    reserved: u32,
    released: u32,
    shipped: u32,
    returned: u32,
}

type MovedUnits = BTreeMap<(OrderId, Sku), Moved>;

fn moved_of<'a>(moved: &'a mut MovedUnits, order: OrderId, sku: &Sku) -> &'a mut Moved {
    moved.entry((order, sku.clone())).or_default()
}

fn moved_units(env: &Environment) -> MovedUnits {
    let mut moved = MovedUnits::new();
    let log = env.log.lock();
    for event in log.events() {
        let (StreamName::Stock(sku), Ok(domain::Event::Stock(data))) = (&event.stream, event.decode()) else {
            continue;
        };
        match data {
            StockEvent::Reserved(data) => moved_of(&mut moved, data.order_id, sku).reserved += data.quantity,
            StockEvent::Released(data) => moved_of(&mut moved, data.order_id, sku).released += data.quantity,
            StockEvent::Shipped(data) => moved_of(&mut moved, data.order_id, sku).shipped += data.quantity,
            StockEvent::Unshipped(data) => moved_of(&mut moved, data.order_id, sku).shipped -= data.quantity,
            StockEvent::Returned(data) => moved_of(&mut moved, data.order_id, sku).returned += data.quantity,
            StockEvent::Received(_) | StockEvent::Adjusted(_) => {}
        }
    }
    moved
}

fn check_order(unfinished: &mut Vec<String>, id: OrderId, order: &Order, moved: &MovedUnits) {
    if order.status() == OrderStatus::Placed {
        unfinished.push(format!("everything drains: {id} is still placed"));
    }
    let mut expected: BTreeMap<Sku, Moved> = BTreeMap::new();
    for (number, line) in (1..).zip(order.lines()).filter(|(_, line)| line.stocked) {
        let units = expected.entry(line.sku.clone()).or_default();
        units.reserved += line.quantity;
        units.shipped += line.shipped;
        units.released +=
            if order.status().is_final() { line.quantity - line.shipped } else { line.cancelled };
        let returned = order.returns().iter().flat_map(|returned| &returned.lines);
        let restocked = returned.filter(|part| part.line == number && part.restock);
        units.returned += restocked.map(|part| part.quantity).sum::<u32>();
    }
    let is_allocated = order.status() == OrderStatus::Allocated;
    for (sku, units) in expected {
        let found = moved.get(&(id, sku.clone())).copied().unwrap_or_default();
        // An order that ended before it was allocated may or may not have reserved this SKU.
        let was_reserved = found.reserved > 0 || is_allocated || units.shipped > 0;
        if was_reserved && found != units {
            unfinished.push(format!(
                "everything drains: stock of {sku:?} for {id} {:?}: {found:?}, expected {units:?}",
                order.status()
            ));
        }
    }
}

fn check_provider(unfinished: &mut Vec<String>, env: &Environment, id: PaymentId, payment: &Payment) {
    let work = payment.provider_work();
    if !work.is_empty() {
        unfinished.push(format!("everything drains: the provider has open work for {id}: {work:?}"));
    }
    // No provider has the money of a credit.
    if !env.plan.provider || payment.credit().is_some() {
        return;
    }
    let ledger = env.ledger.lock();
    if payment.is_closed() && ledger.held(id) > 0 {
        unfinished
            .push(format!("money agrees: the provider holds {} of {id}, which is closed", ledger.held(id)));
    }
    let (captured, refunded, disputed) = (payment.captured(), payment.refunded(), payment.disputed());
    let recorded = (captured.minor_units(), refunded.minor_units(), disputed.minor_units());
    let at_provider = ledger.totals(id);
    if at_provider != recorded {
        unfinished.push(format!(
            "money agrees: {id} has captured, refunded and disputed {at_provider:?} at the provider, {recorded:?} here"
        ));
    }
}

fn check_payment(
    unfinished: &mut Vec<String>,
    (id, payment_id): (OrderId, PaymentId),
    order: &Order,
    payment: &Payment,
) {
    let tender = order.tender(payment_id);
    let recorded = tender.map(|tender| tender.recorded).unwrap_or_default();
    let mut note =
        |what: String| unfinished.push(format!("{what} ({id}, {:?}, {payment:?})", order.status()));
    let of_order = [recorded.captured, recorded.refunded, recorded.disputed];
    if of_order != [payment.captured(), payment.refunded(), payment.disputed()] {
        let [captured, refunded, disputed] = of_order;
        note(format!(
            "money agrees: the order shows {captured} captured, {refunded} refunded and {disputed} disputed"
        ));
    }
    let is_requested = payment.state() != PaymentState::New;
    if order.status() == OrderStatus::Allocated && tender.is_some() != is_requested {
        note("everything drains: the payment is not requested, or the order has none".to_owned());
    }
    let is_adjusted = !order.terms().is_prepaid();
    if is_requested && !is_adjusted && tender.is_none_or(|tender| payment.amount() != tender.amount) {
        note("money agrees: payment and order have different amounts".to_owned());
    }
    if let Some(what) = terms_broken(order, payment) {
        note(format!("money agrees: {what}"));
    }
    if payment.void_requested() {
        note("everything drains: a void is not settled".to_owned());
    }
    if payment.refunds().iter().any(|refund| refund.state.is_open()) {
        note("everything drains: a refund is not settled".to_owned());
    }
    // A dispute of which the order does not know yet may take money that the order wants to refund.
    let nothing_is_left = payment.disputed() > domain::Amount::ZERO
        && payment.refunded().saturating_add(payment.disputed()) == payment.captured();
    for requested in order.refunds().iter().filter(|refund| refund.payment_id == Some(payment_id)) {
        let parts = payment.refunds().iter().filter(|refund| is_part_of(refund, requested.refund_id));
        let found = parts.fold(domain::Amount::ZERO, |sum, refund| sum.saturating_add(refund.amount));
        let is_in_full = found == requested.amount || (nothing_is_left && found < requested.amount);
        if !is_in_full {
            note(format!(
                "everything drains: refund {} of {} is not requested from the payment",
                requested.refund_id, requested.amount
            ));
        }
    }
    let known = |refund: &&domain::payment::Refund| {
        matches!(refund.reason, RefundReason::OrderClosed | RefundReason::Provider)
            || order.refunds().iter().any(|requested| is_part_of(refund, requested.refund_id))
    };
    if let Some(stray) = payment.refunds().iter().find(|refund| !known(refund)) {
        note(format!("money agrees: the order has not requested refund {}", stray.refund_id));
    }
    if !order.status().is_final() {
        return;
    }
    if tender.is_some() && !payment.is_closed() {
        note("everything drains: the payment of an ended order is not closed".to_owned());
    }
    if payment.capturable().is_positive() {
        note("everything drains: an ended order holds an authorisation".to_owned());
    }
}

/// Why the money of an order that is not prepaid does not fit its terms.
fn terms_broken(order: &Order, payment: &Payment) -> Option<&'static str> {
    let refunds = order.refunds().iter().map(|refund| refund.amount);
    let to_capture = refunds.fold(order.owed_for_shipped(), Amount::saturating_add);
    let to_capture = to_capture.saturating_add(order.credited());
    // A refund that failed after the latest change is a part of the amount until the next one. What the end of the order
    // gives back was captured beyond the amount.
    let gives_back = order.refunds().iter().any(|refund| refund.at_closing);
    let is_exact = !order.shipments().is_empty() && order.refunds_failed().is_zero() && !gives_back;
    let holds_uncaptured = payment.capturable().is_positive() && payment.charge_under_way().is_some();
    // A client may record any amount by hand after the end. What was refunded before may be asked for again.
    let kept = payment.captured().saturating_sub(payment.captured_late()).saturating_sub(payment.refunded());
    match order.terms() {
        PaymentTerms::Net if order.status() == OrderStatus::Expired => Some("a net order has expired"),
        PaymentTerms::OnShipment if is_exact && payment.capture_due() != to_capture => {
            Some("the payment has not learned what shipped goods cost")
        }
        PaymentTerms::OnShipment if kept > order.total() => Some("more than the total is kept"),
        PaymentTerms::OnShipment if holds_uncaptured && payment.capture_due() > payment.captured() => {
            Some("shipped goods are not captured, although their money is authorized")
        }
        PaymentTerms::OnShipment
            if order.kept().saturating_add(order.due_for_shipped()) < order.owed_for_shipped() =>
        {
            Some("shipped goods are neither paid nor shown as due")
        }
        PaymentTerms::Prepaid | PaymentTerms::OnShipment | PaymentTerms::Net => None,
    }
}

fn is_part_of(refund: &domain::payment::Refund, requested: domain::RefundId) -> bool {
    refund.refund_id == requested || refund.part_of == Some(requested)
}

//! What is left undone. Once nothing fails any more, nothing may stay on this list for long
//! (everything drains, money agrees).

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Amount, OrderId, PaymentId, Sku, StreamName,
    checkout::{WhenDue, when_due},
    order::{Order, OrderDecider, OrderStatus},
    payment::{Payment, PaymentDecider, PaymentState, RefundReason, RefundState},
    stock::StockEvent,
};
use infra::event_source::Partition;

use crate::world::World;

/// Every order of the log with its id.
pub fn orders(world: &World) -> Vec<OrderId> {
    let log = world.log.lock();
    let ids: BTreeSet<OrderId> = log
        .events()
        .iter()
        .filter_map(|event| match event.stream {
            StreamName::Order(id) => Some(id),
            StreamName::Stock(_) | StreamName::Payment(_) => None,
        })
        .collect();
    ids.into_iter().collect()
}

/// Whether an order still waits for a payment that will be due.
pub fn any_may_expire(world: &World) -> bool {
    orders(world).into_iter().any(|id| {
        let order = world.folded::<OrderDecider>(&id.into(), usize::MAX);
        let waits = order.status() == OrderStatus::Allocated && !order.is_paid();
        waits && order.payment_due_at().is_some()
    })
}

/// Whether everybody who follows the log has come to its end.
pub fn caught_up(world: &World) -> bool {
    let last = world.log.lock().last_position();
    let projected = world.tables.lock().checkpoint(&Partition::whole_log());
    projected == last && world.positions.lock().furthest() == last
}

/// Each thing that is still to happen, in words.
pub fn left_undone(world: &World) -> Vec<String> {
    let mut undone = Vec::new();
    if !caught_up(world) {
        undone.push("the log is not read to its end".to_owned());
    }
    let moved = moved_units(world);
    for id in orders(world) {
        let order = world.folded::<OrderDecider>(&id.into(), usize::MAX);
        let payment_id = PaymentId::of_order(id);
        let payment = world.folded::<PaymentDecider>(&payment_id.into(), usize::MAX);
        of_order(&mut undone, id, &order, &moved);
        of_payment(&mut undone, id, &order, &payment);
        of_provider(&mut undone, world, payment_id, &payment);
        if when_due(&order, &payment, world.now()) != WhenDue::Nothing {
            undone
                .push(format!("everything drains: {id} is neither paid nor expired, and its payment is due"));
        }
    }
    if !world.ledger.lock().is_quiet() {
        undone.push("the provider has something on its way".to_owned());
    }
    undone
}

/// What stock streams say of one order and SKU, in units.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Moved {
    reserved: u32,
    released: u32,
    shipped: u32,
    returned: u32,
}

type MovedUnits = BTreeMap<(OrderId, Sku), Moved>;

fn of<'a>(moved: &'a mut MovedUnits, order: OrderId, sku: &Sku) -> &'a mut Moved {
    moved.entry((order, sku.clone())).or_default()
}

fn moved_units(world: &World) -> MovedUnits {
    let mut moved = MovedUnits::new();
    let log = world.log.lock();
    for event in log.events() {
        let (StreamName::Stock(sku), Ok(domain::Event::Stock(data))) = (&event.stream, event.decode()) else {
            continue;
        };
        match data {
            StockEvent::Reserved(data) => of(&mut moved, data.order_id, sku).reserved += data.quantity,
            StockEvent::Released(data) => of(&mut moved, data.order_id, sku).released += data.quantity,
            StockEvent::Shipped(data) => of(&mut moved, data.order_id, sku).shipped += data.quantity,
            StockEvent::Returned(data) => of(&mut moved, data.order_id, sku).returned += data.quantity,
            StockEvent::Received(_) | StockEvent::Adjusted(_) => {}
        }
    }
    moved
}

fn of_order(undone: &mut Vec<String>, id: OrderId, order: &Order, moved: &MovedUnits) {
    if order.status() == OrderStatus::Placed {
        undone.push(format!("everything drains: {id} is still placed"));
    }
    let mut expected: BTreeMap<Sku, Moved> = BTreeMap::new();
    for (number, line) in (1..).zip(order.lines()).filter(|(_, line)| line.stocked) {
        let units = expected.entry(line.sku.clone()).or_default();
        units.reserved += line.quantity;
        units.shipped += line.shipped;
        units.released += if order.status().is_final() { line.quantity - line.shipped } else { 0 };
        let restocked = order.returns().iter().flat_map(|returned| &returned.lines);
        let restocked = restocked.filter(|part| part.line == number && part.restock);
        units.returned += restocked.map(|part| part.quantity).sum::<u32>();
    }
    let is_allocated = order.status() == OrderStatus::Allocated;
    for (sku, units) in expected {
        let found = moved.get(&(id, sku.clone())).copied().unwrap_or_default();
        // An order that ended before it was allocated may have held this SKU or not.
        let was_held = found.reserved > 0 || is_allocated || units.shipped > 0;
        if was_held && found != units {
            undone.push(format!(
                "everything drains: stock of {sku:?} for {id} {:?}: {found:?}, expected {units:?}",
                order.status()
            ));
        }
    }
}

fn of_provider(undone: &mut Vec<String>, world: &World, id: PaymentId, payment: &Payment) {
    let work = payment.provider_work();
    if !work.is_empty() {
        undone.push(format!("everything drains: the provider is still to be asked about {id}: {work:?}"));
    }
    if is_settled_by_hand(world, id) {
        return;
    }
    let ledger = world.ledger.lock();
    if payment.is_closed() && ledger.held(id) > 0 {
        undone.push(format!("money agrees: the provider holds {} of {id}, which is closed", ledger.held(id)));
    }
    let (taken, here) =
        (ledger.totals(id), (payment.captured().minor_units(), payment.refunded().minor_units()));
    if taken != here {
        undone.push(format!(
            "money agrees: the provider took and gave back {taken:?} of {id}, recorded is {here:?}"
        ));
    }
}

/// Whether somebody said by hand what became of money.
fn is_settled_by_hand(world: &World, id: PaymentId) -> bool {
    world.log.lock().stream(&id.into()).any(|event| {
        let moves = matches!(
            &*event.type_name,
            "payment.captured.v1" | "payment.refunded.v1" | "payment.voided.v1" | "payment.authorized.v1"
        );
        moves && event.decode_metadata().is_ok_and(|metadata| metadata.idempotency.is_some())
    })
}

fn of_payment(undone: &mut Vec<String>, id: OrderId, order: &Order, payment: &Payment) {
    let mut note = |what: String| undone.push(format!("{what} ({id}, {:?}, {payment:?})", order.status()));
    let amounts = |captured: Amount, refunded: Amount| (captured.minor_units(), refunded.minor_units());
    if amounts(order.captured(), order.refunded()) != amounts(payment.captured(), payment.refunded()) {
        let (captured, refunded) = amounts(order.captured(), order.refunded());
        note(format!("money agrees: the order says {captured} captured and {refunded} refunded"));
    }
    let is_requested = payment.state() != PaymentState::New;
    if order.status() == OrderStatus::Allocated && order.payment_id().is_some() != is_requested {
        note("everything drains: the payment is not requested as the order says".to_owned());
    }
    if is_requested && payment.amount() != order.total() {
        note("money agrees: the payment asks for another amount than the order".to_owned());
    }
    if payment.void_requested() {
        note("everything drains: a void is not settled".to_owned());
    }
    if payment.refunds().iter().any(|refund| refund.state == RefundState::Requested) {
        note("everything drains: a refund is not settled".to_owned());
    }
    for asked in order.refunds() {
        let found = payment.refund(asked.refund_id).map(|refund| refund.amount);
        if found != Some(asked.amount) {
            note(format!(
                "everything drains: refund {} of {} is not asked of the payment",
                asked.refund_id, asked.amount
            ));
        }
    }
    let known = |refund: &&domain::payment::Refund| {
        refund.reason == RefundReason::OrderClosed
            || order.refunds().iter().any(|asked| asked.refund_id == refund.refund_id)
    };
    if let Some(stray) = payment.refunds().iter().find(|refund| !known(refund)) {
        note(format!("money agrees: the order knows nothing of refund {}", stray.refund_id));
    }
    if !order.status().is_final() {
        return;
    }
    if order.payment_id().is_some() && !payment.is_closed() {
        note("everything drains: the payment of an ended order is not closed".to_owned());
    }
    if payment.capturable().is_positive() {
        note("everything drains: an ended order holds an authorisation".to_owned());
    }
    let kept = payment.captured().saturating_sub(payment.refunded());
    if kept > order.amount_due() {
        note(format!("money agrees: an ended order keeps {kept} and {} is due", order.amount_due()));
    }
}

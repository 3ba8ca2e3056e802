//! Draws the requests of a shopper.

use domain::{
    OrderId, PaymentId,
    order::{LineQuantity, Order, OrderDecider, OrderStatus, ReturnLine},
    payment::{CaptureMode, ChargeState, NewCharge, Payment, PaymentDecider},
};
use fastrand::Rng;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::exchanges;
use crate::{
    environment::Environment,
    plan::{SKUS, UNREADABLE_SKU},
    provider,
    request::{Action, Request},
    shopper::Shopper,
};

/// The next requests of a shopper: one, or two to send at once. Empty when the shopper is done.
pub fn next_requests(shopper: &mut Shopper, env: &Environment) -> Vec<Request> {
    if !shopper.pending.is_empty() {
        return shopper.pending.clone();
    }
    let Some(placing) = shopper.placing.clone() else {
        let action = draw_order(shopper, env);
        let request = Request::new(format!("order {}", shopper.number), action);
        shopper.placing = Some(request.clone());
        shopper.pending = vec![request];
        return shopper.pending.clone();
    };
    let stream = placing.stream();
    let order = env.folded::<OrderDecider>(&stream, usize::MAX);
    if shopper.left == 0 || !order.exists() {
        return Vec::new();
    }
    let together = if shopper.rng.u32(0..5) == 0 { 2 } else { 1 };
    for _ in 0..together.min(shopper.left) {
        shopper.left -= 1;
        shopper.drawn += 1;
        let key = format!("{}/{}", shopper.number, shopper.drawn);
        if let Some(action) = draw_action(shopper, env, &order, OrderId::of_command(placing.command_id())) {
            shopper.pending.push(in_sight(env, Request::new(key, action)));
        }
    }
    if shopper.pending.is_empty() && shopper.left > 0 {
        next_requests(shopper, env)
    } else {
        shopper.pending.clone()
    }
}

/// Binds a capture by the provider to the payment that the shopper has seen. Otherwise, if the provider's answer to
/// another request is lost meanwhile, the platform would record the capture as made by hand.
fn in_sight(env: &Environment, request: Request) -> Request {
    if !env.plan.provider || !matches!(request.action, Action::Capture { .. }) {
        return request;
    }
    let seen = env.len_of(&request.stream()) as u64;
    Request { if_revision: seen.checked_sub(1), ..request }
}

fn draw_order(shopper: &mut Shopper, env: &Environment) -> Action {
    let rng = &mut shopper.rng;
    let free = rng.u32(0..8) == 0;
    let mut lines: Vec<Value> = (0..rng.usize(1..=4))
        .map(|_| {
            let sku = SKUS[rng.usize(0..env.plan.skus)];
            let price = if free || rng.u32(0..8) == 0 { 0 } else { rng.i64(1..500) };
            let stocked = rng.u32(0..6) != 0;
            json!({"sku": sku, "quantity": rng.u32(1..=3), "unit_price": price, "stocked": stocked})
        })
        .collect();
    if env.plan.unreadable_stream && rng.u32(0..3) == 0 {
        lines.push(json!({"sku": UNREADABLE_SKU, "quantity": 1, "unit_price": 100}));
    }
    let mut body = json!({"currency": "GBP", "country": "United Kingdom", "lines": lines});
    if !free && rng.u32(0..4) == 0 {
        body["adjustments"] = json!([{"code": "shipping", "amount": rng.i64(1..50)}]);
    }
    match rng.u32(0..4) {
        0 => body["payment_due_at"] = Value::Null,
        1 => {
            let latest_ms = if env.plan.due_soon { 3_000 } else { 90_000 };
            let due = SignedDuration::from_millis(rng.i64(100..latest_ms));
            let now = env.latest_time();
            let due_at = now.saturating_add(due).unwrap_or(now);
            body["payment_due_at"] = json!(due_at.to_string());
        }
        _ => {}
    }
    if env.plan.provider && rng.u32(0..3) > 0 {
        let charge = draw_charge(rng);
        body["payment"] = json!({"method": charge.method, "capture": charge.capture});
    } else if !free && rng.u32(0..3) == 0 {
        body["payments"] = draw_payments(rng, &body, env.plan.provider);
    }
    if env.plan.terms {
        match rng.u32(0..4) {
            0 | 1 if body["payments"].is_null() => body["terms"] = json!("on_shipment"),
            2 if body["payment_due_at"].is_string() => body["terms"] = json!("net"),
            _ => {}
        }
    }
    Action::Place { body, respond_async: rng.u32(0..4) == 0 }
}

/// A deposit, or a deposit and the balance. With a provider, some carry their charge.
fn draw_payments(rng: &mut Rng, body: &Value, with_provider: bool) -> Value {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let lines = body["lines"].as_array().into_iter().flatten();
    let lines: i64 = lines.map(|line| number(&line["quantity"]) * number(&line["unit_price"])).sum();
    let adjustments = body["adjustments"].as_array().into_iter().flatten();
    let total = lines + adjustments.map(|part| number(&part["amount"])).sum::<i64>();
    if total < 2 {
        return Value::Null;
    }
    let deposit = rng.i64(1..total);
    let amounts = if rng.bool() { vec![deposit] } else { vec![deposit, total - deposit] };
    let payment = |amount| {
        if !with_provider || rng.bool() {
            return json!({"amount": amount});
        }
        let charge = draw_charge(rng);
        json!({"amount": amount, "method": charge.method, "capture": charge.capture})
    };
    amounts.into_iter().map(payment).collect()
}

/// The next request about an order. None if the shopper only waits.
fn draw_action(shopper: &mut Shopper, env: &Environment, order: &Order, id: OrderId) -> Option<Action> {
    let rng = &mut shopper.rng;
    let tenders = order.tenders();
    let payment_id = match tenders.len() {
        0 => PaymentId::of_order(id),
        1 => tenders[0].payment_id,
        count => tenders[rng.usize(0..count)].payment_id,
    };
    if order.status() == OrderStatus::Allocated && order.unclaimed().is_positive() && rng.bool() {
        let amount = draw_part(rng, order.unclaimed().minor_units());
        return Some(Action::AddPayment { order: id, amount });
    }
    let payment = env.folded::<PaymentDecider>(&payment_id.into(), usize::MAX);
    let is_open = order.lines().iter().any(|line| line.open() > 0);
    let may_ship_unpaid = order.status() == OrderStatus::Allocated && is_open && !order.terms().is_prepaid();
    if may_ship_unpaid && rng.u32(0..5) < 3 {
        return Some(draw_shipment(rng, order, id));
    }
    if env.plan.provider && !order.is_paid() && order.status() == OrderStatus::Allocated {
        return draw_step_of_charge(rng, &payment, id, payment_id);
    }
    if rng.u32(0..12) == 0 {
        return Some(draw_at_random(rng, env, order, id, payment_id));
    }
    let shipped = order.lines().iter().any(|line| line.shipped > line.returned);
    let open = order.lines().iter().any(|line| line.open() > 0);
    let undelivered = order.shipments().iter().find(|shipment| !shipment.delivered);
    let roll = rng.u32(0..100);
    Some(match order.status() {
        OrderStatus::Placed | OrderStatus::New => return None,
        OrderStatus::Allocated if !order.is_paid() => match roll {
            0..35 => draw_authorize(rng, &payment, payment_id),
            35..75 => draw_capture(rng, &payment, payment_id),
            75..80 => Action::Fail { payment: payment_id, retryable: rng.bool() },
            80..84 => Action::Void { payment: payment_id },
            84..92 => draw_cancellation(rng, order, id),
            _ => return None,
        },
        OrderStatus::Allocated if open && roll < 50 => draw_shipment(rng, order, id),
        _ if shipped && roll < 58 => return exchanges::draw(rng, env, order, id),
        _ if shipped && roll < 70 => draw_return(rng, order, id),
        _ if roll < 76 && !order.credits().is_empty() => return exchanges::draw_follow_up(rng, order),
        _ if roll < 80 => match undelivered {
            Some(shipment) => Action::Deliver { order: id, shipment: shipment.shipment_id },
            None => draw_refund(rng, order, id),
        },
        _ if roll < 88 => draw_refund(rng, order, id),
        _ if roll < 94 => draw_cancellation(rng, order, id),
        _ => draw_at_random(rng, env, order, id, payment_id),
    })
}

/// A part of `whole` in one draw of three. None stands for the whole amount.
fn draw_part(rng: &mut Rng, whole: i64) -> Option<i64> {
    (whole > 1 && rng.u32(0..3) == 0).then(|| rng.i64(1..whole))
}

fn draw_authorize(rng: &mut Rng, payment: &Payment, id: PaymentId) -> Action {
    Action::Authorize { payment: id, amount: draw_part(rng, payment.amount().minor_units()) }
}

fn draw_capture(rng: &mut Rng, payment: &Payment, id: PaymentId) -> Action {
    Action::Capture { payment: id, amount: draw_part(rng, payment.capturable().minor_units()) }
}

fn draw_shipment(rng: &mut Rng, order: &Order, id: OrderId) -> Action {
    Action::Ship { order: id, lines: draw_open_units(rng, order) }
}

/// Every second one is of some units.
fn draw_cancellation(rng: &mut Rng, order: &Order, id: OrderId) -> Action {
    let lines = if rng.bool() { draw_open_units(rng, order) } else { None };
    Action::Cancel { order: id, lines }
}

/// Some of the units that are neither shipped nor cancelled. None stands for all.
fn draw_open_units(rng: &mut Rng, order: &Order) -> Option<Vec<LineQuantity>> {
    let open = (1..).zip(order.lines()).filter(|(_, line)| line.open() > 0);
    let mut lines = Vec::new();
    for (line, state) in open {
        if rng.bool() {
            lines.push(LineQuantity { line, quantity: rng.u32(1..=state.open()) });
        }
    }
    (!lines.is_empty()).then_some(lines)
}

fn draw_return(rng: &mut Rng, order: &Order, id: OrderId) -> Action {
    let shipped = (1..).zip(order.lines()).filter(|(_, line)| line.shipped > line.returned);
    let mut lines = Vec::new();
    for (line, state) in shipped {
        if lines.is_empty() || rng.bool() {
            let quantity = rng.u32(1..=state.shipped - state.returned);
            lines.push(ReturnLine { line, quantity, restock: rng.u32(0..4) != 0 });
        }
    }
    let refund_amount = match rng.u32(0..4) {
        0 => Some(0),
        1 => Some(rng.i64(0..400)),
        _ => None,
    };
    Action::Return { order: id, lines, refund_amount }
}

fn draw_refund(rng: &mut Rng, order: &Order, id: OrderId) -> Action {
    Action::Refund { order: id, amount: rng.i64(1..=order.refundable().minor_units().max(1)) }
}

fn draw_charge(rng: &mut Rng) -> NewCharge {
    let capture = if rng.u32(0..3) == 0 { CaptureMode::Manual } else { CaptureMode::Automatic };
    NewCharge { provider: provider::NAME.to_owned(), method: "card".to_owned(), capture }
}

/// Draws the next step of an order that the provider charges.
fn draw_step_of_charge(
    rng: &mut Rng,
    payment: &Payment,
    id: OrderId,
    payment_id: PaymentId,
) -> Option<Action> {
    let roll = rng.u32(0..100);
    match payment.charge() {
        _ if roll < 8 => Some(Action::Cancel { order: id, lines: None }),
        _ if roll < 12 => Some(Action::Void { payment: payment_id }),
        Some(charge) if charge.state == ChargeState::Live && payment.unknown_operation().is_none() => {
            let amount = draw_part(rng, payment.capturable().minor_units());
            Some(Action::Capture { payment: payment_id, amount })
        }
        // The customer comes back for the action.
        Some(charge) if charge.state == ChargeState::Pending && roll < 40 => {
            let charge = NewCharge {
                provider: charge.provider.clone(),
                method: charge.method.clone(),
                capture: charge.capture,
            };
            Some(Action::Charge { payment: payment_id, charge })
        }
        Some(charge) if charge.state != ChargeState::Ended => None,
        _ => Some(Action::Charge { payment: payment_id, charge: draw_charge(rng) }),
    }
}

/// Draws any request, valid or not in the present state.
fn draw_at_random(
    rng: &mut Rng,
    env: &Environment,
    order: &Order,
    id: OrderId,
    payment: PaymentId,
) -> Action {
    let line_count = u32::try_from(order.lines().len()).unwrap_or(u32::MAX);
    let line = rng.u32(1..=line_count + 1);
    // With a provider, operators do not record payments by hand.
    let kinds = if env.plan.provider { 5 } else { 9 };
    match rng.u32(0..kinds) {
        0 => Action::Ship { order: id, lines: None },
        1 => Action::Ship { order: id, lines: Some(vec![LineQuantity { line, quantity: rng.u32(1..4) }]) },
        2 => {
            let lines = vec![ReturnLine { line, quantity: rng.u32(1..4), restock: rng.bool() }];
            Action::Return { order: id, lines, refund_amount: None }
        }
        3 => Action::Refund { order: id, amount: rng.i64(1..1_000) },
        4 => Action::Cancel { order: id, lines: None },
        5 => Action::Authorize { payment, amount: Some(rng.i64(1..1_000)) },
        6 => Action::Capture { payment, amount: Some(rng.i64(1..1_000)) },
        7 => Action::Fail { payment, retryable: rng.bool() },
        _ => Action::Void { payment },
    }
}

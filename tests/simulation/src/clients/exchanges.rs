//! Draws exchanges, and what becomes of their new orders.

use domain::{
    OrderId,
    order::{Order, ReturnLine},
};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::{environment::Environment, plan::SKUS, request::Action};

/// An exchange of shipped units. The new order is cheaper or dearer than they are.
pub(super) fn draw(rng: &mut Rng, env: &Environment, order: &Order, id: OrderId) -> Option<Action> {
    let shipped = (1..).zip(order.lines()).filter(|(_, line)| line.shipped > line.returned);
    let units = shipped.map(|(line, state)| (line, state.shipped - state.returned));
    let (line, units) = units.max_by_key(|(_, units)| *units)?;
    let lines = vec![ReturnLine { line, quantity: rng.u32(1..=units), restock: rng.u32(0..4) != 0 }];
    let new_line = |_| {
        let sku = SKUS[rng.usize(0..env.plan.skus)];
        json!({"sku": sku, "quantity": rng.u32(1..=2), "unit_price": rng.i64(1..400)})
    };
    let new_lines: Vec<Value> = (0..2).map(new_line).collect();
    let mut body = json!({"lines": new_lines});
    if rng.bool() {
        body["payment_due_at"] = Value::Null;
    }
    Some(Action::Exchange { order: id, lines, body })
}

/// A request about the new order of the latest exchange.
pub(super) fn draw_follow_up(rng: &mut Rng, order: &Order) -> Option<Action> {
    let new = order.credits().last()?.order_id;
    Some(match rng.u32(0..3) {
        0 => Action::Cancel { order: new, lines: None },
        1 => Action::Ship { order: new, lines: None },
        _ => Action::Refund { order: new, amount: rng.i64(1..400) },
    })
}

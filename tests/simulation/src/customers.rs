//! Those who use the platform: shoppers with the shop that serves them, a warehouse, and an operator who settles
//! refunds and voids by hand. Each keeps asking under the same key until it has an answer that stands.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
};
use domain::{
    OrderId, PaymentId, Sku,
    order::{LineQuantity, Order, OrderDecider, OrderStatus, ReturnLine},
    payment::{CaptureMode, ChargeState, NewCharge, Payment, PaymentDecider, RefundState},
};
use fastrand::Rng;
use futures::future::{join, join_all};
use http::header;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::time;
use tower::ServiceExt;

use crate::{
    oracle,
    platform::Platform,
    provider,
    request::{Action, Answer, Request, describe},
    world::World,
};

const SKUS: [&str; 4] = ["A", "B", "C d", "é"];
/// Nobody waits longer once nothing fails any more.
const PATIENCE: Duration = Duration::from_mins(10);

/// One customer with one order, and what the shop does about it. Outlives every crash of the platform.
#[derive(Debug)]
pub struct Shopper {
    number: usize,
    rng: Rng,
    placing: Option<Request>,
    /// Sent and not answered for good.
    pending: Vec<Request>,
    sent: usize,
    left: usize,
}

impl Shopper {
    pub fn new(number: usize, mut rng: Rng) -> Self {
        let left = rng.usize(2..14);
        Self { number, rng, placing: None, pending: Vec::new(), sent: 0, left }
    }

    /// What is to be sent next, one or two at once; nothing when done.
    fn next(&mut self, world: &World) -> Vec<Request> {
        if !self.pending.is_empty() {
            return self.pending.clone();
        }
        let Some(placing) = self.placing.clone() else {
            let action = self.draw_order(world);
            let request = Request { key: format!("order {}", self.number), action };
            self.placing = Some(request.clone());
            self.pending = vec![request];
            return self.pending.clone();
        };
        let stream = placing.stream();
        let order = world.folded::<OrderDecider>(&stream, usize::MAX);
        if self.left == 0 || !order.exists() {
            return Vec::new();
        }
        let together = if self.rng.u32(0..5) == 0 { 2 } else { 1 };
        for _ in 0..together.min(self.left) {
            self.left -= 1;
            self.sent += 1;
            let key = format!("{}/{}", self.number, self.sent);
            if let Some(action) = self.draw_action(world, &order, OrderId::of_command(placing.command_id())) {
                self.pending.push(Request { key, action });
            }
        }
        if self.pending.is_empty() && self.left > 0 { self.next(world) } else { self.pending.clone() }
    }

    fn draw_order(&mut self, world: &World) -> Action {
        let rng = &mut self.rng;
        let free = rng.u32(0..8) == 0;
        let lines: Vec<Value> = (0..rng.usize(1..=4))
            .map(|_| {
                let sku = SKUS[rng.usize(0..world.plan.skus)];
                let price = if free || rng.u32(0..8) == 0 { 0 } else { rng.i64(1..500) };
                let stocked = rng.u32(0..6) != 0;
                json!({"sku": sku, "quantity": rng.u32(1..=3), "unit_price": price, "stocked": stocked})
            })
            .collect();
        let mut body = json!({"currency": "GBP", "country": "United Kingdom", "lines": lines});
        if !free && rng.u32(0..4) == 0 {
            body["adjustments"] = json!([{"code": "shipping", "amount": rng.i64(1..50)}]);
        }
        match rng.u32(0..4) {
            0 => body["payment_due_at"] = Value::Null,
            1 => {
                let due = SignedDuration::from_secs(rng.i64(1..90));
                let due_at = world.now().saturating_add(due).unwrap_or_else(|_| world.now());
                body["payment_due_at"] = json!(due_at.to_string());
            }
            _ => {}
        }
        if world.plan.provider && rng.u32(0..3) > 0 {
            let charge = draw_charge(rng);
            body["payment"] = json!({"method": charge.method, "capture": charge.capture});
        }
        Action::Place { body, respond_async: rng.u32(0..4) == 0 }
    }

    fn draw_action(&mut self, world: &World, order: &Order, id: OrderId) -> Option<Action> {
        let rng = &mut self.rng;
        let payment_id = PaymentId::of_order(id);
        let payment = world.folded::<PaymentDecider>(&payment_id.into(), usize::MAX);
        if world.plan.provider && !order.is_paid() && order.status() == OrderStatus::Allocated {
            return draw_step_of_charge(rng, &payment, id, payment_id);
        }
        if rng.u32(0..12) == 0 {
            return Some(draw_at_random(rng, world, order, id, payment_id));
        }
        let shipped = order.lines().iter().any(|line| line.shipped > line.returned);
        let open = order.lines().iter().any(|line| line.open() > 0);
        let undelivered = order.shipments().iter().find(|shipment| !shipment.delivered);
        let lot = rng.u32(0..100);
        Some(match order.status() {
            OrderStatus::Placed | OrderStatus::New => return None,
            OrderStatus::Allocated if !order.is_paid() => match lot {
                0..35 => draw_authorize(rng, &payment, payment_id),
                35..75 => draw_capture(rng, &payment, payment_id),
                75..80 => Action::Fail { payment: payment_id, retryable: rng.bool() },
                80..84 => Action::Void { payment: payment_id },
                84..92 => Action::Cancel { order: id },
                _ => return None,
            },
            OrderStatus::Allocated if open && lot < 50 => draw_shipment(rng, order, id),
            _ if shipped && lot < 70 => draw_return(rng, order, id),
            _ if lot < 80 => match undelivered {
                Some(shipment) => Action::Deliver { order: id, shipment: shipment.shipment_id },
                None => draw_refund(rng, order, id),
            },
            _ if lot < 88 => draw_refund(rng, order, id),
            _ if lot < 94 => Action::Cancel { order: id },
            _ => draw_at_random(rng, world, order, id, payment_id),
        })
    }
}

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
    let open = (1..).zip(order.lines()).filter(|(_, line)| line.open() > 0);
    let mut lines = Vec::new();
    for (line, state) in open {
        if rng.bool() {
            lines.push(LineQuantity { line, quantity: rng.u32(1..=state.open()) });
        }
    }
    Action::Ship { order: id, lines: (!lines.is_empty()).then_some(lines) }
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

/// What brings an order forward that the provider is to be asked for.
fn draw_step_of_charge(
    rng: &mut Rng,
    payment: &Payment,
    id: OrderId,
    payment_id: PaymentId,
) -> Option<Action> {
    let lot = rng.u32(0..100);
    match payment.charge() {
        _ if lot < 8 => Some(Action::Cancel { order: id }),
        _ if lot < 12 => Some(Action::Void { payment: payment_id }),
        Some(charge) if charge.state == ChargeState::Live && payment.unknown_operation().is_none() => {
            let amount = draw_part(rng, payment.capturable().minor_units());
            Some(Action::Capture { payment: payment_id, amount })
        }
        Some(charge) if charge.state != ChargeState::Ended => None,
        _ => Some(Action::Charge { payment: payment_id, charge: draw_charge(rng) }),
    }
}

/// Also what makes no sense now.
fn draw_at_random(rng: &mut Rng, world: &World, order: &Order, id: OrderId, payment: PaymentId) -> Action {
    let lines = u32::try_from(order.lines().len()).unwrap_or(u32::MAX);
    let line = rng.u32(1..=lines + 1);
    // Of a charge an operator knows nothing better than the provider.
    let kinds = if world.plan.provider { 5 } else { 9 };
    match rng.u32(0..kinds) {
        0 => Action::Ship { order: id, lines: None },
        1 => Action::Ship { order: id, lines: Some(vec![LineQuantity { line, quantity: rng.u32(1..4) }]) },
        2 => {
            let lines = vec![ReturnLine { line, quantity: rng.u32(1..4), restock: rng.bool() }];
            Action::Return { order: id, lines, refund_amount: None }
        }
        3 => Action::Refund { order: id, amount: rng.i64(1..1_000) },
        4 => Action::Cancel { order: id },
        5 => Action::Authorize { payment, amount: Some(rng.i64(1..1_000)) },
        6 => Action::Capture { payment, amount: Some(rng.i64(1..1_000)) },
        7 => Action::Fail { payment, retryable: rng.bool() },
        _ => Action::Void { payment },
    }
}

/// Serves one order to its end.
pub async fn shop(world: Arc<World>, platform: Platform, number: usize) {
    time::sleep(world.draw(|rng| Duration::from_millis(rng.u64(0..3_000)))).await;
    loop {
        let requests = world.with_shopper(number, |shopper| shopper.next(&world));
        if requests.is_empty() {
            return;
        }
        join_all(requests.iter().map(|request| ask(&world, &platform, request))).await;
        world.with_shopper(number, |shopper| shopper.pending.clear());
        let pause_ms = world.draw(|rng| if rng.bool() { rng.u64(0..50) } else { rng.u64(0..6_000) });
        time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// Brings stock in, and counts it now and then. What a crash cuts off is sent again, since keys and amounts are the
/// same in each life.
pub async fn stock_up(world: Arc<World>, platform: Platform, mut rng: Rng) {
    for round in 0..4 {
        for name in &SKUS[..world.plan.skus] {
            let Ok(sku) = Sku::new(name) else { continue };
            let (quantity, delta) = (rng.u32(1..8), rng.i64(-4..4));
            let action = match round {
                0 => Action::Receive { sku, quantity },
                _ if rng.u32(0..3) > 0 => continue,
                1 => Action::Adjust { sku, delta: if delta == 0 { 1 } else { delta } },
                _ => Action::Receive { sku, quantity },
            };
            ask(&world, &platform, &Request { key: format!("round {round}"), action }).await;
        }
        time::sleep(Duration::from_millis(rng.u64(0..8_000))).await;
    }
}

/// Settles by hand what payments ask for, for ever.
pub async fn operate(world: Arc<World>, platform: Platform) {
    loop {
        for number in 0..world.plan.orders {
            let placing = world.with_shopper(number, |shopper| shopper.placing.clone());
            let Some(placing) = placing else { continue };
            let payment = PaymentId::of_order(OrderId::of_command(placing.command_id()));
            let requests = to_settle(&world, payment);
            join_all(requests.iter().map(|request| ask(&world, &platform, request))).await;
        }
        time::sleep(Duration::from_secs(1)).await;
    }
}

fn to_settle(world: &World, payment: PaymentId) -> Vec<Request> {
    let stream = payment.into();
    let (state, revision) = (world.folded::<PaymentDecider>(&stream, usize::MAX), world.len_of(&stream));
    let mut requests = Vec::new();
    if state.charges().iter().any(|charge| charge.captured.is_positive()) {
        return requests;
    }
    if state.void_requested() && state.charge_under_way().is_none() {
        requests.push(Request { key: format!("void {revision}"), action: Action::Void { payment } });
    }
    for refund in state.refunds().iter().filter(|refund| refund.state == RefundState::Requested) {
        let id = refund.refund_id;
        // The same choice each time it is looked at.
        let turned_down = id.0.as_u128() % 5 == 0 && !world.is_calm();
        let action = if turned_down {
            Action::RefundFailed { payment, refund: id }
        } else {
            Action::Refunded { payment, refund: id }
        };
        requests.push(Request { key: "settle".to_owned(), action });
    }
    requests
}

/// Asks until there is an answer that stands, over lost answers, failures and impatience.
async fn ask(world: &Arc<World>, platform: &Platform, request: &Request) {
    let name = request.name();
    for attempt in 0_u32.. {
        let (patience, twin, retry_after) = world.draw(|rng| {
            let patience = if rng.u32(0..6) == 0 { rng.u64(0..300) } else { rng.u64(2_000..90_000) };
            (Duration::from_millis(patience), rng.u32(0..10) == 0, Duration::from_millis(rng.u64(1..3_000)))
        });
        let patience = if world.is_calm() { PATIENCE } else { patience };
        let asked = async {
            if twin {
                let (first, second) =
                    join(send(world, platform, request), send(world, platform, request)).await;
                if first.is_passing() { second } else { first }
            } else {
                send(world, platform, request).await
            }
        };
        match time::timeout(patience, asked).await {
            Ok(answer) if !answer.is_passing() => break,
            Ok(_) => {}
            Err(_) => {
                world.note(format!("{name}: given up on"));
                if patience == PATIENCE {
                    return world.fail(format!(
                        "everything drains: {name} has no answer after {PATIENCE:?} without faults"
                    ));
                }
            }
        }
        if attempt > 2_000 {
            return world.fail(format!(
                "everything drains: {name} has no answer that stands after {attempt} attempts"
            ));
        }
        time::sleep(retry_after).await;
    }
    let late = world.draw(|rng| (rng.u32(0..10) == 0).then(|| Duration::from_millis(rng.u64(0..30_000))));
    if let Some(late) = late {
        // The network delivers it once more.
        let (world, platform, request) = (Arc::clone(world), platform.clone(), request.clone());
        tokio::spawn(async move {
            time::sleep(late).await;
            send(&world, &platform, &request).await;
        });
    }
}

/// Sends the request to one of the processes, and has the answer judged.
async fn send(world: &World, platform: &Platform, request: &Request) -> Answer {
    let instance = world.draw(|rng| rng.usize(0..platform.routers.len()));
    let seen_from = world.len_of(&request.stream());
    let answer = exchange(platform.routers[instance].clone(), request).await;
    world.hear().await;
    world.note(format!("{}: {}", request.name(), describe(&answer)));
    if let Err(fault) = oracle::judge(world, request, &answer, seen_from) {
        world.fail(fault);
    }
    world.hear().await;
    answer
}

async fn exchange(router: Router, request: &Request) -> Answer {
    let mut builder = http::Request::post(request.path().replace(' ', "%20").replace('é', "%C3%A9"))
        .header("idempotency-key", &request.key)
        .header(header::CONTENT_TYPE, "application/json");
    if matches!(request.action, Action::Place { respond_async: true, .. }) {
        builder = builder.header("prefer", "respond-async");
    }
    let sent = builder.body(Body::from(request.body().to_string())).expect("paths and keys are well formed");
    let Ok(response) = router.oneshot(sent).await;
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let replayed = head.headers.get("idempotent-replayed").is_some_and(|value| value == "true");
    Answer { status: head.status, replayed, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

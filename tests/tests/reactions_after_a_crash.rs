//! Every kind of event that has a reaction gets it after a crash.
//!
//! Each scenario appends the event and nothing that follows from it, as if the process died right after the
//! append. A process manager then starts on this log. No projector runs, so the sweep and the timers find no
//! candidates: only the process manager's reading of the log can run the reaction.

use command_api::executor::Outcome;
use domain::{
    Amount, CommandContext, OrderId, PaymentId, ReceiptId, RefundId, Sku, Timestamp,
    checkout::{order_event_has_reaction, payment_event_asks_provider, payment_event_has_reaction},
    order::{OrderCommand, OrderEventKind, Shortage},
    payment::{
        CaptureMode, DisputeReport, DisputeState, NewCharge, PaymentCommand, PaymentEventKind, RefundOutcome,
        RefundReason, RefundReport,
    },
    receipt::{ReceiptCommand, ReceiptEventKind, ReceiptItem},
    stock::StockCommand,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Log, Shop, ShopOptions, TestSandbox, line, metadata};

const RELEASED_AND_CLOSED: &[&str] = &["payment.closed.v1", "stock.released.v1"];

#[tokio::test]
async fn every_order_event_with_a_reaction_gets_it_after_a_crash() {
    for &kind in OrderEventKind::ALL {
        let options = ShopOptions { process_manager: false, projectors: false, ..ShopOptions::default() };
        let shop = Shop::with(options).await;
        let effects = append_order_event(&shop, kind).await;
        assert_eq!(!effects.is_empty(), order_event_has_reaction(kind), "the scenario of {kind:?}");
        if !effects.is_empty() {
            assert_effects_after_a_crash(shop, kind.type_name(), effects, ReadFrom::TheBeginning).await;
        }
    }
}

#[tokio::test]
async fn every_receipt_event_gets_its_reaction_after_a_crash() {
    for &kind in ReceiptEventKind::ALL {
        let options = ShopOptions { process_manager: false, projectors: false, ..ShopOptions::default() };
        let shop = Shop::with(options).await;
        let effects = append_receipt_event(&shop, kind).await;
        assert_effects_after_a_crash(shop, kind.type_name(), effects, ReadFrom::TheBeginning).await;
    }
}

#[tokio::test]
async fn every_payment_event_with_a_reaction_gets_it_after_a_crash() {
    for &kind in PaymentEventKind::ALL {
        let options = ShopOptions { process_manager: false, projectors: false, ..ShopOptions::default() };
        let shop = Shop::with(options).await;
        let effects = append_payment_event(&shop, kind).await;
        assert_eq!(!effects.is_empty(), payment_event_has_reaction(kind), "the scenario of {kind:?}");
        if !effects.is_empty() {
            assert_effects_after_a_crash(shop, kind.type_name(), effects, ReadFrom::TheEvent).await;
        }
    }
}

#[tokio::test]
async fn every_payment_event_that_asks_the_provider_does_so_after_a_crash() {
    for &kind in PaymentEventKind::ALL {
        let sandbox = TestSandbox::open("").await;
        let options = ShopOptions { process_manager: false, projectors: false, ..sandbox.options() };
        let shop = Shop::with(options).await;
        let effects = append_provider_request(&shop, kind).await;
        assert_eq!(!effects.is_empty(), payment_event_asks_provider(kind), "the scenario of {kind:?}");
        if !effects.is_empty() {
            assert_effects_after_a_crash(shop, kind.type_name(), effects, ReadFrom::TheEvent).await;
        }
    }
}

/// Where the process manager starts to read the log.
#[derive(Clone, Copy, PartialEq)]
enum ReadFrom {
    TheBeginning,
    /// At the event, as if all earlier reactions were durable. The reaction to an earlier event of the same payment
    /// reads the latest state, so it would otherwise send or record what the event asks for too.
    TheEvent,
}

/// Appends an order event of this kind. Returns the types of the events that its reaction causes; empty for a
/// kind without a reaction.
async fn append_order_event(shop: &Shop, kind: OrderEventKind) -> &'static [&'static str] {
    match kind {
        OrderEventKind::Placed => {
            shop.receive("a", 5).await;
            let body = json!({"currency": "GBP", "lines": [line("a", 2, 100)]});
            let early = [("prefer", "respond-async")];
            shop.post_with("/v1/orders", "checkout", body, &early).await.expect(202);
            &["order.allocated.v1", "stock.reserved.v1"]
        }
        OrderEventKind::Allocated => {
            shop.receive("a", 5).await;
            shop.store.hold_from(crate::support::appends("payment.requested.v1"));
            let lines = [line("a", 2, 100)];
            tokio::select! {
                answer = shop.place("checkout", &lines) => panic!("answered: {answer:?}"),
                () = shop.store.held(1) => {}
            }
            &["payment.requested.v1"]
        }
        OrderEventKind::Rejected => {
            shop.receive("a", 5).await;
            let body = json!({"currency": "GBP", "lines": [line("a", 2, 100)]});
            let early = [("prefer", "respond-async")];
            let order = shop.post_with("/v1/orders", "checkout", body, &early).await.expect(202);
            let (id, sku) = (order_id(&order), Sku::new("a").unwrap());
            // The commands of a handler that dies before it releases the units.
            let reserve = StockCommand::Reserve { order_id: id, quantity: 2 };
            let context = CommandContext::notice("test", reserve.name());
            shop.checkout.stock.execute(&sku, reserve, &context).await.unwrap();
            let reject =
                OrderCommand::Reject { shortages: vec![Shortage { sku, requested: 3, available: 2 }] };
            let context = CommandContext::notice("test", reject.name());
            shop.checkout.orders.execute(&id, reject, &context).await.unwrap();
            &["stock.released.v1"]
        }
        OrderEventKind::Shipped => {
            let order = paid(shop).await;
            post(shop, &order, "shipments", json!({})).await;
            &["stock.shipped.v1"]
        }
        OrderEventKind::ShipmentUndone => {
            let order = paid(shop).await;
            let shipped = post(shop, &order, "shipments", json!({})).await;
            let undo = format!("shipments/{}/undo", shipped["shipment_id"].as_str().unwrap());
            post(shop, &order, &undo, json!({})).await;
            &["stock.unshipped.v1"]
        }
        OrderEventKind::Returned => {
            let order = paid(shop).await;
            post(shop, &order, "shipments", json!({})).await;
            post(shop, &order, "returns", json!({"lines": [{"line": 1, "quantity": 1}]})).await;
            &["payment.refund_requested.v1", "stock.returned.v1"]
        }
        OrderEventKind::CreditTakenBack => {
            let first = exchanged(shop).await;
            let state = shop.checkout.order(order_id(&first)).await.unwrap().state;
            let (exchange_id, refund_id) = (state.credits()[0].exchange_id, RefundId(Uuid::new_v4()));
            let amount = Amount::new(50).unwrap();
            let take = OrderCommand::TakeBackCredit { exchange_id, refund_id, amount };
            let context = CommandContext::notice("test", take.name());
            shop.checkout.orders.execute(&order_id(&first), take, &context).await.unwrap();
            &["payment.refund_requested.v1"]
        }
        OrderEventKind::RefundRequested => {
            let order = paid(shop).await;
            post(shop, &order, "refunds", json!({"amount": 50})).await;
            &["payment.refund_requested.v1"]
        }
        OrderEventKind::LinesCancelled => {
            let order = paid(shop).await;
            post(shop, &order, "cancel", json!({"lines": [{"line": 1, "quantity": 1}]})).await;
            &["payment.refund_requested.v1", "stock.released.v1"]
        }
        OrderEventKind::Cancelled => {
            let order = allocated(shop).await;
            post(shop, &order, "cancel", json!({})).await;
            RELEASED_AND_CLOSED
        }
        OrderEventKind::Expired => {
            let order = allocated(shop).await;
            let (id, context) = (order_id(&order), CommandContext::notice("test", "expire"));
            let expire = OrderCommand::Expire { now: Timestamp::MAX };
            let expired = shop.checkout.orders.execute(&id, expire, &context).await.unwrap();
            assert!(matches!(expired.outcome, Outcome::Recorded), "{expired:?}");
            RELEASED_AND_CLOSED
        }
        OrderEventKind::PaymentAdded => {
            shop.receive("a", 5).await;
            let body = json!({"currency": "GBP", "lines": [line("a", 2, 100)], "payments": [{"amount": 50}]});
            let order = shop.post("/v1/orders", "checkout", body).await.expect(201);
            // The command of a handler that dies before it requests the payment.
            let payment_id = PaymentId(uuid::Uuid::from_u128(9));
            let add = OrderCommand::AddPayment { payment_id, amount: None, charge: None };
            let (id, context) = (order_id(&order), CommandContext::notice("test", add.name()));
            shop.checkout.orders.execute(&id, add, &context).await.unwrap();
            &["payment.requested.v1"]
        }
        OrderEventKind::PaymentRecorded
        | OrderEventKind::PaymentEnded
        | OrderEventKind::Paid
        | OrderEventKind::AuthorizationRecorded
        | OrderEventKind::Delivered
        | OrderEventKind::DueMoved => &[],
    }
}

/// As [`append_order_event`], for receipts of several SKUs.
async fn append_receipt_event(shop: &Shop, kind: ReceiptEventKind) -> &'static [&'static str] {
    match kind {
        ReceiptEventKind::Accepted => {
            let item = |sku| ReceiptItem { sku: Sku::new(sku).unwrap(), quantity: 1, reference: None };
            let command = ReceiptCommand::Accept { items: vec![item("a"), item("b")] };
            let context = CommandContext::notice("test", command.name());
            let id = ReceiptId::from(context.id);
            shop.checkout.receipts.execute(&id, command, &context).await.unwrap();
            &["stock.received.v1", "stock.received.v1"]
        }
    }
}

/// As [`append_order_event`], for payments that are recorded by hand.
async fn append_payment_event(shop: &Shop, kind: PaymentEventKind) -> &'static [&'static str] {
    match kind {
        PaymentEventKind::Authorized => {
            shop.receive("a", 5).await;
            let body = json!({"currency": "GBP", "terms": "on_shipment", "lines": [line("a", 2, 100)]});
            let payment = payment_id(&shop.post("/v1/orders", "checkout", body).await.expect(201));
            record(shop, payment, PaymentCommand::Authorize { amount: None, reference: None }).await;
            &["order.authorization_recorded.v1"]
        }
        PaymentEventKind::Captured => {
            let payment = payment_id(&allocated(shop).await);
            record(shop, payment, PaymentCommand::Authorize { amount: None, reference: None }).await;
            record(shop, payment, PaymentCommand::Capture { amount: None, reference: None }).await;
            &["order.paid.v1", "order.payment_recorded.v1"]
        }
        PaymentEventKind::Refunded => {
            let payment = payment_id(&paid(shop).await);
            let refund_id = request_refund(shop, payment).await;
            record(shop, payment, PaymentCommand::RecordRefunded { refund_id, reference: None }).await;
            &["order.payment_recorded.v1"]
        }
        PaymentEventKind::RefundFailed => {
            let payment = payment_id(&paid(shop).await);
            let refund_id = request_refund(shop, payment).await;
            record(shop, payment, PaymentCommand::RecordRefundFailed { refund_id, reason: None }).await;
            &["order.payment_recorded.v1"]
        }
        PaymentEventKind::RefundFound => {
            let payment = payment_id(&paid(shop).await);
            report_refund(shop, payment, RefundId(Uuid::new_v4()), RefundOutcome::Pending).await;
            &["order.payment_recorded.v1"]
        }
        PaymentEventKind::RefundPending => {
            let payment = payment_id(&paid(shop).await);
            let refund_id = request_refund(shop, payment).await;
            record(shop, payment, PaymentCommand::RecordRefundFailed { refund_id, reason: None }).await;
            report_refund(shop, payment, refund_id, RefundOutcome::Pending).await;
            &["order.payment_recorded.v1"]
        }
        PaymentEventKind::Disputed => {
            dispute(shop, payment_id(&paid(shop).await), &[DisputeState::Open]).await;
            &["order.payment_recorded.v1"]
        }
        PaymentEventKind::DisputeWon => {
            let states = [DisputeState::Open, DisputeState::Won];
            dispute(shop, payment_id(&paid(shop).await), &states).await;
            &["order.payment_recorded.v1"]
        }
        PaymentEventKind::DisputeLost => {
            let states = [DisputeState::Open, DisputeState::Lost];
            dispute(shop, payment_id(&paid(shop).await), &states).await;
            &["order.payment_recorded.v1"]
        }
        PaymentEventKind::Failed => {
            let payment = payment_id(&allocated(shop).await);
            record(shop, payment, PaymentCommand::Fail { reason: None, retryable: false }).await;
            &["order.cancelled.v2"]
        }
        PaymentEventKind::Voided => {
            let payment = payment_id(&allocated(shop).await);
            record(shop, payment, PaymentCommand::Authorize { amount: None, reference: None }).await;
            record(shop, payment, PaymentCommand::Void { reason: None }).await;
            &["order.cancelled.v2"]
        }
        PaymentEventKind::Requested
        | PaymentEventKind::ChargeRequested
        | PaymentEventKind::ChargePending
        | PaymentEventKind::CaptureRequested
        | PaymentEventKind::VoidRequested
        | PaymentEventKind::OutcomeUnknown
        | PaymentEventKind::RefundRequested
        | PaymentEventKind::RefundOutcomeUnknown
        | PaymentEventKind::Adjusted
        | PaymentEventKind::Closed => &[],
    }
}

/// Appends a payment event that asks the provider. Returns the types of the events that record the answer.
async fn append_provider_request(shop: &Shop, kind: PaymentEventKind) -> &'static [&'static str] {
    match kind {
        PaymentEventKind::ChargeRequested => {
            let payment = payment_id(&allocated(shop).await);
            let (provider, method) = ("sandbox".to_owned(), "ok".to_owned());
            let charge = NewCharge { provider, method, capture: CaptureMode::Automatic };
            record(shop, payment, PaymentCommand::Charge(charge)).await;
            &["payment.captured.v1"]
        }
        PaymentEventKind::CaptureRequested => {
            let payment = charged(shop, "manual").await;
            record(shop, payment, PaymentCommand::Capture { amount: None, reference: None }).await;
            &["payment.captured.v1"]
        }
        PaymentEventKind::VoidRequested => {
            let payment = charged(shop, "manual").await;
            record(shop, payment, PaymentCommand::Void { reason: None }).await;
            &["payment.voided.v1"]
        }
        PaymentEventKind::RefundRequested => {
            let payment = charged(shop, "automatic").await;
            request_refund(shop, payment).await;
            &["payment.refunded.v1"]
        }
        PaymentEventKind::Requested
        | PaymentEventKind::ChargePending
        | PaymentEventKind::Authorized
        | PaymentEventKind::Captured
        | PaymentEventKind::Failed
        | PaymentEventKind::Voided
        | PaymentEventKind::OutcomeUnknown
        | PaymentEventKind::Refunded
        | PaymentEventKind::RefundFailed
        | PaymentEventKind::RefundFound
        | PaymentEventKind::RefundPending
        | PaymentEventKind::RefundOutcomeUnknown
        | PaymentEventKind::Disputed
        | PaymentEventKind::DisputeWon
        | PaymentEventKind::DisputeLost
        | PaymentEventKind::Adjusted
        | PaymentEventKind::Closed => &[],
    }
}

/// Crashes, starts a process manager, and waits for the events that the last event of this type causes.
async fn assert_effects_after_a_crash(shop: Shop, type_name: &str, effects: &[&str], from: ReadFrom) {
    let mut restarted = shop.crash().await;
    let before = restarted.log().await;
    let appended = before.0.iter().rposition(|event| &*event.type_name == type_name);
    let index = appended.unwrap_or_else(|| panic!("the scenario appends no {type_name}"));
    let cause = before.0[index].id;
    let caused = |log: &Log| {
        let events = log.0.iter().filter(|event| metadata(event).causation_id == Some(cause));
        let mut types: Vec<String> = events.map(|event| event.type_name.to_string()).collect();
        types.sort_unstable();
        types
    };
    assert!(
        caused(&before).is_empty(),
        "{type_name} had its reaction before the crash: {:?}",
        caused(&before)
    );
    if from == ReadFrom::TheEvent {
        restarted.save_reacted_up_to(before.0[index - 1].position).await;
    }
    restarted.start_process_manager();
    restarted.until(&format!("{type_name} causes {effects:?}"), |log| caused(log) == effects).await;
}

/// An order of two units for 100 each, whose payment is requested.
async fn allocated(shop: &Shop) -> Value {
    shop.receive("a", 5).await;
    shop.place("checkout", &[line("a", 2, 100)]).await.expect(201)
}

/// An order whose units are exchanged for those of another.
async fn exchanged(shop: &Shop) -> Value {
    let order = paid(shop).await;
    post(shop, &order, "shipments", json!({})).await;
    let body =
        json!({"return": {"lines": [{"line": 1, "quantity": 1}]}, "order": {"lines": [line("a", 1, 100)]}});
    post(shop, &order, "exchanges", body).await;
    order
}

async fn paid(shop: &Shop) -> Value {
    let order = allocated(shop).await;
    shop.pay(&order).await;
    order
}

/// The payment of an order that the sandbox has charged.
async fn charged(shop: &Shop, capture: &str) -> PaymentId {
    let payment = payment_id(&allocated(shop).await);
    let body = json!({"method": "ok", "capture": capture});
    shop.post(&format!("/v1/payments/{payment}/charge"), "charge", body).await.expect(200);
    payment
}

async fn post(shop: &Shop, order: &Value, action: &str, body: Value) -> Value {
    let answer = shop.post(&format!("/v1/orders/{}/{action}", order_id(order)), action, body).await;
    assert!(answer.status.is_success(), "{action}: {}", answer.text());
    answer.json()
}

/// Runs a payment command without the reactions that a handler would run.
async fn record(shop: &Shop, payment: PaymentId, command: PaymentCommand) {
    let context = CommandContext::notice("test", command.name());
    let executed = shop.checkout.payments.execute(&payment, command, &context).await.unwrap();
    assert!(matches!(executed.outcome, Outcome::Recorded), "{executed:?}");
}

async fn request_refund(shop: &Shop, payment: PaymentId) -> RefundId {
    let refund_id = RefundId(Uuid::new_v4());
    let (amount, reason) = (Amount::new(50).unwrap(), RefundReason::Requested);
    record(shop, payment, PaymentCommand::RequestRefund { refund_id, amount, reason }).await;
    refund_id
}

async fn report_refund(shop: &Shop, payment: PaymentId, refund_id: RefundId, outcome: RefundOutcome) {
    let (amount, reference) = (Amount::new(50).unwrap(), "re".to_owned());
    let report = RefundReport { refund_id, charge: None, amount, reference, outcome };
    record(shop, payment, PaymentCommand::ReportRefund(report)).await;
}

/// Reports a dispute, once for each of its states.
async fn dispute(shop: &Shop, payment: PaymentId, states: &[DisputeState]) {
    for state in states {
        let (reference, amount) = ("dp".to_owned(), Amount::new(50).unwrap());
        let report = DisputeReport { charge: 0, reference, amount, reason: None, state: *state };
        let context = CommandContext::notice("test", &format!("{state:?}"));
        let command = PaymentCommand::ReportDispute(report);
        shop.checkout.payments.execute(&payment, command, &context).await.unwrap();
    }
}

fn order_id(order: &Value) -> OrderId {
    order["order_id"].as_str().unwrap().parse().unwrap()
}

fn payment_id(order: &Value) -> PaymentId {
    order["payment_id"].as_str().unwrap().parse().unwrap()
}

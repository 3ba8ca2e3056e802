//! Everything stored must stay readable for ever: event data, enumerations, command names and derived ids.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use domain::{
    Amount, CancellationId, CommandContext, CommandId, EventId, EventMetadata, ExchangeId, Idempotency,
    OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, StreamName, Timestamp, TraceParent,
    credit::CreditGiven,
    decider::StoredEvent,
    envelope::seal,
    exchange::{ExchangeCommand, ExchangeEvent, ExchangeSettled, RefusedBecause},
    order::{
        CancelReason, NewCancellation, NewReturn, OrderAuthorizationRecorded, OrderCommand, OrderEvent,
        OrderPaymentRecorded, OrderPlaced, PaymentTerms, PlaceOrder, TenderEnding,
    },
    payment::{
        CaptureMode, ChargeEnding, DisputeReport, DisputeState, NewCharge, Operation, PaymentAdjusted,
        PaymentCommand, PaymentEvent, ProviderReport, RefundOutcome, RefundReason, RefundReport,
        RefundSource,
    },
    receipt::{ReceiptCommand, ReceiptEvent},
    shares::AdjustmentKind,
    stock::{StockCommand, StockDecider, StockEvent},
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

fn golden_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// The names of the golden files, without `.json`.
fn golden_names() -> BTreeSet<String> {
    let entries = fs::read_dir(golden_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter_map(|name| name.to_str().unwrap().strip_suffix(".json").map(str::to_owned)).collect()
}

/// Forms of an event besides the one with all members of its first build: without the optional members, and
/// with the members that a later build added.
const FORMS: [&str; 7] = [".minimal", ".levels", ".part", ".provider", ".payments", ".terms", ".exchange"];

fn type_of(golden_name: &str) -> &str {
    FORMS.iter().find_map(|form| golden_name.strip_suffix(form)).unwrap_or(golden_name)
}

/// The name of a type without its version.
fn family_of(type_name: &str) -> &str {
    type_name.rsplit_once('.').map_or(type_name, |(family, _)| family)
}

fn members_of(golden_name: &str) -> serde_json::Map<String, Value> {
    let data = fs::read(golden_dir().join(format!("{golden_name}.json"))).unwrap();
    let Value::Object(members) = serde_json::from_slice(&data).unwrap() else {
        panic!("{golden_name}.json is not an object")
    };
    members
}

/// Decodes and encodes again. Returns the type name that the event is stored under, and its JSON.
fn round_trip<E: StoredEvent>(type_name: &str, data: &[u8]) -> (&'static str, Value) {
    let event = E::from_json(type_name, data).unwrap_or_else(|error| panic!("{error}"));
    (event.type_name(), serde_json::from_slice(&event.to_json()).unwrap())
}

#[test]
fn every_stored_event_decodes_and_encodes_to_the_same_json() {
    for name in golden_names() {
        let data = fs::read(golden_dir().join(format!("{name}.json"))).unwrap();
        let type_name = type_of(&name);
        let (stored_as, encoded) = match type_name.split('.').next() {
            Some("stock") => round_trip::<StockEvent>(type_name, &data),
            Some("order") => round_trip::<OrderEvent>(type_name, &data),
            Some("payment") => round_trip::<PaymentEvent>(type_name, &data),
            Some("receipt") => round_trip::<ReceiptEvent>(type_name, &data),
            Some("exchange") => round_trip::<ExchangeEvent>(type_name, &data),
            _ => panic!("{name}.json does not name an aggregate"),
        };
        if stored_as == type_name {
            assert_eq!(encoded, serde_json::from_slice::<Value>(&data).unwrap(), "{name}.json");
        } else {
            // An event of an earlier version decodes as the latest one.
            assert_eq!(family_of(stored_as), family_of(type_name));
            assert!(stored_as > type_name, "{name}.json is stored as the earlier {stored_as}");
            let again = OrderEvent::from_json(stored_as, &serde_json::to_vec(&encoded).unwrap()).unwrap();
            assert_eq!(again, OrderEvent::from_json(type_name, &data).unwrap(), "{name}.json");
        }
    }
}

#[test]
fn every_event_type_has_a_golden_file_and_every_golden_file_a_type() {
    let types = [
        StockEvent::TYPE_NAMES,
        OrderEvent::TYPE_NAMES,
        PaymentEvent::TYPE_NAMES,
        ReceiptEvent::TYPE_NAMES,
        ExchangeEvent::TYPE_NAMES,
    ]
    .concat();
    let names = golden_names();
    let full: Vec<&str> = names.iter().map(String::as_str).filter(|name| type_of(name) == *name).collect();
    assert_eq!(full, types.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    for form in names.iter().filter(|name| type_of(name) != *name) {
        assert!(full.contains(&type_of(form)), "{form}.json has no full counterpart");
    }
}

#[test]
fn every_optional_member_is_absent_from_a_golden_file() {
    // A member is optional if the event decodes and encodes without it, or with null in its place.
    for name in golden_names() {
        let (type_name, members) = (type_of(&name), members_of(&name));
        let decodes = |members: &serde_json::Map<String, Value>| {
            let data = serde_json::to_vec(members).unwrap();
            StockEvent::from_json(type_name, &data).is_ok()
                || OrderEvent::from_json(type_name, &data).is_ok()
                || PaymentEvent::from_json(type_name, &data).is_ok()
                || ReceiptEvent::from_json(type_name, &data).is_ok()
                || ExchangeEvent::from_json(type_name, &data).is_ok()
        };
        for member in members.keys() {
            let mut without = members.clone();
            without.remove(member);
            let is_optional = decodes(&without) && !members[member].is_null();
            // An earlier version lacks the members that a later one added.
            let mut forms =
                golden_names().into_iter().filter(|form| family_of(type_of(form)) == family_of(type_name));
            let is_absent = forms.any(|form| members_of(&form).get(member).is_none_or(Value::is_null));
            assert!(!is_optional || is_absent, "{name}.json: {member} is optional");
        }
    }
}

#[test]
fn an_event_that_cannot_be_decoded_is_an_error_that_names_its_type() {
    let error = OrderEvent::from_json("order.placed.v0", b"{}").unwrap_err();
    assert!(error.to_string().contains("order.placed.v0"), "{error}");
    let error = OrderEvent::from_json("order.placed.v1", b"{}").unwrap_err();
    assert!(error.to_string().contains("order.placed.v1"), "{error}");
}

#[test]
fn metadata_decodes_and_encodes_to_the_same_json() {
    let id = "0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f";
    let minimal = json!({ "command_id": id, "command": "order.place", "correlation_id": id });
    let mut full = minimal.clone();
    full["causation_id"] = id.into();
    full["idempotency"] = json!({ "key": "checkout-4711", "fingerprint": "00ff", "schema": 1 });
    // Since callers are authenticated.
    let mut known = full.clone();
    known["actor"] = json!({ "principal": "shop" });
    let mut for_a_person = full.clone();
    for_a_person["actor"] = json!({ "principal": "https://id.example|7", "person": "jana@shop.example" });
    // Since traces are exported.
    let mut traced = known.clone();
    traced["traceparent"] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into();
    for golden in [minimal, full, known, for_a_person, traced] {
        let metadata: EventMetadata = serde_json::from_value(golden.clone()).unwrap();
        assert_eq!(stored(metadata), golden);
    }
}

#[test]
fn metadata_with_a_trace_that_this_version_cannot_read_decodes_without_it() {
    let id = "0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f";
    let stored = json!({ "command_id": id, "command": "c", "correlation_id": id, "traceparent": "ff-new" });
    assert_eq!(serde_json::from_value::<EventMetadata>(stored).unwrap().traceparent, None);
}

#[test]
fn a_trace_changes_only_the_metadata_of_an_event() {
    let idempotency = Idempotency { key: "k".to_owned(), fingerprint: "00ff".to_owned(), schema: 1 };
    let context = CommandContext::external(CommandId(Uuid::nil()), idempotency);
    let trace = TraceParent { trace_id: 1, span_id: 2, is_sampled: true };
    let received = StockEvent::from_json("stock.received.v1", br#"{"quantity":1}"#).unwrap();
    let seal = |context: &CommandContext| {
        let events = [received.clone()];
        let sealed = seal::<StockDecider>(context, "stock.receive", &events);
        sealed.into_iter().next().unwrap()
    };
    let (plain, traced) = (seal(&context), seal(&context.clone().in_trace(Some(trace))));
    assert_eq!((plain.id, &plain.data), (traced.id, &traced.data));
    let mut metadata: Value = serde_json::from_slice(&traced.metadata).unwrap();
    let stored = metadata.as_object_mut().unwrap().remove("traceparent");
    assert_eq!(stored, Some(trace.to_string().into()));
    assert_eq!(serde_json::from_slice::<Value>(&plain.metadata).unwrap(), metadata);
}

#[test]
fn the_names_of_actors_without_credentials_never_change() {
    let (id, target) = (CommandId(Uuid::nil()), StreamName::from(OrderId(Uuid::nil())));
    let idempotency = Idempotency { key: "k".to_owned(), fingerprint: "00ff".to_owned(), schema: 1 };
    let actor_of = |context: CommandContext| stored(context.actor);
    assert_eq!(actor_of(CommandContext::external(id, idempotency)), json!({ "principal": "anonymous" }));
    let reaction = CommandContext::reaction(EventId(Uuid::nil()), Uuid::nil(), &target, "order.allocate");
    assert_eq!(actor_of(reaction), json!({ "principal": "orderly:process-manager" }));
    let timed = CommandContext::timed(&target, Uuid::nil(), "order.expire", None);
    assert_eq!(actor_of(timed), json!({ "principal": "orderly:timer" }));
    assert_eq!(
        actor_of(CommandContext::notice("stripe", "evt_1")),
        json!({ "principal": "provider:stripe" })
    );
}

fn stored(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn enumerations_are_stored_under_their_names() {
    assert_eq!(stored(CancelReason::Requested), "requested");
    assert_eq!(stored(CancelReason::PaymentFailed), "payment_failed");
    assert_eq!(stored(CancelReason::PaymentVoided), "payment_voided");
    for terms in PaymentTerms::ALL {
        assert_eq!(stored(terms), terms.as_str());
    }
    assert_eq!(stored(TenderEnding::Failed), "failed");
    assert_eq!(stored(TenderEnding::Voided), "voided");
    assert_eq!(AdjustmentKind::ALL.map(stored), AdjustmentKind::ALL.map(|kind| json!(kind.as_str())));
    assert_eq!(AdjustmentKind::ALL.map(stored), ["discount", "tax", "shipping", "fee"]);
    assert_eq!(stored(Operation::Authorize), "authorize");
    assert_eq!(stored(Operation::Capture), "capture");
    assert_eq!(stored(Operation::Void), "void");
    assert_eq!(stored(RefundReason::Return), "return");
    assert_eq!(stored(RefundReason::Requested), "requested");
    assert_eq!(stored(RefundReason::OrderClosed), "order_closed");
    assert_eq!(stored(RefundReason::Provider), "provider");
    assert_eq!(stored(RefundSource::Manual), "manual");
    assert_eq!(stored(RefundSource::Charge(1)), json!({"charge": 1}));
}

// Command names are part of the ids of reactions: a changed name would execute old reactions again.

#[test]
fn names_of_stock_commands_never_change() {
    let (order_id, quantity) = (OrderId(Uuid::nil()), 1);
    let (shipment_id, return_id) = (ShipmentId(Uuid::nil()), ReturnId(Uuid::nil()));
    let cancellation_id = CancellationId(Uuid::nil());
    let commands = [
        StockCommand::Receive { quantity, reference: None },
        StockCommand::ReceiveAccepted { quantity, reference: None },
        StockCommand::Adjust { delta: 1, reason: None },
        StockCommand::Reserve { order_id, quantity },
        StockCommand::CheckReserve { order_id, quantity },
        StockCommand::Release { order_id, quantity },
        StockCommand::ReleasePart { order_id, cancellation_id, quantity },
        StockCommand::Ship { order_id, shipment_id, quantity },
        StockCommand::Unship { order_id, shipment_id, quantity, shipments: Vec::new() },
        StockCommand::Return { order_id, return_id, quantity },
    ];
    // A new command does not compile before its name is here. Add it to `commands` too.
    let stored = |command: &StockCommand| match command {
        StockCommand::Receive { .. } => "stock.receive",
        StockCommand::ReceiveAccepted { .. } => "stock.receive_accepted",
        StockCommand::Adjust { .. } => "stock.adjust",
        StockCommand::Reserve { .. } => "stock.reserve",
        StockCommand::CheckReserve { .. } => "stock.check_reserve",
        StockCommand::Release { .. } => "stock.release",
        StockCommand::ReleasePart { .. } => "stock.release_part",
        StockCommand::Ship { .. } => "stock.ship",
        StockCommand::Unship { .. } => "stock.unship",
        StockCommand::Return { .. } => "stock.return",
    };
    assert_eq!(commands.each_ref().map(StockCommand::name), commands.each_ref().map(stored));
}

#[test]
fn names_of_receipt_commands_never_change() {
    let command = ReceiptCommand::Accept { items: Vec::new() };
    // A new command does not compile before its name is here.
    let stored = match command {
        ReceiptCommand::Accept { .. } => "receipt.accept",
    };
    assert_eq!(command.name(), stored);
}

/// The content of a stored order.
fn new_order() -> OrderPlaced {
    let data = fs::read(golden_dir().join("order.placed.v2.minimal.json")).unwrap();
    serde_json::from_slice(&data).unwrap()
}

#[test]
fn names_of_exchange_commands_never_change() {
    let data = fs::read(golden_dir().join("exchange.requested.v1.json")).unwrap();
    let requested = serde_json::from_slice(&data).unwrap();
    let settled = ExchangeSettled { refund_amount: Amount::ZERO, return_revision: 0, order_revision: 0 };
    let commands = [
        ExchangeCommand::Request(Box::new(requested)),
        ExchangeCommand::Settle(settled),
        ExchangeCommand::Refuse(RefusedBecause::OrderEnded),
    ];
    // A new command does not compile before its name is here. Add it to `commands` too.
    let stored = |command: &ExchangeCommand| match command {
        ExchangeCommand::Request(_) => "exchange.request",
        ExchangeCommand::Settle(_) => "exchange.settle",
        ExchangeCommand::Refuse(_) => "exchange.refuse",
    };
    assert_eq!(commands.each_ref().map(ExchangeCommand::name), commands.each_ref().map(stored));
}

#[test]
fn names_of_order_commands_never_change() {
    let (order_id, payment_id) = (OrderId(Uuid::nil()), PaymentId(Uuid::nil()));
    let (shipment_id, return_id) = (ShipmentId(Uuid::nil()), ReturnId(Uuid::nil()));
    let (refund_id, amount) = (RefundId(Uuid::nil()), Amount::ZERO);
    let exchange_id = ExchangeId(Uuid::nil());
    let placed_at = "2010-12-01T08:26:00Z".parse().unwrap();
    let place = PlaceOrder {
        order_id,
        customer_id: None,
        currency: "GBP".parse().unwrap(),
        country: None,
        lines: Vec::new(),
        adjustments: Vec::new(),
        prices_include_tax: false,
        reference: None,
        metadata: std::collections::BTreeMap::new(),
        placed_at,
        now: placed_at,
        payment_due_at: None,
        terms: PaymentTerms::Prepaid,
        captures_in_parts: true,
        payment: None,
        payments: Vec::new(),
    };
    let recorded = OrderAuthorizationRecorded { payment_id, authorized: amount, until: None, number: 1 };
    let commands = [
        OrderCommand::Place(Box::new(place)),
        OrderCommand::Allocate { payment_id },
        OrderCommand::Reject { shortages: Vec::new() },
        OrderCommand::RecordPayment(OrderPaymentRecorded::default()),
        OrderCommand::RecordAuthorization(recorded),
        OrderCommand::Ship { shipment_id, lines: None, carrier: None, tracking_number: None, now: placed_at },
        OrderCommand::Deliver { shipment_id },
        OrderCommand::UndoShipment { shipment_id, reason: None },
        OrderCommand::MoveDue { payment_due_at: None, now: placed_at },
        OrderCommand::Return(NewReturn { return_id, lines: Vec::new(), refund_amount: None, reason: None }),
        OrderCommand::PlaceExchanged(Box::new(new_order())),
        OrderCommand::ReturnForCredit {
            new_return: NewReturn { return_id, lines: Vec::new(), refund_amount: None, reason: None },
            credit: CreditGiven { exchange_id, order_id, amount },
        },
        OrderCommand::TakeBackCredit { exchange_id, refund_id, amount },
        OrderCommand::AddPayment { payment_id, amount: None, charge: None },
        OrderCommand::EndPayment { payment_id, ending: TenderEnding::Failed, captured: amount },
        OrderCommand::Refund { refund_id, amount, lines: Vec::new(), payment_id: None, reason: None },
        OrderCommand::Cancel(NewCancellation::of_the_rest(
            CancellationId(Uuid::nil()),
            CancelReason::Requested,
        )),
        OrderCommand::Expire { now: placed_at },
    ];
    // A new command does not compile before its name is here. Add it to `commands` too.
    let stored = |command: &OrderCommand| match command {
        OrderCommand::Place(_) => "order.place",
        OrderCommand::Allocate { .. } => "order.allocate",
        OrderCommand::Reject { .. } => "order.reject",
        OrderCommand::RecordPayment(_) => "order.record_payment",
        OrderCommand::RecordAuthorization(_) => "order.record_authorization",
        OrderCommand::AddPayment { .. } => "order.add_payment",
        OrderCommand::EndPayment { .. } => "order.end_payment",
        OrderCommand::Ship { .. } => "order.ship",
        OrderCommand::Deliver { .. } => "order.deliver",
        OrderCommand::UndoShipment { .. } => "order.undo_shipment",
        OrderCommand::MoveDue { .. } => "order.move_due",
        OrderCommand::Return(_) => "order.return",
        OrderCommand::PlaceExchanged(_) => "order.place_exchanged",
        OrderCommand::ReturnForCredit { .. } => "order.return_for_credit",
        OrderCommand::TakeBackCredit { .. } => "order.take_back_credit",
        OrderCommand::Refund { .. } => "order.refund",
        OrderCommand::Cancel(_) => "order.cancel",
        OrderCommand::Expire { .. } => "order.expire",
    };
    assert_eq!(commands.each_ref().map(OrderCommand::name), commands.each_ref().map(stored));
}

#[test]
fn names_of_payment_commands_never_change() {
    let (payment_id, order_id) = (PaymentId(Uuid::nil()), OrderId(Uuid::nil()));
    let (refund_id, amount) = (RefundId(Uuid::nil()), Amount::ZERO);
    let currency = "GBP".parse().unwrap();
    let new_charge = NewCharge { provider: "p".into(), method: "m".into(), capture: CaptureMode::Manual };
    let ending = Some(ChargeEnding::Voided);
    let report = ProviderReport { ending, ..ProviderReport::of_amounts(1, "r", amount, amount) };
    let (reference, charge) = ("re".to_owned(), 1);
    let refund_report = RefundReport {
        refund_id,
        charge: None,
        amount,
        reference: reference.clone(),
        outcome: RefundOutcome::Refunded,
    };
    let dispute_report = DisputeReport { charge, reference, amount, reason: None, state: DisputeState::Open };
    let commands = [
        PaymentCommand::Request {
            payment_id,
            order_id,
            amount,
            currency,
            charge: None,
            terms: PaymentTerms::Prepaid,
            credit: None,
        },
        PaymentCommand::GiveCredit,
        PaymentCommand::Charge(new_charge),
        PaymentCommand::Report { report, is_answer: true },
        PaymentCommand::Authorize { amount: None, reference: None },
        PaymentCommand::Capture { amount: None, reference: None },
        PaymentCommand::Fail { reason: None, retryable: false },
        PaymentCommand::Void { reason: None },
        PaymentCommand::MarkOutcomeUnknown { operation: Operation::Void },
        PaymentCommand::RequestRefund { refund_id, amount, reason: RefundReason::Return },
        PaymentCommand::RetryRefund { refund_id, by_hand: true },
        PaymentCommand::ReportRefund(refund_report),
        PaymentCommand::ReportDispute(dispute_report),
        PaymentCommand::MarkRefundOutcomeUnknown { refund_id },
        PaymentCommand::RecordRefunded { refund_id, reference: None },
        PaymentCommand::RecordRefundFailed { refund_id, reason: None },
        PaymentCommand::EndAuthorization { now: Timestamp::UNIX_EPOCH },
        PaymentCommand::Adjust(PaymentAdjusted {
            amount: None,
            capture_due: amount,
            amount_due: None,
            number: 1,
        }),
        PaymentCommand::Close { order_id, amount_due: amount, refund: None },
    ];
    // A new command does not compile before its name is here. Add it to `commands` too.
    let stored = |command: &PaymentCommand| match command {
        PaymentCommand::Request { .. } => "payment.request",
        PaymentCommand::GiveCredit => "payment.give_credit",
        PaymentCommand::Charge(_) => "payment.charge",
        PaymentCommand::Report { .. } => "payment.report",
        PaymentCommand::Authorize { .. } => "payment.authorize",
        PaymentCommand::Capture { .. } => "payment.capture",
        PaymentCommand::Fail { .. } => "payment.fail",
        PaymentCommand::Void { .. } => "payment.void",
        PaymentCommand::MarkOutcomeUnknown { .. } => "payment.mark_outcome_unknown",
        PaymentCommand::RequestRefund { .. } => "payment.request_refund",
        PaymentCommand::RetryRefund { .. } => "payment.retry_refund",
        PaymentCommand::ReportRefund(_) => "payment.report_refund",
        PaymentCommand::ReportDispute(_) => "payment.report_dispute",
        PaymentCommand::MarkRefundOutcomeUnknown { .. } => "payment.mark_refund_outcome_unknown",
        PaymentCommand::RecordRefunded { .. } => "payment.record_refunded",
        PaymentCommand::RecordRefundFailed { .. } => "payment.record_refund_failed",
        PaymentCommand::EndAuthorization { .. } => "payment.end_authorization",
        PaymentCommand::Adjust(_) => "payment.adjust",
        PaymentCommand::Close { .. } => "payment.close",
    };
    assert_eq!(commands.each_ref().map(PaymentCommand::name), commands.each_ref().map(stored));
}

/// These ids are deduplication keys: another derivation would execute old requests again. The expected values
/// were computed without this code, by RFC 9562 version 5 in the namespace
/// 6f726465-726c-7900-8000-c0de00000001.
#[test]
fn derived_ids_never_change() {
    let request = CommandId::of_request("shop", "POST", "/v1/orders", "checkout-4711");
    assert_eq!(request.to_string(), "e980daed-8f5f-57a0-8fcd-a27050ed5caf");
    assert_eq!(EventId::of_command(request, 0).to_string(), "63d303ea-c651-5f59-97bd-34621a5b0dd5");
    assert_eq!(EventId::of_command(request, 1).to_string(), "2f35bd37-9ce9-53cb-a52d-ead9381fec5a");
    let fingerprint = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    assert_eq!(EventId::of_content(request, fingerprint).to_string(), "2eb741ae-b9dd-5230-a290-583b15823079");
    assert_eq!(OrderId::of_command(request).to_string(), "a2c95dc6-6755-50e3-9e0c-37002cc0b583");
    assert_eq!(ShipmentId::of_command(request).to_string(), "dcae2c74-88af-53d2-9491-c3c15210647a");
    assert_eq!(ReturnId::of_command(request).to_string(), "854c3482-c835-5054-82af-78f288f74deb");
    assert_eq!(CancellationId::of_command(request).to_string(), "21fe4dc6-9b28-5869-b78c-795bbd0647fb");
    assert_eq!(RefundId::of_command(request).to_string(), "70772739-237e-5293-bc71-92011dd16f5d");

    let stock = StreamName::Stock(Sku::new("85123A").unwrap());
    let reaction = CommandId::of_reaction(EventId::of_command(request, 0), &stock, "stock.reserve");
    assert_eq!(reaction.to_string(), "bb924ecc-9812-59bc-a4e8-eb59b35548b6");

    let payment = PaymentId::of_order(OrderId::of_command(request));
    assert_eq!(payment.to_string(), "b2ce0cd4-d11d-5b30-b792-ff52f2959f11");
    assert_eq!(RefundId::of_closing(payment, 0).to_string(), "117abcf9-2506-5972-90ee-5b5b817f6548");
    assert_eq!(RefundId::of_closing(payment, 1).to_string(), "ec67c792-ac32-5513-ba3d-17633620fff5");
    let second = PaymentId::of_tender(OrderId::of_command(request), 2);
    assert_eq!(second.to_string(), "63199f7e-e180-553d-90a4-613b29bb8cfa");
    assert_eq!(PaymentId::of_command(request).to_string(), "1111248c-d316-5cf0-a249-3624cdaa59c1");
    let return_id = ReturnId::of_command(request);
    assert_eq!(RefundId::from(return_id).to_string(), return_id.to_string());
    let part = RefundId::of_payment(return_id.into(), payment);
    assert_eq!(part.to_string(), "d0eaf147-301e-5d0a-a40c-96247ee1aa74");
}

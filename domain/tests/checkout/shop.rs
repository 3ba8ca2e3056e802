//! The commands of customers, operators and the payment provider.

use std::collections::BTreeMap;

use domain::{
    Amount, CancellationId, CommandId, ExchangeId, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku,
    Timestamp,
    checkout::Step,
    exchange::{self, ExchangeCommand},
    order::{
        Adjustment, CancelReason, LineQuantity, NewCancellation, NewLine, NewReturn, NewTender, Order,
        OrderCommand, PaymentTerms, PlaceOrder, ReturnLine,
    },
    payment::{
        CaptureMode, ChargeEnding, DisputeReport, DisputeState, NewCharge, Operation, Payment,
        PaymentCommand, ProviderReport, RefundOutcome, RefundReport, RefundSource,
    },
    stock::StockCommand,
};
use uuid::Uuid;

use crate::world::{Answer, World};

/// The id of external command number `number`.
pub fn request(number: usize) -> CommandId {
    CommandId(Uuid::from_u128(0xFEED_0000_0000_0000 + number as u128))
}

pub fn order_id(slot: usize) -> OrderId {
    OrderId(Uuid::from_u128(1 + slot as u128))
}

pub fn sku(index: usize) -> Sku {
    Sku::new(["MUG", "BOWL", "PLATE"][index % 3]).unwrap()
}

pub fn pence(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

/// A line as (SKU, units, price). Without a SKU it is postage.
pub type LineSketch = (Option<usize>, u32, i64);

#[derive(Debug, Clone, Default)]
pub struct Basket {
    pub lines: Vec<LineSketch>,
    pub adjustment: i64,
    pub terms: PaymentTerms,
    /// Amounts of the payments. If empty: one payment of the total.
    pub payments: Vec<i64>,
}

impl Basket {
    pub fn place(&self, order_id: OrderId) -> OrderCommand {
        let line = |&(index, quantity, price): &LineSketch| NewLine {
            sku: index.map_or_else(|| Sku::new("POST").unwrap(), sku),
            quantity,
            unit_price: pence(price),
            stocked: index.is_some(),
            adjustments: Vec::new(),
        };
        OrderCommand::Place(Box::new(PlaceOrder {
            order_id,
            customer_id: None,
            currency: "GBP".parse().unwrap(),
            country: None,
            lines: self.lines.iter().map(line).collect(),
            adjustments: vec![Adjustment::new("adjustment", pence(self.adjustment))],
            prices_include_tax: false,
            reference: None,
            metadata: BTreeMap::new(),
            placed_at: Timestamp::UNIX_EPOCH,
            now: Timestamp::UNIX_EPOCH,
            payment_due_at: Some(Timestamp::UNIX_EPOCH),
            terms: self.terms,
            captures_in_parts: true,
            payment: None,
            payments: self.payments.iter().map(|amount| tender(*amount)).collect(),
        }))
    }
}

fn tender(amount: i64) -> NewTender {
    NewTender { amount: pence(amount), charge: None, credit: None }
}

/// A command from outside. Orders are named by their slot.
#[derive(Debug, Clone)]
pub enum Deed {
    Receive {
        sku: usize,
        quantity: u32,
    },
    Adjust {
        sku: usize,
        delta: i64,
    },
    Place {
        slot: usize,
    },
    Cancel {
        slot: usize,
    },
    CancelPart {
        slot: usize,
        part: (u32, u32),
        amount: Option<i64>,
    },
    Expire {
        slot: usize,
    },
    Ship {
        slot: usize,
        part: Option<(u32, u32)>,
    },
    Deliver {
        slot: usize,
    },
    Undo {
        slot: usize,
    },
    MoveDue {
        slot: usize,
    },
    Return {
        slot: usize,
        part: (u32, u32),
        restock: bool,
        amount: Option<i64>,
    },
    Refund {
        slot: usize,
        amount: i64,
    },
    /// Exchanges units of an order for the basket of another slot.
    Exchange {
        slot: usize,
        part: (u32, u32),
        new: usize,
    },
    AddPayment {
        slot: usize,
        amount: Option<i64>,
    },
    /// A deed on a further payment of the order: `tender` counts from 0.
    OnTender {
        tender: usize,
        deed: Box<Deed>,
    },
    Authorize {
        slot: usize,
        amount: Option<i64>,
    },
    Capture {
        slot: usize,
        amount: Option<i64>,
    },
    /// Requests a charge from the provider.
    Charge {
        slot: usize,
    },
    /// The provider reports on the latest charge.
    Report {
        slot: usize,
        authorized: i64,
        captured: i64,
        ending: Option<ChargeEnding>,
        is_answer: bool,
    },
    PayAll {
        slot: usize,
    },
    Fail {
        slot: usize,
        retryable: bool,
    },
    Void {
        slot: usize,
    },
    LoseAnswer {
        slot: usize,
        operation: Operation,
    },
    RefundEnds {
        slot: usize,
        refunded: bool,
    },
    /// The provider reports the refund of the latest request, or one that it made without a request.
    RefundReported {
        slot: usize,
        outcome: RefundOutcome,
    },
    /// The provider reports the only dispute of the payment.
    Dispute {
        slot: usize,
        amount: i64,
        state: DisputeState,
    },
}

/// Sends the command as request `number`. The same number again is a retry.
pub fn act(world: &mut World, baskets: &[Basket], deed: &Deed, number: usize) -> Answer {
    let id = request(number);
    let (tender, deed) = match deed {
        Deed::OnTender { tender, deed } => (*tender, &**deed),
        _ => (0, deed),
    };
    if let Deed::PayAll { slot } = *deed {
        let payment_id = payment_of(world, slot, tender);
        let authorize = PaymentCommand::Authorize { amount: None, reference: None };
        world.send(Step::Payment(payment_id, authorize), id);
        let capture = PaymentCommand::Capture { amount: None, reference: None };
        return world.send(Step::Payment(payment_id, capture), CommandId(Uuid::new_v5(&id.0, b"capture")));
    }
    if let Deed::Exchange { slot, part, new } = *deed {
        return exchange(world, baskets, (slot, part, new), id);
    }
    match step(world, baskets, (tender, deed), id) {
        Some(step) => world.send(step, id),
        None => Answer::Refused("no shipment or refund to act on".into()),
    }
}

/// Checks an exchange and records its intent.
fn exchange(
    world: &mut World,
    baskets: &[Basket],
    (slot, (line, quantity), new): (usize, (u32, u32), usize),
    id: CommandId,
) -> Answer {
    let (exchange_id, new_id) = (ExchangeId::from(id), order_id(new));
    let is_known = world.exchange(exchange_id).is_some();
    if world.order(new_id).exists() || world.asks_for_order(new_id) && !is_known {
        return Answer::Refused("the slot of the new order is taken".into());
    }
    let Some(basket) = baskets.get(new) else { return Answer::Refused("no basket".into()) };
    let basket = Basket { payments: Vec::new(), terms: PaymentTerms::Prepaid, ..basket.clone() };
    let OrderCommand::Place(place) = basket.place(new_id) else { unreachable!("a basket is placed") };
    let new_return = NewReturn {
        return_id: ReturnId::of_command(id),
        lines: vec![ReturnLine { line, quantity, restock: true }],
        refund_amount: None,
        reason: None,
    };
    match exchange::plan(exchange_id, &world.order(order_id(slot)), new_return, *place) {
        Ok(requested) => {
            let command = ExchangeCommand::Request(Box::new(requested));
            world.send(Step::Exchange(exchange_id, command), id)
        }
        Err(refusal) => Answer::Refused(refusal.to_string()),
    }
}

fn payment_of(world: &World, slot: usize, tender: usize) -> PaymentId {
    let order = world.order(order_id(slot));
    let tenders = order.tenders();
    let tender = tenders.get(tender % tenders.len().max(1));
    tender.map_or_else(|| PaymentId::of_order(order_id(slot)), |tender| tender.payment_id)
}

fn step(world: &World, baskets: &[Basket], (tender, deed): (usize, &Deed), id: CommandId) -> Option<Step> {
    match *deed {
        Deed::Receive { sku: index, quantity } => {
            Some(Step::Stock(sku(index), StockCommand::Receive { quantity, reference: None }))
        }
        Deed::Adjust { sku: index, delta } => {
            Some(Step::Stock(sku(index), StockCommand::Adjust { delta, reason: None }))
        }
        Deed::Place { slot }
        | Deed::Cancel { slot }
        | Deed::CancelPart { slot, .. }
        | Deed::Expire { slot }
        | Deed::Ship { slot, .. }
        | Deed::Deliver { slot }
        | Deed::Undo { slot }
        | Deed::MoveDue { slot }
        | Deed::Return { slot, .. }
        | Deed::AddPayment { slot, .. }
        | Deed::Refund { slot, .. } => {
            let order = world.order(order_id(slot));
            Some(Step::Order(order_id(slot), order_command(&order, baskets, deed, id)?))
        }
        Deed::Authorize { slot, .. }
        | Deed::Capture { slot, .. }
        | Deed::Charge { slot }
        | Deed::Report { slot, .. }
        | Deed::PayAll { slot }
        | Deed::Fail { slot, .. }
        | Deed::Void { slot }
        | Deed::LoseAnswer { slot, .. }
        | Deed::RefundEnds { slot, .. }
        | Deed::RefundReported { slot, .. }
        | Deed::Dispute { slot, .. } => {
            let payment_id = payment_of(world, slot, tender);
            let payment = world.payment(payment_id);
            Some(Step::Payment(payment_id, payment_command(&payment, deed)?))
        }
        // An exchange is no single step, and a deed on a tender names no other deed of this kind.
        Deed::Exchange { .. } | Deed::OnTender { .. } => None,
    }
}

fn order_command(order: &Order, baskets: &[Basket], deed: &Deed, id: CommandId) -> Option<OrderCommand> {
    Some(match *deed {
        Deed::Place { slot } => baskets.get(slot)?.place(order_id(slot)),
        Deed::Cancel { .. } => OrderCommand::Cancel(NewCancellation::of_the_rest(
            CancellationId::of_command(id),
            CancelReason::Requested,
        )),
        Deed::CancelPart { part: (line, quantity), amount, .. } => OrderCommand::Cancel(NewCancellation {
            lines: Some(vec![LineQuantity { line, quantity }]),
            refund_amount: amount.map(pence),
            ..NewCancellation::of_the_rest(CancellationId::of_command(id), CancelReason::Requested)
        }),
        Deed::Expire { .. } => OrderCommand::Expire { now: Timestamp::UNIX_EPOCH },
        Deed::Ship { part, .. } => OrderCommand::Ship {
            shipment_id: ShipmentId::of_command(id),
            lines: part.map(|(line, quantity)| vec![LineQuantity { line, quantity }]),
            carrier: None,
            tracking_number: None,
            now: Timestamp::UNIX_EPOCH,
        },
        Deed::Deliver { .. } => {
            let next =
                order.shipments().iter().find(|shipment| !shipment.delivered && !shipment.is_undone())?;
            OrderCommand::Deliver { shipment_id: next.shipment_id }
        }
        Deed::Undo { .. } => {
            let last =
                order.shipments().iter().rfind(|shipment| !shipment.is_undone() && !shipment.delivered)?;
            OrderCommand::UndoShipment { shipment_id: last.shipment_id, reason: None }
        }
        Deed::MoveDue { .. } => {
            let payment_due_at = order.payment_due_at().is_none().then_some(Timestamp::UNIX_EPOCH);
            OrderCommand::MoveDue { payment_due_at, now: Timestamp::UNIX_EPOCH }
        }
        Deed::Return { part: (line, quantity), restock, amount, .. } => OrderCommand::Return(NewReturn {
            return_id: ReturnId::of_command(id),
            lines: vec![ReturnLine { line, quantity, restock }],
            refund_amount: amount.map(pence),
            reason: None,
        }),
        Deed::Refund { amount, .. } => {
            let (refund_id, lines) = (RefundId::of_command(id), Vec::new());
            let (amount, payment_id) = (pence(amount), None);
            OrderCommand::Refund { refund_id, amount, lines, payment_id, reason: None }
        }
        Deed::AddPayment { amount, .. } => {
            let payment_id = PaymentId::of_command(id);
            OrderCommand::AddPayment { payment_id, amount: amount.map(pence), charge: None }
        }
        _ => return None,
    })
}

fn refund_report(payment: &Payment, outcome: RefundOutcome) -> RefundReport {
    let known = payment.refunds().last();
    RefundReport {
        refund_id: known.map_or(RefundId(Uuid::from_u128(9)), |refund| refund.refund_id),
        charge: None,
        amount: known.map_or(pence(7), |refund| refund.amount),
        reference: "re".into(),
        outcome,
    }
}

fn payment_command(payment: &Payment, deed: &Deed) -> Option<PaymentCommand> {
    Some(match *deed {
        Deed::Authorize { amount, .. } => {
            PaymentCommand::Authorize { amount: amount.map(pence), reference: None }
        }
        Deed::Capture { amount, .. } => {
            PaymentCommand::Capture { amount: amount.map(pence), reference: None }
        }
        Deed::Charge { .. } => {
            let capture = CaptureMode::Automatic;
            PaymentCommand::Charge(NewCharge { provider: "provider".into(), method: "card".into(), capture })
        }
        Deed::Report { authorized, captured, ref ending, is_answer, .. } => {
            let charge = payment.charge().map_or(0, |charge| charge.number);
            let (authorized, captured) = (pence(authorized.max(captured)), pence(captured));
            let amounts = ProviderReport::of_amounts(charge, "pi", authorized, captured);
            let report = ProviderReport { ending: ending.clone(), ..amounts };
            PaymentCommand::Report { report, is_answer }
        }
        Deed::Fail { retryable, .. } => PaymentCommand::Fail { reason: None, retryable },
        Deed::Void { .. } => PaymentCommand::Void { reason: None },
        Deed::LoseAnswer { operation, .. } => PaymentCommand::MarkOutcomeUnknown { operation },
        Deed::RefundEnds { refunded, .. } => {
            let open = payment.refunds().iter().find(|refund| refund.state.is_open())?;
            let refund_id = open.refund_id;
            if let RefundSource::Charge(_) = payment.source_of(open) {
                let outcome =
                    if refunded { RefundOutcome::Refunded } else { RefundOutcome::Failed { reason: None } };
                let (amount, reference) = (open.amount, "re".into());
                PaymentCommand::ReportRefund(RefundReport {
                    refund_id,
                    charge: None,
                    amount,
                    reference,
                    outcome,
                })
            } else if refunded {
                PaymentCommand::RecordRefunded { refund_id, reference: None }
            } else {
                PaymentCommand::RecordRefundFailed { refund_id, reason: None }
            }
        }
        Deed::RefundReported { ref outcome, .. } => {
            PaymentCommand::ReportRefund(refund_report(payment, outcome.clone()))
        }
        Deed::Dispute { amount, state, .. } => PaymentCommand::ReportDispute(DisputeReport {
            charge: 1,
            reference: "dp".into(),
            amount: pence(amount),
            reason: None,
            state,
        }),
        _ => return None,
    })
}

//! Commands on orders.

use std::collections::BTreeMap;

use axum::extract::State;
use domain::{
    Amount, CancellationId, CommandContext, Currency, OrderId, PaymentId, RefundId, ReturnId, Revision,
    ShipmentId,
    order::{
        CancelReason, FulfilmentStatus, LineAmount, LineQuantity, NewCancellation, NewReturn, OrderCommand,
        OrderRefund, OrderStateSummary, OrderStatus, PaymentStatus, PaymentTerms, ReturnLine,
    },
};
use http::StatusCode;
use infra::http::{
    Failure, Problem,
    vocabulary::{
        AmountValue, CurrencyValue, FulfilmentStatusWord, OrderStatusWord, PaymentStatusWord,
        PaymentTermsWord, RevisionValue, TextValue,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    CommandApi, SharedApi,
    answer::Answer,
    command::{Command, CommandHeaders, command_problems},
    payments::PaymentAnswer,
    run::{AfterCommand, run},
};

mod due;
mod exchange;
mod place;
mod tenders;
mod undo;
pub(super) use due::*;
pub(super) use exchange::*;
pub(super) use place::*;
pub(super) use tenders::*;
pub(super) use undo::*;

/// An order right after a command.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderAnswer {
    #[schema(value_type = Uuid)]
    order_id: OrderId,
    #[schema(value_type = OrderStatusWord)]
    status: OrderStatus,
    #[schema(value_type = PaymentStatusWord)]
    payment_status: PaymentStatus,
    #[schema(value_type = FulfilmentStatusWord)]
    fulfilment_status: FulfilmentStatus,
    #[schema(value_type = PaymentTermsWord)]
    terms: PaymentTerms,
    #[schema(value_type = CurrencyValue)]
    currency: Option<Currency>,
    /// Lines plus adjustments, in minor units.
    #[schema(value_type = AmountValue)]
    total: Amount,
    #[schema(value_type = AmountValue)]
    captured: Amount,
    #[schema(value_type = AmountValue)]
    refunded: Amount,
    /// The first payment to settle, or the added one. Null if there is nothing to pay.
    #[schema(value_type = Option<Uuid>)]
    payment_id: Option<PaymentId>,
    /// Every payment of the order.
    payments: Vec<TenderItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>, nullable = false)]
    shipment_id: Option<ShipmentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>, nullable = false)]
    return_id: Option<ReturnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>, nullable = false)]
    refund_id: Option<RefundId>,
    /// What this command refunds to which payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refunds: Option<Vec<RefundItem>>,
    /// With `Prefer: wait=N` and a charge: the first charged payment after the provider's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    payment: Option<PaymentAnswer>,
    /// Revision of the order's stream right after this command.
    #[schema(value_type = RevisionValue)]
    revision: Revision,
    /// Revisions by stream, of every stream that the command is known to have changed.
    #[schema(value_type = BTreeMap<String, RevisionValue>)]
    revisions: BTreeMap<String, Revision>,
}

impl OrderAnswer {
    fn new(order_id: OrderId, order: &OrderStateSummary, revision: Revision) -> Self {
        Self {
            order_id,
            status: order.status,
            payment_status: order.payment_status,
            fulfilment_status: order.fulfilment_status,
            terms: order.terms,
            currency: order.currency,
            total: order.total,
            captured: order.captured,
            refunded: order.refunded,
            payment_id: order.payment_id,
            payments: order.payments.iter().map(TenderItem::of).collect(),
            shipment_id: None,
            return_id: None,
            refund_id: None,
            refunds: None,
            payment: None,
            revision,
            revisions: BTreeMap::from([(format!("order-{order_id}"), revision)]),
        }
    }

    fn with(self, status: StatusCode, replayed: bool) -> Answer<Self> {
        let location = [StatusCode::CREATED, StatusCode::ACCEPTED].contains(&status);
        let location = location.then(|| format!("/v1/orders/{}", self.order_id));
        Answer { status, revision: Some(self.revision), location, replayed, body: self }
    }
}

/// A refund to one payment.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefundItem {
    #[schema(value_type = Uuid)]
    refund_id: RefundId,
    #[schema(value_type = Uuid)]
    payment_id: PaymentId,
    #[schema(value_type = AmountValue)]
    amount: Amount,
}

impl RefundItem {
    fn of(refund: &OrderRefund) -> Self {
        let OrderRefund { refund_id, payment_id, amount } = *refund;
        Self { refund_id, payment_id, amount }
    }
}

// Fingerprints are computed from the JSON of a request. So each member that a later build adds is left out if it
// is not given: retries of earlier requests keep their fingerprint.

/// A cancellation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelRequest {
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    note: Option<String>,
    /// If omitted: everything that is not shipped yet. If nothing else is left to ship, the order ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 5_000)]
    lines: Option<Vec<LinePart>>,
    /// Minor units. If omitted: what was paid for the units. The order keeps the rest.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refund_amount: Option<Amount>,
}

/// A shipment of an order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShipmentRequest {
    /// If omitted: everything that is not shipped yet.
    #[schema(min_items = 1, max_items = 5_000)]
    #[serde(default)]
    lines: Option<Vec<LinePart>>,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    carrier: Option<String>,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    tracking_number: Option<String>,
}

/// Units of a line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinePart {
    /// The line's 1-based number.
    #[schema(minimum = 1, maximum = 5_000)]
    line: u32,
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: u32,
}

/// The shipment that arrived.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryRequest {
    shipment_id: Uuid,
}

/// Returned goods.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReturnRequest {
    #[schema(min_items = 1, max_items = 5_000)]
    lines: Vec<ReturnPart>,
    /// Minor units. If omitted: what was paid for the units and not refunded yet. The order keeps the rest.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    #[serde(default)]
    refund_amount: Option<Amount>,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reason: Option<String>,
}

/// Returned units of a line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReturnPart {
    #[schema(minimum = 1, maximum = 5_000)]
    line: u32,
    #[schema(minimum = 1, maximum = 1_000_000)]
    quantity: u32,
    /// True if the units are added to stock.
    #[serde(default = "yes")]
    restock: bool,
}

fn yes() -> bool {
    true
}

/// A refund without a return.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundRequest {
    /// Minor units, more than 0.
    #[schema(value_type = i64, example = 255, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    amount: Amount,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reason: Option<String>,
    /// The lines that the refund is for. It is not paid again when their units are cancelled or returned. The
    /// amounts add up to `amount` at most.
    #[schema(max_items = 5_000)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lines: Vec<RefundLine>,
    /// The payment that pays it out. If omitted: the payments that hold the money, the newest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment_id: Option<Uuid>,
}

/// A part of a refund that is for one line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundLine {
    #[schema(minimum = 1, maximum = 5_000)]
    line: u32,
    /// Minor units, more than 0.
    #[schema(value_type = i64, example = 255, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    amount: Amount,
}

command_problems! {
    CancelProblems = OrderStatus OrderNotPaid NothingToCancel QuantityUnavailable RefundTooLarge;
    ShipProblems = OrderStatus OrderNotPaid OrderNotAuthorized OrderRefunded NothingToShip QuantityUnavailable TooManyParts;
    DeliverProblems = ShipmentUndone;
    ReturnProblems = QuantityUnavailable RefundTooLarge TooManyParts;
    RefundProblems = RefundTooLarge TooManyParts;
}

/// Cancel what is not shipped, or some of it
///
/// The units go back into stock. Money paid for them is refunded; money not yet paid is no longer due. Shipping and
/// fees stay due if something was shipped. Some lines or units of a prepaid order can be cancelled once it is paid.
/// Cancelling a cancelled order changes nothing.
#[utoipa::path(post, path = "/v1/orders/{id}/cancel", operation_id = "cancelOrder", tag = "orders",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = CancelRequest,
    responses((status = 200, description = "Cancelled.", body = OrderAnswer), CancelProblems))]
pub(super) async fn cancel(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<OrderId, CancelRequest>,
) -> Result<Answer<OrderAnswer>, Failure<CancelProblems>> {
    let cancellation_id = CancellationId::of_command(context.id);
    let command = OrderCommand::Cancel(NewCancellation {
        cancellation_id,
        reason: CancelReason::Requested,
        note: body.note,
        lines: body.lines.map(line_quantities),
        refund_amount: body.refund_amount,
    });
    let (answer, replayed) = run_with_refund(&api, id, command, cancellation_id.into(), &context).await?;
    Ok(answer.with(StatusCode::OK, replayed))
}

/// Ship all units or some
///
/// A prepaid order must be paid. With the terms `on_shipment`, what the shipment makes due must be authorized; it is then
/// captured. With `net`, the order only has to be allocated. `shipment_id` of the answer names the shipment for its
/// delivery.
#[utoipa::path(post, path = "/v1/orders/{id}/shipments", operation_id = "shipOrder", tag = "orders",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = ShipmentRequest,
    responses((status = 201, description = "Shipped.", body = OrderAnswer,
            headers(("Location" = String))), ShipProblems))]
pub(super) async fn ship(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<OrderId, ShipmentRequest>,
) -> Result<Answer<OrderAnswer>, Failure<ShipProblems>> {
    let shipment_id = ShipmentId::of_command(context.id);
    let lines = body.lines.map(line_quantities);
    let (carrier, tracking_number) = (body.carrier, body.tracking_number);
    let now = in_microseconds(api.checkout.clock.now());
    let command = OrderCommand::Ship { shipment_id, lines, carrier, tracking_number, now };
    let (answer, replayed) = run_on_order(&api, id, command, &context).await?;
    Ok(OrderAnswer { shipment_id: Some(shipment_id), ..answer }.with(StatusCode::CREATED, replayed))
}

/// Record that a shipment arrived
#[utoipa::path(post, path = "/v1/orders/{id}/deliveries", operation_id = "deliverShipment", tag = "orders",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = DeliveryRequest,
    responses((status = 200, description = "Delivered.", body = OrderAnswer), DeliverProblems))]
pub(super) async fn deliver(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<OrderId, DeliveryRequest>,
) -> Result<Answer<OrderAnswer>, Failure<DeliverProblems>> {
    let shipment_id = ShipmentId(body.shipment_id);
    let command = OrderCommand::Deliver { shipment_id };
    let (answer, replayed) = run_on_order(&api, id, command, &context).await?;
    Ok(OrderAnswer { shipment_id: Some(shipment_id), ..answer }.with(StatusCode::OK, replayed))
}

/// Record returned goods, all or some
///
/// A refund of the return has the id of the return.
#[utoipa::path(post, path = "/v1/orders/{id}/returns", operation_id = "returnUnits", tag = "orders",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = ReturnRequest,
    responses((status = 201, description = "Returned.", body = OrderAnswer,
            headers(("Location" = String))), ReturnProblems))]
pub(super) async fn return_goods(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<OrderId, ReturnRequest>,
) -> Result<Answer<OrderAnswer>, Failure<ReturnProblems>> {
    let return_id = ReturnId::of_command(context.id);
    let part =
        |part: &ReturnPart| ReturnLine { line: part.line, quantity: part.quantity, restock: part.restock };
    let command = OrderCommand::Return(NewReturn {
        return_id,
        lines: body.lines.iter().map(part).collect(),
        refund_amount: body.refund_amount,
        reason: body.reason,
    });
    let (answer, replayed) = run_with_refund(&api, id, command, return_id.into(), &context).await?;
    Ok(OrderAnswer { return_id: Some(return_id), ..answer }.with(StatusCode::CREATED, replayed))
}

/// Refund money without a return
///
/// While the order is paid, the refund is a reduction of its price: the customer owes that much less. A refund of all
/// the money is none, as long as units are to be shipped: such an order does not ship any more; cancel it.
#[utoipa::path(post, path = "/v1/orders/{id}/refunds", operation_id = "refundOrder", tag = "orders",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = RefundRequest,
    responses(
        (status = 201, description = "The payment has the refund to pay out.", body = OrderAnswer,
            headers(("Location" = String))),
        RefundProblems,
    ))]
pub(super) async fn refund(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<OrderId, RefundRequest>,
) -> Result<Answer<OrderAnswer>, Failure<RefundProblems>> {
    let refund_id = RefundId::of_command(context.id);
    let RefundRequest { amount, reason, lines, payment_id } = body;
    let payment_id = payment_id.map(PaymentId);
    let lines = lines.iter().map(|part| LineAmount { line: part.line, amount: part.amount }).collect();
    let command = OrderCommand::Refund { refund_id, amount, lines, payment_id, reason };
    let (answer, replayed) = run_with_refund(&api, id, command, refund_id, &context).await?;
    Ok(OrderAnswer { refund_id: Some(refund_id), ..answer }.with(StatusCode::CREATED, replayed))
}

/// Runs a command on an existing order. The flag marks the answer of an earlier request.
async fn run_on_order(
    api: &CommandApi,
    order_id: OrderId,
    command: OrderCommand,
    context: &CommandContext,
) -> Result<(OrderAnswer, bool), Problem> {
    let after = run(api, &api.checkout.orders, &order_id, command, context).await?;
    let AfterCommand { summary, revision, replayed } = after;
    Ok((OrderAnswer::new(order_id, &summary, revision), replayed))
}

/// [`run_on_order`] for a command whose refund, if it has one, has this id.
async fn run_with_refund(
    api: &CommandApi,
    order_id: OrderId,
    command: OrderCommand,
    refund_id: RefundId,
    context: &CommandContext,
) -> Result<(OrderAnswer, bool), Problem> {
    let after = run(api, &api.checkout.orders, &order_id, command, context).await?;
    let AfterCommand { summary, revision, replayed } = after;
    // A command without effect leaves the refunds of an earlier one.
    let is_its_own = summary.latest_refunds.first().is_some_and(|first| first.refund_id == refund_id);
    let own = summary.latest_refunds.iter().filter(|_| is_its_own);
    let refunds = Some(own.map(RefundItem::of).collect());
    Ok((OrderAnswer { refunds, ..OrderAnswer::new(order_id, &summary, revision) }, replayed))
}

fn line_quantities(lines: Vec<LinePart>) -> Vec<LineQuantity> {
    lines.into_iter().map(|part| LineQuantity { line: part.line, quantity: part.quantity }).collect()
}

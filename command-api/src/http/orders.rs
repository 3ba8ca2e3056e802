//! Orders are placed and moved along.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{
    Amount, CommandContext, Currency, OrderId, PaymentId, RefundId, ReturnId, Revision, ShipmentId,
    order::{
        CancelReason, FulfilmentStatus, LineQuantity, NewReturn, OrderCommand, OrderDecider,
        OrderStateSummary, OrderStatus, PaymentStatus, ReturnLine,
    },
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use infra::http::{Code, Problem, problem::ProblemBody};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    CommandApi,
    extract::{JsonBody, Segments, context, etag, id},
    stock::mark_replayed,
};
use crate::{
    error::{failure, order_refused},
    executor::{Mode, Outcome},
};

mod place;
pub(super) use place::*;

/// An order as it stands after a command.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OrderAnswer {
    #[schema(value_type = Uuid)]
    order_id: OrderId,
    #[schema(value_type = String, example = "allocated")]
    status: OrderStatus,
    #[schema(value_type = String, example = "pending")]
    payment_status: PaymentStatus,
    #[schema(value_type = String, example = "unfulfilled")]
    fulfilment_status: FulfilmentStatus,
    #[schema(value_type = String, example = "GBP")]
    currency: Option<Currency>,
    /// Lines plus adjustments, in minor units.
    #[schema(value_type = i64, example = 1530)]
    total: Amount,
    #[schema(value_type = i64)]
    captured: Amount,
    #[schema(value_type = i64)]
    refunded: Amount,
    /// The payment to settle; null when there is nothing to pay.
    #[schema(value_type = Option<Uuid>)]
    payment_id: Option<PaymentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    shipment_id: Option<ShipmentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    return_id: Option<ReturnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    refund_id: Option<RefundId>,
    /// Of the order's stream, right after this command.
    revision: Revision,
    /// The revisions of all streams the command is known to have reached, by stream.
    revisions: BTreeMap<String, Revision>,
}

impl OrderAnswer {
    fn new(order_id: OrderId, order: &OrderStateSummary, revision: Revision) -> Self {
        Self {
            order_id,
            status: order.status,
            payment_status: order.payment_status,
            fulfilment_status: order.fulfilment_status,
            currency: order.currency,
            total: order.total,
            captured: order.captured,
            refunded: order.refunded,
            payment_id: order.payment_id,
            shipment_id: None,
            return_id: None,
            refund_id: None,
            revision,
            revisions: BTreeMap::from([(format!("order-{order_id}"), revision)]),
        }
    }

    fn respond(self, status: StatusCode, replayed: bool) -> Response {
        let etag = etag(self.revision);
        let location = HeaderValue::try_from(format!("/v1/orders/{}", self.order_id));
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag);
        if let (StatusCode::CREATED | StatusCode::ACCEPTED, Ok(location)) = (status, location) {
            headers.insert(header::LOCATION, location);
        }
        mark_replayed(&mut response, replayed);
        response
    }
}

/// Why an order is cancelled.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelRequest {
    /// At most 500 characters.
    #[serde(default)]
    note: Option<String>,
}

/// What leaves the house.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShipmentRequest {
    /// Left out: everything that is not shipped yet.
    #[serde(default)]
    lines: Option<Vec<LinePart>>,
    #[serde(default)]
    carrier: Option<String>,
    #[serde(default)]
    tracking_number: Option<String>,
}

/// Units of a line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinePart {
    /// The line's 1-based number.
    #[schema(minimum = 1)]
    line: u32,
    #[schema(minimum = 1)]
    quantity: u32,
}

/// Which shipment arrived.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryRequest {
    shipment_id: Uuid,
}

/// What came back.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReturnRequest {
    lines: Vec<ReturnPart>,
    /// Minor units. Left out: the value of the returned units. 0: no refund.
    #[schema(value_type = Option<i64>)]
    #[serde(default)]
    refund_amount: Option<Amount>,
    #[serde(default)]
    reason: Option<String>,
}

/// Units of a line that came back.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReturnPart {
    #[schema(minimum = 1)]
    line: u32,
    #[schema(minimum = 1)]
    quantity: u32,
    /// Whether the units go back on the shelf.
    #[serde(default = "yes")]
    restock: bool,
}

fn yes() -> bool {
    true
}

/// Money to give back without a return.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefundRequest {
    /// Minor units, more than 0.
    #[schema(value_type = i64, example = 255)]
    amount: Amount,
    #[serde(default)]
    reason: Option<String>,
}

/// Cancel what is not shipped
///
/// Unshipped units go back into stock; what was paid for them is refunded, what is not yet paid is no longer due.
/// Cancelling a cancelled order changes nothing.
#[utoipa::path(post, path = "/v1/orders/{id}/cancel", tag = "orders",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = CancelRequest,
    responses(
        (status = 200, description = "Cancelled", body = OrderAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "order_status, nothing_to_cancel", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "precondition_failed", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn cancel(
    State(api): State<CommandApi>,
    Segments(order): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<CancelRequest>,
) -> Result<Response, Problem> {
    let order_id: OrderId = id(&order)?;
    let context = context(&headers, &format!("/v1/orders/{order_id}/cancel"), &body)?;
    let command = OrderCommand::Cancel { reason: CancelReason::Requested, note: body.note };
    let (answer, replayed) = run(&api, order_id, command, &context).await?;
    Ok(answer.respond(StatusCode::OK, replayed))
}

/// Ship, all or in parts
///
/// The order must be paid. The answer's `shipment_id` names the shipment when it is delivered.
#[utoipa::path(post, path = "/v1/orders/{id}/shipments", tag = "orders",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = ShipmentRequest,
    responses(
        (status = 201, description = "Shipped", body = OrderAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "order_status, order_not_paid, nothing_to_ship, quantity_unavailable", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn ship(
    State(api): State<CommandApi>,
    Segments(order): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ShipmentRequest>,
) -> Result<Response, Problem> {
    let order_id: OrderId = id(&order)?;
    let context = context(&headers, &format!("/v1/orders/{order_id}/shipments"), &body)?;
    let shipment_id = ShipmentId::of_command(context.id);
    let lines = body.lines.map(|lines| {
        lines.into_iter().map(|part| LineQuantity { line: part.line, quantity: part.quantity }).collect()
    });
    let (carrier, tracking_number) = (body.carrier, body.tracking_number);
    let command = OrderCommand::Ship { shipment_id, lines, carrier, tracking_number };
    let (answer, replayed) = run(&api, order_id, command, &context).await?;
    Ok(OrderAnswer { shipment_id: Some(shipment_id), ..answer }.respond(StatusCode::CREATED, replayed))
}

/// A shipment arrived
#[utoipa::path(post, path = "/v1/orders/{id}/deliveries", tag = "orders",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = DeliveryRequest,
    responses(
        (status = 200, description = "Delivered", body = OrderAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request: no such shipment", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn deliver(
    State(api): State<CommandApi>,
    Segments(order): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<DeliveryRequest>,
) -> Result<Response, Problem> {
    let order_id: OrderId = id(&order)?;
    let context = context(&headers, &format!("/v1/orders/{order_id}/deliveries"), &body)?;
    let shipment_id = ShipmentId(body.shipment_id);
    let (answer, replayed) = run(&api, order_id, OrderCommand::Deliver { shipment_id }, &context).await?;
    Ok(OrderAnswer { shipment_id: Some(shipment_id), ..answer }.respond(StatusCode::OK, replayed))
}

/// Goods came back, all or in parts
#[utoipa::path(post, path = "/v1/orders/{id}/returns", tag = "orders",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = ReturnRequest,
    responses(
        (status = 201, description = "Returned; a refund, if any, is requested under the return's id", body = OrderAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "quantity_unavailable, refund_too_large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn return_goods(
    State(api): State<CommandApi>,
    Segments(order): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ReturnRequest>,
) -> Result<Response, Problem> {
    let order_id: OrderId = id(&order)?;
    let context = context(&headers, &format!("/v1/orders/{order_id}/returns"), &body)?;
    let return_id = ReturnId::of_command(context.id);
    let lines = body.lines.iter();
    let lines =
        lines.map(|part| ReturnLine { line: part.line, quantity: part.quantity, restock: part.restock });
    let command = OrderCommand::Return(NewReturn {
        return_id,
        lines: lines.collect(),
        refund_amount: body.refund_amount,
        reason: body.reason,
    });
    let (answer, replayed) = run(&api, order_id, command, &context).await?;
    Ok(OrderAnswer { return_id: Some(return_id), ..answer }.respond(StatusCode::CREATED, replayed))
}

/// Give money back without a return
#[utoipa::path(post, path = "/v1/orders/{id}/refunds", tag = "orders",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = RefundRequest,
    responses(
        (status = 201, description = "The refund is requested of the payment", body = OrderAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "refund_too_large", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn refund(
    State(api): State<CommandApi>,
    Segments(order): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RefundRequest>,
) -> Result<Response, Problem> {
    let order_id: OrderId = id(&order)?;
    let context = context(&headers, &format!("/v1/orders/{order_id}/refunds"), &body)?;
    let refund_id = RefundId::of_command(context.id);
    let command = OrderCommand::Refund { refund_id, amount: body.amount, reason: body.reason };
    let (answer, replayed) = run(&api, order_id, command, &context).await?;
    Ok(OrderAnswer { refund_id: Some(refund_id), ..answer }.respond(StatusCode::CREATED, replayed))
}

/// Runs a command on an existing order; the flag says that this is the answer of an earlier request.
async fn run(
    api: &CommandApi,
    order_id: OrderId,
    command: OrderCommand,
    context: &CommandContext,
) -> Result<(OrderAnswer, bool), Problem> {
    let executed = api.checkout.orders.execute(&order_id, command, context, Mode::EXTERNAL).await;
    let executed = executed.map_err(|error| failure(&error))?;
    match executed.outcome {
        Outcome::Recorded | Outcome::Unchanged => {
            let revision = executed.revision.unwrap_or_default();
            Ok((OrderAnswer::new(order_id, &executed.summary, revision), false))
        }
        Outcome::Duplicate { revision } => {
            let then = super::state_at::<OrderDecider>(api, &order_id.into(), revision).await?;
            Ok((OrderAnswer::new(order_id, &then.summary(), revision), true))
        }
        Outcome::KeyReused => Err(Problem::new(Code::IdempotencyKeyReused)),
        Outcome::PreconditionFailed => Err(super::precondition_failed(executed.revision)),
        Outcome::Refused(refusal) => Err(order_refused(&refusal)),
    }
}

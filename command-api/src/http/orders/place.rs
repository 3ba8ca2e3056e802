//! Placing an order: from the request to allocated or rejected, and the same answer for every retry.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{
    Amount, CommandContext, Currency, Event, OrderId, RecordedEvent, Revision, Sku, Timestamp,
    checkout::{react_to_order, reservations_of_new_order},
    order::{
        self, NewLine, OrderCommand, OrderDecider, OrderEvent, OrderStateSummary, OrderStatus, PlaceOrder,
        Shortage,
    },
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use infra::http::{Code, Problem, problem::ProblemBody};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{OrderAnswer, yes};
use crate::{
    checkout::placed_event,
    error::{failed_read, failure, order_refused},
    executor::{ATTEMPTS_MAX, ExecuteError, Executed, Lane, Mode, Outcome, Wait, pause_before_attempt},
    http::{
        CommandApi,
        extract::{JsonBody, context, etag},
        payments::ChargeRequest,
        precondition_failed, state_at,
        stock::mark_replayed,
    },
};

/// An order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PlaceOrderRequest {
    /// Left out for a guest. At most 500 characters, as all texts of an order.
    #[schema(example = "17850")]
    #[serde(default)]
    customer_id: Option<String>,
    /// ISO 4217.
    #[schema(value_type = String, example = "GBP")]
    currency: Currency,
    #[schema(example = "United Kingdom")]
    #[serde(default)]
    country: Option<String>,
    /// 1 to 5,000.
    lines: Vec<LineRequest>,
    /// Tax, shipping, discounts: at most 100.
    #[serde(default)]
    adjustments: Vec<AdjustmentItem>,
    /// The shop's own name for the order.
    #[serde(default)]
    reference: Option<String>,
    /// The shop's own data: at most 50 entries.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    /// When an unpaid order expires. Left out: after the platform's setting `ORDERLY_PAYMENT_DUE_AFTER`. Null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    payment_due_at: Given<Timestamp>,
    /// How the money is to be got, as soon as stock is held. Left out: the payment is charged, or recorded, later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment: Option<ChargeRequest>,
    /// For imports: when the order was placed. Left out: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    placed_at: Option<Timestamp>,
}

/// A member that may be left out (`None`) and may be null (`Some(None)`).
#[allow(clippy::option_option, reason = "the two say different things")]
type Given<T> = Option<Option<T>>;

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Given<Timestamp>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LineRequest {
    #[schema(value_type = String, example = "85123A")]
    sku: Sku,
    #[schema(example = 6, minimum = 1, maximum = 1_000_000)]
    quantity: u32,
    /// Minor units, 0 or more.
    #[schema(value_type = i64, example = 255, minimum = 0)]
    unit_price: Amount,
    /// False for postage, fees and services, which are never reserved.
    #[serde(default = "yes")]
    stocked: bool,
}

/// A part of the total that is no line.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AdjustmentItem {
    #[schema(example = "shipping")]
    code: String,
    /// Minor units, negative for a discount.
    #[schema(value_type = i64, example = 395)]
    amount: Amount,
}

impl PlaceOrderRequest {
    fn into_command(
        self,
        order_id: OrderId,
        now: Timestamp,
        api: &CommandApi,
    ) -> Result<PlaceOrder, Problem> {
        let line = |line: LineRequest| NewLine {
            sku: line.sku,
            quantity: line.quantity,
            unit_price: line.unit_price,
            stocked: line.stocked,
        };
        let adjustment = |item: AdjustmentItem| order::Adjustment { code: item.code, amount: item.amount };
        let default_due_at = now.saturating_add(api.options.payment_due_after).ok();
        let payment = self.payment.map(|payment| payment.into_charge(api, "payment")).transpose()?;
        Ok(PlaceOrder {
            order_id,
            customer_id: self.customer_id,
            currency: self.currency,
            country: self.country,
            lines: self.lines.into_iter().map(line).collect(),
            adjustments: self.adjustments.into_iter().map(adjustment).collect(),
            reference: self.reference,
            metadata: self.metadata,
            placed_at: self.placed_at.map_or(now, in_microseconds),
            payment_due_at: self.payment_due_at.unwrap_or(default_due_at).map(in_microseconds),
            payment,
        })
    }
}

/// Stores keep microseconds; what is finer would come back changed.
fn in_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// Place an order
///
/// Answers once the order is durably allocated (201) or rejected for want of stock (409), so checkout knows
/// which payment to settle. With `Prefer: respond-async`: 202 as soon as the order is durably recorded.
#[utoipa::path(post, path = "/v1/orders", tag = "orders",
    params(("Idempotency-Key" = String, Header), ("Prefer" = Option<String>, Header, description = "respond-async")),
    request_body = PlaceOrderRequest,
    responses(
        (status = 201, description = "Allocated: all stock is held", body = OrderAnswer),
        (status = 202, description = "Recorded; stock is being reserved", body = OrderAnswer),
        (status = 409, description = "insufficient_stock: the order is rejected, `shortages` says why", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request, idempotency_key_reused", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "overloaded, unavailable, outcome_unknown", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(in crate::http) async fn place(
    State(api): State<CommandApi>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<PlaceOrderRequest>,
) -> Result<Response, Problem> {
    let context = context(&headers, "/v1/orders", &body)?;
    let order_id = OrderId::of_command(context.id);
    let now = in_microseconds(api.checkout.clock.now());
    check_placed_at(body.placed_at, now)?;
    let command = body.into_command(order_id, now, &api)?;
    if prefers_async(&headers) {
        return place_async(&api, command, &context).await;
    }
    // If the client goes away on the way, the process manager finishes the order.
    place_and_settle(&api, command, &context).await
}

fn check_placed_at(placed_at: Option<Timestamp>, now: Timestamp) -> Result<(), Problem> {
    let a_day_ahead = now.saturating_add(jiff::SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX);
    match placed_at {
        Some(placed_at) if placed_at < Timestamp::UNIX_EPOCH || placed_at > a_day_ahead => {
            Err(Problem::new(Code::InvalidRequest).error("placed_at", "between 1970 and tomorrow"))
        }
        _ => Ok(()),
    }
}

/// RFC 7240.
fn prefers_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|preference| {
        preference.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("respond-async")
    })
}

async fn place_async(
    api: &CommandApi,
    command: PlaceOrder,
    context: &CommandContext,
) -> Result<Response, Problem> {
    let order_id = command.order_id;
    let command = OrderCommand::Place(Box::new(command));
    let placed = api.checkout.orders.execute(&order_id, command, context, Mode::EXTERNAL).await;
    let placed = placed.map_err(|error| failure(&error))?;
    let replayed = matches!(placed.outcome, Outcome::Duplicate { .. });
    check_recorded(&placed)?;
    // The first event is the same however far the order has come since.
    let then = state_at::<OrderDecider>(api, &order_id.into(), 0).await?;
    let mut response = OrderAnswer::new(order_id, &then.summary(), 0).respond(StatusCode::ACCEPTED, replayed);
    response.headers_mut().insert("preference-applied", HeaderValue::from_static("respond-async"));
    Ok(response)
}

/// Lets pass what is recorded, now or earlier.
fn check_recorded(placed: &Executed<OrderDecider>) -> Result<(), Problem> {
    match &placed.outcome {
        Outcome::Recorded | Outcome::Unchanged | Outcome::Duplicate { .. } => Ok(()),
        Outcome::KeyReused => Err(Problem::new(Code::IdempotencyKeyReused)),
        Outcome::PreconditionFailed => Err(precondition_failed(placed.revision)),
        Outcome::Refused(refusal) => Err(order_refused(refusal)),
    }
}

/// Places the order and runs its first reactions, from the start again where an append failed on the way.
async fn place_and_settle(
    api: &CommandApi,
    command: PlaceOrder,
    context: &CommandContext,
) -> Result<Response, Problem> {
    let _guard = api.checkout.locks.lock(command.order_id).await;
    for attempt in 1..=ATTEMPTS_MAX {
        match attempt_placing(api, command.clone(), context).await {
            Err(Attempt::Again) => pause_before_attempt(attempt + 1).await,
            Err(Attempt::Failed(problem)) => return Err(problem),
            Ok(response) => return Ok(response),
        }
    }
    Err(Problem::new(Code::Conflict))
}

enum Attempt {
    Again,
    Failed(Problem),
}

impl From<ExecuteError> for Attempt {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Superseded | ExecuteError::Conflict => Self::Again,
            other => Self::Failed(failure(&other)),
        }
    }
}

impl From<Problem> for Attempt {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

async fn attempt_placing(
    api: &CommandApi,
    command: PlaceOrder,
    context: &CommandContext,
) -> Result<Response, Attempt> {
    let checkout = &api.checkout;
    let order_id = command.order_id;
    let epoch = checkout.store().epoch();
    let units = reservations_of_new_order(&command);
    let mode = Mode { lane: Lane::External, wait: Wait::Submitted, epoch: Some(epoch), new_stream: false };
    let command = OrderCommand::Place(Box::new(command));
    let placed = checkout.orders.submit(&order_id, command, context.clone(), mode).await?;
    let first_time = matches!(placed.outcome, Outcome::Recorded);
    if !first_time {
        // What this outcome was decided upon may not be durable yet, and may never be.
        let order = checkout.order(order_id).await?.state;
        if checkout.store().epoch() != epoch {
            return Err(Attempt::Again);
        }
        check_recorded(&placed)?;
        // Recorded earlier, and perhaps cut off before it was settled.
        if order.status() != OrderStatus::Placed {
            return answer_of_first_time(api, order_id, context.correlation_id, true).await;
        }
    }
    let (placed, correlation_id) = (placed_event(context.id), context.correlation_id);
    let settled = checkout.run_placed(order_id, &units, placed, correlation_id, epoch).await?;
    if first_time && settled.by_this_run {
        return Ok(answer(order_id, &settled.order, settled.order_revision, false));
    }
    answer_of_first_time(api, order_id, correlation_id, !first_time).await
}

/// What a retry is told: the order as it stood when it was first settled, whatever became of it since.
async fn answer_of_first_time(
    api: &CommandApi,
    order_id: OrderId,
    correlation_id: Uuid,
    replayed: bool,
) -> Result<Response, Attempt> {
    let stream = order_id.into();
    let events = api.checkout.store().log().read_stream(&stream, 0, 100).await;
    let events = events.map_err(|error| failed_read(&error))?;
    let Some((settling, event)) = events.iter().find_map(settles) else {
        tracing::error!(order.id = %order_id, "an order that is not `placed` has no event that settled it");
        return Err(Problem::new(Code::Internal).into());
    };
    if matches!(event, OrderEvent::Allocated(_)) {
        // The answer names the payment to settle; whoever died before it was requested is made up for.
        let order = api.checkout.order(order_id).await?.state;
        let reaction = react_to_order(order_id, &event, &order);
        api.checkout.run(order_id, reaction, settling.id, correlation_id).await?;
    }
    let then = state_at::<OrderDecider>(api, &stream, settling.revision).await?;
    Ok(answer(order_id, &then.summary(), Some(settling.revision), replayed))
}

/// The event, where it is one that ends the order's first answer.
fn settles(recorded: &RecordedEvent) -> Option<(&RecordedEvent, OrderEvent)> {
    match recorded.decode() {
        Ok(Event::Order(event)) => matches!(
            event,
            OrderEvent::Allocated(_)
                | OrderEvent::Rejected(_)
                | OrderEvent::Cancelled(_)
                | OrderEvent::Expired(_)
        )
        .then_some((recorded, event)),
        _ => None,
    }
}

fn answer(
    order_id: OrderId,
    order: &OrderStateSummary,
    revision: Option<Revision>,
    replayed: bool,
) -> Response {
    let revision = revision.unwrap_or_default();
    let problem = match order.status {
        OrderStatus::Allocated => {
            let mut answer = OrderAnswer::new(order_id, order, revision);
            if let Some(payment_id) = order.payment_id {
                // A payment's first event is its request; or its closing, where the order ended before that.
                answer.revisions.insert(format!("payment-{payment_id}"), 0);
            }
            return answer.respond(StatusCode::CREATED, replayed);
        }
        OrderStatus::Rejected => {
            let shortages: Vec<ShortageItem> = order.shortages.iter().map(ShortageItem::from).collect();
            Problem::new(Code::InsufficientStock)
                .member("shortages", serde_json::to_value(shortages).unwrap_or_default())
        }
        // Ended by somebody before its stock was held.
        status => Problem::new(Code::OrderStatus).detail(format!("the order is {}", status.as_str())),
    };
    let problem = problem.member("order_id", order_id.to_string()).member("revision", revision);
    let mut response = problem.header(header::ETAG, etag(revision)).into_response();
    mark_replayed(&mut response, replayed);
    response
}

/// A SKU that was short.
#[derive(Debug, Serialize, ToSchema)]
struct ShortageItem {
    sku: String,
    requested: u32,
    available: u32,
}

impl From<&Shortage> for ShortageItem {
    fn from(shortage: &Shortage) -> Self {
        let Shortage { sku, requested, available } = shortage;
        Self { sku: sku.to_string(), requested: *requested, available: *available }
    }
}

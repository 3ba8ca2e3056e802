//! Places an order: from the request until it is allocated or rejected, with the same answer for every retry.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{
    Amount, CommandContext, Currency, OrderId, Revision, Sku, Timestamp,
    checkout::reservations_of_new_order,
    order::{
        self, NewLine, OrderCommand, OrderDecider, OrderEvent, OrderStateSummary, OrderStatus, PaymentTerms,
        PlaceOrder, Shortage, TenderSummary,
    },
    shares::AdjustmentKind,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use infra::http::{
    Code, Failure, Problem, etag,
    problem::Shortage as ShortageItem,
    vocabulary::{
        AdjustmentKindWord, AmountValue, CurrencyValue, MetadataValue, PaymentTermsWord, SkuValue, TextValue,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    OrderAnswer, TenderItem, TenderRequest,
    due::{check_placed_at, due_of_new_order},
    yes,
};
use crate::{
    checkout::PlacedOrder,
    executor::{ATTEMPTS_MAX, ExecuteError, Flow, Outcome, pause_before_attempt},
    http::{
        CommandApi, SharedApi,
        answer::{Answer, IDEMPOTENT_REPLAYED},
        body::{OptionalField, optional_field, unique_keys},
        command::{Command, CommandHeaders, command_problems},
        payments::{ChargeRequest, payment_after_charge},
        run::{Accepted, accepted, last_of_command, state_at},
    },
};

/// An order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PlaceOrderRequest {
    /// Omit it for a guest.
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    pub(super) customer_id: Option<String>,
    #[schema(value_type = CurrencyValue)]
    pub(super) currency: Currency,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    pub(super) country: Option<String>,
    #[schema(min_items = 1, max_items = 5_000)]
    pub(super) lines: Vec<LineRequest>,
    /// Tax, shipping, discounts of the whole order.
    #[schema(max_items = 100)]
    #[serde(default)]
    pub(super) adjustments: Vec<AdjustmentItem>,
    /// True if unit prices, shipping and fees contain the taxes: the tax adjustments then say how much of the total
    /// is tax, and are not added to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) prices_include_tax: bool,
    /// A reference of the shop.
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    pub(super) reference: Option<String>,
    /// Data of the shop.
    #[schema(value_type = MetadataValue)]
    #[serde(default, deserialize_with = "unique_keys")]
    pub(super) metadata: BTreeMap<String, String>,
    /// `prepaid`: ships when paid, and expires if it is not paid in time. `on_shipment`: ships when authorized, and each
    /// shipment captures its share. `net`: ships at once, is paid later and never expires. If omitted: `prepaid`.
    #[schema(value_type = Option<PaymentTermsWord>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) terms: Option<PaymentTerms>,
    /// When the payment is due, later than now: then the unpaid order expires, or is overdue under the terms `net`. If omitted: after
    /// the platform's setting `ORDERLY_PAYMENT_DUE_AFTER`. Null: never. The terms `net` need a time or
    /// `payment_due_days`.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "optional_field", skip_serializing_if = "Option::is_none")]
    pub(super) payment_due_at: OptionalField<Timestamp>,
    /// In place of `payment_due_at`: days of 24 hours from now.
    #[schema(minimum = 1, maximum = 3_650)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payment_due_days: Option<u32>,
    /// The charge to start once stock is reserved. If omitted: charge the payment, or record it, later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payment: Option<ChargeRequest>,
    /// Several payments in place of one of the whole total. Not with `payment`.
    #[schema(min_items = 1, max_items = 50)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payments: Option<Vec<TenderRequest>>,
    /// For imports: when the order was placed. If omitted: now.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    pub(super) placed_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LineRequest {
    #[schema(value_type = SkuValue)]
    sku: Sku,
    #[schema(example = 6, minimum = 1, maximum = 1_000_000)]
    quantity: u32,
    /// Minor units, 0 or more.
    #[schema(value_type = i64, example = 255, minimum = 0, maximum = 9_007_199_254_740_991_i64)]
    unit_price: Amount,
    /// False for postage, fees and services, which are never reserved.
    #[serde(default = "yes")]
    stocked: bool,
    /// Tax, discounts and fees of this line alone, for all its units.
    #[schema(max_items = 10)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<LineAdjustmentItem>,
}

// Fingerprints are computed from the JSON of a request. So each member that a later build adds is left out if it
// is not given: retries of earlier requests keep their fingerprint.

/// A part of the total that belongs to the whole order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AdjustmentItem {
    /// If omitted: `discount` for a negative amount, otherwise `fee`.
    #[schema(value_type = Option<AdjustmentKindWord>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<AdjustmentKind>,
    #[schema(value_type = TextValue)]
    code: String,
    /// Minor units, negative for a discount.
    #[schema(value_type = AmountValue)]
    amount: Amount,
    /// True to spread it over the lines in proportion to their value, so that cancelled and returned units
    /// take their share with them. If omitted: discounts and taxes are spread, shipping and fees are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spread: Option<bool>,
}

impl From<AdjustmentItem> for order::Adjustment {
    fn from(item: AdjustmentItem) -> Self {
        let AdjustmentItem { kind, code, amount, spread } = item;
        let kind = kind.unwrap_or(AdjustmentKind::of_amount(amount));
        Self { kind: Some(kind), code, amount, spread: spread.unwrap_or(kind.is_spread()) }
    }
}

/// A part of the total that belongs to one line.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LineAdjustmentItem {
    /// As for an adjustment of the order.
    #[schema(value_type = Option<AdjustmentKindWord>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<AdjustmentKind>,
    #[schema(value_type = TextValue)]
    code: String,
    /// Minor units for all units of the line, negative for a discount.
    #[schema(value_type = AmountValue)]
    amount: Amount,
}

impl From<LineAdjustmentItem> for order::LineAdjustment {
    fn from(item: LineAdjustmentItem) -> Self {
        let LineAdjustmentItem { kind, code, amount } = item;
        Self { kind: kind.unwrap_or(AdjustmentKind::of_amount(amount)), code, amount }
    }
}

impl PlaceOrderRequest {
    pub(super) fn into_command(
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
            adjustments: line.adjustments.into_iter().map(order::LineAdjustment::from).collect(),
        };
        let terms = self.terms.unwrap_or_default();
        let payment_due_at = due_of_new_order(self.payment_due_at, self.payment_due_days, terms, (now, api))?;
        let captures_in_parts = api.checkout.provider().is_none_or(|provider| provider.captures_in_parts());
        let payment = self.payment.map(|payment| payment.into_charge(api, "payment")).transpose()?;
        if self.payments.as_ref().is_some_and(Vec::is_empty) {
            return Err(Problem::invalid_request("payments", "expected at least one payment"));
        }
        let payments = self.payments.unwrap_or_default().into_iter().enumerate();
        let payments = payments.map(|(index, tender)| tender.into_tender(api, &format!("payments[{index}]")));
        Ok(PlaceOrder {
            order_id,
            customer_id: self.customer_id,
            currency: self.currency,
            country: self.country,
            lines: self.lines.into_iter().map(line).collect(),
            adjustments: self.adjustments.into_iter().map(order::Adjustment::from).collect(),
            prices_include_tax: self.prices_include_tax,
            reference: self.reference,
            metadata: self.metadata,
            placed_at: self.placed_at.map_or(now, in_microseconds),
            now,
            payment_due_at,
            terms,
            captures_in_parts,
            payment,
            payments: payments.collect::<Result<_, Problem>>()?,
        })
    }
}

/// Stores keep microseconds: without this, a finer time would change when it is read back.
pub(super) fn in_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

command_problems! {
    PlaceProblems = InsufficientStock OrderStatus OrderTooLarge TermsNotSupported ProjectionsBehind;
}

/// Place an order
///
/// Answers after the order is durably allocated (201) or rejected because stock is short (409). The answer
/// names the payment to settle. With `Prefer: respond-async`: 202 after the order is durably recorded. With
/// `Prefer: wait=N` and a charge, the answer also waits for the payment provider, at most N seconds, and contains
/// the first charged `payment` with the `next_action` of the customer or the `failure`.
#[utoipa::path(post, path = "/v1/orders", operation_id = "placeOrder", tag = "orders",
    params(CommandHeaders, ("Prefer" = Option<String>, Header, description = "`respond-async`, or `wait=N` with N seconds, at most 30.", example = "wait=5")),
    request_body = PlaceOrderRequest,
    responses(
        (status = 201, description = "Allocated: all stock is reserved.", body = OrderAnswer,
            headers(("Location" = String))),
        (status = 202, description = "Recorded; stock is being reserved.", body = OrderAnswer,
            headers(("Location" = String))),
        PlaceProblems,
    ))]
pub(in crate::http) async fn place(
    State(api): State<SharedApi>,
    headers: HeaderMap,
    Command { id: (), body, context }: Command<(), PlaceOrderRequest>,
) -> Result<Response, Failure<PlaceProblems>> {
    let order_id = OrderId::of_command(context.id);
    let now = in_microseconds(api.checkout.clock.now());
    check_placed_at(body.placed_at, now)?;
    let command = body.into_command(order_id, now, &api)?;
    api.backlog.admit()?;
    if prefers_async(&headers) {
        let applied = [(PREFERENCE_APPLIED, HeaderValue::from_static("respond-async"))];
        return Ok((applied, place_async(&api, command, &context).await?).into_response());
    }
    let first_charged = command.payments.iter().position(|payment| payment.charge.is_some());
    let first_charged = first_charged.or(command.payment.as_ref().map(|_| 0));
    // The process manager finishes the order if the client disconnects.
    let mut answer = place_and_settle(&api, command, &context).await?;
    let charged = first_charged.and_then(|index| answer.body.payments.get(index));
    let (Some(wait), Some(payment_id)) = (preferred_wait(&headers), charged.map(TenderItem::payment_id))
    else {
        return Ok(answer.into_response());
    };
    answer.body.payment = Some(payment_after_charge(&api, payment_id, wait).await?);
    let applied = HeaderValue::try_from(format!("wait={}", wait.as_secs()));
    let applied = applied.ok().map(|applied| [(PREFERENCE_APPLIED, applied)]);
    Ok((applied, answer).into_response())
}

/// The longest wait for the payment provider that a request may prefer.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// RFC 7240.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The preferences of a request (RFC 7240), without their parameters.
fn preferences(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|one| one.split(';').next().unwrap_or("").trim())
}

fn prefers_async(headers: &HeaderMap) -> bool {
    preferences(headers).any(|preference| preference.eq_ignore_ascii_case("respond-async"))
}

/// The time of `wait=N`, at most [`WAIT_MAX`].
pub(super) fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = preferences(headers).find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().parse::<u64>().ok()).flatten()
    });
    seconds.map(|seconds| Duration::from_secs(seconds).min(WAIT_MAX))
}

async fn place_async(
    api: &CommandApi,
    command: PlaceOrder,
    context: &CommandContext,
) -> Result<Answer<OrderAnswer>, Problem> {
    let order_id = command.order_id;
    let command = OrderCommand::Place(Box::new(command));
    let placed = accepted(api.checkout.orders.create(&order_id, command, context).await?)?;
    let replayed = matches!(placed, Accepted::Repeated { .. });
    // The first event is the same at every later revision of the order.
    let then = state_at::<OrderDecider>(api, &order_id.into(), 0).await?;
    Ok(OrderAnswer::new(order_id, &then.summary(), 0).with(StatusCode::ACCEPTED, replayed))
}

/// Places the order and runs its first reactions. Starts again if an append fails before the last step.
async fn place_and_settle(
    api: &CommandApi,
    command: PlaceOrder,
    context: &CommandContext,
) -> Result<Answer<OrderAnswer>, Problem> {
    let _guard = api.checkout.lock_order(command.order_id).await?;
    let mut last = ExecuteError::Conflict;
    for attempt in 1..=ATTEMPTS_MAX {
        match attempt_placing(api, command.clone(), context).await {
            Err(Attempt::Again(error)) => last = error,
            Err(Attempt::Failed(problem)) => return Err(problem),
            Ok(answer) => return Ok(answer),
        }
        pause_before_attempt(attempt + 1).await;
    }
    Err(last.into())
}

enum Attempt {
    Again(ExecuteError),
    Failed(Problem),
}

impl From<ExecuteError> for Attempt {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Superseded | ExecuteError::Conflict => Self::Again(error),
            other => Self::Failed(other.into()),
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
) -> Result<Answer<OrderAnswer>, Attempt> {
    let checkout = &api.checkout;
    let order_id = command.order_id;
    let flow = Flow::begin(&**checkout.store());
    let units = reservations_of_new_order(&command);
    let command = OrderCommand::Place(Box::new(command));
    let new_event = context.event_id::<OrderDecider>(command.name(), 0);
    let placed = checkout.orders.begin_in(flow, &order_id, command, context.clone()).await?;
    let first_time = matches!(placed.outcome, Outcome::Recorded);
    if !first_time {
        // The outcome may rest on events that are not durable yet and may be lost.
        let status = checkout.orders.read(&order_id, |order, _| order.status()).await?;
        if flow.is_superseded(&**checkout.store()) {
            return Err(Attempt::Again(ExecuteError::Superseded));
        }
        accepted(placed).map_err(|problem| naming_the_order(problem, order_id))?;
        // An earlier request recorded the order. A crash may have prevented its settlement.
        if status != OrderStatus::Placed {
            return answer_of_first_time(api, order_id, context.correlation_id, true).await;
        }
    }
    let placed = if first_time { new_event } else { checkout.recorded_placing(order_id).await? };
    let correlation_id = context.correlation_id;
    let order = PlacedOrder { id: order_id, units: &units, placed, correlation_id, is_new: first_time };
    let settled = checkout.run_placed(order, flow).await?;
    // The process manager of another process may have rejected the order at the same moment, with other shortages. A
    // shared store takes both rejections for one append, because their ids are equal. Then the log decides.
    let is_exact =
        settled.order.status != OrderStatus::Rejected || checkout.store().accepts_dependent_appends();
    if first_time && settled.by_this_run && is_exact {
        return Ok(answer(order_id, &settled.order, settled.order_revision.unwrap_or_default(), false)?);
    }
    answer_of_first_time(api, order_id, correlation_id, !first_time).await
}

/// A caller that has used its key for another body can read the order of the first one.
fn naming_the_order(problem: Problem, order_id: OrderId) -> Problem {
    match problem.code {
        Code::IdempotencyKeyReused => problem.member("order_id", order_id.to_string()),
        _ => problem,
    }
}

/// The answer of a retry: the order right after it was first settled. Later events do not change it.
async fn answer_of_first_time(
    api: &CommandApi,
    order_id: OrderId,
    correlation_id: Uuid,
    replayed: bool,
) -> Result<Answer<OrderAnswer>, Attempt> {
    let stream = order_id.into();
    let Some((settling, event)) = api.checkout.settling(order_id).await? else {
        tracing::error!(order.id = %order_id, "A settled order has no settling event; the request fails");
        return Err(Problem::new(Code::Internal).into());
    };
    if matches!(event, OrderEvent::Allocated(_)) {
        // The answer names the payment to settle.
        api.checkout.request_payments(order_id, (&settling, &event), correlation_id).await?;
    }
    let revision = last_of_command(api, &settling).await?;
    let then = state_at::<OrderDecider>(api, &stream, revision).await?.summary();
    Ok(answer(order_id, &then, revision, replayed)?)
}

fn answer(
    order_id: OrderId,
    order: &OrderStateSummary,
    revision: Revision,
    replayed: bool,
) -> Result<Answer<OrderAnswer>, Problem> {
    let problem = match order.status {
        OrderStatus::Allocated => {
            let mut answer = OrderAnswer::new(order_id, order, revision);
            for TenderSummary { payment_id, .. } in &order.payments {
                // The first event of a payment is its request, or its closing if the order ended first.
                answer.revisions.insert(format!("payment-{payment_id}"), 0);
            }
            return Ok(answer.with(StatusCode::CREATED, replayed));
        }
        OrderStatus::Rejected => {
            let shortages: Vec<ShortageItem> = order.shortages.iter().map(shortage_item).collect();
            Problem::new(Code::InsufficientStock)
                .member("shortages", serde_json::to_value(shortages).unwrap_or_default())
        }
        // Another command ended the order before its stock was reserved.
        status => Problem::new(Code::OrderStatus).detail(format!("the order is {}", status.as_str())),
    };
    let problem = problem.member("order_id", order_id.to_string()).member("revision", revision);
    let problem = problem.header(header::ETAG, etag(revision));
    Err(if replayed {
        problem.header(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"))
    } else {
        problem
    })
}

/// As answers show it.
pub(super) fn shortage_item(shortage: &Shortage) -> ShortageItem {
    let Shortage { sku, requested, available } = shortage;
    ShortageItem { sku: sku.to_string(), requested: *requested, available: *available }
}

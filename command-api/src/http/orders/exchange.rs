//! Exchanges units of an order for a new order: both or neither.
//!
//! Every check comes before the first write, and the first write is the intent: the event of the stream
//! `exchange-{command id}`. After that event the exchange is finished even if this request ends early, because the
//! process manager reacts to the event too.

use std::collections::BTreeMap;

use axum::extract::State;
use domain::{
    Amount, CommandContext, Currency, ExchangeId, OrderId, PaymentId, RecordedEvent, ReturnId, Revision, Sku,
    Timestamp,
    checkout::reservations_of_new_order,
    exchange::{self, Exchange, ExchangeCommand, ExchangeOutcome, ExchangeRequested, RefusedBecause},
    order::{NewReturn, Order, PaymentTerms, ReturnLine, Shortage},
};
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use infra::http::{
    Code, Failure, Problem, ProblemSource, etag,
    vocabulary::{AmountValue, CurrencyValue, MetadataValue, PaymentTermsWord, RevisionValue, TextValue},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AdjustmentItem, LineRequest, PlaceOrderRequest, ReturnPart, in_microseconds, shortage_item};
use crate::{
    error::Refusal,
    executor::ExecuteError,
    http::{
        CommandApi, SharedApi,
        answer::{Answer, IDEMPOTENT_REPLAYED},
        body::{OptionalField, optional_field, unique_keys},
        command::{Command, CommandHeaders, command_problems},
        payments::ChargeRequest,
        run::{Accepted, accepted},
    },
};

/// SKUs that one request reads at once.
const LEVELS_READ_MAX: usize = 32;

/// An exchange.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ExchangeRequest {
    #[serde(rename = "return")]
    goods: ExchangedGoods,
    order: ExchangeOrderRequest,
}

/// The units that come back.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ExchangedGoods {
    #[schema(min_items = 1, max_items = 5_000)]
    lines: Vec<ReturnPart>,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The new order. Members are as of `POST /v1/orders`. Customer, currency, country and `prices_include_tax` are those of
/// the first order if they are omitted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ExchangeOrderRequest {
    #[schema(value_type = Option<TextValue>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    /// That of the first order.
    #[schema(value_type = Option<CurrencyValue>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<Currency>,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[schema(min_items = 1, max_items = 5_000)]
    lines: Vec<LineRequest>,
    #[schema(max_items = 100)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    adjustments: Vec<AdjustmentItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prices_include_tax: Option<bool>,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[schema(value_type = MetadataValue)]
    #[serde(default, deserialize_with = "unique_keys", skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
    /// Only `prepaid`.
    #[schema(value_type = Option<PaymentTermsWord>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terms: Option<PaymentTerms>,
    /// When the rest of the total is due.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, deserialize_with = "optional_field", skip_serializing_if = "Option::is_none")]
    payment_due_at: OptionalField<Timestamp>,
    /// In place of `payment_due_at`: days of 24 hours from now.
    #[schema(minimum = 1, maximum = 3_650)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment_due_days: Option<u32>,
    /// The charge of what the credit does not pay. Not used if the credit pays all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment: Option<ChargeRequest>,
}

impl ExchangeOrderRequest {
    fn into_order(self, first: &Order, currency: Currency) -> PlaceOrderRequest {
        PlaceOrderRequest {
            customer_id: self.customer_id.or_else(|| first.customer_id().map(str::to_owned)),
            currency: self.currency.unwrap_or(currency),
            country: self.country.or_else(|| first.country().map(str::to_owned)),
            lines: self.lines,
            adjustments: self.adjustments,
            prices_include_tax: self.prices_include_tax.unwrap_or(first.prices_include_tax()),
            reference: self.reference,
            metadata: self.metadata,
            terms: self.terms,
            payment_due_at: self.payment_due_at,
            payment_due_days: self.payment_due_days,
            payment: self.payment,
            payments: None,
            placed_at: None,
        }
    }
}

/// A settled exchange.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ExchangeAnswer {
    #[schema(value_type = Uuid)]
    exchange_id: ExchangeId,
    #[schema(value_type = Uuid)]
    return_id: ReturnId,
    /// The new order.
    #[schema(value_type = Uuid)]
    order_id: OrderId,
    /// What the first order pays for the new one, in minor units. No money moves for it.
    #[schema(value_type = AmountValue)]
    credit: Amount,
    /// What the first order refunds beyond the credit.
    #[schema(value_type = AmountValue)]
    refund_amount: Amount,
    /// The payment to settle for the rest of the total. Null if the credit pays all.
    #[schema(value_type = Option<Uuid>)]
    payment_id: Option<PaymentId>,
    /// Revision of the first order with the return.
    #[schema(value_type = RevisionValue)]
    revision: Revision,
    /// Revisions by stream.
    #[schema(value_type = BTreeMap<String, RevisionValue>)]
    revisions: BTreeMap<String, Revision>,
}

command_problems! {
    ExchangeProblems = InsufficientStock OrderStatus OrderTooLarge TermsNotSupported ProjectionsBehind
        QuantityUnavailable RefundTooLarge TooManyParts NothingToCredit;
}

/// Exchange shipped units for a new order
///
/// The units come back and a new order is placed: both, or neither. What was paid for the units pays the new order as far
/// as its total goes (`credit`); the rest of it is refunded, and the rest of the total is asked for by a payment of the
/// new order. The new order is `prepaid`, in the currency of the first. If stock is short, nothing comes back.
#[utoipa::path(post, path = "/v1/orders/{id}/exchanges", operation_id = "exchangeUnits", tag = "orders",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = ExchangeRequest,
    responses((status = 201, description = "Exchanged.", body = ExchangeAnswer,
            headers(("Location" = String))), ExchangeProblems))]
pub(in crate::http) async fn exchange(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<OrderId, ExchangeRequest>,
) -> Result<Answer<ExchangeAnswer>, Failure<ExchangeProblems>> {
    let exchange_id = ExchangeId::from(context.id);
    let replayed = request(&api, id, body, &context).await?;
    let exchange = api.checkout.run_exchange(exchange_id).await.map_err(Problem::from)?;
    if !replayed && let Some(first) = requested(&api, exchange_id).await? {
        api.checkout.handled_inline().insert(first.id);
    }
    Ok(answer(&api, exchange_id, &exchange, (context.correlation_id, replayed)).await?)
}

async fn requested(api: &CommandApi, id: ExchangeId) -> Result<Option<RecordedEvent>, Problem> {
    Ok(api.checkout.requested_exchange(id).await?)
}

/// Records the intent. True if an earlier request with this key has recorded it.
async fn request(
    api: &CommandApi,
    first_id: OrderId,
    body: ExchangeRequest,
    context: &CommandContext,
) -> Result<bool, Problem> {
    let exchange_id = ExchangeId::from(context.id);
    // An exchange that was requested already passes no check: its units are back.
    if let Some(recorded) = requested(api, exchange_id).await? {
        return check_same(&recorded, context).map(|()| true);
    }
    let planned = match plan(api, first_id, body, context).await {
        Ok(planned) => planned,
        // The same request at the same time may have recorded it, and may have taken the units back itself.
        Err(problem) => match requested(api, exchange_id).await? {
            Some(recorded) => return check_same(&recorded, context).map(|()| true),
            None => return Err(problem),
        },
    };
    let command = ExchangeCommand::Request(Box::new(planned));
    // `If-Match` names a revision of the first order.
    let context = CommandContext { if_revision: None, ..context.clone() };
    let recorded = accepted(api.checkout.exchanges.execute(&exchange_id, command, &context).await?)?;
    Ok(matches!(recorded, Accepted::Repeated { .. }))
}

/// Refuses a key that was first used with another body.
fn check_same(recorded: &RecordedEvent, context: &CommandContext) -> Result<(), Problem> {
    let stored = recorded.decode_metadata().map_err(ExecuteError::from)?.idempotency;
    let fingerprints = (stored.as_ref(), context.idempotency.as_ref());
    let is_other =
        matches!(fingerprints, (Some(stored), Some(sent)) if stored.fingerprint != sent.fingerprint);
    if is_other { Err(Problem::new(Code::IdempotencyKeyReused)) } else { Ok(()) }
}

/// Makes every check, and computes the credit.
async fn plan(
    api: &CommandApi,
    first_id: OrderId,
    body: ExchangeRequest,
    context: &CommandContext,
) -> Result<ExchangeRequested, Problem> {
    let first = api.checkout.order(first_id).await?;
    let Some(currency) = first.state.currency() else { return Err(Problem::no_such("order")) };
    if context.if_revision.is_some() && context.if_revision != first.revision {
        let revision = first.revision.unwrap_or_default();
        return Err(Problem::new(Code::PreconditionFailed).header(header::ETAG, etag(revision)));
    }
    api.backlog.admit().map_err(ProblemSource::problem)?;
    let new_id = OrderId::of_command(context.id);
    let now = in_microseconds(api.checkout.clock.now());
    let order = body.order.into_order(&first.state, currency);
    let place = order.into_command(new_id, now, api).map_err(|problem| problem.within("order"))?;
    let part =
        |part: &ReturnPart| ReturnLine { line: part.line, quantity: part.quantity, restock: part.restock };
    let new_return = NewReturn {
        return_id: ReturnId::of_command(context.id),
        lines: body.goods.lines.iter().map(part).collect(),
        refund_amount: None,
        reason: body.goods.reason,
    };
    let units = reservations_of_new_order(&place);
    let planned = exchange::plan(ExchangeId::from(context.id), &first.state, new_return, place);
    let planned = planned.map_err(|refusal| refusal.problem())?;
    let reading = units.into_iter().map(|(sku, requested)| shortage(api, sku, requested));
    let shortages: Vec<Option<Shortage>> =
        stream::iter(reading).buffered(LEVELS_READ_MAX).try_collect().await?;
    let shortages: Vec<Shortage> = shortages.into_iter().flatten().collect();
    if shortages.is_empty() { Ok(planned) } else { Err(insufficient_stock(&shortages)) }
}

async fn shortage(api: &CommandApi, sku: Sku, requested: u32) -> Result<Option<Shortage>, ExecuteError> {
    let available = api.checkout.stock.read(&sku, |stock, _| stock.levels().available()).await?;
    Ok((available < requested).then_some(Shortage { sku, requested, available }))
}

fn insufficient_stock(shortages: &[Shortage]) -> Problem {
    let shortages: Vec<_> = shortages.iter().map(shortage_item).collect();
    Problem::new(Code::InsufficientStock)
        .member("shortages", serde_json::to_value(shortages).unwrap_or_default())
}

/// The answer to an exchange that has ended. It is the same for every retry.
async fn answer(
    api: &CommandApi,
    exchange_id: ExchangeId,
    exchange: &Exchange,
    (correlation_id, replayed): (Uuid, bool),
) -> Result<Answer<ExchangeAnswer>, Problem> {
    let (Some(parts), Some(outcome)) = (exchange.parts(), exchange.outcome()) else {
        tracing::error!(exchange.id = %exchange_id, "An exchange has no outcome after its run; the request fails");
        return Err(Problem::new(Code::Internal));
    };
    let new_id = parts.new_order_id;
    let settled = match outcome {
        ExchangeOutcome::Settled(settled) => settled,
        ExchangeOutcome::Refused(because) => {
            let problem = refused(api, new_id, because).await?.member("order_id", new_id.to_string());
            return Err(if replayed {
                problem.header(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"))
            } else {
                problem
            });
        }
    };
    let (revision, order_revision) = (settled.return_revision, settled.order_revision);
    let mut revisions = BTreeMap::from([
        (format!("order-{}", parts.order_id), revision),
        (format!("order-{new_id}"), order_revision),
    ]);
    if let Some(payment_id) = parts.payment_id {
        request_payments(api, new_id, correlation_id).await?;
        // The first event of a payment is its request.
        revisions.insert(format!("payment-{payment_id}"), 0);
    }
    let body = ExchangeAnswer {
        exchange_id,
        return_id: parts.return_id,
        order_id: new_id,
        credit: parts.credit,
        refund_amount: settled.refund_amount,
        payment_id: parts.payment_id,
        revision,
        revisions,
    };
    let location = Some(format!("/v1/orders/{new_id}"));
    Ok(Answer { status: StatusCode::CREATED, revision: Some(revision), location, replayed, body })
}

/// Requests the payments of the new order if a crash prevented that: the answer names the one to settle.
async fn request_payments(api: &CommandApi, id: OrderId, correlation_id: Uuid) -> Result<(), ExecuteError> {
    let _guard = api.checkout.lock_order(id).await?;
    match api.checkout.settling(id).await? {
        Some((settling, event)) => {
            api.checkout.request_payments(id, (&settling, &event), correlation_id).await
        }
        None => Ok(()),
    }
}

/// The problem of an exchange that was refused after its intent was recorded.
async fn refused(
    api: &CommandApi,
    new_id: OrderId,
    because: RefusedBecause,
) -> Result<Problem, ExecuteError> {
    Ok(match because {
        RefusedBecause::InsufficientStock => {
            let new = api.checkout.order(new_id).await?.state;
            insufficient_stock(new.shortages())
        }
        RefusedBecause::OrderEnded => {
            Problem::new(Code::OrderStatus).detail("the new order ended before the units came back")
        }
        RefusedBecause::NotReturnable => {
            Problem::new(Code::QuantityUnavailable).detail("the units came back otherwise meanwhile")
        }
        RefusedBecause::CreditTooLarge => {
            Problem::new(Code::RefundTooLarge).detail("money of the first order was refunded meanwhile")
        }
    })
}

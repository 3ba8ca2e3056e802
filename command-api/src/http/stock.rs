//! Stock comes in and is counted.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{
    CommandContext, CommandId, Decider, EventId, Revision, Sku, StreamName,
    stock::{StockCommand, StockDecider, StockLevels},
};
use futures::future::try_join_all;
use http::{HeaderMap, StatusCode, header};
use infra::http::{Code, FieldError, Problem, problem::ProblemBody};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    CommandApi,
    extract::{JsonBody, Segments, context, etag},
};
use crate::{
    error::{failure, stock_refused},
    executor::{Mode, Outcome},
};

/// The most SKUs of one bulk receipt.
const BULK_RECEIPTS_MAX: usize = 1_000;

/// Goods that came in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptRequest {
    /// Units, 1 to 1,000,000,000.
    #[schema(example = 100, minimum = 1, maximum = 1_000_000_000)]
    quantity: u32,
    /// The shop's own name for it, such as a purchase order.
    #[schema(example = "po-1")]
    #[serde(default)]
    reference: Option<String>,
}

/// A count or a write-off.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdjustmentRequest {
    /// Units more (positive) or fewer (negative) on hand; not zero.
    #[schema(example = -3)]
    delta: i64,
    #[schema(example = "damaged")]
    #[serde(default)]
    reason: Option<String>,
}

/// Goods that came in, of several SKUs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkReceiptRequest {
    /// 1 to 1,000, each SKU once.
    receipts: Vec<BulkReceiptItem>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkReceiptItem {
    #[schema(value_type = String, example = "85123A")]
    sku: Sku,
    #[schema(example = 100, minimum = 1, maximum = 1_000_000_000)]
    quantity: u32,
    #[serde(default)]
    reference: Option<String>,
}

/// The levels of a SKU after a command, in units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StockAnswer {
    #[schema(value_type = String, example = "85123A")]
    sku: Sku,
    on_hand: u32,
    reserved: u32,
    available: u32,
    /// Of the SKU's stream, right after this command.
    revision: Revision,
}

/// What became of a bulk receipt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BulkReceiptAnswer {
    /// The levels of the SKUs that were received, in the order of the request.
    receipts: Vec<StockAnswer>,
    /// The receipts that were refused, by SKU; nothing was recorded for them.
    refused: Vec<FieldError>,
}

/// Receive goods
#[utoipa::path(post, path = "/v1/stock/{sku}/receipts", tag = "stock",
    params(("sku" = String, Path), ("Idempotency-Key" = String, Header)),
    request_body = ReceiptRequest,
    responses(
        (status = 201, description = "Received; `ETag` is the revision", body = StockAnswer),
        (status = 409, description = "stock_limit", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request, idempotency_key_reused", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn receive(
    State(api): State<CommandApi>,
    Segments(sku): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ReceiptRequest>,
) -> Result<Response, Problem> {
    let sku = parse_sku(&sku)?;
    let reference = text("reference", body.reference.as_ref())?;
    let context = context(&headers, &format!("/v1/stock/{sku}/receipts"), &body)?;
    let command = StockCommand::Receive { quantity: body.quantity, reference };
    let (answer, replayed) = run(&api, &sku, command, &context).await?;
    Ok(respond(StatusCode::CREATED, answer, replayed))
}

/// Adjust what is on hand
#[utoipa::path(post, path = "/v1/stock/{sku}/adjustments", tag = "stock",
    params(("sku" = String, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = AdjustmentRequest,
    responses(
        (status = 201, description = "Adjusted; `ETag` is the revision", body = StockAnswer),
        (status = 409, description = "stock_below_reserved, stock_limit", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "precondition_failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request, idempotency_key_reused", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn adjust(
    State(api): State<CommandApi>,
    Segments(sku): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<AdjustmentRequest>,
) -> Result<Response, Problem> {
    let sku = parse_sku(&sku)?;
    let reason = text("reason", body.reason.as_ref())?;
    let context = context(&headers, &format!("/v1/stock/{sku}/adjustments"), &body)?;
    let command = StockCommand::Adjust { delta: body.delta, reason };
    let (answer, replayed) = run(&api, &sku, command, &context).await?;
    Ok(respond(StatusCode::CREATED, answer, replayed))
}

/// Receive goods of several SKUs
///
/// Each SKU is a command of its own under the key: a retry completes what is missing and repeats nothing.
#[utoipa::path(post, path = "/v1/stock/receipts", tag = "stock",
    params(("Idempotency-Key" = String, Header)),
    request_body = BulkReceiptRequest,
    responses(
        (status = 200, description = "What was received, and what was refused", body = BulkReceiptAnswer),
        (status = 422, description = "invalid_request, idempotency_key_reused", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn receive_many(
    State(api): State<CommandApi>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<BulkReceiptRequest>,
) -> Result<Response, Problem> {
    let skus: BTreeSet<&Sku> = body.receipts.iter().map(|receipt| &receipt.sku).collect();
    if body.receipts.is_empty() || body.receipts.len() > BULK_RECEIPTS_MAX || skus.len() < body.receipts.len()
    {
        return Err(
            Problem::new(Code::InvalidRequest).error("receipts", "1 to 1,000 receipts, each SKU once")
        );
    }
    for receipt in &body.receipts {
        text("reference", receipt.reference.as_ref())?;
    }
    let context = context(&headers, "/v1/stock/receipts", &body)?;
    let receiving = body.receipts.iter().map(async |receipt| {
        let stream = StreamName::from(receipt.sku.clone());
        // Event ids are made from command ids, so the streams must not share one.
        let id = CommandId::of_reaction(EventId(context.id.0), &stream, "stock.receive");
        let context = CommandContext { id, ..context.clone() };
        let (quantity, reference) = (receipt.quantity, receipt.reference.clone());
        let received = run(&api, &receipt.sku, StockCommand::Receive { quantity, reference }, &context).await;
        match received {
            Ok((answer, replayed)) => Ok(Ok((answer, replayed))),
            // Whatever is about this SKU alone does not hold up the others.
            Err(problem) if problem.code == Code::StockLimit || problem.code == Code::InvalidRequest => {
                let message = problem.code.title().to_owned();
                Ok(Err(FieldError { field: receipt.sku.to_string(), message }))
            }
            Err(problem) => Err(problem),
        }
    });
    let mut answer = BulkReceiptAnswer { receipts: Vec::new(), refused: Vec::new() };
    let mut all_replayed = true;
    for outcome in try_join_all(receiving).await? {
        match outcome {
            Ok((received, replayed)) => {
                all_replayed &= replayed;
                answer.receipts.push(received);
            }
            Err(refused) => answer.refused.push(refused),
        }
    }
    let replayed = all_replayed && !answer.receipts.is_empty();
    let mut response = Json(answer).into_response();
    mark_replayed(&mut response, replayed);
    Ok(response)
}

/// Runs a stock command; the flag says that this is the answer of an earlier request.
async fn run(
    api: &CommandApi,
    sku: &Sku,
    command: StockCommand,
    context: &CommandContext,
) -> Result<(StockAnswer, bool), Problem> {
    let executed = api.checkout.stock.execute(sku, command, context, Mode::EXTERNAL).await;
    let executed = executed.map_err(|error| failure(&error))?;
    let answer = |levels: StockLevels, revision| StockAnswer {
        sku: sku.clone(),
        on_hand: levels.on_hand,
        reserved: levels.reserved,
        available: levels.available(),
        revision,
    };
    match executed.outcome {
        Outcome::Recorded | Outcome::Unchanged => {
            Ok((answer(executed.summary, executed.revision.unwrap_or_default()), false))
        }
        Outcome::Duplicate { revision } => {
            let then = super::state_at::<StockDecider>(api, &sku.clone().into(), revision).await?;
            Ok((answer(StockDecider::summary(&then), revision), true))
        }
        Outcome::KeyReused => Err(Problem::new(Code::IdempotencyKeyReused)),
        Outcome::PreconditionFailed => Err(super::precondition_failed(executed.revision)),
        Outcome::Refused(refusal) => Err(stock_refused(&refusal)),
    }
}

fn respond(status: StatusCode, answer: StockAnswer, replayed: bool) -> Response {
    let etag = etag(answer.revision);
    let mut response = (status, Json(answer)).into_response();
    response.headers_mut().insert(header::ETAG, etag);
    mark_replayed(&mut response, replayed);
    response
}

pub(super) fn mark_replayed(response: &mut Response, replayed: bool) {
    if replayed {
        response.headers_mut().insert("idempotent-replayed", http::HeaderValue::from_static("true"));
    }
}

fn parse_sku(segment: &str) -> Result<Sku, Problem> {
    Sku::new(segment).map_err(|error| Problem::new(Code::InvalidParameter).error("sku", error.to_string()))
}

/// A free text of a stock command, bounded like those of orders.
fn text(field: &str, value: Option<&String>) -> Result<Option<String>, Problem> {
    let fits = |text: &String| {
        (1..=domain::text::TEXT_CHARS_MAX).contains(&text.chars().count())
            && !text.chars().any(char::is_control)
    };
    match value {
        Some(text) if !fits(text) => Err(Problem::new(Code::InvalidRequest)
            .error(field, "1 to 500 characters, none of them a control character")),
        value => Ok(value.cloned()),
    }
}

//! Commands on stock.

use std::{collections::BTreeSet, fmt};

use axum::extract::State;
use domain::{
    CommandContext, CommandId, EventId, Revision, Sku, StreamName,
    stock::{StockCommand, StockLevels},
};
use futures::future::try_join_all;
use http::StatusCode;
use infra::http::{Code, Failure, FieldError, Problem, path::PathId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    CommandApi,
    answer::Answer,
    command::{Command, CommandHeaders, command_problems},
    run::{AfterCommand, run},
    text,
};

/// Most SKUs of one bulk receipt.
const BULK_RECEIPTS_MAX: usize = 1_000;

/// A SKU in the path of a command. The SKU need not exist yet, so a malformed one is a wrong parameter (400),
/// not a missing resource.
#[derive(Debug)]
pub(super) struct NewSku(Sku);

impl fmt::Display for NewSku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PathId for NewSku {
    const RESOURCE: &'static str = Sku::RESOURCE;

    fn parse(segment: &str) -> Result<Self, Problem> {
        Sku::new(segment).map(Self).map_err(|error| Problem::invalid_parameter("sku", error.to_string()))
    }
}

/// Received goods.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptRequest {
    /// Units, from 1 to 1,000,000,000.
    #[schema(example = 100, minimum = 1, maximum = 1_000_000_000)]
    quantity: u32,
    /// A reference of the shop, such as a purchase order.
    #[schema(example = "po-1")]
    #[serde(default)]
    reference: Option<String>,
}

/// A correction after a count, or a write-off.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdjustmentRequest {
    /// Units to add (positive) or remove (negative). Not zero.
    #[schema(example = -3)]
    delta: i64,
    #[schema(example = "damaged")]
    #[serde(default)]
    reason: Option<String>,
}

/// Received goods of several SKUs.
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
    /// Revision of the SKU's stream right after this command.
    revision: Revision,
}

/// The outcome of a bulk receipt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BulkReceiptAnswer {
    /// Levels of the received SKUs, in the order of the request.
    receipts: Vec<StockAnswer>,
    /// Refused receipts, by SKU. Nothing was recorded for them.
    refused: Vec<FieldError>,
}

impl StockAnswer {
    fn new(sku: &Sku, levels: StockLevels, revision: Revision) -> Self {
        let StockLevels { on_hand, reserved } = levels;
        Self { sku: sku.clone(), on_hand, reserved, available: levels.available(), revision }
    }

    fn created(self, replayed: bool) -> Answer<Self> {
        let revision = Some(self.revision);
        Answer { status: StatusCode::CREATED, revision, location: None, replayed, body: self }
    }
}

command_problems! {
    ReceiveProblems = StockLimit;
    AdjustProblems = StockBelowReserved StockLimit;
    ReceiveManyProblems = ;
}

/// Receive goods
#[utoipa::path(post, path = "/v1/stock/{sku}/receipts", tag = "stock",
    params(("sku" = String, Path), CommandHeaders),
    request_body = ReceiptRequest,
    responses((status = 201, description = "Received.", body = StockAnswer), ReceiveProblems))]
pub(super) async fn receive(
    State(api): State<CommandApi>,
    Command { id: NewSku(sku), body, context }: Command<NewSku, ReceiptRequest>,
) -> Result<Answer<StockAnswer>, Failure<ReceiveProblems>> {
    let reference = text("reference", body.reference)?;
    let command = StockCommand::Receive { quantity: body.quantity, reference };
    let (answer, replayed) = run_on_stock(&api, &sku, command, &context).await?;
    Ok(answer.created(replayed))
}

/// Adjust the units on hand
#[utoipa::path(post, path = "/v1/stock/{sku}/adjustments", tag = "stock",
    params(("sku" = String, Path), CommandHeaders),
    request_body = AdjustmentRequest,
    responses((status = 201, description = "Adjusted.", body = StockAnswer), AdjustProblems))]
pub(super) async fn adjust(
    State(api): State<CommandApi>,
    Command { id: NewSku(sku), body, context }: Command<NewSku, AdjustmentRequest>,
) -> Result<Answer<StockAnswer>, Failure<AdjustProblems>> {
    let reason = text("reason", body.reason)?;
    let command = StockCommand::Adjust { delta: body.delta, reason };
    let (answer, replayed) = run_on_stock(&api, &sku, command, &context).await?;
    Ok(answer.created(replayed))
}

/// Receive goods of several SKUs
///
/// Each SKU is a separate command under the key: a retry completes the missing ones and repeats none.
#[utoipa::path(post, path = "/v1/stock/receipts", tag = "stock",
    params(CommandHeaders),
    request_body = BulkReceiptRequest,
    responses(
        (status = 200, description = "The received and the refused SKUs.", body = BulkReceiptAnswer),
        ReceiveManyProblems,
    ))]
pub(super) async fn receive_many(
    State(api): State<CommandApi>,
    Command { id: (), body, context }: Command<(), BulkReceiptRequest>,
) -> Result<Answer<BulkReceiptAnswer>, Failure<ReceiveManyProblems>> {
    check_receipts(&body.receipts)?;
    let receiving = body.receipts.into_iter().map(|receipt| receive_one(&api, receipt, &context));
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
    Ok(Answer { status: StatusCode::OK, revision: None, location: None, replayed, body: answer })
}

fn check_receipts(receipts: &[BulkReceiptItem]) -> Result<(), Problem> {
    let skus: BTreeSet<&Sku> = receipts.iter().map(|receipt| &receipt.sku).collect();
    if receipts.is_empty() || receipts.len() > BULK_RECEIPTS_MAX || skus.len() < receipts.len() {
        return Err(Problem::invalid_request("receipts", "expected 1 to 1,000 receipts, each SKU once"));
    }
    receipts.iter().try_for_each(|receipt| text("reference", receipt.reference.clone()).map(drop))
}

/// Receives one SKU of a bulk receipt. `Ok(Err)`: this SKU alone is refused, which does not stop the others.
async fn receive_one(
    api: &CommandApi,
    receipt: BulkReceiptItem,
    context: &CommandContext,
) -> Result<Result<(StockAnswer, bool), FieldError>, Problem> {
    let BulkReceiptItem { sku, quantity, reference } = receipt;
    // Event ids are computed from command ids, so each stream needs its own command id.
    let id = CommandId::of_reaction(EventId(context.id.0), &StreamName::from(sku.clone()), "stock.receive");
    let context = CommandContext { id, ..context.clone() };
    match run_on_stock(api, &sku, StockCommand::Receive { quantity, reference }, &context).await {
        Ok(received) => Ok(Ok(received)),
        Err(problem) if matches!(problem.code, Code::StockLimit | Code::InvalidRequest) => {
            Ok(Err(FieldError { field: sku.to_string(), message: problem.code.title().to_owned() }))
        }
        Err(problem) => Err(problem),
    }
}

/// Runs a command on the stock of a SKU. The flag marks the answer of an earlier request.
async fn run_on_stock(
    api: &CommandApi,
    sku: &Sku,
    command: StockCommand,
    context: &CommandContext,
) -> Result<(StockAnswer, bool), Problem> {
    let after = run(api, &api.checkout.stock, sku, command, context).await?;
    let AfterCommand { summary, revision, replayed } = after;
    Ok((StockAnswer::new(sku, summary, revision), replayed))
}

//! Commands on stock.

use std::fmt;

use axum::extract::State;
use domain::{
    CommandContext, Revision, Sku,
    stock::{StockCommand, StockLevels},
};
use http::StatusCode;
use infra::http::{
    Failure, Problem,
    path::PathId,
    vocabulary::{RevisionValue, SkuValue, TextValue},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    CommandApi, SharedApi,
    answer::Answer,
    command::{Command, CommandHeaders, command_problems},
    run::{AfterCommand, run},
    text,
};

mod bulk_receipt;
pub(super) use bulk_receipt::*;

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
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reference: Option<String>,
}

/// A correction after a count, or a write-off.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdjustmentRequest {
    /// Units to add (positive) or remove (negative). Not zero.
    #[schema(example = -3, minimum = -1_000_000_000, maximum = 1_000_000_000)]
    delta: i64,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reason: Option<String>,
}

/// The levels of a SKU after a command, in units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StockAnswer {
    #[schema(value_type = SkuValue)]
    sku: Sku,
    on_hand: u32,
    reserved: u32,
    available: u32,
    /// Revision of the SKU's stream right after this command.
    #[schema(value_type = RevisionValue)]
    revision: Revision,
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
}

/// Receive goods
#[utoipa::path(post, path = "/v1/stock/{sku}/receipts", operation_id = "receiveStock", tag = "stock",
    params(("sku" = SkuValue, Path), CommandHeaders),
    request_body = ReceiptRequest,
    responses((status = 201, description = "Received.", body = StockAnswer), ReceiveProblems))]
pub(super) async fn receive(
    State(api): State<SharedApi>,
    Command { id: NewSku(sku), body, context }: Command<NewSku, ReceiptRequest>,
) -> Result<Answer<StockAnswer>, Failure<ReceiveProblems>> {
    let reference = text("reference", body.reference)?;
    let command = StockCommand::Receive { quantity: body.quantity, reference };
    let (answer, replayed) = run_on_stock(&api, &sku, command, &context).await?;
    Ok(answer.created(replayed))
}

/// Adjust the units on hand
#[utoipa::path(post, path = "/v1/stock/{sku}/adjustments", operation_id = "adjustStock", tag = "stock",
    params(("sku" = SkuValue, Path), CommandHeaders),
    request_body = AdjustmentRequest,
    responses((status = 201, description = "Adjusted.", body = StockAnswer), AdjustProblems))]
pub(super) async fn adjust(
    State(api): State<SharedApi>,
    Command { id: NewSku(sku), body, context }: Command<NewSku, AdjustmentRequest>,
) -> Result<Answer<StockAnswer>, Failure<AdjustProblems>> {
    let reason = text("reason", body.reason)?;
    let command = StockCommand::Adjust { delta: body.delta, reason };
    let (answer, replayed) = run_on_stock(&api, &sku, command, &context).await?;
    Ok(answer.created(replayed))
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

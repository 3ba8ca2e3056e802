//! Receives goods of several SKUs under one key: all of them or none.
//!
//! Every check comes before the first write, and the first write is the intent: the event of the stream
//! `receipt-{command id}`. After that event the goods are received even if this request ends early, because the
//! process manager reacts to the event too.

use axum::extract::State;
use domain::{
    CommandContext, CommandId, EventId, ReceiptId, Revision, Sku, StreamName,
    receipt::{self, ReceiptCommand, ReceiptItem, ReceiptRefusal},
    stock::{self, StockCommand, StockDecider, StockLevels, StockRefusal},
};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use http::StatusCode;
use infra::http::{
    Code, Failure, FieldError, Problem,
    vocabulary::{SkuValue, TextValue},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::StockAnswer;
use crate::{
    error::Refusal,
    executor::{Executed, Outcome},
    http::{
        CommandApi, SharedApi,
        answer::Answer,
        command::{Command, CommandHeaders, command_problems},
        run::{Accepted, AfterCommand, accepted, after_command},
    },
};

/// SKUs that one request reads at once before it accepts the goods. Each takes a place of an external command.
const PROBES_MAX: usize = 32;
/// A revision that no stream reaches.
const NO_REVISION: Revision = Revision::MAX;

/// Received goods of several SKUs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct BulkReceiptRequest {
    /// 1 to 1,000, each SKU once. All references together have at most 262,144 bytes.
    #[schema(min_items = 1, max_items = 1_000)]
    receipts: Vec<BulkReceiptItem>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct BulkReceiptItem {
    #[schema(value_type = SkuValue)]
    sku: Sku,
    #[schema(example = 100, minimum = 1, maximum = 1_000_000_000)]
    quantity: u32,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reference: Option<String>,
}

/// The outcome of a bulk receipt.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct BulkReceiptAnswer {
    /// Levels of the received SKUs, in the order of the request.
    receipts: Vec<StockAnswer>,
    /// Empty: all SKUs are received or none. Only a key that was first used with an earlier version, which
    /// received each SKU for itself, can list refused SKUs here.
    refused: Vec<FieldError>,
}

command_problems! {
    ReceiveManyProblems = StockLimit;
}

/// Receive goods of several SKUs
///
/// All SKUs are received or none: a refusal lists every refused SKU in `errors`. A SKU that other requests fill up
/// after this one was accepted is still received.
#[utoipa::path(post, path = "/v1/stock/receipts", operation_id = "receiveStockInBulk", tag = "stock",
    params(CommandHeaders),
    request_body = BulkReceiptRequest,
    responses(
        (status = 200, description = "Received.", body = BulkReceiptAnswer),
        ReceiveManyProblems,
    ))]
pub(in crate::http) async fn receive_many(
    State(api): State<SharedApi>,
    Command { id: (), body, context }: Command<(), BulkReceiptRequest>,
) -> Result<Answer<BulkReceiptAnswer>, Failure<ReceiveManyProblems>> {
    let item = |item: BulkReceiptItem| ReceiptItem {
        sku: item.sku,
        quantity: item.quantity,
        reference: item.reference,
    };
    let items: Vec<ReceiptItem> = body.receipts.into_iter().map(item).collect();
    let receipts = &api.checkout.receipts;
    let receipt_id = ReceiptId::from(context.id);
    // A receipt that is accepted already passes no check: its SKUs may have filled up meanwhile.
    let is_accepted = async || receipts.read(&receipt_id, |receipt, _| receipt.is_accepted()).await;
    if !is_accepted().await? {
        match check(&api, &items, &context).await {
            Ok(Uses::New) => {}
            Ok(Uses::Earlier) => return Ok(complete_earlier(&api, items, &context).await?),
            // The same request at the same time may have been accepted, and may have filled them up itself.
            Err(_) if is_accepted().await? => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    let command = ReceiptCommand::Accept { items: items.clone() };
    let accepting = receipts.execute(&receipt_id, command, &context).await?;
    let replayed = matches!(accepted(accepting)?, Accepted::Repeated { .. });

    let intent = EventId::of_command(context.id, 0);
    let receiving = items.into_iter().map(async |ReceiptItem { sku, quantity, reference }| {
        let command = StockCommand::ReceiveAccepted { quantity, reference };
        let target = StreamName::from(sku.clone());
        let context = CommandContext::reaction(intent, context.correlation_id, &target, command.name());
        let received = api.checkout.stock.execute_reaction(&sku, command, &context).await?;
        after_receipt(&api, &sku, received).await
    });
    let answer = BulkReceiptAnswer::of(try_join_all(receiving).await?);
    api.checkout.handled_inline().insert(intent);
    Ok(Answer { status: StatusCode::OK, revision: None, location: None, replayed, body: answer.0 })
}

/// Whether a key is new, or was first used with version 0.1.0 before it had receipt streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uses {
    New,
    Earlier,
}

/// Checks a receipt before anything of it is written.
async fn check(api: &CommandApi, items: &[ReceiptItem], context: &CommandContext) -> Result<Uses, Problem> {
    let checked = receipt::check(items);
    if let Err(refusals) = &checked
        && refusals.0.contains(&ReceiptRefusal::ItemCount)
    {
        return Err(refusals.problem());
    }
    let probing = items.iter().cloned().map(|item| probe(api, item, context));
    let found: Vec<Probe> = stream::iter(probing).buffered(PROBES_MAX).try_collect().await?;
    if found.contains(&Probe::KeyReused) {
        return Err(Problem::new(Code::IdempotencyKeyReused));
    }
    if found.contains(&Probe::Received) {
        return Ok(Uses::Earlier);
    }
    checked.map_err(|refusals| refusals.problem())?;
    let too_many = found.iter().zip(items).enumerate().filter_map(|(index, (found, item))| match found {
        Probe::Levels(levels) => {
            stock::check_receipt(*levels, item.quantity).err().map(|refusal| (index, item, refusal))
        }
        Probe::Received | Probe::KeyReused => None,
    });
    let add = |problem: Option<Problem>, (index, item, refusal): (usize, &ReceiptItem, StockRefusal)| {
        let problem = problem.unwrap_or_else(|| Problem::new(refusal.problem().code));
        Some(problem.error(format!("receipts[{index}].quantity"), format!("{}: {refusal}", item.sku)))
    };
    match too_many.fold(None, add) {
        Some(problem) => Err(problem),
        None => Ok(Uses::New),
    }
}

/// What a SKU knows of a receipt before the receipt is accepted.
#[derive(Debug, PartialEq, Eq)]
enum Probe {
    Levels(StockLevels),
    /// An earlier version received this SKU under the key.
    Received,
    /// An earlier version received this SKU under the key, with another content of the request.
    KeyReused,
}

/// Reads the levels of a SKU, and whether an earlier version received it under this key. Sends the command of
/// that version with a precondition that never holds, so nothing is recorded.
async fn probe(api: &CommandApi, item: ReceiptItem, context: &CommandContext) -> Result<Probe, Problem> {
    let (sku, command) = (item.sku.clone(), receive_alone(item));
    let context = CommandContext { if_revision: Some(NO_REVISION), ..context_alone(&sku, context) };
    let executed = api.checkout.stock.execute(&sku, command, &context).await?;
    Ok(match executed.outcome {
        Outcome::Duplicate { .. } => Probe::Received,
        Outcome::KeyReused => Probe::KeyReused,
        Outcome::Recorded | Outcome::Unchanged | Outcome::PreconditionFailed | Outcome::Refused(_) => {
            Probe::Levels(executed.summary)
        }
    })
}

/// Completes a receipt whose key was first used with version 0.1.0. That version received each SKU by a command of
/// its own and listed the refused ones.
async fn complete_earlier(
    api: &CommandApi,
    items: Vec<ReceiptItem>,
    context: &CommandContext,
) -> Result<Answer<BulkReceiptAnswer>, Problem> {
    let receiving = items.into_iter().map(async |item| {
        let (sku, context) = (item.sku.clone(), context_alone(&item.sku, context));
        let received = api.checkout.stock.execute(&sku, receive_alone(item), &context).await?;
        after_receipt(api, &sku, received).await
    });
    let (body, all_replayed) = BulkReceiptAnswer::of(try_join_all(receiving).await?);
    let replayed = all_replayed && !body.receipts.is_empty();
    Ok(Answer { status: StatusCode::OK, revision: None, location: None, replayed, body })
}

fn receive_alone(item: ReceiptItem) -> StockCommand {
    StockCommand::Receive { quantity: item.quantity, reference: item.reference }
}

/// The context of the command by which version 0.1.0 received one SKU of the request.
fn context_alone(sku: &Sku, context: &CommandContext) -> CommandContext {
    let id = CommandId::of_reaction(EventId(context.id.0), &StreamName::from(sku.clone()), "stock.receive");
    CommandContext { id, ..context.clone() }
}

/// The levels of a SKU after its receipt, and whether an earlier request received it; or why it is refused.
type ReceivedOne = Result<(StockAnswer, bool), FieldError>;

async fn after_receipt(
    api: &CommandApi,
    sku: &Sku,
    executed: Executed<StockDecider>,
) -> Result<ReceivedOne, Problem> {
    match after_command(api, sku, executed).await {
        Ok(AfterCommand { summary, revision, replayed }) => {
            Ok(Ok((StockAnswer::new(sku, summary, revision), replayed)))
        }
        Err(problem) if matches!(problem.code, Code::StockLimit | Code::InvalidRequest) => {
            Ok(Err(FieldError::of_parameter(sku.to_string(), problem.code.title())))
        }
        Err(problem) => Err(problem),
    }
}

impl BulkReceiptAnswer {
    /// The answer, and whether earlier requests received all SKUs that are not refused.
    fn of(outcomes: Vec<ReceivedOne>) -> (Self, bool) {
        let (mut answer, mut all_replayed) = (Self { receipts: Vec::new(), refused: Vec::new() }, true);
        for outcome in outcomes {
            match outcome {
                Ok((received, replayed)) => {
                    all_replayed &= replayed;
                    answer.receipts.push(received);
                }
                Err(refused) => answer.refused.push(refused),
            }
        }
        (answer, all_replayed)
    }
}

//! Undoes a shipment that never left.

use axum::extract::State;
use domain::{OrderId, ShipmentId, order::OrderCommand};
use http::StatusCode;
use infra::http::{Failure, vocabulary::TextValue};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{OrderAnswer, run_on_order};
use crate::http::{
    SharedApi,
    answer::Answer,
    command::{Command, CommandHeaders, command_problems},
};

/// The reason of an undone shipment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct UndoRequest {
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reason: Option<String>,
}

command_problems! {
    UndoProblems = OrderStatus ShipmentArrived;
}

/// Undo a shipment that never left
///
/// Its units are on hand and reserved again, and are to be shipped again. Undoing an undone shipment changes nothing.
#[utoipa::path(post, path = "/v1/orders/{id}/shipments/{shipment}/undo", operation_id = "undoShipment", tag = "orders",
    params(("id" = Uuid, Path), ("shipment" = Uuid, Path), CommandHeaders),
    request_body = UndoRequest,
    responses((status = 200, description = "Undone.", body = OrderAnswer), UndoProblems))]
pub(in crate::http) async fn undo_shipment(
    State(api): State<SharedApi>,
    Command { id: (id, shipment_id), body, context }: Command<(OrderId, ShipmentId), UndoRequest>,
) -> Result<Answer<OrderAnswer>, Failure<UndoProblems>> {
    let command = OrderCommand::UndoShipment { shipment_id, reason: body.reason };
    let (answer, replayed) = run_on_order(&api, id, command, &context).await?;
    Ok(OrderAnswer { shipment_id: Some(shipment_id), ..answer }.with(StatusCode::OK, replayed))
}

//! Moves the due time of an order.

use axum::extract::State;
use domain::{OrderId, Timestamp, order::OrderCommand};
use http::StatusCode;
use infra::http::Failure;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{OrderAnswer, place::in_microseconds, run_on_order};
use crate::http::{
    CommandApi,
    answer::Answer,
    body::{OptionalField, optional_field},
    command::{Command, CommandHeaders, command_problems},
};

/// When the payment is due.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct DueRequest {
    /// When the unpaid order expires. Null: never.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    #[serde(deserialize_with = "optional_field")]
    payment_due_at: OptionalField<Timestamp>,
}

command_problems! {
    DueProblems = OrderStatus;
}

/// Move the time at which the payment is due
#[utoipa::path(post, path = "/v1/orders/{id}/due", tag = "orders",
    params(("id" = uuid::Uuid, Path), CommandHeaders),
    request_body = DueRequest,
    responses((status = 200, description = "Moved.", body = OrderAnswer), DueProblems))]
pub(in crate::http) async fn move_due(
    State(api): State<CommandApi>,
    Command { id, body, context }: Command<OrderId, DueRequest>,
) -> Result<Answer<OrderAnswer>, Failure<DueProblems>> {
    let payment_due_at = body.payment_due_at.flatten().map(in_microseconds);
    let now = in_microseconds(api.checkout.clock.now());
    let command = OrderCommand::MoveDue { payment_due_at, now };
    let (answer, replayed) = run_on_order(&api, id, command, &context).await?;
    Ok(answer.with(StatusCode::OK, replayed))
}

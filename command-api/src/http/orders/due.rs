//! When the payment of an order is due, and the command that moves this time.

use axum::extract::State;
use domain::{
    OrderId, Timestamp,
    order::{OrderCommand, PaymentTerms},
};
use http::StatusCode;
use infra::http::{Failure, Problem};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{OrderAnswer, place::in_microseconds, run_on_order};
use crate::http::{
    CommandApi, SharedApi,
    answer::Answer,
    body::{OptionalField, optional_field},
    command::{Command, CommandHeaders, command_problems},
};

/// The longest time for which a request may let the payment wait, in days.
const DUE_DAYS_MAX: u32 = 3_650;

/// The due time of a new order, from its request and the time of the request.
pub(super) fn due_of_new_order(
    given_at: OptionalField<Timestamp>,
    given_days: Option<u32>,
    terms: PaymentTerms,
    (now, api): (Timestamp, &CommandApi),
) -> Result<Option<Timestamp>, Problem> {
    let invalid = |why: String| Problem::invalid_request("payment_due_days", why);
    match (given_at, given_days, terms) {
        (Some(_), Some(_), _) => Err(invalid("give either payment_due_at or payment_due_days".to_owned())),
        (Some(given), None, _) => Ok(given.map(in_microseconds)),
        (None, Some(days), _) if (1..=DUE_DAYS_MAX).contains(&days) => {
            let later = now.saturating_add(SignedDuration::from_hours(24 * i64::from(days)));
            Ok(Some(later.unwrap_or(Timestamp::MAX)))
        }
        (None, Some(_), _) => Err(invalid(format!("expected 1 to {DUE_DAYS_MAX} days"))),
        // The domain refuses it: such an order must say when it is due.
        (None, None, PaymentTerms::Net) => Ok(None),
        (None, None, PaymentTerms::Prepaid | PaymentTerms::OnShipment) => {
            Ok(now.saturating_add(api.options.payment_due_after).ok().map(in_microseconds))
        }
    }
}

/// When the payment is due.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct DueRequest {
    /// When the unpaid order expires, or is overdue under the terms `net`. Null: never; not under `net`.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    #[serde(deserialize_with = "optional_field")]
    payment_due_at: OptionalField<Timestamp>,
}

command_problems! {
    DueProblems = OrderStatus;
}

/// Move the time at which the payment is due
#[utoipa::path(post, path = "/v1/orders/{id}/due", operation_id = "moveDueDate", tag = "orders",
    params(("id" = uuid::Uuid, Path), CommandHeaders),
    request_body = DueRequest,
    responses((status = 200, description = "Moved.", body = OrderAnswer), DueProblems))]
pub(in crate::http) async fn move_due(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<OrderId, DueRequest>,
) -> Result<Answer<OrderAnswer>, Failure<DueProblems>> {
    let payment_due_at = body.payment_due_at.flatten().map(in_microseconds);
    let now = in_microseconds(api.checkout.clock.now());
    let command = OrderCommand::MoveDue { payment_due_at, now };
    let (answer, replayed) = run_on_order(&api, id, command, &context).await?;
    Ok(answer.with(StatusCode::OK, replayed))
}

/// Orders may be recorded later than they were placed.
pub(super) fn check_placed_at(placed_at: Option<Timestamp>, now: Timestamp) -> Result<(), Problem> {
    let a_day_ahead = now.saturating_add(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MAX);
    match placed_at {
        Some(placed_at) if placed_at < Timestamp::UNIX_EPOCH || placed_at > a_day_ahead => {
            Err(Problem::invalid_request("placed_at", "expected a time between 1970 and tomorrow"))
        }
        _ => Ok(()),
    }
}

//! Refunds of a payment whose outcome an operator records, or that are requested again.

use axum::extract::State;
use domain::{PaymentId, RefundId, payment::PaymentCommand};
use infra::http::vocabulary::TextValue;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NotAnswered, PaymentAnswer, PaymentOutcome, ReasonRequest, run_on_payment};
use crate::http::{
    SharedApi,
    command::{Command, CommandHeaders, command_problems},
};

/// The provider's id of a refund.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ReferenceRequest {
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reference: Option<String>,
}

command_problems! {
    RefundOutcomeProblems = RefundSettled RefundUnderWay PaymentOfCredit;
    RetryProblems = RefundSettled PaymentOfCredit;
}

/// Record that a refund was paid out
///
/// For money that no provider refunds. A refund of the provider is settled by hand only after a lost answer; a later
/// report of the provider is recorded all the same.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund_id}/succeed", operation_id = "completeRefund", tag = "payments",
    params(("id" = Uuid, Path), ("refund_id" = Uuid, Path), CommandHeaders),
    request_body = ReferenceRequest,
    responses(
        (status = 200, description = "Refunded.", body = PaymentAnswer),
        NotAnswered,
        RefundOutcomeProblems,
    ))]
pub(in crate::http) async fn refund_succeeded(
    State(api): State<SharedApi>,
    Command { id: (id, refund_id), body, context }: Command<(PaymentId, RefundId), ReferenceRequest>,
) -> PaymentOutcome<RefundOutcomeProblems> {
    let command = PaymentCommand::RecordRefunded { refund_id, reference: body.reference };
    Ok(run_on_payment(&api, id, command, &context).await?)
}

/// Record that a refund was refused
///
/// For money that no provider refunds, or after a lost answer of the provider.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund_id}/fail", operation_id = "failRefund", tag = "payments",
    params(("id" = Uuid, Path), ("refund_id" = Uuid, Path), CommandHeaders),
    request_body = ReasonRequest,
    responses(
        (status = 200, description = "Failed. The money is still captured and can be refunded again.", body = PaymentAnswer),
        NotAnswered,
        RefundOutcomeProblems,
    ))]
pub(in crate::http) async fn refund_failed(
    State(api): State<SharedApi>,
    Command { id: (id, refund_id), body, context }: Command<(PaymentId, RefundId), ReasonRequest>,
) -> PaymentOutcome<RefundOutcomeProblems> {
    let command = PaymentCommand::RecordRefundFailed { refund_id, reason: body.reason };
    Ok(run_on_payment(&api, id, command, &context).await?)
}

/// How to request a failed refund again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct RetryRequest {
    /// True: an operator pays the money out another way, and records it. False: the provider refunds it.
    #[serde(default)]
    by_hand: bool,
}

/// Request an automatic refund again
///
/// A payment whose order has ended repeats a failed refund by itself, 20 times at most. This requests it once more.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund_id}/retry", operation_id = "retryRefund", tag = "payments",
    params(("id" = Uuid, Path), ("refund_id" = Uuid, Path), CommandHeaders),
    request_body = RetryRequest,
    responses(
        (status = 200, description = "Requested.", body = PaymentAnswer),
        NotAnswered,
        RetryProblems,
    ))]
pub(in crate::http) async fn retry_refund(
    State(api): State<SharedApi>,
    Command { id: (id, refund_id), body, context }: Command<(PaymentId, RefundId), RetryRequest>,
) -> PaymentOutcome<RetryProblems> {
    let command = PaymentCommand::RetryRefund { refund_id, by_hand: body.by_hand };
    Ok(run_on_payment(&api, id, command, &context).await?)
}

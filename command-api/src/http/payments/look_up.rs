//! Looks a charge up at the provider and records what is new.

use axum::extract::State;
use domain::{PaymentId, payment::PaymentCommand};
use infra::http::{Code, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NotAnswered, PaymentAnswer, PaymentOutcome, run_on_payment};
use crate::http::{
    SharedApi,
    command::{Command, CommandHeaders, command_problems},
    provider_notices::looked_up,
};

/// A charge of this payment at the provider.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LookUpRequest {
    /// The provider's id of the charge.
    #[schema(min_length = 1, max_length = 255, example = "sbx_ch_1")]
    reference: String,
}

command_problems! {
    LookUpProblems = UnknownCharge Unavailable;
}

/// Look a charge up at the provider
///
/// Records what the provider knows of the charge and this platform does not: money that it took or gave back, also
/// without a request, and disputes. Records nothing that the caller states. `orderly payments reconcile --record` calls
/// it.
#[utoipa::path(post, path = "/v1/payments/{id}/look-up", operation_id = "lookUpCharge", tag = "payments",
    params(("id" = uuid::Uuid, Path), CommandHeaders),
    request_body = LookUpRequest,
    responses(
        (status = 200, description = "What the provider knows is recorded.", body = PaymentAnswer),
        NotAnswered,
        LookUpProblems,
    ))]
pub(in crate::http) async fn look_up(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<PaymentId, LookUpRequest>,
) -> PaymentOutcome<LookUpProblems> {
    let found = looked_up(&api, &body.reference).await?;
    // A charge of another payment is as unknown as none.
    let (_, report) = found.filter(|(of, _)| *of == id).ok_or_else(|| Problem::new(Code::UnknownCharge))?;
    // Not an answer to a call under way: it cannot resolve an unknown outcome.
    let command = PaymentCommand::Report { report, is_answer: false };
    Ok(run_on_payment(&api, id, command, &context).await?)
}

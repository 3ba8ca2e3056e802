//! The payments of an order: those that it is placed with, and one more.

use axum::extract::State;
use domain::{
    Amount, Decider, OrderId, PaymentId,
    checkout::react_to_order,
    order::{NewTender, OrderCommand, OrderDecider, OrderPaymentAdded, TenderStatus, TenderSummary},
    payment::CaptureMode,
};
use http::{HeaderMap, StatusCode};
use infra::http::{
    Failure, Problem,
    vocabulary::{AmountValue, CaptureModeWord, TenderStatusWord},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{OrderAnswer, place::preferred_wait};
use crate::http::{
    CommandApi, SharedApi,
    answer::Answer,
    command::{Command, CommandHeaders, command_problems},
    payments::{ChargeRequest, payment_after_charge},
    run::{AfterCommand, run},
};

/// A payment of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct TenderItem {
    #[schema(value_type = Uuid)]
    payment_id: PaymentId,
    /// What it was requested for, in minor units.
    #[schema(value_type = AmountValue)]
    amount: Amount,
    #[schema(value_type = TenderStatusWord)]
    status: TenderStatus,
}

impl TenderItem {
    pub(super) fn of(tender: &TenderSummary) -> Self {
        let TenderSummary { payment_id, amount, status, charge: _, credit: _ } = *tender;
        Self { payment_id, amount, status }
    }

    pub(super) fn payment_id(&self) -> PaymentId {
        self.payment_id
    }
}

/// A payment of a new order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct TenderRequest {
    /// Minor units, more than 0. The payments add up to the total of the order at most.
    #[schema(value_type = i64, example = 5000, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    amount: Amount,
    /// As of `payment`. If omitted: charge the payment, or record it, later.
    #[schema(
        example = "ok",
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// As of `payment`. Needs a `method`.
    #[schema(value_type = Option<CaptureModeWord>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capture: Option<CaptureMode>,
}

impl TenderRequest {
    /// `member`: where the request has it.
    pub(super) fn into_tender(self, api: &CommandApi, member: &str) -> Result<NewTender, Problem> {
        let charge = charge_request(self.method, self.capture, &format!("{member}.capture"))?;
        let charge = charge.map(|charge| charge.into_charge(api, &format!("{member}.method"))).transpose()?;
        Ok(NewTender { amount: self.amount, charge, credit: None })
    }
}

/// One more payment of an order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct AddPaymentRequest {
    /// Minor units, more than 0. If omitted: all that is to be paid and no other payment asks for.
    #[schema(value_type = Option<i64>, example = 2500, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    /// The charge to start: the provider's token for a card or another means of payment. If omitted: charge the payment,
    /// or record it, later.
    #[schema(
        example = "ok",
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// `automatic` or `manual`. Needs a `method`.
    #[schema(value_type = Option<CaptureModeWord>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capture: Option<CaptureMode>,
}

fn charge_request(
    method: Option<String>,
    capture: Option<CaptureMode>,
    member: &str,
) -> Result<Option<ChargeRequest>, Problem> {
    match (method, capture) {
        (Some(method), capture) => Ok(Some(ChargeRequest::new(method, capture.unwrap_or_default()))),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Problem::invalid_request(member, "it needs a `method`")),
    }
}

command_problems! {
    AddPaymentProblems = OrderStatus AmountTooLarge TooManyParts TermsNotSupported;
}

/// Ask for money from one more source
///
/// For a balance after a deposit, or for the rest after another payment failed. `payment_id` of the answer is the new
/// payment. With `Prefer: wait=N` and a `method`, the answer waits for the payment provider, as at placement.
#[utoipa::path(post, path = "/v1/orders/{id}/payments", operation_id = "addPayment", tag = "orders",
    params(
        ("id" = Uuid, Path), CommandHeaders,
        ("Prefer" = Option<String>, Header, description = "wait=N with N seconds, at most 30"),
    ),
    request_body = AddPaymentRequest,
    responses((status = 201, description = "Added.", body = OrderAnswer,
            headers(("Location" = String))), AddPaymentProblems))]
pub(in crate::http) async fn add_payment(
    State(api): State<SharedApi>,
    headers: HeaderMap,
    Command { id, body, context }: Command<OrderId, AddPaymentRequest>,
) -> Result<Answer<OrderAnswer>, Failure<AddPaymentProblems>> {
    let payment_id = PaymentId::of_command(context.id);
    let charge = charge_request(body.method, body.capture, "capture")?;
    let charge = charge.map(|charge| charge.into_charge(&api, "method")).transpose()?;
    let carries_charge = charge.is_some();
    let (amount, added_charge) = (body.amount, charge.clone());
    let command = OrderCommand::AddPayment { payment_id, amount, charge };
    let cause = context.event_id::<OrderDecider>(OrderDecider::command_name(&command), 0);
    let after = run(&api, &api.checkout.orders, &id, command, &context).await?;
    let AfterCommand { summary, revision, replayed } = after;

    // The process manager requests the payment if the client disconnects.
    let guard = api.checkout.lock_order(id).await.map_err(Problem::from)?;
    let order = api.checkout.order(id).await.map_err(Problem::from)?.state;
    if let Some(tender) = order.tender(payment_id) {
        let added = OrderPaymentAdded { payment_id, amount: tender.amount, charge: added_charge }.into();
        let reaction = react_to_order(id, &added, &order);
        api.checkout.run(id, reaction, cause, context.correlation_id).await.map_err(Problem::from)?;
        api.checkout.handled_inline().insert(cause);
    }
    drop(guard);

    let mut body = OrderAnswer::new(id, &summary, revision);
    body.payment_id = Some(payment_id);
    // The first event of a payment is its request. An order that ended meanwhile closes it later.
    if api
        .checkout
        .payments
        .read(&payment_id, |_, revision| revision.is_some())
        .await
        .map_err(Problem::from)?
    {
        body.revisions.insert(format!("payment-{payment_id}"), 0);
    }
    if let Some(wait) = preferred_wait(&headers).filter(|_| carries_charge) {
        body.payment = Some(payment_after_charge(&api, payment_id, wait).await?);
    }
    let location = Some(format!("/v1/payments/{payment_id}"));
    Ok(Answer { status: StatusCode::CREATED, revision: Some(revision), location, replayed, body })
}

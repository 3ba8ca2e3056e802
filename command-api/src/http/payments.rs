//! Commands on payments.

mod look_up;
mod refunds;

use std::{
    collections::{BTreeMap, HashSet},
    ops::RangeInclusive,
    time::Duration,
};

use axum::extract::State;
use domain::{
    Amount, CommandContext, Currency, Decider, Event, EventId, OrderId, PaymentId, RecordedEvent, Revision,
    StreamName, Timestamp,
    payment::{
        CaptureMode, NewCharge, PaymentCommand, PaymentDecider, PaymentFailure, PaymentState,
        PaymentStateSummary,
    },
};
use http::StatusCode;
use infra::http::{
    Code, Failure, Problem,
    answers::{IntoResponses, Responses},
    slots,
    vocabulary::{AmountValue, CaptureModeWord, CurrencyValue, PaymentStateWord, RevisionValue, TextValue},
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{
    ToSchema,
    openapi::{Content, Ref, Response},
};

pub(super) use self::{look_up::*, refunds::*};
use super::{
    CommandApi, SharedApi,
    answer::Answer,
    command::{Command, CommandHeaders, command_problems},
    run::{Accepted, accepted, state_at},
};
use crate::{
    checkout::{ProviderStatus, RunOut},
    executor::ExecuteError,
    pages::Pages,
};

/// A charge by the payment provider.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChargeRequest {
    /// The provider's token for a card or another means of payment.
    #[schema(
        example = "ok",
        min_length = 1,
        max_length = 255,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"
    )]
    method: String,
    /// If omitted: `automatic`.
    #[schema(value_type = CaptureModeWord)]
    #[serde(default)]
    capture: CaptureMode,
}

impl ChargeRequest {
    pub fn new(method: String, capture: CaptureMode) -> Self {
        Self { method, capture }
    }

    pub fn into_charge(self, api: &CommandApi, member: &str) -> Result<NewCharge, Problem> {
        let none = || {
            let why = "this platform has no payment provider (ORDERLY_PAYMENT_PROVIDER=none)";
            Problem::invalid_request(member, why)
        };
        let provider = api.checkout.provider().ok_or_else(none)?.name().to_owned();
        Ok(NewCharge { provider, method: self.method, capture: self.capture })
    }
}

/// An amount, added to those authorized or captured before.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoneyRequest {
    /// Minor units: this authorisation or this capture alone. If omitted: all that is left. After a lost answer, an
    /// authorisation names all that the charge authorized.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    #[serde(default)]
    amount: Option<Amount>,
    /// The provider's id.
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reference: Option<String>,
}

/// The failure of a payment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FailRequest {
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reason: Option<String>,
    /// True: the customer may try again. False: the order is cancelled.
    #[serde(default)]
    retryable: bool,
}

/// The reason of an outcome.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonRequest {
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    reason: Option<String>,
}

/// A payment right after a command. Amounts are cumulative, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PaymentAnswer {
    #[schema(value_type = Uuid)]
    payment_id: PaymentId,
    #[schema(value_type = Option<Uuid>)]
    order_id: Option<OrderId>,
    #[schema(value_type = PaymentStateWord)]
    status: PaymentState,
    #[schema(value_type = Option<CurrencyValue>)]
    currency: Option<Currency>,
    #[schema(value_type = AmountValue)]
    amount: Amount,
    #[schema(value_type = AmountValue)]
    authorized: Amount,
    /// When the authorisation runs out, if the provider says so.
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized_until: Option<Timestamp>,
    #[schema(value_type = AmountValue)]
    captured: Amount,
    #[schema(value_type = AmountValue)]
    refunded: Amount,
    /// Taken by disputes that are open or lost.
    #[schema(value_type = AmountValue)]
    disputed: Amount,
    /// Revision of the payment's stream right after this command.
    #[schema(value_type = RevisionValue)]
    revision: Revision,
    /// Revisions by stream, of every stream that the command is known to have changed.
    #[schema(value_type = BTreeMap<String, RevisionValue>)]
    revisions: BTreeMap<String, Revision>,
    /// Why the payment failed.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureAnswer>,
    /// The action that the customer must take before the charge can continue, in the provider's format.
    #[schema(value_type = Option<serde_json::Value>, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_action: Option<serde_json::Value>,
}

impl PaymentAnswer {
    fn new(payment_id: PaymentId, payment: &PaymentStateSummary, revision: Revision) -> Self {
        Self {
            payment_id,
            order_id: payment.order_id,
            status: payment.state,
            currency: payment.currency,
            amount: payment.amount,
            authorized: payment.authorized,
            authorized_until: payment.authorized_until,
            captured: payment.captured,
            refunded: payment.refunded,
            disputed: payment.disputed,
            revision,
            revisions: BTreeMap::from([(format!("payment-{payment_id}"), revision)]),
            failure: payment.failure.clone().map(|PaymentFailure { code, message }| FailureAnswer {
                code,
                message,
                retryable: payment.retryable,
            }),
            next_action: None,
        }
    }
}

/// Why a payment failed.
#[derive(Debug, Serialize, ToSchema)]
struct FailureAnswer {
    /// A word for programs: what the provider calls its reason, or `failed`.
    #[schema(example = "card_declined")]
    code: String,
    message: Option<String>,
    /// True: the customer may try again.
    retryable: bool,
}

/// What a command on a payment answers.
pub(super) type PaymentOutcome<P> = Result<Answer<PaymentAnswer>, Failure<P>>;

/// Documents the answer to a command whose payment waits for the provider.
pub(super) enum NotAnswered {}

impl IntoResponses for NotAnswered {
    fn responses() -> Responses {
        let payment = Ref::from_schema_name(PaymentAnswer::name());
        let response = Response::builder()
            .description("The provider has not answered yet.")
            .content("application/json", Content::builder().schema(Some(payment)).build());
        [("202".to_owned(), response.build().into())].into()
    }
}

/// A payment after the provider's answer, for an order that carried its charge. Waits at most `patience`.
pub(super) async fn payment_after_charge(
    api: &CommandApi,
    payment_id: PaymentId,
    patience: Duration,
) -> Result<PaymentAnswer, Problem> {
    let asking = api.checkout.ask_provider(payment_id);
    Ok(await_provider(api, payment_id, asking, patience).await?.0)
}

command_problems! {
    ChargeProblems = PaymentState PaymentClosed PaymentOfCredit ChargeUnderWay TooManyParts Unavailable;
    AuthorizeProblems = PaymentState PaymentClosed PaymentOfProvider PaymentOfCredit ChargeUnderWay AmountTooLarge;
    CaptureProblems = PaymentState PaymentClosed PaymentOfProvider PaymentOfCredit ChargeUnderWay AmountTooLarge;
    FailProblems = PaymentState PaymentOfCredit ChargeUnderWay;
    VoidProblems = PaymentState PaymentOfCredit;
}

/// Let the provider charge the customer
///
/// Answers with the payment after the provider has answered: `captured`, `authorized`, `failed` (retry with
/// another key and `method`, unless the failure is final), or `requested` with `next_action` if the customer
/// must act first. 202: the provider has not answered yet, or its answer was lost (`outcome_unknown`). The
/// platform then looks the outcome up and never charges twice. While a charge waits for the customer, any request
/// with the same `method` gets its `next_action` again, fetched from the provider. If an authorisation has run out, it is
/// looked up first, and a new charge asks for what it no longer holds. A charge for an order with the terms `on_shipment` only authorizes.
#[utoipa::path(post, path = "/v1/payments/{id}/charge", operation_id = "chargePayment", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = ChargeRequest,
    responses(
        (status = 200, description = "The provider has answered.", body = PaymentAnswer),
        NotAnswered,
        ChargeProblems,
    ))]
pub(super) async fn charge(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<PaymentId, ChargeRequest>,
) -> PaymentOutcome<ChargeProblems> {
    let charge = body.into_charge(&api, "method")?;
    if api.checkout.settle_run_out(id).await? == RunOut::Unanswered {
        let why = "the authorisation has run out, and the payment provider cannot be asked about it now";
        return Err(Problem::new(Code::Unavailable).detail(why).into());
    }
    Ok(run_on_payment(&api, id, PaymentCommand::Charge(charge), &context).await?)
}

/// Record an authorisation
///
/// For money authorized outside the platform. It adds to what is authorized already. While the provider works on a
/// charge, only for a charge whose answer was lost.
#[utoipa::path(post, path = "/v1/payments/{id}/authorize", operation_id = "authorizePayment", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = MoneyRequest,
    responses(
        (status = 200, description = "Authorized.", body = PaymentAnswer),
        NotAnswered,
        AuthorizeProblems,
    ))]
pub(super) async fn authorize(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<PaymentId, MoneyRequest>,
) -> PaymentOutcome<AuthorizeProblems> {
    let (amount, reference) = (body.amount, body.reference);
    Ok(run_on_payment(&api, id, PaymentCommand::Authorize { amount, reference }, &context).await?)
}

/// Capture all authorized money or a part
///
/// Asks the provider if it holds the charge; otherwise records a capture made by hand. After the answer the
/// order includes the capture and can be shipped. 202: the provider has not answered yet. Money that arrived after the
/// order ended is recorded with its `amount` and without an authorisation; the order shows it as overpaid until a
/// refund.
#[utoipa::path(post, path = "/v1/payments/{id}/capture", operation_id = "capturePayment", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = MoneyRequest,
    responses(
        (status = 200, description = "Captured.", body = PaymentAnswer),
        NotAnswered,
        CaptureProblems,
    ))]
pub(super) async fn capture(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<PaymentId, MoneyRequest>,
) -> PaymentOutcome<CaptureProblems> {
    let (amount, reference) = (body.amount, body.reference);
    Ok(run_on_payment(&api, id, PaymentCommand::Capture { amount, reference }, &context).await?)
}

/// Record that a payment failed
#[utoipa::path(post, path = "/v1/payments/{id}/fail", operation_id = "failPayment", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = FailRequest,
    responses(
        (status = 200, description = "Failed. A final failure cancels the order.", body = PaymentAnswer),
        NotAnswered,
        FailProblems,
    ))]
pub(super) async fn fail(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<PaymentId, FailRequest>,
) -> PaymentOutcome<FailProblems> {
    let (reason, retryable) = (body.reason, body.retryable);
    Ok(run_on_payment(&api, id, PaymentCommand::Fail { reason, retryable }, &context).await?)
}

/// Void an authorisation, or the rest of it
///
/// Asks the provider if it holds the charge; otherwise records a void made by hand.
#[utoipa::path(post, path = "/v1/payments/{id}/void", operation_id = "voidPayment", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = ReasonRequest,
    responses(
        (status = 200, description = "Voided. If nothing was captured, a net order goes on, and any other is cancelled.", body = PaymentAnswer),
        NotAnswered,
        VoidProblems,
    ))]
pub(super) async fn void(
    State(api): State<SharedApi>,
    Command { id, body, context }: Command<PaymentId, ReasonRequest>,
) -> PaymentOutcome<VoidProblems> {
    Ok(run_on_payment(&api, id, PaymentCommand::Void { reason: body.reason }, &context).await?)
}

/// Runs a command on a payment and the reaction of its order, and lets the provider do its part.
///
/// If the client disconnects before the end, the process manager does the rest.
async fn run_on_payment(
    api: &CommandApi,
    payment_id: PaymentId,
    command: PaymentCommand,
    context: &CommandContext,
) -> Result<Answer<PaymentAnswer>, Problem> {
    let checkout = &api.checkout;
    let executed = checkout.payments.execute(&payment_id, command, context).await?;
    let mut asks_provider = executed.summary.asks_provider && checkout.provider().is_some();
    let accepted = accepted(executed)?;
    let first_answer = match &accepted {
        Accepted::Recorded { .. } | Accepted::Unchanged { .. } => None,
        Accepted::Repeated { revision } => Some(state_when_answered(api, payment_id, *revision).await?),
    };
    // Later work of the payment, such as a refund, is not a part of the first answer.
    asks_provider &= first_answer.as_ref().is_none_or(|(then, _)| then.asks_provider);
    // Before any wait: if the client disconnects, the provider is still asked.
    let asking = if asks_provider { checkout.ask_provider(payment_id) } else { None };
    let replayed = first_answer.is_some();
    let command_at = match accepted {
        Accepted::Recorded { revision, .. }
        | Accepted::Unchanged { revision, .. }
        | Accepted::Repeated { revision } => revision,
    };
    let (shown, at) = match accepted {
        Accepted::Recorded { summary, revision } => {
            checkout.react_to_command(payment_id, context, revision, asking.is_some()).await?;
            (summary, revision)
        }
        Accepted::Unchanged { summary, revision } => (summary, revision),
        Accepted::Repeated { revision } => {
            // A crash may have prevented the reaction to the first request.
            checkout.react_to_command(payment_id, context, revision, asking.is_some()).await?;
            match first_answer {
                Some(first_answer) => first_answer,
                None => state_when_answered(api, payment_id, revision).await?,
            }
        }
    };
    let mut body = PaymentAnswer::new(payment_id, &shown, at);
    let mut status = StatusCode::OK;
    if asks_provider {
        (body, status) = await_provider(api, payment_id, asking, api.options.provider_patience).await?;
    } else if let Some(order_id) = body.order_id {
        let mut causes = HashSet::from([EventId::of_command(context.id, 0)]);
        if replayed {
            causes.extend(events_between(api, payment_id, command_at..=at).await?);
        }
        let revision = order_revision_caused(api, order_id, &causes).await?;
        body.revisions.extend(revision.map(|revision| (format!("order-{order_id}"), revision)));
    }
    Ok(Answer { status, revision: Some(body.revision), location: None, replayed, body })
}

/// The payment as the first answer to the command at `revision` showed it: at once, or after the provider's
/// answer.
async fn state_when_answered(
    api: &CommandApi,
    payment_id: PaymentId,
    mut revision: Revision,
) -> Result<(PaymentStateSummary, Revision), Problem> {
    let stream: StreamName = payment_id.into();
    let mut state = state_at::<PaymentDecider>(api, &stream, revision).await?;
    while api.checkout.provider().is_some() && state.summary().asks_provider {
        let next = api.checkout.store().log().read_stream(&stream, revision + 1, 1).await?;
        let Some(Ok(Event::Payment(event))) = next.first().map(RecordedEvent::decode) else { break };
        PaymentDecider::evolve(&mut state, &event);
        revision += 1;
    }
    Ok((state.summary(), revision))
}

/// Waits for the answer of the provider, at most `patience`. The status is 202 if the provider still has
/// work to do.
async fn await_provider(
    api: &CommandApi,
    payment_id: PaymentId,
    asking: Option<impl Future<Output = Result<ProviderStatus, ExecuteError>>>,
    patience: Duration,
) -> Result<(PaymentAnswer, StatusCode), Problem> {
    // A provider that is down takes no slot from other requests.
    slots::give_up();
    let checkout = &api.checkout;
    let mut next_action = None;
    if let Some(asking) = asking
        && let Ok(status) = timeout(patience, asking).await
    {
        next_action = status?.next_action;
    }
    let read = |payment: &_, revision| (PaymentDecider::summary(payment), revision);
    let (summary, revision) = checkout.payments.read(&payment_id, read).await?;
    let mut answer = PaymentAnswer::new(payment_id, &summary, revision.unwrap_or_default());
    answer.next_action = next_action;
    if let Some(order_id) = summary.order_id {
        let revision = checkout.orders.read(&order_id, |_, revision| revision).await?;
        answer.revisions.extend(revision.map(|revision| (format!("order-{order_id}"), revision)));
    }
    let status = if summary.asks_provider { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((answer, status))
}

/// The ids of the events of a payment that the first answer showed: those of the command, and of the provider's answer.
async fn events_between(
    api: &CommandApi,
    payment_id: PaymentId,
    revisions: RangeInclusive<Revision>,
) -> Result<Vec<EventId>, Problem> {
    let (log, stream) = (api.checkout.store().log(), payment_id.into());
    let mut pages = Pages::of(&*log, &stream, revisions);
    let mut ids = Vec::new();
    while let Some(page) = pages.next().await? {
        ids.extend(page.iter().map(|event| event.id));
    }
    Ok(ids)
}

/// The revision of the last event of the order that one of these events caused.
async fn order_revision_caused(
    api: &CommandApi,
    order_id: OrderId,
    causes: &HashSet<EventId>,
) -> Result<Option<Revision>, Problem> {
    let is_caused = |event: &&RecordedEvent| {
        event
            .decode_metadata()
            .is_ok_and(|metadata| metadata.causation_id.is_some_and(|cause| causes.contains(&cause)))
    };
    let (log, stream) = (api.checkout.store().log(), order_id.into());
    let mut pages = Pages::of(&*log, &stream, 0..=Revision::MAX);
    let mut last = None;
    while let Some(page) = pages.next().await? {
        last = page.iter().filter(is_caused).map(|event| event.revision).max().or(last);
    }
    Ok(last)
}

//! `/v1/payments`: one payment with its refunds and disputes, and the list of payments.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{
    Amount, Currency, OrderId, PaymentId, RefundId, Revision, Timestamp,
    payment::{
        self, DisputeState, Operation, PaymentKind, PaymentState, RefundReason, RefundSource, RefundState,
    },
    text,
};
use infra::{
    auth::Caller,
    http::{
        Failure, Problem,
        answers::{ResourceProblems, SublistProblems},
        paging::{Listing, TablePaging},
        parameters::{FromParameters, Parameters, Params, one_of, several_of},
        path::{Id, NoSuch, PathId},
    },
    read_models::{Direction, PaymentFilter, PaymentRow, PaymentSummaryRow, Queries, ReadModelError},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    QueryApi,
    freshness::{Freshness, IfNoneMatch, NotModified},
};
use infra::http::vocabulary::{
    DirectionWord, DisputeStateWord, OperationWord, PaymentKindWord, PaymentStateWord, RefundReasonWord,
    RefundStateWord, TextValue,
};

/// A payment without its refunds. Amounts are cumulative, in minor units of `currency`.
#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentSummary<'a> {
    #[schema(value_type = String, format = "uuid")]
    payment_id: PaymentId,
    #[schema(value_type = String, format = "uuid")]
    order_id: Option<OrderId>,
    #[schema(value_type = PaymentStateWord)]
    status: PaymentState,
    /// ISO 4217. Null if the order ended before the payment was requested.
    #[schema(value_type = Option<String>, example = "GBP")]
    currency: Option<Currency>,
    /// The requested amount.
    #[schema(value_type = i64)]
    amount: Amount,
    #[schema(value_type = i64)]
    authorized: Amount,
    /// When the authorisation runs out. Null without an authorisation, or if the provider did not say.
    #[schema(value_type = Option<String>, format = "date-time")]
    authorized_until: Option<Timestamp>,
    #[schema(value_type = i64)]
    captured: Amount,
    #[schema(value_type = i64)]
    refunded: Amount,
    /// Taken by disputes that are open or lost.
    #[schema(value_type = i64)]
    disputed: Amount,
    /// Can still be captured: authorized, and neither captured nor voided.
    #[schema(value_type = i64)]
    capturable: Amount,
    /// Can still be refunded: captured, minus refunds requested and paid out, minus what disputes took.
    #[schema(value_type = i64)]
    refundable: Amount,
    /// True if a failed payment can be tried again.
    retryable: bool,
    /// The operation whose answer was lost, while its outcome is unknown.
    #[schema(value_type = Option<OperationWord>)]
    unknown_operation: Option<Operation>,
    /// True if the authorisation of a closed payment still has to be voided.
    void_requested: bool,
    /// True if the order has ended. No further authorisation or capture is possible.
    closed: bool,
    /// The provider's id of the latest authorisation or capture.
    reference: Option<&'a str>,
    /// The code of the failure of a failed payment: see `failure` of the payment.
    #[schema(example = "card_declined")]
    failure_code: Option<&'a str>,
    #[schema(value_type = String, format = "date-time")]
    recorded_at: Timestamp,
    /// When its latest event was recorded.
    #[schema(value_type = String, format = "date-time")]
    updated_at: Timestamp,
    /// Revision of the payment's stream that this answer reflects.
    #[schema(value_type = u64)]
    revision: Revision,
}

infra::table_row! {
    PaymentSummary<'_>: payment_id order_id status currency amount authorized authorized_until captured refunded disputed
        capturable refundable retryable unknown_operation void_requested closed reference failure_code recorded_at
        updated_at revision
}

/// A payment with its refunds and disputes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Payment<'a> {
    #[serde(flatten)]
    summary: PaymentSummary<'a>,
    /// How its money comes. Null until its first use; a declined charge does not count.
    #[schema(value_type = Option<PaymentKindWord>)]
    kind: Option<PaymentKind>,
    /// Why it failed. Null unless it is failed, or if an earlier version recorded the failure.
    failure: Option<PaymentFailure<'a>>,
    refunds: Vec<Refund<'a>>,
    disputes: Vec<Dispute<'a>>,
}

/// Why a payment failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentFailure<'a> {
    /// A word for programs: what the provider calls its reason, or `failed`.
    #[schema(example = "card_declined")]
    code: &'a str,
    message: Option<&'a str>,
    /// True: the customer may try again.
    retryable: bool,
}

/// Money that a customer takes back through the bank.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dispute<'a> {
    /// The provider's id of the dispute.
    reference: &'a str,
    /// The number of the disputed charge.
    charge: u32,
    #[schema(value_type = i64)]
    amount: Amount,
    #[schema(value_type = DisputeStateWord)]
    status: DisputeState,
}

/// Money that goes back, and how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refund<'a> {
    #[schema(value_type = String, format = "uuid")]
    refund_id: RefundId,
    #[schema(value_type = i64)]
    amount: Amount,
    #[schema(value_type = RefundReasonWord)]
    reason: RefundReason,
    #[schema(value_type = RefundStateWord)]
    status: RefundState,
    /// The number of the charge that the provider refunds. Null: an operator pays it out.
    charge: Option<u32>,
    /// The refund of the order that this is a part of. Null: it goes to one source, under the id of the order's refund.
    #[schema(value_type = Option<String>, format = "uuid")]
    part_of: Option<RefundId>,
    /// Since when the payment waits for its provider, over all attempts. Null unless the provider has to pay this refund.
    #[schema(value_type = Option<String>, format = "date-time")]
    since: Option<Timestamp>,
    /// Why it failed. Null unless it has failed.
    failure: Option<&'a str>,
    #[schema(value_type = Option<String>, format = "date-time")]
    requested_at: Option<Timestamp>,
    /// When it was paid out, or failed. Null until then.
    #[schema(value_type = Option<String>, format = "date-time")]
    settled_at: Option<Timestamp>,
}

/// The payments to list. A payment must match all filters.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PaymentsParams {
    #[param(value_type = Option<String>, format = "uuid")]
    order_id: Option<OrderId>,
    /// Several words are separated by commas: the payment must match one of them.
    #[param(value_type = Option<Vec<PaymentStateWord>>, style = Form, explode = false)]
    status: Vec<PaymentState>,
    /// The provider's reference.
    #[param(value_type = Option<TextValue>)]
    reference: Option<String>,
    /// The code of the failure.
    #[param(value_type = Option<TextValue>, example = "card_declined")]
    failure: Option<String>,
    /// `true`: payments that have failed and can be tried again.
    #[param(value_type = Option<bool>)]
    declined: bool,
    /// `desc`, the newest first, if omitted; with `order_id`, in the order in which they were added.
    #[param(value_type = Option<DirectionWord>)]
    direction: Direction,
    #[param(ignore)]
    paging: TablePaging,
}

impl FromParameters for PaymentsParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let order_id = |text: &str| text.parse().map_err(|_| "is not a UUID");
        let status = |text: &str| several_of(text, PaymentStateWord::ALL, PaymentState::as_str);
        let direction = |text: &str| one_of(text, DirectionWord::ALL, Direction::as_str);
        let checked = |value: &str| text::check(value).map(|()| value.to_owned());
        let order_id = parameters.optional("order_id", order_id);
        let by_default = if order_id.is_some() { Direction::Asc } else { Direction::Desc };
        Some(Self {
            order_id,
            status: parameters.optional("status", status).unwrap_or_default(),
            reference: parameters.optional("reference", checked),
            failure: parameters.optional("failure", checked),
            declined: parameters.optional("declined", |text| one_of(text, &[true], |_| "true")).is_some(),
            direction: parameters.optional("direction", direction).unwrap_or(by_default),
            paging: TablePaging::read(parameters)?,
        })
    }
}

/// One payment
#[utoipa::path(
    get, path = "/v1/payments/{id}", operation_id = "getPayment", tag = "payments",
    params(
        ("id" = String, Path, format = "uuid"),
        Freshness,
        IfNoneMatch,
    ),
    responses(
        (
            status = 200, description = "The payment.", body = Payment,
            headers(("ETag" = String, description = "The revision, in quotes.")),
        ),
        NotModified,
        ResourceProblems,
    ),
)]
pub async fn payment(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    Id(id): Id<PaymentId>,
    Params(freshness): Params<Freshness>,
    known: IfNoneMatch,
) -> Result<Response, Failure<ResourceProblems>> {
    // To a customer, a payment of another one is like one that does not exist, also while the request waits.
    let (queries, caller) = (&api.queries, &caller);
    let read = move || async move {
        let Some(row) = queries.payment(id).await? else { return Ok(None) };
        let is_visible = may_see_payments_of(queries, caller, row.payment.order_id()).await?;
        Ok::<_, ReadModelError>(is_visible.then_some(row))
    };
    let row = freshness.read(&api, id.into(), read).await?.ok_or(NoSuch(PaymentId::RESOURCE))?;
    let summary = PaymentSummaryRow::from(&row);
    Ok(known.answer(row.revision, || Payment::of(&row, &summary)))
}

/// Payments, the latest first
///
/// If several filters are given, a page looks at 2,000 payments at most: it may have few items although more follow.
/// A token of a customer lists the payments of one order, which it must name.
#[utoipa::path(
    get, path = "/v1/payments", operation_id = "listPayments", tag = "payments",
    params(PaymentsParams, TablePaging),
    responses((status = 200, description = "A page.", body = Listing<PaymentSummary>), SublistProblems),
)]
pub async fn payments(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    Params(wanted): Params<PaymentsParams>,
) -> Result<Response, Failure<SublistProblems>> {
    let paging = wanted.paging;
    if caller.customer().is_some() && wanted.order_id.is_none() {
        return Err(Problem::invalid_parameter("order_id", "is required for a customer").into());
    }
    if !api.query(may_see_payments_of(&api.queries, &caller, wanted.order_id)).await? {
        return Err(NoSuch(OrderId::RESOURCE).into());
    }
    let filter = PaymentFilter {
        order_id: wanted.order_id,
        state: wanted.status,
        reference: wanted.reference,
        failure: wanted.failure,
        is_declined: wanted.declined,
        direction: wanted.direction,
        after: paging.after()?,
    };
    let page = api.query(api.queries.payments(&filter, paging.limit)).await?;
    let items = page.items.iter().map(PaymentSummary::of).collect();
    Ok(paging.respond(&Listing { items, next_cursor: paging.cursor_after(page.next) }))
}

/// True unless the payments belong to an order of another customer than the one that the caller acts for.
async fn may_see_payments_of(
    queries: &Arc<dyn Queries>,
    caller: &Caller,
    order: Option<OrderId>,
) -> Result<bool, ReadModelError> {
    if caller.customer().is_none() {
        return Ok(true);
    }
    let Some(id) = order else { return Ok(false) };
    let order = queries.order_summary(id).await?;
    Ok(order.is_some_and(|row| caller.may_see_order_of(row.summary.customer_id.as_deref())))
}

impl<'a> PaymentSummary<'a> {
    fn of(row: &'a PaymentSummaryRow) -> Self {
        let summary = &row.summary;
        Self {
            payment_id: row.payment_id,
            order_id: summary.order_id,
            status: summary.state,
            currency: summary.currency,
            amount: summary.amount,
            authorized: summary.authorized,
            authorized_until: summary.authorized_until,
            captured: summary.captured,
            refunded: summary.refunded,
            disputed: summary.disputed,
            capturable: summary.capturable,
            refundable: summary.refundable,
            retryable: summary.retryable,
            unknown_operation: summary.unknown_operation,
            void_requested: summary.void_requested,
            closed: summary.closed,
            reference: summary.reference.as_deref(),
            failure_code: summary.failure.as_deref(),
            recorded_at: row.recorded_at,
            updated_at: row.updated_at,
            revision: row.revision,
        }
    }
}

impl<'a> Payment<'a> {
    fn of(row: &'a PaymentRow, summary: &'a PaymentSummaryRow) -> Self {
        let payment = &row.payment;
        let refunds = payment.refunds().iter().map(|refund| Refund::of(row, refund)).collect();
        let disputes = payment.disputes().iter().map(Dispute::of).collect();
        let failure = payment.failure().map(|failure| PaymentFailure {
            code: &failure.code,
            message: failure.message.as_deref(),
            retryable: payment.is_retryable(),
        });
        Self { summary: PaymentSummary::of(summary), kind: payment.kind(), failure, refunds, disputes }
    }
}

impl<'a> Dispute<'a> {
    fn of(dispute: &'a payment::Dispute) -> Self {
        Self {
            reference: &dispute.reference,
            charge: dispute.charge,
            amount: dispute.amount,
            status: dispute.state,
        }
    }
}

impl<'a> Refund<'a> {
    fn of(row: &PaymentRow, refund: &'a payment::Refund) -> Self {
        let charge = match row.payment.source_of(refund) {
            RefundSource::Charge(number) => Some(number),
            RefundSource::Manual => None,
        };
        Self {
            charge,
            part_of: refund.part_of,
            refund_id: refund.refund_id,
            amount: refund.amount,
            reason: refund.reason,
            status: refund.state,
            since: row.awaits_provider_since.filter(|_| refund.state.is_open() && charge.is_some()),
            failure: refund.failure.as_deref(),
            requested_at: row.refund_times.requested.get(&refund.refund_id).copied(),
            settled_at: row.refund_times.settled.get(&refund.refund_id).copied(),
        }
    }
}

//! `/v1/orders/stuck`: orders that wait too long for an automatic step.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{
    OrderId, PaymentId, Timestamp,
    order::{FulfilmentStatus, OrderStatus, PaymentStatus},
    payment::{Payment, PaymentState, ProviderWork},
};
use futures::{StreamExt, TryStreamExt, stream};
use infra::{
    http::{
        Failure,
        answers::ListProblems,
        paging::{Listing, TablePaging},
        parameters::{FromParameters, Parameters, Params, whole_number},
    },
    read_models::{OrderSummaryRow, PaymentRow, ReadModelError, Wait, WaitFilter, WaitKind},
};
use jiff::SignedDuration;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{QueryApi, error::QueryError};
use infra::http::vocabulary::{FulfilmentStatusWord, OrderStatusWord, PaymentStateWord, PaymentStatusWord};

/// Seconds that an order may wait for an automatic step.
pub(crate) const OLDER_THAN_DEFAULT_S: u32 = 60;
/// Concurrent reads of the rows of waiting orders.
const WAITS_AT_ONCE: usize = 8;

/// A waiting order and the step that it waits for.
#[derive(Debug, Serialize, ToSchema)]
pub struct StuckOrder {
    /// Null if the order's events have not reached the read models yet.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(crate) order_id: Option<OrderId>,
    /// The payment that waits for the provider, or the first of the order.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(crate) payment_id: Option<PaymentId>,
    pub(crate) why: Why,
    #[schema(value_type = String, format = "date-time")]
    pub(crate) since: Timestamp,
    waiting_seconds: i64,
    #[schema(value_type = Option<OrderStatusWord>)]
    pub(crate) status: Option<OrderStatus>,
    #[schema(value_type = Option<PaymentStatusWord>)]
    payment_status: Option<PaymentStatus>,
    #[schema(value_type = Option<FulfilmentStatusWord>)]
    fulfilment_status: Option<FulfilmentStatus>,
    /// State of this payment. Null without a payment.
    #[schema(value_type = Option<PaymentStateWord>)]
    pub(crate) payment_state: Option<PaymentState>,
}

infra::table_row! {
    StuckOrder: order_id payment_id why since waiting_seconds status payment_status fulfilment_status payment_state
}

/// The step that an order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StuckReason)]
pub enum Why {
    /// The reservation of its stock.
    Placed,
    /// Its expiry: the payment is overdue.
    PaymentOverdue,
    /// The release of its stock: the order has ended.
    ReservationOpen,
    /// The request of a charge to the provider, or its outcome.
    ProviderCharge,
    /// The outcome of a request to the provider whose answer was lost.
    OutcomeUnknown,
    /// A capture by the provider.
    CapturePending,
    /// A void by the provider.
    VoidPending,
    /// A refund by the provider.
    RefundPending,
}

/// The orders that count as stuck.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StuckParams {
    /// Only orders that have waited longer than this many seconds.
    #[param(value_type = Option<u32>, default = 60)]
    older_than: u32,
    #[param(ignore)]
    paging: TablePaging,
}

impl FromParameters for StuckParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let older_than = parameters.optional("older_than", whole_number).unwrap_or(OLDER_THAN_DEFAULT_S);
        Some(Self { older_than, paging: TablePaging::read(parameters)? })
    }
}

/// Orders that wait for an automatic step, the longest wait first
///
/// An order that waits for two steps is listed twice. An order that waits for people, such as a paid order
/// before its shipment or a customer who confirms a payment, is not listed.
#[utoipa::path(
    get, path = "/v1/orders/stuck", operation_id = "listStuckOrders", tag = "operations",
    params(StuckParams, TablePaging),
    responses((status = 200, description = "A page.", body = Listing<StuckOrder>), ListProblems),
)]
pub async fn stuck_orders(
    State(api): State<Arc<QueryApi>>,
    Params(wanted): Params<StuckParams>,
) -> Result<Response, Failure<ListProblems>> {
    let now = api.clock.now();
    let older_than = SignedDuration::from_secs(i64::from(wanted.older_than));
    let since_before = now.checked_sub(older_than).unwrap_or(Timestamp::MIN);
    let filter = WaitFilter { since_before, after: wanted.paging.after::<(Timestamp, Uuid, u8)>()? };
    let page = read(&api, &filter, wanted.paging.limit).await?;
    let key = |wait: &Wait| (wait.since, wait.id, wait.kind.code());
    let waits = wanted.paging.listing(&page.waits, page.has_more, |_| (), key);
    Ok(wanted.paging.respond(&Listing { items: page.stuck, next_cursor: waits.next_cursor }))
}

/// A page of waits, and the orders that still wait.
pub(crate) struct StuckPage {
    pub waits: Vec<Wait>,
    pub has_more: bool,
    pub stuck: Vec<StuckOrder>,
}

pub(crate) async fn read(api: &QueryApi, filter: &WaitFilter, limit: usize) -> Result<StuckPage, QueryError> {
    let now = api.clock.now();
    let reading = async {
        let page = api.queries.waits(filter, limit).await?;
        let rows = page.items.clone().into_iter().map(|wait| Rows::of(api, wait));
        let rows: Vec<Rows> = stream::iter(rows).buffered(WAITS_AT_ONCE).try_collect().await?;
        Ok::<_, ReadModelError>((page, rows))
    };
    let (page, rows) = api.query(reading).await?;
    let stuck = page.items.iter().zip(&rows).filter_map(|(wait, rows)| rows.stuck(*wait, now)).collect();
    Ok(StuckPage { waits: page.items, has_more: page.has_more, stuck })
}

/// The rows of a waiting order.
struct Rows {
    order: Option<OrderSummaryRow>,
    payment: Option<PaymentRow>,
}

impl Rows {
    async fn of(api: &QueryApi, wait: Wait) -> Result<Self, ReadModelError> {
        match wait.kind {
            WaitKind::Allocation | WaitKind::Expiry | WaitKind::Release => {
                let id = OrderId(wait.id);
                let order = api.queries.order_summary(id).await?;
                let first = order.as_ref().and_then(|row| row.summary.payment_id);
                let payment_id = first.unwrap_or_else(|| PaymentId::of_order(id));
                Ok(Self { order, payment: api.queries.payment(payment_id).await? })
            }
            WaitKind::Provider => {
                let payment = api.queries.payment(PaymentId(wait.id)).await?;
                let order = match payment.as_ref().and_then(|row| row.payment.order_id()) {
                    Some(id) => api.queries.order_summary(id).await?,
                    None => None,
                };
                Ok(Self { order, payment })
            }
        }
    }

    /// `None` if the wait has ended since it was listed.
    fn stuck(&self, wait: Wait, now: Timestamp) -> Option<StuckOrder> {
        let payment = self.payment.as_ref().map(|row| &row.payment);
        let why = match wait.kind {
            WaitKind::Allocation => Why::Placed,
            WaitKind::Expiry => Why::PaymentOverdue,
            WaitKind::Release => Why::ReservationOpen,
            WaitKind::Provider => payment.and_then(Why::of_provider)?,
        };
        let order = self.order.as_ref();
        let of_payment = || payment.and_then(Payment::order_id);
        Some(StuckOrder {
            order_id: order.map(|row| row.order_id).or_else(of_payment),
            payment_id: self.payment.as_ref().map(|row| row.payment_id),
            why,
            since: wait.since,
            waiting_seconds: now.duration_since(wait.since).as_secs(),
            status: order.map(|row| row.summary.status),
            payment_status: order.map(|row| row.summary.payment_status),
            fulfilment_status: order.map(|row| row.summary.fulfilment_status),
            payment_state: payment.map(Payment::state),
        })
    }
}

impl Why {
    /// The first open step of the provider. `None` if no step is open, or if the provider itself waits: for the customer
    /// or for a bank.
    fn of_provider(payment: &Payment) -> Option<Self> {
        payment.provider_work().into_iter().find_map(|work| match work {
            ProviderWork::LookUp(_) => payment.unknown_operation().map(|_| Self::OutcomeUnknown),
            ProviderWork::Charge(_) => Some(Self::ProviderCharge),
            ProviderWork::Capture { .. } => Some(Self::CapturePending),
            ProviderWork::Void(_) => Some(Self::VoidPending),
            ProviderWork::Refund { .. } => Some(Self::RefundPending),
        })
    }
}

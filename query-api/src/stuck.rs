//! `/v1/orders/stuck`: orders that wait longer than they should for what comes by itself.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{
    OrderId, PaymentId, Timestamp,
    order::{FulfilmentStatus, OrderStatus, PaymentStatus},
    payment::{Payment, PaymentState, ProviderWork},
};
use futures::{StreamExt, TryStreamExt, stream};
use infra::read_models::{OrderRow, PaymentRow, ReadModelError, Wait, WaitFilter, WaitKind};
use jiff::SignedDuration;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    QueryApi,
    cursor::{Listing, Paging},
    docs::ListProblems,
    error::QueryError,
    parameters::{FromParameters, Parameters, Params, whole_number},
    vocabulary::{FulfilmentStatusWord, OrderStatusWord, PaymentStateWord, PaymentStatusWord},
};

/// Seconds that an order may wait for what comes by itself.
const OLDER_THAN_DEFAULT_S: u32 = 60;
/// Waits whose rows are read at once.
const WAITS_AT_ONCE: usize = 8;

/// An order that waits, and for what.
#[derive(Debug, Serialize, ToSchema)]
pub struct StuckOrder {
    /// Null where the order's events have not reached the read models.
    #[schema(value_type = Option<String>, format = "uuid")]
    order_id: Option<OrderId>,
    #[schema(value_type = Option<String>, format = "uuid")]
    payment_id: Option<PaymentId>,
    why: Why,
    #[schema(value_type = String, format = "date-time")]
    since: Timestamp,
    waiting_seconds: i64,
    #[schema(value_type = Option<OrderStatusWord>)]
    status: Option<OrderStatus>,
    #[schema(value_type = Option<PaymentStatusWord>)]
    payment_status: Option<PaymentStatus>,
    #[schema(value_type = Option<FulfilmentStatusWord>)]
    fulfilment_status: Option<FulfilmentStatus>,
    /// Where the payment itself stands; null while there is none.
    #[schema(value_type = Option<PaymentStateWord>)]
    payment_state: Option<PaymentState>,
}

/// What an order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its stock is not reserved yet.
    Placed,
    /// It was to be paid by now, and has not expired.
    PaymentOverdue,
    /// It has ended, and still holds stock.
    ReservationOpen,
    /// The provider is to be asked for the money, or has not said yet what became of it.
    ProviderCharge,
    /// The provider's answer was lost.
    OutcomeUnknown,
    /// The provider is to capture what is authorized.
    CapturePending,
    /// The provider is to give an authorisation back.
    VoidPending,
    /// The provider is to pay a refund out.
    RefundPending,
}

/// Which orders count as stuck.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StuckWanted {
    /// Orders that have waited longer than so many seconds.
    #[param(value_type = Option<u32>, default = 60)]
    older_than: u32,
    #[param(ignore)]
    paging: Paging,
}

impl FromParameters for StuckWanted {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let older_than = parameters.optional("older_than", whole_number).unwrap_or(OLDER_THAN_DEFAULT_S);
        Some(Self { older_than, paging: Paging::read(parameters)? })
    }
}

/// Orders that wait for what should come by itself, the longest first
///
/// An order that waits for two things is listed twice. One that waits for people, such as a paid one that is to be
/// shipped, is not listed.
#[utoipa::path(
    get, path = "/v1/orders/stuck", tag = "operations",
    params(StuckWanted, Paging),
    responses((status = 200, description = "A page.", body = Listing<StuckOrder>), ListProblems),
)]
pub async fn stuck_orders(
    State(api): State<Arc<QueryApi>>,
    Params(wanted): Params<StuckWanted>,
) -> Result<Response, QueryError> {
    let now = api.clock.now();
    let older_than = SignedDuration::from_secs(i64::from(wanted.older_than));
    let since_before = now.checked_sub(older_than).unwrap_or(Timestamp::MIN);
    let filter = WaitFilter { since_before, after: wanted.paging.after::<(Timestamp, Uuid, u8)>()? };
    let limit = wanted.paging.limit;
    let reading = async {
        let page = api.queries.waits(&filter, limit).await?;
        let rows = page.items.clone().into_iter().map(|wait| Rows::of(&api, wait));
        let rows: Vec<Rows> = stream::iter(rows).buffered(WAITS_AT_ONCE).try_collect().await?;
        Ok::<_, ReadModelError>((page, rows))
    };
    let (page, rows) = api.query(reading).await?;
    let mut listing =
        wanted.paging.listing(&page, |wait| *wait, |wait| (wait.since, wait.id, wait.kind.code()));
    let waits = std::mem::take(&mut listing.items).into_iter().zip(&rows);
    let items = waits.filter_map(|(wait, rows)| rows.stuck(wait, now)).collect();
    Ok(Json(Listing { items, next_cursor: listing.next_cursor }).into_response())
}

/// The rows of an order that waits.
struct Rows {
    order: Option<OrderRow>,
    payment: Option<PaymentRow>,
}

impl Rows {
    async fn of(api: &QueryApi, wait: Wait) -> Result<Self, ReadModelError> {
        match wait.kind {
            WaitKind::Allocation | WaitKind::Expiry | WaitKind::Release => {
                let id = OrderId(wait.id);
                let order = api.queries.order(id).await?;
                Ok(Self { order, payment: api.queries.payment(PaymentId::of_order(id)).await? })
            }
            WaitKind::Provider => {
                let payment = api.queries.payment(PaymentId(wait.id)).await?;
                let order = match payment.as_ref().and_then(|row| row.payment.order_id()) {
                    Some(id) => api.queries.order(id).await?,
                    None => None,
                };
                Ok(Self { order, payment })
            }
        }
    }

    /// None where the wait has ended since it was listed.
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
            status: order.map(|row| row.order.status()),
            payment_status: order.map(|row| row.order.payment_status()),
            fulfilment_status: order.map(|row| row.order.fulfilment_status()),
            payment_state: payment.map(Payment::state),
        })
    }
}

impl Why {
    /// By what is to be asked first.
    fn of_provider(payment: &Payment) -> Option<Self> {
        Some(match payment.provider_work().first()? {
            ProviderWork::LookUp(_) if payment.unknown_operation().is_some() => Self::OutcomeUnknown,
            ProviderWork::LookUp(_) | ProviderWork::Charge(_) => Self::ProviderCharge,
            ProviderWork::Capture { .. } => Self::CapturePending,
            ProviderWork::Void(_) => Self::VoidPending,
            ProviderWork::Refund { .. } => Self::RefundPending,
        })
    }
}

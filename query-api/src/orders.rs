//! `/v1/orders`: one order with all its parts, and the list of orders.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use domain::{
    Amount, Currency, OrderId, PaymentId, Revision, Sku, Timestamp,
    order::{self, CancelReason, FulfilmentStatus, OrderStatus, PaymentStatus, PaymentTerms},
    shares::{self, AdjustmentKind},
};
use infra::{
    auth::Caller,
    http::{
        Failure,
        answers::{ResourceProblems, SublistProblems},
        paging::TablePaging,
        parameters::Params,
        path::{Id, NoSuch, PathId},
    },
    read_models::{Count, OrderRow, OrderSummaryRow, ReadModelError},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    QueryApi,
    as_of::Version,
    freshness::{IfNoneMatch, NotModified},
};
use infra::http::vocabulary::{
    AdjustmentKindWord, CancelReasonWord, FulfilmentStatusWord, OrderStatusWord, PaymentStatusWord,
    PaymentTermsWord, SkuValue,
};

mod exchange;
mod filter;
mod parts;
mod payment;
pub use exchange::{ExchangeFrom, ExchangeInto};
use filter::OrdersParams;
pub use parts::{OrderRefund, Refunds, Return, Shipment};
pub use payment::OrderPayment;

/// An order without its lines. Amounts are in minor units of `currency`.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderSummary<'a> {
    #[schema(value_type = String, format = "uuid")]
    order_id: OrderId,
    #[schema(value_type = OrderStatusWord)]
    status: OrderStatus,
    #[schema(value_type = PaymentStatusWord)]
    payment_status: PaymentStatus,
    #[schema(value_type = FulfilmentStatusWord)]
    fulfilment_status: FulfilmentStatus,
    /// Null for a guest.
    customer_id: Option<&'a str>,
    country: Option<&'a str>,
    /// A reference of the shop.
    reference: Option<&'a str>,
    /// ISO 4217.
    #[schema(value_type = String, example = "GBP")]
    currency: Option<Currency>,
    /// Lines plus adjustments, as placed.
    #[schema(value_type = i64)]
    total: Amount,
    /// What the customer owes in all: for the units that are neither cancelled nor returned, and for shipping and
    /// fees, less reductions of the price.
    #[schema(value_type = i64)]
    owed: Amount,
    /// What the customer still has to pay.
    #[schema(value_type = i64)]
    amount_due: Amount,
    /// What was paid beyond `owed`, and no refund is requested for.
    #[schema(value_type = i64)]
    overpaid: Amount,
    /// What goes back to the customer and is not paid out yet.
    #[schema(value_type = i64)]
    refund_due: Amount,
    #[schema(value_type = i64)]
    captured: Amount,
    #[schema(value_type = i64)]
    refunded: Amount,
    /// The first payment. Null until the order is allocated, or if there is nothing to pay.
    #[schema(value_type = Option<String>, format = "uuid")]
    payment_id: Option<PaymentId>,
    /// Every payment, in the order in which they were added.
    payments: Vec<OrderPayment>,
    line_count: usize,
    /// Units of all lines, as placed.
    units: u64,
    #[schema(value_type = String, format = "date-time")]
    placed_at: Timestamp,
    /// When the payment is due: then the unpaid order expires, or is overdue under the terms `net`. Null: never.
    #[schema(value_type = Option<String>, format = "date-time")]
    payment_due_at: Option<Timestamp>,
    #[schema(value_type = PaymentTermsWord)]
    terms: PaymentTerms,
    /// With the terms `on_shipment`: what the payment has authorized, what is captured included.
    #[schema(value_type = i64)]
    authorized: Amount,
    /// When the authorisation runs out, or ran out. Null if the provider did not say.
    #[schema(value_type = Option<String>, format = "date-time")]
    authorized_until: Option<Timestamp>,
    /// The part of `amount_due` that is for shipped goods.
    #[schema(value_type = i64)]
    due_for_shipped: Amount,
    /// From when on money of the order is overdue. Null if none is due, or if the order expires instead.
    #[schema(value_type = Option<String>, format = "date-time")]
    overdue_from: Option<Timestamp>,
    /// When the platform recorded the order. For an imported order this is later than `placed_at`.
    #[schema(value_type = String, format = "date-time")]
    recorded_at: Timestamp,
    /// When its latest event was recorded.
    #[schema(value_type = String, format = "date-time")]
    updated_at: Timestamp,
    /// Revision of the order's stream that this answer reflects.
    #[schema(value_type = u64)]
    revision: Revision,
}

infra::table_row! {
    OrderSummary<'_>: order_id status payment_status fulfilment_status customer_id country reference currency total owed
        amount_due overpaid refund_due captured refunded payment_id payments line_count units placed_at
        payment_due_at terms authorized authorized_until due_for_shipped overdue_from recorded_at updated_at revision
}

/// A page of orders.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderSummaryList)]
pub struct Orders<'a> {
    items: Vec<OrderSummary<'a>>,
    /// Pass it as `cursor` for the next page. Null at the end: a page with few items need not be the last.
    next_cursor: Option<String>,
    /// With `count=true`: how many orders match. `10000+`, or any number with a plus sign, means that there may be more.
    #[schema(nullable = false, example = "10000+")]
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<String>,
}

/// An order with all its parts.
#[derive(Debug, Serialize, ToSchema)]
pub struct Order<'a> {
    #[serde(flatten)]
    summary: OrderSummary<'a>,
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<&'a BTreeMap<String, String>>,
    lines: Vec<OrderLine<'a>>,
    adjustments: Vec<Adjustment<'a>>,
    /// True if unit prices, shipping and fees contain the taxes, so that these are not added to the total.
    prices_include_tax: bool,
    /// The SKUs with too few units when the order was rejected.
    shortages: Vec<Shortage<'a>>,
    shipments: Vec<Shipment<'a>>,
    /// Taken from `captured` by disputes that are open or lost.
    #[schema(value_type = i64)]
    disputed: Amount,
    returns: Vec<Return>,
    /// Set for the new order of an exchange.
    exchange_of: Option<ExchangeFrom>,
    /// The exchanges of units of this order.
    exchanged_for: Vec<ExchangeInto>,
    /// Requested by returns, by cancellations and by hand.
    refunds: Vec<OrderRefund>,
    #[schema(value_type = Option<CancelReasonWord>)]
    cancel_reason: Option<CancelReason>,
}

/// A line and the state of its units.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderLine<'a> {
    /// 1-based.
    line: usize,
    #[schema(value_type = String)]
    sku: &'a Sku,
    quantity: u32,
    #[schema(value_type = i64)]
    unit_price: Amount,
    /// False for postage, fees and services, which are never reserved.
    stocked: bool,
    shipped: u32,
    delivered: u32,
    returned: u32,
    cancelled: u32,
    /// What belongs to this line alone.
    adjustments: Vec<LineAdjustment<'a>>,
    shares: Shares,
    /// Units times price, the line's adjustments and its shares; without taxes that the price includes.
    #[schema(value_type = i64)]
    total: Amount,
}

/// A signed part of the total that belongs to one line.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineAdjustment<'a> {
    #[schema(value_type = AdjustmentKindWord)]
    kind: AdjustmentKind,
    code: &'a str,
    /// For all units of the line.
    #[schema(value_type = i64)]
    amount: Amount,
}

/// The line's shares of the order's adjustments that are spread, by kind.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shares {
    #[schema(value_type = i64)]
    discount: Amount,
    #[schema(value_type = i64)]
    tax: Amount,
    #[schema(value_type = i64)]
    shipping: Amount,
    #[schema(value_type = i64)]
    fee: Amount,
}

/// A signed part of the total that belongs to the whole order: tax, shipping, a discount.
#[derive(Debug, Serialize, ToSchema)]
pub struct Adjustment<'a> {
    /// Null for an order of an earlier build.
    #[schema(value_type = Option<AdjustmentKindWord>)]
    kind: Option<AdjustmentKind>,
    code: &'a str,
    #[schema(value_type = i64)]
    amount: Amount,
    /// True if the lines have shares of it.
    spread: bool,
}

/// A SKU with too few units, and the units that were available at the decision.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shortage<'a> {
    #[schema(value_type = SkuValue)]
    sku: &'a Sku,
    requested: u32,
    available: u32,
}

/// One order
#[utoipa::path(
    get, path = "/v1/orders/{id}", operation_id = "getOrder", tag = "orders",
    params(
        ("id" = String, Path, format = "uuid"),
        Version,
        IfNoneMatch,
    ),
    responses(
        (
            status = 200, description = "The order.", body = Order,
            headers(("ETag" = String, description = "The revision, in quotes.")),
        ),
        NotModified,
        ResourceProblems,
    ),
)]
pub async fn order(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    Id(id): Id<OrderId>,
    Params(version): Params<Version>,
    known: IfNoneMatch,
) -> Result<Response, Failure<ResourceProblems>> {
    let is_visible = |row: &OrderRow| caller.may_see_order_of(row.order.customer_id());
    let row = version.order(&api, id, is_visible).await?.ok_or(NoSuch(OrderId::RESOURCE))?;
    let refunds = version.refunds(&api, &row.order).await?;
    // The revision does not tell whether a refund went on.
    let known = if refunds.may_change(&row.order) { IfNoneMatch::nothing() } else { known };
    let summary = OrderSummaryRow::from(&row);
    Ok(known.answer(row.revision, || Order::of(&row, &summary, &refunds)))
}

/// Orders, the latest first
///
/// docs/http.md lists the filters that have an index. With other filters a page looks at 2,000 orders at most: it may have
/// few items or none although more follow. A token of a customer lists the orders of this customer.
#[utoipa::path(
    get, path = "/v1/orders", operation_id = "listOrders", tag = "orders",
    params(OrdersParams, TablePaging),
    responses((status = 200, description = "A page.", body = Orders), SublistProblems),
)]
pub async fn orders(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    Params(wanted): Params<OrdersParams>,
) -> Result<Response, Failure<SublistProblems>> {
    let wanted = wanted.of_caller(&caller)?;
    let filter = wanted.filter(api.clock.now())?;
    let reading = async {
        let page = api.queries.orders(&filter, wanted.paging.limit).await?;
        let count = if wanted.count { Some(api.queries.order_count(&filter).await?) } else { None };
        Ok::<_, ReadModelError>((page, count))
    };
    let (page, count) = api.query(reading).await?;
    let items = page.items.iter().map(OrderSummary::of).collect();
    let next_cursor = wanted.paging.cursor_after(page.next);
    let orders = Orders { items, next_cursor, count: count.map(count_text) };
    Ok(wanted.paging.respond_with(&orders, &orders.items, orders.next_cursor.as_deref()))
}

/// `10000+` if there may be more.
pub(crate) fn count_text(Count { value, is_exact }: Count) -> String {
    format!("{value}{}", if is_exact { "" } else { "+" })
}

fn placed_at(row: &OrderSummaryRow) -> Timestamp {
    row.summary.placed_at.expect("the row of an order includes at least the event that placed it")
}

impl<'a> OrderSummary<'a> {
    fn of(row: &'a OrderSummaryRow) -> Self {
        let summary = &row.summary;
        Self {
            order_id: row.order_id,
            status: summary.status,
            payment_status: summary.payment_status,
            fulfilment_status: summary.fulfilment_status,
            customer_id: summary.customer_id.as_deref(),
            country: summary.country.as_deref(),
            reference: summary.reference.as_deref(),
            currency: summary.currency,
            total: summary.total,
            owed: summary.owed,
            amount_due: summary.amount_due,
            overpaid: summary.overpaid,
            refund_due: summary.refund_due,
            captured: summary.captured,
            refunded: summary.refunded,
            payment_id: summary.payment_id,
            payments: summary.payments.iter().map(OrderPayment::of).collect(),
            line_count: summary.line_count,
            units: summary.units,
            placed_at: placed_at(row),
            payment_due_at: summary.payment_due_at,
            terms: summary.terms,
            authorized: summary.authorized,
            authorized_until: summary.authorized_until,
            due_for_shipped: summary.due_for_shipped,
            overdue_from: summary.overdue_from,
            recorded_at: row.recorded_at,
            updated_at: row.updated_at,
            revision: row.revision,
        }
    }
}

impl<'a> Order<'a> {
    fn of(row: &'a OrderRow, summary: &'a OrderSummaryRow, refunds: &Refunds) -> Self {
        let OrderRow { order, times, .. } = row;
        Self {
            summary: OrderSummary::of(summary),
            metadata: order.metadata(),
            lines: (1..).zip(order.lines()).map(OrderLine::of).collect(),
            adjustments: order.adjustments().iter().map(Adjustment::of).collect(),
            prices_include_tax: order.prices_include_tax(),
            shortages: order.shortages().iter().map(Shortage::of).collect(),
            shipments: order.shipments().iter().map(|one| Shipment::of(one, times)).collect(),
            disputed: order.disputed(),
            returns: order.returns().iter().map(|one| Return::of(one, times)).collect(),
            exchange_of: order.exchange_of().map(ExchangeFrom::of),
            exchanged_for: order.credits().iter().map(ExchangeInto::of).collect(),
            refunds: order.refunds().iter().map(|one| OrderRefund::of(one, times, refunds)).collect(),
            cancel_reason: order.cancel_reason(),
        }
    }
}

impl<'a> OrderLine<'a> {
    fn of((number, line): (usize, &'a order::Line)) -> Self {
        Self {
            line: number,
            sku: &line.sku,
            quantity: line.quantity,
            unit_price: line.unit_price,
            stocked: line.stocked,
            shipped: line.shipped,
            delivered: line.delivered,
            returned: line.returned,
            cancelled: line.cancelled,
            adjustments: line.adjustments.iter().map(LineAdjustment::of).collect(),
            shares: Shares::of(line.shares),
            total: line.total(),
        }
    }
}

impl<'a> Adjustment<'a> {
    fn of(adjustment: &'a order::Adjustment) -> Self {
        let order::Adjustment { kind, code, amount, spread } = adjustment;
        Self { kind: *kind, code, amount: *amount, spread: *spread }
    }
}

impl<'a> LineAdjustment<'a> {
    fn of(adjustment: &'a order::LineAdjustment) -> Self {
        Self { kind: adjustment.kind, code: &adjustment.code, amount: adjustment.amount }
    }
}

impl Shares {
    fn of(shares: shares::Shares) -> Self {
        let shares::Shares { discount, tax, shipping, fee } = shares;
        Self { discount, tax, shipping, fee }
    }
}

impl<'a> Shortage<'a> {
    fn of(shortage: &'a order::Shortage) -> Self {
        Self { sku: &shortage.sku, requested: shortage.requested, available: shortage.available }
    }
}

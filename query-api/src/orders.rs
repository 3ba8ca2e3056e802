//! `/v1/orders`: one order with all its parts, and the list of orders.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{
    Amount, Currency, OrderId, PaymentId, RefundId, ReturnId, Revision, ShipmentId, Sku, Timestamp,
    order::{self, CancelReason, FulfilmentStatus, LineQuantity, OrderStatus, PaymentStatus, PaymentTerms},
    shares::{self, AdjustmentKind},
};
use infra::{
    auth::Caller,
    http::{
        Failure,
        answers::{ResourceProblems, SublistProblems},
        paging::{Listing, Paging},
        parameters::Params,
        path::{Id, NoSuch, PathId},
    },
    read_models::{OrderFilter, OrderSummaryRow, ReadModelError},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    QueryApi,
    freshness::{Freshness, IfNoneMatch, NotModified},
};
use infra::http::vocabulary::{
    AdjustmentKindWord, CancelReasonWord, FulfilmentStatusWord, OrderStatusWord, PaymentStatusWord,
    PaymentTermsWord, SkuValue,
};

mod exchange;
mod filter;
mod payment;
pub use exchange::{ExchangeFrom, ExchangeInto};
use filter::OrdersParams;
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

#[derive(Debug, Serialize, ToSchema)]
pub struct Shipment<'a> {
    #[schema(value_type = String, format = "uuid")]
    shipment_id: ShipmentId,
    lines: Vec<ShipmentLine>,
    carrier: Option<&'a str>,
    tracking_number: Option<&'a str>,
    delivered: bool,
    /// True if it never left: its units are to be shipped again.
    undone: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ShipmentLine {
    /// The number of the order's line.
    line: u32,
    quantity: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Return {
    #[schema(value_type = String, format = "uuid")]
    return_id: ReturnId,
    lines: Vec<ReturnedLine>,
    /// 0: no refund.
    #[schema(value_type = i64)]
    refund_amount: Amount,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReturnedLine {
    /// The number of the order's line.
    line: u32,
    quantity: u32,
    /// True if the units were added to stock.
    restock: bool,
    /// What the units were worth, less what was refunded for them before. Null for a return that an earlier build
    /// recorded.
    #[schema(value_type = Option<i64>)]
    value: Option<Amount>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderRefund {
    #[schema(value_type = String, format = "uuid")]
    refund_id: RefundId,
    /// The payment that pays it out.
    #[schema(value_type = Option<String>, format = "uuid")]
    payment_id: Option<PaymentId>,
    #[schema(value_type = i64)]
    amount: Amount,
    /// The lines that it is for. What they leave of the amount is for the whole order.
    lines: Vec<RefundedLine>,
}

/// What a refund is for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefundedLine {
    /// The number of the order's line.
    line: u32,
    #[schema(value_type = i64)]
    amount: Amount,
}

/// One order
#[utoipa::path(
    get, path = "/v1/orders/{id}", operation_id = "getOrder", tag = "orders",
    params(
        ("id" = String, Path, format = "uuid"),
        Freshness,
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
    Params(freshness): Params<Freshness>,
    known: IfNoneMatch,
) -> Result<Response, Failure<ResourceProblems>> {
    // To a customer, an order of another one is like one that does not exist, also while the request waits.
    let (queries, caller) = (&api.queries, &caller);
    let read = move || async move {
        let row = queries.order(id).await?;
        Ok::<_, ReadModelError>(row.filter(|row| caller.may_see_order_of(row.order.customer_id())))
    };
    let row = freshness.read(&api, id.into(), read).await?.ok_or(NoSuch(OrderId::RESOURCE))?;
    let summary = OrderSummaryRow::from(&row);
    Ok(known.answer(row.revision, || Order::of(&row.order, &summary)))
}

/// Orders, the latest first
///
/// With `overdue=true`: the longest overdue first. A token of a customer lists the orders of this customer.
#[utoipa::path(
    get, path = "/v1/orders", operation_id = "listOrders", tag = "orders",
    params(OrdersParams, Paging),
    responses((status = 200, description = "A page.", body = Listing<OrderSummary>), SublistProblems),
)]
pub async fn orders(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    Params(wanted): Params<OrdersParams>,
) -> Result<Response, Failure<SublistProblems>> {
    let wanted = wanted.of_caller(&caller)?;
    let paging = wanted.paging;
    let filter = OrderFilter {
        status: wanted.status,
        customer_id: wanted.customer_id,
        sku: wanted.sku,
        balance: wanted.balance,
        placed_from: wanted.placed_from,
        placed_to: wanted.placed_to,
        terms: wanted.terms,
        overdue_at: wanted.overdue.then(|| api.clock.now()),
        after: paging.after()?,
    };
    let page = api.query(api.queries.orders(&filter, paging.limit)).await?;
    // A cursor is valid for the same filters only, so it never mixes the two orders of a list.
    let time = |row: &OrderSummaryRow| match filter.overdue_at {
        Some(_) => row.summary.overdue_from.unwrap_or(Timestamp::MAX),
        None => placed_at(row),
    };
    let listing =
        paging.listing(&page.items, page.has_more, OrderSummary::of, |row| (time(row), row.order_id));
    Ok(Json(listing).into_response())
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
    fn of(order: &'a order::Order, summary: &'a OrderSummaryRow) -> Self {
        Self {
            summary: OrderSummary::of(summary),
            metadata: order.metadata(),
            lines: (1..).zip(order.lines()).map(OrderLine::of).collect(),
            adjustments: order.adjustments().iter().map(Adjustment::of).collect(),
            prices_include_tax: order.prices_include_tax(),
            shortages: order.shortages().iter().map(Shortage::of).collect(),
            shipments: order.shipments().iter().map(Shipment::of).collect(),
            disputed: order.disputed(),
            returns: order.returns().iter().map(Return::of).collect(),
            exchange_of: order.exchange_of().map(ExchangeFrom::of),
            exchanged_for: order.credits().iter().map(ExchangeInto::of).collect(),
            refunds: order.refunds().iter().map(OrderRefund::of).collect(),
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

impl<'a> Shipment<'a> {
    fn of(shipment: &'a order::Shipment) -> Self {
        let line = |line: &LineQuantity| ShipmentLine { line: line.line, quantity: line.quantity };
        Self {
            shipment_id: shipment.shipment_id,
            lines: shipment.lines.iter().map(line).collect(),
            carrier: shipment.carrier.as_deref(),
            tracking_number: shipment.tracking_number.as_deref(),
            delivered: shipment.delivered,
            undone: shipment.is_undone(),
        }
    }
}

impl Return {
    fn of(returned: &order::ReturnRecord) -> Self {
        let line = |line: &order::ReturnedLine| ReturnedLine {
            line: line.line,
            quantity: line.quantity,
            restock: line.restock,
            value: line.value,
        };
        Self {
            return_id: returned.return_id,
            lines: returned.lines.iter().map(line).collect(),
            refund_amount: returned.refund_amount,
        }
    }
}

impl OrderRefund {
    fn of(refund: &order::RefundRecord) -> Self {
        let line = |part: &order::LineAmount| RefundedLine { line: part.line, amount: part.amount };
        let lines = refund.lines.iter().map(line).collect();
        Self { refund_id: refund.refund_id, payment_id: refund.payment_id, amount: refund.amount, lines }
    }
}

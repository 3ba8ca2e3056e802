//! `/orders`: one search box, filters and views, all of them in the address.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use domain::{OrderId, PaymentId, Sku, Timestamp, order::OrderStatus, text};
use infra::{
    http::{
        paging::Paging,
        parameters::{FromParameters, Parameters, Params, check_range, local_instant, one_of},
        vocabulary::{OrderBalanceWord, OrderStatusWord, PaymentTermsWord},
    },
    read_models::{OrderBalance, OrderFilter, OrderSummaryRow, RowPage},
};
use jiff::tz::TimeZone;
use maud::{Markup, html};
use uuid::Uuid;

use super::{
    Refused,
    format::{self, count, money, order_link, short_time},
    layout::{Content, Section},
    url,
    view::View,
};
use crate::QueryApi;
use domain::order::PaymentTerms;

/// Views with a name: a click away, and their address can be kept or sent.
const VIEWS: [(&str, &str); 9] = [
    ("All", "/orders"),
    ("Waiting for stock", "/orders?status=placed"),
    ("Going on", "/orders?status=allocated"),
    ("Overdue", "/orders?overdue=true"),
    ("Refund due", "/orders?balance=refund_due"),
    ("Overpaid", "/orders?balance=overpaid"),
    ("Refused for stock", "/orders?status=rejected"),
    ("Cancelled", "/orders?status=cancelled"),
    ("Expired", "/orders?status=expired"),
];

/// The orders to list. An order matches all filters.
#[derive(Debug)]
pub(super) struct OrdersParams {
    /// An id, a customer or a SKU, as a person types it.
    search: Option<String>,
    status: Option<OrderStatus>,
    customer_id: Option<String>,
    sku: Option<Sku>,
    balance: Option<OrderBalance>,
    terms: Option<PaymentTerms>,
    placed_from: Option<String>,
    placed_to: Option<String>,
    overdue: bool,
    paging: Paging,
}

impl FromParameters for OrdersParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        // A form sends what is left empty, too.
        let word = |text: &str| text::check(text).map(|()| text.to_owned());
        let date = |text: &str| match local_instant(text, &TimeZone::UTC) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error),
        };
        let search = parameters.optional("q", |text| {
            let text = text.trim();
            if text.is_empty() { Ok(None) } else { text::check(text).map(|()| Some(text.to_owned())) }
        });
        let (from, to) = (filled(parameters, "placed_from", date), filled(parameters, "placed_to", date));
        check_range(parameters, from.as_ref(), ("placed_to", to.as_ref()));
        let wanted = Self {
            search: search.flatten(),
            status: filled(parameters, "status", |text| {
                one_of(text, OrderStatusWord::ALL, OrderStatus::as_str)
            }),
            customer_id: filled(parameters, "customer_id", word),
            sku: filled(parameters, "sku", Sku::new),
            balance: filled(parameters, "balance", |text| {
                one_of(text, OrderBalanceWord::ALL, OrderBalance::as_str)
            }),
            terms: filled(parameters, "terms", |text| {
                one_of(text, PaymentTermsWord::ALL, PaymentTerms::as_str)
            }),
            placed_from: from,
            placed_to: to,
            overdue: filled(parameters, "overdue", |text| one_of(text, &[true], |_| "true")).is_some(),
            paging: Paging::read(parameters)?,
        };
        // No index has both.
        for (name, is_given) in [("terms", wanted.terms.is_some()), ("overdue", wanted.overdue)] {
            if is_given && wanted.sku.is_some() {
                parameters.refuse(name, "cannot be combined with a SKU");
            }
        }
        if wanted.overdue && wanted.balance.is_some() {
            parameters.refuse("overdue", "cannot be combined with a balance");
        }
        Some(wanted)
    }
}

/// An optional parameter that counts as missing while it is empty.
fn filled<T, E: ToString>(
    parameters: &mut Parameters,
    name: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let read = parameters.optional(name, |text| match text.trim() {
        "" => Ok(None),
        text => parse(text).map(Some).map_err(|error| error.to_string()),
    });
    read.flatten()
}

impl OrdersParams {
    /// The filter of the queries. Dates are days of the person's time zone.
    fn filter(&self, view: &View) -> Result<OrderFilter, Refused> {
        let instant = |text: &Option<String>| -> Option<Timestamp> {
            text.as_deref().and_then(|text| local_instant(text, &view.zone).ok())
        };
        Ok(OrderFilter {
            status: self.status,
            customer_id: self.customer_id.clone(),
            sku: self.sku.clone(),
            balance: self.balance,
            placed_from: instant(&self.placed_from),
            placed_to: instant(&self.placed_to),
            terms: self.terms,
            overdue_at: self.overdue.then_some(view.now),
            after: self.paging.after()?,
        })
    }
}

/// `GET /orders`
pub(super) async fn orders(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Params(wanted): Params<OrdersParams>,
) -> Result<Response, Refused> {
    let mut filter = wanted.filter(&view)?;
    let limit = wanted.paging.limit;
    let mut found_by = None;
    let page = match wanted.search.as_deref() {
        None => api.query(api.queries.orders(&filter, limit)).await?,
        Some(search) => {
            if let Some(address) = address_of_id(&api, search).await? {
                return Ok(Redirect::to(&address).into_response());
            }
            filter.customer_id = Some(search.to_owned());
            let of_customer = api.query(api.queries.orders(&filter, limit)).await?;
            match Sku::new(search) {
                Ok(sku) if of_customer.items.is_empty() => {
                    let customer_id = wanted.customer_id.clone();
                    filter =
                        OrderFilter { customer_id, sku: Some(sku), terms: None, overdue_at: None, ..filter };
                    found_by = Some("Orders with the SKU");
                    api.query(api.queries.orders(&filter, limit)).await?
                }
                Ok(_) | Err(_) => {
                    found_by = Some("Orders of the customer");
                    of_customer
                }
            }
        }
    };
    let is_overdue = wanted.overdue;
    let key = |row: &OrderSummaryRow| {
        let placed_at = row.summary.placed_at.unwrap_or(row.recorded_at);
        let overdue_from = row.summary.overdue_from.unwrap_or(Timestamp::MAX);
        (if is_overdue { overdue_from } else { placed_at }, row.order_id)
    };
    let next = wanted.paging.listing(&page.items, page.has_more, |_| (), key).next_cursor;
    let main = html! {
        div.head {
            h1 { "Orders" }
            (views(&view))
        }
        (filters(&wanted))
        @if let (Some(found_by), Some(search)) = (found_by, &wanted.search) {
            p.found { (found_by) " " strong { (search) } " · " a href="/orders" { "Clear" } }
        }
        (table(&view, &page, is_overdue))
        (pager(&view, next.as_deref()))
    };
    let json = url::with_query(
        "/v1/orders",
        view.parameters(&["q", "cursor"]).filter(|(_, value)| !value.is_empty()),
    );
    Ok(view.page(Content::new("Orders", Section::Orders, main).live("/v1/feed?topic=tiles").json(json)))
}

/// The page of an order, or of a payment, with this id.
async fn address_of_id(api: &QueryApi, search: &str) -> Result<Option<String>, Refused> {
    let text = search.rsplit_once("order-").or(search.rsplit_once("payment-")).map_or(search, |(_, id)| id);
    let Ok(id) = Uuid::try_parse(text) else { return Ok(None) };
    if api.query(api.queries.order_summary(OrderId(id))).await?.is_some() {
        return Ok(Some(format!("/orders/{id}")));
    }
    let payment = api.query(api.queries.payment(PaymentId(id))).await?;
    Ok(payment.map(|_| format!("/payments/{id}")))
}

fn views(view: &View) -> Markup {
    let here = url::with_query(&view.path, view.parameters(&["cursor", "limit"]));
    html! {
        nav.views aria-label="Views" {
            @for (name, address) in VIEWS {
                a.view href=(address) aria-current=[(address == here).then_some("page")] { (name) }
            }
        }
    }
}

fn filters(wanted: &OrdersParams) -> Markup {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    html! {
        form.filters action="/orders" aria-label="Filters" {
            (choice("status", "Order", OrderStatusWord::ALL, OrderStatus::as_str, wanted.status))
            (choice("balance", "Balance", OrderBalanceWord::ALL, OrderBalance::as_str, wanted.balance))
            (choice("terms", "Terms", PaymentTermsWord::ALL, PaymentTerms::as_str, wanted.terms))
            label { span { "Customer" } input name="customer_id" size="10" value=(text(wanted.customer_id.as_deref())); }
            label { span { "SKU" } input name="sku" size="10" value=(text(wanted.sku.as_ref().map(Sku::as_str))); }
            label { span { "Placed from" } input type="date" name="placed_from" value=(text(wanted.placed_from.as_deref())); }
            label { span { "before" } input type="date" name="placed_to" value=(text(wanted.placed_to.as_deref())); }
            @if wanted.overdue { input type="hidden" name="overdue" value="true"; }
            button { "Filter" }
        }
    }
}

/// A list to choose one state from.
fn choice<T: Copy + PartialEq>(
    name: &str,
    label: &str,
    all: &[T],
    word: impl Fn(T) -> &'static str,
    chosen: Option<T>,
) -> Markup {
    html! {
        label {
            span { (label) }
            select name=(name) data-send {
                option value="" { "any" }
                @for value in all {
                    option value=(word(*value)) selected[chosen == Some(*value)] { (word(*value).replace('_', " ")) }
                }
            }
        }
    }
}

fn table(view: &View, page: &RowPage<OrderSummaryRow>, is_overdue: bool) -> Markup {
    html! {
        div.box #orders data-live role="region" aria-label="Orders" tabindex="0" {
            @if page.items.is_empty() {
                p.empty { "No order matches." }
            } @else {
                table.cards {
                    caption.visually-hidden {
                        @if is_overdue { "Orders, the longest overdue first" } @else { "Orders, the latest first" }
                    }
                    thead {
                        tr {
                            th { "Placed" } th { "Order" } th { "Customer" } th { "State" } th { "Payment" }
                            th { "Fulfilment" } th.number { "Units" } th.number { "Total" } th.number { "Due" }
                        }
                    }
                    tbody { @for row in &page.items { (line(view, row)) } }
                }
            }
        }
    }
}

fn line(view: &View, row: &OrderSummaryRow) -> Markup {
    let summary = &row.summary;
    let is_late = summary.overdue_from.is_some_and(|from| from <= view.now);
    html! {
        tr {
            td data-label="Placed" { (short_time(summary.placed_at.unwrap_or(row.recorded_at), view)) }
            td data-label="Order" {
                (order_link(row.order_id))
                @if let Some(reference) = &summary.reference { " " span.muted { (reference) } }
            }
            td data-label="Customer" {
                @match &summary.customer_id {
                    Some(customer) => a href=(url::with_query("/orders", [("customer_id", customer.as_str())])) { (customer) },
                    None => span.muted { "guest" },
                }
                @if let Some(country) = &summary.country { " " span.muted { (country) } }
            }
            td data-label="State" { (format::order_status(summary.status)) }
            td data-label="Payment" { (format::payment_status(summary.payment_status)) }
            td data-label="Fulfilment" { (format::fulfilment_status(summary.fulfilment_status, summary.status)) }
            td.number data-label="Units" { (count(summary.units)) }
            td.number data-label="Total" { (money(summary.total, summary.currency)) }
            td.number data-label="Due" {
                (format::amount(summary.amount_due, summary.currency))
                @if is_late { " " (format::chip("overdue", format::Tone::Warn)) }
            }
        }
    }
}

/// The way to the next rows, and back to the first.
pub(super) fn pager(view: &View, next: Option<&str>) -> Markup {
    let is_first = !view.query.iter().any(|(name, _)| name == "cursor");
    let first = url::with_query(&view.path, view.parameters(&["cursor"]));
    html! {
        @if next.is_some() || !is_first {
            nav.pager aria-label="Pages" {
                @if !is_first { a.button href=(first) { "First page" } }
                @if let Some(next) = next {
                    a.button rel="next"
                        href=(url::with_query(&view.path, view.parameters(&["cursor"]).chain([("cursor", next)]))) {
                        "Next page"
                    }
                }
            }
        }
    }
}

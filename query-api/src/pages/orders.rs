//! `/orders`: one search box, filters and views, all of them in the address.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use domain::{
    OrderId, PaymentId, Sku, Timestamp,
    order::{FulfilmentStatus, OrderStatus, PaymentStatus, PaymentTerms},
    text,
};
use infra::{
    http::{
        paging::Paging,
        parameters::{FromParameters, Parameters, Params, check_range, local_instant, one_of, several_of},
        vocabulary::{
            FulfilmentStatusWord, OrderStatusWord, OrderWorkWord, PaymentStatusWord, PaymentTermsWord,
        },
    },
    read_models::{OrderFilter, OrderSort, OrderSummaryRow, OrderWork},
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

/// Views with a name: a click away, and their address can be kept or sent.
const VIEWS: [(&str, &str); 12] = [
    ("All", "/orders"),
    ("To ship", "/orders?work=to_ship"),
    ("Unpaid", "/orders?work=unpaid"),
    ("Overdue", "/orders?work=overdue"),
    ("Declined", "/orders?work=declined"),
    ("Returns", "/orders?work=returns"),
    ("Refund due", "/orders?work=refund_due"),
    ("Overpaid", "/orders?work=overpaid"),
    ("Waiting for stock", "/orders?status=placed"),
    ("Refused for stock", "/orders?status=rejected"),
    ("Cancelled", "/orders?status=cancelled"),
    ("Expired", "/orders?status=expired"),
];

/// The orders to list. An order matches all filters.
#[derive(Debug)]
pub(super) struct OrdersParams {
    /// An id, or the beginning of a reference or customer, or a SKU, as a person types it.
    search: Option<String>,
    status: Vec<OrderStatus>,
    payment_status: Vec<PaymentStatus>,
    fulfilment_status: Vec<FulfilmentStatus>,
    work: Option<OrderWork>,
    customer_id: Option<String>,
    sku: Option<Sku>,
    country: Option<String>,
    terms: Option<PaymentTerms>,
    placed_from: Option<String>,
    placed_to: Option<String>,
    sort: Option<OrderSort>,
    paging: Paging,
}

impl FromParameters for OrdersParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let word = |text: &str| text::check(text).map(|()| text.to_owned());
        let date = |text: &str| local_instant(text, &TimeZone::UTC).map(|_| text.to_owned());
        let search = filled(parameters, "q", word);
        let (from, to) = (filled(parameters, "placed_from", date), filled(parameters, "placed_to", date));
        check_range(parameters, from.as_ref(), ("placed_to", to.as_ref()));
        let status = |text: &str| several_of(text, OrderStatusWord::ALL, OrderStatus::as_str);
        let payment = |text: &str| several_of(text, PaymentStatusWord::ALL, PaymentStatus::as_str);
        let fulfilment = |text: &str| several_of(text, FulfilmentStatusWord::ALL, FulfilmentStatus::as_str);
        let sorts = [OrderSort::Placed, OrderSort::Updated];
        Some(Self {
            search,
            status: filled(parameters, "status", status).unwrap_or_default(),
            payment_status: filled(parameters, "payment_status", payment).unwrap_or_default(),
            fulfilment_status: filled(parameters, "fulfilment_status", fulfilment).unwrap_or_default(),
            work: filled(parameters, "work", |text| one_of(text, OrderWorkWord::ALL, OrderWork::as_str)),
            customer_id: filled(parameters, "customer_id", word),
            sku: filled(parameters, "sku", Sku::new),
            country: filled(parameters, "country", word),
            terms: filled(parameters, "terms", |text| {
                one_of(text, PaymentTermsWord::ALL, PaymentTerms::as_str)
            }),
            placed_from: from,
            placed_to: to,
            sort: filled(parameters, "sort", |text| one_of(text, &sorts, OrderSort::as_str)),
            paging: Paging::read(parameters)?,
        })
    }
}

/// An optional parameter that counts as missing while it is empty.
pub(super) fn filled<T, E: ToString>(
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
        let by_default = self.work.map(OrderWork::sort).unwrap_or_default();
        let sort = self.sort.unwrap_or(by_default);
        Ok(OrderFilter {
            status: self.status.clone(),
            payment_status: self.payment_status.clone(),
            fulfilment_status: self.fulfilment_status.clone(),
            work: self.work,
            customer_id: self.customer_id.clone(),
            sku: self.sku.clone(),
            country: self.country.clone(),
            text: self.search.clone(),
            placed_from: instant(&self.placed_from),
            placed_to: instant(&self.placed_to),
            terms: self.terms,
            now: view.now,
            sort,
            direction: sort.direction(),
            after: self.paging.after()?,
            ..OrderFilter::default()
        })
    }
}

/// `GET /orders`
pub(super) async fn orders(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Params(wanted): Params<OrdersParams>,
) -> Result<Response, Refused> {
    let filter = wanted.filter(&view)?;
    let limit = wanted.paging.limit;
    if let Some(search) = &wanted.search
        && let Some(address) = address_of_id(&api, search).await?
    {
        return Ok(Redirect::to(&address).into_response());
    }
    let mut page = api.query(api.queries.orders(&filter, limit)).await?;
    let mut found_by = "Found by";
    if let Some(Ok(sku)) = wanted.search.as_deref().map(Sku::new)
        && page.items.is_empty()
    {
        let of_sku = OrderFilter { text: None, sku: Some(sku), ..filter };
        page = api.query(api.queries.orders(&of_sku, limit)).await?;
        found_by = "Orders with the SKU";
    }
    let next = wanted.paging.cursor_after(page.next);
    let main = html! {
        div.head {
            h1 { "Orders" }
            (views(&view))
        }
        (filters(&wanted))
        @if let Some(search) = &wanted.search {
            p.found { (found_by) " " strong { (search) } " · " a href="/orders" { "Clear" } }
        }
        (table(&view, &page.items, next.is_some(), wanted.work))
        (pager(&view, next.as_deref()))
    };
    let given = || view.parameters(&["cursor"]).filter(|(_, value)| !value.is_empty());
    let content = Content::new("Orders", Section::Orders, main).live("/v1/feed?topic=tiles");
    let csv = url::with_query("/v1/orders", given().chain([("format", "csv")]));
    Ok(view.page(content.json(url::with_query("/v1/orders", given())).csv(csv)))
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
    let (payments, fulfilments) = (PaymentStatusWord::ALL, FulfilmentStatusWord::ALL);
    html! {
        form.filters action="/orders" aria-label="Filters" {
            (choice("status", "Order", OrderStatusWord::ALL, OrderStatus::as_str, only(&wanted.status)))
            (choice("payment_status", "Payment", payments, PaymentStatus::as_str, only(&wanted.payment_status)))
            (choice("fulfilment_status", "Fulfilment", fulfilments, FulfilmentStatus::as_str, only(&wanted.fulfilment_status)))
            (choice("work", "Work", OrderWorkWord::ALL, OrderWork::as_str, wanted.work))
            (choice("terms", "Terms", PaymentTermsWord::ALL, PaymentTerms::as_str, wanted.terms))
            label { span { "Customer" } input name="customer_id" size="10" value=(text(wanted.customer_id.as_deref())); }
            label { span { "SKU" } input name="sku" size="10" value=(text(wanted.sku.as_ref().map(Sku::as_str))); }
            label { span { "Country" } input name="country" size="10" value=(text(wanted.country.as_deref())); }
            label { span { "Placed from" } input type="date" name="placed_from" value=(text(wanted.placed_from.as_deref())); }
            label { span { "before" } input type="date" name="placed_to" value=(text(wanted.placed_to.as_deref())); }
            (choice("sort", "Latest by", &[OrderSort::Placed, OrderSort::Updated], OrderSort::as_str, wanted.sort))
            button { "Filter" }
        }
    }
}

/// The value of a filter by one value. A filter by several stands in the address alone.
fn only<T: Copy>(values: &[T]) -> Option<T> {
    match values {
        [value] => Some(*value),
        _ => None,
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

fn table(view: &View, rows: &[OrderSummaryRow], has_more: bool, work: Option<OrderWork>) -> Markup {
    html! {
        div.box #orders data-live role="region" aria-label="Orders" tabindex="0" {
            @if rows.is_empty() {
                // A list looks at a bounded number of rows for one page.
                p.empty { @if has_more { "No order here matches. The next page looks further." } @else { "No order matches." } }
            } @else {
                table.cards {
                    caption.visually-hidden {
                        @if work == Some(OrderWork::Overdue) { "Orders, the longest overdue first" } @else { "Orders, the latest first" }
                    }
                    thead {
                        tr {
                            th { "Placed" } th { "Order" } th { "Customer" } th { "State" } th { "Payment" }
                            th { "Fulfilment" } th.number { "Units" } th.number { "Total" } th.number { "Due" }
                        }
                    }
                    tbody { @for row in rows { (line(view, row)) } }
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

//! The lines of an order: what is still to ship, what is shipped, what came back.

use domain::order::{Line, Order};
use maud::{Markup, html};

use super::Shown;
use crate::pages::format::{self, amount, count, sku_link};

/// The largest real order seen has 1,114 lines. A page of all of them would hide the rest of the order.
const LINES_MAX: usize = 200;

pub(super) fn lines(shown: &Shown) -> Markup {
    let order = &shown.order;
    let currency = order.currency();
    let unit = currency.map(|currency| format!(" ({currency})")).unwrap_or_default();
    html! {
        section.panel {
            h2 { "Lines" }
            div.box role="region" aria-label="Lines" tabindex="0" {
                table {
                    caption.visually-hidden { "Lines with the units that are to be shipped, shipped, delivered, returned and cancelled" }
                    thead {
                        tr {
                            th.number { "#" } th { "SKU" } th.number { "Price" (unit) } th.number { "Ordered" }
                            th.number { "To ship" } th.number { "Shipped" } th.number { "Delivered" }
                            th.number { "Returned" } th.number { "Cancelled" } th.number { "Total" (unit) }
                        }
                    }
                    tbody {
                        @for (number, line) in (1..).zip(order.lines()).take(LINES_MAX) { (row(order, number, line)) }
                    }
                    tfoot { (adjustments(order)) }
                }
            }
            @if order.lines().len() > LINES_MAX {
                p.muted {
                    "The first " (LINES_MAX) " of " (count(order.lines().len() as u64)) " lines. "
                    a href={ "/v1/orders/" (shown.id) } { "All lines as JSON" }
                }
            }
            (shortages(order))
        }
    }
}

fn row(order: &Order, number: u32, line: &Line) -> Markup {
    let units = |units: u32| html! { @if units == 0 { span.muted { "–" } } @else { (count(units)) } };
    let is_to_ship = line.open() > 0 && !order.status().is_final();
    html! {
        tr {
            td.number.muted { (number) }
            td { (sku_link(&line.sku)) @if !line.stocked { " " span.muted { "not stocked" } } }
            td.number { (amount(line.unit_price, order.currency())) }
            td.number { (count(line.quantity)) }
            td.number {
                @if is_to_ship { strong { (count(line.open())) } } @else { span.muted { "–" } }
            }
            td.number { (units(line.shipped)) }
            td.number { (units(line.delivered)) }
            td.number { (units(line.returned)) }
            td.number { (units(line.cancelled)) }
            td.number { (amount(line.total(), order.currency())) }
        }
    }
}

/// The parts of the total that belong to no line alone, and the total.
fn adjustments(order: &Order) -> Markup {
    html! {
        @for adjustment in order.adjustments() {
            tr {
                th scope="row" colspan="9" {
                    (adjustment.code)
                    @if let Some(kind) = adjustment.kind { " " span.muted { (kind.as_str()) } }
                    @if adjustment.spread { " " span.muted { "(in the lines)" } }
                }
                td.number { (amount(adjustment.amount, order.currency())) }
            }
        }
        tr.sum {
            th scope="row" colspan="9" {
                "Total" @if order.prices_include_tax() { " " span.muted { "(prices include taxes)" } }
            }
            td.number { (amount(order.total(), order.currency())) }
        }
    }
}

/// Why the order was refused.
fn shortages(order: &Order) -> Markup {
    html! {
        @if !order.shortages().is_empty() {
            div.notice.bad {
                p { strong { "Refused for stock" } }
                ul {
                    @for shortage in order.shortages() {
                        li {
                            (sku_link(&shortage.sku)) ": "
                            (format::several(shortage.requested.into(), "unit", "units")) " ordered, "
                            (count(shortage.available)) " available"
                        }
                    }
                }
            }
        }
    }
}

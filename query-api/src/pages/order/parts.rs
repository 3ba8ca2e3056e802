//! The shipments and returns of an order.

use domain::order::{LineQuantity, Order, ReturnRecord, Shipment};
use maud::{Markup, html};

use super::Shown;
use crate::pages::{
    actions::OrderAction,
    format::{self, money, several, short_id, short_time},
    view::View,
};

pub(super) fn parts(view: &View, shown: &Shown) -> Markup {
    let order = &shown.order;
    html! {
        @if !order.shipments().is_empty() {
            section.panel {
                h2 { "Shipments" }
                ul.sources { @for shipment in order.shipments() { (of_shipment(view, shown, shipment)) } }
            }
        }
        @if !order.returns().is_empty() {
            section.panel {
                h2 { "Returns" }
                ul.sources { @for returned in order.returns() { (of_return(view, shown, returned)) } }
            }
        }
    }
}

fn of_shipment(view: &View, shown: &Shown, shipment: &Shipment) -> Markup {
    let id = shipment.shipment_id;
    let is_on_the_way = !shipment.delivered && !shipment.is_undone();
    html! {
        li {
            p {
                span.id title=(id) { (short_id(id)) } " "
                @if shipment.is_undone() { (format::chip("undone", format::Tone::Idle)) }
                @else if shipment.delivered { (format::chip("delivered", format::Tone::Good)) }
                @else { (format::chip("on the way", format::Tone::Busy)) }
                @if let Some(carrier) = &shipment.carrier { " " (carrier) }
                @if let Some(number) = &shipment.tracking_number { " " span.id { (number) } }
            }
            p.muted {
                (units(&shown.order, shipment.lines.iter().copied()))
                @if let Some(at) = shown.times.shipped.get(&id) { " · shipped " (short_time(*at, view)) }
                @if let Some(at) = shown.times.delivered.get(&id) { " · delivered " (short_time(*at, view)) }
            }
            @if is_on_the_way && !shown.is_past() && view.can(OrderAction::Deliver.scope()) {
                a.button href={ "/orders/" (shown.id) "/deliver?shipment=" (id) } { "Delivered…" }
            }
        }
    }
}

fn of_return(view: &View, shown: &Shown, returned: &ReturnRecord) -> Markup {
    let order = &shown.order;
    let lines = returned.lines.iter().map(|line| LineQuantity { line: line.line, quantity: line.quantity });
    let restocked: u64 =
        returned.lines.iter().filter(|line| line.restock).map(|line| u64::from(line.quantity)).sum();
    html! {
        li {
            p {
                span.id title=(returned.return_id) { (short_id(returned.return_id)) }
                @if returned.refund_amount.is_positive() {
                    " refund of " strong { (money(returned.refund_amount, order.currency())) }
                } @else { " " span.muted { "without a refund" } }
            }
            p.muted { (units(order, lines)) ", " (several(restocked, "unit", "units")) " back in stock"
                @if let Some(at) = shown.times.returned.get(&returned.return_id) { " · " (short_time(*at, view)) }
            }
        }
    }
}

/// "2 × 85123A, 1 × 71053".
fn units(order: &Order, lines: impl Iterator<Item = LineQuantity>) -> String {
    const SHOWN: usize = 8;
    let mut texts: Vec<String> = Vec::new();
    let mut others = 0;
    for LineQuantity { line, quantity } in lines {
        match order.line(line) {
            Some(known) if texts.len() < SHOWN => texts.push(format!("{quantity} × {}", known.sku)),
            Some(_) | None => others += 1,
        }
    }
    if others > 0 {
        texts.push(format!("and {others} more lines"));
    }
    texts.join(", ")
}

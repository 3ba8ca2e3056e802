//! The head of an order: what it is, its three states, what can be done with it, and the way to its past.

use domain::{
    Decider, ShipmentId,
    order::{CancelReason, Order, OrderCommand, OrderDecider},
};
use maud::{Markup, html};
use uuid::Uuid;

use super::Shown;
use crate::pages::{
    actions::OrderAction,
    format::{self, money, short_id, time},
    url,
    view::View,
};

/// What has just happened.
pub(super) fn notices(shown: &Shown, done: Option<OrderAction>, is_behind: bool) -> Markup {
    html! {
        @if let Some(done) = done {
            p.notice.good role="status" { (done.done()) }
        }
        @if is_behind {
            p.notice.warn role="status" {
                "The change is recorded, and this page does not show it yet. "
                a href={ "/orders/" (shown.id) } { "Load it again" }
            }
        }
        @if shown.is_past() {
            p.notice.busy role="status" {
                "This is the order as it was after event " (shown.revision) " of " (shown.last) ". Payments, refunds and timeline are as they are now. "
                a href={ "/orders/" (shown.id) } { "Show it as it is" }
            }
        }
    }
}

pub(super) fn head(view: &View, shown: &Shown) -> Markup {
    let order = &shown.order;
    html! {
        div.head #head data-live {
            div {
                h1 {
                    "Order " span.id { (short_id(shown.id)) }
                    @if let Some(reference) = order.reference() { " " span.muted { (reference) } }
                }
                p.chips data-announce {
                    (format::order_status(order.status()))
                    (format::payment_status(order.payment_status()))
                    (format::fulfilment_status(order.fulfilment_status(), order.status()))
                    @if let Some(reason) = order.cancel_reason() { span.muted { (cancelled(reason)) } }
                    @if order.overdue_from().is_some_and(|from| from <= view.now) {
                        (format::chip("overdue", format::Tone::Warn))
                    }
                }
            }
            p.total { (money(order.total(), order.currency())) }
            @if !shown.is_past() { (actions(view, shown)) }
        }
    }
}

fn cancelled(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Requested => "by request",
        CancelReason::PaymentFailed => "because the payment failed",
        CancelReason::PaymentVoided => "because the payment was voided",
    }
}

/// The actions that the state of the order and the scopes of the caller allow.
fn actions(view: &View, shown: &Shown) -> Markup {
    let possible = OrderAction::ALL.into_iter().filter(|action| {
        *action != OrderAction::Deliver && view.can(action.scope()) && action.is_possible(&shown.order)
    });
    let possible: Vec<OrderAction> = possible.collect();
    html! {
        @if !possible.is_empty() {
            div.buttons {
                @for action in possible {
                    a.button.primary[action == OrderAction::Ship && is_ready(&shown.order, view)] href={ "/orders/" (shown.id) "/" (action.name()) } {
                        (action.verb()) "…"
                    }
                }
            }
        }
    }
}

/// True if the whole order can be shipped now.
fn is_ready(order: &Order, view: &View) -> bool {
    let (shipment_id, now) = (ShipmentId(Uuid::nil()), view.now);
    let ship = OrderCommand::Ship { shipment_id, lines: None, carrier: None, tracking_number: None, now };
    OrderDecider::decide(order, ship).is_ok()
}

/// Moves through the revisions of the order. Works without a script, by its button.
pub(super) fn slider(view: &View, shown: &Shown) -> Markup {
    let at = |revision: u64| url::with_query(&view.path, [("revision", revision.to_string().as_str())]);
    html! {
        form.slider action=(view.path) aria-label="An earlier state of the order" {
            label for="revision" { "State after event" }
            a.button.quiet href=(at(shown.revision.saturating_sub(1))) aria-label="One event earlier" { "‹" }
            input #revision type="range" name="revision" min="0" max=(shown.last) value=(shown.revision)
                data-send list="revisions";
            a.button.quiet href=(at((shown.revision + 1).min(shown.last))) aria-label="One event later" { "›" }
            output for="revision" { (shown.revision) } " of " (shown.last)
            span.muted { (time(shown.updated_at, view)) }
            button.quiet { "Show" }
        }
    }
}

/// What belongs to the order and is neither money nor a line.
pub(super) fn facts(view: &View, shown: &Shown) -> Markup {
    let order = &shown.order;
    html! {
        section.panel {
            h2 { "Order" }
            dl.facts {
                dt { "Id" } dd.id.wrap { (shown.id) }
                dt { "Customer" }
                dd {
                    @match order.customer_id() {
                        Some(customer) => a href=(url::with_query("/orders", [("customer_id", customer)])) { (customer) },
                        None => "guest",
                    }
                }
                @if let Some(country) = order.country() { dt { "Country" } dd { (country) } }
                @if let Some(placed_at) = order.placed_at() { dt { "Placed" } dd { (time(placed_at, view)) } }
                dt { "Changed" } dd { (time(shown.updated_at, view)) }
                dt { "Terms" } dd { (format::terms(order.terms())) }
                dt { "Payment due" }
                dd {
                    @match order.payment_due_at() {
                        Some(due_at) => (time(due_at, view)),
                        None => "never",
                    }
                }
                @if let Some(exchange) = order.exchange_of() {
                    dt { "Exchange of" } dd { (format::order_link(exchange.order_id)) }
                }
                @for credit in order.credits() {
                    dt { "Exchanged for" } dd { (format::order_link(credit.order_id)) }
                }
                @for (name, value) in order.metadata().into_iter().flatten() {
                    dt { (name) } dd.wrap { (value) }
                }
            }
        }
    }
}

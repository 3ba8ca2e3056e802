//! The money of an order by its sources, and its refunds with their states.

use domain::{
    Amount,
    order::{Order, RefundRecord, Tender},
    payment::Payment,
};
use infra::{auth::Scope, read_models::PaymentRow};
use maud::{Markup, html};

use super::Shown;
use crate::pages::{
    format::{self, amount, payment_link, short_time},
    view::View,
};

pub(super) fn money(view: &View, shown: &Shown) -> Markup {
    let order = &shown.order;
    let currency = order.currency();
    let sum = |name: &str, of: Amount, class: &str| {
        html! {
            div class=(class) { dt { (name) } dd { (format::money(of, currency)) } }
        }
    };
    html! {
        section.panel {
            h2 { "Money" }
            dl.sums {
                (sum("Total", order.total(), ""))
                @if order.owed() != order.total() { (sum("Owed now", order.owed(), "")) }
                (sum("Captured", order.captured(), ""))
                @if order.refunded().is_positive() { (sum("Refunded", order.refunded(), "")) }
                @if order.disputed().is_positive() { (sum("Disputed", order.disputed(), "bad")) }
                @if order.amount_due().is_positive() && !order.status().is_final() {
                    (sum("To be paid", order.amount_due(), "warn"))
                }
                @if order.overpaid().is_positive() { (sum("Overpaid", order.overpaid(), "warn")) }
                @if order.refund_due().is_positive() { (sum("Refund under way", order.refund_due(), "warn")) }
            }
            @if order.tenders().is_empty() {
                p.muted { "No payment is asked for." }
            } @else {
                h3 { "Sources" }
                ul.sources { @for tender in order.tenders() { (source(view, shown, tender)) } }
            }
            (refunds(view, shown))
        }
    }
}

/// One payment: where money comes from.
fn source(view: &View, shown: &Shown, tender: &Tender) -> Markup {
    let currency = shown.order.currency();
    let row = shown.payment(tender.payment_id);
    let payment = row.map(|row| &row.payment);
    let recorded = &tender.recorded;
    html! {
        li {
            p {
                (payment_link(tender.payment_id)) " "
                @match payment {
                    Some(payment) if !shown.is_past() => (format::payment_state(payment.state())),
                    Some(_) | None => (format::tender_status(tender.status())),
                }
                " " span.muted { (method(payment)) }
            }
            p.row {
                span { "asked " (amount(tender.amount, currency)) }
                span { "captured " (amount(recorded.captured, currency)) }
                @if recorded.refunded.is_positive() { span { "refunded " (amount(recorded.refunded, currency)) } }
                @if recorded.disputed.is_positive() { span.bad { "disputed " (amount(recorded.disputed, currency)) } }
            }
            @if let Some(row) = row.filter(|_| !shown.is_past()) { (state_of(view, row)) }
        }
    }
}

fn method(payment: Option<&Payment>) -> String {
    match payment.and_then(Payment::charge) {
        Some(charge) => format!("{} {}", charge.provider, charge.method),
        None => format::payment_kind(payment.and_then(Payment::kind)).to_owned(),
    }
}

/// Why a payment failed or waits, and what can be done.
pub(in crate::pages) fn state_of(view: &View, row: &PaymentRow) -> Markup {
    let payment = &row.payment;
    html! {
        @if let Some(failure) = payment.failure() {
            p.notice.bad {
                "Declined: " strong { (failure.code.replace('_', " ")) }
                @if let Some(message) = &failure.message { " — " (message) }
            }
        }
        @if payment.is_in_doubt() {
            p.notice.warn {
                "The provider has not answered, so the outcome is unknown. Orderly looks it up again by itself."
            }
        }
        @if let Some(since) = row.awaits_provider_since {
            p.muted { "Waits for the provider since " (short_time(since, view)) }
        }
        @if payment.is_retryable() && payment.charge().is_some() && view.can(Scope::PaymentsWrite) {
            a.button href={ "/payments/" (row.payment_id) "/charge" } { "Charge again…" }
        }
    }
}

/// The refunds that the order requested, with the state that their payment knows.
fn refunds(view: &View, shown: &Shown) -> Markup {
    html! {
        @if !shown.order.refunds().is_empty() {
            h3 { "Refunds" }
            ul.sources {
                @for record in shown.order.refunds() { (refund(view, shown, record, &shown.order)) }
            }
        }
    }
}

fn refund(view: &View, shown: &Shown, record: &RefundRecord, order: &Order) -> Markup {
    let row = record.payment_id.and_then(|id| shown.payment(id));
    let known = row.and_then(|row| row.payment.refund(record.refund_id));
    html! {
        li {
            p {
                strong { (format::money(record.amount, order.currency())) } " "
                @if let Some(known) = known {
                    (format::refund_state(known.state)) " " span.muted { (format::refund_reason(known.reason)) }
                } @else {
                    (format::chip("requested", format::Tone::Busy))
                }
                @if let Some(payment_id) = record.payment_id { " to " (payment_link(payment_id)) }
            }
            @if let Some(failure) = known.and_then(|refund| refund.failure.as_deref()) {
                p.notice.bad { (failure) }
            }
            @if let (Some(known), Some(since)) = (known, row.and_then(|row| row.awaits_provider_since)) {
                @if known.state.is_open() { p.muted { "Waits since " (short_time(since, view)) } }
            }
        }
    }
}

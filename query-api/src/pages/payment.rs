//! `/payments/{id}`: one payment with its charges, refunds and disputes.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{Amount, Currency, PaymentId, payment::Payment};
use infra::{
    http::{
        parameters::Params,
        path::{Id, NoSuch, PathId},
    },
    read_models::PaymentRow,
};
use maud::{Markup, html};

use super::{
    Refused,
    format::{self, money, order_link, short_id, time},
    layout::{Content, Section},
    order::state_of,
    view::View,
};
use crate::{QueryApi, freshness::Freshness};

/// `GET /payments/{id}`
pub(super) async fn payment(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Id(id): Id<PaymentId>,
    Params(freshness): Params<Freshness>,
) -> Result<Response, Refused> {
    let row = freshness.read(&api, id.into(), || api.queries.payment(id)).await?;
    let row = row.ok_or(NoSuch(PaymentId::RESOURCE))?;
    let payment = &row.payment;
    let main = html! {
        div #head.head data-live {
            h1 { "Payment " span.id { (short_id(id)) } }
            p.chips data-announce { (format::payment_state(payment.state())) }
            p.total { (money(payment.amount(), payment.currency())) }
        }
        div #payment.columns data-live {
            div {
                section.panel {
                    h2 { "State" }
                    (state_of(&view, &row))
                    (sums(payment))
                }
                (charges(payment))
                (refunds(payment))
                (disputes(payment))
            }
            (facts(&view, &row))
        }
    };
    let content = Content::new(format!("Payment {}", short_id(id)), Section::Payments, main);
    Ok(view.page(content.json(format!("/v1/payments/{id}")).live(format!("/v1/feed?stream=payment-{id}"))))
}

fn sums(payment: &Payment) -> Markup {
    let currency: Option<Currency> = payment.currency();
    let sum = |name: &str, of: Amount| html! { div { dt { (name) } dd { (money(of, currency)) } } };
    html! {
        dl.sums {
            (sum("Asked", payment.amount()))
            (sum("Authorized", payment.authorized()))
            (sum("Captured", payment.captured()))
            @if payment.capturable().is_positive() { (sum("Can be captured", payment.capturable())) }
            @if payment.refunded().is_positive() { (sum("Refunded", payment.refunded())) }
            @if payment.disputed().is_positive() { (sum("Disputed", payment.disputed())) }
            (sum("Can be refunded", payment.refundable()))
        }
    }
}

fn charges(payment: &Payment) -> Markup {
    html! {
        @if !payment.charges().is_empty() {
            section.panel {
                h2 { "Charges" }
                div.box role="region" aria-label="Charges" tabindex="0" {
                    table {
                        caption.visually-hidden { "Charges at the provider" }
                        thead { tr { th.number { "#" } th { "Provider" } th { "Means" } th.number { "Amount" } th.number { "Captured" } th { "Reference" } } }
                        tbody {
                            @for charge in payment.charges() {
                                tr {
                                    td.number { (charge.number) }
                                    td { (charge.provider) }
                                    td { (charge.method) }
                                    td.number { (money(charge.amount, payment.currency())) }
                                    td.number { (format::amount(charge.captured, payment.currency())) }
                                    td { span.id { (charge.reference.as_deref().unwrap_or_default()) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn refunds(payment: &Payment) -> Markup {
    html! {
        @if !payment.refunds().is_empty() {
            section.panel {
                h2 { "Refunds" }
                ul.sources {
                    @for refund in payment.refunds() {
                        li {
                            p {
                                strong { (money(refund.amount, payment.currency())) } " "
                                (format::refund_state(refund.state)) " "
                                span.muted { (format::refund_reason(refund.reason)) " " span.id { (short_id(refund.refund_id)) } }
                            }
                            @if let Some(failure) = &refund.failure { p.notice.bad { (failure) } }
                        }
                    }
                }
            }
        }
    }
}

fn disputes(payment: &Payment) -> Markup {
    html! {
        @if !payment.disputes().is_empty() {
            section.panel {
                h2 { "Disputes" }
                ul.sources {
                    @for dispute in payment.disputes() {
                        li {
                            p {
                                strong { (money(dispute.amount, payment.currency())) } " "
                                (format::dispute_state(dispute.state)) " "
                                span.muted { "charge " (dispute.charge) ", " span.id { (dispute.reference) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn facts(view: &View, row: &PaymentRow) -> Markup {
    let payment = &row.payment;
    html! {
        section.panel {
            h2 { "Payment" }
            dl.facts {
                dt { "Id" } dd.id.wrap { (row.payment_id) }
                @if let Some(order_id) = payment.order_id() { dt { "Order" } dd { (order_link(order_id)) } }
                dt { "Kind" } dd { (format::payment_kind(payment.kind())) }
                dt { "Terms" } dd { (format::terms(payment.terms())) }
                @if let Some(reference) = payment.reference() { dt { "Reference" } dd.id.wrap { (reference) } }
                @if let Some(until) = payment.authorized_until() { dt { "Authorized until" } dd { (time(until, view)) } }
                dt { "Requested" } dd { (time(row.recorded_at, view)) }
                dt { "Changed" } dd { (time(row.updated_at, view)) }
            }
        }
    }
}

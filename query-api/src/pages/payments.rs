//! `/payments`: those with an unknown outcome first; declines; what the comparison with the provider found.

mod declines;
mod reconciliation;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::payment::PaymentState;
use infra::{
    http::{
        paging::Paging,
        parameters::{FromParameters, Parameters, Params, one_of},
        vocabulary::PaymentStateWord,
    },
    read_models::{PaymentFilter, PaymentSummaryRow},
};
use maud::{Markup, html};

pub(super) use self::reconciliation::day;
use super::{
    Refused,
    format::{self, Tone, amount, chip, money, order_link, payment_link, short_time},
    layout::{Content, Section},
    orders::pager,
    url,
    view::View,
};
use crate::QueryApi;

/// Payments whose outcome is unknown that are listed above all others.
const UNKNOWN_MAX: usize = 20;

#[derive(Debug)]
pub(super) struct PaymentsParams {
    status: Option<PaymentState>,
    is_declined: bool,
    paging: Paging,
}

impl FromParameters for PaymentsParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let status = |text: &str| one_of(text, PaymentStateWord::ALL, PaymentState::as_str);
        let status = parameters.optional("status", status);
        let is_declined = parameters.optional("declined", |text| one_of(text, &[true], |_| "true")).is_some();
        Some(Self { status, is_declined, paging: Paging::read(parameters)? })
    }
}

/// `GET /payments`
pub(super) async fn payments(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Params(wanted): Params<PaymentsParams>,
) -> Result<Response, Refused> {
    let PaymentsParams { status, is_declined, paging } = wanted;
    let filter = PaymentFilter {
        state: status.into_iter().collect(),
        is_declined,
        after: paging.after()?,
        ..PaymentFilter::default()
    };
    let page = api.query(api.queries.payments(&filter, paging.limit)).await?;
    let next = paging.cursor_after(page.next);
    let in_doubt = PaymentFilter { state: vec![PaymentState::OutcomeUnknown], ..PaymentFilter::default() };
    let is_whole = status.is_none() && filter.after.is_none() && !is_declined;
    let figures = if is_whole {
        Some((declines::read(&api, &view).await?, reconciliation::read(&api).await?))
    } else {
        None
    };
    let unknown = if is_whole {
        api.query(api.queries.payments(&in_doubt, UNKNOWN_MAX)).await?.items
    } else {
        Vec::new()
    };
    let main = html! {
        div.head {
            h1 { "Payments" }
            nav.views aria-label="Views" {
                a.view href="/payments" aria-current=[(status.is_none() && !is_declined).then_some("page")] { "All" }
                a.view href="/payments?declined=true" aria-current=[is_declined.then_some("page")] { "can be charged again" }
                @for state in PaymentStateWord::ALL {
                    a.view href={ "/payments?status=" (state.as_str()) } aria-current=[(status == Some(*state)).then_some("page")] {
                        (state.as_str().replace('_', " "))
                    }
                }
            }
        }
        div #unknown data-live {
            @if !unknown.is_empty() {
                section.panel.urgent {
                    h2 { "Outcome unknown" }
                    p.muted { "The provider has not answered. Orderly asks again by itself; if it stays so, compare with the provider." }
                    (table(&view, &unknown, "Payments whose outcome is unknown"))
                }
            }
        }
        @if let Some((charges, compared)) = &figures {
            div.columns.even {
                (declines::panel(&view, charges))
                (reconciliation::panel(&view, compared))
            }
        }
        div #payments data-live {
            @if page.items.is_empty() { p.empty { "No payment matches." } }
            @else { (table(&view, &page.items, "Payments")) }
        }
        (pager(&view, next.as_deref()))
    };
    let json = url::with_query("/v1/payments", view.parameters(&["cursor"]));
    let csv = url::with_query("/v1/payments", view.parameters(&["cursor"]).chain([("format", "csv")]));
    Ok(view.page(
        Content::new("Payments", Section::Payments, main).live("/v1/feed?topic=tiles").json(json).csv(csv),
    ))
}

fn table(view: &View, rows: &[PaymentSummaryRow], caption: &str) -> Markup {
    html! {
        div.box role="region" aria-label=(caption) tabindex="0" {
            table.cards {
                caption.visually-hidden { (caption) }
                thead {
                    tr {
                        th { "Changed" } th { "Payment" } th { "Order" } th { "State" } th.number { "Asked" }
                        th.number { "Captured" } th.number { "Refunded" } th.number { "Disputed" } th { "Reference" }
                    }
                }
                tbody { @for row in rows { (line(view, row)) } }
            }
        }
    }
}

fn line(view: &View, row: &PaymentSummaryRow) -> Markup {
    let summary = &row.summary;
    html! {
        tr {
            td data-label="Changed" { (short_time(row.updated_at, view)) }
            td data-label="Payment" { (payment_link(row.payment_id)) }
            td data-label="Order" {
                @if let Some(order_id) = summary.order_id { (order_link(order_id)) }
            }
            td data-label="State" {
                (format::payment_state(summary.state))
                @if summary.retryable { " " (chip("can be charged again", Tone::Busy)) }
                @if summary.void_requested { " " (chip("void requested", Tone::Busy)) }
            }
            td.number data-label="Asked" { (money(summary.amount, summary.currency)) }
            td.number data-label="Captured" { (amount(summary.captured, summary.currency)) }
            td.number data-label="Refunded" { (amount(summary.refunded, summary.currency)) }
            td.number data-label="Disputed" { (amount(summary.disputed, summary.currency)) }
            td data-label="Reference" { span.id { (summary.reference.as_deref().unwrap_or_default()) } }
        }
    }
}

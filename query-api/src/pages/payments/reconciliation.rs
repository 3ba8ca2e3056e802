//! What the comparisons with the books of the payment provider found. Pages show what was kept, and never ask the provider.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use infra::{
    http::{
        parameters::Params,
        path::{Id, NoSuch},
    },
    operations::reconciliations::{Difference, Reconciliation},
};
use maud::{Markup, html};

use crate::{
    QueryApi,
    error::QueryError,
    pages::{
        Refused,
        format::{Tone, amount, chip, count, money, payment_link, several, short_time},
        layout::{Content, Section},
        view::View,
    },
    reconciliations::{self, ComparedDay, day_of},
};

/// Differences on the page of payments. The page of the day has all that are kept.
const SHOWN: usize = 20;
/// Compared days that are listed.
const DAYS: usize = 14;

/// The latest comparison, and the latest compared days.
#[derive(Debug)]
pub(super) struct Compared {
    latest: Option<Reconciliation>,
    days: Vec<ComparedDay>,
}

pub(super) async fn read(api: &QueryApi) -> Result<Compared, QueryError> {
    Ok(Compared {
        latest: reconciliations::latest(api).await?,
        days: reconciliations::days(api, DAYS).await?,
    })
}

/// `GET /reconciliations/{day}`
pub(in crate::pages) async fn day(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Id(day): Id<String>,
    Params(()): Params<()>,
) -> Result<Response, Refused> {
    let found = reconciliations::read(&api, &day).await?.ok_or(NoSuch("comparison"))?;
    let title = format!("Comparison of {}", day_of(found.from));
    let main = html! {
        div.head { h1 { (title) } (outcome(&found)) }
        p { a href="/payments#reconciliation" { "All payments" } }
        section.panel { (head(&view, &found)) (totals(&found)) }
        section.panel { h2 { "Different" } (differences(&view, &found.differences, found.differences_count, "Nothing differs.")) }
        @if found.recorded_count > 0 {
            section.panel { h2 { "Recorded by the comparison" } (differences(&view, &found.recorded, found.recorded_count, "")) }
        }
    };
    let json = format!("/v1/reconciliations/{}", day_of(found.from));
    Ok(view.page(Content::new(title, Section::Payments, main).json(json)))
}

/// The latest comparison on the page of payments.
pub(super) fn panel(view: &View, compared: &Compared) -> Markup {
    html! {
        section.panel #reconciliation {
            h2 { "Compared with the provider" }
            @match &compared.latest {
                None => p.muted {
                    "No day was compared yet. " code { "orderly payments reconcile --day YYYY-MM-DD" }
                    " compares each charge, refund and dispute of a day with the books of the provider, and this page shows what it finds."
                },
                Some(found) => {
                    p { a href={ "/reconciliations/" (day_of(found.from)) } { (day_of(found.from)) } " " (outcome(found)) }
                    (head(view, found))
                    (totals(found))
                    @if found.differences_count > 0 {
                        (differences(view, found.differences.get(..SHOWN).unwrap_or(&found.differences), found.differences_count, ""))
                    }
                },
            }
            @if compared.days.len() > 1 {
                p {
                    "Days: "
                    @for day in &compared.days {
                        a href={ "/reconciliations/" (day.day) } { (day.day) }
                        @if day.differences > 0 { " (" (several_differ(day.differences)) ")" }
                        " "
                    }
                }
            }
        }
    }
}

fn outcome(found: &Reconciliation) -> Markup {
    match found.differences_count {
        0 => chip("agrees", Tone::Good),
        number => chip(&several_differ(number), Tone::Bad),
    }
}

fn several_differ(number: u64) -> String {
    several(number, "differs", "differ")
}

fn head(view: &View, found: &Reconciliation) -> Markup {
    html! {
        p.muted {
            "Compared " (short_time(found.compared_at, view)) " with " (found.provider)
            ": what it moved from 00:00 to 24:00 UTC."
            @if found.recorded_count > 0 { " " (count(found.recorded_count)) " were recorded then." }
        }
    }
}

fn totals(found: &Reconciliation) -> Markup {
    html! {
        @if found.totals.is_empty() { p.empty { "Nothing moved on this day." } }
        @else {
            div.box role="region" aria-label="Totals" tabindex="0" {
                table {
                    caption.visually-hidden { "Sums by kind and currency" }
                    thead { tr { th { "Kind" } th.number { "Number" } th.number { "Here" } th.number { "At the provider" } th.number { "Difference" } } }
                    tbody {
                        @for (kind, currency, sums) in &found.totals {
                            @let difference = sums.theirs.saturating_sub(sums.ours);
                            tr {
                                th scope="row" { (kind.as_str()) "s" }
                                td.number { (count(sums.count)) }
                                td.number { (money(sums.ours, Some(*currency))) }
                                td.number { (money(sums.theirs, Some(*currency))) }
                                td.number { @if difference.is_zero() { "–" } @else { strong { (amount(difference, Some(*currency))) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn differences(view: &View, found: &[Difference], all: u64, none: &str) -> Markup {
    html! {
        @if found.is_empty() { p.empty { (none) } }
        @else {
            div.box role="region" aria-label="Differences" tabindex="0" {
                table.cards {
                    caption.visually-hidden { "Charges, refunds and disputes that differ" }
                    thead {
                        tr {
                            th { "Time" } th { "Kind" } th { "Payment" } th { "Why" } th.number { "Here" }
                            th.number { "At the provider" } th { "Reference" }
                        }
                    }
                    tbody {
                        @for one in found {
                            tr {
                                td data-label="Time" { (short_time(one.at, view)) }
                                td data-label="Kind" { (one.kind.as_str()) }
                                td data-label="Payment" { (payment_link(one.payment_id)) }
                                td.wrap data-label="Why" { (one.finding.why()) }
                                td.number data-label="Here" { (money(one.ours, Some(one.currency))) }
                                td.number data-label="At the provider" { (money(one.theirs, Some(one.currency))) }
                                td data-label="Reference" { span.id { (one.reference.as_deref().unwrap_or_default()) } }
                            }
                        }
                    }
                }
            }
            @if all > found.len() as u64 { p.muted { (count(found.len())) " of " (count(all)) " are shown." } }
        }
    }
}

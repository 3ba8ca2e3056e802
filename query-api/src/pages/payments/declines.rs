//! How many charges were declined on the last days, and why.

use infra::read_models::{ChargeQuery, ChargeTotals, Charges, TimeGroup, TimeRange, quarter_of};
use jiff::ToSpan;
use maud::{Markup, html};

use crate::{
    QueryApi,
    declines::rate,
    error::QueryError,
    pages::{format::count, url, view::View},
};

/// Days that are shown, today included.
const DAYS: i32 = 7;
/// Reasons that are shown.
const REASONS: usize = 8;
/// More groups than the days have.
const GROUPS_MAX: usize = 31;

/// The charges of the last days, by the clock of the reader.
pub(super) async fn read(api: &QueryApi, view: &View) -> Result<Charges, QueryError> {
    let today = view.now.to_zoned(view.zone.clone());
    let first = today.checked_sub((DAYS - 1).days()).and_then(|first| first.start_of_day());
    let from = first.ok().map(|first| quarter_of(first.timestamp()));
    let range = TimeRange { from, to: None, zone: view.zone.clone() };
    let query = ChargeQuery { range, group: Some(TimeGroup::Day), after: None };
    api.query(api.queries.charges(&query, GROUPS_MAX)).await
}

pub(super) fn panel(view: &View, charges: &Charges) -> Markup {
    let json = url::with_query("/v1/declines", [("group_by", "day"), ("time_zone", view.zone_name())]);
    html! {
        section.panel {
            h2 { "Declines of the last " (DAYS) " days" }
            div #declines data-live {
                @if charges.total.attempts == 0 { p.empty { "No charge was answered." } }
                @else {
                    (by_day(charges))
                    (by_reason(charges))
                }
            }
            p { a href=(json) { "All days as JSON" } }
        }
    }
}

fn by_day(charges: &Charges) -> Markup {
    let total = ("All", &charges.total);
    let days = charges.groups.items.iter().rev().map(|(day, totals)| (day.as_str(), totals));
    html! {
        div.box role="region" aria-label="Declines by day" tabindex="0" {
            table {
                caption.visually-hidden { "Answered charges by day, the latest first" }
                thead { tr { th { "Day" } th.number { "Attempts" } th.number { "Declined" } th.number { "Rate" } } }
                tbody {
                    @for (day, totals) in [total].into_iter().chain(days) {
                        tr {
                            th scope="row" { (day) }
                            td.number { (count(totals.attempts)) }
                            td.number { (count(totals.declined)) }
                            td.number { (percent(totals)) }
                        }
                    }
                }
            }
        }
    }
}

fn by_reason(charges: &Charges) -> Markup {
    let (shown, others) = charges.failures.split_at(charges.failures.len().min(REASONS));
    let of_all = |declined: i64| percent(&ChargeTotals { attempts: charges.total.attempts, declined });
    html! {
        div.box role="region" aria-label="Declines by reason" tabindex="0" {
            @if shown.is_empty() { p.empty { "No charge was declined." } }
            @else {
                table {
                    caption.visually-hidden { "Declined charges by reason, the most frequent first" }
                    thead { tr { th { "Reason" } th.number { "Declined" } th.number { "Of all attempts" } } }
                    tbody {
                        @for (code, declined) in shown {
                            tr {
                                th scope="row" { (code.replace('_', " ")) }
                                td.number { (count(*declined)) }
                                td.number { (of_all(*declined)) }
                            }
                        }
                        @if !others.is_empty() {
                            @let declined = others.iter().map(|(_, declined)| declined).sum();
                            tr {
                                th scope="row" { (others.len()) " more reasons" }
                                td.number { (count(declined)) }
                                td.number { (of_all(declined)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn percent(totals: &ChargeTotals) -> String {
    rate(totals).map_or_else(|| "–".to_owned(), |rate| format!("{:.1}%", rate * 100.0))
}

//! How much goes through this process, how fast, and how far the followers of the log are behind.

use infra::measurements::{FOLLOWER_LAG_EVENTS, FOLLOWER_LAG_SECONDS};
use maud::{Markup, html};

use super::{behind, not_here, number, whole};
use crate::pages::{
    chart,
    figures::{History, Series, Times, by_group, by_route},
};

/// The lag of each follower of the log.
pub(super) fn lag(series: &Series, history: &History) -> Markup {
    let followers = series.by(FOLLOWER_LAG_EVENTS.name(), "follower");
    html! {
        @if followers.is_empty() {
            (not_here("The lag of the followers is measured in a process that reads the log and the read models."))
        } @else {
            div.box role="region" aria-label="Followers of the log" tabindex="0" {
                table {
                    caption.visually-hidden { "How far the followers of the log are behind it" }
                    thead { tr { th { "Follower" } th { "Behind" } th.number { "Oldest event" } th { "Last 10 minutes" } } }
                    tbody {
                        @for (follower, events) in &followers {
                            @let age = series.with(FOLLOWER_LAG_SECONDS.name(), "follower", follower);
                            tr {
                                td { (follower) }
                                td { (behind(Some(whole(*events)))) }
                                td.number { @if let Some(age) = age.filter(|age| *age > 0.0) { (number(age)) " s" } @else { "–" } }
                                td { (chart::sparkline(&history.lag_of(follower), "events behind")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Commands and events of this process.
pub(super) fn throughput(history: &History, runs_commands: bool) -> Markup {
    let rates = [("Commands", history.commands_per_second()), ("Events", history.events_per_second())];
    html! {
        @if !runs_commands {
            (not_here("Commands run in the process with the role command-api."))
        } @else {
            dl.tiles {
                @for (name, rates) in &rates {
                    div.tile {
                        dt { (name) " per second" }
                        dd.value {
                            @if let Some(last) = rates.last() { (number(*last)) } @else { span.muted { "–" } }
                        }
                        dd { (chart::sparkline(rates, "per second")) }
                    }
                }
            }
            p.muted { "Over the last 10 s, and the last 10 minutes." }
        }
    }
}

/// The requests since the start of the process: by groups of routes, and the busiest routes.
pub(super) fn requests(series: &Series) -> Markup {
    let groups = by_group(series);
    html! {
        @if groups.is_empty() { p.empty { "No request was answered yet." } }
        @else {
            (table("Requests by group of routes", "Group", groups.iter().map(|(route, times)| (&*route.api, &*route.name, times))))
            details data-key="routes" {
                summary { "The busiest routes" }
                (table("Requests by route", "Route", by_route(series).iter().map(|(route, times)| (&*route.api, &*route.name, times))))
            }
        }
    }
}

fn table<'a>(caption: &str, name: &str, rows: impl Iterator<Item = (&'a str, &'a str, &'a Times)>) -> Markup {
    html! {
        div.box role="region" aria-label=(caption) tabindex="0" {
            table {
                caption.visually-hidden { (caption) ", since the start of this process" }
                thead { tr { th { "API" } th { (name) } th.number { "Requests" } th.number { "99% within" } } }
                tbody {
                    @for (api, route, times) in rows {
                        tr {
                            td { (api) }
                            td { (route) }
                            td.number { (number(times.total())) }
                            td.number { (times.within()) }
                        }
                    }
                }
            }
        }
    }
}

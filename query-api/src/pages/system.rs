//! `/system`: what the platform is made of, what it reports of itself, how far the read models are, the figures of this
//! process, and webhooks.

mod endpoints;
mod flow;
mod state;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{Position, Timestamp};
use http::request::Parts;
use infra::{auth::Scope, http::parameters::Params, read_models::CheckpointRow};
use maud::{Markup, html};

use super::{
    Provider, Refused,
    errors::sentence,
    format::{Tone, age, chip, count, short_time},
    layout::{Content, Section},
    view::View,
};
use crate::{QueryApi, error::QueryError, projections};

/// Events behind the log that are normal under load.
const BEHIND_NORMAL: u64 = 1_000;

/// How far the read models are behind the log.
#[derive(Debug, Clone)]
pub(super) struct Lag {
    rows: Vec<(CheckpointRow, Option<u64>)>,
}

impl Lag {
    /// The events that the slowest partition lacks. `None` if no end is known.
    pub fn worst(&self) -> Option<u64> {
        self.rows.iter().filter_map(|(_, behind)| *behind).max()
    }

    fn position(&self) -> Option<Position> {
        self.rows.iter().filter_map(|(row, _)| row.log_position).max()
    }

    fn updated_at(&self) -> Option<Timestamp> {
        self.rows.iter().filter_map(|(row, _)| row.updated_at).max()
    }
}

pub(super) async fn lag(api: &QueryApi) -> Result<Lag, QueryError> {
    let checkpoints = api.query(api.queries.checkpoints()).await?;
    let ends = projections::ends(api).await;
    let behind = |row: CheckpointRow| {
        let behind = ends.get(&row.partition).map(|end| row.behind(*end));
        (row, behind)
    };
    Ok(Lag { rows: checkpoints.into_iter().map(behind).collect() })
}

/// Health, lag and provider in a few lines.
pub(super) fn in_short(view: &View, lag: &Lag) -> Markup {
    html! {
        dl.facts {
            dt { "Health" }
            dd {
                @if view.conditions.is_empty() { (chip("good", Tone::Good)) }
                @else { (chip("needs an operator", Tone::Warn)) " " a href="/system#health" { (view.conditions.len()) " to see" } }
            }
            dt { "Read models" }
            dd { (behind(lag.worst())) }
            dt { "Last event shown" }
            dd {
                @match lag.updated_at() {
                    Some(at) => { (short_time(at, view)) " " span.muted { (age(at, view.now)) " ago" } },
                    None => "none",
                }
            }
            dt { "Payments" }
            dd { (provider(view.provider)) }
        }
    }
}

fn behind(events: Option<u64>) -> Markup {
    html! {
        @match events {
            Some(0) => (chip("up to date", Tone::Good)),
            Some(events) if events <= BEHIND_NORMAL => (chip(&format!("{} events behind", count(events)), Tone::Busy)),
            Some(events) => (chip(&format!("{} events behind", count(events)), Tone::Warn)),
            None => (chip("unknown", Tone::Idle)),
        }
    }
}

fn provider(provider: Provider) -> Markup {
    match provider {
        Provider::Elsewhere => html! { "as the processes of the command API are set" },
        Provider::None => html! { "recorded by hand" },
        Provider::Sandbox => chip("sandbox: no real money", Tone::Bad),
        Provider::Stripe => html! { "Stripe" },
    }
}

/// `GET /system`
pub(super) async fn system(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Params(()): Params<()>,
    request: Parts,
) -> Result<Response, Refused> {
    let lag = lag(&api).await?;
    let endpoints = if view.can(Scope::Admin) { endpoints::read(&api, &request).await } else { None };
    let main = html! {
        div.head { h1 { "System" } }
        div.columns {
            div {
                section.panel #health { h2 { "Health" } div #conditions data-live { (conditions(&view)) } }
                (flows(&api))
                section.panel { h2 { "Read models" } div #lag data-live { (projections_table(&view, &lag)) } }
                @if view.can(Scope::Admin) { (endpoints::panel(&view, endpoints.as_deref())) }
            }
            div {
                section.panel { h2 { "This process" } (process(&api, &view, &lag)) }
                (states(&api, &view))
            }
        }
    };
    Ok(view.page(
        Content::new("System", Section::System, main).live("/v1/feed?topic=tiles").json("/v1/projections"),
    ))
}

/// The role that executes commands.
const COMMANDS: &str = "command-api";

fn flows(api: &QueryApi) -> Markup {
    let Some(measurements) = &api.pages.measurements else { return html! {} };
    let (series, history) = (measurements.now(), measurements.history());
    let runs_commands = api.pages.platform.roles.iter().any(|role| role == COMMANDS);
    html! {
        section.panel { h2 { "Throughput" } div #throughput data-live="quiet" { (flow::throughput(&history, runs_commands)) } }
        section.panel { h2 { "Followers of the log" } div #followers data-live="quiet" { (flow::lag(&series, &history)) } }
        section.panel { h2 { "Requests since the start" } div #requests data-live="quiet" { (flow::requests(&series)) } }
    }
}

fn states(api: &QueryApi, view: &View) -> Markup {
    let Some(measurements) = &api.pages.measurements else { return html! {} };
    let series = measurements.now();
    html! {
        section.panel { h2 { "Queues" } div #queues data-live="quiet" { (state::queues(&series)) } }
        section.panel { h2 { "Circuit breakers" } div #breakers data-live="quiet" { (state::breakers(&series)) } }
        section.panel { h2 { "Files" } div #files data-live="quiet" { (state::files(&series)) } }
        section.panel { h2 { "Backups" } div #backups data-live="quiet" { (state::backups(view, &series)) } }
    }
}

/// Says that another process has these figures.
fn not_here(why: &str) -> Markup {
    html! { p.muted { "Not of this process. " (why) } }
}

/// A measured number with the digits that people read: one below 10, and none above.
fn number(value: f64) -> String {
    if value < 10.0 && value.fract() != 0.0 { format!("{value:.1}") } else { count(whole(value)) }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a measured number, rounded")]
fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

fn conditions(view: &View) -> Markup {
    html! {
        @if view.conditions.is_empty() {
            p { (chip("good", Tone::Good)) " Nothing waits for an operator." }
        } @else {
            ul.sources {
                @for condition in &view.conditions {
                    li { p { (chip(condition.name, Tone::Warn)) } p { (sentence(&condition.detail)) } }
                }
            }
        }
    }
}

fn projections_table(view: &View, lag: &Lag) -> Markup {
    html! {
        div.box role="region" aria-label="Read models" tabindex="0" {
            table {
                caption.visually-hidden { "Progress of the read models, by partition of their source" }
                thead { tr { th { "Projection" } th { "Partition" } th.number { "Position" } th { "Behind" } th { "Changed" } } }
                tbody {
                    @for (row, events) in &lag.rows {
                        tr {
                            td { (row.projection) }
                            td { (row.partition.0) }
                            td.number { @if let Some(position) = row.position { (count(position)) } }
                            td { (behind(*events)) }
                            td { @if let Some(at) = row.updated_at { (short_time(at, view)) } }
                        }
                    }
                }
            }
        }
    }
}

fn process(api: &QueryApi, view: &View, lag: &Lag) -> Markup {
    let platform = &api.pages.platform;
    html! {
        dl.facts {
            dt { "Version" } dd { (api.version.version) " " span.muted.id { (api.version.commit) } }
            dt { "Roles" } dd { (platform.roles.join(", ")) }
            dt { "Event store" } dd { (platform.event_store) }
            dt { "Bus" } dd { (platform.bus) }
            dt { "Read models" } dd { (platform.read_models) }
            dt { "Payments" } dd { (provider(view.provider)) }
            dt { "Actions" }
            dd { @if api.pages.commands.is_some() { "go to the command API" } @else { "none: ORDERLY_COMMAND_URL is not set" } }
            dt { "Log position" } dd { @if let Some(position) = lag.position() { (count(position)) } @else { "none" } }
        }
    }
}

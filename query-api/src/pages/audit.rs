//! `/audit`: compares the read models with the log, shows earlier sums and states, and exports the books.
//!
//! Each run reads the whole log, so it is a task of the process and not of a request.

mod auditor;
mod desk;
mod download;
mod forms;
mod results;

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use domain::{OrderId, Sku, Timestamp};
use http::StatusCode;
use infra::{
    auth::Caller,
    http::{
        Problem,
        parameters::{FromParameters, Parameters, Params, one_of},
        path::{NoSuch, PathId},
    },
};
use jiff::tz::TimeZone;
use maud::{Markup, html};
use uuid::Uuid;

pub use self::auditor::{
    Auditor, CurrencySums, ExportFormat, ExportWanted, Exported, ExportedFile, Progress, TotalsThen, Verified,
};
use self::desk::{Busy, Runs, Task};
pub(super) use self::{desk::Desk, download::download};
use super::{
    Refused,
    format::{count, parse_instant, sku_link, time},
    layout::{Content, Section},
    orders::filled,
    view::{Fields, Posted, View},
};
use crate::{QueryApi, as_of};

/// What became of a form.
enum Notice {
    None,
    /// Another run is under way.
    Busy,
    /// What is wrong with the values of the form.
    Wrong(String),
}

/// `GET /audit`
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub(super) async fn audit(State(api): State<Arc<QueryApi>>, view: View, Params(()): Params<()>) -> Response {
    page(&api, &view, &Notice::None)
}

fn page(api: &QueryApi, view: &View, notice: &Notice) -> Response {
    let runs = api.pages.desk.as_ref().map(Desk::runs);
    let main = html! {
        div.head { h1 { "Audit" } }
        (told(notice))
        p.lead {
            "Everything here is computed from the event log alone, which never changes. The same is done by "
            code { "orderly audit" } "."
        }
        @match &runs {
            None => p.notice.warn { "This process reads no whole log. Use the commands below." },
            Some(runs) => (results::running(view, runs)),
        }
        (verification(view, runs.as_ref()))
        (as_of_instant(view, runs.as_ref()))
        (export(view, runs.as_ref()))
    };
    let mut response = view.page(Content::new("Audit", Section::Audit, main));
    *response.status_mut() = match notice {
        Notice::None => StatusCode::OK,
        Notice::Busy => StatusCode::CONFLICT,
        Notice::Wrong(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    response
}

fn told(notice: &Notice) -> Markup {
    html! {
        @match notice {
            Notice::None => {},
            Notice::Busy => p.notice.warn role="alert" { "Nothing was started: another run is under way. Start this one when it has ended." },
            Notice::Wrong(why) => p.notice.bad role="alert" { "Nothing was started: " (why) "." },
        }
    }
}

fn verification(view: &View, runs: Option<&Runs>) -> Markup {
    html! {
        section.panel #verify {
            h2 { "Do the read models equal the log?" }
            p.muted {
                "Folds every event again, and compares the result with every row. The check of the file of an embedded log itself is "
                code { "orderly audit verify" } "."
            }
            @if let Some(runs) = runs {
                (forms::verify(view))
                (results::last("verified", view, runs.verified.as_deref()))
            }
        }
    }
}

fn as_of_instant(view: &View, runs: Option<&Runs>) -> Markup {
    html! {
        section.panel #as-of {
            h2 { "As of an instant" }
            p.muted {
                "What was recorded up to an instant, by the clock of the log. Sums: "
                code { "orderly audit totals --at TIME" } "."
            }
            (forms::one(view))
            @if let Some(runs) = runs {
                (forms::totals(view))
                (results::last("totals", view, runs.totals.as_deref()))
            }
        }
    }
}

fn export(view: &View, runs: Option<&Runs>) -> Markup {
    html! {
        section.panel #export {
            h2 { "Export" }
            p.muted {
                "The events, orders, payments and stock movements of a period as files, with counts, sums and checksums: "
                code { "orderly audit export" } "."
            }
            @if let Some(runs) = runs {
                (forms::export(view))
                (results::last("exported", view, runs.exported.as_deref()))
            }
        }
    }
}

/// `POST /audit/verify`
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub(super) async fn verify(State(api): State<Arc<QueryApi>>, posted: Posted) -> Result<Response, Refused> {
    start(&api, &posted.view, Ok(Task::Verify))
}

/// `POST /audit/totals`
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub(super) async fn totals(State(api): State<Arc<QueryApi>>, posted: Posted) -> Result<Response, Refused> {
    let Posted { view, fields, .. } = posted;
    let at = instant(&view, &fields, "at").map(|at| at.unwrap_or(view.now));
    start(&api, &view, at.map(Task::Totals))
}

/// `POST /audit/export`
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub(super) async fn export_files(
    State(api): State<Arc<QueryApi>>,
    posted: Posted,
) -> Result<Response, Refused> {
    let Posted { view, fields, .. } = posted;
    start(&api, &view, wanted_export(&view, &fields).map(Task::Export))
}

fn wanted_export(view: &View, fields: &Fields) -> Result<ExportWanted, String> {
    let from = instant(view, fields, "from")?;
    let to = instant(view, fields, "to")?.unwrap_or(view.now);
    let format = fields.text("format").unwrap_or(ExportFormat::Csv.as_str());
    let format = one_of(format, &ExportFormat::ALL, ExportFormat::as_str);
    let format = format.map_err(|why| format!("the format {why}"))?;
    if from.is_some_and(|from| from >= to) {
        return Err("the end of the period is exclusive and must be later than its begin".to_owned());
    }
    Ok(ExportWanted { from, to, format })
}

/// `None` if the field is empty.
fn instant(view: &View, fields: &Fields, name: &str) -> Result<Option<Timestamp>, String> {
    let text = fields.text(name);
    text.map(|text| parse_instant(text, &view.zone).map_err(|why| format!("{text:?} {why}"))).transpose()
}

fn start(api: &QueryApi, view: &View, task: Result<Task, String>) -> Result<Response, Refused> {
    let Some(desk) = &api.pages.desk else { return Err(Problem::no_such("page").into()) };
    let task = match task {
        Ok(task) => task,
        Err(why) => return Ok(page(api, view, &Notice::Wrong(why))),
    };
    let principal = || view.caller.as_ref().and_then(Caller::principal).map(ToString::to_string);
    let by = view.person.clone().or_else(principal).unwrap_or_else(|| "anonymous".to_owned());
    Ok(match desk.start(task, by, &api.clock) {
        Ok(()) => Redirect::to("/audit").into_response(),
        Err(Busy) => page(api, view, &Notice::Busy),
    })
}

/// One order or SKU at an instant.
#[derive(Debug)]
pub(super) struct ThenParams {
    of: Option<String>,
    /// In the time zone of the person, unless it names another one.
    at: Option<String>,
}

impl FromParameters for ThenParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let typed = |text: &str| parse_instant(text, &TimeZone::UTC).map(|_| text.to_owned());
        let of = filled(parameters, "of", |text| Ok::<_, &str>(text.to_owned()));
        Some(Self { of, at: filled(parameters, "at", typed) })
    }
}

/// `GET /audit/then`
pub(super) async fn then(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Params(ThenParams { of, at }): Params<ThenParams>,
) -> Result<Response, Refused> {
    let at = at.and_then(|text| parse_instant(&text, &view.zone).ok()).unwrap_or(view.now);
    let of = of.unwrap_or_default();
    let id = of.strip_prefix("order-").unwrap_or(&of);
    if let Ok(id) = Uuid::try_parse(id).map(OrderId) {
        let order = api.query(async { as_of::order(api.log.get().await?, id, at).await }).await?;
        let revision = order.ok_or(NoSuch(OrderId::RESOURCE))?.revision;
        return Ok(Redirect::to(&format!("/orders/{id}?revision={revision}")).into_response());
    }
    let sku = Sku::new(&of).map_err(|_| NoSuch(Sku::RESOURCE))?;
    let row = api.query(async { as_of::stock(api.log.get().await?, &sku, at).await }).await?;
    let row = row.ok_or(NoSuch(Sku::RESOURCE))?;
    let main = html! {
        div.head { h1 { "SKU " (sku_link(&sku)) } p.muted { "as of " (time(at, &view)) } }
        dl.tiles {
            div.tile { dt { "On hand" } dd.value { (count(row.on_hand)) } }
            div.tile { dt { "Reserved" } dd.value { (count(row.reserved)) } }
            div.tile { dt { "Available" } dd.value { (count(row.on_hand - row.reserved)) } }
        }
        p.muted { "After event " (row.revision) " of its stream." }
        p { a.button href="/audit#as-of" { "Another instant" } }
    };
    let json = format!("/v1/stock/{}?at={at}", super::url::segment(sku.as_str()));
    Ok(view.page(Content::new(format!("SKU {sku} then"), Section::Audit, main).json(json)))
}

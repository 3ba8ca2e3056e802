//! `/system/webhooks/{id}`: the deliveries to one subscriber, and sending one again.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{OrderId, Timestamp};
use http::request::Parts;
use infra::{
    auth::Scope,
    http::{
        Code, Problem,
        parameters::{FromParameters, Parameters, Params},
        path::Id,
    },
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Refused,
    commands::CallerHeaders,
    format::{Tone, chip, event_name, order_link, short_time},
    layout::{Content, Section},
    orders::pager,
    url,
    view::View,
};
use crate::QueryApi;

/// The deliveries to list: the command API cuts the pages.
#[derive(Debug)]
pub(super) struct DeliveriesParams {
    cursor: Option<String>,
    status: Option<String>,
}

impl FromParameters for DeliveriesParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let text = |text: &str| Ok::<_, &str>(text.to_owned());
        Some(Self {
            cursor: parameters.optional("cursor", text),
            status: parameters.optional("status", text),
        })
    }
}

/// A delivery, as the command API lists it.
#[derive(Debug, Deserialize)]
struct Delivery {
    delivery_id: String,
    event_type: String,
    order_id: Option<OrderId>,
    status: String,
    attempts: u32,
    queued_at: Timestamp,
    next_attempt_at: Option<Timestamp>,
    last_status: Option<u16>,
    last_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Deliveries {
    items: Vec<Delivery>,
    next_cursor: Option<String>,
}

/// `GET /system/webhooks/{id}`
pub(super) async fn deliveries(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Id(id): Id<String>,
    Params(wanted): Params<DeliveriesParams>,
    request: Parts,
) -> Result<Response, Refused> {
    let commands = api.pages.commands.as_ref();
    let commands =
        commands.ok_or_else(|| Problem::new(Code::NotFound).detail("this server knows no command API"))?;
    let parameters = [("cursor", wanted.cursor.as_deref()), ("status", wanted.status.as_deref())];
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let path = url::with_query(&format!("/v1/webhook-subscriptions/{}/deliveries", url::segment(&id)), given);
    let answer = commands.get(&path, &CallerHeaders::of(&request)).await.map_err(|error| {
        tracing::warn!(%error, "Cannot list the deliveries of a subscriber");
        Problem::new(Code::Unavailable).detail("the command API has not answered")
    })?;
    if answer.status.is_client_error() {
        return Err(Problem::no_such("subscriber").into());
    }
    let page: Deliveries =
        serde_json::from_slice(&answer.body).map_err(|_| Problem::new(Code::Unavailable))?;
    let main = html! {
        div.head {
            h1 { "Webhooks" }
            nav.views aria-label="Views" {
                @for (name, status) in [("All", None), ("Pending", Some("pending")), ("Delivered", Some("delivered")), ("Failed", Some("failed"))] {
                    a.view href=(url::with_query(&view.path, status.map(|status| ("status", status))))
                        aria-current=[(wanted.status.as_deref() == status).then_some("page")] { (name) }
                }
            }
        }
        p { a href="/system#webhooks" { "All subscribers" } }
        @if page.items.is_empty() { p.empty { "No delivery matches." } }
        @else { (table(&view, &id, &page.items)) }
        (pager(&view, page.next_cursor.as_deref()))
    };
    Ok(view.page(Content::new("Webhooks", Section::System, main)))
}

fn table(view: &View, id: &str, deliveries: &[Delivery]) -> Markup {
    html! {
        div.box role="region" aria-label="Deliveries" tabindex="0" {
            table {
                caption.visually-hidden { "Deliveries, the newest first" }
                thead { tr { th { "Queued" } th { "Event" } th { "Order" } th { "State" } th.number { "Attempts" } th { "Last answer" } th { "Next attempt" } td {} } }
                tbody { @for delivery in deliveries { (line(view, id, delivery)) } }
            }
        }
    }
}

fn line(view: &View, id: &str, delivery: &Delivery) -> Markup {
    let tone = match delivery.status.as_str() {
        "delivered" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Busy,
    };
    html! {
        tr {
            td { (short_time(delivery.queued_at, view)) }
            td title=(delivery.event_type) { (event_name(&delivery.event_type)) }
            td { @if let Some(order_id) = delivery.order_id { (order_link(order_id)) } }
            td { (chip(&delivery.status, tone)) }
            td.number { (delivery.attempts) }
            td.wrap {
                @if let Some(status) = delivery.last_status { (status) " " }
                (delivery.last_error.as_deref().unwrap_or_default())
            }
            td { @if let Some(at) = delivery.next_attempt_at { (short_time(at, view)) } }
            td {
                @if view.can(Scope::Admin) {
                    a.button href={ "/system/webhooks/" (url::segment(id)) "/" (url::segment(&delivery.delivery_id)) "/retry" } {
                        "Send again…"
                    }
                }
            }
        }
    }
}

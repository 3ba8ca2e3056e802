//! `/stuck`: what waits too long for an automatic step, and what is parked: why, since when, what to do.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::Timestamp;
use http::request::Parts;
use infra::{
    auth::Scope,
    http::{
        paging::Paging,
        parameters::{FromParameters, Parameters, Params},
    },
    read_models::{ParkedStream, Wait, WaitFilter},
};
use jiff::SignedDuration;
use maud::{Markup, html};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Refused,
    commands::CallerHeaders,
    format::{self, age, event_name, order_link, payment_link, short_time, stream_link},
    layout::{Content, Section},
    orders::pager,
    view::View,
};
use crate::{
    QueryApi,
    stuck::{StuckOrder, Why, read},
};

/// An automatic step takes seconds.
const STUCK_AFTER: SignedDuration = SignedDuration::from_secs(60);

#[derive(Debug)]
pub(super) struct StuckParams {
    paging: Paging,
}

impl FromParameters for StuckParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        Some(Self { paging: Paging::read(parameters)? })
    }
}

/// `GET /stuck`
pub(super) async fn stuck(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Params(StuckParams { paging }): Params<StuckParams>,
    request: Parts,
) -> Result<Response, Refused> {
    let since_before = view.now.checked_sub(STUCK_AFTER).unwrap_or(Timestamp::MIN);
    let filter = WaitFilter { since_before, after: paging.after::<(Timestamp, Uuid, u8)>()? };
    let page = read(&api, &filter, paging.limit).await?;
    let key = |wait: &Wait| (wait.since, wait.id, wait.kind.code());
    let next = paging.listing(&page.waits, page.has_more, |_| (), key).next_cursor;
    let streams = api.query(api.queries.parked_streams()).await?;
    let reactions = parked_reactions(&api, &request).await;
    let main = html! {
        div.head { h1 { "Stuck and parked" } }
        section.panel {
            h2 { "Orders that wait for an automatic step" }
            p.muted { "Each of these steps takes seconds. What waits for people, such as a paid order before its shipment, is not here." }
            div #stuck.box data-live role="region" aria-label="Stuck orders" tabindex="0" {
                @if page.stuck.is_empty() { p.empty { "Nothing waits longer than a minute." } }
                @else { (waits(&view, &page.stuck)) }
            }
            (pager(&view, next.as_deref()))
        }
        section.panel #parked {
            h2 { "Parked streams" }
            p.muted { "A projection could not apply an event of these, so their rows stay as they were. All others go on." }
            @if streams.is_empty() { p.empty { "No stream is parked." } }
            @else { (parked_streams(&view, &streams)) }
        }
        section.panel #reactions {
            h2 { "Parked reactions" }
            p.muted { "What follows from these events has failed several times. It is tried again from time to time." }
            @match reactions {
                Reactions::Unknown => p.muted { "The command API of this platform does not tell now." },
                Reactions::Known(items) if items.is_empty() => p.empty { "No reaction is parked." },
                Reactions::Known(items) => (parked(&view, &items)),
            }
        }
    };
    Ok(view.page(
        Content::new("Stuck", Section::Stuck, main).live("/v1/feed?topic=tiles").json("/v1/orders/stuck"),
    ))
}

fn waits(view: &View, stuck: &[StuckOrder]) -> Markup {
    html! {
        table.cards {
            caption.visually-hidden { "Orders that wait, the longest wait first" }
            thead { tr { th { "Since" } th { "Order" } th { "Payment" } th { "Waits for" } th { "What to do" } } }
            tbody {
                @for one in stuck {
                    @let (what, to_do) = explained(one.why);
                    tr {
                        td data-label="Since" { (short_time(one.since, view)) " " span.muted { (age(one.since, view.now)) } }
                        td data-label="Order" {
                            @if let Some(order_id) = one.order_id { (order_link(order_id)) }
                            @if let Some(status) = one.status { " " (format::order_status(status)) }
                        }
                        td data-label="Payment" {
                            @if let Some(payment_id) = one.payment_id { (payment_link(payment_id)) }
                            @if let Some(state) = one.payment_state { " " (format::payment_state(state)) }
                        }
                        td data-label="Waits for" { (what) }
                        td data-label="What to do" { (to_do) }
                    }
                }
            }
        }
    }
}

/// What an order waits for, and what a person can do.
fn explained(why: Why) -> (&'static str, &'static str) {
    const ROLE: &str =
        "Check that the process manager runs, and whether a reaction of the order is parked below.";
    const PROVIDER: &str = "Check whether the provider answers. Orderly repeats the request until it does.";
    match why {
        Why::Placed => ("the reservation of its stock", ROLE),
        Why::PaymentOverdue => ("its expiry: the payment is overdue", ROLE),
        Why::ReservationOpen => ("the release of its stock: the order has ended", ROLE),
        Why::ProviderCharge => ("the charge at the provider", PROVIDER),
        Why::OutcomeUnknown => (
            "the outcome of a request whose answer was lost",
            "Look the charge up at the provider; if the provider does not know it, settle it by hand.",
        ),
        Why::CapturePending => ("a capture at the provider", PROVIDER),
        Why::VoidPending => ("a void at the provider", PROVIDER),
        Why::RefundPending => ("a refund at the provider", PROVIDER),
    }
}

fn parked_streams(view: &View, streams: &[ParkedStream]) -> Markup {
    html! {
        div.box role="region" aria-label="Parked streams" tabindex="0" {
            table {
                caption.visually-hidden { "Parked streams" }
                thead { tr { th { "Since" } th { "Stream" } th { "Projection" } th.number { "Revision" } th { "Why" } th { "What to do" } } }
                tbody {
                    @for stream in streams {
                        tr {
                            td { (short_time(stream.parked_at, view)) }
                            td { (stream_link(&stream.stream)) }
                            td { (stream.projection) }
                            td.number { (stream.revision) }
                            td.wrap {
                                // The reason may show data of the event.
                                @if view.may(Scope::Audit) { (stream.reason) } @else { "see orderly projections list" }
                            }
                            td { "Repair the cause, then run " code { "orderly projections retry " (stream.stream) } }
                        }
                    }
                }
            }
        }
    }
}

/// A parked reaction, as the command API lists it.
#[derive(Debug, Deserialize)]
struct ParkedReaction {
    stream: domain::StreamName,
    event_id: Uuid,
    event_type: String,
    parked_at: Timestamp,
    attempts: u32,
    next_attempt_at: Timestamp,
    retry_requested: bool,
}

#[derive(Debug, Deserialize)]
struct ParkedReactions {
    items: Vec<ParkedReaction>,
}

enum Reactions {
    /// There is no command API, or it does not answer.
    Unknown,
    Known(Vec<ParkedReaction>),
}

async fn parked_reactions(api: &QueryApi, request: &Parts) -> Reactions {
    let Some(commands) = &api.pages.commands else { return Reactions::Unknown };
    match commands.get("/v1/reactions/parked?limit=50", &CallerHeaders::of(request)).await {
        Ok(answer) => match serde_json::from_slice::<ParkedReactions>(&answer.body) {
            Ok(page) => Reactions::Known(page.items),
            Err(_) => Reactions::Unknown,
        },
        Err(error) => {
            tracing::warn!(%error, "Cannot list the parked reactions; the page is shown without them");
            Reactions::Unknown
        }
    }
}

fn parked(view: &View, reactions: &[ParkedReaction]) -> Markup {
    html! {
        div.box role="region" aria-label="Parked reactions" tabindex="0" {
            table {
                caption.visually-hidden { "Parked reactions" }
                thead { tr { th { "Since" } th { "Stream" } th { "Event" } th.number { "Attempts" } th { "Next attempt" } td {} } }
                tbody {
                    @for reaction in reactions {
                        tr {
                            td { (short_time(reaction.parked_at, view)) }
                            td { (stream_link(&reaction.stream)) }
                            td { (event_name(&reaction.event_type)) }
                            td.number { (reaction.attempts) }
                            td {
                                @if reaction.retry_requested { "now" } @else { (short_time(reaction.next_attempt_at, view)) }
                            }
                            td {
                                @if view.can(Scope::Admin) {
                                    a.button href={ "/stuck/" (reaction.event_id) "/retry" } { "Run again…" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

//! Subscribers of webhooks, as the command API lists them, with what became of the latest deliveries.

use domain::Timestamp;
use futures::{StreamExt, stream};
use http::request::Parts;
use maud::{Markup, html};
use serde::{Deserialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    QueryApi,
    pages::{
        commands::{CallerHeaders, Commands},
        format::{Tone, chip, count, short_time},
        view::View,
    },
};

/// Subscribers whose deliveries are looked at. The page of a subscriber shows those of every one.
const LOOKED_AT: usize = 10;
/// The latest deliveries of each that are looked at.
const DELIVERIES: usize = 50;
/// Requests to the command API at a time.
const AT_A_TIME: usize = 5;

/// A subscriber.
#[derive(Debug, Deserialize)]
pub(super) struct Endpoint {
    subscription_id: Uuid,
    url: String,
    event_types: Vec<String>,
    enabled: bool,
    disabled_reason: Option<String>,
    failing_since: Option<Timestamp>,
    #[serde(skip)]
    latest: Option<Latest>,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

#[derive(Debug, Deserialize)]
struct Delivery {
    status: String,
    attempts: usize,
}

/// What became of the latest deliveries.
#[derive(Debug, Default)]
struct Latest {
    delivered: usize,
    failed: usize,
    pending: usize,
    attempts: usize,
}

/// `None` if the command API does not tell.
pub(super) async fn read(api: &QueryApi, request: &Parts) -> Option<Vec<Endpoint>> {
    let (commands, caller) = (api.pages.commands.as_ref()?, CallerHeaders::of(request));
    let mut endpoints: Vec<Endpoint> = list(commands, &caller, "/v1/webhook-subscriptions?limit=100").await?;
    let paths = endpoints.iter().take(LOOKED_AT).map(|endpoint| {
        format!("/v1/webhook-subscriptions/{}/deliveries?limit={DELIVERIES}", endpoint.subscription_id)
    });
    let deliveries = stream::iter(paths.collect::<Vec<_>>())
        .map(|path| {
            let caller = &caller;
            async move { list::<Delivery>(commands, caller, &path).await }
        })
        .buffered(AT_A_TIME)
        .collect::<Vec<_>>()
        .await;
    for (endpoint, deliveries) in endpoints.iter_mut().zip(deliveries) {
        endpoint.latest = deliveries.map(|deliveries| Latest::of(&deliveries));
    }
    Some(endpoints)
}

async fn list<T: DeserializeOwned>(
    commands: &Commands,
    caller: &CallerHeaders,
    path: &str,
) -> Option<Vec<T>> {
    match commands.get(path, caller).await {
        Ok(answer) => serde_json::from_slice::<Page<T>>(&answer.body).ok().map(|page| page.items),
        Err(error) => {
            tracing::warn!(%error, path, "Cannot list webhooks; the page is shown without them");
            None
        }
    }
}

impl Latest {
    fn of(deliveries: &[Delivery]) -> Self {
        let mut latest = Self::default();
        for delivery in deliveries {
            latest.attempts += delivery.attempts;
            match delivery.status.as_str() {
                "delivered" => latest.delivered += 1,
                "failed" => latest.failed += 1,
                _ => latest.pending += 1,
            }
        }
        latest
    }

    /// The share of those that ended, in percent. `None` if none has ended.
    fn success(&self) -> Option<usize> {
        (self.delivered * 100).checked_div(self.delivered + self.failed)
    }
}

pub(super) fn panel(view: &View, endpoints: Option<&[Endpoint]>) -> Markup {
    html! {
        section.panel #webhooks {
            h2 { "Webhooks" }
            @match endpoints {
                None => p.muted { "The command API of this platform does not tell now." },
                Some([]) => p.empty { "Nobody subscribes to events." },
                Some(endpoints) => (table(view, endpoints)),
            }
        }
    }
}

fn table(view: &View, endpoints: &[Endpoint]) -> Markup {
    html! {
        p.muted { "Of the latest " (DELIVERIES) " deliveries to each." }
        div.box role="region" aria-label="Subscribers of webhooks" tabindex="0" {
            table.cards {
                caption.visually-hidden { "Subscribers of webhooks" }
                thead {
                    tr {
                        th { "Receiver" } th { "State" } th.number { "Success" } th.number { "Delivered" }
                        th.number { "Failed" } th.number { "Pending" } th.number { "Attempts" } th { "Events" }
                    }
                }
                tbody { @for endpoint in endpoints { (line(view, endpoint)) } }
            }
        }
    }
}

fn line(view: &View, endpoint: &Endpoint) -> Markup {
    let number = |of: fn(&Latest) -> usize| html! { @if let Some(latest) = &endpoint.latest { (count(of(latest))) } @else { "–" } };
    html! {
        tr {
            td.wrap data-label="Receiver" {
                a href={ "/system/webhooks/" (endpoint.subscription_id) } { (endpoint.url) }
            }
            td data-label="State" {
                @if !endpoint.enabled { (chip(endpoint.disabled_reason.as_deref().unwrap_or("disabled"), Tone::Bad)) }
                @else if let Some(since) = endpoint.failing_since {
                    (chip("failing", Tone::Warn)) " since " (short_time(since, view))
                }
                @else { (chip("enabled", Tone::Good)) }
            }
            td.number data-label="Success" {
                @match endpoint.latest.as_ref().and_then(Latest::success) {
                    Some(100) => "100%",
                    Some(percent) => (chip(&format!("{percent}%"), if percent >= 90 { Tone::Warn } else { Tone::Bad })),
                    None => "–",
                }
            }
            td.number data-label="Delivered" { (number(|latest| latest.delivered)) }
            td.number data-label="Failed" { (number(|latest| latest.failed)) }
            td.number data-label="Pending" { (number(|latest| latest.pending)) }
            td.number data-label="Attempts" { (number(|latest| latest.attempts)) }
            td.wrap data-label="Events" { (endpoint.event_types.join(", ")) }
        }
    }
}

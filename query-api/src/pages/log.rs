//! `/log`: the events of the log, the latest first, and new ones as they are recorded.

mod tree;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{
    StreamName, decider::StoredEvent, exchange::ExchangeEvent, order::OrderEvent, payment::PaymentEvent,
    receipt::ReceiptEvent, stock::StockEvent,
};
use infra::{
    event_row::EventRow,
    http::{
        paging::Paging,
        parameters::{FromParameters, Parameters, Params, check_range},
    },
};
use jiff::tz::TimeZone;
use maud::{Markup, html};
use uuid::Uuid;

pub(super) use self::tree::tree;
use super::{
    Refused,
    event::{details, facts, lane},
    format::{event_name, parse_instant, short_time, stream_link, time},
    layout::{Content, Section},
    orders::{filled, pager},
    url,
    view::View,
};
use crate::{
    QueryApi,
    events::{EventsParams, Found, event_types, search},
    log_event::Entry,
};

/// Every type that an event can have, for the list of the filter.
const TYPES: [&[&str]; 5] = [
    OrderEvent::TYPE_NAMES,
    PaymentEvent::TYPE_NAMES,
    StockEvent::TYPE_NAMES,
    ReceiptEvent::TYPE_NAMES,
    ExchangeEvent::TYPE_NAMES,
];

/// The events to list, as a person types them.
#[derive(Debug)]
pub(super) struct LogParams {
    event_type: Vec<String>,
    stream: Option<StreamName>,
    correlation_id: Option<Uuid>,
    actor: Option<String>,
    /// In the time zone of the person, unless it names another one.
    from: Option<String>,
    to: Option<String>,
    paging: Paging,
}

impl FromParameters for LogParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let typed = |text: &str| parse_instant(text, &TimeZone::UTC).map(|_| text.to_owned());
        let (from, to) = (filled(parameters, "from", typed), filled(parameters, "to", typed));
        let instant =
            |text: &Option<String>| text.as_deref().and_then(|text| parse_instant(text, &TimeZone::UTC).ok());
        check_range(parameters, instant(&from), ("to", instant(&to)));
        Some(Self {
            event_type: filled(parameters, "event_type", event_types).unwrap_or_default(),
            stream: filled(parameters, "stream", str::parse),
            correlation_id: filled(parameters, "correlation_id", Uuid::try_parse),
            actor: filled(parameters, "actor", |text| Ok::<_, &str>(text.to_owned())),
            from,
            to,
            paging: Paging::read(parameters)?,
        })
    }
}

impl LogParams {
    fn filter(&self, view: &View) -> EventsParams {
        let instant =
            |text: &Option<String>| text.as_deref().and_then(|text| parse_instant(text, &view.zone).ok());
        EventsParams {
            event_type: self.event_type.clone(),
            stream: self.stream.clone(),
            correlation_id: self.correlation_id,
            actor: self.actor.clone(),
            from: instant(&self.from),
            to: instant(&self.to),
            latest_first: true,
        }
    }
}

/// `GET /log`
pub(super) async fn log(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Params(wanted): Params<LogParams>,
) -> Result<Response, Refused> {
    let (filter, paging) = (wanted.filter(&view), &wanted.paging);
    let after: Option<u64> = paging.after()?;
    let found = api.query(search(&api, &filter, after, paging.limit)).await?;
    let next = paging.cursor_after(found.go_on_after);
    // What is older, or ended before now, does not change.
    let is_tail = after.is_none() && filter.to.is_none();
    let main = html! {
        div.head {
            h1 { "Log" }
            @if is_tail {
                button #pause type="button" hidden { "Pause" }
                p.muted { "New events appear at the top." }
            }
        }
        (filters(&wanted))
        (list(&view, &found))
        (pager(&view, next.as_deref()))
    };
    let content = Content::new("Log", Section::Log, main).json(json(&filter));
    if !is_tail {
        return Ok(view.page(content));
    }
    let feed = match &filter.stream {
        Some(stream) => url::with_query("/v1/feed", [("stream", stream.to_string().as_str())]),
        None => "/v1/feed?topic=tiles".to_owned(),
    };
    Ok(view.page(content.live(feed)))
}

/// The same events for programs, with exact instants.
fn json(filter: &EventsParams) -> String {
    let text = |value: Option<String>| value.unwrap_or_default();
    let parameters = [
        ("latest_first", "true".to_owned()),
        ("event_type", filter.event_type.join(",")),
        ("stream", text(filter.stream.as_ref().map(ToString::to_string))),
        ("correlation_id", text(filter.correlation_id.map(|id| id.to_string()))),
        ("actor", text(filter.actor.clone())),
        ("from", text(filter.from.map(|at| at.to_string()))),
        ("to", text(filter.to.map(|at| at.to_string()))),
    ];
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    url::with_query("/v1/events", given.map(|(name, value)| (*name, value.as_str())))
}

fn filters(wanted: &LogParams) -> Markup {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let (stream, correlation) = (wanted.stream.as_ref(), wanted.correlation_id);
    html! {
        form.filters action="/log" aria-label="Filters" {
            label {
                span { "Event type" }
                input name="event_type" list="types" size="18" spellcheck="false" value=(wanted.event_type.join(","));
            }
            datalist #types { @for name in TYPES.into_iter().flatten() { option value=(name); } }
            label {
                span { "Stream" }
                input name="stream" size="16" placeholder="stock-85123A" spellcheck="false"
                    value=(stream.map(ToString::to_string).unwrap_or_default());
            }
            label {
                span { "Correlation" }
                input name="correlation_id" size="12" spellcheck="false"
                    value=(correlation.map(|id| id.to_string()).unwrap_or_default());
            }
            label { span { "By" } input name="actor" size="8" spellcheck="false" value=(text(wanted.actor.as_deref())); }
            label { span { "From" } input type="datetime-local" step="1" name="from" value=(text(wanted.from.as_deref())); }
            label { span { "before" } input type="datetime-local" step="1" name="to" value=(text(wanted.to.as_deref())); }
            button { "Filter" }
        }
    }
}

fn list(view: &View, found: &Found) -> Markup {
    html! {
        section.panel #events data-live {
            h2.visually-hidden { "Events, the latest first" }
            @if found.events.is_empty() { p.empty { "No event matches." } }
            @else { ol.events data-list { @for entry in &found.events { (line(view, entry)) } } }
            // A request looks at a bounded number of events.
            @if let (Some(until), true) = (found.searched_until, found.go_on_after.is_some()) {
                p.muted { "The log was looked at back to " (time(until, view)) ". The next page looks further back." }
            }
        }
    }
}

fn line(view: &View, entry: &Entry) -> Markup {
    let row = entry.row();
    let lane = lane(row.stream);
    html! {
        li class={ "event linked " (lane.class()) } id={ "p" (row.position) } {
            span.of { (stream_link(row.stream)) }
            details data-key=(row.event_id) {
                summary {
                    span.lane { (lane.name()) }
                    (in_short(view, &row))
                }
                (details(&row, row.causation_id.map(|cause| caused_by(&row, &cause.to_string()))))
            }
        }
    }
}

/// What happened, by whom and when.
fn in_short(view: &View, row: &EventRow<'_>) -> Markup {
    html! {
        strong { (event_name(row.event_type)) }
        span.facts { (facts(&row.data.to_value(), None)) }
        span.spring {}
        @if let Some(sender) = row.person.or(row.principal) { span.muted { (sender) } }
        (short_time(row.recorded_at, view))
    }
}

/// The tree that the event and its cause belong to.
fn caused_by(row: &EventRow<'_>, cause: &str) -> Markup {
    html! {
        @match row.correlation_id {
            Some(correlation) => a.id href={ "/log/" (correlation) "?around=" (row.position) } { (cause) },
            None => span.id { (cause) },
        }
    }
}

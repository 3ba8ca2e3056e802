//! The timeline of an order: lanes with arrows from causes, and every event with its command and its JSON.

use std::collections::HashMap;

use domain::{Currency, EventId, Position, StreamName};
use infra::read_models::OrderRow;
use maud::{Markup, html};
use serde_json::Value;

use super::Shown;
use crate::{
    QueryApi,
    error::QueryError,
    pages::{
        format::{self, short_time, stream_link},
        lanes::{self, Dot, Lane},
        view::View,
    },
    timeline::{self, Timeline, TimelineEvent},
};

/// Events of one page. An order of one line has about 12.
const EVENTS_MAX: usize = 100;
/// The members of events that their lines show. The JSON has all of them.
const SHOWN: [&str; 9] = [
    "quantity",
    "amount",
    "captured",
    "refunded",
    "refund_amount",
    "reason",
    "carrier",
    "tracking_number",
    "note",
];

/// The timeline as far as it can be shown.
pub(super) enum Part {
    NotAllowed,
    Unreachable(QueryError),
    Read { timeline: Timeline, is_first: bool },
}

/// Reads the events after a position. The rest of the page does not need them, so a log that cannot be read is no
/// error of the page.
pub(super) async fn read(api: &QueryApi, row: &OrderRow, after: Option<Position>) -> Part {
    match timeline::read(api, row, after, EVENTS_MAX).await {
        Ok(timeline) => Part::Read { timeline, is_first: after.is_none() },
        Err(error) => Part::Unreachable(error),
    }
}

pub(super) fn section(view: &View, shown: &Shown, part: &Part) -> Markup {
    html! {
        section.panel #timeline data-live {
            h2 { "Timeline" }
            @match part {
                Part::NotAllowed => p.muted { "Who did what is shown to callers with the scope " code { "audit" } "." },
                Part::Unreachable(error) => {
                    (log_failure(error))
                    p.notice.warn { "The event log cannot be read now, so the timeline is missing." }
                },
                Part::Read { timeline, is_first } => (events(view, shown, timeline, *is_first)),
            }
        }
    }
}

fn log_failure(error: &QueryError) -> Markup {
    tracing::warn!(%error, "Cannot read a timeline; its page is shown without it");
    html! {}
}

fn events(view: &View, shown: &Shown, timeline: &Timeline, is_first: bool) -> Markup {
    let events: Vec<TimelineEvent<'_>> = timeline.entries.iter().map(|entry| timeline.event(entry)).collect();
    let list = List::of(view, shown, &events);
    let dots: Vec<Dot> = events.iter().map(|event| list.dot(event)).collect();
    let last = events.last().map(|event| event.position);
    html! {
        @if !is_first { p { a href={ "/orders/" (shown.id) } { "From the first event" } } }
        (lanes::lanes(&dots))
        ol.events { @for (number, event) in (1..).zip(&events) { (list.line(number, event)) } }
        @if let Some(last) = last.filter(|_| timeline.has_more) {
            p { a.button href={ "/orders/" (shown.id) "?after=" (last) "#timeline" } { "Later events" } }
        }
    }
}

fn lane(stream: &StreamName) -> Lane {
    match stream {
        StreamName::Order(_) | StreamName::Exchange(_) => Lane::Order,
        StreamName::Payment(_) => Lane::Payment,
        StreamName::Stock(_) | StreamName::Receipt(_) => Lane::Stock,
    }
}

/// What the events of a page have in common.
struct List<'a> {
    view: &'a View,
    currency: Option<Currency>,
    /// The numbers of the events on the page, from 1.
    numbers: HashMap<EventId, usize>,
    /// The last event that the shown state contains, if it is an earlier one.
    until: Option<Position>,
}

impl<'a> List<'a> {
    fn of(view: &'a View, shown: &Shown, events: &[TimelineEvent<'_>]) -> Self {
        let numbers = (1..).zip(events).map(|(number, event)| (event.event_id, number)).collect();
        let is_last = |event: &&TimelineEvent<'_>| {
            *event.stream == StreamName::Order(shown.id) && event.revision == shown.revision
        };
        let until = events.iter().find(is_last).filter(|_| shown.is_past()).map(|event| event.position);
        Self { view, currency: shown.order.currency(), numbers, until }
    }

    fn is_later(&self, event: &TimelineEvent<'_>) -> bool {
        self.until.is_some_and(|until| event.position > until)
    }

    /// The number of the event's cause, if it is on the page.
    fn cause(&self, event: &TimelineEvent<'_>) -> Option<usize> {
        event.cause.as_ref().and_then(|cause| self.numbers.get(&cause.event_id)).copied()
    }

    fn dot(&self, event: &TimelineEvent<'_>) -> Dot {
        Dot {
            lane: lane(event.stream),
            title: format::event_name(event.type_name),
            cause: self.cause(event),
            is_later: self.is_later(event),
        }
    }

    fn line(&self, number: usize, event: &TimelineEvent<'_>) -> Markup {
        let later = if self.is_later(event) { " later" } else { "" };
        let lane = lane(event.stream);
        html! {
            li class={ "event " (lane.class()) (later) } id={ "e" (number) } {
                details data-key=(event.event_id) {
                    summary {
                        span.number.muted { (number) }
                        span.lane { (lane.name()) }
                        strong { (format::event_name(event.type_name)) }
                        @if lane == Lane::Stock { " " (event.stream.to_string().trim_start_matches("stock-")) }
                        span.facts { (facts(&event.data, self.currency)) }
                        span.spring {}
                        @if let Some(cause) = self.cause(event) { span.muted { "because of " (cause) } }
                        (short_time(event.recorded_at, self.view))
                    }
                    (self.details(event))
                }
            }
        }
    }

    fn details(&self, event: &TimelineEvent<'_>) -> Markup {
        let json = serde_json::to_string_pretty(&event.data).unwrap_or_default();
        html! {
            dl.facts {
                dt { "Event" } dd.id.wrap { (event.type_name) " " (event.event_id) }
                dt { "Stream" }
                dd.wrap { (stream_link(event.stream)) ", revision " (event.revision) ", position " (event.position) }
                @if let Some(cause) = self.cause(event) {
                    dt { "Cause" } dd { a href={ "#e" (cause) } { "event " (cause) } }
                }
                @if let Some(command) = event.command { dt { "Command" } dd { (command) } }
                @if let Some(key) = event.idempotency_key { dt { "Idempotency key" } dd.id.wrap { (key) } }
                @if let Some(actor) = &event.actor {
                    dt { "By" }
                    dd { (actor.principal) @if let Some(person) = actor.person { ", " (person) } }
                }
                @if let Some(correlation) = event.correlation_id { dt { "Correlation" } dd.id.wrap { (correlation) } }
            }
            pre tabindex="0" { code { (json) } }
        }
    }
}

/// The short members of an event.
fn facts(data: &Value, currency: Option<Currency>) -> String {
    let fact = |name: &&str| {
        let of_money = matches!(*name, "amount" | "captured" | "refunded" | "refund_amount");
        match data.get(*name)? {
            Value::Number(number) if of_money => {
                let minor_units = number.as_i64().filter(|units| *units != 0)?;
                let prefix =
                    if *name == "amount" { String::new() } else { format!("{} ", name.replace('_', " ")) };
                Some(format!("{prefix}{}", format::decimal(minor_units.into(), currency)))
            }
            Value::Number(number) => Some(format::several(number.as_u64()?, "unit", "units")),
            Value::String(text) => Some(text.replace('_', " ")),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    };
    SHOWN.iter().filter_map(fact).collect::<Vec<_>>().join(" · ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_short_members_of_an_event_are_shown_in_its_currency() {
        let gbp = "GBP".parse().ok();
        let event = json!({"amount": 1_250, "reason": "too_late", "lines": [1], "captured": 0});
        assert_eq!(facts(&event, gbp), "12.50 · too late");
        assert_eq!(facts(&json!({"quantity": 6}), gbp), "6 units");
        assert_eq!(facts(&json!({"quantity": 1}), gbp), "1 unit");
        assert_eq!(facts(&json!("damaged"), gbp), "");
    }
}

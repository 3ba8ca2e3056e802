//! The timeline of an order: lanes with arrows from causes, and every event with its command and its JSON.

use std::collections::HashMap;

use domain::{Currency, EventId, Position, StreamName};
use infra::{event_row::EventRow, read_models::OrderRow};
use maud::{Markup, html};

use super::Shown;
use crate::{
    QueryApi,
    error::QueryError,
    log_event::Entry,
    pages::{
        event::{details, facts, lane},
        format::{self, short_time},
        lanes::{self, Dot, Lane},
        view::View,
    },
    timeline::{self, Timeline},
};

/// Events of one page. An order of one line has about 12.
const EVENTS_MAX: usize = 100;
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
    let events: Vec<EventRow<'_>> = timeline.entries.iter().map(Entry::row).collect();
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
    fn of(view: &'a View, shown: &Shown, events: &[EventRow<'_>]) -> Self {
        let numbers = (1..).zip(events).map(|(number, event)| (event.event_id, number)).collect();
        let is_last = |event: &&EventRow<'_>| {
            *event.stream == StreamName::Order(shown.id) && event.revision == shown.revision
        };
        let until = events.iter().find(is_last).filter(|_| shown.is_past()).map(|event| event.position);
        Self { view, currency: shown.order.currency(), numbers, until }
    }

    fn is_later(&self, event: &EventRow<'_>) -> bool {
        self.until.is_some_and(|until| event.position > until)
    }

    /// The number of the event's cause, if it is on the page.
    fn cause(&self, event: &EventRow<'_>) -> Option<usize> {
        event.causation_id.and_then(|cause| self.numbers.get(&cause)).copied()
    }

    fn dot(&self, event: &EventRow<'_>) -> Dot {
        Dot {
            lane: lane(event.stream),
            title: format::event_name(event.event_type),
            cause: self.cause(event),
            is_later: self.is_later(event),
        }
    }

    fn line(&self, number: usize, event: &EventRow<'_>) -> Markup {
        let later = if self.is_later(event) { " later" } else { "" };
        let lane = lane(event.stream);
        let cause = self.cause(event);
        let linked = cause.map(|cause| html! { a href={ "#e" (cause) } { "event " (cause) } });
        html! {
            li class={ "event " (lane.class()) (later) } id={ "e" (number) } {
                details data-key=(event.event_id) {
                    summary {
                        span.number.muted { (number) }
                        span.lane { (lane.name()) }
                        strong { (format::event_name(event.event_type)) }
                        @if lane == Lane::Stock { " " (event.stream.to_string().trim_start_matches("stock-")) }
                        span.facts { (facts(&event.data.to_value(), self.currency)) }
                        span.spring {}
                        @if let Some(cause) = cause { span.muted { "because of " (cause) } }
                        (short_time(event.recorded_at, self.view))
                    }
                    (details(event, linked))
                }
            }
        }
    }
}

//! `/log/{correlation}`: what one command has led to, as a tree of causes and effects.

use std::{collections::HashMap, sync::Arc};

use axum::{extract::State, response::Response};
use domain::{Position, StreamName};
use infra::{
    event_row::EventRow,
    http::{
        Problem,
        parameters::{FromParameters, Parameters, Params},
        path::Id,
    },
};
use maud::{Markup, html};
use uuid::Uuid;

use super::{caused_by, in_short};
use crate::{
    QueryApi,
    events::{EventsParams, Found, search, search_around},
    log_event::Entry,
    pages::{
        Refused,
        event::{details, lane},
        format::{event_name, short_id, stream_link, time},
        lanes::{self, Dot},
        layout::{Content, Section},
        view::View,
    },
};

/// Events of one page.
const EVENTS_MAX: usize = 200;

/// The part of the log in which to look.
#[derive(Debug)]
pub(in crate::pages) struct TreeParams {
    /// Where one of the events is: the others are near it.
    around: Option<Position>,
    /// After this position.
    after: Option<Position>,
}

impl FromParameters for TreeParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let position = |text: &str| text.parse().map_err(|_| "is not a position, a whole number from 0");
        let around = parameters.optional("around", position);
        Some(Self { around, after: parameters.optional("after", position) })
    }
}

/// `GET /log/{correlation}`
pub(in crate::pages) async fn tree(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Id(correlation): Id<String>,
    Params(wanted): Params<TreeParams>,
) -> Result<Response, Refused> {
    let correlation = Uuid::try_parse(&correlation).map_err(|_| Problem::no_such("correlation"))?;
    let found = read(&api, correlation, &wanted).await?;
    let rows: Vec<EventRow<'_>> = found.events.iter().map(Entry::row).collect();
    let (tree, later) = (Tree::of(&view, &rows), found.go_on_after.filter(|_| !is_backwards(&wanted)));
    let all = format!("/log?correlation_id={correlation}");
    let main = html! {
        div.head { h1 { "Correlation " span.id { (short_id(correlation)) } } p.muted { (tree.extent()) } }
        section.panel {
            h2 { "Causes and effects" }
            @if rows.is_empty() { p.empty { "No event of it is in the part of the log that was looked at." } }
            @else {
                (lanes::lanes(&tree.dots()))
                ul.tree { @for root in &tree.roots { (tree.node(*root)) } }
            }
            @if let (Some(until), Some(after)) = (found.searched_until, later) {
                p.muted { "The log was looked at until " (time(until, &view)) "." }
                p { a.button href={ "/log/" (correlation) "?after=" (after) } { "Look further on" } }
            }
            p { a href=(all) { "All its events as a list" } }
        }
    };
    let json = format!("/v1/events?correlation_id={correlation}");
    let title = format!("Correlation {}", short_id(correlation));
    Ok(view.page(Content::new(title, Section::Log, main).json(json)))
}

fn is_backwards(wanted: &TreeParams) -> bool {
    wanted.around.is_none() && wanted.after.is_none()
}

/// Events of a correlation, in the order of the log. The log has no index of correlations, so a bounded part of it is
/// looked at: around a position, after one, or at the end.
async fn read(api: &QueryApi, correlation: Uuid, wanted: &TreeParams) -> Result<Found, Refused> {
    let correlation_id = Some(correlation);
    let latest_first = is_backwards(wanted);
    let filter = EventsParams { correlation_id, latest_first, ..EventsParams::default() };
    let reading = async {
        match wanted.around {
            Some(position) => search_around(api, &filter, position, EVENTS_MAX).await,
            None => search(api, &filter, wanted.after, EVENTS_MAX).await,
        }
    };
    let mut found = api.query(reading).await?;
    if latest_first {
        found.events.reverse();
    }
    Ok(found)
}

/// Events by their causes. Each has a number, from 1, in the order of the log.
struct Tree<'a> {
    view: &'a View,
    rows: &'a [EventRow<'a>],
    /// The index of the cause of each, if it is on the page.
    causes: Vec<Option<usize>>,
    /// The indices of the effects of each.
    effects: Vec<Vec<usize>>,
    roots: Vec<usize>,
}

impl<'a> Tree<'a> {
    fn of(view: &'a View, rows: &'a [EventRow<'a>]) -> Self {
        let known: HashMap<_, _> = (0..).zip(rows).map(|(index, row)| (row.event_id, index)).collect();
        let (mut causes, mut effects, mut roots) = (Vec::new(), vec![Vec::new(); rows.len()], Vec::new());
        for (index, row) in (0..).zip(rows) {
            // The log has a cause before its effects, so no event is below itself.
            let cause = row.causation_id.and_then(|cause| known.get(&cause).copied());
            let cause = cause.filter(|cause: &usize| *cause < index);
            match cause {
                Some(cause) => effects[cause].push(index),
                None => roots.push(index),
            }
            causes.push(cause);
        }
        Self { view, rows, causes, effects, roots }
    }

    fn dots(&self) -> Vec<Dot> {
        let dot = |(row, cause): (&EventRow<'_>, &Option<usize>)| Dot {
            lane: lane(row.stream),
            title: event_name(row.event_type),
            cause: cause.map(|index| index + 1),
            is_later: false,
        };
        self.rows.iter().zip(&self.causes).map(dot).collect()
    }

    /// "5 events in 12 ms".
    fn extent(&self) -> String {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else {
            return String::new();
        };
        let lasted = last.recorded_at.duration_since(first.recorded_at);
        let lasted = match lasted.as_secs() {
            0 => format!("{} ms", lasted.as_millis()),
            seconds => format!("{seconds} s"),
        };
        match self.rows.len() {
            1 => "1 event".to_owned(),
            count => format!("{count} events in {lasted}"),
        }
    }

    fn node(&self, index: usize) -> Markup {
        let (row, number) = (&self.rows[index], index + 1);
        let lane = lane(row.stream);
        let is_elsewhere = row.causation_id.is_some() && self.causes[index].is_none();
        let cause = row.causation_id.map(|cause| match self.causes[index] {
            Some(cause) => html! { a href={ "#e" (cause + 1) } { "event " (cause + 1) } },
            None => caused_by(row, &cause.to_string()),
        });
        html! {
            li {
                div class={ "event linked " (lane.class()) } id={ "e" (number) } {
                    span.of { (link(row.stream)) }
                    details {
                        summary {
                            span.number.muted { (number) }
                            span.lane { (lane.name()) }
                            (in_short(self.view, row))
                            @if is_elsewhere { span.muted { "its cause is not on this page" } }
                        }
                        (details(row, cause))
                    }
                }
                @if !self.effects[index].is_empty() {
                    ul { @for effect in &self.effects[index] { (self.node(*effect)) } }
                }
            }
        }
    }
}

/// An order leads to its timeline, which leads back here.
fn link(stream: &StreamName) -> Markup {
    match stream {
        StreamName::Order(id) => {
            html! { a href={ "/orders/" (id) "#timeline" } { "order " (short_id(id)) } }
        }
        StreamName::Payment(_) | StreamName::Stock(_) | StreamName::Receipt(_) | StreamName::Exchange(_) => {
            stream_link(stream)
        }
    }
}

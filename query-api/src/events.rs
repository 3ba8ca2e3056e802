//! `/v1/events`: the events of the log, by type, stream, correlation, actor and time.
//!
//! The log has an index of streams and finds times by a search. Every other filter looks at each event: a request
//! looks at a bounded number of them, and its cursor goes on from there.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{Position, RecordedEvent, Revision, StreamName, Timestamp};
use infra::{
    event_store::{EventLog, ReadError},
    http::{
        Failure,
        answers::ListProblems,
        paging::Paging,
        parameters::{FromParameters, Parameters, Params, check_range, instant, one_of},
    },
    read_models::{Direction, OrderFilter, OrderSort},
};
use serde::Serialize;
use serde_json::Value;
use tokio::time;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    QueryApi,
    log_event::{Entry, LogEvent},
    stream_time,
};

/// Events of one read.
const EVENTS_PER_READ: usize = 1_000;
/// Events that one request looks at.
const EVENTS_PER_REQUEST: usize = 10_000;
/// Events before a position in which its correlation can begin. A command that was parked, or waited for a provider, may
/// have begun further back.
const EVENTS_BEFORE: usize = 2_000;
/// Time limit for the search for an instant. The event store remembers what it has passed, so the next request goes on.
const SEARCH_MAX: Duration = Duration::from_secs(5);
/// Event types of one request.
const TYPES_MAX: usize = 32;

/// The events to list.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventsParams {
    /// Only events of these types, separated by commas, such as `order.placed.v2,order.cancelled.v2`.
    #[param(value_type = Option<String>)]
    pub(crate) event_type: Vec<String>,
    /// Only events of this stream, such as `order-UUID`, `payment-UUID` or `stock-SKU`.
    #[param(value_type = Option<String>)]
    pub(crate) stream: Option<StreamName>,
    /// Only events of this chain of commands.
    #[param(value_type = Option<Uuid>)]
    pub(crate) correlation_id: Option<Uuid>,
    /// Only events of commands of this principal, or for this person.
    pub(crate) actor: Option<String>,
    /// Only events recorded at this instant or later: RFC 3339, or a date, which means its midnight in UTC.
    #[param(value_type = Option<String>)]
    pub(crate) from: Option<Timestamp>,
    /// Only events recorded before this instant.
    #[param(value_type = Option<String>)]
    pub(crate) to: Option<Timestamp>,
    /// `true`: the latest event first.
    #[param(value_type = Option<bool>)]
    pub(crate) latest_first: bool,
}

/// A page of the events to list.
#[derive(Debug)]
pub struct WantedPage {
    filter: EventsParams,
    paging: Paging,
}

impl FromParameters for WantedPage {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let event_type = parameters.optional("event_type", event_types).unwrap_or_default();
        let stream = parameters.optional("stream", str::parse);
        let correlation_id = parameters.optional("correlation_id", Uuid::try_parse);
        let actor = parameters.optional("actor", |text| Ok::<_, &str>(text.to_owned()));
        let from = parameters.optional("from", instant);
        let to = parameters.optional("to", instant);
        check_range(parameters, from, ("to", to));
        let latest_first =
            parameters.optional("latest_first", |text| one_of(text, &[true], |_| "true")).is_some();
        let filter = EventsParams { event_type, stream, correlation_id, actor, from, to, latest_first };
        Some(Self { filter, paging: Paging::read(parameters)? })
    }
}

pub(crate) fn event_types(text: &str) -> Result<Vec<String>, String> {
    let types: Vec<String> = text.split(',').map(str::to_owned).collect();
    if types.len() > TYPES_MAX || types.iter().any(String::is_empty) {
        return Err(format!("is not a list of 1 to {TYPES_MAX} event types, separated by commas"));
    }
    Ok(types)
}

/// A part of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage<'a> {
    items: Vec<LogEvent<'a>>,
    /// Pass it as `cursor` for the events that follow. Null at the end.
    next_cursor: Option<String>,
    /// Up to here the log was looked at: when the last event was recorded that this answer includes or leaves out.
    #[schema(value_type = Option<String>, format = "date-time")]
    searched_until: Option<Timestamp>,
}

/// Events of the log, in its order
///
/// `stream`, `from` and `to` are found at once. For the other filters, a request looks at up to 10,000 events: its
/// page can be empty and still have a `next_cursor`.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "listEvents", tag = "events",
    params(EventsParams, Paging),
    responses((status = 200, description = "A page.", body = EventPage), ListProblems),
)]
pub async fn events(
    State(api): State<Arc<QueryApi>>,
    Params(WantedPage { filter, paging }): Params<WantedPage>,
) -> Result<Response, Failure<ListProblems>> {
    let after: Option<u64> = paging.after()?;
    let searching = search(&api, &filter, after, paging.limit);
    let Found { events, go_on_after, searched_until } = api.query(searching).await?;
    let items = events.iter().map(|entry| LogEvent::of(entry.row())).collect();
    let next_cursor = paging.cursor_after(go_on_after);
    Ok(Json(EventPage { items, next_cursor, searched_until }).into_response())
}

/// What a request has found.
#[derive(Debug)]
pub(crate) struct Found {
    pub events: Vec<Entry>,
    /// `None` at the end.
    pub go_on_after: Option<u64>,
    pub searched_until: Option<Timestamp>,
}

/// Where a search is. Keys are revisions within a stream, else positions.
enum Place<'a> {
    /// From this revision on.
    Stream(&'a StreamName, Revision),
    /// Before this revision, the latest event first.
    StreamBack(&'a StreamName, Revision),
    /// After this position.
    Log(Option<Position>),
    /// Before this position, the latest event first.
    LogBack(Option<Position>),
}

impl<'a> Place<'a> {
    /// `key`: of the last event of the page before.
    async fn begin(
        api: &QueryApi,
        log: &dyn EventLog,
        wanted: &'a EventsParams,
        key: Option<u64>,
    ) -> Result<Self, ReadError> {
        let end = if wanted.latest_first { wanted.to } else { wanted.from };
        Ok(match (&wanted.stream, wanted.latest_first, key) {
            (Some(stream), false, Some(key)) => Self::Stream(stream, key.saturating_add(1)),
            (Some(stream), true, Some(key)) => Self::StreamBack(stream, key),
            (Some(stream), latest_first, None) => {
                let at_end = match (end, latest_first) {
                    (Some(time), _) => stream_time::first_since(log, stream, time).await?,
                    (None, true) => log.last_of(stream).await?.map_or(0, |last| last.revision + 1),
                    (None, false) => 0,
                };
                if latest_first { Self::StreamBack(stream, at_end) } else { Self::Stream(stream, at_end) }
            }
            (None, false, Some(key)) => Self::Log(Some(key)),
            (None, true, Some(key)) => Self::LogBack(Some(key)),
            (None, latest_first, None) => {
                let before = match end {
                    Some(time) => Some(position_before(api, log, time).await?),
                    None => None,
                };
                match (latest_first, before) {
                    (false, before) => Self::Log(before.flatten()),
                    (true, None) => Self::LogBack(None),
                    (true, Some(last)) => Self::LogBack(Some(last.map_or(0, |last| last + 1))),
                }
            }
        })
    }

    async fn read(&self, log: &dyn EventLog, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        match self {
            Self::Stream(stream, from) => log.read_stream(stream, *from, limit).await,
            Self::StreamBack(stream, before) => {
                let from = before.saturating_sub(limit as u64);
                let limit = usize::try_from(before - from).unwrap_or(limit);
                stream_back(log, stream, from, limit).await
            }
            Self::Log(after) => log.read_all(*after, limit).await,
            Self::LogBack(before) => log.read_back(*before, limit).await,
        }
    }

    fn key_of(&self, event: &RecordedEvent) -> u64 {
        match self {
            Self::Stream(..) | Self::StreamBack(..) => event.revision,
            Self::Log(_) | Self::LogBack(_) => event.position,
        }
    }

    fn pass(&mut self, event: &RecordedEvent) {
        match self {
            Self::Stream(_, from) => *from = event.revision + 1,
            Self::StreamBack(_, before) => *before = event.revision,
            Self::Log(after) => *after = Some(event.position),
            Self::LogBack(before) => *before = Some(event.position),
        }
    }
}

/// `limit` events of a stream, the latest first. A read can return fewer than it is asked for.
async fn stream_back(
    log: &dyn EventLog,
    stream: &StreamName,
    from: Revision,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    while events.len() < limit {
        let page = log.read_stream(stream, from + events.len() as u64, limit - events.len()).await?;
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    events.reverse();
    Ok(events)
}

/// The position of the last event before a time.
///
/// EventStoreDB is searched backwards from the nearest event whose time this process knows. A process that has followed
/// nothing knows none, so it reads the last event of the order that changed next after this time.
async fn position_before(
    api: &QueryApi,
    log: &dyn EventLog,
    time: Timestamp,
) -> Result<Option<Position>, ReadError> {
    let searching = async {
        let next = OrderFilter {
            sort: OrderSort::Updated,
            direction: Direction::Asc,
            updated_since: Some(time),
            ..OrderFilter::default()
        };
        match api.queries.orders(&next, 1).await {
            Ok(page) => {
                for row in &page.items {
                    log.read_stream(&row.order_id.into(), row.revision, 1).await?;
                }
            }
            Err(error) => tracing::debug!(%error, "Cannot read where a search of the log may begin"),
        }
        log.position_before(time).await
    };
    let found = time::timeout(SEARCH_MAX, searching).await;
    found.unwrap_or_else(|_| {
        let reason =
            format!("the search for {time} takes more than {SEARCH_MAX:?}; the next request goes on with it");
        Err(ReadError::Unavailable(reason.into()))
    })
}

/// At most `limit` events. `key`: where the page before went on.
pub(crate) async fn search(
    api: &QueryApi,
    wanted: &EventsParams,
    key: Option<u64>,
    limit: usize,
) -> Result<Found, ReadError> {
    let log = api.log.get().await?;
    let mut place = Place::begin(api, log, wanted, key).await?;
    let filter = Filter::of(wanted);
    let is_beyond = |event: &RecordedEvent| {
        if wanted.latest_first {
            wanted.from.is_some_and(|from| event.recorded_at < from)
        } else {
            wanted.to.is_some_and(|to| event.recorded_at >= to)
        }
    };
    let mut found = Found { events: Vec::new(), go_on_after: None, searched_until: None };
    let mut left = EVENTS_PER_REQUEST;
    let per_read = if filter.takes_all() { limit + 1 } else { EVENTS_PER_READ };
    loop {
        let page = place.read(log, per_read.min(left)).await?;
        let Some(last) = page.last() else { return Ok(Found { go_on_after: None, ..found }) };
        place.pass(last);
        left -= page.len();
        for event in page {
            if is_beyond(&event) {
                return Ok(Found { go_on_after: None, ..found });
            }
            let matches = filter.matches(&event);
            if matches && found.events.len() == limit {
                // The page is full, and another one follows it.
                return Ok(found);
            }
            found.searched_until = Some(event.recorded_at);
            found.go_on_after = Some(place.key_of(&event));
            if matches {
                found.events.push(event.into());
            }
        }
        if left == 0 {
            return Ok(found);
        }
    }
}

/// Events in the order of the log, from [`EVENTS_BEFORE`] before a position on.
pub(crate) async fn search_around(
    api: &QueryApi,
    wanted: &EventsParams,
    position: Position,
    limit: usize,
) -> Result<Found, ReadError> {
    let mut before = api.log.get().await?.read_back(Some(position), EVENTS_BEFORE).await?;
    let Some(first) = before.pop() else { return search(api, wanted, None, limit).await };
    let mut found = search(api, wanted, Some(first.position), limit).await?;
    if Filter::of(wanted).matches(&first) {
        found.events.insert(0, first.into());
    }
    Ok(found)
}

/// The filters that look at each event.
struct Filter<'a> {
    wanted: &'a EventsParams,
    /// Texts that the metadata of an event contain if it matches.
    parts: Vec<String>,
}

impl<'a> Filter<'a> {
    fn of(wanted: &'a EventsParams) -> Self {
        let correlation = wanted.correlation_id.map(|id| id.to_string());
        let actor = wanted.actor.as_ref().map(|name| Value::from(name.as_str()).to_string());
        Self { wanted, parts: [correlation, actor].into_iter().flatten().collect() }
    }

    fn takes_all(&self) -> bool {
        self.wanted.event_type.is_empty() && self.parts.is_empty()
    }

    fn matches(&self, event: &RecordedEvent) -> bool {
        let Self { wanted, parts } = self;
        let is_of_type =
            wanted.event_type.is_empty() || wanted.event_type.iter().any(|name| **name == *event.type_name);
        if !is_of_type || parts.is_empty() {
            return is_of_type;
        }
        // To decode all metadata would take longer.
        let text = std::str::from_utf8(&event.metadata).unwrap_or_default();
        if !parts.iter().all(|part| text.contains(part.as_str())) {
            return false;
        }
        let Ok(metadata) = event.decode_metadata() else { return false };
        let is_by = |name: &String| {
            let actor = metadata.actor.as_ref();
            actor.is_some_and(|actor| actor.principal == **name || actor.person.as_ref() == Some(name))
        };
        wanted.correlation_id.is_none_or(|id| metadata.correlation_id == id)
            && wanted.actor.as_ref().is_none_or(is_by)
    }
}

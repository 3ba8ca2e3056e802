//! `/v1/orders/{id}/timeline`: every event of an order, of its payments and of its stock, in the order of the
//! log.
//!
//! The events come from the log. Events of the order and its payments are listed up to the revisions of their
//! rows. A read model has the positions of the order's stock events, which lie among those of all other
//! orders.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use axum::{extract::State, response::Response};
use domain::{
    CommandId, EventId, OrderId, PaymentId, Position, RecordedEvent, Revision, StreamName, Timestamp,
    order::Order,
};
use futures::{StreamExt, TryStreamExt, stream};
use infra::{
    event_store::{EventLog, ReadError},
    http::{
        Failure,
        answers::TimelineProblems,
        paging::{Listing, TablePaging},
        parameters::{FromParameters, Parameters, Params},
        path::{Id, NoSuch, PathId},
    },
    read_models::{OrderRow, OrderStockEvent, RowPage},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{QueryApi, error::QueryError, freshness::Freshness, log_event::Entry};

/// Events of one read.
const EVENTS_PER_READ: u64 = 500;
/// Concurrent reads of stock streams for one request.
const STREAMS_AT_ONCE: usize = 8;

/// An event of an order and the command that caused it.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineEvent<'a> {
    #[schema(value_type = String, example = "stock-85123A")]
    stream: &'a StreamName,
    #[schema(value_type = u64)]
    revision: Revision,
    /// Position in the log.
    #[schema(value_type = u64)]
    position: Position,
    #[serde(rename = "type")]
    #[schema(example = "stock.reserved.v1")]
    type_name: &'a str,
    #[schema(value_type = String, format = "date-time")]
    recorded_at: Timestamp,
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// The stored name of the command that recorded it.
    command: Option<&'a str>,
    #[schema(value_type = Option<String>, format = "uuid")]
    command_id: Option<CommandId>,
    /// Shared by all events of a chain: the id of its first command; of an expiry, the id of the order.
    #[schema(value_type = Option<String>, format = "uuid")]
    correlation_id: Option<Uuid>,
    /// The event that the command reacts to. Null for a command of a caller, a timer or a provider's webhook.
    cause: Option<Cause<'a>>,
    /// The key of the caller's command. Null for any other command.
    idempotency_key: Option<&'a str>,
    /// Who sent the command. Null if an earlier build recorded the event.
    actor: Option<TimelineActor<'a>>,
    /// As stored: an object, or a text if the event is damaged.
    #[schema(value_type = Value)]
    data: Value,
}

infra::table_row! {
    TimelineEvent<'_>: position recorded_at stream revision type event_id command command_id correlation_id cause
        idempotency_key actor data
}

/// Who sent a command.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineActor<'a> {
    /// The caller, or the part of Orderly that acts by itself.
    #[schema(example = "shop")]
    pub(crate) principal: &'a str,
    /// The person behind the caller, as `Orderly-Actor` named it.
    pub(crate) person: Option<&'a str>,
}

/// An event that caused others.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventCause)]
pub struct Cause<'a> {
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// Null, like the next two members, if the event is not one of this order.
    #[schema(value_type = Option<String>)]
    stream: Option<&'a StreamName>,
    #[schema(value_type = Option<u64>)]
    revision: Option<Revision>,
    #[serde(rename = "type")]
    type_name: Option<&'a str>,
}

/// The part of a timeline to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TimelineParams {
    #[param(ignore)]
    freshness: Freshness,
    #[param(ignore)]
    paging: TablePaging,
}

impl FromParameters for TimelineParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        Some(Self {
            freshness: <Freshness as FromParameters>::read(parameters)?,
            paging: TablePaging::read(parameters)?,
        })
    }
}

/// Every event of an order, the oldest first
///
/// Events of the order, of its payments, and of stock for the order. They come from the event store: 503
/// `unavailable` if this process cannot reach it. With Kafka, a stock event can appear shortly after an order
/// event that follows it.
#[utoipa::path(
    get, path = "/v1/orders/{id}/timeline", operation_id = "getTimeline", tag = "orders",
    params(("id" = String, Path, format = "uuid"), Freshness, TablePaging),
    responses((status = 200, description = "A page.", body = Listing<TimelineEvent>), TimelineProblems),
)]
pub async fn timeline(
    State(api): State<Arc<QueryApi>>,
    Id(id): Id<OrderId>,
    Params(wanted): Params<TimelineParams>,
) -> Result<Response, Failure<TimelineProblems>> {
    let TimelineParams { freshness, paging } = wanted;
    let after: Option<Position> = paging.after()?;
    let order = freshness.read(&api, id.into(), || api.queries.order(id)).await?;
    let order = order.ok_or(NoSuch(OrderId::RESOURCE))?;
    let read = read(&api, &order, after, paging.limit).await?;
    let place = |entry: &Entry| entry.event.position;
    Ok(paging.respond(&paging.listing(&read.entries, read.has_more, |entry| read.event(entry), place)))
}

/// A part of the timeline of an order.
pub(crate) struct Timeline {
    pub entries: Vec<Entry>,
    pub has_more: bool,
    causes: Causes,
}

impl Timeline {
    fn event<'a>(&'a self, entry: &'a Entry) -> TimelineEvent<'a> {
        TimelineEvent::of(entry, &self.causes)
    }
}

/// At most `limit` events of an order after position `after`.
pub(crate) async fn read(
    api: &QueryApi,
    order: &OrderRow,
    after: Option<Position>,
    limit: usize,
) -> Result<Timeline, QueryError> {
    let id = order.order_id;
    let mut streams: Vec<(StreamName, Revision)> = vec![(id.into(), order.revision)];
    for payment_id in payments_of(id, &order.order) {
        let payment = api.query(api.queries.payment(payment_id)).await?;
        streams.extend(payment.map(|row| (payment_id.into(), row.revision)));
    }
    // Read last: if one projector writes all rows, the stock events are then at least as new as the other
    // rows, and no page skips an event.
    let stock = api.query(api.queries.order_stock_events(id, after, limit)).await?;
    let reading = async {
        let log = api.log.get().await?;
        let mut own = Vec::new();
        for (stream, last) in streams {
            own.extend(read_range(log, &stream, 0, last).await?);
        }
        let causes = Causes::among(&own);
        Ok::<_, ReadError>((causes, page(log, own, stock, after, limit).await?))
    };
    let (causes, page) = api.query(reading).await?;
    let entries = page.items.into_iter().map(Entry::from).collect();
    Ok(Timeline { entries, has_more: page.has_more, causes })
}

/// The payments of an order. The first has events before the row of the order names it.
fn payments_of(id: OrderId, order: &Order) -> Vec<PaymentId> {
    let named = order.tenders().iter().map(|tender| tender.payment_id);
    let first = PaymentId::of_order(id);
    [first].into_iter().chain(named.filter(|named| *named != first)).collect()
}

/// The events of a stream from revision `from` up to `last`.
pub(crate) async fn read_range(
    log: &dyn EventLog,
    stream: &StreamName,
    from: Revision,
    last: Revision,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    loop {
        let next = from + events.len() as u64;
        if next > last {
            return Ok(events);
        }
        let limit = (last + 1 - next).min(EVENTS_PER_READ);
        let read = log.read_stream(stream, next, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
        if read.is_empty() {
            let text = format!("the log lacks event {next} of {stream}, which the read models include");
            return Err(ReadError::Corrupt(text.into()));
        }
        events.extend(read);
    }
}

/// The events after position `after` that fit on the page: from `own`, and the stock events listed in
/// `stock`.
async fn page(
    log: &dyn EventLog,
    own: Vec<RecordedEvent>,
    mut stock: RowPage<OrderStockEvent>,
    after: Option<Position>,
    limit: usize,
) -> Result<RowPage<RecordedEvent>, ReadError> {
    let mut items: Vec<_> = own.into_iter().filter(|event| Some(event.position) > after).collect();
    let own_positions = items.iter().map(|event| event.position);
    let mut positions: Vec<_> = own_positions.chain(stock.items.iter().map(|event| event.position)).collect();
    positions.sort_unstable();
    let has_more = stock.has_more || positions.len() > limit;
    if let Some(last) = positions.get(..limit).and_then(<[_]>::last) {
        items.retain(|event| event.position <= *last);
        stock.items.retain(|event| event.position <= *last);
    }
    let reads = runs(&stock.items).into_iter();
    let reads = reads.map(|run| async move { read_range(log, &run.stream, run.from, run.last).await });
    let read: Vec<Vec<RecordedEvent>> =
        stream::iter(reads).buffer_unordered(STREAMS_AT_ONCE).try_collect().await?;
    items.extend(read.into_iter().flatten());
    items.sort_unstable_by_key(|event| event.position);
    Ok(RowPage { items, has_more })
}

/// Consecutive events of one stream.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    stream: StreamName,
    from: Revision,
    last: Revision,
}

/// Groups events into the fewest reads that return exactly these events.
fn runs(events: &[OrderStockEvent]) -> Vec<Run> {
    let mut by_stream: BTreeMap<_, Vec<Revision>> = BTreeMap::new();
    for event in events {
        by_stream.entry(&event.sku).or_default().push(event.revision);
    }
    let mut runs: Vec<Run> = Vec::new();
    for (sku, mut revisions) in by_stream {
        revisions.sort_unstable();
        for revisions in revisions.chunk_by(|one, next| one + 1 == *next) {
            let last = revisions[revisions.len() - 1];
            runs.push(Run { stream: sku.clone().into(), from: revisions[0], last });
        }
    }
    runs
}

/// The events of the order and its payment, which may cause others. A stock event causes none.
struct Causes(HashMap<EventId, (StreamName, Revision, Arc<str>)>);

impl Causes {
    fn among(events: &[RecordedEvent]) -> Self {
        let known = |event: &RecordedEvent| {
            (event.id, (event.stream.clone(), event.revision, Arc::clone(&event.type_name)))
        };
        Self(events.iter().map(known).collect())
    }

    fn cause(&self, event_id: EventId) -> Cause<'_> {
        let known = self.0.get(&event_id);
        Cause {
            event_id,
            stream: known.map(|(stream, ..)| stream),
            revision: known.map(|(_, revision, _)| *revision),
            type_name: known.map(|(.., type_name)| type_name.as_ref()),
        }
    }
}

impl<'a> TimelineEvent<'a> {
    fn of(entry: &'a Entry, causes: &'a Causes) -> Self {
        let row = entry.row();
        let actor = |principal| TimelineActor { principal, person: row.person };
        Self {
            stream: row.stream,
            revision: row.revision,
            position: row.position,
            type_name: row.event_type,
            recorded_at: row.recorded_at,
            event_id: row.event_id,
            command: row.command,
            command_id: row.command_id,
            correlation_id: row.correlation_id,
            cause: row.causation_id.map(|event_id| causes.cause(event_id)),
            idempotency_key: row.idempotency_key,
            actor: row.principal.map(actor),
            data: row.data.to_value(),
        }
    }
}

#[cfg(test)]
mod tests;

//! Numbers the events of an order, across the streams of the order and its payments.
//!
//! The number of an event is its place in the log among all events of the order and its payments. So it is the
//! same for every subscriber, at every replay and after pruning. It does not depend on the sequence in which
//! these events arrive from two topics.
//!
//! A stream that cannot be read leaves only the events of its order without a number. Each attempt to deliver
//! such an event reads the stream again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use domain::{
    EventId, OrderId, PaymentId, Position, RecordedEvent, StreamName,
    order::{OrderEvent, OrderEventKind},
};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use infra::{
    event_store::{EventLog, ReadError},
    operations::webhooks::{EventSequence, NewDelivery, OrderPlace, Subscription},
};
use serde::Deserialize;
use uuid::Uuid;

/// Events of a stream per read.
const PAGE_EVENTS: usize = 1_000;
/// Orders that are read concurrently.
const LOOKUPS_MAX: usize = 16;

/// Why the events of an order have no numbers now. Other orders are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreadable(pub String);

/// The outcome of reading a stream of one order. The outer error is a failure of the whole store.
type OfOrder<T> = Result<Result<T, Unreadable>, ReadError>;

/// An event with the subscriptions that get it.
pub(crate) type Wanted<'a> = (&'a RecordedEvent, Vec<&'a Subscription>);

/// True for streams whose events are sent to subscribers.
pub(crate) fn is_sent(stream: &StreamName) -> bool {
    match stream {
        StreamName::Order(_) | StreamName::Payment(_) => true,
        StreamName::Stock(_) | StreamName::Receipt(_) | StreamName::Exchange(_) => false,
    }
}

/// The events of an order and its payments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OrderHistory {
    /// Types by position.
    types: BTreeMap<Position, Arc<str>>,
    /// Events from the first damaged one on have no numbers.
    damaged: Option<(Position, Unreadable)>,
}

impl OrderHistory {
    /// Adds an event.
    fn put(&mut self, event: RecordedEvent) {
        let is_first = self.damaged.as_ref().is_none_or(|(first, _)| event.position < *first);
        if is_first && let Err(error) = event.check() {
            self.damaged = Some((event.position, Unreadable(error.to_string())));
        }
        self.types.insert(event.position, event.type_name);
    }

    /// The number of the event at `position`, and the number before it that the subscription asks for.
    fn sequence(&self, position: Position, subscription: &Subscription) -> Result<EventSequence, Unreadable> {
        if let Some((_, damage)) = self.damaged.as_ref().filter(|(first, _)| *first <= position) {
            return Err(damage.clone());
        }
        let (mut number, mut previous) = (0, None);
        for (at, type_name) in self.types.range(..=position) {
            number += 1;
            if *at == position {
                return Ok(EventSequence { number, previous });
            }
            if subscription.event_types.matches(type_name) {
                previous = Some(number);
            }
        }
        Err(Unreadable(format!("its streams lack the event at position {position}")))
    }
}

/// The deliveries of these events, in their order.
pub(crate) async fn deliveries(
    log: &dyn EventLog,
    wanted: Vec<Wanted<'_>>,
) -> Result<Vec<NewDelivery>, ReadError> {
    let orders = orders_of(log, &wanted).await?;
    let histories = histories(log, &wanted, &orders).await?;
    let mut deliveries = Vec::new();
    for (event, wanted_by) in wanted {
        let known = orders.get(&event.stream).and_then(|order| order.as_ref().ok());
        let known = known.and_then(|order| Some((*order, histories.get(order)?.as_ref().ok()?)));
        deliveries.extend(wanted_by.into_iter().map(|subscription| NewDelivery {
            subscription: subscription.id,
            event: id_of(event),
            event_type: event.type_name.to_string(),
            stream: event.stream.clone(),
            revision: event.revision,
            position: event.position,
            recorded_at: event.recorded_at,
            actor: event.decode_metadata().ok().and_then(|metadata| metadata.actor),
            place: known.and_then(|(order, history)| {
                let sequence = history.sequence(event.position, subscription).ok()?;
                Some(OrderPlace { order, sequence })
            }),
        }));
    }
    Ok(deliveries)
}

/// The place of an event among the events of its order, for one subscription.
pub(crate) async fn place(
    log: &dyn EventLog,
    event: &RecordedEvent,
    subscription: &Subscription,
) -> OfOrder<OrderPlace> {
    let order = match find_order(log, &event.stream, Some(event)).await? {
        Ok(order) => order,
        Err(error) => return Ok(Err(error)),
    };
    let history = read_history(log, order, event.position).await?;
    Ok(history.and_then(|history| {
        let sequence = history.sequence(event.position, subscription)?;
        Ok(OrderPlace { order, sequence })
    }))
}

/// The id of an event. A damaged event may have lost it.
fn id_of(event: &RecordedEvent) -> EventId {
    let name = || format!("{}/{}", event.stream, event.revision);
    if event.id.0.is_nil() {
        EventId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name().as_bytes()))
    } else {
        event.id
    }
}

/// The order of each stream of these events.
async fn orders_of(
    log: &dyn EventLog,
    wanted: &[Wanted<'_>],
) -> Result<HashMap<StreamName, Result<OrderId, Unreadable>>, ReadError> {
    // The first event of a stream that is at hand spares a read if it has revision 0.
    let mut first_events: HashMap<&StreamName, &RecordedEvent> = HashMap::new();
    for (event, _) in wanted {
        first_events.entry(&event.stream).or_insert(event);
    }
    let look_up = |(stream, first): (&StreamName, _)| {
        let stream = stream.clone();
        async move {
            let order = find_order(log, &stream, Some(first)).await?;
            Ok::<_, ReadError>((stream, order))
        }
        .boxed()
    };
    let looking: Vec<BoxFuture<'_, _>> = first_events.into_iter().map(look_up).collect();
    stream::iter(looking).buffer_unordered(LOOKUPS_MAX).try_collect().await
}

/// The order of a stream. The first event of a payment names its order. `known` is an event of the stream.
async fn find_order(
    log: &dyn EventLog,
    stream: &StreamName,
    known: Option<&RecordedEvent>,
) -> OfOrder<OrderId> {
    match stream {
        StreamName::Order(order) => return Ok(Ok(*order)),
        StreamName::Payment(_) => {}
        StreamName::Stock(_) | StreamName::Receipt(_) | StreamName::Exchange(_) => {
            return Ok(Err(Unreadable(format!("{stream} belongs to no order"))));
        }
    }
    if let Some(first) = known.filter(|event| event.revision == 0) {
        return Ok(order_of_payment(first));
    }
    Ok(of_order(log.read_stream(stream, 0, 1).await)?.and_then(|read| {
        let missing = || Unreadable(format!("{stream} has no first event"));
        read.first().ok_or_else(missing).and_then(order_of_payment)
    }))
}

/// Reads only the member `order_id`, so it accepts every type of event that can begin a payment.
fn order_of_payment(first: &RecordedEvent) -> Result<OrderId, Unreadable> {
    #[derive(Deserialize)]
    struct FirstEvent {
        order_id: OrderId,
    }
    first.check().map_err(|error| Unreadable(error.to_string()))?;
    let read = serde_json::from_slice::<FirstEvent>(&first.data);
    read.map(|first| first.order_id).map_err(|error| malformed(first, &error))
}

/// The error of a stored event that cannot be parsed.
pub(crate) fn malformed(event: &RecordedEvent, error: &dyn std::fmt::Display) -> Unreadable {
    Unreadable(format!("event {} cannot be parsed: {error}", event.id))
}

/// The histories of the orders of these events, each up to the last of its events.
async fn histories(
    log: &dyn EventLog,
    wanted: &[Wanted<'_>],
    orders: &HashMap<StreamName, Result<OrderId, Unreadable>>,
) -> Result<HashMap<OrderId, Result<OrderHistory, Unreadable>>, ReadError> {
    let mut last_by_order: HashMap<OrderId, Position> = HashMap::new();
    for (event, _) in wanted {
        if let Some(Ok(order)) = orders.get(&event.stream) {
            let last = last_by_order.entry(*order).or_default();
            *last = event.position.max(*last);
        }
    }
    let read = |(order, last)| {
        async move { Ok::<_, ReadError>((order, read_history(log, order, last).await?)) }.boxed()
    };
    let reading: Vec<BoxFuture<'_, _>> = last_by_order.into_iter().map(read).collect();
    stream::iter(reading).buffer_unordered(LOOKUPS_MAX).try_collect().await
}

/// The history of an order up to position `last`.
async fn read_history(log: &dyn EventLog, order: OrderId, last: Position) -> OfOrder<OrderHistory> {
    let mut history = OrderHistory::default();
    let mut streams = OrderStreams::of(order);
    while let Some(stream) = streams.next() {
        let mut next = 0;
        loop {
            let page = match of_order(log.read_stream(&stream, next, PAGE_EVENTS).await)? {
                Ok(page) => page,
                Err(error) => return Ok(Err(error)),
            };
            next += page.len() as u64;
            streams.learn(&page);
            let passed_last = page.last().is_none_or(|event| event.position >= last);
            page.into_iter().take_while(|event| event.position <= last).for_each(|event| history.put(event));
            if passed_last {
                break;
            }
        }
    }
    Ok(Ok(history))
}

/// The streams whose events are numbered together: the order's, and those of its payments.
pub(crate) struct OrderStreams {
    streams: Vec<StreamName>,
    given: usize,
}

impl OrderStreams {
    pub fn of(order: OrderId) -> Self {
        Self { streams: vec![order.into(), PaymentId::of_order(order).into()], given: 0 }
    }

    pub fn next(&mut self) -> Option<StreamName> {
        let next = self.streams.get(self.given).cloned();
        self.given += usize::from(next.is_some());
        next
    }

    /// Adds the payments that events of the order name. A damaged event names none: events after it have no numbers.
    pub fn learn(&mut self, events: &[RecordedEvent]) {
        let naming = [OrderEventKind::Allocated, OrderEventKind::PaymentAdded].map(Some);
        let is_naming =
            |event: &&RecordedEvent| naming.contains(&OrderEventKind::of_type_name(&event.type_name));
        for event in events.iter().filter(is_naming) {
            let payments = match event.decode_as::<OrderEvent>() {
                Ok(OrderEvent::Allocated(allocated)) => {
                    allocated.payments.into_iter().map(|payment| payment.payment_id).collect()
                }
                Ok(OrderEvent::PaymentAdded(added)) => vec![added.payment_id],
                Ok(_) | Err(_) => Vec::new(),
            };
            for stream in payments.into_iter().map(StreamName::from) {
                if !self.streams.contains(&stream) {
                    self.streams.push(stream);
                }
            }
        }
    }
}

/// Separates damage of one stream from a store that cannot be read now.
pub(crate) fn of_order<T>(read: Result<T, ReadError>) -> OfOrder<T> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(error @ ReadError::Corrupt(_)) => Ok(Err(Unreadable(error.to_string()))),
        Err(error @ (ReadError::Unavailable(_) | ReadError::WentBack(_))) => Err(error),
    }
}

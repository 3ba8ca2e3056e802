//! Numbers the events of an order, across the streams of the order and its payment.
//!
//! The number of an event is its place in the log among all events of the order and its payment. So it is the
//! same for every subscriber, at every replay and after pruning. It does not depend on the sequence in which
//! these events arrive from two topics.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use domain::{EventId, OrderId, PaymentId, Position, RecordedEvent, StreamName};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use infra::{
    event_store::{EventLog, ReadError},
    operations::webhooks::{EventSequence, NewDelivery, Subscription},
};
use serde::Deserialize;

/// Events of a stream per read.
const PAGE_EVENTS: usize = 1_000;
/// Orders that are read concurrently.
const LOOKUPS_MAX: usize = 16;

/// A stored event that cannot be parsed. It cannot be delivered, and a retry does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {id} cannot be parsed: {reason}")]
pub(crate) struct MalformedEvent {
    pub id: EventId,
    pub reason: String,
}

/// The events of an order and its payment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OrderHistory {
    /// Types by position.
    types: BTreeMap<Position, Arc<str>>,
    /// The position of the first damaged event. It and later events of the order are not sent.
    damaged_at: Option<Position>,
}

impl OrderHistory {
    /// The number of the event at `position`, and the number before it that the subscription asks for.
    fn sequence(&self, position: Position, subscription: &Subscription) -> EventSequence {
        let (mut number, mut previous) = (0, None);
        for (at, type_name) in &self.types {
            number += 1;
            if *at >= position {
                break;
            }
            if subscription.event_types.matches(type_name) {
                previous = Some(number);
            }
        }
        EventSequence { number, previous }
    }
}

/// The numbered deliveries of these events. `wants` decides which subscription gets which event.
pub(crate) async fn deliveries(
    log: &dyn EventLog,
    events: &[RecordedEvent],
    subscriptions: &[Subscription],
    wants: impl Fn(&Subscription, &RecordedEvent) -> bool,
) -> Result<Vec<NewDelivery>, ReadError> {
    // Each event with the subscriptions that get it.
    let mut wanted: Vec<(&RecordedEvent, Vec<&Subscription>)> = Vec::new();
    for event in events.iter().filter(|event| is_reported(&event.stream)) {
        let wanted_by: Vec<_> =
            subscriptions.iter().filter(|subscription| wants(subscription, event)).collect();
        if !wanted_by.is_empty() {
            wanted.push((event, wanted_by));
        }
    }
    let orders = orders_of(log, &wanted.iter().map(|(event, _)| *event).collect::<Vec<_>>()).await?;
    let histories = histories(log, &wanted, &orders).await?;
    let mut deliveries = Vec::new();
    for (event, wanted_by) in wanted {
        let Some(order) = orders.get(&event.stream) else { continue };
        let Some(history) = histories.get(order) else { continue };
        if history.damaged_at.is_some_and(|damaged_at| damaged_at <= event.position) {
            tracing::error!(
                order.id = %order, stream = %event.stream, revision = event.revision,
                "Withheld an event from subscribers, because it or an earlier event of its order is damaged"
            );
            continue;
        }
        deliveries.extend(wanted_by.into_iter().map(|subscription| NewDelivery {
            subscription: subscription.id,
            event: event.id,
            event_type: event.type_name.to_string(),
            stream: event.stream.clone(),
            revision: event.revision,
            position: event.position,
            recorded_at: event.recorded_at,
            order: *order,
            sequence: history.sequence(event.position, subscription),
        }));
    }
    Ok(deliveries)
}

/// True for the streams of orders and payments: webhooks report no other event.
pub(crate) fn is_reported(stream: &StreamName) -> bool {
    match stream {
        StreamName::Order(_) | StreamName::Payment(_) => true,
        StreamName::Stock(_) | StreamName::Receipt(_) => false,
    }
}

/// The order of each stream of these events. The first event of a payment names its order.
async fn orders_of(
    log: &dyn EventLog,
    events: &[&RecordedEvent],
) -> Result<HashMap<StreamName, OrderId>, ReadError> {
    let mut orders = HashMap::new();
    let mut payments: HashMap<&StreamName, Option<&RecordedEvent>> = HashMap::new();
    for event in events {
        match &event.stream {
            StreamName::Order(order) => drop(orders.insert(event.stream.clone(), *order)),
            StreamName::Payment(_) => {
                let first = payments.entry(&event.stream).or_default();
                *first = first.or(Some(*event).filter(|event| event.revision == 0));
            }
            StreamName::Stock(_) | StreamName::Receipt(_) => {}
        }
    }
    let look_up = |(stream, first)| find_order(log, stream, first).boxed();
    let looking: Vec<BoxFuture<'_, _>> = payments.into_iter().map(look_up).collect();
    let mut found = stream::iter(looking).buffer_unordered(LOOKUPS_MAX);
    while let Some((stream, order)) = found.try_next().await? {
        match order {
            Ok(order) => drop(orders.insert(stream, order)),
            Err(error) => {
                tracing::error!(%stream, %error, "Cannot read the order id of a payment; its events are not sent to subscribers");
            }
        }
    }
    Ok(orders)
}

/// The order of a payment. `first` is the first event of its stream, if the caller already has it.
async fn find_order(
    log: &dyn EventLog,
    payment: &StreamName,
    first: Option<&RecordedEvent>,
) -> Result<(StreamName, Result<OrderId, MalformedEvent>), ReadError> {
    let read = match first {
        Some(_) => Vec::new(),
        None => log.read_stream(payment, 0, 1).await?,
    };
    let first = first.or(read.first()).ok_or_else(|| lagging(payment))?;
    Ok((payment.clone(), order_of_payment(first)))
}

/// Reads only the member `order_id`, so it accepts every type of event that can begin a payment.
fn order_of_payment(first: &RecordedEvent) -> Result<OrderId, MalformedEvent> {
    #[derive(Deserialize)]
    struct FirstEvent {
        order_id: OrderId,
    }
    let malformed = |reason: String| MalformedEvent { id: first.id, reason };
    first.check().map_err(|error| malformed(error.to_string()))?;
    let read = serde_json::from_slice::<FirstEvent>(&first.data);
    read.map(|first| first.order_id).map_err(|error| malformed(error.to_string()))
}

/// The histories of the orders of these events, each up to the last of its events.
async fn histories(
    log: &dyn EventLog,
    wanted: &[(&RecordedEvent, Vec<&Subscription>)],
    orders: &HashMap<StreamName, OrderId>,
) -> Result<HashMap<OrderId, OrderHistory>, ReadError> {
    let mut events_by_order: HashMap<OrderId, Vec<&RecordedEvent>> = HashMap::new();
    for (event, _) in wanted {
        if let Some(order) = orders.get(&event.stream) {
            events_by_order.entry(*order).or_default().push(event);
        }
    }
    let read = |(order, events)| read_history(log, order, events).boxed();
    let reading: Vec<BoxFuture<'_, _>> = events_by_order.into_iter().map(read).collect();
    stream::iter(reading).buffer_unordered(LOOKUPS_MAX).try_collect().await
}

/// The history of an order up to the last of `events`.
async fn read_history(
    log: &dyn EventLog,
    order: OrderId,
    events: Vec<&RecordedEvent>,
) -> Result<(OrderId, OrderHistory), ReadError> {
    let last = events.iter().map(|event| event.position).max().unwrap_or_default();
    let mut history = OrderHistory::default();
    for stream in [StreamName::Order(order), PaymentId::of_order(order).into()] {
        let mut next = 0;
        loop {
            let page = log.read_stream(&stream, next, PAGE_EVENTS).await?;
            let read = page.len();
            next += read as u64;
            for event in page.into_iter().take_while(|event| event.position <= last) {
                if event.damage.is_some() {
                    let first = history.damaged_at.map_or(event.position, |at| at.min(event.position));
                    history.damaged_at = Some(first);
                }
                history.types.insert(event.position, event.type_name);
            }
            if read < PAGE_EVENTS {
                break;
            }
        }
    }
    // A read that misses one of the events would give wrong numbers. A retry reads it.
    match events.iter().find(|event| !history.types.contains_key(&event.position)) {
        Some(event) => Err(lagging(&event.stream)),
        None => Ok((order, history)),
    }
}

fn lagging(stream: &StreamName) -> ReadError {
    ReadError::Unavailable(
        format!("{stream} does not yet contain an event that another reader of the log returned").into(),
    )
}

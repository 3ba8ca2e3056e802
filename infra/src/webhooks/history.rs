//! Where an event stands among those of its order.
//!
//! Counted in the log, not by a counter of deliveries: the number of an event is then the same for every subscriber, at
//! every replay and after old deliveries are pruned, and in the order of the log although the events of orders and
//! those of payments may be read from two topics.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use domain::{EventId, OrderId, PaymentId, Position, RecordedEvent, StreamName};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use serde::Deserialize;

use crate::{
    event_store::{EventLog, ReadError},
    operations::webhooks::{NewDelivery, Place, Subscription},
};

/// Events of a stream that are read at a time.
const PAGE_EVENTS: usize = 1_000;
/// Orders that are looked up side by side.
const LOOKUPS_MAX: usize = 16;

/// An event that is not as every event of its kind is: it cannot be delivered, and no waiting changes that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {id} cannot be read: {reason}")]
pub struct MalformedEvent {
    pub id: EventId,
    pub reason: String,
}

/// The events of an order and its payment, by position: what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct History(BTreeMap<Position, Arc<str>>);

impl History {
    fn place(&self, position: Position, subscription: &Subscription) -> Place {
        let (mut sequence, mut previous) = (0, None);
        for (at, type_name) in &self.0 {
            sequence += 1;
            if *at >= position {
                break;
            }
            if subscription.event_types.matches(type_name) {
                previous = Some(sequence);
            }
        }
        Place { sequence, previous }
    }
}

/// The deliveries that these events make, each with its place. `wants` says which subscription gets which event.
pub async fn deliveries(
    log: &dyn EventLog,
    events: &[RecordedEvent],
    subscriptions: &[Subscription],
    wants: impl Fn(&Subscription, &RecordedEvent) -> bool,
) -> Result<Vec<NewDelivery>, ReadError> {
    let mut wanted: Vec<(&RecordedEvent, Vec<&Subscription>)> = Vec::new();
    for event in events.iter().filter(|event| !matches!(event.stream, StreamName::Stock(_))) {
        let by: Vec<_> = subscriptions.iter().filter(|subscription| wants(subscription, event)).collect();
        if !by.is_empty() {
            wanted.push((event, by));
        }
    }
    let orders = orders_of(log, &wanted.iter().map(|(event, _)| *event).collect::<Vec<_>>()).await?;
    let histories = histories(log, &wanted, &orders).await?;
    let mut deliveries = Vec::new();
    for (event, by) in wanted {
        let Some(order) = orders.get(&event.stream) else { continue };
        let Some(history) = histories.get(order) else { continue };
        deliveries.extend(by.into_iter().map(|subscription| NewDelivery {
            subscription: subscription.id,
            event: event.id,
            event_type: event.type_name.to_string(),
            stream: event.stream.clone(),
            revision: event.revision,
            position: event.position,
            recorded_at: event.recorded_at,
            order: *order,
            place: history.place(event.position, subscription),
        }));
    }
    Ok(deliveries)
}

/// Which order each of these streams belongs to. The first event of a payment names it.
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
            StreamName::Stock(_) => {}
        }
    }
    let look_up = |(stream, first)| find_order(log, stream, first).boxed();
    let looking: Vec<BoxFuture<'_, _>> = payments.into_iter().map(look_up).collect();
    let mut found = stream::iter(looking).buffer_unordered(LOOKUPS_MAX);
    while let Some((stream, order)) = found.try_next().await? {
        match order {
            Ok(order) => drop(orders.insert(stream, order)),
            Err(error) => {
                tracing::error!(%stream, %error, "It is not known which order a payment is of; nobody is told of its events");
            }
        }
    }
    Ok(orders)
}

async fn find_order(
    log: &dyn EventLog,
    payment: &StreamName,
    first: Option<&RecordedEvent>,
) -> Result<(StreamName, Result<OrderId, MalformedEvent>), ReadError> {
    let read = match first {
        Some(_) => Vec::new(),
        None => log.read_stream(payment, 0, 1).await?,
    };
    let first = first.or(read.first()).ok_or_else(|| behind(payment))?;
    Ok((payment.clone(), order_of_payment(first)))
}

/// By the name of a member, not by the type: whatever kind of event begins a payment names its order.
fn order_of_payment(first: &RecordedEvent) -> Result<OrderId, MalformedEvent> {
    #[derive(Deserialize)]
    struct First {
        order_id: OrderId,
    }
    let read = serde_json::from_slice::<First>(&first.data);
    read.map(|first| first.order_id)
        .map_err(|error| MalformedEvent { id: first.id, reason: error.to_string() })
}

async fn histories(
    log: &dyn EventLog,
    wanted: &[(&RecordedEvent, Vec<&Subscription>)],
    orders: &HashMap<StreamName, OrderId>,
) -> Result<HashMap<OrderId, History>, ReadError> {
    let mut last: HashMap<OrderId, Vec<&RecordedEvent>> = HashMap::new();
    for (event, _) in wanted {
        if let Some(order) = orders.get(&event.stream) {
            last.entry(*order).or_default().push(event);
        }
    }
    let read = |(order, events)| read_history(log, order, events).boxed();
    let reading: Vec<BoxFuture<'_, _>> = last.into_iter().map(read).collect();
    stream::iter(reading).buffer_unordered(LOOKUPS_MAX).try_collect().await
}

/// Everything of an order up to the last of these events of it.
async fn read_history(
    log: &dyn EventLog,
    order: OrderId,
    events: Vec<&RecordedEvent>,
) -> Result<(OrderId, History), ReadError> {
    let last = events.iter().map(|event| event.position).max().unwrap_or_default();
    let mut history = History::default();
    for stream in [StreamName::Order(order), PaymentId::of_order(order).into()] {
        let mut next = 0;
        loop {
            let page = log.read_stream(&stream, next, PAGE_EVENTS).await?;
            let read = page.len();
            next += read as u64;
            let before = page.into_iter().take_while(|event| event.position <= last);
            history.0.extend(before.map(|event| (event.position, event.type_name)));
            if read < PAGE_EVENTS {
                break;
            }
        }
    }
    // A copy of the log that lags behind would give wrong numbers.
    match events.iter().find(|event| !history.0.contains_key(&event.position)) {
        Some(event) => Err(behind(&event.stream)),
        None => Ok((order, history)),
    }
}

fn behind(stream: &StreamName) -> ReadError {
    ReadError::Unavailable(format!("{stream} ends before an event of it that was read elsewhere").into())
}

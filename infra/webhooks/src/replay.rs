//! Replays: makes the deliveries of past events due again, also of events recorded before the subscription.

use std::sync::Arc;

use domain::{OrderId, RecordedEvent, StreamName, Timestamp};
use infra::{
    event_store::{EventLog, ReadError},
    operations::webhooks::{
        REPLAY_EVENTS_MAX, REPLAY_READ_EVENTS_MAX, REPLAY_TIME_MAX, ReplayError, ReplayScope, Subscription,
    },
};
use tokio::time;

use crate::{
    Webhooks,
    history::{self, OrderStreams},
    queue,
};

/// Events per read.
const PAGE_EVENTS: usize = 1_000;
/// Events whose deliveries are written in one transaction.
const CHUNK_EVENTS: usize = 500;
/// Largest difference between the clocks of the nodes of an event store. The leader changes, so recorded
/// times may go back by this much.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// See [`infra::operations::webhooks::WebhookService::replay`].
pub(crate) async fn replay(
    webhooks: &Webhooks,
    subscription: &Subscription,
    scope: ReplayScope,
    now: Timestamp,
) -> Result<usize, ReplayError> {
    let Webhooks { store, log, .. } = webhooks;
    if queue::free_places(webhooks, subscription.id).await? == 0 {
        return Err(ReplayError::QueueFull);
    }
    let finding = find(&**log, subscription, scope);
    let mut events = time::timeout(REPLAY_TIME_MAX, finding).await.map_err(|_| ReplayError::TooLong)??;
    events.sort_by_key(|event| event.position);
    let mut replayed = 0;
    for chunk in events.chunks(CHUNK_EVENTS) {
        let wanted = chunk.iter().map(|event| (event, vec![subscription])).collect();
        let deliveries = history::deliveries(&**log, wanted).await?;
        store.replay(&deliveries, now).await?;
        replayed += deliveries.len();
    }
    Ok(replayed)
}

async fn find(
    log: &dyn EventLog,
    subscription: &Subscription,
    scope: ReplayScope,
) -> Result<Vec<RecordedEvent>, ReplayError> {
    let events = match scope {
        ReplayScope::Order(order) => events_of_order(log, subscription, order).await?,
        ReplayScope::Recorded(from, to) => events_recorded(log, subscription, from, to).await?,
    };
    if events.len() > REPLAY_EVENTS_MAX { Err(ReplayError::TooLarge) } else { Ok(events) }
}

async fn events_of_order(
    log: &dyn EventLog,
    subscription: &Subscription,
    order: OrderId,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut found = Vec::new();
    let mut streams = OrderStreams::of(order);
    while let Some(stream) = streams.next() {
        let mut next = 0;
        loop {
            let events = log.read_stream(&stream, next, PAGE_EVENTS).await?;
            if events.is_empty() {
                break;
            }
            next += events.len() as u64;
            streams.learn(&events);
            found.extend(
                events
                    .into_iter()
                    .filter(|event| subscription.event_types.matches(&event.type_name))
                    .map(without_content),
            );
        }
    }
    Ok(found)
}

async fn events_recorded(
    log: &dyn EventLog,
    subscription: &Subscription,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<RecordedEvent>, ReplayError> {
    let skew = jiff::SignedDuration::from_secs(CLOCK_SKEW_SECONDS);
    let (Ok(begin), Ok(end)) = (from.saturating_sub(skew), to.saturating_add(skew)) else {
        return Ok(Vec::new());
    };
    let (mut after, mut read, mut found) = (log.position_before(begin).await?, 0, Vec::new());
    loop {
        let events = log.read_all(after, PAGE_EVENTS).await?;
        let Some(last) = events.last() else { return Ok(found) };
        read += events.len();
        after = Some(last.position);
        let is_last_page = last.recorded_at > end;
        let in_scope = |event: &RecordedEvent| {
            (from..=to).contains(&event.recorded_at)
                && history::is_sent(&event.stream)
                && subscription.event_types.matches(&event.type_name)
        };
        found.extend(events.into_iter().filter(in_scope).map(without_content));
        if found.len() > REPLAY_EVENTS_MAX || read > REPLAY_READ_EVENTS_MAX {
            return Err(ReplayError::TooLarge);
        }
        if is_last_page {
            return Ok(found);
        }
    }
}

/// Drops what a delivery does not need, because 10,000 events may have gigabytes of content. The first event
/// of a payment names its order.
fn without_content(event: RecordedEvent) -> RecordedEvent {
    let begins_payment = event.revision == 0 && matches!(event.stream, StreamName::Payment(_));
    let data = if begins_payment { event.data } else { Arc::default() };
    RecordedEvent { data, metadata: Arc::default(), ..event }
}

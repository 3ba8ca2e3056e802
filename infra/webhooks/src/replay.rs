//! Replays: makes the deliveries of past events due again, also of events recorded before the subscription.

use domain::{OrderId, PaymentId, Position, RecordedEvent, StreamName, Timestamp};
use infra::{
    event_store::{EventLog, ReadError},
    operations::webhooks::{
        REPLAY_EVENTS_MAX, REPLAY_READ_EVENTS_MAX, ReplayError, ReplayScope, Subscription, WebhookStore,
    },
};

use crate::history::{self, is_reported};

/// Events per read.
const PAGE_EVENTS: usize = 1_000;
/// Events whose deliveries are written in one transaction.
const CHUNK_EVENTS: usize = 500;
/// Largest difference between the clocks of the nodes of an event store. The leader changes, so recorded
/// times may go back by this much.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// See [`infra::operations::webhooks::WebhookService::replay`].
pub(crate) async fn replay(
    log: &dyn EventLog,
    store: &dyn WebhookStore,
    subscription: &Subscription,
    scope: ReplayScope,
    now: Timestamp,
) -> Result<usize, ReplayError> {
    let mut events = match scope {
        ReplayScope::Order(order) => events_of_order(log, order).await?,
        ReplayScope::Recorded(from, to) => events_recorded(log, subscription, from, to).await?,
    };
    events.retain(|event| subscription.event_types.matches(&event.type_name));
    if events.len() > REPLAY_EVENTS_MAX {
        return Err(ReplayError::TooLarge);
    }
    events.sort_by_key(|event| event.position);
    let mut replayed = 0;
    for chunk in events.chunks(CHUNK_EVENTS) {
        let deliveries =
            history::deliveries(log, chunk, std::slice::from_ref(subscription), |_, _| true).await?;
        store.replay(&deliveries, now).await?;
        replayed += deliveries.len();
    }
    Ok(replayed)
}

async fn events_of_order(log: &dyn EventLog, order: OrderId) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut found = Vec::new();
    for stream in [StreamName::Order(order), PaymentId::of_order(order).into()] {
        let mut next = 0;
        loop {
            let events = log.read_stream(&stream, next, PAGE_EVENTS).await?;
            let read = events.len();
            next += read as u64;
            found.extend(events);
            if read < PAGE_EVENTS {
                break;
            }
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
    let (mut after, mut read, mut found) = (position_before(log, begin).await?, 0, Vec::new());
    loop {
        let events = log.read_all(after, PAGE_EVENTS).await?;
        let Some(last) = events.last() else { return Ok(found) };
        read += events.len();
        after = Some(last.position);
        let is_last_page = last.recorded_at > end;
        found.extend(events.into_iter().filter(|event| {
            (from..=to).contains(&event.recorded_at)
                && is_reported(&event.stream)
                && subscription.event_types.matches(&event.type_name)
        }));
        if found.len() > REPLAY_EVENTS_MAX || read > REPLAY_READ_EVENTS_MAX {
            return Err(ReplayError::TooLarge);
        }
        if is_last_page {
            return Ok(found);
        }
    }
}

/// The position of the last event recorded before `time`; `None` if there is no such event. A binary search,
/// because recorded times increase with the positions.
async fn position_before(log: &dyn EventLog, time: Timestamp) -> Result<Option<Position>, ReadError> {
    let Some(mut high) = log.last_position().await? else { return Ok(None) };
    let (mut after, mut low) = (None, 0);
    while low < high {
        let middle = low + (high - low) / 2;
        let events = log.read_all(Some(middle), 1).await?;
        match events.first() {
            Some(event) if event.recorded_at < time => {
                after = Some(event.position);
                low = event.position;
            }
            _ => high = middle,
        }
    }
    Ok(after)
}

//! Sends events again, or for the first time to who subscribed after them.

use domain::{OrderId, PaymentId, Position, RecordedEvent, StreamName, Timestamp};

use super::history;
use crate::{
    event_store::{EventLog, ReadError},
    operations::{
        OperationsError,
        webhooks::{Subscription, Webhooks},
    },
};

/// The most events of one replay.
pub const EVENTS_MAX: usize = 10_000;
/// The most events that are looked at for one.
const LOOKED_AT_MAX: usize = 1_000_000;

const PAGE_EVENTS: usize = 1_000;
/// Events whose deliveries are written in one transaction.
const CHUNK_EVENTS: usize = 500;
/// The nodes of a replicated event store take turns in recording, each by its own clock.
const CLOCKS_DIFFER_SECONDS: i64 = 60;

/// Which events.
#[derive(Debug, Clone, Copy)]
pub enum Scope {
    /// Of an order and its payment.
    Order(OrderId),
    /// Recorded from the one time to the other, both included.
    Recorded(Timestamp, Timestamp),
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplayError {
    #[error("it would be more than {EVENTS_MAX} events, or more than {LOOKED_AT_MAX} to look through")]
    TooLarge,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] OperationsError),
}

/// Makes the deliveries of all events of a scope that a subscription asks for due; says how many. Done twice, it does
/// nothing more.
pub async fn replay(
    log: &dyn EventLog,
    store: &dyn Webhooks,
    subscription: &Subscription,
    scope: Scope,
    now: Timestamp,
) -> Result<usize, ReplayError> {
    let mut events = match scope {
        Scope::Order(order) => of_order(log, order).await?,
        Scope::Recorded(from, to) => recorded(log, subscription, from, to).await?,
    };
    events.retain(|event| subscription.event_types.matches(&event.type_name));
    if events.len() > EVENTS_MAX {
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

async fn of_order(log: &dyn EventLog, order: OrderId) -> Result<Vec<RecordedEvent>, ReadError> {
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

async fn recorded(
    log: &dyn EventLog,
    subscription: &Subscription,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<RecordedEvent>, ReplayError> {
    let margin = jiff::SignedDuration::from_secs(CLOCKS_DIFFER_SECONDS);
    let (begin, end) = (from.saturating_sub(margin), to.saturating_add(margin));
    let (Ok(begin), Ok(end)) = (begin, end) else { return Ok(Vec::new()) };
    let (mut after, mut looked_at, mut found) = (before(log, begin).await?, 0, Vec::new());
    loop {
        let events = log.read_all(after, PAGE_EVENTS).await?;
        let Some(last) = events.last() else { return Ok(found) };
        looked_at += events.len();
        after = Some(last.position);
        let is_last = last.recorded_at > end;
        found.extend(events.into_iter().filter(|event| {
            (from..=to).contains(&event.recorded_at)
                && !matches!(event.stream, StreamName::Stock(_))
                && subscription.event_types.matches(&event.type_name)
        }));
        if found.len() > EVENTS_MAX || looked_at > LOOKED_AT_MAX {
            return Err(ReplayError::TooLarge);
        }
        if is_last {
            return Ok(found);
        }
    }
}

/// A position after which the first event is that was recorded at `time` or later; found by halving, since events are
/// recorded in the order of time.
async fn before(log: &dyn EventLog, time: Timestamp) -> Result<Option<Position>, ReadError> {
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

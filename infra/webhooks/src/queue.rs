//! Decides which events of a batch are queued for each subscription, and which stay in the log.
//!
//! A subscription has at most [`Webhooks::due_max`] deliveries that are due, and [`Webhooks::queued_max`] pending
//! ones. The difference waits for retries: events that a receiver refuses must not stop the others. Further
//! events stay in the log: the subscription is behind, and the other subscriptions continue.
//! [`crate::catch_up`] reads these events later.

use std::collections::{BTreeMap, HashMap};

use domain::{Position, RecordedEvent, Timestamp};
use infra::operations::{
    OperationsError,
    webhooks::{SkippedEvents, Subscription, SubscriptionId, SubscriptionStatus},
};

use crate::{
    Webhooks,
    history::{Wanted, is_sent},
};

/// What to do with the events of a batch.
#[derive(Debug, Default)]
pub(crate) struct QueuePlan<'a> {
    pub queued: Vec<Wanted<'a>>,
    pub skipped: Vec<SkippedEvents>,
}

/// The free places of each queue when they were last counted, less the deliveries that were queued since. So
/// most batches need no count.
#[derive(Debug, Default)]
pub(crate) struct FreePlaces(HashMap<SubscriptionId, usize>);

impl FreePlaces {
    /// Counts every queue again at its next batch. Needed when another process has queued deliveries.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Plans a batch. Events recorded before `oldest` are neither queued nor skipped.
    pub async fn plan<'a>(
        &mut self,
        webhooks: &Webhooks,
        events: &'a [RecordedEvent],
        subscriptions: &'a [Subscription],
        oldest: Timestamp,
    ) -> Result<QueuePlan<'a>, OperationsError> {
        let mut queued: BTreeMap<Position, Wanted<'a>> = BTreeMap::new();
        let mut skipped = Vec::new();
        for subscription in subscriptions {
            let wanted: Vec<_> = events.iter().filter(|event| wants(subscription, event, oldest)).collect();
            let Some(first) = wanted.first() else { continue };
            let free = match subscription.behind {
                Some(_) => 0,
                None => self.take(webhooks, subscription, wanted.len()).await?,
            };
            let (now, later) = match subscription.behind {
                Some(behind) if first.position > behind.after => wanted.split_at(0),
                // Another partition has not yet passed the place where the subscription stopped.
                Some(_) => wanted.split_at(1),
                // One event at least, because the place in the log is the position of an event.
                None => wanted.split_at(free.max(1)),
            };
            for event in now {
                queued.entry(event.position).or_insert((event, Vec::new())).1.push(subscription);
            }
            if free == 0 || !later.is_empty() {
                self.0.remove(&subscription.id);
                skipped.extend(skip(subscription, now, later));
            }
        }
        Ok(QueuePlan { queued: queued.into_values().collect(), skipped })
    }

    /// Takes up to `count` places.
    async fn take(
        &mut self,
        webhooks: &Webhooks,
        subscription: &Subscription,
        count: usize,
    ) -> Result<usize, OperationsError> {
        if subscription.status == SubscriptionStatus::Failing {
            return Ok(0);
        }
        let mut free = self.0.get(&subscription.id).copied().unwrap_or_default();
        if free < count {
            free = free_places(webhooks, subscription.id).await?;
        }
        let taken = count.min(free);
        self.0.insert(subscription.id, free - taken);
        Ok(taken)
    }
}

/// The number of events that may be queued for a subscription. Keeps one place for the event at which the
/// subscription stops.
pub(crate) async fn free_places(
    webhooks: &Webhooks,
    subscription: SubscriptionId,
) -> Result<usize, OperationsError> {
    let Webhooks { store, clock, due_max, queued_max, .. } = webhooks;
    let (due_max, queued_max) = (due_max.saturating_sub(1), queued_max.saturating_sub(1));
    let due = store.pending(subscription, clock.now(), due_max).await?;
    if due == due_max {
        return Ok(0);
    }
    let pending = store.pending(subscription, Timestamp::MAX, queued_max).await?;
    Ok((due_max - due).min(queued_max - pending))
}

/// The place in the log of a subscription that has queued `now` and not `later`.
fn skip(
    subscription: &Subscription,
    now: &[&RecordedEvent],
    later: &[&RecordedEvent],
) -> Option<SkippedEvents> {
    let last_queued = now.last().map(|event| event.position);
    let after = last_queued.or(subscription.behind.map(|behind| behind.after))?;
    Some(SkippedEvents {
        subscription: subscription.id,
        after,
        first: later.first().map_or(after, |event| event.position),
        last: later.last().map_or(after, |event| event.position),
    })
}

/// True if the subscription gets this event. The type and the time of a damaged event are lost, so every
/// subscription gets it.
pub(crate) fn wants(subscription: &Subscription, event: &RecordedEvent, oldest: Timestamp) -> bool {
    let type_name = event.damage.is_none().then_some(&*event.type_name);
    is_sent(&event.stream)
        && (event.damage.is_some() || event.recorded_at >= oldest)
        && subscription.wants(type_name, event.position)
}

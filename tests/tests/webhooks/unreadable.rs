//! Orders whose streams cannot be read.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use domain::{EventId, OrderId, Position, Revision, StreamName};
use infra::{
    event_source::{Batch, Partition, Reached, SourceUpdate},
    event_store::ReadError,
};
use uuid::Uuid;

use super::*;
use crate::support::PATIENCE;

/// Damage of one order, until it is repaired.
#[derive(Clone)]
struct Damage {
    order: OrderId,
    /// The event that is damaged. `None`: no event of the stream can be read.
    revision: Option<Revision>,
    repaired: Arc<AtomicBool>,
}

impl Damage {
    /// The events as a damaged store returns them.
    fn applied(&self, mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
        for event in &mut events {
            let is_damaged = event.stream == self.order.into() && Some(event.revision) == self.revision;
            if is_damaged && !self.repaired.load(Ordering::Relaxed) {
                event.id = EventId(Uuid::nil());
                event.type_name = "".into();
                (event.data, event.metadata) = ([].into(), [].into());
                event.recorded_at = Timestamp::UNIX_EPOCH;
                event.damage = Some("a bit is wrong".into());
            }
        }
        events
    }
}

struct DamagedLog(Arc<dyn EventLog>, Damage);

#[async_trait]
impl EventLog for DamagedLog {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let Self(inner, damage) = self;
        let all = damage.revision.is_none() && *stream == damage.order.into();
        if all && !damage.repaired.load(Ordering::Relaxed) {
            return Err(ReadError::Corrupt("a page is damaged".into()));
        }
        Ok(damage.applied(inner.read_stream(stream, from, limit).await?))
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        Ok(self.1.applied(self.0.read_all(after, limit).await?))
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        self.0.last_event().await
    }

    fn store_id(&self) -> Uuid {
        self.0.store_id()
    }
}

struct DamagedSource(DirectSource, Damage);

#[async_trait]
impl EventSource for DamagedSource {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        Ok(match self.0.next().await? {
            SourceUpdate::Events(batch) => {
                SourceUpdate::Events(Batch { events: self.1.applied(batch.events), ..batch })
            }
            other => other,
        })
    }

    fn seek(&mut self, partition: &Partition, reached: Option<Reached>) {
        self.0.seek(partition, reached);
    }
}

/// A shop with a damaged order of which `readable` events can be sent, and an intact one. Checks that
/// everything else waits visibly, and is sent after the repair.
async fn check(subscribed: &[&str], revision: Option<Revision>, readable: usize, reason: &str) {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, subscribed).await;
    let (damaged, intact) = (hooks.paid_order("A").await, hooks.paid_order("B").await);
    let (of_damaged, of_intact) = (hooks.events_of(&damaged).await, hooks.events_of(&intact).await);
    let damage = Damage { order: damaged.parse().unwrap(), revision, repaired: Arc::default() };
    hooks.webhooks.log = Arc::new(DamagedLog(hooks.webhooks.log.clone(), damage.clone()));
    let source = DamagedSource(DirectSource::new(hooks.shop.events(), 1_000), damage.clone());
    let layout = Arc::new(WholeLog(hooks.shop.events().log()));
    hooks.start_following(Box::new(source), layout);
    let fast = dispatcher_options();
    let schedule = RetrySchedule { give_up_after: 2 * PATIENCE, ..fast.schedule };
    hooks.start_sending(DispatcherOptions { schedule, ..fast });
    hooks.until(&subscription, "delivered", of_intact.len() + readable).await;
    let unreadable = of_damaged.len() - readable;
    let waiting = eventually("each other event was attempted", async || {
        let waiting = hooks.until(&subscription, "pending", unreadable).await;
        waiting.iter().all(|one| one["attempts"] != 0).then_some(waiting)
    })
    .await;
    assert_eq!(waiting.len(), unreadable);
    for one in waiting {
        assert_eq!((&one["order_id"], &one["sequence"]), (&Value::Null, &Value::Null));
        let error = one["last_error"].as_str().unwrap();
        assert!(error.contains(reason), "{error}");
    }
    let reported = || {
        let readiness = hooks.webhooks.health.readiness().unwrap();
        readiness.degraded.iter().any(|one| one.name == "webhook_streams_unreadable")
    };
    eventually("it is reported", async || reported().then_some(())).await;
    assert_eq!(hooks.get(&subscription).await.expect(200)["failing_since"], Value::Null);

    damage.repaired.store(true, Ordering::Relaxed);
    hooks.until(&subscription, "delivered", of_intact.len() + of_damaged.len()).await;
    for (events, order) in [(&of_damaged, &damaged), (&of_intact, &intact)] {
        for (number, event) in (1..).zip(events) {
            let id = event.id.to_string();
            let received = receiver.received();
            let data = &received.iter().find(|one| one.body["data"]["event_id"] == id).unwrap().body["data"];
            assert_eq!((data["sequence"].as_u64(), &data["order_id"]), (Some(number), &json!(order)));
        }
    }
    eventually("nothing is reported", async || (!reported()).then_some(())).await;
}

#[tokio::test]
async fn an_order_that_cannot_be_read_waits_visibly_and_the_others_are_sent() {
    check(&["*"], None, 0, "a page is damaged").await;
}

#[tokio::test]
async fn a_damaged_event_holds_back_only_itself_and_later_events_of_its_order() {
    // The first event of the order is intact, and the second one is damaged.
    check(&["order.*", "payment.*"], Some(1), 1, "a bit is wrong").await;
}

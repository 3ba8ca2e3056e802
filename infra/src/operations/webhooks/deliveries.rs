//! Deliveries: one event on its way to one subscription.

use domain::{Actor, EventId, OrderId, Position, Revision, StreamName, Timestamp};
use uuid::Uuid;

use super::{DeliveryId, SubscriptionId};
use crate::event_source::{Partition, Reached};

/// The most deliveries of one subscription that are due, at most about 1 KB each. Later events wait in the log.
pub const DUE_MAX: usize = 1_000;
/// The most pending deliveries of one subscription, with those that wait for a retry.
pub const QUEUED_MAX: usize = 50_000;

/// The deliveries of a batch of events, and the position that the batch ends at.
#[derive(Debug, Clone)]
pub struct EnqueueBatch {
    pub store_id: Uuid,
    pub partition: Partition,
    /// The stored position that the follower expects.
    pub after: Option<Position>,
    pub reached: Reached,
    pub deliveries: Vec<NewDelivery>,
    /// At most one for each subscription.
    pub skipped: Vec<SkippedEvents>,
}

/// Events of a batch that a subscription asks for and that stay in the log, because its queue is full or its
/// receiver fails. Without such events all three positions are equal: later batches are skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SkippedEvents {
    pub subscription: SubscriptionId,
    /// An event of the log before the first of them. Every earlier event of the partition is queued.
    pub after: Position,
    pub first: Position,
    pub last: Position,
}

/// A step of a subscription that reads skipped events from the log.
#[derive(Debug, Clone)]
pub struct CatchUpStep {
    pub subscription: SubscriptionId,
    /// The stored [`super::Behind::after`] that the reader expects.
    pub after: Position,
    pub position: Position,
    /// The deliveries of all events after `after` up to `position`.
    pub deliveries: Vec<NewDelivery>,
}

/// The outcome of writing a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueOutcome {
    Written {
        /// Deliveries that did not exist before.
        added: usize,
    },
    /// The stored position is not the expected one, because another follower has moved it. Nothing was
    /// written.
    Overtaken,
}

/// An event that a subscription must get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    pub subscription: SubscriptionId,
    pub event: EventId,
    pub event_type: String,
    pub stream: StreamName,
    pub revision: Revision,
    pub position: Position,
    pub recorded_at: Timestamp,
    /// Who caused the event. `None` if an earlier build recorded or queued it.
    pub actor: Option<Actor>,
    /// `None`: a stream of the order could not be read. Each attempt reads it again.
    pub place: Option<OrderPlace>,
}

/// The place of an event among the events of an order and its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderPlace {
    pub order: OrderId,
    pub sequence: EventSequence,
}

impl NewDelivery {
    pub fn id(&self) -> DeliveryId {
        DeliveryId::of(self.subscription, self.event)
    }
}

/// The numbers by which a receiver restores the order of the events of one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSequence {
    /// Counts all events of the order and its payment in log order: 1, 2, 3, …
    pub number: u64,
    /// The number of the last earlier event that the subscription asks for. `None` if there is none.
    pub previous: Option<u64>,
}

/// A delivery, queued or finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// Increases with each new delivery.
    pub number: u64,
    pub content: NewDelivery,
    pub status: DeliveryStatus,
    /// Finished attempts since the delivery was last queued.
    pub attempts: u32,
    pub queued_at: Timestamp,
    /// While it is pending: when it is due, or when the lease of a running attempt ends.
    pub next_attempt_at: Option<Timestamp>,
    pub first_attempt_at: Option<Timestamp>,
    pub last_attempt_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The HTTP status of the last answered attempt.
    pub last_status: Option<u16>,
    pub last_error: Option<String>,
}

/// The progress of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Waits for an attempt, or an attempt is running.
    Pending,
    Delivered,
    /// No further attempt is made, except after a retry or a replay.
    Failed,
}

impl DeliveryStatus {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// The outcome of one attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptOutcome {
    pub delivery: DeliveryId,
    pub attempted_at: Timestamp,
    pub now: Timestamp,
    /// The HTTP status of the receiver's answer.
    pub status: Option<u16>,
    pub error: Option<String>,
    pub next: AfterAttempt,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterAttempt {
    Delivered,
    RetryAt(Timestamp),
    /// No further attempt.
    Failed,
}

/// Which deliveries have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryRetention {
    pub now: Timestamp,
    /// Deliveries that succeeded before this time are removed.
    pub delivered_before: Timestamp,
    /// Deliveries that failed before this time are removed.
    pub failed_before: Timestamp,
    /// Pending deliveries that were queued before this time fail.
    pub queued_before: Timestamp,
}

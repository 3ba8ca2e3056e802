//! Webhooks: tells subscribers of the events of orders and payments, over HTTP, as Standard Webhooks
//! (<https://www.standardwebhooks.com>) describes it.
//!
//! [`follower`] follows the log and writes down who is owed what; [`dispatcher`] sends what is due, again and again for
//! three days. Between them is the operational store ([`crate::operations::webhooks`]), which also has the delivery
//! log. What is sent is read from the log at each attempt: the store has no events.

pub mod dispatcher;
mod event_types;
pub mod follower;
pub mod guard;
pub mod history;
mod message;
pub mod replay;
mod schedule;
mod sender;
mod signature;

use std::{fmt, str::FromStr};

use domain::EventId;
use uuid::Uuid;

pub use self::{
    event_types::{EventTypes, InvalidEventTypes},
    signature::{Secret, signatures},
};

/// Names a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub Uuid);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for SubscriptionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// Names a delivery, and is what receivers know it by (`webhook-id`): the same at every attempt and every replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub Uuid);

/// Why a text names no delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected msg_ and a UUID")]
pub struct InvalidDeliveryId;

impl DeliveryId {
    const PREFIX: &'static str = "msg_";

    /// The delivery of an event to a subscription.
    pub fn of(subscription: SubscriptionId, event: EventId) -> Self {
        Self(Uuid::new_v5(&subscription.0, event.0.as_bytes()))
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0)
    }
}

impl FromStr for DeliveryId {
    type Err = InvalidDeliveryId;

    fn from_str(text: &str) -> Result<Self, InvalidDeliveryId> {
        let id = text.strip_prefix(Self::PREFIX).and_then(|id| Uuid::try_parse(id).ok());
        id.map(Self).ok_or(InvalidDeliveryId)
    }
}

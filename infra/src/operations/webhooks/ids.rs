//! The ids of subscriptions and deliveries.

use std::{fmt, str::FromStr};

use domain::EventId;
use uuid::Uuid;

use crate::http::{Problem, path::PathId};

/// The id of a subscription.
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

impl PathId for SubscriptionId {
    const RESOURCE: &'static str = "subscription";

    fn parse(segment: &str) -> Result<Self, Problem> {
        segment.parse().map_err(|_| Problem::no_such(Self::RESOURCE))
    }
}

/// The id of a delivery, sent to the receiver as `webhook-id`. The same at every attempt and every replay, so
/// receivers can discard duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryId(pub Uuid);

/// A text that is not the id of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected msg_ and a UUID")]
pub struct InvalidDeliveryId;

impl DeliveryId {
    const PREFIX: &'static str = "msg_";

    /// The id of the delivery of an event to a subscription.
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

impl PathId for DeliveryId {
    const RESOURCE: &'static str = "delivery";

    fn parse(segment: &str) -> Result<Self, Problem> {
        segment.parse().map_err(|_| Problem::no_such(Self::RESOURCE))
    }
}

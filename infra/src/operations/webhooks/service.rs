//! The port through which the command API checks URLs, replays events and wakes the dispatcher.

use std::time::Duration;

use async_trait::async_trait;
use domain::{OrderId, Timestamp};

use super::Subscription;
use crate::{event_store::ReadError, operations::OperationsError};

/// The most events of one replay.
pub const REPLAY_EVENTS_MAX: usize = 10_000;
/// The most events that one replay reads from the log.
pub const REPLAY_READ_EVENTS_MAX: usize = 1_000_000;
/// The longest time for which one replay reads the log.
pub const REPLAY_TIME_MAX: Duration = Duration::from_mins(1);
/// The longest URL of a subscription, in characters.
pub const URL_CHARS_MAX: usize = 2_048;

/// Checks the URLs of receivers, replays events, and wakes the dispatcher.
#[async_trait]
pub trait WebhookService: Send + Sync + 'static {
    /// Refuses a URL that webhooks must not be sent to. Resolves its host name.
    async fn check_url(&self, url: &str) -> Result<(), RefusedUrl>;

    /// For all events in `scope` that the subscription asks for, makes their deliveries due now. Returns the
    /// number of deliveries.
    async fn replay(
        &self,
        subscription: &Subscription,
        scope: ReplayScope,
        now: Timestamp,
    ) -> Result<usize, ReplayError>;

    /// Wakes the dispatcher of this process: a delivery may have become due.
    fn wake(&self);
}

/// Why webhooks are not sent to a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedUrl {
    #[error("it is not an absolute URL of at most {URL_CHARS_MAX} characters")]
    NotAUrl,
    #[error("it must begin with https://")]
    NotEncrypted,
    #[error("it must begin with https:// or http://")]
    OtherScheme,
    #[error("it must not contain a user name or a password")]
    Credentials,
    #[error("the name of its host cannot be resolved")]
    UnknownHost,
    #[error("its host is, or resolves to, an address outside the public Internet")]
    NotPublic,
}

/// Which events to replay.
#[derive(Debug, Clone, Copy)]
pub enum ReplayScope {
    /// Those of an order and its payment.
    Order(OrderId),
    /// Those recorded between two times, both included.
    Recorded(Timestamp, Timestamp),
}

/// Why a replay failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplayError {
    #[error(
        "the replay selects more than {REPLAY_EVENTS_MAX} events, or reads more than {REPLAY_READ_EVENTS_MAX}; \
         choose a shorter time span"
    )]
    TooLarge,
    #[error("the search for these events takes longer than {} s; choose a later time span", REPLAY_TIME_MAX.as_secs())]
    TooLong,
    #[error("the queue of the subscription is full; wait until its pending deliveries are sent")]
    QueueFull,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] OperationsError),
}

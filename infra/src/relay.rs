//! The relay: from the event store to Kafka, each event once and in order for every reader with `read_committed`.
//!
//! A transaction carries some events and how far the log is thereby published, so both are in Kafka or neither is. The
//! relay trusts nothing else: whatever goes wrong, it makes a new producer, which fences the one before and ends its
//! transaction, and only then reads how far Kafka has come.
//!
//! Only one relay publishes. A second one takes over as it starts; the first finds itself fenced, stands by, and takes
//! over again once nothing has come from the other for a while.

mod progress;
mod publisher;

use std::{sync::Arc, time::Duration};

use domain::{Position, RecordedEvent};
use rdkafka::consumer::BaseConsumer;
use tokio::{runtime::Handle, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    progress::RelayProgress,
    publisher::{Failure, Publisher},
};
use crate::{
    event_store::{EventLog, ReadError},
    kafka::{KafkaConfig, KafkaError, client, topics},
};

/// How the relay works.
#[derive(Debug, Clone, Copy)]
pub struct RelayOptions {
    /// Of one transaction: what is in memory at a time, and what a crash makes the next relay send again.
    pub events_per_transaction_max: usize,
    /// How often a relay with nothing to publish says that it is there.
    pub heartbeat_every: Duration,
    /// How long nothing must have come from another relay before this one takes over. Several heartbeats.
    pub takeover_after: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            events_per_transaction_max: 5_000,
            heartbeat_every: Duration::from_secs(3),
            takeover_after: Duration::from_secs(12),
        }
    }
}

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why the relay does not start, or stops for good.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RelayError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(
        "the topics {prefix}.* hold events of the event store {theirs}, and ORDERLY_EVENT_STORE is {ours}: correct it, or \
         give ORDERLY_BUS another prefix"
    )]
    OtherStore { prefix: String, theirs: Uuid, ours: Uuid },
    #[error(
        "the topics {prefix}.* hold events up to position {published}, and the event store ends at {last:?}: it has lost \
         events, for example by going back to an older backup. Give ORDERLY_BUS another prefix, and run `orderly \
         projections rebuild`"
    )]
    StoreBehind { prefix: String, published: Position, last: Option<Position> },
    #[error(
        "the partition {partition} ends at offset {actual}, and {written} were written: the topic was made anew or has \
         lost events. Give ORDERLY_BUS another prefix, so that all events are published again, and run `orderly \
         projections rebuild`"
    )]
    EventsLost { partition: String, actual: u64, written: u64 },
    #[error(
        "the topics {prefix}.* hold events, and {prefix}.relay does not say which: it was made anew. Give ORDERLY_BUS \
         another prefix, and run `orderly projections rebuild`"
    )]
    ProgressLost { prefix: String },
    #[error("the relay's thread has failed: {0}")]
    Thread(Arc<str>),
}

/// Publishes the log of an event store.
pub struct Relay {
    config: KafkaConfig,
    log: Arc<dyn EventLog>,
    head: watch::Receiver<Option<Position>>,
    options: RelayOptions,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("config", &self.config)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// Makes the topics where they are missing, and refuses those that do not belong to `log`. `head` is the position
    /// of the log's last event, changing as events are appended.
    pub async fn open(
        config: KafkaConfig,
        log: Arc<dyn EventLog>,
        head: watch::Receiver<Option<Position>>,
        options: RelayOptions,
    ) -> Result<Self, RelayError> {
        topics::ensure(&config).await?;
        let relay = Self { config, log, head, options };
        let runtime = Handle::current();
        let checking = tokio::task::spawn_blocking(move || {
            relay.find_progress(&runtime)?;
            Ok(relay)
        });
        checking.await.map_err(|error| RelayError::Thread(error.to_string().into()))?
    }

    /// Publishes until `shutdown`, the transaction under way included. While Kafka or the event store cannot be
    /// reached, or another relay is at work, it waits and tries again. Fails only where publishing would be wrong.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RelayError> {
        let runtime = Handle::current();
        // Calls of the transactional producer block.
        let publishing = tokio::task::spawn_blocking(move || self.keep_publishing(&runtime, &shutdown));
        publishing.await.unwrap_or_else(|error| Err(RelayError::Thread(error.to_string().into())))
    }

    fn keep_publishing(mut self, runtime: &Handle, shutdown: &CancellationToken) -> Result<(), RelayError> {
        let mut pause = PAUSE_MIN;
        while !shutdown.is_cancelled() {
            let begun = Instant::now();
            match self.publish_until_failure(runtime, shutdown) {
                Ok(()) => return Ok(()),
                Err(Ended::Refused(refusal)) => return Err(refusal),
                Err(Ended::Failed(Failure::Fenced)) => {
                    tracing::info!("Another relay has taken over; this one stands by");
                    self.stand_by(runtime, shutdown);
                }
                Err(Ended::Failed(Failure::Broken(reason) | Failure::Aborted(reason))) => {
                    if begun.elapsed() > PAUSE_MAX {
                        pause = PAUSE_MIN;
                    }
                    tracing::warn!(
                        reason,
                        "The relay is interrupted; starting again from what the topics hold"
                    );
                    wait(runtime, shutdown, pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        Ok(())
    }

    /// Takes over from whoever published before, and publishes.
    fn publish_until_failure(&mut self, runtime: &Handle, shutdown: &CancellationToken) -> Result<(), Ended> {
        // In this order: progress read earlier could be overtaken by a transaction of the relay before.
        let publisher = Publisher::open(&self.config)?;
        let found = self.find_progress(runtime)?;
        let mut progress = found.unwrap_or_else(|| RelayProgress::none(self.log.store_id()));
        tracing::info!(after = ?progress.position, "The relay publishes");
        publisher.publish(&[], &mut progress)?;
        loop {
            let next = runtime.block_on(next_events(
                &*self.log,
                &mut self.head,
                progress.position,
                self.options,
                shutdown,
            ));
            let events = match next {
                Next::Events(events) => events,
                Next::Heartbeat => Vec::new(),
                Next::Stop => return Ok(()),
                // Without heartbeats the other relay takes over, which may be able to read.
                Next::Unreadable(error) => return Err(broken(&error)),
            };
            while let Err(failure) = publisher.publish(&events, &mut progress) {
                let Failure::Aborted(reason) = failure else { return Err(failure.into()) };
                tracing::warn!(reason, "A transaction was aborted; sending it again");
                wait(runtime, shutdown, PAUSE_MIN);
                if shutdown.is_cancelled() {
                    return Ok(());
                }
            }
        }
    }

    /// How far the log is published; none where nothing is. What Kafka holds has to be the beginning of our log.
    fn find_progress(&self, runtime: &Handle) -> Result<Option<RelayProgress>, RelayError> {
        let mut progress = progress::read(&self.config)?;
        if progress.is_none() && topics::ends(&self.config)?.iter().any(|(_, end)| *end > 0) {
            // Every relay leaves a record before its first event: one that has begun meanwhile is seen now.
            progress = progress::read(&self.config)?;
            if progress.is_none() {
                return Err(RelayError::ProgressLost { prefix: self.config.prefix().to_owned() });
            }
        }
        progress.map(|progress| self.check(&progress, runtime).map(|()| progress)).transpose()
    }

    fn check(&self, progress: &RelayProgress, runtime: &Handle) -> Result<(), RelayError> {
        let prefix = self.config.prefix().to_owned();
        let (theirs, ours) = (progress.store_id, self.log.store_id());
        if theirs != ours {
            return Err(RelayError::OtherStore { prefix, theirs, ours });
        }
        // Asked after the progress was read: another relay may be at work.
        let last = runtime.block_on(self.log.last_position())?;
        if let Some(published) = progress.position.filter(|published| Some(*published) > last) {
            return Err(RelayError::StoreBehind { prefix, published, last });
        }
        match progress.lost(&self.config)? {
            Some((partition, actual, written)) => Err(RelayError::EventsLost { partition, actual, written }),
            None => Ok(()),
        }
    }

    /// Waits until nothing has come from the other relay for a while: every transaction, heartbeats included, writes to
    /// the topic of progress.
    fn stand_by(&self, runtime: &Handle, shutdown: &CancellationToken) {
        let Ok(consumer) = client(&self.config, "relay-standby").create::<BaseConsumer>() else { return };
        let topic = self.config.progress_topic_name();
        let (mut end, mut moved) = (None, Instant::now());
        while moved.elapsed() < self.options.takeover_after && !shutdown.is_cancelled() {
            // While Kafka cannot be reached, nothing is known of the other, and nothing could be published.
            let current = topics::end_offset(&self.config, &consumer, &topic, 0).ok();
            if current.is_none() || current != end {
                (end, moved) = (current, Instant::now());
            }
            wait(runtime, shutdown, self.options.heartbeat_every / 3);
        }
    }
}

/// Why publishing ended before it was told to.
enum Ended {
    Failed(Failure),
    Refused(RelayError),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<KafkaError> for Ended {
    fn from(error: KafkaError) -> Self {
        Self::Failed(Failure::Broken(error.to_string()))
    }
}

impl From<RelayError> for Ended {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Kafka(error) => error.into(),
            RelayError::Log(error) => broken(&error),
            refusal => Self::Refused(refusal),
        }
    }
}

fn broken(error: &ReadError) -> Ended {
    Ended::Failed(Failure::Broken(error.to_string()))
}

enum Next {
    Events(Vec<RecordedEvent>),
    Heartbeat,
    Unreadable(ReadError),
    Stop,
}

/// Waits for events after `after`, but no longer than until the next heartbeat.
async fn next_events(
    log: &dyn EventLog,
    head: &mut watch::Receiver<Option<Position>>,
    after: Option<Position>,
    options: RelayOptions,
    shutdown: &CancellationToken,
) -> Next {
    let heartbeat = Instant::now() + options.heartbeat_every;
    loop {
        if shutdown.is_cancelled() {
            return Next::Stop;
        }
        let is_behind = *head.borrow_and_update() > after;
        if is_behind {
            match log.read_all(after, options.events_per_transaction_max).await {
                Ok(events) if !events.is_empty() => return Next::Events(events),
                // The head may be known a moment before a reader sees what it stands for.
                Ok(_) => {}
                Err(error) => return Next::Unreadable(error),
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Next::Stop,
            changed = head.changed() => if changed.is_err() {
                // The store has stopped, as it does before the process ends.
                return Next::Stop;
            },
            () = tokio::time::sleep_until(heartbeat) => return Next::Heartbeat,
        }
    }
}

fn wait(runtime: &Handle, shutdown: &CancellationToken, time: Duration) {
    runtime.block_on(shutdown.run_until_cancelled(tokio::time::sleep(time)));
}

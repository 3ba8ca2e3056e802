//! The relay publishes the log of the event store to Kafka. A reader with `read_committed` sees each event
//! once and in order.
//!
//! One Kafka transaction contains events and a progress record, so either both are in Kafka or neither is.
//! The relay trusts no other record of its progress. After any error it creates a new producer. That fences
//! the previous producer and ends its transaction. Only then does the relay read its progress from Kafka.
//!
//! Only one relay publishes. A second relay takes over when it starts. Kafka then fences the first one, which
//! stands by. It takes over again when the second has sent nothing for [`RelayOptions::takeover_after`].
//!
//! A damaged event parks its stream: the relay withholds it and all later events of the stream, and publishes
//! all other streams. The progress record lists the parked streams, so the next relay withholds them too.

mod error;
mod measured;
mod progress;
mod publisher;

use std::{ops::Range, sync::Arc, time::Duration};

use domain::{Position, RecordedEvent};
use tokio::{runtime::Handle, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::error::RelayError;
use self::{
    measured::Measured,
    progress::RelayProgress,
    publisher::{PublishFailure, Publisher},
};
use crate::{
    event_store::{EventLog, EventMark, ReadError},
    health::Health,
    kafka::{KafkaConfig, KafkaError, Reader, client, reader, topics},
    operations::Positions,
    partition::Partition,
    traces::{EventSpans, Kind},
};

/// Settings of the relay.
#[derive(Debug, Clone, Copy)]
pub struct RelayOptions {
    /// Most events of one transaction. Bounds the memory, and the events that are sent again after a crash.
    pub events_per_transaction_max: usize,
    /// Interval of heartbeats while there are no events to publish.
    pub heartbeat_every: Duration,
    /// Silence of the other relay after which this one takes over. Must be several heartbeats.
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

/// Back-off after an interruption. Doubles from the first to the second value.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Parked streams at which the relay refuses to go on. Bounds the progress record, at about 60 bytes each.
const PARKED_MAX: usize = 1_000;
/// The name of the state of health while the relay cannot publish.
const INTERRUPTED: &str = "relay_interrupted";
/// The name of the state of health while streams are parked.
const WITHHELD_STREAMS: &str = "withheld_streams";

/// Publishes the log of an event store.
pub struct Relay {
    config: KafkaConfig,
    log: Arc<dyn EventLog>,
    head: watch::Receiver<Option<Position>>,
    options: RelayOptions,
    /// Where the followers of the topics keep how far they have read.
    followers: Option<Arc<dyn Positions>>,
    /// The last position that this relay has published.
    published: Option<Position>,
    health: Health,
    measured: Measured,
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
    /// Creates missing topics. Refuses topics with events of another log. `head` watches the position of the
    /// last event of `log`.
    pub async fn open(
        config: KafkaConfig,
        log: Arc<dyn EventLog>,
        head: watch::Receiver<Option<Position>>,
        options: RelayOptions,
    ) -> Result<Self, RelayError> {
        topics::ensure(&config).await?;
        let (health, measured) = (Health::default(), Measured::new());
        let relay = Self { config, log, head, options, followers: None, published: None, health, measured };
        relay.checked().await
    }

    /// Compares the topics also with how far their followers have read. So the relay notices that all topics were
    /// recreated, its own too.
    pub async fn comparing_with(self, followers: Arc<dyn Positions>) -> Result<Self, RelayError> {
        Self { followers: Some(followers), ..self }.checked().await
    }

    /// Refuses topics that do not match the log.
    async fn checked(self) -> Result<Self, RelayError> {
        let runtime = Handle::current();
        let checked = tokio::task::spawn_blocking(move || {
            self.find_progress(&runtime)?;
            Ok(self)
        });
        checked.await.map_err(|error| RelayError::Thread(error.to_string().into()))?
    }

    /// Reports parked streams, and why it cannot publish, to `health`.
    pub fn reporting_to(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// Publishes until `shutdown`, and finishes the current transaction. Waits and retries while Kafka or the
    /// event store cannot be reached, and while another relay publishes. Fails only if publishing would
    /// corrupt the topics.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RelayError> {
        let runtime = Handle::current();
        // A blocking thread, because calls of the transactional producer block.
        let publishing = tokio::task::spawn_blocking(move || self.keep_publishing(&runtime, &shutdown));
        publishing.await.unwrap_or_else(|error| Err(RelayError::Thread(error.to_string().into())))
    }

    fn keep_publishing(mut self, runtime: &Handle, shutdown: &CancellationToken) -> Result<(), RelayError> {
        let mut pause = PAUSE_MIN;
        while !shutdown.is_cancelled() {
            let started = Instant::now();
            let ended = self.publish_until_failure(runtime, shutdown);
            self.measured.set_publishing(false);
            match ended {
                Ok(()) => return Ok(()),
                Err(Interruption::Refused(refusal)) => return Err(refusal),
                Err(Interruption::Failed(PublishFailure::Fenced)) => {
                    tracing::info!("Another relay has taken over; standing by");
                    self.stand_by(runtime, shutdown);
                }
                Err(Interruption::Failed(PublishFailure::Lost(lost))) => return Err(lost.into()),
                Err(Interruption::Failed(
                    PublishFailure::Broken(reason) | PublishFailure::Aborted(reason),
                )) => {
                    self.report_failure(&reason);
                    if started.elapsed() > PAUSE_MAX {
                        pause = PAUSE_MIN;
                    }
                    tracing::warn!(
                        error = %reason,
                        pause_ms = pause.as_millis(),
                        "The relay is interrupted; restarting from the progress in Kafka"
                    );
                    wait(runtime, shutdown, pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        Ok(())
    }

    /// Takes over from the previous producer, then publishes.
    fn publish_until_failure(
        &mut self,
        runtime: &Handle,
        shutdown: &CancellationToken,
    ) -> Result<(), Interruption> {
        // Keep this order: the previous relay could commit a transaction after an earlier read of the
        // progress.
        let publisher = Publisher::open(&self.config)?;
        let found = self.find_progress(runtime)?;
        let mut progress = found.unwrap_or_else(|| RelayProgress::none(self.log.store_id()));
        tracing::info!(relay.after = ?progress.position, "The relay starts to publish");
        publisher.publish(&[], &mut progress)?;
        self.measured.set_publishing(true);
        self.health.resolve(INTERRUPTED);
        let reader = topics::admin_reader(&self.config)?;
        let mut parked = 0;
        loop {
            if progress.parked.len() > parked {
                parked = progress.parked.len();
                self.report_parked(&progress)?;
            }
            let next =
                runtime.block_on(next_events(&*self.log, &mut self.head, &progress, self.options, shutdown));
            let events = match next {
                Next::Events(events) => events,
                Next::Heartbeat => {
                    self.find_lost(&progress, &reader)?;
                    Vec::new()
                }
                Next::Stop => return Ok(()),
                // Sends no heartbeat now, so that another relay, which may be able to read, takes over.
                Next::Unreadable(error) => return Err(RelayError::from(error).into()),
            };
            let head = *self.head.borrow();
            self.measured.begin(&events, &progress, head);
            let spans = EventSpans::begin("publish", &Kind::Producer, "relay", &events);
            while let Err(failure) = publisher.publish(&events, &mut progress) {
                let PublishFailure::Aborted(reason) = failure else {
                    spans.end(Some(&"the outcome of the transaction is unknown"));
                    return Err(failure.into());
                };
                self.report_failure(&reason);
                tracing::warn!(error = %reason, "Kafka aborted a transaction; sending it again");
                // Without the topic, each attempt would take as long as a message may.
                self.find_lost(&progress, &reader)?;
                wait(runtime, shutdown, PAUSE_MIN);
                if shutdown.is_cancelled() {
                    return Ok(());
                }
            }
            self.health.resolve(INTERRUPTED);
            self.published = progress.position;
            spans.end(None);
            let head = *self.head.borrow();
            self.measured.published(&events, &progress, head);
        }
    }

    fn report_parked(&self, progress: &RelayProgress) -> Result<(), RelayError> {
        let streams = progress.parked.len();
        self.measured.set_withheld(streams);
        // The latest, because the earlier ones are reported.
        let Some((stream, position)) = progress.parked.iter().max_by_key(|(_, position)| **position) else {
            return Ok(());
        };
        tracing::error!(
            %stream, position, relay.parked_streams = streams,
            "The relay withholds a stream from its damaged event on; restore a backup"
        );
        let detail = format!(
            "the relay withholds {streams} streams from their damaged events on, the latest {stream} from position \
             {position}; restore a backup"
        );
        self.health.degraded(WITHHELD_STREAMS, detail);
        if streams > PARKED_MAX { Err(RelayError::StoreDamaged) } else { Ok(()) }
    }

    fn report_failure(&self, reason: &str) {
        self.measured.failed();
        self.health
            .degraded(INTERRUPTED, format!("the relay cannot publish to Kafka and tries again: {reason}"));
    }

    /// The progress in Kafka; `None` if no event is published. Checks that the topics contain the beginning
    /// of this log.
    fn find_progress(&self, runtime: &Handle) -> Result<Option<RelayProgress>, RelayError> {
        let mut progress = progress::read(&self.config)?;
        let offsets = topics::offsets(&self.config, &topics::admin_reader(&self.config)?)?;
        if progress.is_none() {
            let trace = self.trace_of_events(&offsets, runtime)?;
            // Every relay writes a record before its first event. Another relay may have started since the
            // first read.
            progress = progress::read(&self.config)?;
            if let (None, Some(trace)) = (&progress, trace) {
                return Err(trace);
            }
        }
        if let Some(progress) = &progress {
            self.check(progress, &offsets, runtime)?;
        }
        if progress.as_ref().and_then(|progress| progress.position) < self.published {
            return Err(RelayError::ProgressLost { prefix: self.config.prefix().to_owned() });
        }
        Ok(progress)
    }

    /// The refusal of topics without a progress record, if events were published to them.
    fn trace_of_events(
        &self,
        offsets: &[(Partition, Range<u64>)],
        runtime: &Handle,
    ) -> Result<Option<RelayError>, RelayError> {
        let prefix = self.config.prefix().to_owned();
        if offsets.iter().any(|(_, offsets)| offsets.end > 0) {
            return Ok(Some(RelayError::ProgressLost { prefix }));
        }
        let Some(followers) = &self.followers else { return Ok(None) };
        let saved = runtime.block_on(followers.saved(self.log.store_id()))?;
        let mut of_these_topics = saved
            .into_iter()
            .filter(|saved| offsets.iter().any(|(partition, _)| *partition == saved.partition));
        Ok(of_these_topics.next().map(|saved| RelayError::TopicsRecreated {
            prefix,
            follower: saved.reactor,
            partition: saved.partition.0,
            position: saved.reached.position,
        }))
    }

    /// Looks for lost events and topics while the relay runs. A find interrupts the relay. Its next start refuses the
    /// topics if that is no passing state of the brokers.
    fn find_lost(&self, progress: &RelayProgress, reader: &Reader) -> Result<(), Interruption> {
        let offsets = topics::offsets(&self.config, reader)?;
        match progress.find_lost(&offsets) {
            Some(lost) => Err(PublishFailure::Broken(RelayError::from(lost).to_string()).into()),
            None => Ok(()),
        }
    }

    fn check(
        &self,
        progress: &RelayProgress,
        offsets: &[(Partition, Range<u64>)],
        runtime: &Handle,
    ) -> Result<(), RelayError> {
        let prefix = self.config.prefix().to_owned();
        let (theirs, ours) = (progress.store_id, self.log.store_id());
        if theirs != ours {
            return Err(RelayError::OtherStore { prefix, theirs, ours });
        }
        if let Some(published) = progress.position
            && !runtime.block_on(is_in_log(&*self.log, published, progress.last_event.as_ref()))?
        {
            return Err(RelayError::LogWentBack { prefix, published });
        }
        if let Some(lost) = progress.lost.clone().or_else(|| progress.find_lost(offsets)) {
            return Err(lost.into());
        }
        match offsets.iter().find(|(_, offsets)| offsets.start > 0) {
            Some((Partition(partition), offsets)) => {
                Err(RelayError::BeginningLost { partition: partition.clone(), first: offsets.start })
            }
            None => Ok(()),
        }
    }

    /// Waits until the other relay is silent for [`RelayOptions::takeover_after`]. Every transaction,
    /// including heartbeats, writes to the topic of progress.
    fn stand_by(&self, runtime: &Handle, shutdown: &CancellationToken) {
        let Ok(consumer) = reader(&self.config, &client(&self.config, "relay-standby")) else { return };
        let topic = self.config.progress_topic_name();
        let (mut end, mut active_at) = (None, Instant::now());
        while active_at.elapsed() < self.options.takeover_after && !shutdown.is_cancelled() {
            // An unreachable Kafka counts as activity: this relay could not publish either.
            let current = topics::offsets_of(&self.config, &consumer, &topic, 1).ok();
            if current.is_none() || current != end {
                (end, active_at) = (current, Instant::now());
            }
            wait(runtime, shutdown, self.options.heartbeat_every / 3);
        }
    }
}

/// The position up to which the topics have events, if the log lost the last of them. The topics must exist.
pub async fn published_and_lost(
    config: &KafkaConfig,
    log: &dyn EventLog,
) -> Result<Option<Position>, RelayError> {
    let topics = config.clone();
    let reading = tokio::task::spawn_blocking(move || progress::read(&topics));
    let progress = reading.await.map_err(KafkaError::from)??;
    let published = progress.filter(|progress| progress.store_id == log.store_id());
    let Some(RelayProgress { position: Some(position), last_event, .. }) = published else { return Ok(None) };
    Ok((!is_in_log(log, position, last_event.as_ref()).await?).then_some(position))
}

/// True if the log has the last published event. A record of an earlier version has only its position.
async fn is_in_log(
    log: &dyn EventLog,
    published: Position,
    last_event: Option<&EventMark>,
) -> Result<bool, ReadError> {
    match last_event {
        Some(mark) => log.has(mark).await,
        None => Ok(log.last_position().await? >= Some(published)),
    }
}

/// Why publishing ended without a shutdown.
enum Interruption {
    Failed(PublishFailure),
    Refused(RelayError),
}

impl From<PublishFailure> for Interruption {
    fn from(failure: PublishFailure) -> Self {
        Self::Failed(failure)
    }
}

impl From<KafkaError> for Interruption {
    fn from(error: KafkaError) -> Self {
        RelayError::from(error).into()
    }
}

impl From<RelayError> for Interruption {
    fn from(error: RelayError) -> Self {
        match error {
            refusal if refusal.is_of_lost_topics() => Self::Refused(refusal),
            RelayError::Kafka(error) => Self::Failed(error.into()),
            RelayError::Followers(error) => Self::Failed(PublishFailure::Broken(error.to_string())),
            RelayError::Log(error @ (ReadError::Unavailable(_) | ReadError::Corrupt(_))) => {
                Self::Failed(PublishFailure::Broken(error.to_string()))
            }
            refusal => Self::Refused(refusal),
        }
    }
}

enum Next {
    Events(Vec<RecordedEvent>),
    Heartbeat,
    Unreadable(ReadError),
    Stop,
}

/// Waits for events after the progress, at most until the next heartbeat is due.
async fn next_events(
    log: &dyn EventLog,
    head: &mut watch::Receiver<Option<Position>>,
    progress: &RelayProgress,
    options: RelayOptions,
    shutdown: &CancellationToken,
) -> Next {
    let heartbeat = Instant::now() + options.heartbeat_every;
    let mut outage = log.outage();
    loop {
        if shutdown.is_cancelled() {
            return Next::Stop;
        }
        let limit = options.events_per_transaction_max;
        let is_behind = *head.borrow_and_update() > progress.position;
        if is_behind {
            let read = match &progress.last_event {
                Some(mark) => log.read_after(mark, limit).await,
                None => log.read_all(progress.position, limit).await,
            };
            match read {
                Ok(events) if !events.is_empty() => return Next::Events(events),
                // The head can move a moment before a read returns the event.
                Ok(_) => {}
                Err(error) => return Next::Unreadable(error),
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Next::Stop,
            changed = head.changed() => if changed.is_err() {
                // The store has stopped, because the process shuts down.
                return Next::Stop;
            },
            cause = outage.cause() => return Next::Unreadable(cause),
            () = tokio::time::sleep_until(heartbeat) => return Next::Heartbeat,
        }
    }
}

fn wait(runtime: &Handle, shutdown: &CancellationToken, time: Duration) {
    runtime.block_on(shutdown.run_until_cancelled(tokio::time::sleep(time)));
}

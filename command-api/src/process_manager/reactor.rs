//! Runs one reaction within its limits, and parks it if it keeps failing.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{
    Event, RecordedEvent, StreamName, Timestamp,
    checkout::{
        exchange_event_has_reaction, order_event_has_reaction, payment_event_has_reaction, react_to_order,
        react_to_receipt,
    },
    exchange::ExchangeEventKind,
    order::OrderEventKind,
    payment::PaymentEventKind,
};
use futures::FutureExt;
use infra::{
    event_store::ReadError,
    operations::{
        OperationsError,
        parked::{ParkedReaction, ParkedReactions},
    },
    traces::{self, Attribute, Kind, ROLE, Span},
};
use lru::LruCache;
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use crate::{checkout::Checkout, executor::ExecuteError};

/// Time limit of one attempt. Above the limits of the store's own calls, so that those report first.
const ATTEMPT_TIME_MAX: Duration = Duration::from_mins(1);
/// Events of a parked stream per read.
const PAGE_EVENTS: usize = 100;
/// A parked reaction is repeated after this pause, doubled each time.
const PARKED_PAUSE_MIN: Duration = Duration::from_secs(10);
/// The longest pause after a failure that may end by itself, such as an unavailable store.
const PASSING_PAUSE_MAX: Duration = Duration::from_mins(1);
/// The longest pause after a failure that lasts until an operator or a newer version repairs its cause.
const LASTING_PAUSE_MAX: Duration = Duration::from_mins(10);
/// Failures that are remembered. The streams of older ones are tried more often.
const FAILURES_MAX: usize = 100_000;

/// The parts that a reaction needs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reactor {
    pub checkout: Checkout,
    pub parked: Arc<dyn ParkedReactions>,
    store_id: Uuid,
    hint: Arc<ParkedHint>,
    /// The streams whose last failure this process has stored, each with the attempts of its entry then.
    failed_here: Arc<Mutex<LruCache<StreamName, u32>>>,
}

/// Knows whether any reaction is parked, so that a healthy system asks no store about it.
#[derive(Default)]
struct ParkedHint {
    /// Counts the writes of entries by this process, and the moments from which other processes may have
    /// written some.
    changes: AtomicU64,
    /// The value of `changes` at which the store had no entry, plus one. 0 before the first look.
    empty_at: AtomicU64,
}

/// Why a reaction is not durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReactionError {
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    #[error("the reaction has not ended within {} s", ATTEMPT_TIME_MAX.as_secs())]
    TooSlow,
    #[error("the reaction panicked; the log shows where")]
    Panicked,
}

impl ReactionError {
    /// True if the failure lasts until an operator or a newer version repairs its cause.
    fn lasts(&self) -> bool {
        match self {
            Self::Execute(ExecuteError::Unreadable(_)) | Self::Panicked => true,
            Self::Execute(
                ExecuteError::Overloaded
                | ExecuteError::Superseded
                | ExecuteError::Conflict
                | ExecuteError::Busy
                | ExecuteError::Unavailable(_)
                | ExecuteError::OutcomeUnknown(_)
                | ExecuteError::LogWentBack,
            )
            | Self::TooSlow => false,
        }
    }

    /// True if another attempt soon would fail too, or would hold a place for long.
    pub fn parks_at_once(&self) -> bool {
        self.lasts() || matches!(self, Self::TooSlow)
    }
}

impl Reactor {
    pub fn new(checkout: Checkout, parked: Arc<dyn ParkedReactions>) -> Self {
        let store_id = checkout.store().log().store_id();
        let failed_here = Arc::new(Mutex::new(LruCache::unbounded()));
        Self { checkout, parked, store_id, hint: Arc::default(), failed_here }
    }

    /// Runs the reaction to an event once.
    pub async fn react(&self, event: &RecordedEvent) -> Result<(), ReactionError> {
        let reacting = AssertUnwindSafe(self.attempt(event)).catch_unwind();
        match timeout(ATTEMPT_TIME_MAX, reacting).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_panic)) => Err(ReactionError::Panicked),
            Err(_) => Err(ReactionError::TooSlow),
        }
    }

    /// Continues the trace of the event.
    async fn attempt(&self, event: &RecordedEvent) -> Result<(), ExecuteError> {
        let metadata = event.decode_metadata()?;
        let Some(trace) = metadata.traceparent else {
            return self.attempt_untraced(event, metadata.correlation_id).await;
        };
        let mut span = Span::begin("react", Kind::Consumer, Some(trace));
        span.describe(|| [Attribute::new(ROLE, "process-manager")]);
        span.describe_event(event);
        let log = tracing::error_span!("reaction", trace_id = format_args!("{:032x}", trace.trace_id));
        let reacting = self.attempt_untraced(event, metadata.correlation_id).instrument(log);
        let outcome = traces::within(span.context(), reacting).await;
        if let Err(error) = &outcome {
            span.fail(|| error.to_string());
        }
        outcome
    }

    async fn attempt_untraced(
        &self,
        event: &RecordedEvent,
        correlation_id: Uuid,
    ) -> Result<(), ExecuteError> {
        let checkout = &self.checkout;
        match (event.decode()?, &event.stream) {
            (Event::Order(content), StreamName::Order(id)) => {
                let _guard = checkout.lock_order(*id).await?;
                // The handler that placed the order may have finished while this reaction waited.
                if checkout.handled_inline().take(event.id) {
                    return Ok(());
                }
                let order = checkout.order(*id).await?.state;
                let reaction = react_to_order(*id, &content, &order);
                checkout.run(*id, reaction, event.id, correlation_id).await
            }
            (Event::Payment(content), StreamName::Payment(id)) => {
                checkout.react_to_payment(*id, &content, event.id, correlation_id).await
            }
            (Event::Receipt(content), StreamName::Receipt(_)) => {
                checkout.send_all(react_to_receipt(&content), event.id, correlation_id).await
            }
            (Event::Exchange(_), StreamName::Exchange(id)) => checkout.run_exchange(*id).await.map(drop),
            _ => Ok(()),
        }
    }

    /// True unless it is certain that no reaction is parked.
    pub fn any_may_be_parked(&self) -> bool {
        self.hint.empty_at.load(Ordering::Acquire) != self.hint.changes.load(Ordering::Acquire) + 1
    }

    /// From now on, other processes may have parked reactions of this process's partitions.
    pub fn expect_parked(&self) {
        self.hint.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of parked streams.
    pub async fn count_parked(&self) -> Result<u64, OperationsError> {
        let changes = self.hint.changes.load(Ordering::Acquire);
        let count = self.parked.count(self.store_id).await?;
        self.hint.empty_at.store(if count == 0 { changes + 1 } else { 0 }, Ordering::Release);
        Ok(count)
    }

    /// Parks a reaction that has failed.
    pub async fn park(&self, event: &RecordedEvent, error: &ReactionError) -> Result<(), OperationsError> {
        let now = self.checkout.clock.now();
        let next_attempt_at = now.saturating_add(pause_after(1, error)).unwrap_or(Timestamp::MAX);
        let entry = ParkedReaction::new(event, &error.to_string(), now, next_attempt_at);
        self.parked.park(self.store_id, &entry).await?;
        self.note_failure(&entry);
        self.expect_parked();
        tracing::error!(stream = %event.stream, event.id = %event.id, event.revision = event.revision, %error,
            "A reaction failed and is parked; the later ones of its stream wait behind it");
        Ok(())
    }

    /// True if this process has stored the last failure of the entry. Another attempt at once would fail too.
    pub fn has_failed_here(&self, entry: &ParkedReaction) -> bool {
        self.failures().get(&entry.stream) == Some(&entry.attempts)
    }

    fn note_failure(&self, entry: &ParkedReaction) {
        let mut failures = self.failures();
        failures.put(entry.stream.clone(), entry.attempts);
        if failures.len() > FAILURES_MAX {
            failures.pop_lru();
        }
    }

    fn failures(&self) -> MutexGuard<'_, LruCache<StreamName, u32>> {
        self.failed_here.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the reaction to a later event wait behind a parked one. False if its stream is not parked.
    pub async fn wait_behind_parked(&self, event: &RecordedEvent) -> Result<bool, OperationsError> {
        self.parked.add(self.store_id, &event.stream, event.revision).await
    }

    /// Entries after `after` in the order of their streams.
    pub async fn list_parked(
        &self,
        after: Option<StreamName>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        self.parked.list(self.store_id, after, limit).await
    }

    /// Entries whose time has come.
    pub async fn due(
        &self,
        after: Option<(Timestamp, StreamName)>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        self.parked.due(self.store_id, self.checkout.clock.now(), after, limit).await
    }

    /// Runs the reactions of a parked stream in order, up to the first that fails. Removes the entry, or
    /// stores the failure.
    pub async fn retry(&self, mut entry: ParkedReaction) -> Result<(), OperationsError> {
        loop {
            if let Err(error) = self.catch_up(&mut entry).await {
                let pause = pause_after(entry.attempts, &error);
                entry.attempts = entry.attempts.saturating_add(1);
                entry.next_attempt_at =
                    self.checkout.clock.now().saturating_add(pause).unwrap_or(Timestamp::MAX);
                entry.reason = error.to_string().chars().take(ParkedReaction::REASON_CHARS_MAX).collect();
                tracing::debug!(stream = %entry.stream, event.id = %entry.event_id, %error,
                    "A parked reaction failed again; retrying later");
                self.parked.postpone(self.store_id, &entry).await?;
                self.note_failure(&entry);
                return Ok(());
            }
            let done = entry.last_revision;
            match self.parked.resume(self.store_id, &entry.stream, done).await? {
                None => {
                    tracing::info!(stream = %entry.stream, "The parked reactions of a stream are durable");
                    return Ok(());
                }
                // The follower has added events meanwhile.
                Some(last) => (entry.revision, entry.last_revision) = (done + 1, last),
            }
        }
    }

    /// Runs the reactions from `revision` to `last_revision`. After a failure, `entry` begins with the event
    /// whose reaction failed.
    async fn catch_up(&self, entry: &mut ParkedReaction) -> Result<(), ReactionError> {
        let log = self.checkout.store().log();
        let mut next = entry.revision;
        while next <= entry.last_revision {
            let reading = timeout(ATTEMPT_TIME_MAX, log.read_stream(&entry.stream, next, PAGE_EVENTS));
            let read = reading.await.map_err(|_| ReactionError::TooSlow)?;
            let events = read.map_err(|error: ReadError| ExecuteError::from(error))?;
            if events.is_empty() {
                tracing::warn!(stream = %entry.stream, event.revision = next,
                    "The log has lost an event with a parked reaction; the reaction is dropped");
                return Ok(());
            }
            for event in events.iter().take_while(|event| event.revision <= entry.last_revision) {
                if may_react(event) {
                    entry.revision = event.revision;
                    entry.event_id = event.id;
                    entry.event_type = event.type_name.to_string();
                    self.react(event).await?;
                }
            }
            next = events.last().map_or(next, |last| last.revision + 1);
        }
        Ok(())
    }
}

/// True if a reaction may follow the event. A newer version may have written an event of an unknown type, and
/// the type of a damaged event is lost: their reactions are parked, not skipped.
pub(super) fn may_react(recorded: &RecordedEvent) -> bool {
    let type_name = &recorded.type_name;
    match recorded.stream {
        StreamName::Stock(_) => false,
        StreamName::Receipt(_) => true,
        StreamName::Order(_) | StreamName::Payment(_) | StreamName::Exchange(_)
            if recorded.damage.is_some() =>
        {
            true
        }
        StreamName::Exchange(_) => {
            ExchangeEventKind::of_type_name(type_name).is_none_or(exchange_event_has_reaction)
        }
        StreamName::Order(_) => OrderEventKind::of_type_name(type_name).is_none_or(order_event_has_reaction),
        StreamName::Payment(_) => {
            PaymentEventKind::of_type_name(type_name).is_none_or(payment_event_has_reaction)
        }
    }
}

/// The pause after this number of failed attempts.
fn pause_after(attempts: u32, error: &ReactionError) -> Duration {
    let longest = if error.lasts() { LASTING_PAUSE_MAX } else { PASSING_PAUSE_MAX };
    let doubled = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    PARKED_PAUSE_MIN.saturating_mul(doubled).min(longest)
}

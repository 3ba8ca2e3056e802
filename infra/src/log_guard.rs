//! Refuses to work with an event log that went back.
//!
//! A log goes back when an older copy of it is restored under its old id. Then positions that this process has
//! stored, and rows that it has made, are of events that the log no longer has. If it went on, its followers
//! would skip the events that come to stand at those positions. So it refuses every read and every append of
//! the log from then on, until a restart. `orderly repair log` removes the cause.
//!
//! The guard compares at the start ([`LogGuard::expect`]), with each read that a follower continues from a mark
//! ([`EventLog::read_after`]), and once a second ([`LogGuard::watch`]).

mod guarded;
mod journal;

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::RecordedEvent;
use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::guarded::{GuardedLog, GuardedStore};
pub use self::journal::Journal;
use crate::{
    event_source::{Partition, Reached},
    event_store::{EventLog, EventMark, EventStore, ReadError},
    health::Health,
};

/// The name of the problem in [`Health`].
const PROBLEM: &str = "log_went_back";
const COMPARED_EVERY: Duration = Duration::from_secs(1);

/// Guards the log of this process. Clones share the refusal.
#[derive(Clone)]
pub struct LogGuard(Arc<Inner>);

struct Inner {
    log: Arc<dyn EventLog>,
    health: Health,
    /// Why this process refuses to use the log. Never cleared.
    refusal: watch::Sender<Option<Arc<str>>>,
    journal: Mutex<Journal>,
}

impl fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogGuard").field("refusal", &self.refusal()).finish_non_exhaustive()
    }
}

impl LogGuard {
    /// Compares the journal in `data_dir`, if the process has one, with the log.
    pub async fn open(
        log: Arc<dyn EventLog>,
        data_dir: Option<&Path>,
        health: Health,
    ) -> Result<Self, GuardError> {
        let journal = match data_dir {
            Some(data_dir) => Journal::open(data_dir, log.store_id())?,
            None => Journal::in_memory(log.store_id()),
        };
        let last = journal.last().cloned();
        let refusal = watch::Sender::new(None);
        let guard = Self(Arc::new(Inner { log, health, refusal, journal: Mutex::new(journal) }));
        if let Some(mark) = last {
            guard.settle(guard.0.log.expect(&mark).await)?;
        }
        Ok(guard)
    }

    /// The id of the guarded log.
    pub fn store_id(&self) -> Uuid {
        self.0.log.store_id()
    }

    /// Why this process refuses to use the log; `None` while it does not.
    pub fn refusal(&self) -> Option<Arc<str>> {
        self.0.refusal.borrow().clone()
    }

    /// Waits until this process refuses to use the log.
    pub async fn refused(&self) {
        // The sender lives as long as this guard.
        let _ = self.0.refusal.subscribe().wait_for(Option::is_some).await;
    }

    /// Refuses to use the log from now on.
    pub fn refuse(&self, why: &str) {
        self.0.refusal.send_if_modified(|refusal| {
            let is_first = refusal.is_none();
            if is_first {
                tracing::error!(
                    reason = why,
                    "The event log went back: it lost events that were read before. This process refuses commands and \
                     stops its followers until `orderly repair log` has run and it is started again"
                );
                self.0.health.unable(PROBLEM, why);
                *refusal = Some(why.into());
            }
            is_first
        });
    }

    /// Compares how far `reader` has read with the log. Refuses to use the log if it lost the last event, and
    /// fails only if the log cannot be read.
    pub async fn expect(
        &self,
        reader: &str,
        partition: &Partition,
        reached: &Reached,
    ) -> Result<(), ReadError> {
        let log = &self.0.log;
        let found = match &reached.last_event {
            Some(mark) => log.expect(mark).await,
            // An earlier version stored this position.
            None if *partition == Partition::whole_log() => {
                let ends_before = log.last_position().await? < Some(reached.position);
                let text = || format!("it ends before position {}", reached.position);
                if ends_before { Err(ReadError::WentBack(text().into())) } else { Ok(()) }
            }
            None => Ok(()),
        };
        self.settle(match found {
            Err(ReadError::WentBack(why)) => {
                Err(ReadError::WentBack(format!("{why}; {reader} has read it").into()))
            }
            found => found,
        })
    }

    /// Turns the finding that the log went back into the refusal.
    fn settle(&self, found: Result<(), ReadError>) -> Result<(), ReadError> {
        match found {
            Err(ReadError::WentBack(why)) => {
                self.refuse(&why);
                Ok(())
            }
            found => found,
        }
    }

    /// The log of this process, for its roles.
    pub fn log(&self) -> Arc<dyn EventLog> {
        Arc::new(GuardedLog { guard: self.clone(), inner: Arc::clone(&self.0.log) })
    }

    /// The store of the same log, for the roles that write.
    pub fn store(&self, inner: Arc<dyn EventStore>) -> Arc<dyn EventStore> {
        Arc::new(GuardedStore { guard: self.clone(), inner })
    }

    /// Compares the log with the last event that this process has seen, once a second, until `shutdown` or
    /// until it refuses the log. Asks the reader of the log where it has one, else reads the log. `seen` gets each
    /// new last event.
    pub async fn watch(self, seen: impl Fn(&RecordedEvent), shutdown: CancellationToken) {
        let mut rounds = time::interval(COMPARED_EVERY);
        rounds.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut is_failing = false;
        while self.refusal().is_none() {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.refused() => return,
                _ = rounds.tick() => {}
            }
            let compared = self.compare(&seen).await;
            let was_failing = std::mem::replace(&mut is_failing, compared.is_err());
            if let Err(error) = compared
                && !was_failing
            {
                tracing::warn!(%error, "Cannot compare the event log with its journal; retrying every second");
            }
        }
    }

    async fn compare(&self, seen: &impl Fn(&RecordedEvent)) -> Result<(), GuardError> {
        let known = self.journal().last().cloned();
        let followed = known.as_ref().and_then(|mark| self.0.log.last_followed(mark));
        let last = if let Some(last) = followed {
            last
        } else {
            if let Some(mark) = &known {
                self.settle(self.0.log.expect(mark).await)?;
            }
            let Some(last) = self.0.log.last_event().await? else { return Ok(()) };
            last
        };
        let mark = EventMark::from(&last);
        if self.refusal().is_some() || Some(&mark) == known.as_ref() {
            return Ok(());
        }
        seen(&last);
        let journal = {
            let mut journal = self.journal();
            journal.note(mark);
            journal.clone()
        };
        let saved = tokio::task::spawn_blocking(move || journal.save()).await;
        Ok(saved.unwrap_or_else(|error| Err(io::Error::other(error)))?)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the guard cannot work.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the journal of the event log in the data directory (ORDERLY_DATA_DIR) cannot be used: {0}")]
    Journal(#[from] io::Error),
}

#[cfg(test)]
mod tests;

//! Reads the file beside the writer, on threads that end with the store: loads the names of streams, and looks
//! for damage.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use domain::Position;

use super::{known_streams::KnownStreams, open, readers, rows::UncheckedUpTo};
use crate::{event_store::ReadError, health::Health};

/// Events per read of the check.
const CHECKED_EVENTS: usize = 1_000;
/// Pause between two reads of the check: at most 10,000 events/s, so ten million take 17 minutes.
const CHECK_PAUSE: Duration = Duration::from_millis(100);
/// Pause after a failed read of the check.
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// The name of the state of health that the check reports.
const DAMAGED_EVENTS: &str = "damaged_events";

/// The threads. [`Background::stop`] ends them.
#[derive(Debug, Default)]
pub(super) struct Background {
    stop: Arc<Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Tells the threads to end, also while they pause.
#[derive(Debug, Default)]
struct Stop {
    is_requested: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn request(&self) {
        *self.is_requested.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// True if the thread must end. Waits at most `time` for that.
    fn within(&self, time: Duration) -> bool {
        let guard = self.is_requested.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, time, |is_requested| !*is_requested);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Background {
    /// Without the names, each look-up of a new stream reads the file.
    pub(super) fn load_known_streams(&self, path: &Path, known_streams: KnownStreams) {
        let path = path.to_owned();
        self.spawn("event-store-streams", move |stop| {
            let load = || known_streams.load(&open::open_reader(&path)?, || stop.within(Duration::ZERO));
            if let Err(error) = load() {
                tracing::warn!(%error, "Cannot load the names of streams; look-ups of new streams read the file");
            }
        });
    }

    /// Checks each event of the file once, up to its present end.
    pub(super) fn check_events(&self, path: &Path, unchecked: UncheckedUpTo, health: Health) {
        let check = BackgroundCheck { path: path.to_owned(), unchecked, health };
        self.spawn("event-store-check", move |stop| check.run(stop));
    }

    fn spawn(&self, name: &str, work: impl FnOnce(&Stop) + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        match thread::Builder::new().name(name.to_owned()).spawn(move || work(&stop)) {
            Ok(thread) => self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread),
            Err(error) => tracing::warn!(%error, thread = name, "Cannot start a thread of the event store"),
        }
    }

    pub(super) fn stop(&self) {
        self.stop.request();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.join().is_err() {
                tracing::error!("A background thread of the event store has panicked");
            }
        }
    }
}

struct BackgroundCheck {
    path: PathBuf,
    unchecked: UncheckedUpTo,
    health: Health,
}

impl BackgroundCheck {
    fn run(&self, stop: &Stop) {
        loop {
            match self.check(stop) {
                Ok(()) => return,
                Err(ReadError::Corrupt(what) | ReadError::WentBack(what)) => {
                    tracing::error!(error = %what, "The event store is damaged; events from here on cannot be read");
                    let detail = format!("{what}; restore a backup");
                    self.health.degraded(DAMAGED_EVENTS, detail);
                    return;
                }
                Err(error @ ReadError::Unavailable(_)) => {
                    tracing::warn!(%error, "Cannot check the event store for damage; trying again");
                    if stop.within(RETRY_PAUSE) {
                        return;
                    }
                }
            }
        }
    }

    fn check(&self, stop: &Stop) -> Result<(), ReadError> {
        let connection = open::open_reader(&self.path)?;
        let end = readers::last_position(&connection)?;
        let (mut checked, mut damaged): (Option<Position>, u64) = (None, 0);
        while checked < end {
            let events = readers::read_all(&connection, self.unchecked, checked, CHECKED_EVENTS)?;
            for error in events.iter().filter_map(|event| event.check().err()) {
                tracing::error!(%error, "An event is damaged; its stream stops at it");
                damaged += 1;
                let detail = format!("{damaged} events are damaged; the last one found: {error}");
                self.health.degraded(DAMAGED_EVENTS, detail);
            }
            checked = events.last().map(|event| event.position).or(end);
            if stop.within(CHECK_PAUSE) {
                return Ok(());
            }
        }
        Ok(())
    }
}

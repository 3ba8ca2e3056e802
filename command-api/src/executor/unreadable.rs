//! The streams that this build cannot decode, for example because a newer build wrote an event.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::StreamName;
use infra::{
    health::Health,
    measurements::{Gauge, UNREADABLE_STREAMS, number},
};
use lru::LruCache;
use tokio::time::Instant;

use super::ExecuteError;

/// Such a stream is not read again within this time. Short, so that a retry after a repair succeeds.
const KEPT: Duration = Duration::from_secs(1);
const STREAMS_MAX: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");
/// The condition in [`Health`].
const CONDITION: &str = "unreadable_streams";

/// Remembers streams that cannot be decoded and reports them to the operator. So each is read and logged at
/// most once a second, however many commands name it. The executors of a process share one.
#[derive(Debug)]
pub struct UnreadableStreams {
    health: Health,
    streams: Mutex<LruCache<StreamName, (Instant, ExecuteError)>>,
    unreadable: Gauge,
}

impl UnreadableStreams {
    pub fn reported_to(health: Health) -> Arc<Self> {
        let (streams, unreadable) = (Mutex::new(LruCache::new(STREAMS_MAX)), UNREADABLE_STREAMS.with([]));
        unreadable.set(0.0);
        Arc::new(Self { health, streams, unreadable })
    }

    /// Why the stream cannot be decoded, if that is known.
    pub(super) fn find(&self, stream: &StreamName) -> Option<ExecuteError> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, error) = streams.get(stream)?;
        (since.elapsed() < KEPT).then(|| error.clone())
    }

    pub(super) fn add(&self, stream: &StreamName, error: &ExecuteError) {
        tracing::error!(%stream, %error,
            "Cannot decode a stream; its commands fail until an operator repairs it");
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.put(stream.clone(), (Instant::now(), error.clone()));
        self.report(&streams);
    }

    /// The stream was decoded.
    pub(super) fn remove(&self, stream: &StreamName) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.pop(stream).is_some() {
            self.report(&streams);
        }
    }

    fn report(&self, streams: &LruCache<StreamName, (Instant, ExecuteError)>) {
        self.unreadable.set(number(streams.len()));
        let Some((last, _)) = streams.peek_mru() else { return self.health.resolve(CONDITION) };
        let count = streams.len();
        self.health.degraded(
            CONDITION,
            format!(
                "{count} streams cannot be decoded, the last is {last}: their commands answer 503. The log \
                 names the events. Install the version of Orderly that wrote them; if they are damaged, restore a \
                 backup"
            ),
        );
    }
}

//! Callers that wait until a row reflects a later revision.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::StreamName;
use tokio::{sync::watch, time};

/// The pauses of a caller that reads from a replica.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// The waiting callers of one process, by stream. A commit wakes those that wait for a stream of the commit, and
/// no others. Bounded by the requests that the process accepts. Clones share the callers.
#[derive(Debug, Clone, Default)]
pub struct Waiters(Arc<Mutex<HashMap<StreamName, watch::Sender<()>>>>);

impl Waiters {
    /// Registers a caller. It notices every change from now on.
    pub fn of(&self, stream: &StreamName) -> StreamChanges {
        let mut waiting = self.lock();
        let changed = match waiting.get(stream) {
            Some(sender) => sender.subscribe(),
            None => waiting.entry(stream.clone()).or_default().subscribe(),
        };
        StreamChanges { stream: stream.clone(), changed, waiters: self.clone(), pause: None }
    }

    pub fn wake<'s>(&self, streams: impl IntoIterator<Item = &'s StreamName>) {
        let waiting = self.lock();
        for sender in streams.into_iter().filter_map(|stream| waiting.get(stream)) {
            sender.send_replace(());
        }
    }

    pub fn wake_all(&self) {
        for sender in self.lock().values() {
            sender.send_replace(());
        }
    }

    /// The streams that callers wait for now.
    pub(super) fn streams(&self) -> Vec<StreamName> {
        self.lock().keys().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamName, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The changes of one stream's row, and of whether the stream is parked. Dropping this ends the registration.
#[derive(Debug)]
pub struct StreamChanges {
    stream: StreamName,
    changed: watch::Receiver<()>,
    waiters: Waiters,
    /// The longest wait of the next call. `None`: until a change.
    pause: Option<Duration>,
}

impl StreamChanges {
    /// For a caller that reads from a replica. The primary server reports a change before the replica has it, or
    /// has reported it before the registration. So each call also returns after a pause. The pauses double from 5 to
    /// 250 ms, and each change sets them back.
    pub(super) fn of_replica(mut self) -> Self {
        self.pause = Some(PAUSE_MIN);
        self
    }

    /// Waits for a change since the last call, or since the registration. May also return without one.
    pub async fn next(&mut self) {
        // The sender stays in the map while this receiver exists.
        let Some(pause) = self.pause else {
            let _ = self.changed.changed().await;
            return;
        };
        let is_changed = time::timeout(pause, self.changed.changed()).await.is_ok();
        self.pause = Some(if is_changed { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) });
    }
}

impl Drop for StreamChanges {
    fn drop(&mut self) {
        let mut waiting = self.waiters.lock();
        // The count includes this receiver.
        if waiting.get(&self.stream).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.remove(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Sku;

    use super::*;

    fn stream(name: &str) -> StreamName {
        Sku::new(name).unwrap().into()
    }

    async fn is_woken(changes: &mut StreamChanges) -> bool {
        tokio::time::timeout(std::time::Duration::from_secs(1), changes.next()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_wakes_every_caller_of_its_stream_once_and_no_other() {
        let waiters = Waiters::default();
        let (mut first, mut second, mut other) =
            (waiters.of(&stream("A")), waiters.of(&stream("A")), waiters.of(&stream("B")));
        waiters.wake(&[stream("A"), stream("C")]);
        assert!(is_woken(&mut first).await && is_woken(&mut second).await);
        assert!(!is_woken(&mut other).await && !is_woken(&mut first).await);
        waiters.wake_all();
        assert!(is_woken(&mut first).await && is_woken(&mut other).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_reads_from_a_replica_looks_again_after_growing_pauses() {
        let waiters = Waiters::default();
        let mut changes = waiters.of(&stream("A")).of_replica();
        let mut pauses = async |count: usize| {
            let mut taken = Vec::new();
            for _ in 0..count {
                let began = time::Instant::now();
                changes.next().await;
                taken.push(began.elapsed().as_millis());
            }
            taken
        };
        assert_eq!(pauses(8).await, [5, 10, 20, 40, 80, 160, 250, 250]);
        waiters.wake(&[stream("A")]);
        assert_eq!(pauses(3).await, [0, 5, 10]);
    }

    #[test]
    fn dropped_callers_leave_nothing_behind() {
        let waiters = Waiters::default();
        let (first, second) = (waiters.of(&stream("A")), waiters.of(&stream("A")));
        drop(first);
        assert_eq!(waiters.streams(), [stream("A")]);
        drop(second);
        assert!(waiters.is_empty());
    }
}

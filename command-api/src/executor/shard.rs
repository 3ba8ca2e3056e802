//! One shard: owns a part of the aggregates, decides their commands and submits the events.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::{Decider, StreamName};
use futures::future::join_all;
use infra::{
    event_store::{Append, AppendError, Appended, Epoch, EventLog, EventStore, ExpectedRevision},
    snapshots::SnapshotStore,
};
use lru::LruCache;
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    ExecuteError,
    aggregate::{Aggregate, Known},
    batch::{Pending, Work, decide_into, decide_known, fail_all, fail_with_conflict},
    shared_store::run_shared,
};

/// Commands per batch.
const BATCH_COMMANDS_MAX: usize = 1_024;

pub(super) struct Shard<A: Decider> {
    store: Arc<dyn EventStore>,
    log: Arc<dyn EventLog>,
    snapshots: Option<Arc<SnapshotStore>>,
    cache: LruCache<A::Id, Aggregate<A>>,
    cache_weight: usize,
    cache_weight_max: usize,
    /// Number of the last append that was submitted: 1, 2, 3, …
    submitted: u64,
    /// Number of the last append that is durable. Appends become durable in order.
    durable: Arc<AtomicU64>,
    /// The epoch of all cached state. None after state was dropped: its appends may still be under way.
    cached_epoch: Option<Epoch>,
    runtime: Handle,
}

impl<A: Decider> Shard<A> {
    pub fn new(
        store: Arc<dyn EventStore>,
        snapshots: Option<Arc<SnapshotStore>>,
        cache_weight_max: usize,
    ) -> Self {
        let (log, cached_epoch) = (store.log(), Some(store.epoch()));
        Self {
            store,
            log,
            snapshots,
            cache: LruCache::unbounded(),
            cache_weight: 0,
            cache_weight_max,
            submitted: 0,
            durable: Arc::new(AtomicU64::new(0)),
            cached_epoch,
            runtime: Handle::current(),
        }
    }

    /// Decides and submits the work without any wait, if its aggregate is in memory or known not to exist.
    /// Otherwise returns the work.
    pub fn run_now(&mut self, work: Work<A>) -> Option<Work<A>> {
        let epoch = self.store.epoch();
        if !self.store.accepts_dependent_appends() || self.cached_epoch != Some(epoch) {
            return Some(work);
        }
        let id = work.id().clone();
        let stream: StreamName = id.clone().into();
        let mut aggregate = match self.take_cached(&id).filter(|cached| cached.epoch == epoch) {
            Some(aggregate) => aggregate,
            None if work.is_for_new_stream() || self.store.lacks(&stream) => Aggregate::new(epoch),
            None => return Some(work),
        };
        let mut pending = Pending::after(aggregate.revision);
        let known = work.known_to(&aggregate);
        let outcome = match known {
            Known::Uncertain => {
                self.cache_if_valid(id, aggregate, Ok(()));
                return Some(work);
            }
            known => decide_known(&stream, &mut aggregate, &mut pending, work, known),
        };
        match &outcome {
            Ok(()) => self.submit(&stream, &mut aggregate, pending),
            Err(error) => pending.fail(error),
        }
        self.cache_if_valid(id, aggregate, outcome);
        self.evict();
        None
    }

    async fn run_batch(&mut self, batch: Vec<Work<A>>) {
        let epoch = self.epoch_of_batch(batch[0].id()).await;
        let loaded = self.with_aggregates(by_aggregate(batch), epoch).await;
        if self.store.accepts_dependent_appends() {
            for (id, mut aggregate, work) in loaded {
                let outcome = self.run_exclusive(&id.clone().into(), &mut aggregate, work).await;
                self.cache_if_valid(id, aggregate, outcome);
            }
        } else {
            let (store, log) = (&*self.store, &*self.log);
            let running = loaded.into_iter().map(async |(id, mut aggregate, work)| {
                let stream: StreamName = id.clone().into();
                let outcome = run_shared(store, log, &stream, &mut aggregate, work).await;
                (id, aggregate, outcome)
            });
            for (id, aggregate, outcome) in join_all(running).await {
                self.cache_if_valid(id, aggregate, outcome);
            }
        }
    }

    /// The epoch of the batch. Read before anything is loaded, so that a later failure supersedes the batch's
    /// appends.
    ///
    /// After state was dropped, this first waits until all submitted appends are durable or have failed.
    /// Before that, the log may still lack events that were decided on.
    async fn epoch_of_batch(&mut self, any: &A::Id) -> Epoch {
        let mut epoch = self.store.epoch();
        if self.cached_epoch != Some(epoch) {
            if self.store.accepts_dependent_appends() {
                let stream = any.clone().into();
                let (expected, events) = (ExpectedRevision::NoStream, Vec::new());
                let barrier = Append { stream, expected, events, epoch: None };
                // The barrier's answer, success or failure, comes after the answers of all earlier appends.
                drop(self.store.append(barrier).await);
                epoch = self.store.epoch();
            }
            self.cached_epoch = Some(epoch);
        }
        epoch
    }

    /// Takes the aggregates from the cache; loads the missing ones concurrently.
    async fn with_aggregates(
        &mut self,
        groups: Vec<(A::Id, Vec<Work<A>>)>,
        epoch: Epoch,
    ) -> Vec<(A::Id, Aggregate<A>, Vec<Work<A>>)> {
        let mut ready = Vec::with_capacity(groups.len());
        let mut missing: Vec<(A::Id, Vec<Work<A>>)> = Vec::new();
        for (id, work) in groups {
            match self.take_cached(&id).filter(|cached| cached.epoch == epoch) {
                Some(aggregate) => ready.push((id, aggregate, work)),
                None if work[0].is_for_new_stream() => ready.push((id, Aggregate::new(epoch), work)),
                None => missing.push((id, work)),
            }
        }
        if missing.is_empty() {
            return ready;
        }
        let streams: Vec<StreamName> = missing.iter().map(|(id, _)| id.clone().into()).collect();
        let exist = match self.log.exist(&streams).await {
            Ok(exist) => exist,
            Err(error) => {
                fail_all(missing.into_iter().flat_map(|(_, work)| work), &error.into());
                return ready;
            }
        };
        let (log, snapshots) = (&*self.log, self.snapshots.as_ref());
        let loading =
            missing.into_iter().zip(streams).zip(exist).map(async |(((id, work), stream), exists)| {
                let aggregate = if exists {
                    Aggregate::load(log, snapshots, &stream, epoch).await
                } else {
                    Ok(Aggregate::new(epoch))
                };
                (id, work, aggregate)
            });
        for (id, work, aggregate) in join_all(loading).await {
            match aggregate {
                Ok(aggregate) => ready.push((id, aggregate, work)),
                Err(error) => {
                    tracing::error!(stream = %id.into(), %error, "Cannot load a stream; its commands fail");
                    fail_all(work, &error);
                }
            }
        }
        ready
    }

    /// For a store with one owner: decides and submits all work, without waiting until it is durable.
    async fn run_exclusive(
        &mut self,
        stream: &StreamName,
        aggregate: &mut Aggregate<A>,
        work: Vec<Work<A>>,
    ) -> Result<(), ExecuteError> {
        let mut pending = Pending::after(aggregate.revision);
        let mut work = work.into_iter();
        while let Some(next) = work.next() {
            if pending.is_full() {
                let full = std::mem::replace(&mut pending, Pending::after(aggregate.revision));
                self.submit(stream, aggregate, full);
            }
            if let Err(error) = decide_into(&*self.log, stream, aggregate, &mut pending, next).await {
                fail_with_conflict(pending, work);
                return Err(error);
            }
        }
        self.submit(stream, aggregate, pending);
        Ok(())
    }

    /// Submits the events of `pending` as one append, and answers its callers.
    ///
    /// Without events it answers at once if the state is durable, or if every caller accepts a state that is
    /// only submitted. Otherwise it submits an empty append: that one ends after all earlier appends, so its
    /// success proves that the answers rest on durable events.
    fn submit(&mut self, stream: &StreamName, aggregate: &mut Aggregate<A>, mut pending: Pending<A>) {
        let everything_durable = aggregate.submitted <= self.durable.load(Ordering::Acquire);
        if pending.events.is_empty() && everything_durable && self.store.epoch() == aggregate.epoch {
            return pending.answer();
        }
        if pending.events.is_empty() && pending.durable.is_empty() && pending.reads.is_empty() {
            return pending.answer();
        }
        self.submitted += 1;
        let number = self.submitted;
        aggregate.submitted = number;
        let append = Append {
            stream: stream.clone(),
            expected: pending.expected,
            events: std::mem::take(&mut pending.events),
            epoch: Some(aggregate.epoch),
        };
        let snapshot = self.snapshots.as_ref().and_then(|store| aggregate.due_snapshot(store, stream));
        let early_replies = std::mem::take(&mut pending.submitted);
        let awaited = !pending.durable.is_empty() || !pending.reads.is_empty();
        let (durable, runtime) = (Arc::clone(&self.durable), self.runtime.clone());
        let done = move |outcome: Result<Appended, AppendError>| match outcome {
            Ok(_) => {
                durable.fetch_max(number, Ordering::Release);
                if let Some(save) = snapshot {
                    runtime.spawn_blocking(save);
                }
                pending.answer();
            }
            Err(error) => pending.fail(&error.into()),
        };
        if awaited {
            self.store.submit(append, Box::new(done));
        } else {
            self.store.submit_unawaited(append, Box::new(done));
        }
        // After the submit: a caller may now submit a dependent append, which must come later.
        for (reply, executed) in early_replies {
            drop(reply.send(Ok(executed)));
        }
    }

    fn take_cached(&mut self, id: &A::Id) -> Option<Aggregate<A>> {
        let aggregate = self.cache.pop(id)?;
        self.cache_weight -= A::weight(&aggregate.state);
        Some(aggregate)
    }

    fn cache_if_valid(&mut self, id: A::Id, aggregate: Aggregate<A>, outcome: Result<(), ExecuteError>) {
        match outcome {
            Ok(()) => {
                self.cache_weight += A::weight(&aggregate.state);
                self.cache.put(id, aggregate);
            }
            Err(error) => {
                self.cached_epoch = None;
                let stream: StreamName = id.into();
                tracing::debug!(stream = %stream, %error, "Dropped the cached state of a stream");
            }
        }
    }

    /// Evicts the least recently used aggregates. Keeps those with events that are not durable yet: a reload
    /// would miss these events.
    fn evict(&mut self) {
        while self.cache_weight > self.cache_weight_max {
            let durable = self.durable.load(Ordering::Acquire);
            let evictable = self.cache.peek_lru().filter(|(_, oldest)| oldest.submitted <= durable);
            let Some((_, oldest)) = evictable else { return };
            self.cache_weight -= A::weight(&oldest.state);
            self.cache.pop_lru();
        }
    }
}

/// The task of a shard: runs the waiting work until all senders are dropped.
pub(super) async fn run<A: Decider>(
    place: Arc<Mutex<Option<Shard<A>>>>,
    mut external: mpsc::UnboundedReceiver<Work<A>>,
    mut reactions: mpsc::UnboundedReceiver<Work<A>>,
) {
    loop {
        // Reactions first, so that accepted orders finish before new ones start.
        let first = tokio::select! {
            biased;
            Some(work) = reactions.recv() => work,
            Some(work) = external.recv() => work,
            else => return,
        };
        let Some(mut shard) = lock(&place).take() else { return };
        let mut batch = vec![first];
        while batch.len() < BATCH_COMMANDS_MAX {
            match reactions.try_recv().or_else(|_| external.try_recv()) {
                Ok(work) => batch.push(work),
                Err(_) => break,
            }
        }
        shard.run_batch(batch).await;
        shard.evict();
        *lock(&place) = Some(shard);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Groups a batch by aggregate. Keeps the order within each group.
fn by_aggregate<A: Decider>(batch: Vec<Work<A>>) -> Vec<(A::Id, Vec<Work<A>>)> {
    let mut groups: Vec<(A::Id, Vec<Work<A>>)> = Vec::with_capacity(batch.len());
    let mut places: HashMap<A::Id, usize> = HashMap::with_capacity(batch.len());
    for work in batch {
        let place = *places.entry(work.id().clone()).or_insert_with(|| {
            groups.push((work.id().clone(), Vec::with_capacity(1)));
            groups.len() - 1
        });
        groups[place].1.push(work);
    }
    groups
}

//! One shard: the task that owns the aggregates whose ids fall to it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{Decider, StreamName};
use futures::future::join_all;
use infra::{
    event_store::{Append, AppendError, Appended, Epoch, EventStore, ExpectedRevision},
    snapshots::SnapshotStore,
};
use lru::LruCache;
use tokio::{runtime::Handle, sync::mpsc, time};

use super::{
    ExecuteError,
    aggregate::{Aggregate, Known, unreadable},
    batch::{Pending, Work, decide_into, decide_known},
};

/// Commands taken from the queues at once.
const BATCH_COMMANDS_MAX: usize = 1_024;
/// How long a shared store may leave an append unanswered before its sender learns that.
const OUTCOME_RETRY_MAX: Duration = Duration::from_secs(30);

pub(super) struct Shard<A: Decider> {
    store: Arc<dyn EventStore>,
    snapshots: Option<Arc<SnapshotStore>>,
    cache: LruCache<A::Id, Aggregate<A>>,
    cache_weight: usize,
    cache_weight_max: usize,
    /// Appends submitted, and of those the ones that are durable: they become so in order.
    submitted: u64,
    durable: Arc<AtomicU64>,
    /// The epoch that everything cached is of; none: state was dropped whose appends may be under way.
    settled: Option<Epoch>,
    runtime: Handle,
}

impl<A: Decider> Shard<A> {
    pub fn new(
        store: Arc<dyn EventStore>,
        snapshots: Option<Arc<SnapshotStore>>,
        cache_weight_max: usize,
    ) -> Self {
        let settled = Some(store.epoch());
        Self {
            store,
            snapshots,
            cache: LruCache::unbounded(),
            cache_weight: 0,
            cache_weight_max,
            submitted: 0,
            durable: Arc::new(AtomicU64::new(0)),
            settled,
            runtime: Handle::current(),
        }
    }

    /// Decides and submits work whose aggregate is in memory, or known not to exist, without waiting for anything;
    /// gives back what this cannot be said of.
    pub fn run_now(&mut self, work: Work<A>) -> Option<Work<A>> {
        let epoch = self.store.epoch();
        if !self.store.accepts_dependent_appends() || self.settled != Some(epoch) {
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
            Known::Perhaps => {
                self.keep_if_sound(id, aggregate, Ok(()));
                return Some(work);
            }
            known => decide_known(&stream, &mut aggregate, &mut pending, work, known),
        };
        match &outcome {
            Ok(()) => self.submit(&stream, &mut aggregate, pending),
            Err(error) => pending.fail(error),
        }
        self.keep_if_sound(id, aggregate, outcome);
        self.evict();
        None
    }

    async fn run_batch(&mut self, batch: Vec<Work<A>>) {
        let epoch = self.settled_epoch(batch[0].id()).await;
        let loaded = self.with_aggregates(by_aggregate(batch), epoch).await;
        if self.store.accepts_dependent_appends() {
            for (id, mut aggregate, work) in loaded {
                let outcome = self.run_exclusive(&id.clone().into(), &mut aggregate, work).await;
                self.keep_if_sound(id, aggregate, outcome);
            }
        } else {
            let store = &*self.store;
            let running = loaded.into_iter().map(async |(id, mut aggregate, work)| {
                let stream: StreamName = id.clone().into();
                let outcome = run_shared(store, &stream, &mut aggregate, work).await;
                (id, aggregate, outcome)
            });
            for (id, aggregate, outcome) in join_all(running).await {
                self.keep_if_sound(id, aggregate, outcome);
            }
        }
    }

    /// The epoch to work in, read before anything is loaded: what fails later makes this batch's appends
    /// superseded. State that was dropped is read back only when the appends it built on are durable or have
    /// failed: before that the log does not tell.
    async fn settled_epoch(&mut self, any: &A::Id) -> Epoch {
        let mut epoch = self.store.epoch();
        if self.settled != Some(epoch) {
            if self.store.accepts_dependent_appends() {
                let stream = any.clone().into();
                let (expected, events) = (ExpectedRevision::NoStream, Vec::new());
                let barrier = Append { stream, expected, events, epoch: None };
                // Failed or not: when it is answered, so is everything before it.
                drop(self.store.append(barrier).await);
                epoch = self.store.epoch();
            }
            self.settled = Some(epoch);
        }
        epoch
    }

    /// Takes each aggregate from the cache, or loads it, all at once.
    async fn with_aggregates(
        &mut self,
        groups: Vec<(A::Id, Vec<Work<A>>)>,
        epoch: Epoch,
    ) -> Vec<(A::Id, Aggregate<A>, Vec<Work<A>>)> {
        let mut ready = Vec::with_capacity(groups.len());
        let mut missing = Vec::new();
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
        let exist = match self.store.exist(&streams).await {
            Ok(exist) => exist,
            Err(error) => {
                let error = unreadable(error);
                fail_all(missing.into_iter().flat_map(|(_, work)| work), &error);
                return ready;
            }
        };
        let (store, snapshots) = (&*self.store, self.snapshots.as_ref());
        let loading =
            missing.into_iter().zip(streams).zip(exist).map(async |(((id, work), stream), exists)| {
                let aggregate = if exists {
                    Aggregate::load(store, snapshots, &stream, epoch).await
                } else {
                    Ok(Aggregate::new(epoch))
                };
                (id, work, aggregate)
            });
        for (id, work, aggregate) in join_all(loading).await {
            match aggregate {
                Ok(aggregate) => ready.push((id, aggregate, work)),
                Err(error) => {
                    tracing::error!(stream = %id.into(), %error, "a stream could not be loaded");
                    fail_all(work, &error);
                }
            }
        }
        ready
    }

    /// A store with one owner: decide everything, submit, and go on while it becomes durable.
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
            if let Err(error) = decide_into(&*self.store, stream, aggregate, &mut pending, next).await {
                begin_again(pending, work);
                return Err(error);
            }
        }
        self.submit(stream, aggregate, pending);
        Ok(())
    }

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
            Err(error) => pending.fail(&failed_append(error)),
        };
        if awaited {
            self.store.submit(append, Box::new(done));
        } else {
            self.store.submit_unawaited(append, Box::new(done));
        }
        // Only now: whoever hears of this may submit what depends on it, and that must come after.
        for (reply, executed) in early_replies {
            drop(reply.send(Ok(executed)));
        }
    }

    fn take_cached(&mut self, id: &A::Id) -> Option<Aggregate<A>> {
        let aggregate = self.cache.pop(id)?;
        self.cache_weight -= A::weight(&aggregate.state);
        Some(aggregate)
    }

    fn keep_if_sound(&mut self, id: A::Id, aggregate: Aggregate<A>, outcome: Result<(), ExecuteError>) {
        match outcome {
            Ok(()) => {
                self.cache_weight += A::weight(&aggregate.state);
                self.cache.put(id, aggregate);
            }
            Err(error) => {
                self.settled = None;
                let stream: StreamName = id.into();
                tracing::debug!(%stream, %error, "the cached state of a stream was dropped");
            }
        }
    }

    /// Lets go of what was used least recently, but never of what is not durable yet: its stream, read back,
    /// would lack what was submitted.
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

/// The task of a shard: works on what has to wait, until every sender is gone.
pub(super) async fn run<A: Decider>(
    place: Arc<Mutex<Option<Shard<A>>>>,
    mut external: mpsc::UnboundedReceiver<Work<A>>,
    mut reactions: mpsc::UnboundedReceiver<Work<A>>,
) {
    loop {
        // Reactions first: what was let in is finished before more is let in.
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

/// Groups a batch by aggregate, keeping the order within each.
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

/// A store with several writers: an append that succeeds proves that its batch was decided on the latest state;
/// outcomes without events are answered after a look at the tail found nothing new.
async fn run_shared<A: Decider>(
    store: &dyn EventStore,
    stream: &StreamName,
    aggregate: &mut Aggregate<A>,
    work: Vec<Work<A>>,
) -> Result<(), ExecuteError> {
    let mut work = work.into_iter().peekable();
    while work.peek().is_some() {
        if let Err(error) = aggregate.catch_up(store, stream).await {
            fail_all(work, &error);
            return Err(error);
        }
        let mut pending = Pending::after(aggregate.revision);
        while !pending.is_full()
            && let Some(next) = work.next()
        {
            if let Err(error) = decide_into(store, stream, aggregate, &mut pending, next).await {
                begin_again(pending, work);
                return Err(error);
            }
        }
        pending.durable.append(&mut pending.submitted);
        let outcome = if pending.events.is_empty() {
            // Decided right after the tail was read: nothing to wait for.
            Ok(())
        } else {
            let events = std::mem::take(&mut pending.events);
            let append = Append { stream: stream.clone(), expected: pending.expected, events, epoch: None };
            append_until_known(store, append).await
        };
        if let Err(error) = outcome {
            pending.fail(&error);
            fail_all(work, &error);
            return Err(error);
        }
        pending.answer();
    }
    Ok(())
}

/// One command broke the state in memory and was told so: the others of its batch are decided anew without it.
fn begin_again<A: Decider>(pending: Pending<A>, rest: impl Iterator<Item = Work<A>>) {
    pending.fail(&ExecuteError::Conflict);
    fail_all(rest, &ExecuteError::Conflict);
}

fn fail_all<A: Decider>(work: impl IntoIterator<Item = Work<A>>, error: &ExecuteError) {
    for work in work {
        work.fail(error);
    }
}

/// Sends the identical append again while its outcome is unknown: the store recognises it by its event ids. Once it
/// is unknown, a refusal to write does not settle it: an earlier sending may have been written.
async fn append_until_known(store: &dyn EventStore, append: Append) -> Result<(), ExecuteError> {
    let started = time::Instant::now();
    let mut pause = Duration::from_millis(20);
    let mut unknown = false;
    loop {
        let why = match store.append(append.clone()).await {
            Err(AppendError::OutcomeUnknown(why)) => why,
            Err(AppendError::Unavailable(why)) if unknown => why,
            outcome => return outcome.map(drop).map_err(failed_append),
        };
        if started.elapsed() >= OUTCOME_RETRY_MAX {
            return Err(ExecuteError::OutcomeUnknown(why));
        }
        tracing::warn!(stream = %append.stream, %why, "the outcome of an append is unknown; asking again");
        unknown = true;
        time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn failed_append(error: AppendError) -> ExecuteError {
    match error {
        AppendError::WrongExpectedRevision { .. } => ExecuteError::Conflict,
        AppendError::Superseded => ExecuteError::Superseded,
        AppendError::Unavailable(why) => ExecuteError::Unavailable(why),
        AppendError::OutcomeUnknown(why) => ExecuteError::OutcomeUnknown(why),
    }
}

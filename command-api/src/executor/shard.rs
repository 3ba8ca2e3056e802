//! One shard: the task that owns the aggregates whose ids fall to it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{CommandContext, Decider, NewEvent, Revision, StreamName, decider::Versioned, envelope::seal};
use futures::future::join_all;
use infra::{
    event_store::{Append, AppendError, Appended, Epoch, EventStore, ExpectedRevision},
    snapshots::SnapshotStore,
};
use lru::LruCache;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time,
};

use super::{
    ExecuteError, Executed, Mode, Outcome, Wait,
    aggregate::{Aggregate, Known, guarded, unreadable},
};

/// Commands taken from the queues at once.
const BATCH_COMMANDS_MAX: usize = 1_024;
/// An append is cut at whichever comes first (an EventStoreDB server takes 1 MiB).
const APPEND_EVENTS_MAX: usize = 1_000;
const APPEND_BYTES_MAX: usize = 512 * 1024;
/// How long a shared store may leave an append unanswered before its sender learns that.
const OUTCOME_RETRY_MAX: Duration = Duration::from_secs(30);

type Reply<T> = oneshot::Sender<Result<T, ExecuteError>>;

pub(super) enum Work<A: Decider> {
    Execute(A::Id, Request<A>),
    Read(A::Id, Read<A>),
}

pub(super) struct Request<A: Decider> {
    pub command: A::Command,
    pub context: CommandContext,
    pub mode: Mode,
    pub reply: Reply<Executed<A>>,
}

pub(super) struct Read<A: Decider> {
    pub reply: Reply<Versioned<A::State>>,
}

pub(super) struct Shard<A: Decider> {
    store: Arc<dyn EventStore>,
    snapshots: Option<Arc<SnapshotStore>>,
    cache: LruCache<A::Id, Aggregate<A>>,
    cache_weight: usize,
    cache_weight_max: usize,
    /// Appends submitted, and of those the ones that are durable: they become so in order.
    submitted: u64,
    durable: Arc<AtomicU64>,
    runtime: Handle,
}

/// What one stream got in a batch, on its way to one append.
struct Pending<A: Decider> {
    expected: ExpectedRevision,
    events: Vec<NewEvent>,
    bytes: usize,
    /// Answered once submitted.
    submitted: Vec<(Reply<Executed<A>>, Executed<A>)>,
    /// Answered once durable.
    durable: Vec<(Reply<Executed<A>>, Executed<A>)>,
    reads: Vec<(Reply<Versioned<A::State>>, Versioned<A::State>)>,
}

impl<A: Decider> Pending<A> {
    fn after(revision: Option<Revision>) -> Self {
        Self {
            expected: ExpectedRevision::of(revision),
            events: Vec::new(),
            bytes: 0,
            submitted: Vec::new(),
            durable: Vec::new(),
            reads: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.events.len() >= APPEND_EVENTS_MAX || self.bytes >= APPEND_BYTES_MAX
    }

    fn answer(self, outcome: Result<(), ExecuteError>) {
        for (reply, executed) in self.submitted.into_iter().chain(self.durable) {
            drop(reply.send(outcome.clone().map(|()| executed)));
        }
        for (reply, state) in self.reads {
            drop(reply.send(outcome.clone().map(|()| state)));
        }
    }
}

impl<A: Decider> Work<A> {
    fn id(&self) -> &A::Id {
        match self {
            Self::Execute(id, _) | Self::Read(id, _) => id,
        }
    }

    fn is_for_new_stream(&self) -> bool {
        matches!(self, Self::Execute(_, request) if request.mode.new_stream)
    }

    fn fail(self, error: &ExecuteError) {
        match self {
            Self::Execute(_, request) => drop(request.reply.send(Err(error.clone()))),
            Self::Read(_, read) => drop(read.reply.send(Err(error.clone()))),
        }
    }
}

impl<A: Decider> Shard<A> {
    pub fn new(
        store: Arc<dyn EventStore>,
        snapshots: Option<Arc<SnapshotStore>>,
        cache_weight_max: usize,
    ) -> Self {
        Self {
            store,
            snapshots,
            cache: LruCache::unbounded(),
            cache_weight: 0,
            cache_weight_max,
            submitted: 0,
            durable: Arc::new(AtomicU64::new(0)),
            runtime: Handle::current(),
        }
    }

    pub async fn run(
        mut self,
        mut external: mpsc::Receiver<Work<A>>,
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
            let mut batch = vec![first];
            while batch.len() < BATCH_COMMANDS_MAX {
                match reactions.try_recv().or_else(|_| external.try_recv()) {
                    Ok(work) => batch.push(work),
                    Err(_) => break,
                }
            }
            self.run_batch(batch).await;
            self.evict();
        }
    }

    async fn run_batch(&mut self, batch: Vec<Work<A>>) {
        // Read before anything is loaded: what fails later makes this batch's appends superseded.
        let epoch = self.store.epoch();
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
                missing.into_iter().flat_map(|(_, work)| work).for_each(|work| work.fail(&error));
                return ready;
            }
        };
        let (store, snapshots) = (&*self.store, self.snapshots.as_ref());
        let loading =
            missing.into_iter().zip(streams).zip(exist).map(async |(((id, work), stream), exists)| {
                let aggregate = match exists {
                    true => Aggregate::load(store, snapshots, &stream, epoch).await,
                    false => Ok(Aggregate::new(epoch)),
                };
                (id, work, aggregate)
            });
        for (id, work, aggregate) in join_all(loading).await {
            match aggregate {
                Ok(aggregate) => ready.push((id, aggregate, work)),
                Err(error) => {
                    tracing::error!(stream = %id.into(), %error, "a stream could not be loaded");
                    work.into_iter().for_each(|work| work.fail(&error));
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
        for work in work {
            if pending.is_full() {
                let full = std::mem::replace(&mut pending, Pending::after(aggregate.revision));
                self.submit(stream, aggregate, full);
            }
            let decided = decide_into(&*self.store, stream, aggregate, &mut pending, work).await;
            if let Err(error) = decided {
                pending.answer(Err(error.clone()));
                return Err(error);
            }
        }
        self.submit(stream, aggregate, pending);
        Ok(())
    }

    fn submit(&mut self, stream: &StreamName, aggregate: &mut Aggregate<A>, mut pending: Pending<A>) {
        let everything_durable = aggregate.submitted <= self.durable.load(Ordering::Acquire);
        if pending.events.is_empty() && everything_durable && self.store.epoch() == aggregate.epoch {
            return pending.answer(Ok(()));
        }
        if pending.events.is_empty() && pending.durable.is_empty() && pending.reads.is_empty() {
            return pending.answer(Ok(()));
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
        let (durable, runtime) = (Arc::clone(&self.durable), self.runtime.clone());
        let done = move |outcome: Result<Appended, AppendError>| {
            if outcome.is_ok() {
                durable.fetch_max(number, Ordering::Release);
                if let Some(save) = snapshot {
                    runtime.spawn_blocking(save);
                }
            }
            pending.answer(outcome.map(drop).map_err(failed_append));
        };
        self.store.submit(append, Box::new(done));
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
            work.for_each(|work| work.fail(&error));
            return Err(error);
        }
        let mut pending = Pending::after(aggregate.revision);
        while !pending.is_full()
            && let Some(next) = work.next()
        {
            if let Err(error) = decide_into(store, stream, aggregate, &mut pending, next).await {
                pending.answer(Err(error.clone()));
                work.for_each(|work| work.fail(&error));
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
        pending.answer(outcome.clone());
        if let Err(error) = outcome {
            work.for_each(|work| work.fail(&error));
            return Err(error);
        }
    }
    Ok(())
}

/// Sends the identical append again while its outcome is unknown: the store recognises it by its event ids.
async fn append_until_known(store: &dyn EventStore, append: Append) -> Result<(), ExecuteError> {
    let started = time::Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        match store.append(append.clone()).await {
            Err(AppendError::OutcomeUnknown(why)) if started.elapsed() < OUTCOME_RETRY_MAX => {
                tracing::warn!(stream = %append.stream, %why, "the outcome of an append is unknown; asking again");
                time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            outcome => return outcome.map(drop).map_err(failed_append),
        }
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

/// Decides one piece of work against the aggregate and adds its events and its answer to `pending`. An error
/// means that the aggregate in memory can no longer be trusted.
async fn decide_into<A: Decider>(
    log: &dyn EventStore,
    stream: &StreamName,
    aggregate: &mut Aggregate<A>,
    pending: &mut Pending<A>,
    work: Work<A>,
) -> Result<(), ExecuteError> {
    let request = match work {
        Work::Execute(_, request) => request,
        Work::Read(_, read) => {
            pending.reads.push((read.reply, aggregate.versioned()));
            return Ok(());
        }
    };
    let Request { command, context, mode, reply } = request;
    if mode.epoch.is_some_and(|epoch| epoch != aggregate.epoch) {
        drop(reply.send(Err(ExecuteError::Superseded)));
        return Ok(());
    }
    let outcome = match known_command::<A>(log, stream, aggregate, &command, &context).await {
        Err(error) => {
            drop(reply.send(Err(error)));
            return Ok(());
        }
        Ok(Known::Yes { revision, same: true }) => Outcome::Duplicate { revision },
        Ok(Known::Yes { same: false, .. }) => Outcome::KeyReused,
        Ok(Known::No | Known::Perhaps) => {
            let expected = context.if_revision;
            if expected.is_some() && expected != aggregate.revision {
                Outcome::PreconditionFailed
            } else {
                match guarded(stream, || decide_and_evolve(aggregate, pending, command, &context)) {
                    Ok(outcome) => outcome,
                    Err(error) => {
                        drop(reply.send(Err(error.clone())));
                        return Err(error);
                    }
                }
            }
        }
    };
    let summary = A::summary(&aggregate.state);
    let executed = Executed { outcome, revision: aggregate.revision, summary };
    match mode.wait {
        Wait::Submitted => pending.submitted.push((reply, executed)),
        Wait::Durable => pending.durable.push((reply, executed)),
    }
    Ok(())
}

async fn known_command<A: Decider>(
    log: &dyn EventStore,
    stream: &StreamName,
    aggregate: &Aggregate<A>,
    command: &A::Command,
    context: &CommandContext,
) -> Result<Known, ExecuteError> {
    if !A::deduplicated_by_command_id(A::command_name(command)) {
        return Ok(Known::No);
    }
    match aggregate.commands.find(context) {
        Known::Perhaps => Aggregate::<A>::find_in_stream(log, stream, context).await,
        known => Ok(known),
    }
}

fn decide_and_evolve<A: Decider>(
    aggregate: &mut Aggregate<A>,
    pending: &mut Pending<A>,
    command: A::Command,
    context: &CommandContext,
) -> Outcome<A> {
    let name = A::command_name(&command);
    let events = match A::decide(&aggregate.state, command) {
        Ok(events) if events.is_empty() => return Outcome::Unchanged,
        Ok(events) => events,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    let sealed = seal::<A>(context, name, &events);
    for (event, sealed) in events.iter().zip(&sealed) {
        let revision = aggregate.revision.map_or(0, |revision| revision + 1);
        aggregate.apply(event, revision, sealed.id);
        pending.bytes += sealed.data.len() + sealed.metadata.len();
    }
    pending.events.extend(sealed);
    let fingerprint = context.idempotency.as_ref().map(|idempotency| idempotency.fingerprint.clone());
    aggregate.remember(context.id, name, fingerprint);
    Outcome::Recorded
}

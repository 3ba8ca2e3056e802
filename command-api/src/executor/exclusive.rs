//! Runs commands on a store that this process alone writes.
//!
//! A command is decided and submitted on the task that sends it, if its aggregate is in memory. Otherwise it
//! waits for the load of that aggregate, which is a task of its own and delays no other aggregate. The store
//! commits in the order of submission, so an append may build on appends that are not durable yet.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use domain::{Decider, Revision, StreamName};
use infra::event_store::{Append, AppendError, Appended, Epoch, EventStore, ExpectedRevision};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time};

use super::{
    ATTEMPTS_MAX, ExecuteError, Executed, Outcome,
    aggregate::Aggregate,
    batch::{Answer, Decision, Events, Reply, Request, View, Wait, Work, decide, fail_all, known},
    cache::Cache,
    loading::Loader,
    measured::Measured,
    spans::AppendSpans,
};

/// How long a load waits for the appends under way.
const BARRIER_MAX: Duration = Duration::from_secs(30);

pub(super) struct Exclusive<A: Decider> {
    store: Arc<dyn EventStore>,
    loader: Arc<Loader>,
    slots: Mutex<Slots<A>>,
    /// Number of the last append that is durable. Appends become durable in order.
    durable: Arc<AtomicU64>,
    runtime: Handle,
    measured: Arc<Measured>,
}

struct Slots<A: Decider> {
    /// Loaded or made in `epoch`, all of them.
    ready: Cache<A>,
    /// The work that waits for each load.
    loading: HashMap<A::Id, Vec<Work<A>>>,
    epoch: Epoch,
    /// Number of the last append that was submitted: 1, 2, 3, …
    submitted: u64,
    /// When state was last dropped, the appends up to this number were under way. Until they are settled, the
    /// log may lack events that others were decided on.
    dropped_at: u64,
    /// The appends up to this number are durable or have failed.
    settled: u64,
}

impl<A: Decider> Exclusive<A> {
    pub fn new(
        store: Arc<dyn EventStore>,
        loader: Arc<Loader>,
        measured: &Arc<Measured>,
        cache_bytes_max: usize,
    ) -> Arc<Self> {
        let slots = Slots {
            ready: Cache::new(cache_bytes_max, measured.cache.clone()),
            loading: HashMap::new(),
            epoch: store.epoch(),
            submitted: 0,
            dropped_at: 0,
            settled: 0,
        };
        let (slots, durable, runtime) = (Mutex::new(slots), Arc::default(), Handle::current());
        Arc::new(Self { store, loader, slots, durable, runtime, measured: Arc::clone(measured) })
    }

    pub fn run(self: &Arc<Self>, id: &A::Id, work: Work<A>) {
        let stream = id.clone().into();
        let mut slots = self.lock();
        if let Some(waiting) = slots.loading.get_mut(id) {
            self.measured.misses.increment(1);
            return waiting.push(work);
        }
        if slots.ready.get_mut(id).is_none() {
            if !slots.is_settled() || !self.store.lacks(&stream) {
                self.measured.misses.increment(1);
                slots.loading.insert(id.clone(), vec![work]);
                drop(slots);
                self.runtime.spawn(Arc::clone(self).load(id.clone(), stream));
                return;
            }
            slots.ready.put(id.clone(), Aggregate::new());
        } else {
            self.measured.hits.increment(1);
        }
        self.run_ready(&mut slots, id, &stream, [work]);
    }

    /// Locks the slots, in the present epoch of the store.
    fn lock(&self) -> MutexGuard<'_, Slots<A>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.store.epoch();
        if slots.epoch != epoch {
            slots.epoch = epoch;
            slots.ready.clear();
            slots.dropped_at = slots.submitted;
        }
        slots
    }

    /// Loads an aggregate and runs the work that waits for it. Starts again if the epoch changes meanwhile.
    async fn load(self: Arc<Self>, id: A::Id, stream: StreamName) {
        let mut failure = ExecuteError::Superseded;
        for _ in 0..ATTEMPTS_MAX {
            let begun = Instant::now();
            let loaded = self.load_in_epoch(&stream).await;
            self.measured.loads.record(begun.elapsed());
            let mut slots = self.lock();
            match loaded {
                Ok((epoch, aggregate)) if epoch == slots.epoch => {
                    let waiting = slots.loading.remove(&id).unwrap_or_default();
                    slots.ready.put(id.clone(), aggregate);
                    return self.run_ready(&mut slots, &id, &stream, waiting);
                }
                Ok(_) => {}
                Err(error) => {
                    failure = error;
                    break;
                }
            }
        }
        let waiting = self.lock().loading.remove(&id).unwrap_or_default();
        fail_all(waiting, &failure);
    }

    /// Loads an aggregate as of an epoch. The epoch is read first, so that a later failure supersedes what is
    /// decided on this state.
    async fn load_in_epoch(&self, stream: &StreamName) -> Result<(Epoch, Aggregate<A>), ExecuteError> {
        let (epoch, is_settled, submitted) = {
            let slots = self.lock();
            (slots.epoch, slots.is_settled(), slots.submitted)
        };
        if !is_settled {
            self.settle(stream, submitted).await?;
        }
        Ok((epoch, self.loader.load(stream).await?))
    }

    /// Waits until the appends up to this number are durable or have failed. The answer to a barrier, success
    /// or failure, comes after the answers to all earlier appends.
    async fn settle(&self, stream: &StreamName, submitted: u64) -> Result<(), ExecuteError> {
        let (expected, events) = (ExpectedRevision::NoStream, Vec::new());
        let barrier = Append { stream: stream.clone(), expected, events, epoch: None };
        let answered = time::timeout(BARRIER_MAX, self.store.append(barrier)).await;
        drop(answered.map_err(|_| {
            ExecuteError::Unavailable(format!("appends are not answered within {BARRIER_MAX:?}").into())
        })?);
        let mut slots = self.lock();
        slots.settled = slots.settled.max(submitted);
        Ok(())
    }

    /// Runs work on an aggregate in memory. If a command breaks the state, drops it: the callers of the other
    /// commands send them again.
    fn run_ready(
        self: &Arc<Self>,
        slots: &mut Slots<A>,
        id: &A::Id,
        stream: &StreamName,
        work: impl IntoIterator<Item = Work<A>>,
    ) {
        let Slots { ready, epoch, submitted, .. } = slots;
        let Some(aggregate) = ready.get_mut(id) else { return };
        let mut turn = Turn { exclusive: self, stream, epoch: *epoch, submitted, aggregate };
        if turn.run(work) {
            self.loader.snapshot_if_due(&self.runtime, stream, aggregate);
            ready.weigh(id);
        } else {
            ready.take(id);
            slots.dropped_at = slots.submitted;
        }
        // A reload of an aggregate whose events are not durable yet would miss them.
        let durable = self.durable.load(Ordering::Acquire);
        slots.ready.evict(|aggregate| aggregate.submitted <= durable);
    }
}

impl<A: Decider> Slots<A> {
    /// True if the log has every event that a cached state ever contained.
    fn is_settled(&self) -> bool {
        self.settled >= self.dropped_at
    }
}

/// Work on one aggregate, under the lock of the slots.
struct Turn<'a, A: Decider> {
    exclusive: &'a Exclusive<A>,
    stream: &'a StreamName,
    epoch: Epoch,
    submitted: &'a mut u64,
    aggregate: &'a mut Aggregate<A>,
}

impl<A: Decider> Turn<'_, A> {
    /// False if a command broke the state.
    fn run(&mut self, work: impl IntoIterator<Item = Work<A>>) -> bool {
        let mut pending = Pending::after(self.aggregate.revision);
        let mut work = work.into_iter();
        while let Some(next) = work.next() {
            if pending.events.is_full() {
                let full = mem::replace(&mut pending, Pending::after(self.aggregate.revision));
                self.submit(full);
            }
            if !self.run_one(&mut pending, next) {
                pending.fail(&ExecuteError::Conflict);
                fail_all(work, &ExecuteError::Conflict);
                return false;
            }
        }
        self.submit(pending);
        true
    }

    fn run_one(&mut self, pending: &mut Pending<A>, work: Work<A>) -> bool {
        let (request, reply) = match work {
            Work::Execute(request, reply) => (request, reply),
            Work::Read(mut view) => {
                view.look(&self.aggregate.state, self.aggregate.revision);
                pending.views.push(view);
                return true;
            }
        };
        let (executed, terms) = match known(self.aggregate, self.epoch, &request) {
            Some(Decision::Superseded) => {
                drop(reply.send(Err(ExecuteError::Superseded)));
                return true;
            }
            Some(Decision::AskIndex(indexed_to)) => {
                drop(reply.send(Ok(Answer::AskIndex(request, indexed_to))));
                return true;
            }
            Some(Decision::Executed(executed)) => (executed, request.terms),
            None => {
                let Request { command, terms } = request;
                match decide(self.stream, self.aggregate, &mut pending.events, command, &terms.context) {
                    Ok(executed) => {
                        pending.spans.add(&executed, &terms.context);
                        (executed, terms)
                    }
                    Err(error) => {
                        drop(reply.send(Err(error)));
                        return false;
                    }
                }
            }
        };
        pending.add(reply, executed, terms.wait, terms.place);
        true
    }

    /// Submits the events as one append, and answers its callers.
    ///
    /// Without events it answers at once if the state is durable, or if every caller accepts a state that is
    /// only submitted. Otherwise it submits an empty append: that one ends after all earlier appends, so its
    /// success proves that the answers rest on durable events.
    fn submit(&mut self, mut pending: Pending<A>) {
        let Exclusive { store, durable, measured, .. } = self.exclusive;
        let awaited = !pending.durable.is_empty() || !pending.views.is_empty();
        if pending.events.is_empty() {
            let is_durable = self.aggregate.submitted <= durable.load(Ordering::Acquire);
            if !awaited || (is_durable && store.epoch() == self.epoch) {
                return pending.answer();
            }
        }
        *self.submitted += 1;
        let number = *self.submitted;
        self.aggregate.submitted = number;
        let events = mem::replace(&mut pending.events, Events::after(None));
        let appending = pending.measure(measured, events.len());
        let commands = pending.submitted.len() + pending.durable.len();
        pending.spans.submitted(self.stream, commands, events.len());
        let append = events.into_append(self.stream, Some(self.epoch));
        let early_replies = mem::take(&mut pending.submitted);
        let durable = Arc::clone(durable);
        let done = move |outcome: Result<Appended, AppendError>| {
            if let Some(appending) = appending {
                appending.ended(outcome.is_ok());
            }
            match outcome {
                Ok(_) => {
                    durable.fetch_max(number, Ordering::Release);
                    mem::take(&mut pending.spans).ended(None);
                    pending.answer();
                }
                Err(error) => {
                    mem::take(&mut pending.spans).ended(Some(&error));
                    pending.fail(&error.into());
                }
            }
        };
        if awaited {
            store.submit(append, Box::new(done));
        } else {
            store.submit_unawaited(append, Box::new(done));
        }
        // After the submit: a caller may now submit a dependent append, which must come later.
        for (reply, executed) in early_replies {
            drop(reply.send(Ok(Answer::Executed(executed))));
        }
    }
}

/// An append under way.
struct Appending {
    measured: Arc<Measured>,
    begun: Instant,
    events: usize,
}

impl Appending {
    fn ended(self, is_durable: bool) {
        self.measured.ended(self.begun.elapsed(), if is_durable { self.events } else { 0 });
    }
}

/// The events and answers of one append.
struct Pending<A: Decider> {
    events: Events,
    spans: AppendSpans,
    /// Answered once submitted.
    submitted: Vec<(Reply<A>, Executed<A>)>,
    /// Answered once durable.
    durable: Vec<(Reply<A>, Executed<A>)>,
    /// Answered once durable.
    views: Vec<Box<dyn View<A>>>,
    /// Freed once durable, also for commands that are answered earlier. So the number of commands under way
    /// stays bounded while the disk stalls.
    places: Vec<OwnedSemaphorePermit>,
}

impl<A: Decider> Pending<A> {
    fn after(revision: Option<Revision>) -> Self {
        let events = Events::after(revision);
        Self {
            events,
            spans: AppendSpans::default(),
            submitted: Vec::new(),
            durable: Vec::new(),
            views: Vec::new(),
            places: Vec::new(),
        }
    }

    fn add(
        &mut self,
        reply: Reply<A>,
        executed: Executed<A>,
        wait: Wait,
        place: Option<OwnedSemaphorePermit>,
    ) {
        self.places.extend(place);
        // The content of a duplicate is compared with the recorded event, so that event must be durable.
        let is_duplicate = matches!(executed.outcome, Outcome::Duplicate { .. });
        match wait {
            Wait::Submitted if !is_duplicate => self.submitted.push((reply, executed)),
            Wait::Submitted | Wait::Durable => self.durable.push((reply, executed)),
        }
    }

    /// Measures the append of these commands. `None` if it has no events.
    fn measure(&self, measured: &Arc<Measured>, events: usize) -> Option<Appending> {
        if events == 0 {
            return None;
        }
        measured.submitted(self.submitted.len() + self.durable.len(), events);
        Some(Appending { measured: Arc::clone(measured), begun: Instant::now(), events })
    }

    fn answer(self) {
        // Before the answers: a caller may send its next command at once and needs a place.
        drop(self.places);
        for (reply, executed) in self.submitted.into_iter().chain(self.durable) {
            drop(reply.send(Ok(Answer::Executed(executed))));
        }
        for view in self.views {
            view.answer(Ok(()));
        }
    }

    fn fail(self, error: &ExecuteError) {
        drop(self.places);
        for (reply, _) in self.submitted.into_iter().chain(self.durable) {
            drop(reply.send(Err(error.clone())));
        }
        for view in self.views {
            view.answer(Err(error.clone()));
        }
    }
}

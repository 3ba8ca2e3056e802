//! Runs commands on a store that several processes write.
//!
//! Each stream in use has a task, so streams never wait for each other. The task takes all waiting work,
//! decides it on the state in memory and appends the events with the expected revision: the success of the
//! append proves that the state was current. But a store answers an append whose event ids it has already with
//! success too, so only a position above a head that was known before the append proves that the events are
//! new. Outcomes without events are proven by a read of the stream's end
//! after the work arrived. If another process was faster, the task decides the work again.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::{Decider, StreamName};
use infra::event_store::{Append, AppendError, Appended, EventStore};
use tokio::{runtime::Handle, time};

use super::{
    ATTEMPTS_MAX, ExecuteError, Executed,
    aggregate::Aggregate,
    batch::{Answer, Decision, Events, Reply, Request, View, Work, decide, fail_all, known},
    cache::Cache,
    loading::Loader,
    measured::Measured,
    pause_before_attempt,
    spans::AppendSpans,
};

/// An append without a known outcome is sent again for 5 s. Then the caller gets an unknown outcome: after 10 s
/// at most, because one attempt takes up to 5 s.
const OUTCOME_RETRY_MAX: Duration = Duration::from_secs(5);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

pub(super) struct Shared<A: Decider> {
    store: Arc<dyn EventStore>,
    loader: Arc<Loader>,
    slots: Mutex<Slots<A>>,
    runtime: Handle,
    measured: Arc<Measured>,
}

struct Slots<A: Decider> {
    idle: Cache<A>,
    /// The waiting work of each stream that has a task.
    waiting: HashMap<A::Id, VecDeque<Work<A>>>,
}

impl<A: Decider> Shared<A> {
    pub fn new(
        store: Arc<dyn EventStore>,
        loader: Arc<Loader>,
        measured: &Arc<Measured>,
        cache_bytes_max: usize,
    ) -> Arc<Self> {
        let idle = Cache::new(cache_bytes_max, measured.cache.clone());
        let slots = Slots { idle, waiting: HashMap::new() };
        let (slots, runtime) = (Mutex::new(slots), Handle::current());
        Arc::new(Self { store, loader, slots, runtime, measured: Arc::clone(measured) })
    }

    pub fn run(self: &Arc<Self>, id: &A::Id, work: Work<A>) {
        let mut slots = self.lock();
        if let Some(waiting) = slots.waiting.get_mut(id) {
            self.measured.hits.increment(1);
            return waiting.push_back(work);
        }
        let creates = expects_empty_stream(&work);
        slots.waiting.insert(id.clone(), VecDeque::from([work]));
        let aggregate = slots.idle.take(id);
        drop(slots);
        if aggregate.is_some() {
            self.measured.hits.increment(1);
        } else if !creates {
            self.measured.misses.increment(1);
        }
        self.runtime.spawn(Arc::clone(self).serve(id.clone(), aggregate));
    }

    fn lock(&self) -> MutexGuard<'_, Slots<A>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task of a stream: runs the waiting work until there is no more.
    async fn serve(self: Arc<Self>, id: A::Id, aggregate: Option<Aggregate<A>>) {
        let mut turns = Turns { shared: &self, stream: id.clone().into(), aggregate, was_overtaken: false };
        while let Some(work) = self.next_work(&id, &mut turns) {
            turns.run(work).await;
        }
    }

    /// Takes all waiting work. Without any, ends the stream's use: keeps its aggregate as idle.
    fn next_work(&self, id: &A::Id, turns: &mut Turns<'_, A>) -> Option<VecDeque<Work<A>>> {
        let mut slots = self.lock();
        let work = slots.waiting.get_mut(id).map(mem::take).filter(|work| !work.is_empty());
        if work.is_none() {
            slots.waiting.remove(id);
            if let Some(aggregate) = turns.aggregate.take() {
                slots.idle.put(id.clone(), aggregate);
                slots.idle.evict(|_| true);
            }
        }
        work
    }
}

/// The stream of a task, with its aggregate unless that is to be loaded.
struct Turns<'a, A: Decider> {
    shared: &'a Arc<Shared<A>>,
    stream: StreamName,
    aggregate: Option<Aggregate<A>>,
    /// True if another process wrote the stream before our last append.
    was_overtaken: bool,
}

/// Work with its outcome, which is not proven yet.
enum Decided<A: Decider> {
    Command(Request<A>, Reply<A>, Executed<A>),
    View(Box<dyn View<A>>),
}

enum Turn {
    Answered,
    /// The stream has changed: the work was put back.
    Overtaken,
}

impl<A: Decider> Turns<'_, A> {
    async fn run(&mut self, mut work: VecDeque<Work<A>>) {
        let mut attempt = 1;
        while !work.is_empty() {
            match self.take_turn(&mut work).await {
                Ok(Turn::Answered) => attempt = 1,
                Ok(Turn::Overtaken) if attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                    pause_before_attempt(attempt).await;
                }
                Ok(Turn::Overtaken) => fail_all(mem::take(&mut work), &ExecuteError::Conflict),
                Err(error) => {
                    self.aggregate = None;
                    fail_all(mem::take(&mut work), &error);
                }
            }
        }
    }

    /// Decides work up to the bounds of one append, proves the outcomes and answers them.
    async fn take_turn(&mut self, work: &mut VecDeque<Work<A>>) -> Result<Turn, ExecuteError> {
        let shared = Arc::clone(self.shared);
        let creates = work.front().is_some_and(expects_empty_stream);
        let (mut aggregate, is_current) = self.current(creates).await?;
        let mut events = Events::after(aggregate.revision);
        let mut decided = Vec::new();
        while !events.is_full()
            && let Some(next) = work.pop_front()
        {
            if !self.decide(&mut aggregate, &mut events, next, &mut decided) {
                put_back(work, decided);
                return Ok(Turn::Overtaken);
            }
        }
        let proof = if !events.is_empty() {
            shared.measured.submitted(decided.len(), events.len());
            let spans = self.begin_spans(&decided, events.len());
            let appended = append_new(&shared, events.into_append(&self.stream, None)).await;
            spans.ended(appended.as_ref().err().map(|error| error as &dyn std::fmt::Display));
            appended
        } else if is_current {
            Ok(())
        } else {
            self.look_again(&mut aggregate).await
        };
        match proof {
            Ok(()) => {
                shared.loader.snapshot_if_due(&shared.runtime, &self.stream, &mut aggregate);
                self.aggregate = Some(aggregate);
                answer(decided);
                Ok(Turn::Answered)
            }
            Err(ExecuteError::Conflict) => {
                self.was_overtaken = true;
                put_back(work, decided);
                Ok(Turn::Overtaken)
            }
            Err(error) => {
                put_back(work, decided);
                Err(error)
            }
        }
    }

    fn begin_spans(&self, decided: &[Decided<A>], events: usize) -> AppendSpans {
        let mut spans = AppendSpans::default();
        for item in decided {
            if let Decided::Command(request, _, executed) = item {
                spans.add(executed, &request.terms.context);
            }
        }
        spans.submitted(&self.stream, decided.len(), events);
        spans
    }

    /// The aggregate to decide on, and whether it contains every event of this moment. If another process
    /// wrote the stream lately, it probably does again: a read now saves an append that conflicts.
    async fn current(&mut self, creates: bool) -> Result<(Aggregate<A>, bool), ExecuteError> {
        let loader = &self.shared.loader;
        match self.aggregate.take() {
            Some(mut aggregate) if aggregate.contended => {
                aggregate.contended = loader.catch_up(&self.stream, &mut aggregate).await?;
                Ok((aggregate, true))
            }
            Some(aggregate) => Ok((aggregate, false)),
            None if creates && !self.was_overtaken => Ok((Aggregate::new(), false)),
            None => {
                let begun = Instant::now();
                let mut aggregate = loader.load(&self.stream).await?;
                self.shared.measured.loads.record(begun.elapsed());
                aggregate.contended = mem::take(&mut self.was_overtaken);
                Ok((aggregate, true))
            }
        }
    }

    /// [`ExecuteError::Conflict`] if other processes have appended events.
    async fn look_again(&mut self, aggregate: &mut Aggregate<A>) -> Result<(), ExecuteError> {
        if !self.shared.loader.catch_up(&self.stream, aggregate).await? {
            return Ok(());
        }
        Err(ExecuteError::Conflict)
    }

    /// False if the command broke the state.
    fn decide(
        &self,
        aggregate: &mut Aggregate<A>,
        events: &mut Events,
        work: Work<A>,
        decided: &mut Vec<Decided<A>>,
    ) -> bool {
        let (request, reply) = match work {
            Work::Execute(request, reply) => (request, reply),
            Work::Read(mut view) => {
                view.look(&aggregate.state, aggregate.revision);
                decided.push(Decided::View(view));
                return true;
            }
        };
        let executed = match known(aggregate, self.shared.store.epoch(), &request) {
            Some(Decision::Superseded) => Err(ExecuteError::Superseded),
            Some(Decision::AskIndex(indexed_to)) => {
                drop(reply.send(Ok(Answer::AskIndex(request, indexed_to))));
                return true;
            }
            Some(Decision::Executed(executed)) => Ok(executed),
            None => {
                let decision =
                    decide(&self.stream, aggregate, events, request.command.clone(), &request.terms.context);
                match decision {
                    Ok(executed) => Ok(executed),
                    Err(error) => {
                        drop(reply.send(Err(error)));
                        return false;
                    }
                }
            }
        };
        match executed {
            Ok(executed) => decided.push(Decided::Command(request, reply, executed)),
            Err(error) => drop(reply.send(Err(error))),
        }
        true
    }
}

/// True for a command that expects an empty stream.
fn expects_empty_stream<A: Decider>(work: &Work<A>) -> bool {
    matches!(work, Work::Execute(request, _) if request.terms.creates)
}

fn put_back<A: Decider>(work: &mut VecDeque<Work<A>>, decided: Vec<Decided<A>>) {
    for item in decided.into_iter().rev() {
        work.push_front(match item {
            Decided::Command(request, reply, _) => Work::Execute(request, reply),
            Decided::View(view) => Work::Read(view),
        });
    }
}

fn answer<A: Decider>(decided: Vec<Decided<A>>) {
    for item in decided {
        match item {
            Decided::Command(request, reply, executed) => {
                // Before the answer: the caller may send its next command at once and needs a place.
                drop(request);
                drop(reply.send(Ok(Answer::Executed(executed))));
            }
            Decided::View(view) => view.answer(Ok(())),
        }
    }
}

/// Appends events. [`ExecuteError::Conflict`] if they may have been in the store before: then the state was not
/// current, and the stream shows what they are.
async fn append_new<A: Decider>(shared: &Shared<A>, append: Append) -> Result<(), ExecuteError> {
    let Shared { store, measured, .. } = shared;
    let (begun, events, head_before) = (Instant::now(), append.events.len(), *store.head().borrow());
    let appended = append_until_known(&**store, measured, append).await;
    let is_new = appended.as_ref().is_ok_and(|appended| appended.last_position > head_before);
    measured.ended(begun.elapsed(), if is_new { events } else { 0 });
    appended?;
    if is_new { Ok(()) } else { Err(ExecuteError::Conflict) }
}

/// Sends the identical append again while its outcome is unknown; the store recognises it by its event ids.
/// After an unknown outcome, `Unavailable` does not end the retries: an earlier attempt may have been
/// written.
async fn append_until_known(
    store: &dyn EventStore,
    measured: &Measured,
    append: Append,
) -> Result<Appended, ExecuteError> {
    let started = time::Instant::now();
    let mut pause = RETRY_PAUSE_MIN;
    let mut is_unknown = false;
    loop {
        let why = match store.append(append.clone()).await {
            Err(AppendError::OutcomeUnknown(why)) => why,
            Err(AppendError::Unavailable(why)) if is_unknown => why,
            outcome => return outcome.map_err(Into::into),
        };
        if started.elapsed() + pause >= OUTCOME_RETRY_MAX {
            return Err(ExecuteError::OutcomeUnknown(why));
        }
        tracing::warn!(stream = %append.stream, %why, "The outcome of an append is unknown; sending it again");
        is_unknown = true;
        measured.sent_again.increment(1);
        time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}

//! The hot path, from a command to a durable answer.
//!
//! There is one way to run commands for each kind of store: `exclusive` for a store that this process alone
//! writes, `shared` for a store that several processes write. In both, a stream waits only for itself: neither
//! a slow load nor a failing append of one stream delays the commands of another.
//!
//! A command belongs to the trace of the task that sends it, and so do its events.
//!
//! No state is cloned for a rollback. When an append fails, the cached state is dropped and its commands are
//! decided again; command ids prevent a second effect.

mod aggregate;
mod batch;
mod cache;
mod exclusive;
mod loading;
mod measured;
mod shared;
mod spans;
mod unreadable;

use std::{sync::Arc, time::Duration};

use domain::{CommandContext, Decider, DecodeError, Revision, StreamName};
use infra::{
    event_store::{AppendError, Epoch, EventStore, ReadError},
    measurements::UnderWay,
    snapshots::SnapshotStore,
    traces,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

pub use self::unreadable::UnreadableStreams;
use self::{
    aggregate::Indexed,
    batch::{Answer, Request, Terms, View, Wait, Work},
    exclusive::Exclusive,
    loading::Loader,
    measured::Measured,
    shared::Shared,
};

/// The longest wait for an answer. Longer than each of its parts: a load, and an append that is sent again
/// while its outcome is unknown.
const ANSWER_MAX: Duration = Duration::from_secs(45);

/// The bounds of an executor.
#[derive(Debug, Clone, Copy)]
pub struct ExecutorOptions {
    /// External commands under way, from arrival until durable. Further ones are refused as
    /// [`ExecuteError::Overloaded`].
    pub queue_commands_max: usize,
    /// Memory of the cached aggregates of one kind.
    pub cache_bytes_max: usize,
    /// The longest wait for one read of a stream.
    pub read_max: Duration,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            queue_commands_max: 8_192,
            cache_bytes_max: 24 * 1024 * 1024,
            read_max: Duration::from_secs(10),
        }
    }
}

/// One chain of commands to several streams, each decided on the ones before it.
///
/// If the store accepts dependent appends, a step is answered when it is submitted; only the last step waits for
/// the disk. After a failed append every later step of the flow is refused as [`ExecuteError::Superseded`].
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    epoch: Epoch,
}

impl Flow {
    pub fn begin(store: &dyn EventStore) -> Self {
        Self { epoch: store.epoch() }
    }

    /// True if an append has failed since the flow began, so a step may be lost. Start the flow again.
    pub fn is_superseded(self, store: &dyn EventStore) -> bool {
        store.epoch() != self.epoch
    }
}

/// A command's outcome, with the state of the aggregate after it.
#[derive(Debug, Clone)]
pub struct Executed<A: Decider> {
    pub outcome: Outcome<A>,
    /// The stream's revision after the command; `None` for an empty stream.
    pub revision: Option<Revision>,
    pub summary: A::Summary,
}

#[derive(Debug, Clone)]
pub enum Outcome<A: Decider> {
    /// Events were recorded, the last at [`Executed::revision`].
    Recorded,
    /// The command was already satisfied.
    Unchanged,
    /// The same command was recorded earlier, its last event at `revision`.
    Duplicate {
        revision: Revision,
    },
    /// The idempotency key was used earlier with another content.
    KeyReused,
    /// `If-Match` named another revision.
    PreconditionFailed,
    Refused(A::Refusal),
}

/// Why a command has no outcome. Sending it again is safe in every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    #[error("too many commands are under way; send the command again later")]
    Overloaded,
    /// An append that this command may depend on has failed: start the flow again.
    #[error("an earlier command of the same epoch failed; start the flow again")]
    Superseded,
    #[error("the stream changed during each of {} attempts; send the command again", ATTEMPTS_MAX)]
    Conflict,
    /// Another task holds the lock of the order or payment.
    #[error("another request or reaction is working on the same order or payment; try again later")]
    Busy,
    #[error("the event store is unavailable: {0}")]
    Unavailable(Arc<str>),
    #[error("the outcome of the command is unknown: {0}")]
    OutcomeUnknown(Arc<str>),
    #[error("the stream cannot be read: {0}")]
    Unreadable(Arc<str>),
    /// This process refuses commands until an operator has repaired the log.
    #[error("the event log went back")]
    LogWentBack,
}

impl From<AppendError> for ExecuteError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::WrongExpectedRevision { .. } => Self::Conflict,
            AppendError::Superseded => Self::Superseded,
            AppendError::Unavailable(why) => Self::Unavailable(why),
            AppendError::OutcomeUnknown(why) => Self::OutcomeUnknown(why),
            AppendError::StreamDamaged(why) => Self::Unreadable(why),
        }
    }
}

impl From<ReadError> for ExecuteError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(why) => Self::Unavailable(why),
            ReadError::Corrupt(why) => Self::Unreadable(why),
            ReadError::WentBack(_) => Self::LogWentBack,
        }
    }
}

impl From<DecodeError> for ExecuteError {
    fn from(error: DecodeError) -> Self {
        Self::Unreadable(error.to_string().into())
    }
}

/// Attempts at a command, or at a flow of commands, that conflicts.
pub const ATTEMPTS_MAX: u32 = 5;

/// Executes the commands of one kind of aggregate. Cheap to clone.
pub struct Executor<A: Decider> {
    runner: Runner<A>,
    loader: Arc<Loader>,
    /// The places for external commands under way.
    places: Arc<Semaphore>,
    measured: Arc<Measured>,
}

enum Runner<A: Decider> {
    Exclusive(Arc<Exclusive<A>>),
    Shared(Arc<Shared<A>>),
}

/// Who sends a command.
#[derive(Debug, Clone, Copy)]
enum Origin {
    Client {
        /// The client's command expects an empty stream.
        creates: bool,
    },
    Reaction,
}

impl<A: Decider> Clone for Executor<A> {
    fn clone(&self) -> Self {
        let runner = match &self.runner {
            Runner::Exclusive(runner) => Runner::Exclusive(Arc::clone(runner)),
            Runner::Shared(runner) => Runner::Shared(Arc::clone(runner)),
        };
        let (loader, measured) = (Arc::clone(&self.loader), Arc::clone(&self.measured));
        Self { runner, loader, places: Arc::clone(&self.places), measured }
    }
}

impl<A: Decider> std::fmt::Debug for Executor<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Executor")
    }
}

impl<A: Decider> Executor<A> {
    /// Starts an executor on the current runtime. `snapshots` shorten the load of long streams, and bound the
    /// memory of their command ids.
    pub fn start(
        store: &Arc<dyn EventStore>,
        snapshots: Option<&Arc<SnapshotStore>>,
        unreadable: &Arc<UnreadableStreams>,
        options: ExecutorOptions,
    ) -> Self {
        let unreadable = Arc::clone(unreadable);
        let loader = Loader::new(store.log(), snapshots.cloned(), unreadable, options.read_max);
        let (store, running, measured) = (Arc::clone(store), Arc::clone(&loader), Measured::of::<A>());
        let runner = if store.accepts_dependent_appends() {
            Runner::Exclusive(Exclusive::new(store, running, &measured, options.cache_bytes_max))
        } else {
            Runner::Shared(Shared::new(store, running, &measured, options.cache_bytes_max))
        };
        Self { runner, loader, places: Arc::new(Semaphore::new(options.queue_commands_max)), measured }
    }

    /// Executes a command of a client, up to [`ATTEMPTS_MAX`] times if its stream changes meanwhile. Refused
    /// as [`ExecuteError::Overloaded`] while too many are under way.
    pub async fn execute(
        &self,
        id: &A::Id,
        command: A::Command,
        context: &CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.execute_on(id, command, context, Origin::Client { creates: false }).await
    }

    /// [`Executor::execute`] on a stream that the caller expects to be empty, which saves a read of a shared
    /// store.
    pub async fn create(
        &self,
        id: &A::Id,
        command: A::Command,
        context: &CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.execute_on(id, command, context, Origin::Client { creates: true }).await
    }

    /// Executes a command of a reaction, up to [`ATTEMPTS_MAX`] times if its stream changes meanwhile. Never
    /// refused for load, so every placed order is finished.
    pub async fn execute_reaction(
        &self,
        id: &A::Id,
        command: A::Command,
        context: &CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.execute_on(id, command, context, Origin::Reaction).await
    }

    /// Makes one attempt at the first step of a client's flow, on a stream that the caller expects to be empty.
    /// Refused as [`ExecuteError::Overloaded`] while too many commands are under way.
    pub async fn begin_in(
        &self,
        flow: Flow,
        id: &A::Id,
        command: A::Command,
        context: CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        let place = Some(self.take_place()?);
        let terms = Terms { place, creates: true, ..Terms::step(flow, Wait::Submitted, context) };
        self.submit(id, command, terms).await
    }

    /// Makes one attempt at a further step of a flow.
    pub async fn submit_in(
        &self,
        flow: Flow,
        id: &A::Id,
        command: A::Command,
        context: CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.submit(id, command, Terms::step(flow, Wait::Submitted, context)).await
    }

    /// Makes one attempt at the last step of a flow. Its success proves that every step is durable.
    pub async fn finish_in(
        &self,
        flow: Flow,
        id: &A::Id,
        command: A::Command,
        context: CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.submit(id, command, Terms::step(flow, Wait::Durable, context)).await
    }

    /// [`Executor::finish_in`] for a stream that the caller expects to be empty, which saves a read of a
    /// shared store.
    pub async fn create_in(
        &self,
        flow: Flow,
        id: &A::Id,
        command: A::Command,
        context: CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.submit(id, command, Terms { creates: true, ..Terms::step(flow, Wait::Durable, context) }).await
    }

    /// Reads the durable state of an aggregate. `view` runs under a lock: keep it short.
    pub async fn read<R: Send + 'static>(
        &self,
        id: &A::Id,
        view: impl Fn(&A::State, Option<Revision>) -> R + Send + Sync + 'static,
    ) -> Result<R, ExecuteError> {
        let view = Arc::new(view);
        for attempt in 1..=ATTEMPTS_MAX {
            let (reply, answer) = oneshot::channel();
            self.run(id, Work::Read(Box::new(Viewing { view: Arc::clone(&view), seen: None, reply })));
            match timeout(ANSWER_MAX, answer).await {
                Err(_) => return Err(ExecuteError::Unavailable("no answer to a read in time".into())),
                Ok(Err(_)) => return Err(stopped()),
                Ok(Ok(Err(ExecuteError::Superseded | ExecuteError::Conflict))) if attempt < ATTEMPTS_MAX => {
                    pause_before_attempt(attempt + 1).await;
                }
                Ok(Ok(answer)) => return answer,
            }
        }
        Err(ExecuteError::Conflict)
    }

    async fn execute_on(
        &self,
        id: &A::Id,
        command: A::Command,
        context: &CommandContext,
        origin: Origin,
    ) -> Result<Executed<A>, ExecuteError> {
        let context = Arc::new(context.clone().in_trace(traces::current()));
        for attempt in 1..=ATTEMPTS_MAX {
            let (place, creates) = match origin {
                Origin::Client { creates } => (Some(self.take_place()?), creates),
                Origin::Reaction => (None, false),
            };
            let terms = Terms { creates, place, ..Terms::durable(Arc::clone(&context)) };
            match self.submit(id, command.clone(), terms).await {
                Err(ExecuteError::Superseded | ExecuteError::Conflict) if attempt < ATTEMPTS_MAX => {
                    pause_before_attempt(attempt + 1).await;
                }
                answer => return answer,
            }
        }
        Err(ExecuteError::Conflict)
    }

    /// Makes one attempt at one command.
    async fn submit(
        &self,
        id: &A::Id,
        command: A::Command,
        terms: Terms,
    ) -> Result<Executed<A>, ExecuteError> {
        let under_way = UnderWay::begin(&self.measured.under_way);
        let ended = self.attempt(id, command, terms).await;
        drop(under_way);
        self.measured.count_attempt(&ended);
        ended
    }

    /// Asks the index about the command if memory cannot tell whether it was recorded.
    async fn attempt(
        &self,
        id: &A::Id,
        command: A::Command,
        terms: Terms,
    ) -> Result<Executed<A>, ExecuteError> {
        let (stream, context): (StreamName, _) = (id.clone().into(), Arc::clone(&terms.context));
        let mut request = Request { command, terms };
        loop {
            let (reply, answer) = oneshot::channel();
            self.run(id, Work::Execute(request, reply));
            let unknown = |_| ExecuteError::OutcomeUnknown(format!("no answer within {ANSWER_MAX:?}").into());
            match timeout(ANSWER_MAX, answer).await.map_err(unknown)?.unwrap_or_else(|_| Err(stopped()))? {
                Answer::Executed(executed) => return self.compared(&stream, executed, &context).await,
                Answer::AskIndex(again, indexed_to) => {
                    request = again;
                    request.terms.indexed = self.loader.ask_index(&stream, context.id, indexed_to).await?;
                }
            }
        }
    }

    /// Compares the content of a duplicate with the recorded event. Equal ids of commands without a key mean
    /// equal content.
    async fn compared(
        &self,
        stream: &StreamName,
        executed: Executed<A>,
        context: &CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        let (Outcome::Duplicate { revision }, Some(sent)) = (&executed.outcome, &context.idempotency) else {
            return Ok(executed);
        };
        let recorded = self.loader.metadata_at(stream, *revision).await?.ok_or(ExecuteError::Conflict)?;
        match recorded.idempotency {
            Some(recorded) if recorded.fingerprint != sent.fingerprint => {
                Ok(Executed { outcome: Outcome::KeyReused, ..executed })
            }
            _ => Ok(executed),
        }
    }

    fn run(&self, id: &A::Id, work: Work<A>) {
        match &self.runner {
            Runner::Exclusive(runner) => runner.run(id, work),
            Runner::Shared(runner) => runner.run(id, work),
        }
    }

    fn take_place(&self) -> Result<OwnedSemaphorePermit, ExecuteError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            self.measured.count_attempt::<A>(&Err(ExecuteError::Overloaded));
            ExecuteError::Overloaded
        })
    }
}

impl Terms {
    fn durable(context: Arc<CommandContext>) -> Self {
        let (wait, indexed) = (Wait::Durable, Indexed::NotAsked);
        Self { context, wait, epoch: None, creates: false, indexed, place: None }
    }

    fn step(flow: Flow, wait: Wait, context: CommandContext) -> Self {
        let context = context.in_trace(traces::current());
        Self { wait, epoch: Some(flow.epoch), ..Self::durable(Arc::new(context)) }
    }
}

/// A caller of [`Executor::read`].
struct Viewing<V, R> {
    view: Arc<V>,
    seen: Option<R>,
    reply: oneshot::Sender<Result<R, ExecuteError>>,
}

impl<A, V, R> View<A> for Viewing<V, R>
where
    A: Decider,
    V: Fn(&A::State, Option<Revision>) -> R + Send + Sync,
    R: Send,
{
    fn look(&mut self, state: &A::State, revision: Option<Revision>) {
        self.seen = Some((self.view)(state, revision));
    }

    fn answer(self: Box<Self>, outcome: Result<(), ExecuteError>) {
        let Self { view: _, seen, reply } = *self;
        drop(reply.send(outcome.and_then(|()| seen.ok_or_else(stopped))));
    }
}

/// Waits before an attempt. The second starts at once; later ones wait 8 ms, doubled each time, so that a
/// failing part can recover.
pub async fn pause_before_attempt(attempt: u32) {
    if attempt > 2 {
        tokio::time::sleep(Duration::from_millis(1 << attempt.min(10))).await;
    }
}

fn stopped() -> ExecuteError {
    ExecuteError::Unavailable("the platform is shutting down".into())
}

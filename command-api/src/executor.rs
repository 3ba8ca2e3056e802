//! The hot path, from a command to a durable answer.
//!
//! Commands are sharded by stream. A shard owns the cached state of its aggregates. If the aggregate is in
//! memory and the store accepts dependent appends, the caller's own task decides and submits the command at
//! once. Every other command waits for the shard's task. That task takes all waiting commands, decides them
//! one after another, and appends the events of each stream as one batch: 1,000 commands on one hot SKU cost
//! one append.
//!
//! No state is cloned for a rollback. When an append fails, the shard drops the cached state and the callers
//! send their commands again; command ids prevent a second effect.

mod aggregate;
mod batch;
mod shard;
mod shared_store;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{CommandContext, Decider, DecodeError, Revision};
use infra::{
    event_store::{AppendError, Epoch, EventStore, ReadError},
    snapshots::SnapshotStore,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::{
    batch::{Read, Request, Work},
    shard::Shard,
};

/// The bounds of an executor.
#[derive(Debug, Clone, Copy)]
pub struct ExecutorOptions {
    /// Tasks per kind of aggregate.
    pub shards: usize,
    /// External commands under way per shard, from arrival until durable. Further ones are refused as
    /// [`ExecuteError::Overloaded`].
    pub queue_commands_max: usize,
    /// Aggregates of ordinary size that a shard keeps in memory, approximately.
    pub cache_weight_max: usize,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self { shards: 2, queue_commands_max: 4_096, cache_weight_max: 50_000 }
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

/// The queue that a command waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Commands of clients: refused when too many are under way.
    External,
    /// Commands of reactions: never refused, so every placed order is finished. The number of accepted orders
    /// bounds them.
    Reaction,
}

/// When a command is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// When its append is submitted, if the store accepts dependent appends.
    Submitted,
    /// When its events, and all events it was decided on, are durable.
    Durable,
}

/// How a command runs.
#[derive(Debug, Clone, Copy)]
struct Mode {
    lane: Lane,
    wait: Wait,
    /// The epoch of the flow that the command is a step of.
    epoch: Option<Epoch>,
    /// The caller expects an empty stream, which saves a read. If wrong, the append conflicts.
    new_stream: bool,
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
}

impl From<AppendError> for ExecuteError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::WrongExpectedRevision { .. } => Self::Conflict,
            AppendError::Superseded => Self::Superseded,
            AppendError::Unavailable(why) => Self::Unavailable(why),
            AppendError::OutcomeUnknown(why) => Self::OutcomeUnknown(why),
        }
    }
}

impl From<ReadError> for ExecuteError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(why) => Self::Unavailable(why),
            ReadError::Corrupt(why) => Self::Unreadable(why),
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
    shards: Arc<[ShardHandle<A>]>,
}

struct ShardHandle<A: Decider> {
    /// None while the shard's task has the shard.
    shard: Arc<Mutex<Option<Shard<A>>>>,
    /// Bounded by `places`.
    external: mpsc::UnboundedSender<Work<A>>,
    places: Arc<Semaphore>,
    reactions: mpsc::UnboundedSender<Work<A>>,
}

impl<A: Decider> Clone for Executor<A> {
    fn clone(&self) -> Self {
        Self { shards: Arc::clone(&self.shards) }
    }
}

impl<A: Decider> std::fmt::Debug for Executor<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl<A: Decider> Executor<A> {
    /// Starts the shards on the current runtime. They end when the last clone of the executor drops.
    pub fn start(
        store: &Arc<dyn EventStore>,
        snapshots: Option<&Arc<SnapshotStore>>,
        options: ExecutorOptions,
    ) -> Self {
        let shards = (0..options.shards.max(1)).map(|_| {
            let (external, external_queue) = mpsc::unbounded_channel();
            let (reactions, reaction_queue) = mpsc::unbounded_channel();
            let idle = Shard::new(Arc::clone(store), snapshots.cloned(), options.cache_weight_max);
            let shard = Arc::new(Mutex::new(Some(idle)));
            tokio::spawn(shard::run(Arc::clone(&shard), external_queue, reaction_queue));
            let places = Arc::new(Semaphore::new(options.queue_commands_max));
            ShardHandle { shard, external, places, reactions }
        });
        Self { shards: shards.collect() }
    }

    /// Executes a command of a client, up to [`ATTEMPTS_MAX`] times if its stream changes meanwhile. Refused
    /// as [`ExecuteError::Overloaded`] while too many are under way.
    pub async fn execute(
        &self,
        id: &A::Id,
        command: A::Command,
        context: &CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.execute_in_lane(Lane::External, id, command, context).await
    }

    /// Executes a command of a reaction, up to [`ATTEMPTS_MAX`] times if its stream changes meanwhile. Never
    /// refused for load, so every placed order is finished.
    pub async fn execute_reaction(
        &self,
        id: &A::Id,
        command: A::Command,
        context: &CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.execute_in_lane(Lane::Reaction, id, command, context).await
    }

    /// Makes one attempt at the first step of a client's flow. Refused as [`ExecuteError::Overloaded`] while
    /// too many commands are under way.
    pub async fn begin_in(
        &self,
        flow: Flow,
        id: &A::Id,
        command: A::Command,
        context: CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.step(flow, Lane::External, Wait::Submitted, id, command, context).await
    }

    /// Makes one attempt at a further step of a flow.
    pub async fn submit_in(
        &self,
        flow: Flow,
        id: &A::Id,
        command: A::Command,
        context: CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.step(flow, Lane::Reaction, Wait::Submitted, id, command, context).await
    }

    /// Makes one attempt at the last step of a flow. Its success proves that every step is durable.
    pub async fn finish_in(
        &self,
        flow: Flow,
        id: &A::Id,
        command: A::Command,
        context: CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        self.step(flow, Lane::Reaction, Wait::Durable, id, command, context).await
    }

    /// [`Executor::finish_in`] for a stream that the caller expects to be empty, which saves a read of a
    /// shared store. If it is not, the step ends with [`ExecuteError::Conflict`].
    pub async fn create_in(
        &self,
        flow: Flow,
        id: &A::Id,
        command: A::Command,
        context: CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        let mode =
            Mode { lane: Lane::Reaction, wait: Wait::Durable, epoch: Some(flow.epoch), new_stream: true };
        self.submit(id, command, context, mode).await
    }

    async fn step(
        &self,
        flow: Flow,
        lane: Lane,
        wait: Wait,
        id: &A::Id,
        command: A::Command,
        context: CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        let mode = Mode { lane, wait, epoch: Some(flow.epoch), new_stream: false };
        self.submit(id, command, context, mode).await
    }

    async fn execute_in_lane(
        &self,
        lane: Lane,
        id: &A::Id,
        command: A::Command,
        context: &CommandContext,
    ) -> Result<Executed<A>, ExecuteError> {
        let mode = Mode { lane, wait: Wait::Durable, epoch: None, new_stream: false };
        for attempt in 1..=ATTEMPTS_MAX {
            match self.submit(id, command.clone(), context.clone(), mode).await {
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
        context: CommandContext,
        mode: Mode,
    ) -> Result<Executed<A>, ExecuteError> {
        let shard = self.shard_of(id);
        let (queue, place) = match mode.lane {
            Lane::External => (&shard.external, Some(shard.take_place()?)),
            Lane::Reaction => (&shard.reactions, None),
        };
        let (reply, answer) = oneshot::channel();
        let request = Request { command, context, mode, reply, place };
        if let Some(waiting) = shard.run_now(Work::Execute(id.clone(), request)) {
            queue.send(waiting).map_err(|_| stopped())?;
        }
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Reads the durable state of an aggregate. `view` runs on the caller's task.
    pub async fn read<R: Send + 'static>(
        &self,
        id: &A::Id,
        view: impl FnOnce(&A::State, Option<Revision>) -> R + Send + 'static,
    ) -> Result<R, ExecuteError> {
        for attempt in 1..=ATTEMPTS_MAX {
            let (reply, answer) = oneshot::channel();
            let shard = self.shard_of(id);
            if let Some(waiting) = shard.run_now(Work::Read(id.clone(), Read { reply })) {
                shard.reactions.send(waiting).map_err(|_| stopped())?;
            }
            match answer.await.unwrap_or_else(|_| Err(stopped())) {
                Ok(versioned) => return Ok(view(&versioned.state, versioned.revision)),
                Err(ExecuteError::Superseded | ExecuteError::Conflict) => {
                    pause_before_attempt(attempt + 1).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ExecuteError::Conflict)
    }

    fn shard_of(&self, id: &A::Id) -> &ShardHandle<A> {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
        &self.shards[usize::try_from(hash % self.shards.len() as u64).unwrap_or(0)]
    }
}

impl<A: Decider> ShardHandle<A> {
    /// Runs the work at once if it needs no wait; otherwise returns it.
    fn run_now(&self, work: Work<A>) -> Option<Work<A>> {
        match self.shard.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(shard) => shard.run_now(work),
            None => Some(work),
        }
    }

    fn take_place(&self) -> Result<OwnedSemaphorePermit, ExecuteError> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| ExecuteError::Overloaded)
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

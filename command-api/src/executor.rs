//! From a command to a durable answer: the hot path.
//!
//! Commands are sharded by stream. A shard owns the cached state of its aggregates. Where everything that a command
//! needs is in memory and the store takes dependent appends, whoever sends it decides and submits it at once, on
//! its own task. Everything else waits for the shard's task, which takes all commands that wait, decides them one
//! after another and appends what each stream got as one batch: a thousand commands on one hot SKU cost one
//! append. Nothing is rolled back by cloning. When an append fails, the cached state it built on is dropped and whoever sent the commands sends
//! them again; command ids make that harmless.

mod aggregate;
mod batch;
mod shard;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{CommandContext, Decider, Revision};
use infra::{
    event_store::{Epoch, EventStore},
    snapshots::SnapshotStore,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::{
    batch::{Read, Request, Work},
    shard::Shard,
};

/// Bounds of an executor.
#[derive(Debug, Clone, Copy)]
pub struct ExecutorOptions {
    /// Tasks per kind of aggregate.
    pub shards: usize,
    /// Commands from outside that may be under way per shard, from their arrival until they are durable; more
    /// are refused as [`ExecuteError::Overloaded`].
    pub queue_commands_max: usize,
    /// About how many aggregates of ordinary size a shard keeps in memory.
    pub cache_weight_max: usize,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self { shards: 2, queue_commands_max: 4_096, cache_weight_max: 50_000 }
    }
}

/// Which queue a command waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Commands from outside: refused when too many are under way.
    External,
    /// Commands of a reaction: never refused, so that an order once placed is always finished. Their number is
    /// bounded by the orders that were let in.
    Reaction,
}

/// When a command is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// As soon as its append is submitted, where the store takes dependent appends. The answer holds only if a
    /// later command of the same epoch is answered [`Wait::Durable`].
    Submitted,
    /// When it and everything it was decided upon are durable.
    Durable,
}

/// How a command is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    pub lane: Lane,
    pub wait: Wait,
    /// The epoch that earlier steps of the same flow ran in; a step in a later one is refused, because an
    /// earlier step may have failed.
    pub epoch: Option<Epoch>,
    /// The caller knows that the stream has no events, which saves looking. Found out if wrong.
    pub new_stream: bool,
}

impl Mode {
    /// A single command from outside.
    pub const EXTERNAL: Self =
        Self { lane: Lane::External, wait: Wait::Durable, epoch: None, new_stream: false };
    /// A single command of a reaction.
    pub const REACTION: Self =
        Self { lane: Lane::Reaction, wait: Wait::Durable, epoch: None, new_stream: false };
}

/// A command's outcome, with the aggregate as it stands after it.
#[derive(Debug, Clone)]
pub struct Executed<A: Decider> {
    pub outcome: Outcome<A>,
    /// The stream's revision after the command; none: it has no events.
    pub revision: Option<Revision>,
    pub summary: A::Summary,
}

#[derive(Debug, Clone)]
pub enum Outcome<A: Decider> {
    /// Events were recorded, the last at [`Executed::revision`].
    Recorded,
    /// The command was already satisfied.
    Unchanged,
    /// The same command was recorded before; `revision` is that of its last event.
    Duplicate {
        revision: Revision,
    },
    /// The same idempotency key came before with another content.
    KeyReused,
    /// `If-Match` named another revision.
    PreconditionFailed,
    Refused(A::Refusal),
}

/// Why a command has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    #[error("too many commands are waiting")]
    Overloaded,
    /// An append that this command may build on has failed: begin the flow again.
    #[error("an earlier command of the same epoch has failed")]
    Superseded,
    #[error("the stream changed under the command again and again")]
    Conflict,
    #[error("the event store cannot be used: {0}")]
    Unavailable(Arc<str>),
    #[error("it is not known whether the command was recorded: {0}")]
    OutcomeUnknown(Arc<str>),
    #[error("the stream cannot be read: {0}")]
    Unreadable(Arc<str>),
}

/// How often a command, or a flow of commands, is begun again after a conflict.
pub const ATTEMPTS_MAX: u32 = 5;

/// Runs the commands of one kind of aggregate. Cheap to clone.
pub struct Executor<A: Decider> {
    shards: Arc<[ShardHandle<A>]>,
}

struct ShardHandle<A: Decider> {
    /// Empty while the shard's task works on what waits.
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
    /// Starts the shards on the current runtime. They end when the last clone of the executor is dropped.
    pub fn start(
        store: &Arc<dyn EventStore>,
        snapshots: Option<&Arc<SnapshotStore>>,
        options: ExecutorOptions,
    ) -> Self {
        let shards = (0..options.shards.max(1)).map(|_| {
            let (external, external_queue) = mpsc::unbounded_channel();
            let (reactions, reaction_queue) = mpsc::unbounded_channel();
            let shard = Shard::new(Arc::clone(store), snapshots.cloned(), options.cache_weight_max);
            let shard = Arc::new(Mutex::new(Some(shard)));
            tokio::spawn(shard::run(Arc::clone(&shard), external_queue, reaction_queue));
            let places = Arc::new(Semaphore::new(options.queue_commands_max));
            ShardHandle { shard, external, places, reactions }
        });
        Self { shards: shards.collect() }
    }

    /// Runs one command, again if its stream changed under it.
    pub async fn execute(
        &self,
        id: &A::Id,
        command: A::Command,
        context: &CommandContext,
        mode: Mode,
    ) -> Result<Executed<A>, ExecuteError> {
        for attempt in 1..=ATTEMPTS_MAX {
            match self.submit(id, command.clone(), context.clone(), mode).await {
                Err(ExecuteError::Superseded | ExecuteError::Conflict) if attempt < ATTEMPTS_MAX => {
                    pause_before_attempt(attempt + 1).await;
                }
                Err(ExecuteError::Superseded) => return Err(ExecuteError::Conflict),
                answer => return answer,
            }
        }
        Err(ExecuteError::Conflict)
    }

    /// Runs one command once.
    pub async fn submit(
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
        if let Some(waits) = shard.run_now(Work::Execute(id.clone(), request)) {
            queue.send(waits).map_err(|_| stopped())?;
        }
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Reads an aggregate as it durably stands, through `view`, on the shard that owns it.
    pub async fn read<R: Send + 'static>(
        &self,
        id: &A::Id,
        view: impl FnOnce(&A::State, Option<Revision>) -> R + Send + 'static,
    ) -> Result<R, ExecuteError> {
        for attempt in 1..=ATTEMPTS_MAX {
            let (reply, answer) = oneshot::channel();
            let shard = self.shard_of(id);
            if let Some(waits) = shard.run_now(Work::Read(id.clone(), Read { reply })) {
                shard.reactions.send(waits).map_err(|_| stopped())?;
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
    /// Runs work that need not wait for anything; gives back what must.
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

/// The first new attempt comes at once; later ones let whatever is failing recover.
pub async fn pause_before_attempt(attempt: u32) {
    if attempt > 2 {
        tokio::time::sleep(Duration::from_millis(1 << attempt.min(10))).await;
    }
}

fn stopped() -> ExecuteError {
    ExecuteError::Unavailable("the platform is shutting down".into())
}

//! An aggregate in memory: its state, its revision and the commands that it has recorded.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use domain::{CommandId, Decider, EventId, RecordedEvent, Revision, StreamName};
use tokio::sync::oneshot;

use super::ExecuteError;

/// An aggregate as an executor caches it.
#[derive(Debug)]
pub(super) struct Aggregate<A: Decider> {
    pub state: A::State,
    /// The revision of the last event, durable or submitted; `None` for an empty stream.
    pub revision: Option<Revision>,
    pub commands: RecordedCommands,
    /// The number of the last append that was submitted for this aggregate. Only for a store with one owner.
    pub submitted: u64,
    /// True if another process wrote the stream lately, so its end is read before the next append. Only for a
    /// shared store.
    pub contended: bool,
    pub last_event: Option<EventId>,
    pub events_since_snapshot: usize,
}

/// The commands of a stream, each with the revision of its last event.
///
/// Ids up to `indexed_to` are in the index beside the snapshots, and no longer here. So memory holds at most
/// the commands since the last snapshot.
#[derive(Debug, Default)]
pub(super) struct RecordedCommands {
    recent: HashMap<CommandId, Revision>,
    indexed_to: Option<Revision>,
    /// Gets the revision of the snapshot that is being written.
    indexing: Option<oneshot::Receiver<Revision>>,
}

/// The result of looking up a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    No,
    /// Recorded, its last event at this revision.
    At(Revision),
    /// Not in memory. Only the index, which covers the stream up to this revision, can tell.
    AskIndex(Revision),
}

/// What the index said about a command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Indexed {
    #[default]
    NotAsked,
    /// Not recorded up to this revision.
    AbsentTo(Revision),
    At(Revision),
}

impl RecordedCommands {
    pub fn indexed_to(revision: Revision) -> Self {
        Self { indexed_to: Some(revision), ..Self::default() }
    }

    pub fn find(&self, id: CommandId, indexed: Indexed) -> Known {
        match (self.recent.get(&id).copied(), self.indexed_to, indexed) {
            (Some(revision), _, _) | (None, _, Indexed::At(revision)) => Known::At(revision),
            (None, None, _) => Known::No,
            (None, Some(indexed_to), Indexed::AbsentTo(asked_to)) if asked_to >= indexed_to => Known::No,
            (None, Some(indexed_to), _) => Known::AskIndex(indexed_to),
        }
    }

    fn remember(&mut self, id: CommandId, revision: Revision) {
        self.recent.insert(id, revision);
    }

    pub fn len(&self) -> usize {
        self.recent.len()
    }

    /// The commands that the index may lack.
    pub fn to_index(&self) -> Vec<(CommandId, Revision)> {
        self.recent.iter().map(|(id, revision)| (*id, *revision)).collect()
    }

    /// The index has every command up to this revision.
    pub fn forget_to(&mut self, revision: Revision) {
        self.recent.retain(|_, recorded| *recorded > revision);
        self.recent.shrink_to_fit();
        self.indexed_to = self.indexed_to.max(Some(revision));
    }

    /// True while a snapshot is being written. Forgets what the last one has put into the index.
    pub fn is_indexing(&mut self) -> bool {
        match self.indexing.as_mut().map(oneshot::Receiver::try_recv) {
            None => return false,
            Some(Err(oneshot::error::TryRecvError::Empty)) => return true,
            Some(Err(oneshot::error::TryRecvError::Closed)) => {}
            Some(Ok(revision)) => self.forget_to(revision),
        }
        self.indexing = None;
        false
    }

    /// The sender tells up to which revision the index has the commands; dropped if it has no more than before.
    pub fn begin_indexing(&mut self) -> oneshot::Sender<Revision> {
        let (sender, receiver) = oneshot::channel();
        self.indexing = Some(receiver);
        sender
    }
}

impl<A: Decider> Aggregate<A> {
    pub fn new() -> Self {
        Self {
            state: A::State::default(),
            revision: None,
            commands: RecordedCommands::default(),
            submitted: 0,
            contended: false,
            last_event: None,
            events_since_snapshot: 0,
        }
    }

    pub fn next_revision(&self) -> Revision {
        self.revision.map_or(0, |revision| revision + 1)
    }

    pub fn apply_recorded(&mut self, recorded: &RecordedEvent) -> Result<(), ExecuteError> {
        let RecordedEvent { stream, revision, .. } = recorded;
        let unreadable = |error: domain::DecodeError| {
            ExecuteError::Unreadable(format!("{stream} revision {revision}: {error}").into())
        };
        if *revision != self.next_revision() {
            let missing = self.next_revision();
            let why = format!(
                "{stream} has no revision {missing}, but revision {revision}: its events were deleted"
            );
            return Err(ExecuteError::Unreadable(why.into()));
        }
        let event = recorded.decode_as::<A::Event>().map_err(unreadable)?;
        let metadata = recorded.decode_metadata().map_err(unreadable)?;
        catch_panic(stream, || self.apply(&event, recorded.revision))?;
        self.last_event = Some(recorded.id);
        self.remember(metadata.command_id, &metadata.command);
        Ok(())
    }

    pub fn apply(&mut self, event: &A::Event, revision: Revision) {
        A::evolve(&mut self.state, event);
        self.revision = Some(revision);
        self.events_since_snapshot += 1;
    }

    /// Remembers the command of the last applied event, if retries of it are recognised by id.
    pub fn remember(&mut self, id: CommandId, command_name: &str) {
        if let Some(revision) = self.revision.filter(|_| A::deduplicated_by_command_id(command_name)) {
            self.commands.remember(id, revision);
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        // A slot of a hash table has a byte of control data, and an eighth of the slots stays empty.
        let per_command = size_of::<(CommandId, Revision)>() + 4;
        size_of::<Self>() + A::heap_bytes(&self.state) + self.commands.recent.capacity() * per_command
    }
}

/// Turns a panic into an error, so that a broken invariant of one stream does not stop the others.
pub(super) fn catch_panic<T>(stream: &StreamName, run: impl FnOnce() -> T) -> Result<T, ExecuteError> {
    catch_unwind(AssertUnwindSafe(run))
        .map_err(|_| ExecuteError::Unreadable(format!("an event breaks an invariant of {stream}").into()))
}

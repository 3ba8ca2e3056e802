//! An aggregate in memory: its state, its revision, and the ids of its recent commands.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use domain::{
    CommandContext, CommandId, Decider, EventId, RecordedEvent, Revision, StreamName, decider::Versioned,
    envelope::EventMetadata,
};
use infra::{
    event_store::{Epoch, EventLog},
    snapshots::SnapshotStore,
};
use serde::{Deserialize, Serialize};

use super::ExecuteError;

/// Events per read of a stream.
const PAGE_EVENTS: usize = 1_000;

/// Raise this when the JSON of any aggregate's state changes; snapshots of another format are ignored.
const SNAPSHOT_FORMAT: u32 = 1;

/// An aggregate as a shard caches it.
#[derive(Debug)]
pub(super) struct Aggregate<A: Decider> {
    pub state: A::State,
    /// The revision of the last event, durable or submitted; `None` for an empty stream.
    pub revision: Option<Revision>,
    pub commands: CommandLog,
    /// The epoch in which all events of this state were durable or submitted.
    pub epoch: Epoch,
    /// The number of the last append that the shard submitted for this aggregate.
    pub submitted: u64,
    pub last_event: Option<EventId>,
    pub events_since_snapshot: usize,
}

/// The most recent commands of a stream, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct CommandLog {
    entries: VecDeque<RememberedCommand>,
    /// True if older commands were dropped. A command that is not listed may then still be in the stream.
    forgotten: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RememberedCommand {
    id: CommandId,
    revision: Revision,
    fingerprint: Option<String>,
}

/// The result of looking up a command in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    No,
    /// Recorded, its last event at `revision`.
    Yes {
        revision: Revision,
        same_content: bool,
    },
    /// Not among the remembered commands, and older ones were dropped: only a read of the stream can tell.
    Uncertain,
}

impl CommandLog {
    pub fn find(&self, context: &CommandContext) -> Known {
        match self.entries.iter().rev().find(|entry| entry.id == context.id) {
            Some(entry) => Known::Yes {
                revision: entry.revision,
                same_content: is_same_content(entry.fingerprint.as_deref(), context),
            },
            None if self.forgotten => Known::Uncertain,
            None => Known::No,
        }
    }

    pub fn remember(&mut self, id: CommandId, revision: Revision, fingerprint: Option<String>, max: usize) {
        match self.entries.back_mut().filter(|last| last.id == id) {
            // A further event of the same command.
            Some(last) => last.revision = revision,
            None => self.entries.push_back(RememberedCommand { id, revision, fingerprint }),
        }
        if self.entries.len() > max {
            self.entries.pop_front();
            self.forgotten = true;
        }
    }
}

fn is_same_content(fingerprint: Option<&str>, context: &CommandContext) -> bool {
    match (fingerprint, &context.idempotency) {
        (Some(known), Some(idempotency)) => known == idempotency.fingerprint,
        // Equal ids of reaction commands mean equal content.
        _ => true,
    }
}

/// The content of a snapshot file.
#[derive(Debug, Serialize, Deserialize)]
struct Saved<S> {
    state: S,
    commands: CommandLog,
}

impl<A: Decider> Aggregate<A> {
    pub fn new(epoch: Epoch) -> Self {
        Self {
            state: A::State::default(),
            revision: None,
            commands: CommandLog::default(),
            epoch,
            submitted: 0,
            last_event: None,
            events_since_snapshot: 0,
        }
    }

    pub fn versioned(&self) -> Versioned<A::State> {
        Versioned { state: self.state.clone(), revision: self.revision }
    }

    /// Loads the latest usable snapshot, if any, and the events after it.
    pub async fn load(
        log: &dyn EventLog,
        snapshots: Option<&Arc<SnapshotStore>>,
        stream: &StreamName,
        epoch: Epoch,
    ) -> Result<Self, ExecuteError> {
        let mut aggregate = Self::new(epoch);
        if let Some(snapshots) = snapshots {
            aggregate.restore(log, snapshots, stream).await?;
        }
        aggregate.catch_up(log, stream).await?;
        Ok(aggregate)
    }

    async fn restore(
        &mut self,
        log: &dyn EventLog,
        snapshots: &Arc<SnapshotStore>,
        stream: &StreamName,
    ) -> Result<(), ExecuteError> {
        let (store, name) = (Arc::clone(snapshots), stream.clone());
        let loaded =
            tokio::task::spawn_blocking(move || store.load::<Saved<A::State>>(&name, SNAPSHOT_FORMAT));
        let Ok(Some(snapshot)) = loaded.await else { return Ok(()) };
        // Ignores the snapshot unless its last event is in this log; a restored backup may end before it.
        let last = log.read_stream(stream, snapshot.revision, 1).await?;
        if last.first().is_some_and(|event| event.id == snapshot.event_id) {
            self.state = snapshot.state.state;
            self.commands = snapshot.state.commands;
            self.revision = Some(snapshot.revision);
            self.last_event = Some(snapshot.event_id);
        }
        Ok(())
    }

    /// Folds the events after this state; true if there were any.
    pub async fn catch_up(&mut self, log: &dyn EventLog, stream: &StreamName) -> Result<bool, ExecuteError> {
        let before = self.revision;
        loop {
            let next = self.revision.map_or(0, |revision| revision + 1);
            let events = log.read_stream(stream, next, PAGE_EVENTS).await?;
            for event in &events {
                self.apply_recorded(event)?;
            }
            if events.is_empty() {
                return Ok(self.revision != before);
            }
        }
    }

    fn apply_recorded(&mut self, recorded: &RecordedEvent) -> Result<(), ExecuteError> {
        let unreadable = |error: domain::DecodeError| {
            let RecordedEvent { stream, revision, .. } = recorded;
            ExecuteError::Unreadable(format!("{stream} revision {revision}: {error}").into())
        };
        let event = recorded.decode_as::<A::Event>().map_err(unreadable)?;
        let metadata = recorded.decode_metadata().map_err(unreadable)?;
        catch_panic(&recorded.stream, || self.apply(&event, recorded.revision, recorded.id))?;
        let EventMetadata { command_id, command, idempotency, .. } = metadata;
        let fingerprint = idempotency.map(|idempotency| idempotency.fingerprint);
        self.remember(command_id, &command, fingerprint);
        Ok(())
    }

    pub fn apply(&mut self, event: &A::Event, revision: Revision, id: EventId) {
        A::evolve(&mut self.state, event);
        self.revision = Some(revision);
        self.last_event = Some(id);
        self.events_since_snapshot += 1;
    }

    /// Remembers the command of the last applied event, if retries of it are recognised by id.
    pub fn remember(&mut self, id: CommandId, command_name: &str, fingerprint: Option<String>) {
        if let Some(revision) = self.revision.filter(|_| A::deduplicated_by_command_id(command_name)) {
            self.commands.remember(id, revision, fingerprint, A::REMEMBERED_COMMANDS_MAX);
        }
    }

    /// Looks up a command in the whole stream. Needed if older commands were dropped from memory.
    pub async fn find_in_stream(
        log: &dyn EventLog,
        stream: &StreamName,
        context: &CommandContext,
    ) -> Result<Known, ExecuteError> {
        let mut next = 0;
        let mut found = Known::No;
        loop {
            let events = log.read_stream(stream, next, PAGE_EVENTS).await?;
            let Some(last) = events.last() else { return Ok(found) };
            next = last.revision + 1;
            for event in &events {
                let metadata = event.decode_metadata()?;
                if metadata.command_id == context.id {
                    let known = metadata.idempotency.as_ref().map(|known| known.fingerprint.as_str());
                    let same_content = is_same_content(known, context);
                    found = Known::Yes { revision: event.revision, same_content };
                }
            }
        }
    }

    /// Events between snapshots: more if the state is large.
    fn snapshot_interval(&self) -> usize {
        1_000.max(8 * A::weight(&self.state))
    }

    /// Returns a function that writes a snapshot, if one is due. Call it only after the state is durable.
    pub fn due_snapshot(
        &mut self,
        snapshots: &Arc<SnapshotStore>,
        stream: &StreamName,
    ) -> Option<impl FnOnce() + Send + 'static> {
        let (revision, event_id) = (self.revision?, self.last_event?);
        if self.events_since_snapshot < self.snapshot_interval() {
            return None;
        }
        self.events_since_snapshot = 0;
        let saved = Saved { state: self.state.clone(), commands: self.commands.clone() };
        let (snapshots, stream) = (Arc::clone(snapshots), stream.clone());
        Some(move || {
            if let Err(error) = snapshots.save(&stream, SNAPSHOT_FORMAT, revision, event_id, &saved) {
                tracing::warn!(stream = %stream, %error, "Cannot write a snapshot; the next load reads the whole stream");
            }
        })
    }
}

/// Turns a panic into an error, so that a broken invariant of one stream does not stop the shard.
pub(super) fn catch_panic<T>(stream: &StreamName, run: impl FnOnce() -> T) -> Result<T, ExecuteError> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| {
        tracing::error!(stream = %stream, "An event breaks an invariant of its aggregate; the stream is unusable");
        ExecuteError::Unreadable(format!("an event breaks an invariant of {stream}").into())
    })
}

//! Reads aggregates from the log: the latest snapshot, then the events after it.

use std::{io, sync::Arc, time::Duration};

use domain::{CommandId, Decider, EventMetadata, RecordedEvent, Revision, StreamName};
use infra::{event_store::EventLog, snapshots::SnapshotStore};
use tokio::{runtime::Handle, task, time};

use super::{
    ExecuteError,
    aggregate::{Aggregate, Indexed, RecordedCommands},
    unreadable::UnreadableStreams,
};

/// Events per read of a stream.
const PAGE_EVENTS: usize = 1_000;
/// A load moves the command ids of a long stream into the index when it holds this many.
const COMMANDS_HELD_MAX: usize = 10_000;
/// The fewest events between two snapshots of a stream.
const SNAPSHOT_EVENTS_MIN: usize = 1_000;
/// A snapshot of a larger state waits for one event per this many bytes.
const BYTES_PER_EVENT: usize = 64;
/// Raise this when the JSON of any aggregate's state changes; snapshots of another format are ignored.
const SNAPSHOT_FORMAT: u32 = 4;

/// Loads aggregates. Every read has a time limit.
pub(super) struct Loader {
    log: Arc<dyn EventLog>,
    snapshots: Option<Arc<SnapshotStore>>,
    unreadable: Arc<UnreadableStreams>,
    read_max: Duration,
}

impl Loader {
    pub fn new(
        log: Arc<dyn EventLog>,
        snapshots: Option<Arc<SnapshotStore>>,
        unreadable: Arc<UnreadableStreams>,
        read_max: Duration,
    ) -> Arc<Self> {
        Arc::new(Self { log, snapshots, unreadable, read_max })
    }

    pub async fn load<A: Decider>(&self, stream: &StreamName) -> Result<Aggregate<A>, ExecuteError> {
        if let Some(error) = self.unreadable.find(stream) {
            return Err(error);
        }
        let loaded = match self.load_anew(stream).await {
            Ok(aggregate) if self.is_snapshot_due(&aggregate) => self.saved(stream, aggregate).await,
            loaded => loaded,
        };
        match &loaded {
            Ok(_) => self.unreadable.remove(stream),
            Err(error @ ExecuteError::Unreadable(_)) => self.unreadable.add(stream, error),
            Err(_) => {}
        }
        loaded
    }

    async fn load_anew<A: Decider>(&self, stream: &StreamName) -> Result<Aggregate<A>, ExecuteError> {
        let mut aggregate = self.restored(stream).await?.unwrap_or_else(Aggregate::new);
        self.catch_up(stream, &mut aggregate).await?;
        Ok(aggregate)
    }

    /// The aggregate of the latest usable snapshot.
    async fn restored<A: Decider>(&self, stream: &StreamName) -> Result<Option<Aggregate<A>>, ExecuteError> {
        let Some(snapshots) = self.snapshots.clone() else { return Ok(None) };
        let name = stream.clone();
        let loading = task::spawn_blocking(move || snapshots.load::<A::State>(&name, SNAPSHOT_FORMAT));
        let Ok(Some(snapshot)) = loading.await else { return Ok(None) };
        // Ignores the snapshot unless its last event is in this log; a restored backup may end before it.
        let last = self.event_at(stream, snapshot.revision).await?;
        Ok(last.filter(|event| event.id == snapshot.event_id).map(|event| Aggregate {
            state: snapshot.state,
            revision: Some(snapshot.revision),
            last_event: Some(event.id),
            commands: RecordedCommands::indexed_to(snapshot.revision),
            ..Aggregate::new()
        }))
    }

    /// Folds the events after this state; true if there were any.
    pub async fn catch_up<A: Decider>(
        &self,
        stream: &StreamName,
        aggregate: &mut Aggregate<A>,
    ) -> Result<bool, ExecuteError> {
        let before = aggregate.revision;
        loop {
            let events = self.read(stream, aggregate.next_revision(), PAGE_EVENTS).await?;
            for event in &events {
                aggregate.apply_recorded(event)?;
            }
            if events.is_empty() {
                return Ok(aggregate.revision != before);
            }
            if aggregate.commands.len() > COMMANDS_HELD_MAX {
                self.index(stream, aggregate).await;
            }
        }
    }

    /// Moves the command ids of a durable state into the index. If that fails, memory keeps them.
    async fn index<A: Decider>(&self, stream: &StreamName, aggregate: &mut Aggregate<A>) {
        let (Some(snapshots), Some(revision)) = (self.snapshots.clone(), aggregate.revision) else { return };
        let (name, commands) = (stream.clone(), aggregate.commands.to_index());
        match task::spawn_blocking(move || snapshots.index_commands(&name, commands)).await {
            Ok(Ok(())) => aggregate.commands.forget_to(revision),
            Ok(Err(error)) => {
                tracing::warn!(%stream, %error, "Cannot index the commands of a stream; memory keeps them");
            }
            Err(_) => {}
        }
    }

    /// What the index, which covers the stream up to `indexed_to`, says of a command.
    pub async fn ask_index(
        &self,
        stream: &StreamName,
        id: CommandId,
        indexed_to: Revision,
    ) -> Result<Indexed, ExecuteError> {
        let Some(snapshots) = self.snapshots.clone() else { return Ok(Indexed::AbsentTo(indexed_to)) };
        let found = match time::timeout(self.read_max, snapshots.find_command(stream, id)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                return Err(ExecuteError::Unavailable(format!("the index of commands: {error}").into()));
            }
            Err(_) => return Err(self.timed_out("the index of commands", stream)),
        };
        let Some(revision) = found else { return Ok(Indexed::AbsentTo(indexed_to)) };
        // The log decides: an entry may be of a history that a restored log no longer has.
        let recorded = self.metadata_at(stream, revision).await?;
        let is_recorded = recorded.is_some_and(|metadata| metadata.command_id == id);
        Ok(if is_recorded { Indexed::At(revision) } else { Indexed::AbsentTo(indexed_to) })
    }

    pub async fn metadata_at(
        &self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<EventMetadata>, ExecuteError> {
        let event = self.event_at(stream, revision).await?;
        Ok(event.map(|event| event.decode_metadata()).transpose()?)
    }

    async fn event_at(
        &self,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<Option<RecordedEvent>, ExecuteError> {
        Ok(self.read(stream, revision, 1).await?.pop())
    }

    async fn read(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ExecuteError> {
        let reading = time::timeout(self.read_max, self.log.read_stream(stream, from, limit));
        Ok(reading.await.map_err(|_| self.timed_out("a read", stream))??)
    }

    fn timed_out(&self, what: &str, stream: &StreamName) -> ExecuteError {
        let limit = self.read_max;
        ExecuteError::Unavailable(format!("{what} of {stream} took longer than {limit:?}").into())
    }

    /// True if the events since the last snapshot are many. More of them for a large state, so that writing it
    /// costs the same per event.
    fn is_snapshot_due<A: Decider>(&self, aggregate: &Aggregate<A>) -> bool {
        self.snapshots.is_some()
            && aggregate.events_since_snapshot >= SNAPSHOT_EVENTS_MIN
            && aggregate.events_since_snapshot >= A::heap_bytes(&aggregate.state) / BYTES_PER_EVENT
    }

    /// Writes a snapshot of an aggregate that was read from the log just now, before commands use it. A snapshot
    /// that is folded later reads the same events once more, and is lost if the process stops meanwhile.
    async fn saved<A: Decider>(
        &self,
        stream: &StreamName,
        aggregate: Aggregate<A>,
    ) -> Result<Aggregate<A>, ExecuteError> {
        let Some(snapshots) = self.snapshots.clone() else { return Ok(aggregate) };
        let name = stream.clone();
        let saving = task::spawn_blocking(move || {
            let saved = save(&snapshots, &name, &aggregate);
            (aggregate, saved)
        });
        let failed = |error: task::JoinError| ExecuteError::Unavailable(error.to_string().into());
        let (mut aggregate, saved) = saving.await.map_err(failed)?;
        aggregate.events_since_snapshot = 0;
        match saved {
            Ok(revision) => aggregate.commands.forget_to(revision),
            Err(error) => warn_of_snapshot(stream, &error),
        }
        Ok(aggregate)
    }

    /// Starts a snapshot if one is due. It is folded from the log, so it holds durable events only and copies
    /// no state that commands use.
    pub fn snapshot_if_due<A: Decider>(
        self: &Arc<Self>,
        runtime: &Handle,
        stream: &StreamName,
        aggregate: &mut Aggregate<A>,
    ) {
        if !self.is_snapshot_due(aggregate) || aggregate.commands.is_indexing() {
            return;
        }
        aggregate.events_since_snapshot = 0;
        let (indexed, loader, stream) =
            (aggregate.commands.begin_indexing(), Arc::clone(self), stream.clone());
        runtime.spawn(async move {
            match loader.save_snapshot::<A>(&stream).await {
                Ok(revision) => drop(revision.map(|revision| indexed.send(revision))),
                Err(error) => warn_of_snapshot(&stream, &error),
            }
        });
    }

    /// Returns the revision up to which the index then has the commands.
    async fn save_snapshot<A: Decider>(
        &self,
        stream: &StreamName,
    ) -> Result<Option<Revision>, SnapshotError> {
        let aggregate = self.load_anew::<A>(stream).await?;
        let Some(snapshots) = self.snapshots.clone() else { return Ok(None) };
        let name = stream.clone();
        match task::spawn_blocking(move || save(&snapshots, &name, &aggregate)).await {
            Ok(saved) => saved.map(Some).map_err(SnapshotError::from),
            Err(_) => Ok(None),
        }
    }
}

/// Writes a snapshot of a durable state, and its command ids to the index. Returns the revision of both.
fn save<A: Decider>(
    snapshots: &SnapshotStore,
    stream: &StreamName,
    aggregate: &Aggregate<A>,
) -> io::Result<Revision> {
    let (Some(revision), Some(event_id)) = (aggregate.revision, aggregate.last_event) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the stream has no events"));
    };
    snapshots.index_commands(stream, aggregate.commands.to_index())?;
    snapshots.save(stream, SNAPSHOT_FORMAT, revision, event_id, &aggregate.state)?;
    Ok(revision)
}

fn warn_of_snapshot(stream: &StreamName, error: &dyn std::fmt::Display) {
    tracing::warn!(%stream, %error, "Cannot write a snapshot; the next load reads more events");
}

#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error(transparent)]
    Read(#[from] ExecuteError),
    #[error(transparent)]
    Write(#[from] io::Error),
}

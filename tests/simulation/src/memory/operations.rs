//! The operational state: the positions of reactors, and parked reactions.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use domain::{Position, Revision, StreamName, Timestamp};
use infra::{
    event_source::{Partition, Reached},
    operations::{
        OperationsError, Positions, SavedPosition,
        parked::{ParkedReaction, ParkedReactions, streams_with_id},
    },
};
use uuid::Uuid;

use super::{Durable, Fate, Hazards, Operation};

/// One store, as the adapters have one: a power cut undoes writes to both parts in reverse order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Positions by reactor and partition, each with the id of its log.
    positions: BTreeMap<(String, Partition), (Uuid, Reached)>,
    /// By log and by the name of the stream.
    parked: BTreeMap<(Uuid, String), ParkedReaction>,
}

impl Saved {
    /// The furthest position that any reactor has saved.
    pub fn furthest(&self) -> Option<Position> {
        self.positions.values().map(|(_, reached)| reached.position).max()
    }

    pub fn parked(&self) -> impl Iterator<Item = &ParkedReaction> {
        self.parked.values()
    }
}

/// [`Positions`] and [`ParkedReactions`] over [`Saved`].
#[derive(Clone)]
pub struct MemoryOperations {
    saved: Durable<Saved>,
    hazards: Arc<dyn Hazards>,
}

impl fmt::Debug for MemoryOperations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOperations").field("saved", &self.saved).finish_non_exhaustive()
    }
}

impl MemoryOperations {
    pub fn open(saved: Durable<Saved>, hazards: Arc<dyn Hazards>) -> Self {
        Self { saved, hazards }
    }

    async fn read<T>(&self, read: impl FnOnce(&Saved) -> T) -> Result<T, OperationsError> {
        if self.hazards.before(Operation::LoadPosition).await != Fate::Succeed {
            return Err(failed());
        }
        Ok(read(&self.saved.lock()))
    }

    async fn write<T>(&self, write: impl FnOnce(&mut Saved) -> T) -> Result<T, OperationsError> {
        let fate = self.hazards.before(Operation::SavePosition).await;
        if !matches!(fate, Fate::Succeed | Fate::LoseAnswer) {
            return Err(failed());
        }
        let written = write(&mut self.saved.lock());
        self.hazards.after(Operation::SavePosition).await;
        if fate == Fate::Succeed { Ok(written) } else { Err(failed()) }
    }
}

fn failed() -> OperationsError {
    OperationsError("the operational state is unavailable".into())
}

#[async_trait]
impl Positions for MemoryOperations {
    async fn load(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
    ) -> Result<Option<Reached>, OperationsError> {
        let key = (reactor.to_owned(), partition.clone());
        let load = |saved: &Saved| saved.positions.get(&key).cloned();
        let found = self.read(load).await?.filter(|(log, _)| *log == store_id);
        Ok(found.map(|(_, reached)| reached))
    }

    async fn save(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
        known: Option<Position>,
        reached: &Reached,
    ) -> Result<bool, OperationsError> {
        let key = (reactor.to_owned(), partition.clone());
        let save = |saved: &mut Saved| {
            let stored = saved.positions.get(&key).filter(|(log, _)| *log == store_id);
            let moves = stored.map(|(_, reached)| reached.position) == known;
            if moves {
                saved.positions.insert(key, (store_id, reached.clone()));
            }
            moves
        };
        self.write(save).await
    }

    async fn saved(&self, store_id: Uuid) -> Result<Vec<SavedPosition>, OperationsError> {
        let list = |saved: &Saved| {
            let of_log = saved.positions.iter().filter(|(_, (log, _))| *log == store_id);
            let positions = of_log.map(|((reactor, partition), (_, reached))| SavedPosition {
                reactor: reactor.clone(),
                partition: partition.clone(),
                reached: reached.clone(),
            });
            positions.collect()
        };
        self.read(list).await
    }

    async fn forget(&self, reactor: &str, partition: &Partition) -> Result<(), OperationsError> {
        let key = (reactor.to_owned(), partition.clone());
        self.write(|saved| drop(saved.positions.remove(&key))).await
    }
}

#[async_trait]
impl ParkedReactions for MemoryOperations {
    async fn park(&self, store_id: Uuid, parked: &ParkedReaction) -> Result<(), OperationsError> {
        let park = |saved: &mut Saved| {
            let key = (store_id, parked.stream.to_string());
            let entry = saved.parked.entry(key).or_insert_with(|| parked.clone());
            entry.last_revision = entry.last_revision.max(parked.last_revision);
            if parked.revision < entry.revision {
                entry.revision = parked.revision;
                entry.event_id = parked.event_id;
                entry.event_type.clone_from(&parked.event_type);
            }
        };
        self.write(park).await
    }

    async fn add(
        &self,
        store_id: Uuid,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<bool, OperationsError> {
        let add = |saved: &mut Saved| {
            let entry = saved.parked.get_mut(&(store_id, stream.to_string()));
            let Some(entry) = entry.filter(|entry| entry.revision <= revision) else { return false };
            entry.last_revision = entry.last_revision.max(revision);
            true
        };
        self.write(add).await
    }

    async fn due(
        &self,
        store_id: Uuid,
        now: Timestamp,
        after: Option<(Timestamp, StreamName)>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        let after = after.map(|(time, stream)| (time, stream.to_string()));
        let place = |entry: &ParkedReaction| (entry.next_attempt_at, entry.stream.to_string());
        let due = |saved: &Saved| {
            let of_log = saved.parked.iter().filter(|((log, _), _)| *log == store_id);
            let due = of_log.map(|(_, entry)| entry).filter(|entry| {
                let is_next = after.as_ref().is_none_or(|after| place(entry) > *after);
                entry.next_attempt_at <= now && is_next
            });
            let mut due: Vec<ParkedReaction> = due.cloned().collect();
            due.sort_by_key(place);
            due.truncate(limit);
            due
        };
        self.read(due).await
    }

    async fn postpone(&self, store_id: Uuid, failed: &ParkedReaction) -> Result<(), OperationsError> {
        let postpone = |saved: &mut Saved| {
            let Some(entry) = saved.parked.get_mut(&(store_id, failed.stream.to_string())) else { return };
            let is_requested_meanwhile = entry.retry_requested && !failed.retry_requested;
            *entry = ParkedReaction {
                last_revision: entry.last_revision,
                parked_at: entry.parked_at,
                next_attempt_at: if is_requested_meanwhile {
                    entry.next_attempt_at
                } else {
                    failed.next_attempt_at
                },
                retry_requested: is_requested_meanwhile,
                ..failed.clone()
            };
        };
        self.write(postpone).await
    }

    async fn resume(
        &self,
        store_id: Uuid,
        stream: &StreamName,
        through: Revision,
    ) -> Result<Option<Revision>, OperationsError> {
        let key = (store_id, stream.to_string());
        let resume = |saved: &mut Saved| {
            let last = saved.parked.get(&key)?.last_revision;
            if last <= through {
                saved.parked.remove(&key);
                return None;
            }
            Some(last)
        };
        self.write(resume).await
    }

    async fn list(
        &self,
        store_id: Uuid,
        after: Option<StreamName>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError> {
        let after = after.map(|stream| stream.to_string()).unwrap_or_default();
        let list = |saved: &Saved| {
            let later = saved.parked.iter().filter(|((log, stream), _)| *log == store_id && *stream > after);
            later.map(|(_, entry)| entry.clone()).take(limit).collect()
        };
        self.read(list).await
    }

    async fn find(&self, store_id: Uuid, id: Uuid) -> Result<Option<ParkedReaction>, OperationsError> {
        let find = |saved: &Saved| {
            let mut of_log = saved.parked.iter().filter(|((log, _), _)| *log == store_id);
            let is_it = |entry: &ParkedReaction| {
                entry.event_id.0 == id || streams_with_id(id).contains(&entry.stream)
            };
            of_log.find_map(|(_, entry)| is_it(entry).then(|| entry.clone()))
        };
        self.read(find).await
    }

    async fn request_retry(
        &self,
        store_id: Uuid,
        stream: Option<&StreamName>,
        now: Timestamp,
    ) -> Result<u64, OperationsError> {
        let request = |saved: &mut Saved| {
            let of_log = saved.parked.iter_mut().filter(|((log, _), _)| *log == store_id);
            let mut requested = 0;
            for (_, entry) in of_log.filter(|(_, entry)| stream.is_none_or(|stream| *stream == entry.stream))
            {
                (entry.next_attempt_at, entry.retry_requested) = (now, true);
                requested += 1;
            }
            requested
        };
        self.write(request).await
    }

    async fn count(&self, store_id: Uuid) -> Result<u64, OperationsError> {
        self.read(|saved| saved.parked.keys().filter(|(log, _)| *log == store_id).count() as u64).await
    }
}

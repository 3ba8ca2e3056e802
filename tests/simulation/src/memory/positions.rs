//! The saved positions of reactors.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use domain::Position;
use infra::{
    event_source::Partition,
    operations::{OperationsError, Positions},
};
use uuid::Uuid;

use super::{Durable, Fate, Hazards, Operation};

/// Positions by reactor and partition, each with the id of its log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved(BTreeMap<(String, Partition), (Uuid, Position)>);

impl Saved {
    /// The furthest position that any reactor has saved.
    pub fn furthest(&self) -> Option<Position> {
        self.0.values().map(|(_, position)| *position).max()
    }
}

/// [`Positions`] over [`Saved`].
#[derive(Clone)]
pub struct MemoryPositions {
    saved: Durable<Saved>,
    hazards: Arc<dyn Hazards>,
}

impl fmt::Debug for MemoryPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPositions").field("saved", &self.saved).finish_non_exhaustive()
    }
}

impl MemoryPositions {
    pub fn open(saved: Durable<Saved>, hazards: Arc<dyn Hazards>) -> Self {
        Self { saved, hazards }
    }
}

fn failed() -> OperationsError {
    OperationsError("the positions are unavailable".into())
}

#[async_trait]
impl Positions for MemoryPositions {
    async fn load(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
    ) -> Result<Option<Position>, OperationsError> {
        if self.hazards.before(Operation::LoadPosition).await != Fate::Succeed {
            return Err(failed());
        }
        let key = (reactor.to_owned(), partition.clone());
        let saved = self.saved.lock().0.get(&key).copied();
        Ok(saved.filter(|(log, _)| *log == store_id).map(|(_, position)| position))
    }

    async fn save(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
        position: Position,
    ) -> Result<(), OperationsError> {
        let fate = self.hazards.before(Operation::SavePosition).await;
        if matches!(fate, Fate::Succeed | Fate::LoseAnswer) {
            let key = (reactor.to_owned(), partition.clone());
            self.saved.lock().0.insert(key, (store_id, position));
            self.hazards.after(Operation::SavePosition).await;
        }
        if fate == Fate::Succeed { Ok(()) } else { Err(failed()) }
    }
}

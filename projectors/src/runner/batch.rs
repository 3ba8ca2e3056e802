//! Batches of events while they are projected.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use domain::{RecordedEvent, StreamName};
use infra::{
    event_source::Batch,
    event_store::EventMark,
    read_models::{Changes, Generation, Progress},
};
use tokio::task::JoinError;

use crate::{
    event::{DecodedEvent, Poison},
    fold::Fold,
};

/// As many events are folded on the async worker: a blocking thread would cost more than the fold.
const FOLDED_IN_PLACE_MAX: usize = 32;

/// Batches of some partitions that are committed together.
#[derive(Debug, Default)]
pub struct JoinedBatches {
    /// Of the rows that the events are folded onto.
    pub generation: Option<Generation>,
    /// Of each partition.
    pub progress: Vec<Progress>,
    pub events: Vec<RecordedEvent>,
    /// For each event the index of its partition in `progress`.
    sources: Vec<usize>,
}

impl JoinedBatches {
    /// Adds a batch, which continues the last one if that is of the same partition.
    pub fn add(&mut self, batch: Batch) {
        let last_event = batch.events.last().map(EventMark::from);
        let Batch { partition, after, events, position } = batch;
        let to = Some(position);
        match self.progress.last_mut().filter(|progress| progress.partition == partition) {
            Some(progress) => {
                progress.to = to;
                progress.last_event = last_event.or(progress.last_event.take());
            }
            None => self.progress.push(Progress { partition, from: after, to, last_event }),
        }
        self.sources.resize(self.sources.len() + events.len(), self.progress.len() - 1);
        self.events.extend(events);
    }

    pub async fn decode(self) -> Result<DecodedBatches, JoinError> {
        let Self { generation, progress, events, sources } = self;
        let in_place = events.len() <= FOLDED_IN_PLACE_MAX;
        let decode = move || sources.into_iter().zip(events.into_iter().map(DecodedEvent::from)).collect();
        let events = if in_place { decode() } else { tokio::task::spawn_blocking(decode).await? };
        Ok(DecodedBatches { generation, progress, events: Arc::new(events), refused: BTreeMap::new() })
    }
}

/// Joined batches, decoded.
pub struct DecodedBatches {
    generation: Option<Generation>,
    /// Of each partition, once all events are applied.
    pub progress: Vec<Progress>,
    /// Each event with the index of its partition in `progress`.
    pub events: Arc<Vec<(usize, DecodedEvent)>>,
    /// The events whose rows the database refuses, by index, each with the reason. They park their streams.
    pub refused: BTreeMap<usize, String>,
}

impl DecodedBatches {
    /// The events among the first `end` whose rows are needed: those of streams that are not parked.
    pub fn applicable<'a>(
        &'a self,
        end: usize,
        parked: &'a HashSet<StreamName>,
    ) -> impl Iterator<Item = &'a DecodedEvent> {
        let is_refused = move |index: usize, stream: &StreamName| {
            self.refused.range(..=index).any(|(refused, _)| self.events[*refused].1.stream == *stream)
        };
        let events = self.events[..end].iter().map(|(_, event)| event).enumerate();
        events
            .filter(move |(index, event)| {
                !parked.contains(&event.stream) && !is_refused(*index, &event.stream)
            })
            .map(|(_, event)| event)
    }

    /// The changes of the first `end` events, with the checkpoints after all of them.
    pub async fn fold(&self, mut fold: Fold, end: usize) -> Result<Changes, JoinError> {
        let (events, progress) = (Arc::clone(&self.events), self.progress.clone());
        let refused = self.refused.clone();
        let run = move || {
            for (index, (source, event)) in events[..end].iter().enumerate() {
                match refused.get(&index) {
                    None => fold.apply(event, *source),
                    Some(reason) => fold.park(event, *source, &Poison::Refused(reason.clone())),
                }
            }
            fold.into_changes(progress)
        };
        let in_place = end <= FOLDED_IN_PLACE_MAX;
        let changes = if in_place { run() } else { tokio::task::spawn_blocking(run).await? };
        Ok(Changes { generation: self.generation, ..changes })
    }
}

//! A batch of events while it is projected.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use domain::{Position, RecordedEvent, StreamName};
use infra::{event_source::Partition, event_store::EventMark, read_models::Changes};
use tokio::task::JoinError;

use crate::{
    event::{DecodedEvent, Poison},
    fold::Fold,
};

/// Batches up to this size are folded on the async worker: a blocking thread would cost more than the fold.
const FOLDED_IN_PLACE_MAX: usize = 32;

/// A batch of a source, decoded.
pub struct DecodedBatch {
    pub partition: Partition,
    pub events: Arc<Vec<DecodedEvent>>,
    /// Position of the partition once all events are applied.
    pub position: Position,
    /// The events whose rows the database refuses, by index, each with the reason. They park their streams.
    pub refused: BTreeMap<usize, String>,
}

impl DecodedBatch {
    /// The events among the first `end` whose rows are needed: those of streams that are not parked.
    pub fn applicable<'a>(
        &'a self,
        end: usize,
        parked: &'a HashSet<StreamName>,
    ) -> impl Iterator<Item = &'a DecodedEvent> {
        let is_refused = move |index: usize, stream: &StreamName| {
            self.refused.range(..=index).any(|(refused, _)| self.events[*refused].stream == *stream)
        };
        let events = self.events[..end].iter().enumerate();
        events
            .filter(move |(index, event)| {
                !parked.contains(&event.stream) && !is_refused(*index, &event.stream)
            })
            .map(|(_, event)| event)
    }
}

pub async fn decode(events: Vec<RecordedEvent>) -> Result<Vec<DecodedEvent>, JoinError> {
    let in_place = events.len() <= FOLDED_IN_PLACE_MAX;
    let decode = move || events.into_iter().map(DecodedEvent::from).collect();
    Ok(if in_place { decode() } else { tokio::task::spawn_blocking(decode).await? })
}

pub async fn fold_events(
    mut fold: Fold,
    batch: &DecodedBatch,
    end: usize,
    from: Option<Position>,
) -> Result<Changes, JoinError> {
    let (events, to, refused) = (Arc::clone(&batch.events), batch.position, batch.refused.clone());
    let run = move || {
        for (index, event) in events[..end].iter().enumerate() {
            match refused.get(&index) {
                None => fold.apply(event, 0),
                Some(reason) => fold.park(event, 0, &Poison::Refused(reason.clone())),
            }
        }
        let last_event = events[..end].last().map(EventMark::from);
        Changes { last_event, ..fold.into_changes(from, Some(to)) }
    };
    let in_place = end <= FOLDED_IN_PLACE_MAX;
    Ok(if in_place { run() } else { tokio::task::spawn_blocking(run).await? })
}

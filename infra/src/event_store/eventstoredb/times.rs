//! Positions of events whose time is known. A search for a time begins at the nearest one, because the server
//! reads only at positions where an event begins: it cannot bisect over numbers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{Position, Timestamp};

/// About 64 KiB.
const PLACES_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct KnownTimes(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    /// In the order of the log.
    known: Vec<Place>,
    /// Smallest distance between two places. Grows with the log, so that the places are spread evenly.
    distance: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    position: Position,
    recorded_at: Timestamp,
}

impl KnownTimes {
    /// Remembers an event, unless one close before it is known.
    pub fn note(&self, position: Position, recorded_at: Timestamp) {
        let mut places = self.places();
        let Places { known, distance } = &mut *places;
        let index = known.partition_point(|place| place.position <= position);
        let before = index.checked_sub(1).map(|before| known[before].position);
        if before.is_some_and(|before| before == position || position - before < *distance) {
            return;
        }
        known.insert(index, Place { position, recorded_at });
        if known.len() > PLACES_MAX {
            let length = known[known.len() - 1].position - known[0].position;
            *distance = length / (PLACES_MAX as u64 / 2);
            let mut kept_last: Option<Position> = None;
            known.retain(|place| {
                let is_kept = kept_last.is_none_or(|kept| place.position - kept >= *distance);
                if is_kept {
                    kept_last = Some(place.position);
                }
                is_kept
            });
        }
    }

    /// The first known event that was recorded at `time` or later.
    pub fn first_since(&self, time: Timestamp) -> Option<Position> {
        let places = self.places();
        let index = places.known.partition_point(|place| place.recorded_at < time);
        places.known.get(index).map(|place| place.position)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(position: Position) -> Timestamp {
        Timestamp::from_microsecond(position.cast_signed() * 1_000).expect("a small number is a time")
    }

    #[test]
    fn the_places_are_bounded_and_still_cover_the_log() {
        let known = KnownTimes::default();
        let events = 20 * PLACES_MAX as u64;
        (0..events).for_each(|position| known.note(position, at(position)));
        assert!(known.places().known.len() <= PLACES_MAX);
        for sought in (0..events).step_by(997) {
            let found = known.first_since(at(sought)).unwrap_or(events);
            assert!((sought..=sought + 64).contains(&found), "{sought}: {found}");
        }
    }

    proptest! {
        #[test]
        fn the_first_known_event_since_a_time_is_found(
            mut positions in prop::collection::vec(0..500u64, 0..50),
            sought in 0..500u64,
        ) {
            let known = KnownTimes::default();
            for position in &positions {
                known.note(*position, at(*position));
            }
            positions.sort_unstable();
            let expected = positions.into_iter().find(|position| *position >= sought);
            prop_assert_eq!(known.first_since(at(sought)), expected);
        }
    }
}

//! The times that the SQLite event store records while the system clock jumps.

use std::{sync::Mutex, time::Duration};

use domain::Timestamp;
use infra::{
    clock::Clock,
    event_store::{
        ExpectedRevision::NoStream,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
    health::Health,
};

use super::*;

/// A machine whose clock a test sets: the true time since its start, and the seconds that its clock is wrong
/// by.
#[derive(Default)]
struct Machine(Mutex<(Duration, i64)>);

impl Machine {
    fn true_time(&self) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap().checked_add(self.elapsed()).unwrap()
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    fn shown(&self) -> Timestamp {
        let wrong_by = self.0.lock().unwrap().1;
        Timestamp::from_second(self.true_time().as_second() + wrong_by).unwrap()
    }
}

/// In seconds.
const YEAR: i64 = 365 * 24 * 3_600;

#[tokio::test]
async fn a_jump_of_the_clock_does_not_date_the_events_after_it() {
    let (machine, directory) = (Arc::new(Machine::default()), tempfile::tempdir().unwrap());
    let (wall, elapsed) = (machine.clone(), machine.clone());
    let clock = Clock::steady_over(move || wall.shown(), move || elapsed.elapsed(), Health::default());
    let options = SqliteEventStoreOptions { clock, ..SqliteEventStoreOptions::default() };
    let store = SqliteEventStore::open(&directory.path().join("events.db"), options).unwrap();
    for wrong_by in [0, 10 * YEAR, 0, 2 * 3_600, 0, -2 * 3_600, 0] {
        *machine.0.lock().unwrap() = (machine.elapsed() + Duration::from_secs(2), wrong_by);
        store.append(append(&new_stream(), NoStream, events(1))).await.unwrap();
        let last = store.log().last_event().await.unwrap().unwrap();
        assert_eq!(last.recorded_at, machine.true_time(), "the clock is wrong by {wrong_by} s");
    }
}

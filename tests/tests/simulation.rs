//! Some seeds of the simulation; `make simulate` runs thousands.

use std::thread;

use simulation::{Outcome, run};

/// Runs seeds on two threads. The order of the outcomes is that of the seeds.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let middle = seeds.start.midpoint(seeds.end);
    let second = thread::spawn(move || (middle..seeds.end).map(run).collect::<Vec<_>>());
    let mut outcomes: Vec<Outcome> = (seeds.start..middle).map(run).collect();
    outcomes.extend(second.join().unwrap());
    outcomes
}

#[test]
fn whatever_fails_nothing_acknowledged_is_lost_and_everything_is_finished() {
    for outcome in run_all(1..301) {
        if let Some(failure) = outcome.failure {
            panic!("{failure}\nagain, with all that happens: make simulate SEED={}", outcome.seed);
        }
    }
}

#[test]
fn a_seed_runs_the_same_way_each_time() {
    let fingerprints = || run_all(1..31).into_iter().map(|outcome| outcome.fingerprint).collect::<Vec<_>>();
    let first = fingerprints();
    assert_eq!(first, fingerprints());
    let mut distinct = first.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), first.len(), "seeds differ in what happens");
}

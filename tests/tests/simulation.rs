//! 300 seeds of the simulation; `make simulate` runs 10,000.

use std::thread;

use simulation::{Outcome, run};

/// Runs seeds on two threads; returns the outcomes in the order of the seeds.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let middle = seeds.start.midpoint(seeds.end);
    let second = thread::spawn(move || (middle..seeds.end).map(run).collect::<Vec<_>>());
    let mut outcomes: Vec<Outcome> = (seeds.start..middle).map(run).collect();
    outcomes.extend(second.join().unwrap());
    outcomes
}

#[test]
fn under_faults_no_acknowledged_command_is_lost_and_all_work_finishes() {
    for outcome in run_all(1..301) {
        if let Some(failure) = outcome.failure {
            panic!("{failure}\nrun it again with its full trace: make simulate SEED={}", outcome.seed);
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
    assert_eq!(distinct.len(), first.len(), "two seeds ran the same way");
}

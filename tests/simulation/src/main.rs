//! `simulate`: runs seeds until one fails, and prints how to run that seed again.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use clap::Parser;
use simulation::{Outcome, run};

/// Runs the simulation of the platform for many seeds.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run only this seed and print its full trace.
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// The number of seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// Seeds run at once. Default: the number of processors.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.seed {
        let outcome = run(seed);
        for line in outcome.trace.iter().chain(&outcome.log) {
            println!("{line}");
        }
        println!("seed {seed}: {} events, fingerprint {}", outcome.log.len(), outcome.fingerprint);
        return report(&outcome);
    }
    let started = Instant::now();
    let threads =
        arguments.threads.or_else(|| thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let (mut ran, mut events, mut fingerprints) = (0_u64, 0_usize, 0_u64);
    for outcome in run_all(arguments.from, arguments.seeds, threads) {
        if outcome.failure.is_some() {
            return report(&outcome);
        }
        ran += 1;
        events += outcome.log.len();
        // XOR does not depend on the order in which the seeds finish.
        fingerprints ^= u64::from_str_radix(&outcome.fingerprint, 16)
            .unwrap_or(0)
            .rotate_left((outcome.seed % 64) as u32);
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{ran} seeds, {events} events, no failure, {seconds:.1} s; fingerprint {fingerprints:016x}");
    ExitCode::SUCCESS
}

/// Runs seeds on `threads` threads; yields the outcomes as they come, up to the first failure.
fn run_all(from: u64, seeds: u64, threads: usize) -> mpsc::IntoIter<Outcome> {
    let (next, stop) = (Arc::new(AtomicU64::new(from)), Arc::new(AtomicBool::new(false)));
    let (outcomes, receiver) = mpsc::sync_channel(64);
    for _ in 0..threads {
        let (next, stop, outcomes) = (Arc::clone(&next), Arc::clone(&stop), outcomes.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= from.saturating_add(seeds) {
                    return;
                }
                let outcome = run(seed);
                stop.fetch_or(outcome.failure.is_some(), Ordering::Relaxed);
                if outcomes.send(outcome).is_err() {
                    return;
                }
            }
        });
    }
    receiver.into_iter()
}

fn report(outcome: &Outcome) -> ExitCode {
    let Some(failure) = &outcome.failure else { return ExitCode::SUCCESS };
    println!("seed {} FAILED: {failure}", outcome.seed);
    println!("run it again with its full trace: make simulate SEED={}", outcome.seed);
    ExitCode::FAILURE
}

//! Runs one seed: lives and crashes of the platform, then calm, then the reckoning.

use std::{
    cell::{Cell, RefCell},
    panic,
    sync::{Arc, Once},
    time::Duration,
};

use domain::RecordedEvent;
use fastrand::Rng;
use futures::future::join_all;
use jiff::SignedDuration;
use tokio::{runtime, time};

use crate::{customers, invariants, platform::Platform, provider, settled, world::World};

/// Virtual time in which everything must be done after the last fault.
const DRAINED_WITHIN: Duration = Duration::from_mins(30);
/// Virtual time in which one life of the platform must have come to an end.
const LIFE_MAX: Duration = Duration::from_hours(6);

/// What became of a seed.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    /// Why it failed.
    pub failure: Option<String>,
    /// What was answered, and what happened besides, in order.
    pub trace: Vec<String>,
    /// The log at the end, an event a line.
    pub log: Vec<String>,
    /// Of the trace and of the log: equal for equal runs.
    pub fingerprint: String,
}

/// What a life is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Customers come and things fail; then calm.
    Live,
    /// Every reaction is run again, and must change nothing.
    Repeat,
}

enum End {
    Died,
    Done,
}

thread_local! {
    /// The first panic of the run on this thread.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// A panic anywhere is a failure, also one that production code would catch.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let otherwise = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if RUNNING.get() {
                PANIC.with_borrow_mut(|panic| _ = panic.get_or_insert_with(|| info.to_string()));
            } else {
                otherwise(info);
            }
        }));
    });
}

/// Runs a seed to its end, on this thread.
pub fn run(seed: u64) -> Outcome {
    note_panics();
    RUNNING.set(true);
    let world = Arc::new(World::new(seed));
    let ran = panic::catch_unwind(panic::AssertUnwindSafe(|| run_phases(&world, seed)));
    RUNNING.set(false);
    let panicked = PANIC.take();
    if let Some(panicked) = panicked {
        world.fail(format!("a panic: {panicked}"));
    } else if ran.is_err() {
        world.fail("a panic".to_owned());
    }
    let (trace, fingerprint) = (world.trace(), world.fingerprint());
    let log = world.log.lock().events().iter().map(describe).collect();
    Outcome { seed, failure: world.failure(), trace, log, fingerprint }
}

fn describe(event: &RecordedEvent) -> String {
    let RecordedEvent { position, stream, revision, type_name, recorded_at, .. } = event;
    let data = String::from_utf8_lossy(&event.data);
    format!("{position:>5} {recorded_at} {stream} {revision} {type_name} {data}")
}

fn run_phases(world: &Arc<World>, seed: u64) {
    live_until_done(world, seed, Phase::Live);
    // An order that may still expire would, since time goes on.
    if world.failure().is_some() || !world.plan.reactions_repeated || settled::any_may_expire(world) {
        return;
    }
    let before = world.log.lock().events().len();
    *world.positions.lock() = crate::memory::Saved::default();
    live_until_done(world, seed, Phase::Repeat);
    let log = world.log.lock();
    if let Some(event) = log.events().get(before) {
        world.fail(format!("a repeated reaction recorded {} of {}", event.type_name, event.stream));
    }
}

fn live_until_done(world: &Arc<World>, seed: u64, phase: Phase) {
    loop {
        let end = live(world, seed, phase);
        if let Err(fault) = invariants::check_log(world) {
            world.fail(fault);
        }
        if world.failure().is_some() || matches!(end, End::Done) {
            return;
        }
    }
}

/// One life, on a runtime of its own: when that is dropped, so is everything that was under way.
fn live(world: &Arc<World>, seed: u64, phase: Phase) -> End {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            world.fail(format!("no runtime: {error}"));
            return End::Died;
        }
    };
    let (end, lived) = runtime.block_on(async {
        let born = time::Instant::now();
        world.begin_life();
        let working = time::timeout(LIFE_MAX, work(world, seed, phase));
        let end = tokio::select! {
            biased;
            () = world.ended() => End::Died,
            worked = working => {
                if worked.is_err() {
                    world.fail(format!("everything drains: not at an end after {LIFE_MAX:?}"));
                }
                End::Done
            }
        };
        (end, born.elapsed())
    });
    drop(runtime);
    world.end_life(lived);
    end
}

async fn work(world: &Arc<World>, seed: u64, phase: Phase) {
    let platform = Platform::start(world);
    tokio::spawn(customers::operate(Arc::clone(world), platform.clone()));
    tokio::spawn(provider::go_on(Arc::clone(world), platform.clone()));
    if phase == Phase::Live && !world.is_calm() {
        tokio::spawn(set_clocks(Arc::clone(world)));
        let stocking = customers::stock_up(Arc::clone(world), platform.clone(), Rng::with_seed(!seed));
        let shopping =
            (0..world.plan.orders).map(|number| customers::shop(Arc::clone(world), platform.clone(), number));
        futures::future::join(stocking, join_all(shopping)).await;
        world.note("calm");
        world.calm_down();
    }
    drain(world).await;
}

async fn set_clocks(world: Arc<World>) {
    for _ in 0..world.plan.clock_jumps {
        let (after, skew) = world.draw(|rng| (rng.u64(0..15_000), rng.i64(-60..=60)));
        time::sleep(Duration::from_millis(after)).await;
        world.set_clock(SignedDuration::from_secs(skew));
    }
}

async fn drain(world: &World) {
    let begun = time::Instant::now();
    // Copies that are still on their way arrive within this.
    time::sleep(Duration::from_secs(31)).await;
    loop {
        let undone = settled::left_undone(world);
        if undone.is_empty() {
            break;
        }
        if begun.elapsed() > DRAINED_WITHIN {
            return world.fail(format!("{DRAINED_WITHIN:?} after the last fault: {}", undone.join("; ")));
        }
        time::sleep(Duration::from_secs(1)).await;
    }
    if let Err(fault) = invariants::check_rows(world) {
        world.fail(fault);
    }
}

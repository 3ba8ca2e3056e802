//! Runs one seed: lives and crashes of the platform, then a time without faults, then the checks.

use std::{
    cell::{Cell, RefCell},
    panic,
    sync::{Arc, Once},
    time::Duration,
};

use domain::{RecordedEvent, StreamName};
use fastrand::Rng;
use futures::future::join_all;
use infra::event_source::Partition;
use jiff::SignedDuration;
use tokio::{runtime, time};

use crate::{
    clients,
    environment::Environment,
    invariants,
    isolation::{self, unreadable_stream},
    platform::Platform,
    provider, restored, unfinished,
};

/// Virtual time after the last fault within which all work must finish.
const DRAINED_WITHIN: Duration = Duration::from_mins(30);
/// Virtual time within which the projectors read the whole log, although some rows are refused.
const PROJECTED_WITHIN: Duration = Duration::from_mins(5);
/// Virtual time limit of one life of the platform.
const LIFE_MAX: Duration = Duration::from_hours(6);

/// The outcome of a seed.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    /// Why the seed failed; `None` if it passed.
    pub failure: Option<String>,
    /// Answers, crashes and provider actions, in order.
    pub trace: Vec<String>,
    /// The log at the end, one line per event.
    pub log: Vec<String>,
    /// A hash of trace and log: equal for equal runs.
    pub fingerprint: String,
}

/// The purpose of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Clients and faults, then a time without faults.
    Live,
    /// The platform must refuse a log that went back, until it is repaired.
    Refused,
    /// Every reaction runs again and must change nothing.
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

/// Counts every panic of a run as a failure, also a panic that production code catches.
fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous_hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if RUNNING.get() {
                PANIC.with_borrow_mut(|panic| _ = panic.get_or_insert_with(|| info.to_string()));
            } else {
                previous_hook(info);
            }
        }));
    });
}

/// Runs one seed on this thread.
pub fn run(seed: u64) -> Outcome {
    record_panics();
    RUNNING.set(true);
    let env = Arc::new(Environment::new(seed));
    let ran = panic::catch_unwind(panic::AssertUnwindSafe(|| run_phases(&env, seed)));
    RUNNING.set(false);
    let panicked = PANIC.take();
    if let Some(panicked) = panicked {
        env.fail(format!("a panic: {panicked}"));
    } else if ran.is_err() {
        env.fail("a panic".to_owned());
    }
    let (trace, fingerprint) = (env.trace(), env.fingerprint());
    let log = env.log.lock().events().iter().map(describe).collect();
    Outcome { seed, failure: env.failure(), trace, log, fingerprint }
}

fn describe(event: &RecordedEvent) -> String {
    let RecordedEvent { position, stream, revision, type_name, recorded_at, .. } = event;
    let data = String::from_utf8_lossy(&event.data);
    format!("{position:>5} {recorded_at} {stream} {revision} {type_name} {data}")
}

fn run_phases(env: &Arc<Environment>, seed: u64) {
    live_until_done(env, seed, Phase::Live);
    // Time passes during the repetition, so an order that may still expire would expire.
    if env.failure().is_some() || !env.plan.reactions_repeated || unfinished::any_may_expire(env) {
        return;
    }
    let before = env.log.lock().events().len();
    *env.positions.lock() = crate::memory::Saved::default();
    live_until_done(env, seed, Phase::Repeat);
    let log = env.log.lock();
    if let Some(event) = log.events().get(before) {
        env.fail(format!("a repeated reaction recorded {} of {}", event.type_name, event.stream));
    }
}

fn live_until_done(env: &Arc<Environment>, seed: u64, phase: Phase) {
    let mut may_go_back = env.plan.log_goes_back && phase == Phase::Live;
    let mut may_be_damaged = env.plan.event_damaged && phase == Phase::Live;
    loop {
        let end = live(env, seed, phase);
        let checked = invariants::check_log(&env.log.lock());
        if let Err(fault) = checked.and_then(|()| env.check_dates()) {
            env.fail(fault);
        }
        if env.failure().is_some() || matches!(end, End::Done) {
            return;
        }
        if std::mem::take(&mut may_be_damaged) {
            isolation::damage_an_event(env);
        }
        if std::mem::take(&mut may_go_back) {
            restored::lose_events(env);
            while env.lost_end.lock().is_some() && env.failure().is_none() {
                live(env, seed, Phase::Refused);
            }
        }
    }
}

/// Runs one life on a runtime of its own. Dropping the runtime drops all tasks, like a crash.
fn live(env: &Arc<Environment>, seed: u64, phase: Phase) -> End {
    let runtime = match runtime::Builder::new_current_thread().enable_time().start_paused(true).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            env.fail(format!("no runtime: {error}"));
            return End::Died;
        }
    };
    let (end, lived) = runtime.block_on(async {
        let born = time::Instant::now();
        env.begin_life();
        let working = time::timeout(LIFE_MAX, work(env, seed, phase));
        let outcome = tokio::select! {
            biased;
            () = env.ended() => End::Died,
            worked = working => {
                if worked.is_err() {
                    env.fail(format!("everything drains: the life has not ended after {LIFE_MAX:?}"));
                }
                End::Done
            }
        };
        (outcome, born.elapsed())
    });
    drop(runtime);
    env.end_life(lived);
    end
}

async fn work(env: &Arc<Environment>, seed: u64, phase: Phase) {
    let platform = match Platform::start(env).await {
        Ok(platform) => platform,
        Err(error) => return env.fail(format!("the platform does not start: {error}")),
    };
    if phase == Phase::Refused {
        return restored::refuse_and_repair(env, &platform).await;
    }
    tokio::spawn(clients::operate(Arc::clone(env), platform.clone()));
    tokio::spawn(provider::run(Arc::clone(env), Arc::clone(&platform.routers)));
    if phase == Phase::Live && !env.is_calm() {
        tokio::spawn(set_clocks(Arc::clone(env)));
        let stocking = clients::stock_up(Arc::clone(env), platform.clone(), Rng::with_seed(!seed));
        let shopping =
            (0..env.plan.orders).map(|number| clients::shop(Arc::clone(env), platform.clone(), number));
        let competing = clients::compete(Arc::clone(env), platform.clone());
        futures::future::join3(stocking, join_all(shopping), competing).await;
        env.note("no faults from here on");
        env.calm_down();
    }
    drain(env).await;
}

async fn set_clocks(env: Arc<Environment>) {
    for _ in 0..env.plan.clock_jumps {
        let (after, skew) = env.draw(|rng| (rng.u64(0..15_000), rng.i64(-60..=60)));
        time::sleep(Duration::from_millis(after)).await;
        env.set_clock(SignedDuration::from_secs(skew));
    }
    if env.plan.clock_jumps_years {
        let (after, days) = env.draw(|rng| (rng.u64(0..15_000), rng.i64(1..=20 * 365)));
        let (is_forward, lasts) = env.draw(|rng| (rng.bool(), rng.bool()));
        time::sleep(Duration::from_millis(after)).await;
        env.set_clock(SignedDuration::from_hours(24 * if is_forward { days } else { -days }));
        // The platform follows a jump that lasts for 15 minutes.
        if !is_forward || !lasts {
            time::sleep(Duration::from_millis(env.draw(|rng| rng.u64(0..600_000)))).await;
            env.set_clock(SignedDuration::ZERO);
        }
    }
}

/// Waits until the projectors have read the whole log.
async fn projected(env: &Environment) {
    let projected = || env.tables.lock().checkpoint(&Partition::whole_log()).map(|reached| reached.position);
    while projected() != env.log.lock().last_position() {
        time::sleep(Duration::from_secs(1)).await;
    }
}

async fn drain(env: &Environment) {
    // Copies of requests under way arrive within this time.
    time::sleep(Duration::from_secs(31)).await;
    if env.are_rows_refused() {
        if time::timeout(PROJECTED_WITHIN, projected(env)).await.is_err() {
            return env.fail("isolation: refused rows stop the rows of other streams".to_owned());
        }
        env.note("the read models accept every row from here on");
        env.accept_rows();
    }
    if let Err(unfinished_work) = finished(env).await {
        return env.fail(format!("{DRAINED_WITHIN:?} after the last fault: {unfinished_work}"));
    }
    if isolation::end(env).await
        && let Err(unfinished_work) = finished(env).await
    {
        return env.fail(format!("{DRAINED_WITHIN:?} after the last lasting failure: {unfinished_work}"));
    }
    if let Err(fault) = invariants::check_rows(&env.log.lock(), &env.tables.lock()) {
        env.fail(fault);
    }
}

/// Waits until all work is finished that no lasting failure holds up, at most [`DRAINED_WITHIN`].
async fn finished(env: &Environment) -> Result<(), String> {
    let begun = time::Instant::now();
    loop {
        let mut unfinished_work = unfinished::unfinished_work(env);
        let damaged = env.log.lock().damaged_stream();
        if env.plan.rows_refused || env.plan.event_damaged {
            let mut tables = env.tables.lock();
            let is_repaired =
                |stream: &StreamName| *stream != unreadable_stream() && Some(stream) != damaged.as_ref();
            tables.request_retries(is_repaired);
            let parked = tables.parked.values().map(|(row, _)| row.stream.clone()).filter(is_repaired);
            unfinished_work.extend(parked.map(|stream| format!("everything drains: {stream} is parked")));
        }
        if unfinished_work.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > DRAINED_WITHIN {
            return Err(unfinished_work.join("; "));
        }
        time::sleep(Duration::from_secs(1)).await;
    }
}

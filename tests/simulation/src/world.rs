//! What is outside the platform: time, chance, what crashes leave, and the record of what happened.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use domain::{Decider, StreamName, Timestamp, decider::StoredEvent};
use fastrand::Rng;
use infra::clock::Clock;
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use tokio::{sync::Notify, time};
use uuid::Uuid;

use crate::{
    customers::Shopper,
    invariants,
    memory::{Durable, Fate, Hazards, Log, Operation, Saved, Tables},
    plan::Plan,
    provider::Ledger,
    request::Answer,
};

/// When virtual time begins.
const EPOCH_SECONDS: i64 = 1_767_225_600;
/// More steps than any run needs: it goes round in circles.
const STEPS_MAX: u64 = 400_000;
/// Commits that a power cut may undo, where the store does not wait for the disk.
const UNDONE_MAX: usize = 4;

pub struct World {
    pub plan: Plan,
    pub log: Durable<Log>,
    pub tables: Durable<Tables>,
    pub positions: Durable<Saved>,
    /// Of the payment provider, which knows nothing of the platform's crashes.
    pub ledger: Durable<Ledger>,
    /// Told when the process dies.
    ended: Notify,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    /// Nothing fails any more.
    calm: bool,
    dead: bool,
    steps: u64,
    crash_at: Option<u64>,
    lives: VecDeque<u64>,
    /// Virtual time that earlier processes have lived through.
    earlier: Duration,
    begun: Option<time::Instant>,
    skew: SignedDuration,
    failure: Option<String>,
    trace: Vec<String>,
    older_tables: VecDeque<Tables>,
    older_positions: VecDeque<Saved>,
    shoppers: Vec<Option<Shopper>>,
    /// The first answer to each request that was recorded.
    answers: BTreeMap<String, Answer>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let lives = plan.lives_steps.iter().copied().collect();
        let shoppers = (0..plan.orders).map(|number| Some(Shopper::new(number, rng.fork()))).collect();
        let state = State {
            rng,
            calm: false,
            dead: false,
            steps: 0,
            crash_at: None,
            lives,
            earlier: Duration::ZERO,
            begun: None,
            skew: SignedDuration::ZERO,
            failure: None,
            trace: vec![format!("{plan:?}")],
            older_tables: VecDeque::new(),
            older_positions: VecDeque::new(),
            shoppers,
            answers: BTreeMap::new(),
        };
        Self {
            plan,
            log: Durable::new(Log::new(Uuid::from_u128(seed.into()))),
            tables: Durable::default(),
            positions: Durable::default(),
            ledger: Durable::default(),
            ended: Notify::new(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process begins to live, on the current runtime.
    pub fn begin_life(&self) {
        let mut state = self.state();
        state.dead = false;
        state.begun = Some(time::Instant::now());
        state.crash_at = if state.calm { None } else { state.lives.pop_front() };
        state.crash_at = state.crash_at.map(|life| state.steps + life);
    }

    /// It has ended, and its runtime is about to: `lived` is virtual time. What was not forced to disk may go, and an
    /// operator may rebuild the read models.
    pub fn end_life(&self, lived: Duration) {
        let now = self.now();
        let mut state = self.state();
        state.earlier += lived;
        state.begun = None;
        if state.rng.u32(0..3) == 0 {
            let undone = state.rng.usize(0..UNDONE_MAX);
            if let Some(older) = state.older_tables.iter().nth_back(undone) {
                *self.tables.lock() = older.clone();
            }
            if let Some(older) = state.older_positions.iter().nth_back(undone) {
                *self.positions.lock() = older.clone();
            }
        }
        if state.rng.u32(0..6) == 0 {
            let rows = invariants::folded_rows(&self.log.lock());
            let from = rows.position.map(|last| state.rng.u64(0..=last)).filter(|from| *from > 0);
            *self.tables.lock() = Tables::rebuilt(rows, from, now);
            state.trace.push(format!("the read models are rebuilt; events come again after {from:?}"));
        }
        state.older_tables.clear();
        state.older_positions.clear();
    }

    /// From now on nothing fails.
    pub fn calm_down(&self) {
        let mut state = self.state();
        state.calm = true;
        state.crash_at = None;
    }

    pub fn is_calm(&self) -> bool {
        self.state().calm
    }

    /// Waits for the end of the process, by a crash or because the run has failed.
    pub async fn ended(&self) {
        while !self.state().dead {
            self.ended.notified().await;
        }
    }

    /// Whoever lives on another machine stays alive, but what the process says after its death is not heard.
    pub async fn hear(&self) {
        if self.state().dead {
            std::future::pending::<()>().await;
        }
    }

    pub fn fail(&self, why: String) {
        let mut state = self.state();
        if state.failure.is_none() {
            state.trace.push(format!("FAILED: {why}"));
            state.failure = Some(why);
        }
        state.dead = true;
        self.ended.notify_one();
    }

    pub fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    /// A line of the record. Equal runs have equal records.
    pub fn note(&self, line: impl AsRef<str>) {
        let now = self.elapsed();
        self.state().trace.push(format!("{:>12.6} {}", now.as_secs_f64(), line.as_ref()));
    }

    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// Of everything that was recorded and answered.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for line in &self.state().trace {
            hash.update(line.as_bytes());
            hash.update(b"\n");
        }
        for event in self.log.lock().events() {
            hash.update(format!("{} {} {} {}", event.position, event.stream, event.revision, event.id));
            hash.update(event.recorded_at.as_microsecond().to_be_bytes());
            hash.update(&event.data);
            hash.update(&event.metadata);
        }
        let digest = hash.finalize();
        let first = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{first:016x}")
    }

    /// Virtual time since the beginning, whatever the clocks show.
    pub fn elapsed(&self) -> Duration {
        let state = self.state();
        state.earlier + state.begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// What the clocks on the wall show, which may be set forwards and back.
    pub fn now(&self) -> Timestamp {
        let elapsed = self.elapsed();
        let epoch = Timestamp::from_second(EPOCH_SECONDS).unwrap_or_default();
        let shown = epoch.saturating_add(elapsed).unwrap_or(epoch);
        shown.saturating_add(self.state().skew).unwrap_or(shown)
    }

    pub fn clock(self: &Arc<Self>) -> Clock {
        let world = Arc::clone(self);
        Clock::given_by(move || world.now())
    }

    pub fn set_clock(&self, skew: SignedDuration) {
        self.note(format!("the clock is set {skew:?} off"));
        self.state().skew = skew;
    }

    /// Draws from the chance of this run.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.state().rng)
    }

    pub fn with_shopper<T>(&self, number: usize, work: impl FnOnce(&mut Shopper) -> T) -> T {
        let taken = self.state().shoppers[number].take();
        let mut shopper = taken.expect("a shopper is put back at once");
        let result = work(&mut shopper);
        self.state().shoppers[number] = Some(shopper);
        result
    }

    /// The first recorded answer to the request, which this one becomes if it is the first.
    pub fn first_answer(&self, request: &str, answer: &Answer) -> Answer {
        self.state().answers.entry(request.to_owned()).or_insert_with(|| answer.clone()).clone()
    }

    pub fn recorded_answer(&self, request: &str) -> Option<Answer> {
        self.state().answers.get(request).cloned()
    }

    /// An aggregate as its first `count` durable events make it.
    pub fn folded<A: Decider>(&self, stream: &StreamName, count: usize) -> A::State {
        let mut state = A::State::default();
        for event in self.log.lock().stream(stream).take(count) {
            match A::Event::from_json(&event.type_name, &event.data) {
                Ok(event) => A::evolve(&mut state, &event),
                Err(error) => panic!("{stream} cannot be read: {error}"),
            }
        }
        state
    }

    pub fn len_of(&self, stream: &StreamName) -> usize {
        self.log.lock().len_of(stream)
    }
}

impl State {
    /// Counts a step, and says whether the process is alive after it.
    fn step(&mut self, ended: &Notify) -> bool {
        self.steps += 1;
        let crashes = self.crash_at == Some(self.steps);
        if crashes {
            self.trace.push(format!("crash at step {}", self.steps));
        }
        if self.steps == STEPS_MAX && self.failure.is_none() {
            self.failure = Some(format!("not at an end after {STEPS_MAX} steps"));
        }
        if crashes || self.steps >= STEPS_MAX {
            self.dead = true;
            ended.notify_one();
        }
        !self.dead
    }

    fn draw_fate(&mut self, plan: &Plan, operation: Operation) -> (Duration, Fate) {
        if self.calm {
            let latency_ms = u64::from(operation == Operation::Append);
            return (Duration::from_millis(latency_ms), Fate::Succeed);
        }
        let weather = &plan.weather;
        let odds = match operation {
            Operation::Append => [
                (weather.append_fails, Fate::Fail),
                (weather.append_vanishes, Fate::Vanish),
                (weather.append_answer_lost, Fate::LoseAnswer),
            ],
            Operation::ReadLog => [(weather.read_fails, Fate::Fail), (0, Fate::Fail), (0, Fate::Fail)],
            Operation::CommitRows => [
                (weather.rows_fail, Fate::Fail),
                (weather.rows_answer_lost, Fate::LoseAnswer),
                (0, Fate::Fail),
            ],
            Operation::ReadRows => [(weather.rows_fail / 4, Fate::Fail), (0, Fate::Fail), (0, Fate::Fail)],
            Operation::SavePosition => [
                (weather.position_fails, Fate::Fail),
                (weather.position_fails / 4, Fate::LoseAnswer),
                (0, Fate::Fail),
            ],
            Operation::LoadPosition => {
                [(weather.position_fails / 4, Fate::Fail), (0, Fate::Fail), (0, Fate::Fail)]
            }
        };
        let latency = if self.rng.u32(0..1_000) < weather.stalls {
            Duration::from_millis(self.rng.u64(0..20_000))
        } else {
            Duration::from_micros(self.rng.u64(0..=weather.latency_ms_max * 1_000))
        };
        let mut lot = self.rng.u32(0..1_000);
        for (odds, fate) in odds {
            if lot < odds {
                return (latency, fate);
            }
            lot -= odds;
        }
        (latency, Fate::Succeed)
    }
}

#[async_trait]
impl Hazards for World {
    async fn before(&self, operation: Operation) -> Fate {
        let alive = self.state().step(&self.ended);
        if !alive {
            return std::future::pending().await;
        }
        let (latency, fate) = self.state().draw_fate(&self.plan, operation);
        if latency > Duration::ZERO {
            time::sleep(latency).await;
        }
        self.hear().await;
        fate
    }

    async fn after(&self, operation: Operation) {
        let alive = {
            let mut state = self.state();
            match operation {
                Operation::CommitRows => {
                    remember(&mut state.older_tables, self.tables.lock().clone());
                }
                Operation::SavePosition => {
                    remember(&mut state.older_positions, self.positions.lock().clone());
                }
                Operation::Append | Operation::ReadLog | Operation::ReadRows | Operation::LoadPosition => {}
            }
            state.step(&self.ended)
        };
        if !alive {
            std::future::pending::<()>().await;
        }
    }

    fn now(&self) -> Timestamp {
        World::now(self)
    }
}

/// Adds one, and keeps only the last few.
fn remember<T>(older: &mut VecDeque<T>, one: T) {
    if older.len() == UNDONE_MAX {
        older.pop_front();
    }
    older.push_back(one);
}

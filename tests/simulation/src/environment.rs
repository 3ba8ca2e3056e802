//! The environment of the platform: time, chance, the state that survives crashes, and the trace of the run.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use async_trait::async_trait;
use domain::{Decider, StreamName, Timestamp, decider::StoredEvent};
use fastrand::Rng;
use infra::{clock::Clock, event_store::EventMark, health::Health};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use tokio::{sync::Notify, time};
use uuid::Uuid;

use crate::{
    invariants::folded_rows,
    isolation,
    ledger::Ledger,
    memory::{Durable, Fate, Hazards, Log, Operation, Saved, Tables},
    plan::Plan,
    request::Answer,
    shopper::Shopper,
    wall_clock::WallClock,
};

/// A run with this many steps fails: it does not terminate.
const STEPS_MAX: u64 = 400_000;
/// Versions of the rows, and of the positions, that are kept. A power cut restores one of them, so it undoes
/// 0 to 3 commits of stores that do not wait for the disk.
const VERSIONS_KEPT: usize = 4;

pub struct Environment {
    pub plan: Plan,
    pub log: Durable<Log>,
    pub tables: Durable<Tables>,
    pub positions: Durable<Saved>,
    /// The last event of a log that an older copy has replaced, until the repair.
    pub lost_end: Durable<Option<EventMark>>,
    /// The payment provider's ledger, which crashes of the platform do not affect.
    pub ledger: Durable<Ledger>,
    /// True once the provider answers every call and no event is damaged any more.
    pub lasting_failures_ended: AtomicBool,
    /// Notified when the process dies.
    ended: Notify,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    /// True once there are no more faults.
    calm: bool,
    /// True until an operator repairs the read models.
    rows_refused: bool,
    dead: bool,
    steps: u64,
    /// The step at which this life ends with a crash.
    crash_at: Option<u64>,
    /// The length of each further life that ends with a crash, in steps.
    lives_steps: VecDeque<u64>,
    /// Virtual time of all earlier lives.
    earlier: Duration,
    begun: Option<time::Instant>,
    wall_clock: WallClock,
    latest_time: Timestamp,
    /// The clock of the processes of this life, which holds back jumps of the wall clock. None between two lives.
    clock: Option<Clock>,
    failure: Option<String>,
    trace: Vec<String>,
    older_tables: VecDeque<Tables>,
    older_positions: VecDeque<Saved>,
    shoppers: Vec<Option<Shopper>>,
    /// The first answer to each recorded request.
    answers: BTreeMap<String, Answer>,
}

impl Environment {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let lives_steps = plan.lives_steps.iter().copied().collect();
        let shoppers = (0..plan.orders).map(|number| Some(Shopper::new(number, rng.fork()))).collect();
        let mut log = Log::new(Uuid::from_u128(seed.into()));
        if plan.unreadable_stream {
            isolation::append_unreadable_event(&mut log);
        }
        let state = State {
            rng,
            calm: false,
            rows_refused: plan.rows_refused,
            dead: false,
            steps: 0,
            crash_at: None,
            lives_steps,
            earlier: Duration::ZERO,
            begun: None,
            wall_clock: WallClock::default(),
            latest_time: Timestamp::MIN,
            clock: None,
            failure: None,
            trace: vec![format!("{plan:?}")],
            older_tables: VecDeque::new(),
            older_positions: VecDeque::new(),
            shoppers,
            answers: BTreeMap::new(),
        };
        Self {
            plan,
            log: Durable::new(log),
            tables: Durable::default(),
            positions: Durable::default(),
            lost_end: Durable::default(),
            ledger: Durable::default(),
            lasting_failures_ended: AtomicBool::new(false),
            ended: Notify::new(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the life of a process on the current runtime.
    pub fn begin_life(self: &Arc<Self>) {
        self.state().begun = Some(time::Instant::now());
        let elapsed = self.elapsed();
        self.state().wall_clock.note_start(elapsed);
        let (wall, elapsed) = (Arc::clone(self), Arc::clone(self));
        // Reads both clocks, so it is made while the state is not locked.
        let clock = Clock::steady_over(move || wall.now(), move || elapsed.elapsed(), Health::default());
        let mut state = self.state();
        state.clock = Some(clock);
        state.dead = false;
        state.crash_at = if state.calm { None } else { state.lives_steps.pop_front() };
        state.crash_at = state.crash_at.map(|life_steps| state.steps + life_steps);
    }

    /// Ends a life of `lived` virtual time. A power cut may undo rows and positions that were not forced to
    /// disk, and an operator may rebuild the read models.
    pub fn end_life(&self, lived: Duration) {
        let now = self.now();
        let mut state = self.state();
        state.earlier += lived;
        state.begun = None;
        state.clock = None;
        if state.rng.u32(0..3) == 0 {
            let undone = state.rng.usize(0..VERSIONS_KEPT);
            if let Some(older) = state.older_tables.iter().nth_back(undone) {
                *self.tables.lock() = older.clone();
            }
            if let Some(older) = state.older_positions.iter().nth_back(undone) {
                *self.positions.lock() = older.clone();
            }
        }
        if state.rng.u32(0..6) == 0 {
            let rows = folded_rows(&self.log.lock());
            let from = rows
                .last_event
                .as_ref()
                .map(|last| state.rng.u64(0..=last.position))
                .filter(|from| *from > 0);
            *self.tables.lock() = Tables::rebuilt(rows, from, now);
            state
                .trace
                .push(format!("the read models are rebuilt; events are delivered again after {from:?}"));
        }
        state.older_tables.clear();
        state.older_positions.clear();
    }

    /// Stops all faults.
    pub fn calm_down(&self) {
        let mut state = self.state();
        state.calm = true;
        state.crash_at = None;
    }

    /// Forces rows and positions to disk, so a power cut does not undo them.
    pub fn sync(&self) {
        let mut state = self.state();
        state.older_tables.clear();
        state.older_positions.clear();
    }

    pub fn are_rows_refused(&self) -> bool {
        self.state().rows_refused
    }

    /// Repairs the read models.
    pub fn accept_rows(&self) {
        self.state().rows_refused = false;
    }

    pub fn is_calm(&self) -> bool {
        self.state().calm
    }

    /// Waits for the end of the process: a crash, or a failure of the run.
    pub async fn ended(&self) {
        while !self.state().dead {
            self.ended.notified().await;
        }
    }

    /// Returns at once while the process lives, and never after it died. Clients and the provider call it
    /// before they read an answer, so they get none from a dead process.
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

    /// Adds a line to the trace. Equal runs have equal traces.
    pub fn note(&self, line: impl AsRef<str>) {
        let now = self.elapsed();
        self.state().trace.push(format!("{:>12.6} {}", now.as_secs_f64(), line.as_ref()));
    }

    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// A hash of the trace and of the log.
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

    /// Virtual time since the start, independent of clock skew.
    pub fn elapsed(&self) -> Duration {
        let state = self.state();
        state.earlier + state.begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// The time of the wall clock, which may be set forwards and back.
    pub fn now(&self) -> Timestamp {
        let elapsed = self.elapsed();
        self.state().wall_clock.shown(elapsed)
    }

    /// The clock of the processes of this life.
    pub fn clock(&self) -> Clock {
        self.state().clock.clone().expect("a life has begun")
    }

    /// The latest time that the platform's clock has shown; that of the wall clock before the first life.
    pub fn latest_time(&self) -> Timestamp {
        let clock = self.state().clock.clone();
        let now = clock.map_or_else(|| self.now(), |clock| clock.now());
        let mut state = self.state();
        state.latest_time = state.latest_time.max(now);
        state.latest_time
    }

    pub fn set_clock(&self, skew: SignedDuration) {
        self.latest_time();
        self.note(format!("the clock is set {skew:?} off"));
        let elapsed = self.elapsed();
        self.state().wall_clock.set(skew, elapsed);
    }

    /// Checks the times of the log against the jumps of the clock.
    pub fn check_dates(&self) -> Result<(), String> {
        let elapsed = self.elapsed();
        let last = self.log.lock().events().last().map(|event| event.recorded_at);
        self.state().wall_clock.check(last, elapsed)
    }

    /// Draws from the random numbers of this run.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.state().rng)
    }

    pub fn with_shopper<T>(&self, number: usize, work: impl FnOnce(&mut Shopper) -> T) -> T {
        let taken = self.state().shoppers[number].take();
        let mut shopper = taken.expect("a shopper is put back before the next call");
        let result = work(&mut shopper);
        self.state().shoppers[number] = Some(shopper);
        result
    }

    /// The first recorded answer to the request. Stores this one if there is none yet.
    pub fn first_answer(&self, request: &str, answer: &Answer) -> Answer {
        self.state().answers.entry(request.to_owned()).or_insert_with(|| answer.clone()).clone()
    }

    /// Forgets all answers: the log has lost events on which some of them rest.
    pub fn forget_answers(&self) {
        self.state().answers.clear();
    }

    pub fn recorded_answer(&self, request: &str) -> Option<Answer> {
        self.state().answers.get(request).cloned()
    }

    /// The state of an aggregate after its first `count` durable events.
    pub fn folded<A: Decider>(&self, stream: &StreamName, count: usize) -> A::State {
        let mut state = A::State::default();
        for recorded in self.log.lock().stream(stream).take(count) {
            match A::Event::from_json(&recorded.type_name, &recorded.data) {
                Ok(event) => A::evolve(&mut state, &event),
                Err(error) => panic!("{stream} cannot be decoded: {error}"),
            }
        }
        state
    }

    pub fn len_of(&self, stream: &StreamName) -> usize {
        self.log.lock().len_of(stream)
    }
}

impl State {
    /// Counts a step; true if the process still lives after it.
    fn step(&mut self, ended: &Notify) -> bool {
        self.steps += 1;
        let crashes = self.crash_at == Some(self.steps);
        if crashes {
            self.trace.push(format!("crash at step {}", self.steps));
        }
        if self.steps == STEPS_MAX && self.failure.is_none() {
            self.failure = Some(format!("the run has not ended after {STEPS_MAX} steps"));
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
        let rates = &plan.rates;
        // Rates in thousandths. An entry with rate 0 only fills the array.
        let odds = match operation {
            Operation::Append => [
                (rates.append_fails, Fate::Fail),
                (rates.append_vanishes, Fate::Vanish),
                (rates.append_answer_lost, Fate::LoseAnswer),
            ],
            Operation::ReadLog => [(rates.read_fails, Fate::Fail), (0, Fate::Fail), (0, Fate::Fail)],
            Operation::CommitRows => {
                [(rates.rows_fail, Fate::Fail), (rates.rows_answer_lost, Fate::LoseAnswer), (0, Fate::Fail)]
            }
            Operation::ReadRows => [(rates.rows_fail / 4, Fate::Fail), (0, Fate::Fail), (0, Fate::Fail)],
            Operation::SavePosition => [
                (rates.position_fails, Fate::Fail),
                (rates.position_fails / 4, Fate::LoseAnswer),
                (0, Fate::Fail),
            ],
            Operation::LoadPosition => {
                [(rates.position_fails / 4, Fate::Fail), (0, Fate::Fail), (0, Fate::Fail)]
            }
        };
        let latency = if self.rng.u32(0..1_000) < rates.stalls {
            Duration::from_millis(self.rng.u64(0..20_000))
        } else {
            Duration::from_micros(self.rng.u64(0..=rates.latency_ms_max * 1_000))
        };
        let mut roll = self.rng.u32(0..1_000);
        for (rate, fate) in odds {
            if roll < rate {
                return (latency, fate);
            }
            roll -= rate;
        }
        (latency, Fate::Succeed)
    }
}

#[async_trait]
impl Hazards for Environment {
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
        self.clock().now()
    }

    fn lists_unfinished_orders(&self) -> bool {
        self.plan.is_swept
    }

    /// Refuses one stream in four.
    fn refuses_rows_of(&self, stream: &StreamName) -> bool {
        let digits = stream.to_string().bytes().map(u64::from).sum::<u64>();
        self.are_rows_refused() && digits.is_multiple_of(4)
    }
}

/// Adds a version and keeps the last [`VERSIONS_KEPT`].
fn remember<T>(older: &mut VecDeque<T>, version: T) {
    if older.len() == VERSIONS_KEPT {
        older.pop_front();
    }
    older.push_back(version);
}

//! The conditions of a run, drawn from its seed.

use std::time::Duration;

use command_api::ExecutorOptions;
use domain::PaymentId;
use fastrand::Rng;

use crate::memory::Writers;

/// The SKUs of all runs; a run uses the first [`Plan::skus`].
pub const SKUS: [&str; 4] = ["A", "B", "C d", "é"];

/// The SKUs of the bundle for which the buyers compete, in runs with [`Plan::bundle_buyers`].
pub const BUNDLE_SKUS: [&str; 3] = ["bundle 1", "bundle 2", "bundle 3"];

/// A SKU without stock, after those of the bundle.
pub const EMPTY_SKU: &str = "bundle without stock";

/// A SKU that bulk receipts fill up to its limit.
pub const FULL_SKU: &str = "full";

/// The most SKUs of a bulk receipt: [`SKUS`] and [`FULL_SKU`].
const BULK_SKUS_MAX: usize = SKUS.len() + 1;

/// A SKU whose stream this build cannot read, in runs with [`Plan::unreadable_stream`].
pub const UNREADABLE_SKU: &str = "unreadable";

/// The conditions of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub writers: Writers,
    /// Processes that serve the command API; the last one runs the process manager. More than one only if the
    /// store has several writers.
    pub instances: usize,
    /// Projectors that write the same rows without coordination.
    pub projectors: usize,
    pub executor: ExecutorOptions,
    pub batch_events_max: usize,
    pub batch_every: Duration,
    pub commit_every: Duration,
    pub skus: usize,
    pub orders: usize,
    pub rates: FaultRates,
    /// True if there is a payment provider. Without one, payments are recorded by hand.
    pub provider: bool,
    /// The length of each life that ends with a crash, in steps.
    pub lives_steps: Vec<u64>,
    /// How often the clock is set to another time.
    pub clock_jumps: usize,
    /// False if the sweep finds no candidates. One process must then finish every order by its reactions.
    pub is_swept: bool,
    /// True if payments become due within seconds, so orders expire while they are placed.
    pub due_soon: bool,
    /// True if the clock jumps by years once, forwards or back.
    pub clock_jumps_years: bool,
    /// True if an older copy of the log replaces it after the first crash. Only without a provider: its ledger would
    /// keep the charges of lost payments.
    pub log_goes_back: bool,
    /// True if every reaction runs again at the end.
    pub reactions_repeated: bool,
    /// True if the read models refuse the rows of some streams until an operator repairs them.
    pub rows_refused: bool,
    /// True if some orders have a line of [`UNREADABLE_SKU`]. They cannot be finished; all others must be.
    pub unreadable_stream: bool,
    /// Buyers who order one bundle at the same moment. One of them must get it.
    pub bundle_buyers: usize,
    /// True if some orders ship on an authorisation, and some are paid later.
    pub terms: bool,
    /// None: the provider answers all calls.
    pub provider_hangs: Option<Hanging>,
    /// True if an event in the middle of the log is damaged at the first crash.
    pub event_damaged: bool,
}

/// The provider answers no call about one payment in three.
#[derive(Debug, Clone, Copy)]
pub struct Hanging {
    /// Since the start of the run.
    pub from: Duration,
    /// Chooses the payments: their ids are the same in all runs.
    pub salt: u64,
}

impl Hanging {
    pub fn concerns(self, payment: PaymentId) -> bool {
        let (high, low) = payment.0.as_u64_pair();
        ((high ^ low).wrapping_mul(self.salt) >> 32).is_multiple_of(3)
    }
}

/// The probability of each fault, in thousandths, and the latency of operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultRates {
    pub append_fails: u32,
    pub append_vanishes: u32,
    pub append_answer_lost: u32,
    pub read_fails: u32,
    pub rows_fail: u32,
    pub rows_answer_lost: u32,
    pub position_fails: u32,
    /// Stalls last up to 20 s.
    pub stalls: u32,
    pub latency_ms_max: u64,
}

impl Plan {
    pub fn draw(rng: &mut Rng) -> Self {
        let writers = if rng.u32(0..100) < 60 { Writers::One } else { Writers::Several };
        let instances = if writers == Writers::Several { rng.usize(1..=2) } else { 1 };
        let crashes = [0, 1, 1, 2, 3, 4][rng.usize(0..6)];
        let is_slow = rng.u32(0..4) == 0;
        let is_hurried = rng.u32(0..4) == 0;
        let provider = rng.u32(0..10) < 6;
        let mut plan = Self {
            writers,
            instances,
            projectors: if rng.u32(0..4) == 0 { 2 } else { 1 },
            executor: ExecutorOptions {
                // A bulk receipt reads its SKUs at once, so it needs a place for each.
                queue_commands_max: [BULK_SKUS_MAX, BULK_SKUS_MAX + 1, 4_096, 4_096][rng.usize(0..4)],
                cache_bytes_max: [1, 4_096, 1 << 20, 1 << 20][rng.usize(0..4)],
                ..ExecutorOptions::default()
            },
            // At most 32: production code folds larger batches on another thread, in no determined order.
            batch_events_max: rng.usize(1..=32),
            // A slow process manager leaves the reactions of several requests open at once.
            batch_every: Duration::from_millis(rng.u64(0..=if is_slow { 4_000 } else { 20 })),
            commit_every: Duration::from_millis(rng.u64(0..=20)),
            skus: rng.usize(1..=4),
            orders: rng.usize(1..=6),
            rates: FaultRates::draw(rng, is_hurried),
            provider,
            lives_steps: (0..crashes).map(|_| rng.u64(1..400)).collect(),
            clock_jumps: [0, 0, 2, 5][rng.usize(0..4)],
            log_goes_back: !provider && rng.u32(0..3) == 0,
            clock_jumps_years: rng.u32(0..6) == 0,
            is_swept: instances > 1 || rng.u32(0..3) > 0,
            due_soon: is_hurried,
            reactions_repeated: rng.u32(0..4) == 0,
            rows_refused: rng.u32(0..4) == 0,
            unreadable_stream: rng.u32(0..4) == 0,
            bundle_buyers: [0, 0, 0, 2, 3, 5][rng.usize(0..6)],
            terms: false,
            provider_hangs: None,
            event_damaged: false,
        };
        // Without an effect on later draws, so the runs of other seeds stay as they were.
        plan.draw_later_conditions(&mut rng.clone());
        plan
    }

    fn draw_later_conditions(&mut self, rng: &mut Rng) {
        self.terms = rng.u32(0..3) == 0;
        let hanging = Hanging { from: Duration::from_millis(rng.u64(0..20_000)), salt: rng.u64(..) | 1 };
        self.provider_hangs = (rng.u32(0..4) == 0 && self.provider).then_some(hanging);
        self.event_damaged = rng.u32(0..4) == 0 && !self.log_goes_back;
    }
}

impl FaultRates {
    fn draw(rng: &mut Rng, is_hurried: bool) -> Self {
        let latency_ms_max = if is_hurried { 400 } else { [0, 1, 5, 50, 400][rng.usize(0..5)] };
        if rng.u32(0..4) == 0 {
            return Self { latency_ms_max, ..Self::default() };
        }
        let mut up_to = |most: u32| if rng.bool() { rng.u32(0..=most) } else { 0 };
        Self {
            append_fails: up_to(80),
            append_vanishes: up_to(50),
            append_answer_lost: up_to(80),
            read_fails: up_to(50),
            rows_fail: up_to(150),
            rows_answer_lost: up_to(100),
            position_fails: up_to(300),
            stalls: up_to(if is_hurried { 60 } else { 8 }),
            latency_ms_max,
        }
    }
}

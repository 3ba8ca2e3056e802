//! A limit on the requests that a process works on at the same time. Beyond it, requests wait for a short time, and
//! are then refused.
//!
//! An accepted request thus takes a bounded time, however many others arrive. A refusal is work too, so only some leave
//! each second, and the others wait: a client sends nothing more before its answer. A request that waits for something
//! outside of this process gives its slot up: it occupies no processor.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use http::Method;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{self, timeout},
};

use super::{Code, Problem};
use crate::measurements::{Counter, Gauge, HTTP_REQUESTS_SHED, HTTP_SLOTS_IN_USE};

/// The longest wait of a request for a slot while slots were free a moment ago: a burst.
const WAIT_IN_BURST: Duration = Duration::from_millis(100);
/// The longest wait once no slot was free for [`WAIT_IN_BURST`]: an overload. A longer wait would delay every accepted
/// request, and no further one would be accepted.
const WAIT_IN_OVERLOAD: Duration = Duration::from_millis(10);
/// Answers with status 503 to one kind of requests each second, for each processor. One takes about 0.1 ms of it.
const REFUSALS_PER_SECOND: u32 = 400;
/// The longest wait of a refusal for its turn.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

tokio::task_local! {
    static SLOT: Slot;
}

/// The most requests that are worked on at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    pub writes_max: usize,
    pub reads_max: usize,
}

impl SlotLimits {
    /// The defaults of both settings.
    pub const REQUESTS_MAX: usize = 192;
}

impl Default for SlotLimits {
    fn default() -> Self {
        Self { writes_max: Self::REQUESTS_MAX, reads_max: Self::REQUESTS_MAX }
    }
}

/// The slots of a process. Its clones share them.
#[derive(Debug, Clone)]
pub struct Slots {
    writes: Arc<Lane>,
    reads: Arc<Lane>,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(SlotLimits::default())
    }
}

impl Slots {
    pub fn new(limits: SlotLimits) -> Self {
        let lane = |name, max| Arc::new(Lane::new(name, max));
        Self { writes: lane("writes", limits.writes_max), reads: lane("reads", limits.reads_max) }
    }

    /// Takes a slot for a request, or refuses it before its body is read. `None` for a request that needs no slot.
    pub(super) async fn enter(&self, method: &Method, path: &str) -> Result<Option<Slot>, Problem> {
        // Supervisors restart a process that does not answer these.
        if matches!(path, "/livez" | "/readyz" | "/version" | "/metrics") {
            return Ok(None);
        }
        let lane = self.lane(method);
        let occupied = Occupied::take(lane).await?;
        Ok(Some(Slot { lane: Arc::clone(lane), occupied: Mutex::new(Some(occupied)) }))
    }

    /// Waits until an answer with status 503 may leave.
    pub(super) async fn refusal_may_leave(&self, method: &Method) {
        time::sleep_until(self.lane(method).refusals.next_turn()).await;
    }

    fn lane(&self, method: &Method) -> &Arc<Lane> {
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => &self.reads,
            _ => &self.writes,
        }
    }
}

/// Runs the handler of a request, which can give its slot up.
pub(super) async fn within<T>(slot: Slot, handler: impl Future<Output = T>) -> T {
    SLOT.scope(slot, handler).await
}

/// Gives the slot of the current request up, if it has one, because the rest of the request is mostly a wait.
pub fn give_up() {
    let _ = SLOT.try_with(|slot| slot.occupied().take());
}

/// Takes a slot again for the current request, which has done nothing so far.
pub(super) async fn take_again() -> Result<(), Problem> {
    let Ok(lane) = SLOT.try_with(|slot| Arc::clone(&slot.lane)) else { return Ok(()) };
    let occupied = Occupied::take(&lane).await?;
    let _ = SLOT.try_with(|slot| *slot.occupied() = Some(occupied));
    Ok(())
}

/// Slots for one kind of requests.
#[derive(Debug)]
struct Lane {
    slots: Arc<Semaphore>,
    /// Since when no request has found a free slot.
    full_since: Mutex<Option<Instant>>,
    refusals: Pace,
    in_use: Gauge,
    shed: Counter,
}

/// When refusals leave.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    next: Mutex<time::Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        let processors =
            thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
        let interval = Duration::from_secs(1) / REFUSALS_PER_SECOND / processors;
        Self { interval, next: Mutex::new(time::Instant::now()) }
    }
}

impl Pace {
    /// The turn of one refusal, at most [`REFUSED_WITHIN`] from now.
    fn next_turn(&self) -> time::Instant {
        let now = time::Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).clamp(now, now + REFUSED_WITHIN);
        *next = turn + self.interval;
        turn
    }
}

/// The slot of a request.
#[derive(Debug)]
pub(super) struct Slot {
    lane: Arc<Lane>,
    occupied: Mutex<Option<Occupied>>,
}

impl Slot {
    fn occupied(&self) -> MutexGuard<'_, Option<Occupied>> {
        self.occupied.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An occupied slot. Free when dropped.
#[derive(Debug)]
struct Occupied {
    in_use: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.in_use.decrement(1.0);
    }
}

impl Occupied {
    async fn take(lane: &Lane) -> Result<Self, Problem> {
        let permit = lane.permit().await.ok_or_else(|| {
            lane.shed.increment(1);
            Problem::new(Code::Overloaded)
        })?;
        lane.in_use.increment(1.0);
        Ok(Self { in_use: lane.in_use.clone(), _permit: permit })
    }
}

impl Lane {
    fn new(name: &'static str, max: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            full_since: Mutex::default(),
            refusals: Pace::default(),
            in_use: HTTP_SLOTS_IN_USE.with([name]),
            shed: HTTP_REQUESTS_SHED.with([name]),
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let slots = Arc::clone(&self.slots);
        if let Ok(permit) = Arc::clone(&slots).try_acquire_owned() {
            *self.full_since() = None;
            return Some(permit);
        }
        let full_since = *self.full_since().get_or_insert_with(Instant::now);
        let is_burst = full_since.elapsed() < WAIT_IN_BURST;
        let wait = if is_burst { WAIT_IN_BURST } else { WAIT_IN_OVERLOAD };
        timeout(wait, slots.acquire_owned()).await.ok()?.ok()
    }

    fn full_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.full_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::time::Instant as TestInstant;

    use super::*;

    fn slots() -> Slots {
        Slots::new(SlotLimits { writes_max: 2, reads_max: 1 })
    }

    async fn run(slots: &Slots, method: Method, path: &str) -> Result<(), Problem> {
        slots.enter(&method, path).await.map(drop)
    }

    /// Occupies a slot until dropped.
    fn occupy(slots: &Slots) -> Option<Slot> {
        slots.enter(&Method::POST, "/").now_or_never().expect("a slot is free").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_a_slot_waits_for_a_burst_and_is_then_refused() {
        let slots = slots();
        let running = [occupy(&slots), occupy(&slots)];
        let begun = TestInstant::now();
        let refused = run(&slots, Method::POST, "/").await.unwrap_err();
        assert_eq!((refused.code, begun.elapsed()), (Code::Overloaded, WAIT_IN_BURST));

        run(&slots, Method::GET, "/").await.unwrap();
        run(&slots, Method::POST, "/livez").await.unwrap();
        let [first, _second] = running;
        let (waiting, ()) = tokio::join!(run(&slots, Method::POST, "/"), async { drop(first) });
        waiting.unwrap();
    }

    #[tokio::test]
    async fn an_overload_shortens_the_wait() {
        let slots = slots();
        let _running = [occupy(&slots), occupy(&slots)];
        *slots.writes.full_since() = Instant::now().checked_sub(WAIT_IN_BURST);
        let begun = Instant::now();
        run(&slots, Method::POST, "/").await.unwrap_err();
        assert!(begun.elapsed() < WAIT_IN_BURST, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_leave_one_after_another_within_a_time_limit() {
        let pace = Pace { interval: Duration::from_millis(2), ..Pace::default() };
        let now = TestInstant::now();
        let waits: Vec<Duration> = (0..5_000).map(|_| pace.next_turn() - now).collect();
        assert_eq!(waits[..3], [0, 2, 4].map(Duration::from_millis));
        assert_eq!(waits[4_999], REFUSED_WITHIN);
        time::advance(Duration::from_secs(10)).await;
        assert_eq!(pace.next_turn(), TestInstant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_outside_gives_its_slot_up() {
        let slots = slots();
        let slot = slots.enter(&Method::GET, "/").await.unwrap().unwrap();
        within(slot, async {
            give_up();
            run(&slots, Method::GET, "/").await.unwrap();
            take_again().await.unwrap();
            run(&slots, Method::GET, "/").await.unwrap_err();
        })
        .await;
        run(&slots, Method::GET, "/").await.unwrap();
    }
}

//! The reactions in memory: one queue for each order, payment and receipt.
//!
//! The first reaction of a queue is ready, running or paused; the others wait behind it, so reactions of one
//! stream run one at a time and in its order. A paused reaction holds no place and no lock. After a few
//! failures it is parked in the operational store, and leaves memory.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use domain::{RecordedEvent, StreamName};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    measured::{AttemptsMeasured, Load, Measured},
    progress::BatchId,
    reactor::Reactor,
};

/// Reactions that run at once.
const RUNNING_MAX: usize = 256;
/// Bytes of queued events. Above it, no further batch is read, and failing reactions are parked at once.
const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a queued event besides its content, approximately.
const EVENT_OVERHEAD_BYTES: usize = 256;
/// A failed reaction is repeated after this pause, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Attempts in memory, over about 5 s. The last one parks the reaction if it fails.
const ATTEMPTS_MAX: u32 = 9;

/// The queues of the streams with unfinished reactions.
pub(super) struct Queues {
    reactor: Reactor,
    queues: HashMap<StreamName, Queue>,
    /// Streams whose first reaction can run, the longest waiting first.
    ready: VecDeque<StreamName>,
    running: JoinSet<(StreamName, Attempted)>,
    /// Streams whose first reaction has failed, by the time of its next attempt and a number that tells equal
    /// times apart.
    paused: BTreeMap<(Instant, u64), StreamName>,
    pauses: u64,
    queued: usize,
    queued_bytes: usize,
    measured: Measured,
}

/// The reactions of one stream, never empty.
struct Queue {
    reactions: VecDeque<QueuedReaction>,
    /// Failed attempts at the first reaction.
    failures: u32,
}

/// A reaction that is not durable yet.
pub(super) struct QueuedReaction {
    pub event: RecordedEvent,
    pub batch: BatchId,
}

/// The end of an attempt.
#[derive(PartialEq, Eq)]
enum Attempted {
    /// The reaction is durable, or durably parked.
    Finished,
    Failed,
}

impl Queues {
    pub fn new(reactor: Reactor) -> Self {
        Self {
            reactor,
            queues: HashMap::new(),
            ready: VecDeque::new(),
            running: JoinSet::new(),
            paused: BTreeMap::new(),
            pauses: 0,
            queued: 0,
            queued_bytes: 0,
            measured: Measured::new(),
        }
    }

    /// True if a further batch may be read.
    pub fn has_room(&self) -> bool {
        self.queued_bytes < QUEUED_BYTES_MAX
    }

    /// Shows the present load as measurements.
    pub fn measure(&self) {
        let (ready, running, paused) = (self.ready.len(), self.running.len(), self.paused.len());
        let waiting = self.queued.saturating_sub(ready + running + paused);
        self.measured.set(Load { ready, running, paused, waiting, bytes: self.queued_bytes });
    }

    pub fn push(&mut self, reaction: QueuedReaction) {
        let had_room = self.has_room();
        self.queued += 1;
        self.queued_bytes += reaction.bytes();
        match self.queues.entry(reaction.event.stream.clone()) {
            Entry::Occupied(mut queue) => queue.get_mut().reactions.push_back(reaction),
            Entry::Vacant(place) => {
                self.ready.push_back(place.key().clone());
                place.insert(Queue { reactions: [reaction].into(), failures: 0 });
            }
        }
        if had_room && !self.has_room() {
            self.ready.extend(std::mem::take(&mut self.paused).into_values());
        }
    }

    /// Runs the queues until a reaction is durable or parked; returns its batch. Waits for ever while all
    /// queues are empty. Cancel safe.
    pub async fn next_finished(&mut self) -> BatchId {
        loop {
            self.start_ready();
            let next_attempt_at = self.paused.first_key_value().map(|((time, _), _)| *time);
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next() => {
                    if let Some(batch) = self.settle(ended) {
                        return batch;
                    }
                }
                () = sleep_until(next_attempt_at.unwrap_or_else(Instant::now)), if next_attempt_at.is_some() => {
                    self.ready.extend(self.paused.pop_first().map(|(_, stream)| stream));
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Waits for the running attempts and starts no other. Returns the batches of the finished reactions.
    pub async fn finish_running(&mut self) -> Vec<BatchId> {
        let mut finished = Vec::new();
        while let Some(ended) = self.running.join_next().await {
            finished.extend(self.settle(ended));
        }
        finished
    }

    fn start_ready(&mut self) {
        while self.running.len() < RUNNING_MAX
            && let Some(stream) = self.ready.pop_front()
        {
            let Some(queue) = self.queues.get(&stream) else { continue };
            let Some(first) = queue.reactions.front() else { continue };
            let attempt = Attempt {
                reactor: self.reactor.clone(),
                event: first.event.clone(),
                may_wait_behind_parked: self.reactor.any_may_be_parked(),
                is_last: queue.failures + 1 >= ATTEMPTS_MAX || !self.has_room(),
                measured: Arc::clone(&self.measured.attempts),
            };
            self.running.spawn(async move { (stream, Box::pin(attempt.run()).await) });
        }
    }

    /// Moves a queue to its next state. Returns the batch of the reaction if it is finished.
    fn settle(&mut self, ended: Result<(StreamName, Attempted), tokio::task::JoinError>) -> Option<BatchId> {
        // The reactor catches panics of reactions. Any other panic is a fault of this module: the role ends.
        let (stream, attempted) = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let queue = self.queues.get_mut(&stream)?;
        if attempted == Attempted::Failed {
            let pause = PAUSE_MIN * (1 << queue.failures.min(ATTEMPTS_MAX));
            queue.failures += 1;
            self.pauses += 1;
            self.paused.insert((Instant::now() + pause, self.pauses), stream);
            return None;
        }
        queue.failures = 0;
        let finished = queue.reactions.pop_front();
        if queue.reactions.is_empty() {
            self.queues.remove(&stream);
        } else {
            self.ready.push_back(stream);
        }
        finished.map(|reaction| {
            self.queued -= 1;
            self.queued_bytes -= reaction.bytes();
            reaction.batch
        })
    }
}

impl QueuedReaction {
    fn bytes(&self) -> usize {
        self.event.data.len() + self.event.metadata.len() + EVENT_OVERHEAD_BYTES
    }
}

/// One attempt at the first reaction of a queue.
struct Attempt {
    reactor: Reactor,
    event: RecordedEvent,
    may_wait_behind_parked: bool,
    /// True if a failure parks the reaction.
    is_last: bool,
    measured: Arc<AttemptsMeasured>,
}

impl Attempt {
    async fn run(self) -> Attempted {
        let Self { reactor, event, measured, .. } = self;
        if self.may_wait_behind_parked {
            match reactor.wait_behind_parked(&event).await {
                Ok(true) => return Attempted::Finished,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(stream = %event.stream, event.id = %event.id, %error,
                        "Cannot read the parked reactions; the reaction waits");
                    return Attempted::Failed;
                }
            }
        }
        let begun = Instant::now();
        let Err(error) = reactor.react(&event).await else {
            measured.count(&measured.done, begun.elapsed());
            return Attempted::Finished;
        };
        if !self.is_last && !error.parks_at_once() {
            measured.count(&measured.failed, begun.elapsed());
            tracing::warn!(stream = %event.stream, event.id = %event.id, event.recorded_at = %event.recorded_at,
                %error, "A reaction failed; retrying");
            return Attempted::Failed;
        }
        match reactor.park(&event, &error).await {
            Ok(()) => {
                measured.count(&measured.parked, begun.elapsed());
                Attempted::Finished
            }
            Err(unstored) => {
                measured.count(&measured.failed, begun.elapsed());
                tracing::warn!(stream = %event.stream, event.id = %event.id, %error, error.parking = %unstored,
                    "A reaction failed, and cannot be parked; retrying both");
                Attempted::Failed
            }
        }
    }
}

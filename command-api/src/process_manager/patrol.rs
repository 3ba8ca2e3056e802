//! Patrols walk lists of candidates for work that a time makes due, and attempt each candidate on its own.
//!
//! The read models list the candidates and may be outdated; the streams decide. A candidate that fails or
//! must wait is left alone for a pause of its own, so it delays no other one.

use std::{
    collections::{HashSet, VecDeque},
    fmt::Debug,
    hash::Hash,
    num::NonZeroUsize,
    panic::AssertUnwindSafe,
    time::Duration,
};

use domain::StreamName;
use futures::FutureExt;
use infra::{
    measurements::{Counter, DUE_WORK_ATTEMPTS},
    read_models::ReadModelError,
};
use lru::LruCache;
use tokio::{
    task::JoinSet,
    time::{self, Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::share::Share;
use crate::executor::ExecuteError;

/// Candidates per page, and pages per round: the next round continues after them.
const PAGE: usize = 1_000;
const PAGES_MAX: usize = 10;
/// Candidates whose pauses are remembered. Beyond it, the one that was tried longest ago is tried again at
/// once.
const PAUSES_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");
/// Part of the places that candidates may take which failed before. So those that fail or hang leave most
/// places to the others.
const REPEATED_SHARE: usize = 4;
/// Candidates that failed before and wait for a place. A later round finds the others.
const REPEATED_MAX: usize = 10_000;

/// A list of candidates, and the work on each.
pub(super) trait Beat: Send + Sync + 'static {
    /// A candidate, and its place in the list.
    type Candidate: Copy + Send + Sync;
    type Id: Copy + Eq + Hash + Debug + Send + Into<StreamName>;

    /// Names the work in the log and in measurements.
    const WORK: &'static str;
    const INTERVAL: Duration;
    /// Candidates that are attempted at once.
    const PLACES: usize;
    /// Time limit of an attempt.
    const TIME_MAX: Duration;
    /// Pause after the first attempt that leaves work open, doubled each time up to `PAUSE_MAX`.
    const PAUSE_MIN: Duration;
    const PAUSE_MAX: Duration;

    fn id(candidate: Self::Candidate) -> Self::Id;

    /// At most `limit` candidates after `after`. A shorter page is the last one.
    fn page(
        &self,
        after: Option<Self::Candidate>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Self::Candidate>, ReadModelError>> + Send;

    /// Attempts the work. `None`: no attempt is possible in this round.
    fn attempt(
        &self,
        id: Self::Id,
    ) -> Option<impl Future<Output = Result<Settled, ExecuteError>> + Send + 'static>;
}

/// The end of an attempt at a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// No work is left.
    Done,
    /// The work must wait for something else.
    Waits,
}

pub(super) struct Patrol<B: Beat> {
    beat: B,
    share: Share,
    running: JoinSet<(B::Id, Settled)>,
    /// The candidates that run or wait for a place.
    under_way: HashSet<B::Id>,
    /// Candidates whose pause is over, in the order in which they get a place.
    repeated: VecDeque<B::Id>,
    pauses: LruCache<B::Id, Pause>,
    /// The last candidate of the previous round, if more follow it.
    after: Option<B::Candidate>,
    done: Counter,
    waits: Counter,
}

/// When a candidate is attempted again.
#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Instant,
    length: Duration,
}

impl<B: Beat> Patrol<B> {
    pub fn new(beat: B, share: Share) -> Self {
        Self {
            beat,
            share,
            running: JoinSet::new(),
            under_way: HashSet::new(),
            repeated: VecDeque::new(),
            pauses: LruCache::new(PAUSES_MAX),
            after: None,
            done: DUE_WORK_ATTEMPTS.with([B::WORK, "done"]),
            waits: DUE_WORK_ATTEMPTS.with([B::WORK, "waits"]),
        }
    }

    /// Walks at once and then every [`Beat::INTERVAL`] until `shutdown`, then waits for the attempts under
    /// way.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut rounds = time::interval(B::INTERVAL);
        rounds.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = self.running.join_next() => {
                    self.settle(ended);
                    self.start_repeated();
                    continue;
                }
                _ = rounds.tick() => {}
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                walked = self.round() => if let Err(error) = walked {
                    tracing::warn!(work = B::WORK, %error, "Cannot read the candidates; the next round retries");
                },
            }
        }
        while let Some(ended) = self.running.join_next().await {
            self.settle(ended);
        }
    }

    async fn round(&mut self) -> Result<(), ReadModelError> {
        self.start_repeated();
        for _ in 0..PAGES_MAX {
            let page = self.beat.page(self.after, PAGE).await?;
            for candidate in &page {
                if !self.attempt(B::id(*candidate)).await {
                    return Ok(());
                }
                self.after = Some(*candidate);
            }
            if page.len() < PAGE {
                self.after = None;
                break;
            }
        }
        Ok(())
    }

    /// Starts an attempt, unless the candidate has to wait. Waits for a place, at most for the time limit of
    /// one attempt. False if no attempt is possible in this round.
    async fn attempt(&mut self, id: B::Id) -> bool {
        if self.under_way.contains(&id) || !self.share.has(id) {
            return true;
        }
        if let Some(pause) = self.pauses.peek(&id) {
            if pause.until <= Instant::now() && self.repeated.len() < REPEATED_MAX {
                self.under_way.insert(id);
                self.repeated.push_back(id);
                self.start_repeated();
            }
            return true;
        }
        while self.running.len() >= B::PLACES
            && let Some(ended) = self.running.join_next().await
        {
            self.settle(ended);
        }
        self.start(id)
    }

    fn start_repeated(&mut self) {
        while self.running.len() < B::PLACES.div_ceil(REPEATED_SHARE)
            && let Some(id) = self.repeated.front().copied()
            && self.start(id)
        {
            self.repeated.pop_front();
        }
    }

    fn start(&mut self, id: B::Id) -> bool {
        let Some(attempt) = self.beat.attempt(id) else { return false };
        self.under_way.insert(id);
        self.running.spawn(async move {
            let stream: StreamName = id.into();
            let settled = match timeout(B::TIME_MAX, AssertUnwindSafe(attempt).catch_unwind()).await {
                Ok(Ok(Ok(settled))) => settled,
                // Another task works on the candidate.
                Ok(Ok(Err(ExecuteError::Busy))) => Settled::Waits,
                Ok(Ok(Err(error))) => {
                    tracing::warn!(work = B::WORK, %stream, %error, "Cannot finish due work; trying again later");
                    Settled::Waits
                }
                // The panic hook has logged it.
                Ok(Err(_panic)) => Settled::Waits,
                Err(_) => {
                    tracing::warn!(work = B::WORK, %stream, "Due work has not ended in time; trying again later");
                    Settled::Waits
                }
            };
            (id, settled)
        });
        true
    }

    /// Sets the pause of a candidate, or forgets it if no work is left.
    fn settle(&mut self, ended: Result<(B::Id, Settled), tokio::task::JoinError>) {
        // Panics of attempts are caught. Any other panic is a fault of this module: the role ends.
        let (id, settled) = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.under_way.remove(&id);
        match settled {
            Settled::Done => {
                self.done.increment(1);
                self.pauses.pop(&id);
            }
            Settled::Waits => {
                self.waits.increment(1);
                let doubled = self.pauses.peek(&id).map(|pause| (2 * pause.length).min(B::PAUSE_MAX));
                let length = doubled.unwrap_or(B::PAUSE_MIN);
                self.pauses.put(id, Pause { until: Instant::now() + length, length });
            }
        }
    }
}

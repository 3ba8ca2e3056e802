//! Repeats parked reactions when their time has come.
//!
//! After a start, and after partitions were assigned, each entry that did not fail in this process is tried at once:
//! the process may be of a version that repairs the cause. An entry that another process stores later is tried too,
//! because a process of an earlier version may park a reaction while it gives up the partition.

use std::{collections::HashSet, time::Duration};

use domain::StreamName;
use infra::{
    health::Health,
    measurements::{Gauge, PARKED_REACTIONS, number},
    operations::{OperationsError, parked::ParkedReaction},
};
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{reactor::Reactor, share::Share};

/// How often the store is asked for entries that are due. Requests of operators wait at most so long.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Streams whose parked reactions run at once. They do not take the places of other reactions.
const RUNNING_MAX: usize = 32;
const PAGE: usize = 100;
/// Pages of all entries that one poll reads.
const PAGES_MAX: usize = 10;
/// How often all entries are listed, to find those that other processes have stored.
const LIST_INTERVAL: Duration = Duration::from_secs(5);
/// The name under which parked reactions show in the health of the process.
const HEALTH: &str = "parked_reactions";

pub(super) struct Retries {
    reactor: Reactor,
    share: Share,
    health: Health,
    running: JoinSet<StreamName>,
    under_way: HashSet<StreamName>,
    /// The place in the list of all entries while those that did not fail here are tried at once.
    at_once: Option<Place>,
    list_again_at: Instant,
    /// True if entries that are due wait for a place.
    more_wait: bool,
    /// The assignments of partitions that were noticed.
    assignments: u64,
    parked: Gauge,
}

/// After the entry of this stream; `None`: at the first entry.
#[derive(Clone)]
struct Place(Option<StreamName>);

impl Retries {
    pub fn new(reactor: Reactor, share: Share, health: Health) -> Self {
        Self {
            reactor,
            share,
            health,
            running: JoinSet::new(),
            under_way: HashSet::new(),
            at_once: None,
            list_again_at: Instant::now(),
            more_wait: false,
            assignments: 0,
            parked: PARKED_REACTIONS.with([]),
        }
    }

    /// Runs until `shutdown`, then waits for the retries under way.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut polls = time::interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = self.running.join_next() => {
                    self.end(ended);
                    if !self.more_wait || self.running.len() > RUNNING_MAX / 2 {
                        continue;
                    }
                }
                _ = polls.tick() => {}
            }
            if let Err(error) = self.poll().await {
                tracing::warn!(%error, "Cannot read the parked reactions; the next poll retries");
            }
        }
        while let Some(ended) = self.running.join_next().await {
            self.end(ended);
        }
    }

    async fn poll(&mut self) -> Result<(), OperationsError> {
        let count = self.reactor.count_parked().await?;
        self.parked.set(number(count));
        if count == 0 {
            self.health.resolve(HEALTH);
            self.at_once = None;
            self.assignments = self.share.assignments();
            return Ok(());
        }
        self.health.degraded(
            HEALTH,
            format!(
                "{count} orders, payments, receipts or exchanges have parked reactions: see `orderly reactions list`"
            ),
        );
        if self.assignments != self.share.assignments() {
            self.assignments = self.share.assignments();
            self.at_once = Some(Place(None));
        } else if self.at_once.is_none() && Instant::now() >= self.list_again_at {
            self.at_once = Some(Place(None));
        }
        self.try_all_at_once().await?;
        self.try_due().await
    }

    async fn try_all_at_once(&mut self) -> Result<(), OperationsError> {
        for _ in 0..PAGES_MAX {
            let Some(Place(after)) = self.at_once.clone() else { return Ok(()) };
            let page = self.reactor.list_parked(after, PAGE).await?;
            if page.is_empty() {
                self.at_once = None;
                self.list_again_at = Instant::now() + LIST_INTERVAL;
            }
            for entry in page {
                let stream = entry.stream.clone();
                if !self.reactor.has_failed_here(&entry) && !self.try_start(entry) {
                    return Ok(());
                }
                self.at_once = Some(Place(Some(stream)));
            }
        }
        Ok(())
    }

    async fn try_due(&mut self) -> Result<(), OperationsError> {
        let mut after = None;
        loop {
            let page = self.reactor.due(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.next_attempt_at, last.stream.clone()));
            for entry in page {
                if !self.try_start(entry) {
                    return Ok(());
                }
            }
        }
    }

    /// False if all places are taken. Skips entries of other processes, and those that are under way.
    fn try_start(&mut self, entry: ParkedReaction) -> bool {
        if !self.share.has(entry.stream.clone()) || self.under_way.contains(&entry.stream) {
            return true;
        }
        self.more_wait = self.running.len() >= RUNNING_MAX;
        if self.more_wait {
            return false;
        }
        let (reactor, stream) = (self.reactor.clone(), entry.stream.clone());
        self.under_way.insert(stream.clone());
        self.running.spawn(async move {
            if let Err(error) = Box::pin(reactor.retry(entry)).await {
                tracing::warn!(%stream, %error, "Cannot store the outcome of a retried reaction; retrying again");
            }
            stream
        });
        true
    }

    fn end(&mut self, ended: Result<StreamName, tokio::task::JoinError>) {
        // The reactor catches panics of reactions. Any other panic is a fault of this module: the role ends.
        let stream = ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.under_way.remove(&stream);
    }
}

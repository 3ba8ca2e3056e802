//! The process manager: follows the log and runs the reaction to every event that has one.
//!
//! Reactions of one order, payment or receipt run one at a time, in the order of its stream; different streams
//! run concurrently. A reaction that keeps failing is parked in the operational store, and the later
//! ones of its stream wait behind it. The saved position lies before the first batch with a reaction that is
//! neither durable nor parked, so a crash repeats reactions and never skips one. Positions are stored apart
//! from projection checkpoints, so a rebuild replays no reaction.

mod follower;
mod measured;
mod patrol;
mod progress;
mod queues;
mod reactor;
mod retries;
mod share;
mod sweep;
mod timers;

use std::{sync::Arc, time::Duration};

use infra::{
    event_source::{EventSource, layout::SourceLayout},
    health::Health,
    operations::{Positions, parked::ParkedReactions},
    read_models::OverdueQueries,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::follower::REACTOR;
use self::{
    follower::Follower,
    patrol::Patrol,
    reactor::Reactor,
    retries::Retries,
    share::Share,
    sweep::{EndedOrders, PlacedOrders},
    timers::{DueOrders, HeldPayments, OpenPayments},
};
use crate::checkout::Checkout;

/// The parts that the process manager needs.
pub struct ProcessManager {
    pub checkout: Checkout,
    pub source: Box<dyn EventSource>,
    pub positions: Arc<dyn Positions>,
    pub parked: Arc<dyn ParkedReactions>,
    /// Maps streams to partitions. Where several processes share the partitions, each process sweeps only the
    /// orders and payments of its own.
    pub layout: Arc<dyn SourceLayout>,
    /// Gives the sweep and the timers their candidates.
    pub queries: Arc<dyn OverdueQueries>,
    pub health: Health,
    /// Minimum time between two batches of events. The handler that places an order runs its first reactions
    /// inline and usually finishes within this time. Without the pause, each such event would cost a waiting
    /// task.
    pub batch_every: Duration,
}

impl std::fmt::Debug for ProcessManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessManager").finish_non_exhaustive()
    }
}

impl ProcessManager {
    /// Runs until `shutdown`, then waits for the reactions under way. Ends earlier if one of its tasks ends:
    /// without it, work would be left undone in silence.
    pub async fn run(self, shutdown: CancellationToken) {
        self.checkout.handled_inline().enable();
        let stop = shutdown.child_token();
        let share = Share::new(Arc::clone(&self.layout));
        let reactor = Reactor::new(self.checkout.clone(), Arc::clone(&self.parked));
        let mut tasks = JoinSet::new();
        let parts = || (self.checkout.clone(), Arc::clone(&self.queries));
        let (checkout, queries) = parts();
        tasks.spawn(Patrol::new(EndedOrders { checkout, queries }, share.clone()).run(stop.clone()));
        let (checkout, queries) = parts();
        tasks.spawn(Patrol::new(PlacedOrders { checkout, queries }, share.clone()).run(stop.clone()));
        let (checkout, queries) = parts();
        tasks.spawn(Patrol::new(DueOrders { checkout, queries }, share.clone()).run(stop.clone()));
        if self.checkout.provider().is_some() {
            let (checkout, queries) = parts();
            tasks.spawn(Patrol::new(OpenPayments { checkout, queries }, share.clone()).run(stop.clone()));
            let (checkout, queries) = parts();
            tasks.spawn(Patrol::new(HeldPayments { checkout, queries }, share.clone()).run(stop.clone()));
        }
        let retries = Retries::new(reactor.clone(), share.clone(), self.health.clone());
        tasks.spawn(retries.run(stop.clone()));
        tasks.spawn(Follower::new(self, reactor, share, stop.clone()).run());
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = &ended {
                tracing::error!(%error, "A task of the process manager has died");
            }
            stop.cancel();
        }
    }
}

//! The process manager: follows the log and runs the reaction to every event that has one.
//!
//! Reactions of one order run one at a time, in the order of its stream; different orders run concurrently.
//! The saved position lies before the first batch with an unfinished reaction, so a crash repeats reactions
//! and never skips one. Positions are stored apart from projection checkpoints, so a rebuild replays no
//! reaction.

mod follower;
mod progress;
mod reactions;
mod share;
mod sweep;
mod timers;

use std::{sync::Arc, time::Duration};

use infra::{
    event_source::{EventSource, layout::SourceLayout},
    operations::Positions,
    read_models::OverdueQueries,
};
use tokio::time;
use tokio_util::sync::CancellationToken;

use self::{follower::Follower, share::Share, timers::Timers};
use crate::checkout::Checkout;

/// The parts that the process manager needs.
pub struct ProcessManager {
    pub checkout: Checkout,
    pub source: Box<dyn EventSource>,
    pub positions: Arc<dyn Positions>,
    /// Maps streams to partitions. Where several processes share the partitions, each process sweeps only the
    /// orders and payments of its own.
    pub layout: Arc<dyn SourceLayout>,
    /// Gives the sweep and the timers their candidates.
    pub queries: Arc<dyn OverdueQueries>,
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
    /// Runs until `shutdown`, then waits for the reactions under way.
    pub async fn run(self, shutdown: CancellationToken) {
        self.checkout.handled_inline().enable();
        let share = Share::new(Arc::clone(&self.layout));
        let sweeping = tokio::spawn(sweep::run(
            self.checkout.clone(),
            Arc::clone(&self.queries),
            share.clone(),
            shutdown.child_token(),
        ));
        let timers = Timers::new(self.checkout.clone(), Arc::clone(&self.queries), share.clone());
        let timing = tokio::spawn(timers.run(shutdown.child_token()));
        let mut follower = Follower::new(self, share, shutdown);
        follower.follow().await;
        follower.finish().await;
        for (name, task) in [("sweep", sweeping), ("timers", timing)] {
            if let Err(error) = task.await {
                tracing::error!(task = name, %error, "A task of the process manager panicked");
            }
        }
    }
}

/// Waits for `duration`, or until `shutdown`.
async fn pause(shutdown: &CancellationToken, duration: Duration) {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = time::sleep(duration) => {}
    }
}

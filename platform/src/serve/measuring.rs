//! The measurements of this process: for its admin address, and for the pages of its query API.

use std::{sync::Arc, time::Duration};

use domain::Timestamp;
use infra::event_store::EventLog;
use metrics_exporter_prometheus::PrometheusHandle;
use query_api::pages::Measurements;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{ServeConfig, StartError, admin, followers::Followers, parts::ReadSide, samples::Samples};
use crate::config::Role;

/// How often the samples of histograms are added up. Until then each takes 16 bytes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// How often the pages remember the figures, in times of [`UPKEEP_EVERY`]. See [`Measurements::sample`].
const SAMPLED_EVERY: u64 = 2;

/// What this process measures, and who is shown it.
#[derive(Clone)]
pub(super) struct Measuring {
    pub handle: PrometheusHandle,
    pub samples: Arc<Samples>,
    /// `None`: this process has no pages.
    pub pages: Option<Measurements>,
}

/// Begins to measure, before the parts of the process make their handles. `None` if the process has neither an admin
/// address nor pages.
pub(super) fn begin(config: &ServeConfig) -> Option<PrometheusHandle> {
    (config.admin_listen.is_some() || config.roles.has(Role::QueryApi)).then(admin::measurements)
}

impl Measuring {
    pub(super) fn new(
        config: &ServeConfig,
        handle: PrometheusHandle,
        log: Option<&Arc<dyn EventLog>>,
        read_side: Option<&ReadSide>,
    ) -> Result<Self, StartError> {
        let views = read_side.map(|read_side| &read_side.views);
        let followers = match (log, views) {
            (Some(log), Some(views)) => Some(Followers::open(config, log, views)?),
            _ => None,
        };
        let of_pages = handle.clone();
        let pages = Measurements::given_by(move || of_pages.render());
        Ok(Self {
            handle,
            samples: Arc::new(Samples::new(config, followers, views)),
            pages: config.roles.has(Role::QueryApi).then_some(pages),
        })
    }

    /// Adds up the samples of histograms until `shutdown`, also if no one asks for them, and lets the pages remember the
    /// figures.
    pub(super) async fn keep_up(self, shutdown: CancellationToken) {
        let mut rounds = 0_u64;
        while shutdown.run_until_cancelled(time::sleep(UPKEEP_EVERY)).await.is_some() {
            self.handle.run_upkeep();
            rounds += 1;
            if let Some(pages) = self.pages.as_ref().filter(|_| rounds.is_multiple_of(SAMPLED_EVERY)) {
                self.samples.read_cheap().await;
                pages.sample(Timestamp::now());
            }
        }
    }
}

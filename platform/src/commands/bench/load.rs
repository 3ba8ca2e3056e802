//! Runs clients side by side and collects their latencies.

use std::{future::Future, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::{task::JoinSet, time};

use crate::{commands::Failure, progress::ProgressDisplay};

/// Longer latencies count as this one.
const LATENCY_MAX: Duration = Duration::from_mins(1);
/// A run fails if it lasts this much longer than planned.
const OVERTIME_MAX: Duration = Duration::from_mins(1);

/// A histogram of latencies with three significant digits.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, micros(LATENCY_MAX), 3);
        Self(histogram.expect("the bounds and the precision are valid"))
    }

    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(micros(latency));
    }

    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    pub fn summary(&self) -> LatencySummary {
        let percentile = |percentile| in_ms(self.0.value_at_percentile(percentile));
        LatencySummary {
            count: self.0.len(),
            p50_ms: percentile(50.0),
            p90_ms: percentile(90.0),
            p99_ms: percentile(99.0),
            p99_9_ms: percentile(99.9),
            max_ms: in_ms(self.0.max()),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "a latency has far fewer than 2^53 microseconds")]
fn in_ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// How many requests were answered, and their latencies.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LatencySummary {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p99_9_ms: f64,
    pub max_ms: f64,
}

/// The rate and the latencies of a load.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LoadSummary {
    pub rate_per_s: f64,
    #[serde(flatten)]
    pub latency: LatencySummary,
}

impl LoadSummary {
    pub fn new(latencies: &Latencies, elapsed: Duration) -> Self {
        let latency = latencies.summary();
        Self { rate_per_s: per_second(latency.count, elapsed), latency }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a count of requests is far below 2^53")]
pub fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Runs all clients at once and waits for their ends. The first failure ends them all.
///
/// `duration` is the planned time. [`OVERTIME_MAX`] after it the run fails.
pub async fn run_clients<R: Send + 'static>(
    label: &'static str,
    duration: Duration,
    clients: impl IntoIterator<Item = impl Future<Output = Result<R, Failure>> + Send + 'static>,
) -> Result<Vec<R>, Failure> {
    let mut clients: JoinSet<_> = clients.into_iter().collect();
    let outputs = async {
        let mut outputs = Vec::with_capacity(clients.len());
        while let Some(output) = clients.join_next().await {
            outputs.push(output??);
        }
        Ok(outputs)
    };
    let overdue = |_| {
        Failure::new(format!("{label}: still running {} s after its planned end", OVERTIME_MAX.as_secs()))
    };
    time::timeout(duration + OVERTIME_MAX, outputs).await.map_err(overdue)?
}

/// Like [`run_clients`], and shows the seconds that have passed.
pub async fn run_load<R: Send + 'static>(
    label: &'static str,
    duration: Duration,
    clients: impl IntoIterator<Item = impl Future<Output = Result<R, Failure>> + Send + 'static>,
) -> Result<Vec<R>, Failure> {
    tokio::select! {
        outputs = run_clients(label, duration, clients) => outputs,
        never = show_seconds(label, duration) => never,
    }
}

async fn show_seconds<N>(label: &'static str, duration: Duration) -> N {
    let total = duration.as_secs();
    let progress = ProgressDisplay::start(label, total);
    let mut seconds = time::interval(Duration::from_secs(1));
    let mut passed = 0;
    loop {
        seconds.tick().await;
        progress.set(passed, total);
        passed = (passed + 1).min(total);
    }
}

//! Exports spans in batches, from a bounded queue.
//!
//! The end of a span never waits: if the queue is full, the span is dropped and counted. A batch that the collector does
//! not accept is lost and counted too.

mod target;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::{Resource, trace::SpanData};
use reqwest::Url;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::target::Target;
use crate::{
    log_limit::LogLimit,
    measurements::{Counter, TRACE_SPANS},
};

/// Spans that wait for their export. Each takes about 1 KiB.
const QUEUE_SPANS_MAX: usize = 4_096;
const BATCH_SPANS_MAX: usize = 512;
/// The longest time that the first span of a batch waits for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Time limit of the exports at shutdown.
const FLUSH_MAX: Duration = Duration::from_secs(5);

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// The tracer of this process. `None` if it exports no spans.
pub(super) fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceEndpoint {
    /// The URL of an OpenTelemetry collector. The path `/v1/traces` is added to it.
    Collector(Url),
    /// A file that gets one line with each batch, in the JSON form of OTLP.
    File(PathBuf),
}

/// What is exported, and where to.
#[derive(Debug, Clone)]
pub struct TraceExportOptions {
    pub endpoint: TraceEndpoint,
    /// Share of the requests without a caller's trace that begin a trace, 0 to 1.
    pub sample: f64,
    pub version: &'static str,
    /// The roles of this process.
    pub roles: Vec<String>,
}

/// Why no spans can be exported.
#[derive(Debug, thiserror::Error)]
pub enum TraceExportError {
    #[error("ORDERLY_OTLP_ENDPOINT: cannot write to {path}: {source}")]
    File { path: String, source: io::Error },
    #[error("ORDERLY_OTLP_ENDPOINT: {0}")]
    Client(Arc<str>),
    #[error("this process exports spans already")]
    Started,
}

/// The export of the spans of this process.
#[derive(Debug)]
pub struct TraceExport {
    stop: CancellationToken,
    exporting: JoinHandle<()>,
}

/// Samples requests, and queues spans.
pub(super) struct Tracer {
    pub scope: InstrumentationScope,
    sample: f64,
    queue: mpsc::Sender<SpanData>,
    dropped: Counter,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("sample", &self.sample).finish_non_exhaustive()
    }
}

impl Tracer {
    pub fn samples(&self) -> bool {
        fastrand::f64() < self.sample
    }

    pub fn export(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.dropped.increment(1);
        }
    }
}

impl TraceExport {
    /// Starts to export the spans of this process; at most once in a process. `None`: no spans are exported, and their
    /// measurements stay 0.
    pub fn start(options: Option<TraceExportOptions>) -> Result<Option<Self>, TraceExportError> {
        let [exported, dropped, failed] =
            ["exported", "dropped", "failed"].map(|outcome| TRACE_SPANS.with([outcome]));
        let Some(TraceExportOptions { endpoint, sample, version, roles }) = options else { return Ok(None) };
        let target = Target::open(endpoint, &resource(version, roles))?;
        let (queue, queued) = mpsc::channel(QUEUE_SPANS_MAX);
        let scope = InstrumentationScope::builder("orderly").with_version(version).build();
        TRACER.set(Tracer { scope, sample, queue, dropped }).map_err(|_| TraceExportError::Started)?;
        let stop = CancellationToken::new();
        let exporter = Exporter { queued, target, stop: stop.clone(), exported, failed };
        Ok(Some(Self { stop, exporting: tokio::spawn(exporter.run()) }))
    }

    /// Exports what is queued, within 5 s. Spans that end later are dropped.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if time::timeout(FLUSH_MAX, &mut self.exporting).await.is_err() {
            self.exporting.abort();
            tracing::warn!("The last spans are lost: the collector of traces did not accept them in time");
        }
    }
}

fn resource(version: &'static str, roles: Vec<String>) -> Resource {
    let roles = roles.into_iter().map(StringValue::from).collect();
    Resource::builder_empty()
        .with_service_name("orderly")
        .with_attributes([
            KeyValue::new("service.version", version),
            KeyValue::new("service.instance.id", Uuid::new_v4().to_string()),
            KeyValue::new("orderly.roles", Value::Array(Array::String(roles))),
        ])
        .build()
}

struct Exporter {
    queued: mpsc::Receiver<SpanData>,
    target: Target,
    stop: CancellationToken,
    exported: Counter,
    failed: Counter,
}

impl Exporter {
    async fn run(mut self) {
        loop {
            let batch = self.next_batch().await;
            if batch.is_empty() {
                return;
            }
            self.export(batch).await;
        }
    }

    /// Waits for a span, and then a moment for others. Empty after the stop, once the queue is.
    async fn next_batch(&mut self) -> Vec<SpanData> {
        let mut batch = Vec::new();
        let mut full_at = None;
        while batch.len() < BATCH_SPANS_MAX {
            if self.stop.is_cancelled() {
                self.queued.close();
            }
            let room = BATCH_SPANS_MAX - batch.len();
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if !self.queued.is_closed() => {}
                received = self.queued.recv_many(&mut batch, room) => {
                    if received == 0 {
                        break;
                    }
                    full_at.get_or_insert_with(|| Instant::now() + BATCH_DELAY);
                }
                () = time::sleep_until(full_at.unwrap_or_else(Instant::now)), if full_at.is_some() => break,
            }
        }
        batch
    }

    async fn export(&self, batch: Vec<SpanData>) {
        static FAILURES: LogLimit = LogLimit::new(Duration::from_mins(1));
        let spans = batch.len();
        match self.target.export(batch).await {
            Ok(()) => self.exported.increment(spans as u64),
            Err(error) => {
                self.failed.increment(spans as u64);
                if let Some(omitted) = FAILURES.pass() {
                    tracing::warn!(
                        spans,
                        error,
                        lines.omitted = omitted,
                        "Cannot export spans; they are lost"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The admin address of a process: `/metrics` in the text format of Prometheus, `/livez`, `/readyz`, `/version`, and the
//! statistics of the allocator.

use std::sync::{Arc, OnceLock};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::header::CONTENT_TYPE;
use infra::{
    event_store::EventLog,
    health::{Health, Readiness},
    http::{Code, Failure, Problem, answers::ReadinessProblems},
    measurements::{self, BUILD_INFO, Gauge, READY, ROLE_INFO, STORES_INFO},
    read_models::ProjectionQueries,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use mimalloc::MiMalloc;

use super::{ServeConfig, measuring::Measuring, parts::ReadSide, samples::Samples};
use crate::{
    VERSION,
    config::{BusUrl, EventStoreUrl, PaymentProviderUrl, ReadModelsUrl},
};

/// The measurements of this process. Handles that are made after the first use count in them.
pub(super) fn measurements() -> PrometheusHandle {
    static MEASUREMENTS: OnceLock<PrometheusHandle> = OnceLock::new();
    MEASUREMENTS.get_or_init(install).clone()
}

fn install() -> PrometheusHandle {
    let mut builder = PrometheusBuilder::new();
    for metric in measurements::ALL {
        if let Some(buckets) = metric.kind.buckets() {
            let matcher = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(matcher, buckets).expect("every list has a bucket");
        }
    }
    let installed = builder.install_recorder();
    measurements::describe();
    Collector::default().describe();
    installed.expect("no other part of the process records measurements")
}

/// What the admin address shows.
pub(super) struct Admin {
    measurements: PrometheusHandle,
    ready: Gauge,
    health: Health,
    log: Option<Arc<dyn EventLog>>,
    read_models: Option<Arc<dyn ProjectionQueries>>,
    samples: Arc<Samples>,
}

impl Admin {
    pub(super) fn new(
        config: &ServeConfig,
        measuring: &Measuring,
        health: Health,
        log: Option<&Arc<dyn EventLog>>,
        read_side: Option<&ReadSide>,
    ) -> Self {
        show_process(config);
        Self {
            measurements: measuring.handle.clone(),
            ready: READY.with([]),
            health,
            log: log.cloned(),
            read_models: read_side.map(|read_side| Arc::clone(&read_side.views.projections)),
            samples: Arc::clone(&measuring.samples),
        }
    }

    pub(super) fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/version", get(async || Json(VERSION)))
            .route("/debug/allocator", get(allocator))
            .with_state(Arc::new(self))
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    // Processor time, memory and open files, as they are now.
    Collector::default().collect();
    admin.ready.set(if admin.health.readiness().is_ok() { 1.0 } else { 0.0 });
    admin.samples.read().await;
    let content_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, admin.measurements.render()).into_response()
}

/// How much memory the allocator has reserved and committed, and its pages by size of block: JSON, as mimalloc writes it.
async fn allocator() -> Result<Response, Failure<ReadinessProblems>> {
    let statistics = MiMalloc::stats_json().map_err(|why| {
        tracing::error!(why, "Cannot read the statistics of the allocator");
        Problem::new(Code::Unavailable)
    })?;
    Ok(([(CONTENT_TYPE, "application/json")], statistics.to_bytes().to_vec()).into_response())
}

async fn ready(State(admin): State<Arc<Admin>>) -> Result<Json<Readiness>, Failure<ReadinessProblems>> {
    if let Some(log) = &admin.log {
        log.read_all(None, 1).await?;
    }
    if let Some(read_models) = &admin.read_models {
        read_models.checkpoints().await?;
    }
    Ok(Json(admin.health.readiness()?))
}

/// Shows which program this is, what it does, and with which stores.
fn show_process(config: &ServeConfig) {
    BUILD_INFO.with([env!("CARGO_PKG_VERSION")]).set(1.0);
    for role in config.roles.iter() {
        ROLE_INFO.with([&role.to_string()]).set(1.0);
    }
    let event_store = match config.event_store {
        EventStoreUrl::Sqlite(_) => "sqlite",
        EventStoreUrl::EventStoreDb(_) => "eventstoredb",
    };
    let bus = match config.bus {
        BusUrl::Direct => "direct",
        BusUrl::Kafka(_) => "kafka",
    };
    let read_models = match config.read_models {
        ReadModelsUrl::Sqlite(_) => "sqlite",
        ReadModelsUrl::Postgres(_) => "postgres",
    };
    let provider = match config.provider.payment_provider {
        PaymentProviderUrl::None => "none",
        PaymentProviderUrl::Sandbox | PaymentProviderUrl::SandboxAt(_) => "sandbox",
        PaymentProviderUrl::Stripe => "stripe",
    };
    STORES_INFO.with([event_store, bus, read_models, provider]).set(1.0);
}

//! The admin address of a process: `/metrics`, in the text format of Prometheus.

use std::sync::OnceLock;

use axum::{Router, response::IntoResponse, routing::get};
use http::header::CONTENT_TYPE;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// The measurements of this process. Counts from its first use.
pub(super) fn measurements() -> PrometheusHandle {
    static MEASUREMENTS: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let installed = PrometheusBuilder::new().install_recorder();
        installed.expect("no other part of the process records measurements")
    };
    MEASUREMENTS.get_or_init(install).clone()
}

pub(super) fn router(measurements: PrometheusHandle) -> Router {
    let metrics = async move || {
        // Processor time, memory and open files, as they are now.
        Collector::default().collect();
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], measurements.render()).into_response()
    };
    Router::new().route("/metrics", get(metrics))
}

//! What takes the spans: a collector, or a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::{
    tonic::trace::v1::TracesData,
    transform::{
        common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use reqwest::{Client, redirect};
use tokio::{task::spawn_blocking, time::timeout};

use super::{TraceEndpoint, TraceExportError};
use crate::tls;

/// Time limit of an export, with its retries.
const EXPORT_MAX: Duration = Duration::from_secs(10);
const CONNECT_MAX: Duration = Duration::from_secs(3);

pub(super) enum Target {
    Collector(Box<SpanExporter>),
    File { file: Arc<File>, resource: ResourceAttributesWithSchema },
}

impl Target {
    pub fn open(endpoint: TraceEndpoint, resource: &Resource) -> Result<Self, TraceExportError> {
        match endpoint {
            TraceEndpoint::Collector(url) => {
                let describe =
                    |error: &dyn std::fmt::Display| TraceExportError::Client(error.to_string().into());
                let tls =
                    tls::client_config(tls::roots_of_this_machine()).map_err(|error| describe(&error))?;
                let client = Client::builder()
                    .tls_backend_preconfigured(tls)
                    .redirect(redirect::Policy::none())
                    .connect_timeout(CONNECT_MAX)
                    .timeout(EXPORT_MAX)
                    .build()
                    .map_err(|error| describe(&error))?;
                let mut exporter = SpanExporter::builder()
                    .with_http()
                    .with_http_client(client)
                    .with_endpoint(format!("{}/v1/traces", url.as_str().trim_end_matches('/')))
                    .with_protocol(Protocol::HttpBinary)
                    .with_timeout(EXPORT_MAX)
                    .build()
                    .map_err(|error| describe(&error))?;
                exporter.set_resource(resource);
                Ok(Self::Collector(Box::new(exporter)))
            }
            TraceEndpoint::File(path) => {
                let opened = OpenOptions::new().append(true).create(true).open(&path);
                let file = opened
                    .map_err(|source| TraceExportError::File { path: path.display().to_string(), source })?;
                Ok(Self::File { file: Arc::new(file), resource: resource.into() })
            }
        }
    }

    /// Returns once the target has the spans. The error says why it has not.
    pub async fn export(&self, batch: Vec<SpanData>) -> Result<(), String> {
        match self {
            Self::Collector(exporter) => match timeout(EXPORT_MAX, exporter.export(batch)).await {
                Ok(exported) => exported.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", EXPORT_MAX.as_secs())),
            },
            Self::File { file, resource } => {
                let resource_spans = group_spans_by_resource_and_scope(batch, resource);
                let file = Arc::clone(file);
                let written = spawn_blocking(move || write_line(&file, &TracesData { resource_spans })).await;
                written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
            }
        }
    }
}

fn write_line(mut file: &File, spans: &TracesData) -> io::Result<()> {
    let mut line = serde_json::to_vec(spans)?;
    line.push(b'\n');
    file.write_all(&line)
}

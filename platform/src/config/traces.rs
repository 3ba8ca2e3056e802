//! Settings of the export of traces.

use std::{fmt, str::FromStr};

use clap::Args;
use infra::traces::{TraceEndpoint, TraceExportOptions};
use reqwest::Url;

use super::{
    Roles,
    urls::{SecretUrlParser, UnsupportedUrl},
};
use crate::VERSION;

/// Where the spans of `serve` go, and how many requests are traced.
#[derive(Debug, Clone, Args)]
pub struct TraceSettings {
    /// Collector of traces: `http://HOST:PORT` or `https://HOST:PORT` for OTLP over HTTP, or `file:FILE` for a file
    /// with OTLP as JSON, a batch in each line [default: none]
    #[arg(
        long,
        env = "ORDERLY_OTLP_ENDPOINT",
        value_name = "URL",
        value_parser = SecretUrlParser::<OtlpEndpoint>::new(),
        hide_env_values = true
    )]
    pub otlp_endpoint: Option<OtlpEndpoint>,

    /// Share of the requests that begin a trace, from 0 to 1. A request whose `traceparent` is sampled is always traced.
    #[arg(long, env = "ORDERLY_TRACE_SAMPLE", value_name = "RATIO", default_value_t = SampleRatio::DEFAULT)]
    pub trace_sample: SampleRatio,
}

impl TraceSettings {
    /// What a process with these roles exports. `None` without an endpoint.
    pub(crate) fn export(&self, roles: &Roles) -> Option<TraceExportOptions> {
        let OtlpEndpoint(endpoint) = self.otlp_endpoint.clone()?;
        let roles = roles.iter().map(|role| role.to_string()).collect();
        let SampleRatio(sample) = self.trace_sample;
        Some(TraceExportOptions { endpoint, sample, version: VERSION.version, roles })
    }
}

/// A collector of traces, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpEndpoint(pub TraceEndpoint);

impl FromStr for OtlpEndpoint {
    type Err = UnsupportedUrl;

    fn from_str(text: &str) -> Result<Self, UnsupportedUrl> {
        const SETTING: &str = "ORDERLY_OTLP_ENDPOINT";
        let expected =
            || UnsupportedUrl::new(SETTING, &"expected http://HOST:PORT, https://HOST:PORT or file:FILE");
        if let Some(path) = text.strip_prefix("file:") {
            let path = Some(path).filter(|path| !path.is_empty()).ok_or_else(expected)?;
            return Ok(Self(TraceEndpoint::File(path.into())));
        }
        let url: Url = text.parse().map_err(|_| expected())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(expected());
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            let problem = "the URL has a user name, a password or parameters; give a collector its credentials in \
                           OTEL_EXPORTER_OTLP_HEADERS";
            return Err(UnsupportedUrl::new(SETTING, &problem));
        }
        if url.path().ends_with("/v1/traces") {
            return Err(UnsupportedUrl::new(SETTING, &"leave /v1/traces out: it is added to the URL"));
        }
        Ok(Self(TraceEndpoint::Collector(url)))
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            TraceEndpoint::Collector(url) => f.write_str(url.as_str().trim_end_matches('/')),
            TraceEndpoint::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// A share of requests, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio(f64);

impl SampleRatio {
    /// One of a hundred requests.
    const DEFAULT: Self = Self(0.01);
}

impl FromStr for SampleRatio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Self).ok_or_else(|| "expected a number from 0 to 1, for example 0.01".to_owned())
    }
}

impl fmt::Display for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_collector_or_a_file() {
        for text in
            ["http://127.0.0.1:4318", "https://collector.example/otlp", "file:spans.jsonl", "file:/var/log/s"]
        {
            assert_eq!(text.parse::<OtlpEndpoint>().unwrap().to_string(), text);
        }
        for (text, reason) in [
            ("", "expected http"),
            ("collector:4318", "expected http"),
            ("grpc://collector:4317", "expected http"),
            ("file:", "expected http"),
            ("http://me:hunter2@collector:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("http://collector:4318?key=hunter2", "OTEL_EXPORTER_OTLP_HEADERS"),
            ("http://collector:4318/v1/traces", "leave /v1/traces out"),
        ] {
            let error = text.parse::<OtlpEndpoint>().unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn a_ratio_is_a_number_from_0_to_1() {
        for text in ["0", "0.01", "1"] {
            assert_eq!(text.parse::<SampleRatio>().unwrap().to_string(), text);
        }
        for text in ["", "-0.1", "1.1", "NaN", "1%", "inf"] {
            assert!(text.parse::<SampleRatio>().is_err(), "{text}");
        }
    }
}

//! The filter of log lines. A filter that names something unknown would silence the log, so it is refused.

use std::{fmt, str::FromStr};

use tracing::level_filters::LevelFilter;

use super::nearest::suggestion;

/// The crates of this project that log, and the target of the request log.
const OWN: &[&str] = &[
    "command_api",
    "domain",
    "infra",
    "orderly",
    "platform",
    "projectors",
    "query_api",
    "requests",
    "sandbox",
    "webhooks",
];
/// Libraries that log.
const LIBRARIES: &[&str] = &[
    "deadpool_postgres",
    "eventstore",
    "h2",
    "hyper",
    "hyper_util",
    "librdkafka",
    "mio",
    "rdkafka",
    "reqwest",
    "rustls",
    "tokio",
    "tokio_postgres",
    "tonic",
    "tower",
    "tower_http",
];
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// A filter that parses, and whose targets are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Err("expected a level or TARGET=LEVEL, for example info,command_api=debug".to_owned());
        }
        for part in &parts {
            check_target(part)?;
        }
        let filter = parts.join(",");
        infra::telemetry::check(&filter)?;
        Ok(Self(filter))
    }
}

/// Checks what stands before the level of one part: `TARGET`, `TARGET=LEVEL`, `[SPAN]=LEVEL` or `LEVEL`.
fn check_target(part: &str) -> Result<(), String> {
    let end = part.find(['=', '[']).unwrap_or(part.len());
    let target = &part[..end];
    if end == part.len() && target.parse::<LevelFilter>().is_ok() {
        return Ok(());
    }
    let first = target.split("::").next().unwrap_or(target);
    let known = || OWN.iter().chain(LIBRARIES).copied();
    if known().any(|known| known == first) || (target.is_empty() && part.starts_with('[')) {
        return Ok(());
    }
    let similar = suggestion(first, LEVELS.iter().copied().chain(known()));
    Err(format!("{target:?} is neither a level ({}) nor a part that logs{similar}", LEVELS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_matches_nothing_is_refused_with_the_nearest_name() {
        for filter in [
            "info",
            "OFF",
            "3",
            "warn,command_api=debug",
            "info,requests=debug",
            "info, infra::http=trace",
            "info,rdkafka",
            "info,[request]=debug",
            "info,command_api[request{request.id=1}]=trace",
        ] {
            assert!(filter.parse::<LogFilter>().is_ok(), "{filter}: {:?}", filter.parse::<LogFilter>());
        }
        for (filter, reason) in [
            ("warning", "did you mean warn?"),
            ("info,comand_api=debug", "did you mean command_api?"),
            ("info,command-api=debug", "did you mean command_api?"),
            ("info,command_api=warning", "level"),
            ("info,=", "neither a level"),
            ("info,=debug", "neither a level"),
            ("", "expected a level"),
            (",", "expected a level"),
        ] {
            let error = filter.parse::<LogFilter>().unwrap_err();
            assert!(error.contains(reason), "{filter}: {error}");
        }
        assert_eq!("info, requests=debug".parse::<LogFilter>().unwrap().as_str(), "info,requests=debug");
    }
}

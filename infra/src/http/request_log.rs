//! One log line for each request, an id that the caller, the answer and the log share, and the span of the request in
//! its trace.
//!
//! Every line that is logged while a handler runs has the id, so `grep` finds the cause of an error answer.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use domain::TraceParent;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use hyper::body::Body;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    log_limit::LogLimit,
    traces::{self, Attribute, ROLE, Span},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that a caller may choose.
const ID_BYTES_MAX: usize = 128;
/// The target of these lines in a log filter.
const TARGET: &str = "requests";
/// A request that takes as long is logged as a warning. `min_revision` waits up to 2 s in normal operation.
const SLOW: Duration = Duration::from_secs(5);

/// The routes whose requests may begin a trace. Those of health checks may not.
const TRACED: &str = "/v1/";

/// Runs a request under its id and in its trace, and logs it: at debug, or at warn if it was slow.
pub(super) async fn log_request(api: &'static str, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    // The template, without the ids in the path.
    let route = request.extensions().get::<MatchedPath>().cloned();
    // At the highest level: a filter that shows a line shows its id.
    let span = tracing::error_span!(
        "request",
        request.id = id.to_str().unwrap_or_default(),
        trace_id = tracing::field::Empty
    );
    let caller = traces::of_headers(request.headers());
    let mut traced = begin_span(api, &method, route.as_ref(), caller);
    if let Some(trace) = traced.context().or(caller) {
        span.record("trace_id", format_args!("{:032x}", trace.trace_id));
    }
    traced.describe(|| [Attribute::new("request.id", id.to_str().unwrap_or_default().to_owned())]);
    let mut response = traces::within(traced.context(), next.run(request).instrument(span.clone())).await;
    let status = response.status();
    traced.describe(|| [Attribute::new("http.response.status_code", i64::from(status.as_u16()))]);
    if status.is_server_error() {
        traced.fail(|| status.to_string());
    }
    response.headers_mut().insert(REQUEST_ID, id);
    span.in_scope(|| {
        let route = route.as_ref().map(MatchedPath::as_str);
        let bytes = response.body().size_hint().exact();
        log(method.as_str(), route, status, bytes, begun.elapsed());
    });
    response
}

fn begin_span(
    api: &'static str,
    method: &Method,
    route: Option<&MatchedPath>,
    caller: Option<TraceParent>,
) -> Span {
    let route = route.map(MatchedPath::as_str);
    let mut span = Span::of_request(caller, route.is_some_and(|route| route.starts_with(TRACED)));
    span.rename(|| format!("{method} {}", route.unwrap_or_default()).trim_end().to_owned());
    span.describe(|| {
        [
            Attribute::new(ROLE, format!("{api}-api")),
            Attribute::new("http.request.method", method.to_string()),
            Attribute::new("http.route", route.unwrap_or_default().to_owned()),
        ]
    });
    span
}

fn log(method: &str, route: Option<&str>, status: StatusCode, bytes: Option<u64>, duration: Duration) {
    static SLOW_LINES: LogLimit = LogLimit::new(Duration::from_secs(1));
    let status = status.as_u16();
    let duration_ms = duration.as_secs_f64() * 1_000.0;
    if duration >= SLOW
        && let Some(omitted) = SLOW_LINES.pass()
    {
        tracing::warn!(
            target: TARGET,
            duration_ms, http.method = method, http.route = route, http.status = status, answer.bytes = bytes,
            lines.omitted = omitted,
            "Answered a request slowly"
        );
    } else {
        tracing::debug!(
            target: TARGET,
            duration_ms, http.method = method, http.route = route, http.status = status, answer.bytes = bytes,
            "Answered a request"
        );
    }
}

/// The id that the caller has sent, if it can stand in a log line as it is, or else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    let is_id =
        |id: &&HeaderValue| (1..=ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(is_plain);
    let given = headers.get(REQUEST_ID).filter(is_id).cloned();
    given.unwrap_or_else(|| {
        let new = Uuid::now_v7().to_string();
        HeaderValue::try_from(new).expect("a UUID is visible ASCII")
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::EnvFilter;

    use super::*;

    /// A writer that the test reads.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_request_is_logged_as_a_warning_and_any_other_at_debug() {
        let (written, filter) = (Written::default(), EnvFilter::new("requests=debug"));
        let writer = written.clone();
        let log_of_test = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || writer.clone())
            .with_ansi(false);
        tracing::subscriber::with_default(log_of_test.finish(), || {
            log(
                "GET",
                Some("/v1/orders/{id}"),
                StatusCode::OK,
                Some(7),
                SLOW.saturating_sub(Duration::from_millis(1)),
            );
            log("POST", None, StatusCode::NOT_FOUND, None, SLOW);
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let [usual, slow] = lines[..] else { panic!("{lines:?}") };
        for part in [
            "DEBUG",
            "http.method=\"GET\"",
            "http.route=\"/v1/orders/{id}\"",
            "answer.bytes=7",
            "duration_ms=499",
        ] {
            assert!(usual.contains(part), "{part} is not in {usual}");
        }
        for part in ["WARN", "http.status=404", "duration_ms=5000"] {
            assert!(slow.contains(part), "{part} is not in {slow}");
        }
    }

    fn id_for(given: &'static str) -> HeaderValue {
        request_id(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static(given))]))
    }

    #[test]
    fn a_plain_id_of_the_caller_is_kept_and_any_other_is_replaced() {
        const LONGEST: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                               0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for id in ["7f3a", "Root=1-5759e988-bd862e3fe1be46a994272793", "a/b+c=", LONGEST] {
            assert_eq!(id_for(id), id);
        }
        for id in ["", "two words", "a\"b", "a,b", "{}", "a;b"] {
            let new = id_for(id);
            assert!(new.to_str().unwrap().parse::<Uuid>().is_ok(), "{id:?} became {new:?}");
        }
        let too_long = HeaderValue::try_from(format!("{LONGEST}0")).unwrap();
        let new = request_id(&HeaderMap::from_iter([(REQUEST_ID, too_long)]));
        assert_eq!(new.len(), 36);
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}

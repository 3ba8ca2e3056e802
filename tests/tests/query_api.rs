//! The query API over an in-memory fake of the read models: what HTTP adds, endpoint by endpoint.

mod adapters;
mod conventions;
mod documentation;
mod fake;
mod freshness;
mod orders;
mod payments;
mod rows;
mod sales;
mod stock;
mod stuck;
mod timeline;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use fake::FakeQueries;
use infra::{
    clock::Clock,
    event_store::{EventLog, ReadError},
};
use query_api::{LogAccess, Options, QueryApi};
use serde_json::Value;
use tokio::time::timeout;
use tower::ServiceExt;

/// A query API and the read models it answers from.
struct Api {
    router: Router,
    queries: Arc<FakeQueries>,
}

/// It is always the same time.
fn clock() -> Clock {
    Clock::given_by(|| rows::at("2026-01-01T00:10:00Z"))
}

/// A process that cannot reach the event store.
fn no_log() -> LogAccess {
    LogAccess::opened_by(|| async { Err(ReadError::Unavailable("there is none".into())) })
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Api {
    fn new() -> Self {
        Self::with_options(Options::default())
    }

    fn with_options(options: Options) -> Self {
        Self::with(no_log(), options)
    }

    fn over_log(log: Arc<dyn EventLog>) -> Self {
        Self::with(LogAccess::of(log), Options::default())
    }

    fn with(log: LogAccess, options: Options) -> Self {
        let queries = Arc::new(FakeQueries::default());
        let api = QueryApi::new(queries.clone(), Some(queries.clone()), log, clock(), options);
        Self { router: query_api::router(api), queries }
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    async fn method(&self, method: Method, uri: &str) -> Answer {
        self.send(Request::builder().method(method).uri(uri).body(Body::empty()).unwrap()).await
    }

    async fn get_if_none_match(&self, uri: &str, tags: &str) -> Answer {
        self.send(Request::get(uri).header(header::IF_NONE_MATCH, tags).body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        // A request that hangs is a failure, not a test run without an end.
        let answering = timeout(Duration::from_mins(1), self.router.clone().oneshot(request));
        let response = answering.await.expect("an answer within a minute").unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Follows `next_cursor` to the end: the items of every page.
    async fn pages(&self, uri: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut cursor = None;
        loop {
            let separator = if uri.contains('?') { '&' } else { '?' };
            let page = match cursor {
                None => self.get(uri).await,
                Some(cursor) => self.get(&format!("{uri}{separator}cursor={cursor}")).await,
            };
            let page = page.ok();
            pages.push(page["items"].as_array().unwrap().clone());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return pages;
            }
        }
    }

    /// One member of every item of every page.
    async fn walk(&self, uri: &str, member: &str) -> Vec<String> {
        let pages = self.pages(uri).await;
        pages.iter().flatten().map(|item| item[member].as_str().unwrap().to_owned()).collect()
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body of a success.
    fn ok(&self) -> Value {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, StatusCode::OK, "{body}");
        self.json()
    }

    fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body of a problem, after checking what every problem has.
    fn problem(&self, status: u16, code: &str) -> Value {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{body}");
        assert_eq!(self.header(header::CONTENT_TYPE), Some("application/problem+json"), "{body}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{body}");
        assert_eq!(problem["status"], status, "{body}");
        assert_eq!(problem["type"], format!("/problems/{code}"), "{body}");
        assert_eq!(self.headers.contains_key(header::RETRY_AFTER), status == 503, "{body}");
        problem
    }

    /// The fields that a problem of code `invalid_parameter` names.
    fn invalid_fields(&self) -> Vec<String> {
        let problem = self.problem(400, "invalid_parameter");
        let errors = problem["errors"].as_array().unwrap();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

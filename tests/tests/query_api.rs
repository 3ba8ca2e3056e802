//! The query API over an in-memory fake of the read models, endpoint by endpoint.

mod adapters;
mod conventions;
mod declines;
mod documentation;
mod events;
mod fake;
mod feed;
mod freshness;
mod orders;
mod payments;
mod reconciliations;
mod replica;
mod rows;
mod sales;
mod stock;
mod stuck;
mod summary;
mod tables;
mod timeline;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use fake::FakeQueries;
use infra::{
    clock::Clock,
    event_store::{EventLog, ReadError},
    health::Health,
};
use query_api::{LogAccess, QueryApi, QueryApiOptions};
use serde_json::Value;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::support::{Answer, PATIENCE, documented};

/// A query API and its read models.
struct Api {
    router: Router,
    queries: Arc<FakeQueries>,
}

/// A clock that always shows 00:10.
fn clock() -> Clock {
    Clock::given_by(|| rows::at("2026-01-01T00:10:00Z"))
}

/// A process that cannot reach the event store.
fn no_log() -> LogAccess {
    LogAccess::opened_by(|| async { Err(ReadError::Unavailable("there is none".into())) })
}

impl Api {
    fn new() -> Self {
        Self::with_options(QueryApiOptions::default())
    }

    fn with_options(options: QueryApiOptions) -> Self {
        Self::with(no_log(), options)
    }

    fn over_log(log: Arc<dyn EventLog>) -> Self {
        Self::with(LogAccess::of(log), QueryApiOptions::default())
    }

    fn with_health(health: Health) -> Self {
        Self::made(no_log(), QueryApiOptions::default(), health)
    }

    fn with(log: LogAccess, options: QueryApiOptions) -> Self {
        Self::made(log, options, Health::default())
    }

    fn made(log: LogAccess, options: QueryApiOptions, health: Health) -> Self {
        let queries = Arc::new(FakeQueries::default());
        let api = QueryApi::new(queries.clone(), Some(queries.clone()), log, clock(), options);
        Self {
            router: query_api::router(api.with_health(health).with_reconciliations(queries.clone())),
            queries,
        }
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

    /// Sends a request and checks that its operation documents the answer.
    async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        // A request that hangs fails its test instead of blocking the run.
        let answering = timeout(PATIENCE, self.router.clone().oneshot(request));
        let response = answering.await.expect("an answer in time").unwrap();
        let answer = Answer::of(response).await;
        documented::QUERY_API.check(&method, &path, &answer);
        answer
    }

    /// The items of every page, following `next_cursor` to the end.
    async fn pages(&self, uri: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut cursor = None;
        loop {
            let separator = if uri.contains('?') { '&' } else { '?' };
            let page = match cursor {
                None => self.get(uri).await,
                Some(cursor) => self.get(&format!("{uri}{separator}cursor={cursor}")).await,
            };
            let page = page.expect(200);
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

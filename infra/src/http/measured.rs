//! Counts and times the requests of an API.
//!
//! The series of a route are looked up by its template, so a request allocates nothing once its route, method and
//! status were seen.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{body::Body, extract::MatchedPath, response::Response};
use http::{Method, Request, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::measurements::{
    Counter, Gauge, HTTP_REQUEST_SECONDS, HTTP_REQUESTS, HTTP_REQUESTS_UNDER_WAY, Histogram,
};

/// The route of requests to paths that no route has.
const UNMATCHED: &str = "unmatched";

/// Adds the measurements to each route of a router.
#[derive(Debug, Clone)]
pub(super) struct MeasuredLayer(Arc<Measurements>);

impl MeasuredLayer {
    pub(super) fn of(api: &'static str) -> Self {
        let (under_way, routes) = (HTTP_REQUESTS_UNDER_WAY.with([api]), RwLock::default());
        Self(Arc::new(Measurements { api, under_way, routes }))
    }
}

impl<S> Layer<S> for MeasuredLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, measurements: Arc::clone(&self.0) }
    }
}

/// A route whose requests are measured.
#[derive(Debug, Clone)]
pub(super) struct Measured<S> {
    inner: S,
    measurements: Arc<Measurements>,
}

impl<S, B> Service<Request<Body>> for Measured<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answering<S::Future> {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let measurements = Arc::clone(&self.measurements);
        let request_under_way =
            RequestUnderWay { begun: Instant::now(), method: name_of(request.method()), route, measurements };
        request_under_way.measurements.under_way.increment(1.0);
        Answering { answer: self.inner.call(request), request: request_under_way }
    }
}

pin_project! {
    /// The answer of a measured route.
    pub(super) struct Answering<F> {
        #[pin]
        answer: F,
        request: RequestUnderWay,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answered = ready!(this.answer.poll(cx));
        if let Ok(answer) = &answered {
            this.request.answered(answer.status());
        }
        Poll::Ready(answered)
    }
}

/// Counts as under way until dropped, also if the client goes away before the answer.
struct RequestUnderWay {
    begun: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    measurements: Arc<Measurements>,
}

impl RequestUnderWay {
    fn answered(&self, status: StatusCode) {
        let route = self.route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
        self.measurements.count(route, self.method, status, self.begun.elapsed());
    }
}

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        self.measurements.under_way.decrement(1.0);
    }
}

#[derive(Debug)]
struct Measurements {
    api: &'static str,
    under_way: Gauge,
    /// The series of each route. A route has few methods and statuses.
    routes: RwLock<HashMap<String, Vec<Series>>>,
}

/// The requests of a route with one method and one status.
#[derive(Debug)]
struct Series {
    method: &'static str,
    status: StatusCode,
    requests: Counter,
    duration: Histogram,
}

impl Measurements {
    fn count(&self, route: &str, method: &'static str, status: StatusCode, took: Duration) {
        let is_it = |series: &&Series| series.status == status && series.method == method;
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = routes.get(route).and_then(|of_route| of_route.iter().find(is_it)) {
            return series.count(took);
        }
        drop(routes);
        let requests = HTTP_REQUESTS.with([self.api, method, route, status.as_str()]);
        let duration = HTTP_REQUEST_SECONDS.with([self.api, method, route]);
        let series = Series { method, status, requests, duration };
        series.count(took);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let of_route = routes.entry(route.to_owned()).or_default();
        // Another request may have added it since.
        if !of_route.iter().any(|known| is_it(&known)) {
            of_route.push(series);
        }
    }
}

impl Series {
    fn count(&self, took: Duration) {
        self.requests.increment(1);
        self.duration.record(took);
    }
}

/// The label of a method. Clients may send any word as a method, so unknown ones share a label.
fn name_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

//! The routes that all APIs share.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    middleware,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_swagger_ui::Config;

use super::{Document, Problem, cors, measured::MeasuredLayer, problem, request_log::log_request};

/// Adds `/openapi.json`, `/docs`, `/problems`, problem answers for unknown paths, unsupported methods and
/// panics, and the request log. Measures every request under the name `api`.
///
/// `/docs` loads nothing from other sites.
pub fn complete(api: &'static str, routes: Router, description: &Document) -> Router {
    routes
        .merge(docs(description))
        .merge(problem::pages())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        // One layer: axum boxes the future of each.
        .layer((
            MeasuredLayer::of(api),
            middleware::from_fn(move |request, next| log_request(api, request, next)),
            CatchPanicLayer::custom(problem::after_panic),
        ))
}

/// Serves the description and its page. All answers share their bytes.
fn docs(description: &Document) -> Router {
    const DOCUMENT: &str = "/openapi.json";
    let json = description.json();
    let config: SharedConfig = Arc::new(Config::from(DOCUMENT).validator_url("none"));
    Router::new()
        .merge(document_at(DOCUMENT, json))
        .route("/docs", get(async || Redirect::to("/docs/")))
        .route("/docs/", get(async |State(config)| page_file("", config)))
        .route("/docs/{*file}", get(async |Path(file): Path<String>, State(config)| page_file(&file, config)))
        .with_state(config)
}

/// Serves the document of several APIs, which a proxy serves as `/openapi.json` of its one host name.
pub fn combined(json: Bytes) -> Router {
    document_at("/openapi/combined.json", json)
}

fn document_at<S: Clone + Send + Sync + 'static>(path: &str, json: Bytes) -> Router<S> {
    Router::new().route(path, get(async || ([(CONTENT_TYPE, "application/json")], json)))
}

type SharedConfig = Arc<Config<'static>>;

fn page_file(name: &str, config: SharedConfig) -> Result<Response, Problem> {
    let file = utoipa_swagger_ui::serve(name, config).ok().flatten();
    let file = file.ok_or_else(|| Problem::no_such("page"))?;
    let mut response = ([(CONTENT_TYPE, file.content_type)], file.bytes).into_response();
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, cors::PAGE);
    Ok(response)
}

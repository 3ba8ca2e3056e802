//! The routes that all APIs share.

use axum::Router;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::problem;

/// Adds `/openapi.json`, `/docs`, `/problems`, and problem answers for unknown paths, unsupported methods and
/// panics.
///
/// `/docs` loads nothing from other sites.
pub fn complete(routes: Router, description: OpenApi) -> Router {
    let offline = Config::default().validator_url("none");
    let docs: Router = SwaggerUi::new("/docs").url("/openapi.json", description).config(offline).into();
    routes
        .merge(docs)
        .merge(problem::pages())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(CatchPanicLayer::custom(problem::after_panic))
}

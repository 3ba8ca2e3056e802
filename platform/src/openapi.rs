//! The OpenAPI document of both APIs together, for a proxy that serves them under one host name.

use std::sync::LazyLock;

use axum::Router;
use infra::http::{Document, site};

const DESCRIPTION: &str = "The command API and the query API of Orderly under one host name: reads (`GET`) of orders, \
    stock, payments, reports and projections go to the query API, everything else to the command API. Every command \
    that creates a resource or moves money or stock takes an `Idempotency-Key`. A retry with the same key and body gets \
    the first answer again. Errors are `application/problem+json` (RFC 9457) with a stable `code`.";

/// The paths under `/v1` of both APIs. Does not contain those of a single process, such as `/livez`.
pub fn combined() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        Document::combined("Orderly", DESCRIPTION, &[command_api::openapi(), query_api::openapi()])
    });
    &DOCUMENT
}

/// Serves the document. Both APIs have this route.
pub(crate) fn route() -> Router {
    site::combined(combined().json())
}

#[cfg(test)]
mod tests;

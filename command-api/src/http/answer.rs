//! The answer to an accepted command.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use domain::Revision;
use http::{HeaderName, HeaderValue, StatusCode, header};
use infra::http::etag;
use serde::Serialize;

/// Marks an answer as that of an earlier request with the same key.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A JSON answer with the headers of commands.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub status: StatusCode,
    pub body: T,
    /// For `ETag`.
    pub revision: Option<Revision>,
    /// For `Location`.
    pub location: Option<String>,
    /// For `Idempotent-Replayed`.
    pub replayed: bool,
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        if let Some(revision) = self.revision {
            headers.insert(header::ETAG, etag(revision));
        }
        if let Some(Ok(location)) = self.location.map(HeaderValue::try_from) {
            headers.insert(header::LOCATION, location);
        }
        if self.replayed {
            headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

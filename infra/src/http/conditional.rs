//! Entity tags of answers that have no revision, and compression.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest, Sha256};
use tower_http::compression::CompressionLayer;

/// Longest answer that gets a tag, in bytes. A page of a list is shorter.
const TAGGED_BYTES_MAX: usize = 64 << 20;
/// Bytes of the hash in a tag.
const TAG_BYTES: usize = 16;

/// Gives JSON and CSV answers under `/v1` an entity tag of their content, unless they have one, and answers 304 to a caller that has
/// this content. Compresses answers for callers that accept gzip.
pub fn tagged<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.layer((CompressionLayer::new(), middleware::from_fn(tag)))
}

async fn tag(request: Request, next: Next) -> Response {
    let is_query = request.method() == Method::GET && request.uri().path().starts_with("/v1/");
    let known = is_query.then(|| request.headers().clone());
    let response = next.run(request).await;
    let Some(known) = known.filter(|_| is_untagged_list(&response)) else { return response };
    let (mut parts, body) = response.into_parts();
    // The body is in memory already: it was not read from a stream.
    let Ok(bytes) = to_bytes(body, TAGGED_BYTES_MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let hash = Sha256::digest(&bytes);
    // Weak: an answer with the same content may be compressed.
    let tag = format!("W/\"{}\"", hex::encode(&hash[..TAG_BYTES]));
    let value = HeaderValue::from_str(&tag).expect("hex digits are visible ASCII");
    parts.headers.insert(header::ETAG, value);
    if has_content(&known, &tag) {
        parts.status = StatusCode::NOT_MODIFIED;
        for of_content in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
            parts.headers.remove(of_content);
        }
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn is_untagged_list(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_list = content_type
        .is_some_and(|value| value.starts_with("application/json") || value.starts_with("text/csv"));
    is_list && response.status() == StatusCode::OK && !response.headers().contains_key(header::ETAG)
}

/// Compares weakly, as RFC 9110 wants for GET.
fn has_content(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || opaque(known) == opaque(tag))
}

//! What every request of a browser passes: its session becomes a credential, and an error becomes a page.

use std::sync::Arc;

use axum::{
    body::to_bytes,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use super::{
    errors, session, url,
    view::{Preferences, View},
};
use crate::QueryApi;

/// Paths that programs call. Their answers are never pages.
const OF_PROGRAMS: [&str; 9] =
    ["/v1/", "/docs", "/openapi", "/problems", "/livez", "/readyz", "/version", "/assets/", "/metrics"];
/// More than any problem has.
const PROBLEM_BYTES_MAX: usize = 256 * 1024;

/// Wraps the whole router of the query API.
///
/// The API itself takes the session too: a page downloads lists and follows the feed from there. It only answers GET,
/// and the cookie is sent by pages of this server alone.
pub async fn surround(State(api): State<Arc<QueryApi>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if !parts.headers.contains_key(header::AUTHORIZATION)
        && let Some(session) = api.pages.session(&parts.headers, api.clock.now())
        && session::authorize(&mut parts, &session.credential).is_some()
    {
        parts.extensions.insert(session);
    }
    if is_of_programs(&parts.uri) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    if parts.method == Method::GET
        && let Some(kept) = Preferences::given(&parts.uri)
    {
        return (kept.headers, Redirect::to(&kept.rest)).into_response();
    }
    let wants_page = accepts_pages(&parts.headers);
    let view = View::of(&api, &parts);
    let method = parts.method.clone();
    let response = next.run(Request::from_parts(parts, body)).await;
    if !wants_page || !is_problem(&response) {
        return response;
    }
    if response.status() == StatusCode::UNAUTHORIZED && method == Method::GET {
        return Redirect::to(&format!("/login?next={}", url::value(&view.here()))).into_response();
    }
    as_page(&view, response).await
}

fn is_of_programs(uri: &Uri) -> bool {
    OF_PROGRAMS.iter().any(|prefix| uri.path().starts_with(prefix))
}

fn accepts_pages(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| range.trim().starts_with("text/html"))
}

fn is_problem(response: &Response) -> bool {
    let problem = HeaderValue::from_static("application/problem+json");
    response.headers().get(header::CONTENT_TYPE) == Some(&problem)
}

/// The same answer for people: its status and its headers stay.
async fn as_page(view: &View, response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let bytes = to_bytes(body, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let mut page = errors::page(view, head.status, &bytes);
    *page.status_mut() = head.status;
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    page.headers_mut().extend(head.headers);
    page
}

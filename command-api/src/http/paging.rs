//! Pages of a list. A cursor is the number of the last item seen, and names the list that it is of: with another it
//! would silently skip items, so it is refused.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use infra::http::{Code, Problem};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use super::CommandApi;

/// Items of a page where the caller does not say, and the most of them.
pub(super) const LIMIT_DEFAULT: usize = 50;
pub(super) const LIMIT_MAX: usize = 200;

/// The parameters after the `?`.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<CommandApi> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &CommandApi) -> Result<Self, Problem> {
        let refused = |error: axum::extract::rejection::QueryRejection| {
            Problem::new(Code::InvalidParameter).error("query", error.body_text())
        };
        Query::try_from_uri(&parts.uri).map(|Query(parameters)| Self(parameters)).map_err(refused)
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Listing<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; null when this is the last one.
    pub next_cursor: Option<String>,
}

/// How many items a page has.
pub(super) fn limit(asked_for: Option<usize>) -> Result<usize, Problem> {
    match asked_for.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        _ => Err(Problem::new(Code::InvalidParameter)
            .error("limit", format!("is not a whole number from 1 to {LIMIT_MAX}"))),
    }
}

/// The number that a page goes on after. `list` names the list with its filters.
pub(super) fn after(list: &str, cursor: Option<&str>) -> Result<Option<u64>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let number = || {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        text.strip_prefix(list)?.strip_prefix('#')?.parse().ok()
    };
    number().map(Some).ok_or_else(|| Problem::new(Code::InvalidCursor))
}

/// A page out of `rows`, of which there is one more than asked for if the list goes on.
pub(super) fn listing<R, T>(
    list: &str,
    mut rows: Vec<R>,
    limit: usize,
    number: impl Fn(&R) -> u64,
    item: impl Fn(&R) -> T,
) -> Listing<T> {
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| has_more).map(number);
    let next_cursor = last.map(|number| BASE64_URL_SAFE_NO_PAD.encode(format!("{list}#{number}")));
    Listing { items: rows.iter().map(item).collect(), next_cursor }
}

//! Pages of a list: how many items, and where the next page begins.
//!
//! A cursor is the key of the last item seen (keyset paging: no page gets slower than the first, and rows
//! that arrive meanwhile shift nothing). It is opaque to the caller, carries a version, and belongs to the
//! list and filters it was made for: with others it would silently skip rows, so it is refused.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use infra::read_models::Page;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    error::QueryError,
    parameters::{FromParameters, Parameters},
};

/// Items of a page where the caller does not say.
const LIMIT_DEFAULT: usize = 50;
/// The most items of a page.
const LIMIT_MAX: usize = 200;
/// Changes when the content of cursors does.
const VERSION: u8 = 1;

/// Which page of a list is wanted.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// The most items to answer with.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    pub limit: usize,
    /// `next_cursor` of the page before, with the same filters. Left out: the first page.
    #[param(value_type = Option<String>)]
    cursor: Option<String>,
    /// Names the list and its filters.
    #[param(ignore)]
    filters: Uuid,
}

impl FromParameters for Paging {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let limit = parameters.optional("limit", |text| match text.parse() {
            Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
            _ => Err(format!("is not a whole number from 1 to {LIMIT_MAX}")),
        });
        let cursor = parameters.optional("cursor", |text| Ok::<_, &str>(text.to_owned()));
        Some(Self { limit: limit.unwrap_or(LIMIT_DEFAULT), cursor, filters: parameters.filters() })
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; null when this is the last one.
    pub next_cursor: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor<K> {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "f")]
    filters: Uuid,
    #[serde(rename = "k")]
    key: K,
}

impl Paging {
    /// The key to continue after; none on the first page.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, QueryError> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let json = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| QueryError::InvalidCursor)?;
        let cursor: Cursor<K> = serde_json::from_slice(&json).map_err(|_| QueryError::InvalidCursor)?;
        if cursor.version != VERSION || cursor.filters != self.filters {
            return Err(QueryError::InvalidCursor);
        }
        Ok(Some(cursor.key))
    }

    /// The answer: `page` in its outer form, and a cursor after its last row where more follow.
    pub fn listing<'a, R, T, K: Serialize>(
        &self,
        page: &'a Page<R>,
        item: impl Fn(&'a R) -> T,
        key: impl Fn(&'a R) -> K,
    ) -> Listing<T> {
        let last = page.items.last().filter(|_| page.has_more);
        let next_cursor = last.map(|row| {
            let cursor = Cursor { version: VERSION, filters: self.filters, key: key(row) };
            let json = serde_json::to_vec(&cursor).expect("keys are strings and always serialise");
            BASE64_URL_SAFE_NO_PAD.encode(json)
        });
        Listing { items: page.items.iter().map(item).collect(), next_cursor }
    }
}

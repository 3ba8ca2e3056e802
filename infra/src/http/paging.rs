//! Pages of a list: the number of items, and where the next page begins.
//!
//! A cursor is the key of the last item of a page (keyset paging). Every page costs the same, and new rows
//! shift nothing. A cursor is opaque, has a version, and is valid only for its list and filters: with others
//! it would silently skip rows, so it is refused with `invalid_cursor`.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    Code, Problem, ProblemSource,
    parameters::{FromParameters, Parameters},
};

/// The codes of a cursor that is not valid for the list.
pub const REJECTIONS: &[Code] = &[Code::InvalidCursor];
/// Items of a page if the caller gives no limit.
const LIMIT_DEFAULT: usize = 50;
/// Most items of a page.
const LIMIT_MAX: usize = 200;
/// Increase it when the content of cursors changes.
const VERSION: u8 = 1;

/// The page that the caller wants.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// Most items of the answer.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    pub limit: usize,
    /// `next_cursor` of the previous page, with the same filters. If omitted: the first page.
    #[param(value_type = Option<String>)]
    cursor: Option<String>,
    /// Identifies the list and its filters.
    #[param(ignore)]
    list_id: Uuid,
}

impl FromParameters for Paging {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let limit = parameters.optional("limit", |text| match text.parse() {
            Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
            _ => Err(format!("is not a whole number from 1 to {LIMIT_MAX}")),
        });
        let cursor = parameters.optional("cursor", |text| Ok::<_, &str>(text.to_owned()));
        Some(Self { limit: limit.unwrap_or(LIMIT_DEFAULT), cursor, list_id: parameters.list_id() })
    }
}

/// A cursor that is malformed, of another list or filter, or of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCursor;

impl ProblemSource for InvalidCursor {
    const CODES: &'static [Code] = REJECTIONS;

    fn problem(self) -> Problem {
        Problem::new(Code::InvalidCursor)
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listing<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page. Null on the last page.
    pub next_cursor: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor<K> {
    #[serde(rename = "v")]
    version: u8,
    #[serde(rename = "f")]
    list_id: Uuid,
    #[serde(rename = "k")]
    key: K,
}

impl Paging {
    /// The key after which the page begins; none on the first page.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, InvalidCursor> {
        let Some(text) = &self.cursor else { return Ok(None) };
        let json = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let cursor: Cursor<K> = serde_json::from_slice(&json).map_err(|_| InvalidCursor)?;
        if cursor.version != VERSION || cursor.list_id != self.list_id {
            return Err(InvalidCursor);
        }
        Ok(Some(cursor.key))
    }

    /// The answer: each row as an item, and a cursor after the last row if more rows follow.
    pub fn listing<'a, R, T, K: Serialize>(
        &self,
        rows: &'a [R],
        has_more: bool,
        item: impl FnMut(&'a R) -> T,
        key: impl Fn(&'a R) -> K,
    ) -> Listing<T> {
        let last = rows.last().filter(|_| has_more);
        let next_cursor = last.map(|row| {
            let cursor = Cursor { version: VERSION, list_id: self.list_id, key: key(row) };
            let json = serde_json::to_vec(&cursor).expect("keys have string keys and no failing serializers");
            BASE64_URL_SAFE_NO_PAD.encode(json)
        });
        Listing { items: rows.iter().map(item).collect(), next_cursor }
    }

    /// Like [`Paging::listing`], for a query that reads one row more than `limit` to find out whether more
    /// follow.
    pub fn listing_of_one_more<'a, R, T, K: Serialize>(
        &self,
        rows: &'a [R],
        item: impl FnMut(&'a R) -> T,
        key: impl Fn(&'a R) -> K,
    ) -> Listing<T> {
        let shown = rows.len().min(self.limit);
        self.listing(&rows[..shown], rows.len() > shown, item, key)
    }
}

#[cfg(test)]
mod tests;

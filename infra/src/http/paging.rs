//! Pages of a list: the number of items, and where the next page begins.
//!
//! A cursor is the key of the last item of a page (keyset paging). Every page costs the same, and new rows
//! shift nothing. A cursor is opaque, has a version, and is valid only for its list and filters: with others
//! it would silently skip rows, so it is refused with `invalid_cursor`.

use std::ops::Deref;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        Object, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};
use uuid::Uuid;

use super::{
    Code, Problem, ProblemSource,
    parameters::{FromParameters, Parameters},
    tables::{self, Format, TableRow},
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

/// The page that the caller wants of a list that is also a table.
#[derive(Debug)]
pub struct TablePaging {
    paging: Paging,
    format: Format,
    /// The URL of the request, without a cursor.
    url: String,
}

impl FromParameters for TablePaging {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let paging = Paging::read(parameters)?;
        Some(Self { paging, format: parameters.format(), url: parameters.url_without_cursor() })
    }
}

impl IntoParams for TablePaging {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let words = Format::ALL.map(Format::as_str);
        let format = ParameterBuilder::new()
            .name("format")
            .parameter_in(ParameterIn::Query)
            .description(Some(
                "`csv`: a table with a header row, as also for `Accept: text/csv`. Lists and objects are cells with JSON.",
            ))
            .schema(Some(Object::builder().schema_type(Type::String).enum_values(Some(words))));
        Paging::into_params(parameter_in).into_iter().chain([format.build()]).collect()
    }
}

impl Deref for TablePaging {
    type Target = Paging;

    fn deref(&self) -> &Paging {
        &self.paging
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
        Listing { items: rows.iter().map(item).collect(), next_cursor: self.cursor_after(last.map(key)) }
    }

    /// The cursor of the page after this key.
    pub fn cursor_after<K: Serialize>(&self, key: Option<K>) -> Option<String> {
        let cursor = Cursor { version: VERSION, list_id: self.list_id, key: key? };
        let json = serde_json::to_vec(&cursor).expect("keys have string keys and no failing serializers");
        Some(BASE64_URL_SAFE_NO_PAD.encode(json))
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

impl TablePaging {
    /// The answer with a page, in the format that the caller wants.
    pub fn respond<T: TableRow>(&self, listing: &Listing<T>) -> Response {
        self.respond_with(listing, &listing.items, listing.next_cursor.as_deref())
    }

    /// The answer with a page: `listing` as JSON, or `items` as CSV.
    pub fn respond_with<T: TableRow>(
        &self,
        listing: &impl Serialize,
        items: &[T],
        next_cursor: Option<&str>,
    ) -> Response {
        let mut response = match self.format {
            Format::Json => Json(listing).into_response(),
            Format::Csv => csv_response(items),
        };
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("accept"));
        if let Some(cursor) = next_cursor {
            let separator = if self.url.contains('?') { '&' } else { '?' };
            let link = format!("<{}{separator}cursor={cursor}>; rel=\"next\"", self.url);
            headers.extend(HeaderValue::try_from(link).ok().map(|link| (header::LINK, link)));
        }
        response
    }
}

fn csv_response<T: TableRow>(items: &[T]) -> Response {
    match tables::csv(items) {
        Ok(table) => {
            ([(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], table).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "A list cannot be written as CSV");
            Problem::new(Code::Internal).into_response()
        }
    }
}

#[cfg(test)]
mod tests;

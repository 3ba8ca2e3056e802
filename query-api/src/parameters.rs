//! Strict parameters: whatever is unknown, repeated or malformed is refused by name, all of it at once.
//!
//! A misspelt filter that is ignored answers another question than the one asked. `axum::extract::Query`
//! stops at the first error and replaces bytes that are not UTF-8, so it is not used here.

use std::fmt::Display;

use axum::extract::{FromRequestParts, Path};
use domain::{OrderId, PaymentId, Sku, Timestamp};
use http::{Uri, request};
use infra::http::FieldError;
use jiff::{civil::Date, tz::TimeZone};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::error::QueryError;

/// More parameters than any endpoint has; bounds the work that a hostile URL causes.
const PARAMETERS_MAX: usize = 32;

/// Parameters read from a query string; the extractor refuses the request where `T` cannot be read.
#[derive(Debug)]
pub struct Params<T>(pub T);

/// What can be read from a query string.
pub trait FromParameters: Sized {
    /// Takes every parameter it knows. Whatever is missing or malformed is noted in `parameters`, and the
    /// request is refused; only then may the answer be none.
    fn read(parameters: &mut Parameters) -> Option<Self>;
}

/// An endpoint without parameters.
impl FromParameters for () {
    fn read(_: &mut Parameters) -> Option<Self> {
        Some(())
    }
}

impl<S: Send + Sync, T: FromParameters> FromRequestParts<S> for Params<T> {
    type Rejection = QueryError;

    async fn from_request_parts(parts: &mut request::Parts, _: &S) -> Result<Self, QueryError> {
        let mut parameters = Parameters::parse(&parts.uri);
        let read = T::read(&mut parameters);
        match (read, parameters.errors()) {
            (Some(read), errors) if errors.is_empty() => Ok(Self(read)),
            (_, errors) => Err(QueryError::InvalidParameters(errors)),
        }
    }
}

/// The parameters of a request and what is wrong with them.
#[derive(Debug)]
pub struct Parameters {
    path: String,
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Parameters {
    fn parse(uri: &Uri) -> Self {
        let path = uri.path().to_owned();
        let mut parameters = Self { path, given: Vec::new(), known: Vec::new(), errors: Vec::new() };
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        for (index, pair) in pairs.enumerate() {
            if index == PARAMETERS_MAX {
                parameters.refuse("query", format!("has more than {PARAMETERS_MAX} parameters"));
                break;
            }
            parameters.add(pair);
        }
        parameters
    }

    fn add(&mut self, pair: &str) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = decoded(name) else {
            return self.refuse("query", "has a name that is not UTF-8 or not percent-encoded");
        };
        match decoded(value) {
            None => self.refuse(&name, "is not UTF-8 or not percent-encoded"),
            Some(_) if self.given.iter().any(|(other, _)| *other == name) => {
                self.refuse(&name, "is given more than once");
            }
            Some(value) => self.given.push((name, value)),
        }
    }

    /// Notes that a parameter is not valid.
    pub fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError { field: name.to_owned(), message: message.into() });
    }

    /// Reads a parameter that may be left out.
    pub fn optional<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.known.push(name);
        let (_, value) = self.given.iter().find(|(given, _)| given == name)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(name, error.to_string());
                None
            }
        }
    }

    /// Reads a parameter that may not be left out.
    pub fn required<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let is_given = self.given.iter().any(|(given, _)| given == name);
        if !is_given {
            self.refuse(name, "is required");
        }
        self.optional(name, parse)
    }

    /// Names the resource and the filters, whatever their order: what a cursor belongs to.
    pub fn filters(&self) -> Uuid {
        let mut filters: Vec<_> =
            self.given.iter().filter(|(name, _)| !matches!(name.as_str(), "cursor" | "limit")).collect();
        filters.sort_unstable();
        let name = serde_json::to_vec(&(&self.path, filters)).expect("strings always serialise");
        Uuid::new_v5(&Uuid::NAMESPACE_URL, &name)
    }

    /// What is wrong, once every known parameter was read: the rest is unknown.
    fn errors(mut self) -> Vec<FieldError> {
        let known = std::mem::take(&mut self.known);
        let unknown: Vec<_> = self
            .given
            .iter()
            .map(|(name, _)| name.clone())
            .filter(|name| !known.contains(&name.as_str()))
            .collect();
        for name in unknown {
            let message = match known.as_slice() {
                [] => "is unknown: there are no parameters here".to_owned(),
                known => format!("is unknown; there are {}", known.join(", ")),
            };
            self.refuse(&name, message);
        }
        self.errors
    }
}

/// A form-encoded text; none where it is no UTF-8 or has a `%` that begins no escape.
fn decoded(text: &str) -> Option<String> {
    let mut after_percent_signs = text.split('%').skip(1);
    let escapes_are_whole = after_percent_signs.all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !escapes_are_whole {
        return None;
    }
    percent_decode_str(&text.replace('+', " ")).decode_utf8().ok().map(Into::into)
}

/// One of the values of a vocabulary, by its name.
pub fn one_of<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    let found = all.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|value| name(*value)).collect();
        format!("is none of {}", names.join(", "))
    })
}

/// A whole number from 0 to `u32::MAX`.
pub fn whole_number(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "is not a whole number from 0 to 4294967295")
}

/// An instant (RFC 3339) or a date, which stands for its beginning in UTC.
pub fn instant(text: &str) -> Result<Timestamp, &'static str> {
    let is_date = text.len() == "2010-12-01".len();
    let at = if is_date {
        let midnight = |date: Date| date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
        text.parse().and_then(midnight)
    } else {
        text.parse()
    };
    at.map_err(
        |_| "is neither an RFC 3339 instant, such as 2010-12-01T08:26:00Z, nor a date, such as 2010-12-01",
    )
}

/// Notes a range without an instant in it.
pub fn check_range(
    parameters: &mut Parameters,
    from: Option<Timestamp>,
    (to_name, to): (&'static str, Option<Timestamp>),
) {
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        parameters.refuse(to_name, "is exclusive and has to be later than the beginning of the range");
    }
}

/// The id in a path. A text that can name no resource is answered like the name of a missing one: 404.
#[derive(Debug)]
pub struct Id<T>(pub T);

/// What names a resource in a path.
pub trait PathId: Sized {
    /// The resource it names, for error answers.
    const RESOURCE: &'static str;
    fn parse(text: &str) -> Option<Self>;
}

impl PathId for OrderId {
    const RESOURCE: &'static str = "order";
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl PathId for PaymentId {
    const RESOURCE: &'static str = "payment";
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl PathId for Sku {
    const RESOURCE: &'static str = "SKU";
    fn parse(text: &str) -> Option<Self> {
        Self::new(text).ok()
    }
}

impl<S: Send + Sync, T: PathId> FromRequestParts<S> for Id<T> {
    type Rejection = QueryError;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, QueryError> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| QueryError::invalid("path", "is not UTF-8 or not percent-encoded"))?;
        T::parse(&text).map(Self).ok_or(QueryError::NoSuchResource(T::RESOURCE))
    }
}

#[cfg(test)]
mod tests;

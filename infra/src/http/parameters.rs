//! Strict query parameters: one answer names every unknown, repeated and malformed parameter.
//!
//! An ignored misspelt filter would return rows that the caller did not ask for. `axum::extract::Query` stops
//! at the first error and replaces bytes that are not UTF-8, so the kit does not use it.

use std::fmt::Display;

use axum::extract::FromRequestParts;
use domain::Timestamp;
use http::{Uri, request::Parts};
use jiff::{civil::Date, tz::TimeZone};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use uuid::Uuid;

use super::{Code, FieldError, Problem, tables::Format};

/// The codes of a query string that is not valid.
pub const REJECTIONS: &[Code] = &[Code::InvalidParameter];

/// More parameters than any endpoint has. Bounds the work that a hostile URL causes.
const PARAMETERS_MAX: usize = 32;

/// The parameters of a query string. The extractor refuses the request if one of them is not valid.
#[derive(Debug)]
pub struct Params<T>(pub T);

/// Parameters of an endpoint, or of several.
pub trait FromParameters: Sized {
    /// Reads all its parameters and records each missing or malformed one in `parameters`.
    ///
    /// Returns `None` only after recording an error; the request is then refused.
    fn read(parameters: &mut Parameters) -> Option<Self>;
}

/// An endpoint without parameters.
impl FromParameters for () {
    fn read(_: &mut Parameters) -> Option<Self> {
        Some(())
    }
}

impl<S: Send + Sync, T: FromParameters> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut parameters = Parameters::parse(&parts.uri);
        parameters.accepted = Format::accepted(&parts.headers);
        let read = T::read(&mut parameters);
        match (read, parameters.errors()) {
            (Some(read), errors) if errors.is_empty() => Ok(Self(read)),
            (_, errors) => {
                let problem = Problem::new(Code::InvalidParameter);
                Err(errors.into_iter().fold(problem, Problem::wrong))
            }
        }
    }
}

/// The parameters of a request, and the errors found in them.
#[derive(Debug)]
pub struct Parameters {
    path: String,
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
    /// What the headers ask for.
    accepted: Format,
}

impl Parameters {
    pub(super) fn parse(uri: &Uri) -> Self {
        let path = uri.path().to_owned();
        let (given, known, errors) = (Vec::new(), Vec::new(), Vec::new());
        let mut parameters = Self { path, given, known, errors, accepted: Format::default() };
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

    /// Records that a parameter is not valid.
    pub fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::of_parameter(name, message));
    }

    /// Reads an optional parameter.
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

    /// Reads a required parameter.
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

    /// The format of a list: that of `format`, or else the one that the caller accepts.
    pub fn format(&mut self) -> Format {
        let given = self.optional("format", |text| one_of(text, &Format::ALL, Format::as_str));
        given.unwrap_or(self.accepted)
    }

    /// The URL of the request, without a cursor.
    pub fn url_without_cursor(&self) -> String {
        let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let others = self.given.iter().filter(|(name, _)| name != "cursor");
        let pairs: Vec<String> =
            others.map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        let separator = if pairs.is_empty() { "" } else { "?" };
        format!("{}{separator}{}", self.path, pairs.join("&"))
    }

    /// Identifies the list and its filters, in any order. A cursor is valid for one such id.
    pub fn list_id(&self) -> Uuid {
        let mut filters: Vec<_> = self
            .given
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "cursor" | "limit" | "format"))
            .collect();
        filters.sort_unstable();
        let name = serde_json::to_vec(&(&self.path, filters)).expect("strings always serialise");
        Uuid::new_v5(&Uuid::NAMESPACE_URL, &name)
    }

    /// All errors. Call it after every known parameter was read: the rest counts as unknown.
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

/// Decodes form-encoded text. `None` if it is not UTF-8 or has a `%` without two hex digits.
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

/// Finds a value by its name, or lists all names.
pub fn one_of<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    let found = all.iter().copied().find(|value| name(*value) == text);
    found.ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|value| name(*value)).collect();
        format!("is none of {}", names.join(", "))
    })
}

/// Finds values by their names, which commas separate. Each value comes once.
pub fn several_of<T: Copy + PartialEq>(
    text: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let mut found = Vec::new();
    for word in text.split(',') {
        let value = one_of(word, all, &name)?;
        if !found.contains(&value) {
            found.push(value);
        }
    }
    Ok(found)
}

/// A whole number from 0 to `u32::MAX`.
pub fn whole_number(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "is not a whole number from 0 to 4294967295")
}

/// An instant (RFC 3339), or a date, which means its midnight in UTC.
pub fn instant(text: &str) -> Result<Timestamp, &'static str> {
    local_instant(text, &TimeZone::UTC)
}

/// An instant (RFC 3339), or a date, which means the first instant of this day in a time zone.
pub fn local_instant(text: &str, zone: &TimeZone) -> Result<Timestamp, &'static str> {
    let is_date = text.len() == "2010-12-01".len();
    let at = if is_date {
        let start = |date: Date| date.to_zoned(zone.clone()).map(|zoned| zoned.timestamp());
        text.parse().and_then(start)
    } else {
        text.parse()
    };
    at.map_err(
        |_| "is neither an RFC 3339 instant, such as 2010-12-01T08:26:00Z, nor a date, such as 2010-12-01",
    )
}

/// Records an error if the range contains no instant.
pub fn check_range<T: PartialOrd>(
    parameters: &mut Parameters,
    from: Option<T>,
    (to_name, to): (&'static str, Option<T>),
) {
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        parameters.refuse(to_name, "is exclusive and must be later than the start of the range");
    }
}

#[cfg(test)]
mod tests;

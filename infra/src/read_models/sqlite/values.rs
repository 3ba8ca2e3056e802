//! Conversions between values and columns, shared by all subjects.

use domain::{Currency, Position, Revision, Sku, Timestamp};
use rusqlite::{
    ErrorCode, Row, ToSql,
    types::{FromSqlError, ToSqlOutput, Type, ValueRef},
};
use serde::de::DeserializeOwned;

use crate::read_models::{ReadModelError, list_sql::Bound};

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Time(number) | Self::Number(number) => number.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::Id(id) => id.to_sql(),
        }
    }
}

pub(super) fn signed_position(position: Option<Position>) -> Option<i64> {
    position.map(u64::cast_signed)
}

pub(super) fn position(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Position>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
}

pub(super) fn revision(row: &Row<'_>, column: usize) -> rusqlite::Result<Revision> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let microseconds: i64 = row.get(column)?;
    Timestamp::from_microsecond(microseconds).map_err(|error| conversion(column, Type::Integer, error))
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let stored = row.get_ref(column)? != ValueRef::Null;
    stored.then(|| time(row, column)).transpose()
}

/// The value that a number stands for.
pub(super) fn coded<T>(
    row: &Row<'_>,
    column: usize,
    what: &str,
    of_code: impl Fn(i64) -> Option<T>,
) -> rusqlite::Result<T> {
    let code: i64 = row.get(column)?;
    of_code(code).ok_or_else(|| unreadable(what, &code.to_string()))
}

pub(super) fn sku(row: &Row<'_>, column: usize) -> rusqlite::Result<Sku> {
    sku_of(row.get_ref(column)?.as_str()?)
}

pub(super) fn sku_of(text: &str) -> rusqlite::Result<Sku> {
    Sku::new(text).map_err(|_| unreadable("SKU", text))
}

pub(super) fn currency(row: &Row<'_>, column: usize) -> rusqlite::Result<Currency> {
    let currency: Result<Currency, _> = row.get_ref(column)?.as_str()?.parse();
    currency.map_err(|error| conversion(column, Type::Text, error))
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| conversion(column, Type::Text, error))
}

pub(super) fn conversion(
    column: usize,
    stored_as: Type,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, stored_as, Box::new(error))
}

pub(super) fn unreadable(what: &str, text: &str) -> rusqlite::Error {
    FromSqlError::Other(format!("{text:?} is not a {what}").into()).into()
}

impl From<rusqlite::Error> for ReadModelError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string().into();
        if is_of_one_row(&error) {
            return Self::Row(text);
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(text),
            _ => Self::Unavailable(text),
        }
    }
}

/// True if SQLite refuses a value, or if a stored value cannot be read.
fn is_of_one_row(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::ToSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
    ) || matches!(code, Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig))
}

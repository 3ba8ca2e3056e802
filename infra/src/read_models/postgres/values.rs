//! Conversions between values and columns, and short queries, shared by all subjects.

use bytes::BytesMut;
use deadpool_postgres::Object;
use domain::{Currency, Position, Revision, Sku, Timestamp};
use postgres_types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use rust_decimal::Decimal;
use tokio_postgres::Row;

use crate::{
    postgres::Timestamptz,
    read_models::{ReadModelError, RowPage, list_sql::Bound},
};

pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The row of a key, if there is one.
pub(super) async fn one<T>(
    client: &Object,
    sql: &str,
    key: Values<'_>,
    read: fn(&Row) -> Result<T, ReadModelError>,
) -> Result<Option<T>, ReadModelError> {
    let statement = client.prepare_cached(sql).await?;
    client.query_opt(&statement, key).await?.as_ref().map(read).transpose()
}

pub(super) async fn all<T>(
    client: &Object,
    sql: &str,
    values: Values<'_>,
    read: fn(&Row) -> Result<T, ReadModelError>,
) -> Result<Vec<T>, ReadModelError> {
    let statement = client.prepare_cached(sql).await?;
    client.query(&statement, values).await?.iter().map(read).collect()
}

/// One page of a list whose SQL fetches one row more than `limit`.
pub(super) async fn page<T>(
    client: &Object,
    sql: &str,
    values: Values<'_>,
    limit: usize,
    read: fn(&Row) -> Result<T, ReadModelError>,
) -> Result<RowPage<T>, ReadModelError> {
    Ok(RowPage::cut(all(client, sql, values, read).await?, limit))
}

/// A column of a row.
pub(super) fn cell<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, ReadModelError> {
    row.try_get(column).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        unreadable(format!("{error}: {cause}"))
    })
}

/// The value that a number of 16 bits stands for.
pub(super) fn coded<T>(
    row: &Row,
    column: usize,
    what: &str,
    of_code: impl Fn(i64) -> Option<T>,
) -> Result<T, ReadModelError> {
    let code: i16 = cell(row, column)?;
    of_code(code.into()).ok_or_else(|| unreadable(format!("{code} is not a {what}")))
}

/// The values of a statement, as Postgres takes them.
pub(super) fn bound(values: &[Bound]) -> Vec<Box<dyn ToSql + Sync + Send>> {
    let value = |value: &Bound| -> Box<dyn ToSql + Sync + Send> {
        match value {
            Bound::Time(microseconds) => Box::new(Timestamptz::of_microsecond(*microseconds)),
            Bound::Number(number) => Box::new(*number),
            Bound::Text(text) => Box::new(text.clone()),
            Bound::Id(id) => Box::new(*id),
        }
    };
    values.iter().map(value).collect()
}

pub(super) fn signed_position(position: Option<Position>) -> Option<i64> {
    position.map(u64::cast_signed)
}

pub(super) fn position(row: &Row, column: usize) -> Result<Option<Position>, ReadModelError> {
    Ok(cell::<Option<i64>>(row, column)?.map(i64::cast_unsigned))
}

pub(super) fn revision(row: &Row, column: usize) -> Result<Revision, ReadModelError> {
    Ok(cell::<i64>(row, column)?.cast_unsigned())
}

pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp, ReadModelError> {
    let time: Timestamptz = cell(row, column)?;
    time.timestamp().map_err(|error| unreadable(error.to_string()))
}

pub(super) fn optional_time(row: &Row, column: usize) -> Result<Option<Timestamp>, ReadModelError> {
    let time: Option<Timestamptz> = cell(row, column)?;
    time.map(Timestamptz::timestamp).transpose().map_err(|error| unreadable(error.to_string()))
}

/// The text of a column of type `json`.
#[derive(Debug)]
pub(super) struct JsonText<'a>(pub &'a str);

impl ToSql for JsonText<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    accepts!(JSON);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for JsonText<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(std::str::from_utf8(raw)?))
    }

    accepts!(JSON);
}

pub(super) fn json_text(row: &Row, column: usize) -> Result<String, ReadModelError> {
    cell::<JsonText<'_>>(row, column).map(|JsonText(text)| text.to_owned())
}

pub(super) fn sku_of(text: &str) -> Result<Sku, ReadModelError> {
    Sku::new(text).map_err(|_| unreadable(format!("{text:?} is not a SKU")))
}

pub(super) fn currency(row: &Row, column: usize) -> Result<Currency, ReadModelError> {
    let currency: Result<Currency, _> = cell::<&str>(row, column)?.parse();
    currency.map_err(|error| unreadable(error.to_string()))
}

/// Sums of money, as Postgres adds them.
pub(super) fn amounts<const N: usize>(row: &Row, first: usize) -> Result<[i128; N], ReadModelError> {
    let mut amounts = [0; N];
    for (index, amount) in amounts.iter_mut().enumerate() {
        *amount = cell::<Decimal>(row, first + index)?.mantissa();
    }
    Ok(amounts)
}

/// Money of a sum. `numeric(28)` and [`Decimal`] hold 28 digits, which 10^12 orders of the largest amount have.
fn decimal(money: i128) -> Result<Decimal, ReadModelError> {
    Decimal::try_from_i128_with_scale(money, 0)
        .map_err(|_| unreadable(format!("{money} is more money than a row can hold")))
}

/// A column of money for each of `N` amounts.
pub(super) fn money_columns<const N: usize>(
    amounts: impl Iterator<Item = [i128; N]>,
) -> Result<[Vec<Decimal>; N], ReadModelError> {
    let mut columns = [const { Vec::new() }; N];
    for amounts in amounts {
        for (column, amount) in columns.iter_mut().zip(amounts) {
            column.push(decimal(amount)?);
        }
    }
    Ok(columns)
}

pub(super) fn quantity(row: &Row, column: usize) -> Result<u32, ReadModelError> {
    let stored: i64 = cell(row, column)?;
    u32::try_from(stored).map_err(|_| unreadable(format!("{stored} is not a quantity")))
}

pub(super) fn unreadable(text: String) -> ReadModelError {
    ReadModelError::Row(text.into())
}

//! Columns of sums. SQLite adds 64 bits at most, and sums of money have more.
//!
//! An amount has two columns: `name_high * 2^32 + name`, where `name` is between 0 and 2^32 - 1. A sum of either over
//! 2^31 rows fits in 64 bits.

use rusqlite::{Row, types::Value};

use crate::read_models::ReadModelError;

/// Bits of the low column.
const LOW_BITS: u32 = 32;

/// Sums of the columns, in the order that [`counts`] and [`amounts`] read.
pub(super) fn sums_of(counts: &[&str], money: &[&str]) -> String {
    let counts = counts.iter().map(|name| format!("sum({name})"));
    let money = money.iter().map(|name| format!("sum({name}_high), sum({name})"));
    counts.chain(money).collect::<Vec<_>>().join(", ")
}

/// Adds a row to the row with its key. The parameters are the key, the counts and the [`columns_of`] each amount.
pub(super) fn add_sql(table: &str, key: &[&str], counts: &[&str], money: &[&str]) -> String {
    let high = |name: &str| format!("{name}_high");
    let columns = money.iter().flat_map(|name| [high(name), (*name).to_owned()]);
    let plain = key.iter().chain(counts).map(|name| (*name).to_owned());
    let columns: Vec<String> = plain.chain(columns).collect();
    let values: Vec<String> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
    let counted = counts.iter().map(|name| format!("{name} = {name} + excluded.{name}"));
    // Each low column passes its carry to the high one.
    let summed = money.iter().map(|name| {
        let high = high(name);
        format!(
            "{high} = {high} + excluded.{high} + (({name} + excluded.{name}) >> {LOW_BITS}),
             {name} = ({name} + excluded.{name}) & {}",
            u32::MAX
        )
    });
    let (columns, values, key) = (columns.join(", "), values.join(", "), key.join(", "));
    let changes = counted.chain(summed).collect::<Vec<_>>().join(", ");
    format!("INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {changes}")
}

/// Counts from column `first` on.
pub(super) fn counts<const N: usize>(row: &Row<'_>, first: usize) -> rusqlite::Result<[i64; N]> {
    let mut counts = [0; N];
    for (index, count) in counts.iter_mut().enumerate() {
        *count = row.get(first + index)?;
    }
    Ok(counts)
}

/// Amounts of two columns each, from column `first` on.
pub(super) fn amounts<const N: usize>(row: &Row<'_>, first: usize) -> rusqlite::Result<[i128; N]> {
    let mut amounts = [0; N];
    for (index, amount) in amounts.iter_mut().enumerate() {
        let (high, low): (i64, i64) = (row.get(first + 2 * index)?, row.get(first + 2 * index + 1)?);
        *amount = (i128::from(high) << LOW_BITS) + i128::from(low);
    }
    Ok(amounts)
}

/// The high and the low column of an amount.
pub(super) fn columns_of(money: i128) -> Result<[Value; 2], ReadModelError> {
    let beyond = |_| ReadModelError::Row(format!("{money} is more money than a row can hold").into());
    let high = i64::try_from(money >> LOW_BITS).map_err(beyond)?;
    let low = i64::try_from(money & i128::from(u32::MAX)).map_err(beyond)?;
    Ok([high.into(), low.into()])
}

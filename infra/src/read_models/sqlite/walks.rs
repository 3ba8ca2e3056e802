//! Pages of lists that walk an index and look up each row.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params_from_iter};
use uuid::Uuid;

use crate::read_models::{
    Count, ReadModelError, SCANNED_MAX,
    list_sql::{Bound, Keys},
    order_lists::count_of,
};

/// What was found, and the last key that was looked at.
type Found<T> = (Vec<T>, Option<(i64, Uuid)>);

/// The rows that pass, at most one more than `limit`, and the last key that was looked at, if there may be more rows
/// behind it. `keys` gives the key and the id of each row; the first value of `look_up` is the id.
pub(super) fn page<T>(
    connection: &Connection,
    (keys, key_values): (&Keys, &[Bound]),
    (look_up, look_up_values): (&str, &[Bound]),
    limit: usize,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Found<T>, ReadModelError> {
    // One transaction, so that no row moves between its key and the row.
    let view = connection.unchecked_transaction()?;
    let mut statement = view.prepare_cached(&keys.sql)?;
    let walked = statement.query_map(params_from_iter(key_values), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let walked: Vec<(i64, Uuid)> = walked.collect::<rusqlite::Result<_>>()?;
    let mut look_up = view.prepare_cached(look_up)?;
    let mut rows = Vec::new();
    for (_, id) in &walked {
        if rows.len() > limit {
            break;
        }
        let others = look_up_values.iter().skip(1).map(|value| value as &dyn ToSql);
        let values: Vec<&dyn ToSql> = [id as &dyn ToSql].into_iter().chain(others).collect();
        rows.extend(look_up.query_row(values.as_slice(), read).optional()?);
    }
    let may_be_more = !keys.has_all_filters && walked.len() == SCANNED_MAX;
    Ok((rows, walked.last().copied().filter(|_| may_be_more)))
}

/// The numbers of rows that are looked at, and of those that pass.
pub(super) fn count(connection: &Connection, sql: &str, values: &[Bound]) -> Result<Count, ReadModelError> {
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(params_from_iter(values), |row| Ok(count_of(row.get(0)?, row.get(1)?)))?)
}

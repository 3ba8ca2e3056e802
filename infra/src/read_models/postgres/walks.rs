//! Pages of lists that walk an index and look up each row.

use deadpool_postgres::Object;
use postgres_types::ToSql;
use tokio_postgres::Row;

use super::{
    sums::snapshot,
    values::{bound, cell},
};
use crate::read_models::{
    Count, ReadModelError, SCANNED_MAX,
    list_sql::{Bound, Keys},
    order_lists::count_of,
};

/// The statements of a page.
#[derive(Debug)]
pub(super) struct Walked {
    /// Selects the rows that pass, at most one more than the page holds.
    pub(super) page: String,
    /// The walk, with the first `key_values` of `values`.
    pub(super) keys: Keys,
    pub(super) values: Vec<Bound>,
    pub(super) key_values: usize,
    /// True for one of a few hundred statements, which each connection keeps prepared. There are too many others.
    pub(super) is_kept: bool,
}

/// The rows that pass, at most one more than `limit`, and the last place that was looked at, if there may be more rows
/// behind it.
pub(super) async fn page<T, P>(
    client: &mut Object,
    walked: &Walked,
    limit: usize,
    read: fn(&Row) -> Result<T, ReadModelError>,
    place: impl Fn(&Row) -> Result<P, ReadModelError>,
) -> Result<(Vec<T>, Option<P>), ReadModelError> {
    let values = bound(&walked.values);
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value.as_ref() as _).collect();
    if walked.keys.has_all_filters {
        let statement = if walked.is_kept {
            client.prepare_cached(&walked.page).await?
        } else {
            client.prepare(&walked.page).await?
        };
        let rows = client.query(&statement, &values).await?;
        return Ok((rows.iter().map(read).collect::<Result<_, _>>()?, None));
    }
    // One transaction, so that both statements walk the same rows.
    let view = snapshot(client).await?;
    let statement = view.prepare(&walked.page).await?;
    let rows = view.query(&statement, &values).await?;
    let mut looked_up_to = None;
    if rows.len() <= limit {
        let last = format!("{} OFFSET {}", walked.keys.sql, SCANNED_MAX - 1);
        let statement = view.prepare(&last).await?;
        let last = view.query(&statement, &values[..walked.key_values]).await?;
        looked_up_to = last.first().map(&place).transpose()?;
    }
    view.commit().await?;
    Ok((rows.iter().map(read).collect::<Result<_, _>>()?, looked_up_to))
}

/// The only row of a statement, which is not kept prepared.
pub(super) async fn one_row(client: &Object, sql: &str, values: &[Bound]) -> Result<Row, ReadModelError> {
    let values = bound(values);
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value.as_ref() as _).collect();
    let statement = client.prepare(sql).await?;
    Ok(client.query_one(&statement, &values).await?)
}

/// The numbers of rows that are looked at, and of those that pass.
pub(super) async fn count(client: &Object, sql: &str, values: &[Bound]) -> Result<Count, ReadModelError> {
    let row = one_row(client, sql, values).await?;
    Ok(count_of(cell(&row, 0)?, cell(&row, 1)?))
}

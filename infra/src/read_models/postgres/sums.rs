//! The SQL of sums by time: tables of sales and of money.

use deadpool_postgres::{Object, Transaction};
use tokio_postgres::IsolationLevel;

use crate::read_models::ReadModelError;

/// Sums of the columns, first those of counts. Postgres sums money to `numeric`.
pub(super) fn sums_of(counts: &[&str], money: &[&str]) -> String {
    let counts = counts.iter().map(|name| format!("sum({name})::bigint"));
    let money = money.iter().map(|name| format!("sum({name})"));
    counts.chain(money).collect::<Vec<_>>().join(", ")
}

/// Adds rows to the rows with their keys. The parameters are arrays of the columns of the key, which have these types,
/// of the counts and of the money, and then the partition of all rows.
pub(super) fn add_sql(table: &str, key: &[(&str, &str)], counts: &[&str], money: &[&str]) -> String {
    let counted = counts.iter().map(|name| (*name, "bigint"));
    let summed = money.iter().map(|name| (*name, "numeric"));
    let columns: Vec<(&str, &str)> = key.iter().copied().chain(counted).chain(summed).collect();
    let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let arrays = (1..).zip(&columns).map(|(number, (_, kind))| format!("${number}::{kind}[]"));
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    let partition = columns.len() + 1;
    let key = key.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let changes = counts.iter().chain(money).map(|name| format!("{name} = {table}.{name} + excluded.{name}"));
    let changes = changes.collect::<Vec<_>>().join(", ");
    format!(
        "INSERT INTO {table} ({names}, partition)
         SELECT {names}, ${partition} FROM unnest({arrays}) AS added ({names})
         ON CONFLICT ({key}, partition) DO UPDATE SET {changes}"
    )
}

/// A transaction in which a total and its groups are sums of the same rows.
pub(super) async fn snapshot(client: &mut Object) -> Result<Transaction<'_>, ReadModelError> {
    let opening = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let view = opening.start().await?;
    // Locks out a rebuild that would publish between two of the queries.
    view.query_one("SELECT generation FROM log", &[]).await?;
    Ok(view)
}

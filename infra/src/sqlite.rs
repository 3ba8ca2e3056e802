//! What every SQLite connection of ours is told.

use rusqlite::{Connection, config::DbConfig};

/// Keeps prepared statements prepared. The bundled SQLite is built with STAT4, which compiles a statement
/// again whenever a parameter is bound that might favour another plan: on the hot path that costs more than
/// the query. Our plans do not depend on values (<https://www.sqlite.org/queryplanner-ng.html#qpstab>).
pub(crate) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

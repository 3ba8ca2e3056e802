//! The SQL files of subjects: tables first, then a line `-- Indexes`, then indexes. A rebuild creates the
//! indexes after it has written the rows, which is faster.

const INDEXES: &str = "\n-- Indexes\n";

pub(super) fn tables(sql: &'static str) -> &'static str {
    sql.split_once(INDEXES).map_or(sql, |(tables, _)| tables)
}

pub(super) fn indexes(sql: &'static str) -> &'static str {
    sql.split_once(INDEXES).map_or("", |(_, indexes)| indexes)
}

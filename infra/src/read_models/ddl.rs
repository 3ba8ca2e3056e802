//! The SQL files of subjects: tables first, then a line `-- Indexes`, then indexes. A rebuild creates the
//! indexes after it has written the rows, which is faster.

const INDEXES: &str = "\n-- Indexes\n";

pub(super) fn tables(sql: &'static str) -> &'static str {
    split(sql).0
}

pub(super) fn indexes(sql: &'static str) -> &'static str {
    split(sql).1
}

/// Panics if a file creates indexes without the line before them: a rebuild would then create no index.
fn split(sql: &'static str) -> (&'static str, &'static str) {
    let (tables, indexes) = sql.split_once(INDEXES).unwrap_or((sql, ""));
    let creates_index = ["CREATE INDEX", "CREATE UNIQUE INDEX"].iter().any(|create| tables.contains(create));
    assert!(!creates_index, "a file of DDL creates an index before its line `-- Indexes`");
    (tables, indexes)
}

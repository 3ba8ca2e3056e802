//! Pages of rows. Lists fetch one row more than the page holds, to see whether more follow.

/// One page of a list, and whether more rows follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowPage<T> {
    pub items: Vec<T>,
    pub has_more: bool,
}

impl<T> RowPage<T> {
    /// Cuts a page of `limit` rows from `rows`, which hold at least one row more if more follow.
    pub fn cut(mut rows: Vec<T>, limit: usize) -> Self {
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        Self { items: rows, has_more }
    }

    pub(super) fn empty() -> Self {
        Self { items: Vec::new(), has_more: false }
    }
}

pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The SQL limit with which [`RowPage::cut`] sees whether more rows follow.
pub(super) fn one_more(limit: usize) -> i64 {
    sql_limit(limit).saturating_add(1)
}

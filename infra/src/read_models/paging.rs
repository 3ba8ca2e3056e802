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
}

/// One page of a list that looks at a bounded number of rows. It may have fewer items than asked for although more
/// follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedPage<T, P> {
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<P>,
}

impl<T, P> ScannedPage<T, P> {
    /// Cuts a page of `limit` rows from `rows`, which hold at least one row more if more were found. `looked_up_to`: the
    /// last place that was looked at, if there may be more behind it.
    pub fn cut(mut rows: Vec<T>, limit: usize, place: impl Fn(&T) -> P, looked_up_to: Option<P>) -> Self {
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| has_more).map(place);
        Self { items: rows, next: last.or(looked_up_to.filter(|_| !has_more)) }
    }

    pub(super) fn empty() -> Self {
        Self { items: Vec::new(), next: None }
    }
}

pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The SQL limit with which [`RowPage::cut`] sees whether more rows follow.
pub(super) fn one_more(limit: usize) -> i64 {
    sql_limit(limit).saturating_add(1)
}

//! The SQL of lists, for both databases: what they have in common. See `order_sql.rs` and `payment_sql.rs`.

use domain::{order::OrderStatus, payment::PaymentState};
use uuid::Uuid;

use super::{order_lists::COUNTED_MAX, paging::sql_limit};

/// A value of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    /// Microseconds since 1970. The least and the greatest number stand before and after every time.
    Time(i64),
    Number(i64),
    Text(String),
    Id(Uuid),
}

/// What differs between the databases.
#[derive(Debug)]
pub(super) struct Dialect {
    /// Begins a numbered parameter.
    pub(super) mark: char,
    /// Whether a statement names the index that it walks.
    pub(super) names_indexes: bool,
    pub(super) status: fn(OrderStatus) -> String,
    /// The condition that a payment has this state.
    pub(super) has_state: fn(PaymentState) -> String,
    /// Follows the name of a flag that is to be set.
    pub(super) is_set: &'static str,
    /// Joins orders to a page, so that the page is walked and each order is looked up.
    pub(super) look_up: &'static str,
    /// The column of orders that finds a row at once. Every index has it.
    pub(super) row: &'static str,
    /// Ends a sub-query that is to be run as it is written, and not as a part of the statement around it.
    pub(super) by_itself: &'static str,
    /// The condition that a value is among those that a statement selects, which is run once.
    pub(super) among: fn(&str) -> String,
}

/// A statement that is being written: its parameters are numbered in the order in which they are bound.
#[derive(Debug)]
pub(super) struct ListSql {
    pub(super) dialect: &'static Dialect,
    pub(super) values: Vec<Bound>,
}

/// The walk of a list.
#[derive(Debug)]
pub(super) struct Keys {
    /// Selects `page_key` and `page_id` of the rows that are walked, in the order of the list. It ends with LIMIT.
    pub(super) sql: String,
    /// True if each of these rows passes all filters.
    pub(super) has_all_filters: bool,
    /// A condition that is true if the walk leaves rows out which pass.
    pub(super) leaves_out: Option<String>,
}

impl Keys {
    /// As many rows as a count looked at: more than [`COUNTED_MAX`] if the walk leaves rows out, else `found`. In SQL.
    pub(super) fn walked(&self, found: &str) -> String {
        let too_many = COUNTED_MAX + 1;
        match &self.leaves_out {
            Some(is_so) => format!("CASE WHEN {is_so} THEN CAST({too_many} AS bigint) ELSE {found} END"),
            None => found.to_owned(),
        }
    }
}

impl ListSql {
    pub(super) fn new(dialect: &'static Dialect) -> Self {
        Self { dialect, values: Vec::new() }
    }

    /// Adds a value, and returns its parameter.
    pub(super) fn bind(&mut self, value: Bound) -> String {
        self.values.push(value);
        format!("{}{}", self.dialect.mark, self.values.len())
    }

    pub(super) fn bind_text(&mut self, text: &str) -> String {
        self.bind(Bound::Text(text.to_owned()))
    }

    pub(super) fn bind_limit(&mut self, limit: usize) -> String {
        self.bind(Bound::Number(sql_limit(limit)))
    }

    /// A table, walked by an index. Without the name of an index: by its key.
    pub(super) fn indexed(&self, table: &str, index: &str) -> String {
        let is_named = self.dialect.names_indexes && !index.is_empty();
        if is_named { format!("{table} INDEXED BY {index}") } else { table.to_owned() }
    }
}

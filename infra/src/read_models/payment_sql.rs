//! The SQL of the list of payments, for both databases. It walks ranges of one index by arrival, as the lists of orders do.

use super::{
    list_sql::{Bound, Keys, ListSql},
    order_lists::{COUNTED_MAX, Direction, SCANNED_MAX},
    payments::PaymentFilter,
};

/// The index that a list of payments walks. The one with the fewest payments comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PaymentIndex {
    Reference,
    Declined,
    Failure,
    State,
    Arrival,
}

impl PaymentIndex {
    fn of(filter: &PaymentFilter) -> Self {
        match filter {
            PaymentFilter { reference: Some(_), .. } => Self::Reference,
            PaymentFilter { is_declined: true, .. } => Self::Declined,
            PaymentFilter { failure: Some(_), .. } => Self::Failure,
            PaymentFilter { state, .. } if !state.is_empty() => Self::State,
            PaymentFilter { .. } => Self::Arrival,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reference => "payments_by_reference",
            Self::Declined => "payments_declined",
            Self::Failure => "payments_by_failure",
            Self::State => "payments_by_state",
            Self::Arrival => "",
        }
    }
}

impl ListSql {
    /// The keys of the payments that a page looks at, at most `limit`, or [`SCANNED_MAX`] if filters are left to check.
    pub(super) fn payment_keys(&mut self, filter: &PaymentFilter, limit: usize) -> Keys {
        self.payment_walk(filter, (limit, SCANNED_MAX), true)
    }

    /// As [`ListSql::keys`] of orders.
    fn payment_walk(
        &mut self,
        filter: &PaymentFilter,
        (whole, scanned): (usize, usize),
        is_sorted: bool,
    ) -> Keys {
        let index = PaymentIndex::of(filter);
        let has_all_filters = Self::new(self.dialect).payment_conditions_left(filter).is_empty();
        let limit = self.bind_limit(if has_all_filters { whole } else { scanned });
        let ranges = match index {
            PaymentIndex::Reference => self.reference_is(filter),
            PaymentIndex::Declined => vec![self.is_declined()],
            PaymentIndex::Failure => self.failure_is(filter),
            PaymentIndex::State => {
                filter.state.iter().map(|state| (self.dialect.has_state)(*state)).collect()
            }
            PaymentIndex::Arrival => vec!["true".to_owned()],
        };
        let after = self.after(filter);
        let (source, direction) = (self.indexed("payments", index.name()), filter.direction.as_str());
        let branch = |range: String| {
            format!(
                "SELECT * FROM (SELECT row_no AS page_key, payment_id AS page_id FROM {source}
                 WHERE {range} AND {after} ORDER BY row_no {direction} LIMIT {limit}) AS branch"
            )
        };
        let branches: Vec<String> = ranges.into_iter().map(branch).collect();
        let union = branches.join(" UNION ALL ");
        let order = if is_sorted { format!("ORDER BY page_key {direction}") } else { String::new() };
        let sql = format!("SELECT page_key, page_id FROM ({union}) AS walked {order} LIMIT {limit}");
        Keys { sql, has_all_filters, leaves_out: None }
    }

    /// The number of payments that are looked at, and of those that pass.
    pub(super) fn payment_count(&mut self, filter: &PaymentFilter) -> String {
        let from_the_first = PaymentFilter { after: None, ..filter.clone() };
        let keys = self.payment_walk(&from_the_first, (COUNTED_MAX + 1, COUNTED_MAX + 1), false);
        if keys.has_all_filters {
            return format!("SELECT count(*), count(*) FROM ({}) AS page", keys.sql);
        }
        let left = self.payment_conditions_left(filter).join(" AND ");
        let look_up = self.dialect.look_up;
        format!(
            "SELECT count(*), count(CASE WHEN {left} THEN 1 END) FROM ({}) AS page
             {look_up} payments ON row_no = page_key",
            keys.sql
        )
    }

    /// The conditions that the walk leaves to check, one payment after another.
    pub(super) fn payment_conditions_left(&mut self, filter: &PaymentFilter) -> Vec<String> {
        let index = PaymentIndex::of(filter);
        let mut left = Vec::new();
        if index != PaymentIndex::Reference {
            left.extend(self.reference_is(filter));
        }
        if filter.is_declined && index != PaymentIndex::Declined {
            left.push(self.is_declined());
        }
        if index != PaymentIndex::Failure {
            left.extend(self.failure_is(filter));
        }
        if !filter.state.is_empty() && index != PaymentIndex::State {
            let states: Vec<String> =
                filter.state.iter().map(|state| (self.dialect.has_state)(*state)).collect();
            left.push(format!("({})", states.join(" OR ")));
        }
        left
    }

    fn reference_is(&mut self, filter: &PaymentFilter) -> Vec<String> {
        let reference = filter.reference.as_deref();
        reference.map(|reference| format!("reference = {}", self.bind_text(reference))).into_iter().collect()
    }

    fn failure_is(&mut self, filter: &PaymentFilter) -> Vec<String> {
        let failure = filter.failure.as_deref();
        failure.map(|failure| format!("failure = {}", self.bind_text(failure))).into_iter().collect()
    }

    fn is_declined(&self) -> String {
        format!("declined{}", self.dialect.is_set)
    }

    /// The list begins at its first payment if there is no payment to continue after.
    fn after(&mut self, filter: &PaymentFilter) -> String {
        let (operator, none) = match filter.direction {
            Direction::Asc => (">", i64::MIN),
            Direction::Desc => ("<", i64::MAX),
        };
        let Some(id) = filter.after else {
            return format!("row_no {operator} {}", self.bind(Bound::Number(none)));
        };
        let (id, none) = (self.bind(Bound::Id(id.0)), self.bind(Bound::Number(none)));
        format!("row_no {operator} coalesce((SELECT row_no FROM payments WHERE payment_id = {id}), {none})")
    }
}

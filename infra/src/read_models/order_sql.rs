//! The SQL of lists of orders, for both databases.
//!
//! A list walks ranges of one index, in the order of the list and no further than a page needs. Filters that the index
//! does not have are checked order by order, for at most [`SCANNED_MAX`] orders a page. So the cost of a page does
//! not grow with the number of orders.

use domain::order::{FulfilmentStatus, OrderStatus, PaymentStatus};
use uuid::Uuid;

use super::{
    codes::{STATUSES, fulfilment_status_code, payment_status_code, terms_code},
    list_sql::{Bound, Keys, ListSql},
    order_lists::{COUNTED_MAX, Direction, OrderFilter, OrderPlace, OrderSort, OrderWork, SCANNED_MAX},
};

/// Most orders of each kind of text that a search finds.
const FOUND_MAX: usize = 500;
/// No rows, in SQL.
const NONE: &str = "CAST(0 AS bigint)";
/// Sorts after every text that begins with the text before it.
const LAST_CHARACTER: char = char::MAX;

/// A filter that is checked by the walk of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Status,
    PaymentStatus,
    FulfilmentStatus,
    Customer,
    Sku,
    Reference,
    Country,
    Currency,
    Work,
    Terms,
}

/// Ranges of one index.
#[derive(Debug)]
struct Walk {
    table: &'static str,
    index: &'static str,
    /// The condition of each range, besides that of the key.
    ranges: Vec<String>,
    /// The filters that the ranges have. The others are left to check.
    has: Vec<Part>,
    /// True if the ranges have few orders in all, which are checked and sorted at once.
    is_small: bool,
    /// Further conditions of such orders.
    checks: Vec<String>,
    /// A condition that is true if the ranges leave orders out.
    leaves_out: Option<String>,
}

impl ListSql {
    /// The keys of the orders that a page looks at, at most `limit`, or [`SCANNED_MAX`] if filters are left to check.
    /// `None` if no order can pass.
    pub(super) fn page_keys(&mut self, filter: &OrderFilter, limit: usize) -> Option<Keys> {
        self.keys(filter, (limit, SCANNED_MAX), true)
    }

    /// The keys of the orders that a count looks at. They are not sorted: a list of several ranges then ends with the first
    /// ones that have enough orders.
    fn counted_keys(&mut self, filter: &OrderFilter) -> Option<Keys> {
        self.keys(filter, (COUNTED_MAX + 1, COUNTED_MAX + 1), false)
    }

    /// The number of orders that are looked at, and of those that pass. `None` if no order can pass.
    pub(super) fn count(&mut self, filter: &OrderFilter) -> Option<String> {
        let keys = self.counted_keys(&OrderFilter { after: None, ..filter.clone() })?;
        if keys.has_all_filters {
            let walked = keys.walked("count(*)");
            return Some(format!("SELECT {walked}, count(*) FROM ({}) AS page", keys.sql));
        }
        let left = self.conditions_left(filter).join(" AND ");
        let (look_up, row) = (self.dialect.look_up, self.counted_by(&Self::new(self.dialect).walk(filter)));
        Some(format!(
            "SELECT count(*), count(CASE WHEN {left} THEN 1 END) FROM ({}) AS page
             {look_up} orders ON orders.{row} = page_id",
            keys.sql
        ))
    }

    /// Two numbers for each kind of work: its orders, at most one more than [`COUNTED_MAX`], and as many as were looked at at
    /// least.
    pub(super) fn work_counts(&mut self, filters: &[OrderFilter]) -> String {
        let counts: Vec<String> = filters
            .iter()
            .map(|filter| {
                let Some(keys) = self.counted_keys(filter) else { return format!("{NONE}, {NONE}") };
                let walked = keys.walked(NONE);
                format!("(SELECT count(*) FROM ({}) AS page), {walked}", keys.sql)
            })
            .collect();
        format!("SELECT {}", counts.join(", "))
    }

    /// `whole` keys if the walk has all filters, else `scanned`.
    fn keys(
        &mut self,
        filter: &OrderFilter,
        (whole, scanned): (usize, usize),
        is_sorted: bool,
    ) -> Option<Keys> {
        let walk = self.walk(filter);
        if walk.ranges.is_empty() {
            return None;
        }
        let checked_at_once = if walk.is_small { self.conditions(filter, &walk.has) } else { Vec::new() };
        let has_all_filters = walk.is_small || self.left(filter, &walk).is_empty();
        let limit = if has_all_filters { whole } else { scanned };
        let limit = self.bind_limit(limit);
        let (key, direction) = (key_column(filter.sort), filter.direction.as_str());
        let within = self.within(filter);
        let source = self.indexed(walk.table, walk.index);
        let id = if is_sorted { "order_id" } else { self.counted_by(&walk) };
        let by_itself = self.dialect.by_itself;
        let branch = |range: &String| {
            // Few orders are found by their ids, and then checked and sorted together. Otherwise each range is walked in
            // the order of its index.
            let (rows, condition, end) = if walk.is_small {
                let found = format!("(SELECT * FROM {source} WHERE {range}{by_itself}) AS orders");
                (found, "true", String::new())
            } else {
                let end = format!(" ORDER BY {key} {direction}, order_id {direction} LIMIT {limit}");
                (source.clone(), range.as_str(), end)
            };
            let checked = checked_at_once.iter().chain(&walk.checks).map(String::as_str);
            let conditions: Vec<&str> = [condition, within.as_str()].into_iter().chain(checked).collect();
            format!(
                "SELECT * FROM (SELECT {key} AS page_key, {id} AS page_id FROM {rows} WHERE {}{end}) AS branch",
                conditions.join(" AND ")
            )
        };
        let branches: Vec<String> = walk.ranges.iter().map(branch).collect();
        let union = branches.join(" UNION ALL ");
        let order = if is_sorted {
            format!("ORDER BY page_key {direction}, page_id {direction}")
        } else {
            String::new()
        };
        let sql = format!("SELECT page_key, page_id FROM ({union}) AS walked {order} LIMIT {limit}");
        Some(Keys { sql, has_all_filters, leaves_out: walk.leaves_out })
    }

    /// The column by which a count looks up the orders of a walk. A page needs their ids.
    fn counted_by(&self, walk: &Walk) -> &'static str {
        if walk.table == "orders" { self.dialect.row } else { "order_id" }
    }

    /// The conditions that the walk of the list leaves to check, one order after another.
    pub(super) fn conditions_left(&mut self, filter: &OrderFilter) -> Vec<String> {
        let walk = Self::new(self.dialect).walk(filter);
        if walk.is_small { Vec::new() } else { self.conditions(filter, &walk.has) }
    }

    fn left(&self, filter: &OrderFilter, walk: &Walk) -> Vec<String> {
        Self::new(self.dialect).conditions(filter, &walk.has)
    }

    /// The part of the index that is after the last page and within the bounds of the key.
    fn within(&mut self, filter: &OrderFilter) -> String {
        let micro = |at: Option<domain::Timestamp>| at.map(domain::Timestamp::as_microsecond);
        let (from, to) = match filter.sort {
            OrderSort::Placed => (micro(filter.placed_from), micro(filter.placed_to)),
            OrderSort::Updated => (micro(filter.updated_since), None),
            OrderSort::Total => (None, None),
            OrderSort::Overdue => (None, Some(filter.now.as_microsecond().saturating_add(1))),
        };
        let after = filter.after.map(|OrderPlace(key, id)| (key, id.0));
        // One place begins the walk, so that the database starts there and not at another bound.
        let ((start, id), end) = match filter.direction {
            Direction::Desc => {
                let begin = to.map(|to| (to, Uuid::nil()));
                let first = [begin, after].into_iter().flatten().min();
                (first.unwrap_or((i64::MAX, Uuid::nil())), from.unwrap_or(i64::MIN))
            }
            Direction::Asc => {
                let begin = from.map(|from| (from.saturating_sub(1), Uuid::max()));
                let first = [begin, after].into_iter().flatten().max();
                (first.unwrap_or((i64::MIN, Uuid::nil())), to.unwrap_or(i64::MAX))
            }
        };
        let bound = match filter.sort {
            OrderSort::Total => Bound::Number,
            OrderSort::Placed | OrderSort::Updated | OrderSort::Overdue => Bound::Time,
        };
        let (end, start, id) = (self.bind(bound(end)), self.bind(bound(start)), self.bind(Bound::Id(id)));
        let key = key_column(filter.sort);
        match filter.direction {
            Direction::Desc => format!("{key} >= {end} AND ({key}, order_id) < ({start}, {id})"),
            Direction::Asc => format!("{key} < {end} AND ({key}, order_id) > ({start}, {id})"),
        }
    }

    fn walk(&mut self, filter: &OrderFilter) -> Walk {
        if filter.text.is_some() || filter.payment_reference.is_some() {
            return self.walk_found(filter);
        }
        match filter.sort {
            OrderSort::Placed => self.walk_by_place(filter),
            OrderSort::Updated => walk_of("orders_by_update", vec![all()], []),
            OrderSort::Total => {
                let currency = filter.currency.map(|currency| self.bind_text(currency.as_str()));
                let ranges = currency.into_iter().map(|currency| format!("currency = {currency}"));
                walk_of("orders_by_total", ranges.collect(), [Part::Currency])
            }
            OrderSort::Overdue => {
                walk_of("orders_overdue", vec!["overdue_from IS NOT NULL".to_owned()], [Part::Work])
            }
        }
    }

    /// The index with the fewest orders comes first.
    fn walk_by_place(&mut self, filter: &OrderFilter) -> Walk {
        let is_set = self.dialect.is_set;
        let flag = |index, name: &str| walk_of(index, vec![format!("{name}{is_set}")], [Part::Work]);
        match filter.work {
            Some(OrderWork::ToShip) => return flag("orders_to_ship", "to_ship"),
            Some(OrderWork::Overpaid) => return flag("orders_overpaid", "overpaid"),
            Some(OrderWork::RefundDue) => return flag("orders_refund_due", "refund_due"),
            Some(OrderWork::Unpaid) => {
                let allocated = [OrderStatus::Allocated];
                return self.walk_payment_statuses(&OrderWork::UNPAID, &allocated, Part::Work);
            }
            Some(OrderWork::Returns) => {
                let statuses = statuses_of(filter);
                return self.walk_fulfilment_statuses(
                    &OrderWork::RETURNS,
                    &statuses,
                    &[Part::Work, Part::Status],
                );
            }
            Some(OrderWork::Declined) => return self.walk_declined(),
            Some(OrderWork::Overdue) | None => {}
        }
        let statuses = statuses_of(filter);
        if let Some(reference) = &filter.reference {
            let reference = self.bind_text(reference);
            let range = format!("reference = {reference}");
            return walk_of("orders_by_reference", vec![range], [Part::Reference]);
        }
        if let Some(customer) = &filter.customer_id {
            let customer = self.bind_text(customer);
            let ranges = self.by_status(&statuses, &format!("customer_id = {customer} AND "));
            return walk_of("orders_by_customer", ranges, [Part::Customer, Part::Status]);
        }
        if let Some(sku) = &filter.sku {
            let sku = self.bind_text(sku.as_str());
            let ranges = self.by_status(&statuses, &format!("sku = {sku} AND "));
            let has = [Part::Sku, Part::Status];
            return Walk { table: "order_skus", index: "", ..walk_of("", ranges, has) };
        }
        let fulfilment = &filter.fulfilment_status;
        if !fulfilment.is_empty() && fulfilment.iter().all(|status| fulfilment_status_code(*status) > 2) {
            let has = [Part::FulfilmentStatus, Part::Status];
            return self.walk_fulfilment_statuses(fulfilment, &statuses, &has);
        }
        let payment = &filter.payment_status;
        if !payment.is_empty() && payment.iter().all(|status| payment_status_code(*status) > 1) {
            let mut walk = self.walk_payment_statuses(payment, &statuses, Part::PaymentStatus);
            walk.has.push(Part::Status);
            return walk;
        }
        if let Some(terms) = filter.terms.filter(|terms| !terms.is_prepaid()) {
            let of_terms = format!("terms > 0 AND terms = {} AND ", terms_code(terms));
            let ranges = self.by_status(&statuses, &of_terms);
            return walk_of("orders_by_terms", ranges, [Part::Terms, Part::Status]);
        }
        if let Some(country) = &filter.country {
            let country = self.bind_text(country);
            let range = format!("country = {country}");
            return walk_of("orders_by_country", vec![range], [Part::Country]);
        }
        walk_of("orders_by_status", self.by_status(&statuses, ""), [Part::Status])
    }

    /// A range for each status.
    fn by_status(&self, statuses: &[OrderStatus], before: &str) -> Vec<String> {
        let status = self.dialect.status;
        statuses.iter().map(|one| format!("{before}status = {}", status(*one))).collect()
    }

    fn walk_payment_statuses(&self, payment: &[PaymentStatus], statuses: &[OrderStatus], part: Part) -> Walk {
        let of_payment = payment.iter().map(|status| {
            format!("payment_status > 1 AND payment_status = {} AND ", payment_status_code(*status))
        });
        let ranges = of_payment.flat_map(|before| self.by_status(statuses, &before)).collect();
        walk_of("orders_by_payment_status", ranges, [part])
    }

    fn walk_fulfilment_statuses(
        &self,
        fulfilment: &[FulfilmentStatus],
        statuses: &[OrderStatus],
        has: &[Part],
    ) -> Walk {
        let of_fulfilment = fulfilment.iter().map(|status| {
            let code = fulfilment_status_code(*status);
            format!("fulfilment_status > 2 AND fulfilment_status = {code} AND ")
        });
        let ranges = of_fulfilment.flat_map(|before| self.by_status(statuses, &before)).collect();
        Walk { has: has.to_vec(), ..walk_of("orders_by_fulfilment_status", ranges, []) }
    }

    /// The orders of the declined payments that arrived last, at most [`SCANNED_MAX`]. The index of declined payments is in
    /// the order of their arrival and knows no order.
    fn walk_declined(&self) -> Walk {
        let (payments, is_set) = (self.indexed("payments", "payments_declined"), self.dialect.is_set);
        let orders = (self.dialect.among)(&format!(
            "SELECT order_id FROM {payments} WHERE declined{is_set} ORDER BY row_no DESC LIMIT {SCANNED_MAX}"
        ));
        let more = format!("SELECT 1 FROM {payments} WHERE declined{is_set} LIMIT 1 OFFSET {SCANNED_MAX}");
        let allocated = (self.dialect.status)(OrderStatus::Allocated);
        let checks = vec![format!("status = {allocated}")];
        let range = format!("order_id {orders}");
        let leaves_out = Some(format!("EXISTS ({more})"));
        Walk { is_small: true, checks, leaves_out, ..walk_of("orders_by_id", vec![range], [Part::Work]) }
    }

    /// The condition that an order has a declined payment.
    fn has_declined_payment(&self) -> String {
        let payments = self.indexed("payments AS tried", "payments_declined_of_order");
        let (is_set, end) = (self.dialect.is_set, self.dialect.by_itself);
        format!(
            "EXISTS (SELECT 1 FROM {payments} WHERE tried.order_id = orders.order_id AND tried.declined{is_set}{end})"
        )
    }

    /// The orders that a text or a reference of a payment finds.
    fn walk_found(&mut self, filter: &OrderFilter) -> Walk {
        let mut found = Vec::new();
        if let Some(reference) = &filter.payment_reference {
            let (payments, reference) =
                (self.indexed("payments", "payments_by_reference"), self.bind_text(reference));
            let orders =
                format!("SELECT order_id FROM {payments} WHERE reference = {reference} LIMIT {FOUND_MAX}");
            found.push(format!("order_id {}", (self.dialect.among)(&orders)));
        }
        if let Some(text) = &filter.text {
            let branches: Vec<String> = self.found_by_text(text);
            let branches =
                branches.into_iter().map(|sql| format!("SELECT * FROM ({sql} LIMIT {FOUND_MAX}) AS found"));
            let orders = branches.collect::<Vec<_>>().join(" UNION ALL ");
            found.push(format!("order_id {}", (self.dialect.among)(&orders)));
        }
        Walk { is_small: true, ..walk_of("orders_by_id", vec![found.join(" AND ")], []) }
    }

    /// The index of ids of a table.
    fn ids(&self, table: &str) -> String {
        self.indexed(table, &format!("{table}_by_id"))
    }

    fn found_by_text(&mut self, text: &str) -> Vec<String> {
        let (from, to) = (self.bind_text(text), self.bind_text(&format!("{text}{LAST_CHARACTER}")));
        let within = |table: String, column: &str, from: &str, to: &str| {
            format!(
                "SELECT order_id FROM {table} WHERE {column} >= {from} AND {column} < {to} ORDER BY {column}"
            )
        };
        let mut branches = vec![
            within(self.indexed("orders", "orders_by_reference"), "reference", &from, &to),
            within(self.indexed("orders", "orders_by_customer"), "customer_id", &from, &to),
            within(self.indexed("payments", "payments_by_reference"), "reference", &from, &to),
        ];
        if let Some((first, last)) = ids_beginning_with(text) {
            let (first, last) = (self.bind(Bound::Id(first)), self.bind(Bound::Id(last)));
            let (orders, payments) = (self.ids("orders"), self.ids("payments"));
            branches.push(within(orders, "order_id", &first, &last));
            branches.push(within(payments, "payment_id", &first, &last));
        }
        branches
    }

    /// The conditions of all filters but those that the walk has.
    fn conditions(&mut self, filter: &OrderFilter, has: &[Part]) -> Vec<String> {
        let mut conditions = Vec::new();
        let mut add = |sql: &mut Self, part: Part, condition: &dyn Fn(&mut Self) -> Option<String>| {
            if !has.contains(&part) {
                conditions.extend(condition(sql));
            }
        };
        let list = |values: Vec<String>| (!values.is_empty()).then(|| values.join(", "));
        add(self, Part::Status, &|sql| {
            let statuses = list(filter.status.iter().map(|one| (sql.dialect.status)(*one)).collect())?;
            Some(format!("status IN ({statuses})"))
        });
        add(self, Part::PaymentStatus, &|_| {
            let codes = filter.payment_status.iter().map(|one| payment_status_code(*one).to_string());
            Some(format!("payment_status IN ({})", list(codes.collect())?))
        });
        add(self, Part::FulfilmentStatus, &|_| {
            let codes = filter.fulfilment_status.iter().map(|one| fulfilment_status_code(*one).to_string());
            Some(format!("fulfilment_status IN ({})", list(codes.collect())?))
        });
        let texts = [
            (Part::Customer, "customer_id", filter.customer_id.as_deref()),
            (Part::Reference, "reference", filter.reference.as_deref()),
            (Part::Country, "country", filter.country.as_deref()),
            (Part::Currency, "currency", filter.currency.as_ref().map(domain::Currency::as_str)),
        ];
        for (part, column, text) in texts {
            add(self, part, &|sql| Some(format!("{column} = {}", sql.bind_text(text?))));
        }
        add(self, Part::Sku, &|sql| {
            let (sku, end) = (sql.bind_text(filter.sku.as_ref()?.as_str()), sql.dialect.by_itself);
            Some(format!(
                "EXISTS (SELECT 1 FROM order_skus AS contained WHERE contained.sku = {sku}
                 AND contained.status = orders.status AND contained.placed_at = orders.placed_at
                 AND contained.order_id = orders.order_id{end})"
            ))
        });
        add(self, Part::Work, &|sql| filter.work.map(|work| sql.is_work(work, filter)));
        add(self, Part::Terms, &|_| filter.terms.map(|terms| format!("terms = {}", terms_code(terms))));
        // The walk has the bounds of its key.
        let mut add_time = |sql: &mut Self, condition: &str, at: Option<domain::Timestamp>| {
            let bound = at.map(|at| sql.bind(Bound::Time(at.as_microsecond())));
            conditions.extend(bound.map(|bound| format!("{condition} {bound}")));
        };
        if filter.sort != OrderSort::Placed {
            add_time(self, "placed_at >=", filter.placed_from);
            add_time(self, "placed_at <", filter.placed_to);
        }
        if filter.sort != OrderSort::Updated {
            add_time(self, "updated_at >=", filter.updated_since);
        }
        conditions
    }

    fn is_work(&mut self, work: OrderWork, filter: &OrderFilter) -> String {
        let is_set = self.dialect.is_set;
        let allocated = (self.dialect.status)(OrderStatus::Allocated);
        match work {
            OrderWork::ToShip => format!("to_ship{is_set}"),
            OrderWork::Overpaid => format!("overpaid{is_set}"),
            OrderWork::RefundDue => format!("refund_due{is_set}"),
            OrderWork::Unpaid => {
                let codes = OrderWork::UNPAID.map(|status| payment_status_code(status).to_string());
                format!("status = {allocated} AND payment_status IN ({})", codes.join(", "))
            }
            OrderWork::Returns => {
                let codes = OrderWork::RETURNS.map(|status| fulfilment_status_code(status).to_string());
                format!("fulfilment_status IN ({})", codes.join(", "))
            }
            OrderWork::Declined => format!("status = {allocated} AND {}", self.has_declined_payment()),
            OrderWork::Overdue => {
                let now = self.bind(Bound::Time(filter.now.as_microsecond()));
                format!("overdue_from <= {now}")
            }
        }
    }
}

fn walk_of<const N: usize>(index: &'static str, ranges: Vec<String>, has: [Part; N]) -> Walk {
    Walk {
        table: "orders",
        index,
        ranges,
        has: has.into(),
        is_small: false,
        checks: Vec::new(),
        leaves_out: None,
    }
}

/// The condition of a range that is a whole index.
fn all() -> String {
    "true".to_owned()
}

fn key_column(sort: OrderSort) -> &'static str {
    match sort {
        OrderSort::Placed => "placed_at",
        OrderSort::Updated => "updated_at",
        OrderSort::Total => "total",
        OrderSort::Overdue => "overdue_from",
    }
}

/// The statuses that the list can have. An order that was never placed has no row.
fn statuses_of(filter: &OrderFilter) -> Vec<OrderStatus> {
    let is_wanted = |status: &OrderStatus| filter.status.is_empty() || filter.status.contains(status);
    STATUSES.into_iter().filter(is_wanted).collect()
}

/// The first id that begins with a text, and the first one that is greater and does not. `None` if no id does.
fn ids_beginning_with(text: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits.is_empty() || digits.len() > 32 || !all_hex {
        return None;
    }
    let filled = |fill: &str| Uuid::try_parse(&format!("{digits}{}", fill.repeat(32 - digits.len()))).ok();
    let next = Uuid::from_u128(filled("f")?.as_u128().saturating_add(1));
    Some((filled("0")?, next))
}

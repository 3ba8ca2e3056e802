//! Query plans: no query reads more rows than it needs.

use domain::{
    Timestamp,
    order::{FulfilmentStatus, OrderStatus, PaymentStatus, PaymentTerms},
    payment::PaymentState,
};
use rusqlite::{Connection, params_from_iter};

use super::{
    connections::{create_indexes, create_tables},
    counts::UNITS_SOLD,
    order_lists::{DIALECT, look_up_sql},
    stock::{BY_AVAILABLE, BY_SKU},
    waits::{ORDERS_DUE, PAYMENTS_AWAITING, RUN_OUT, waits_sql},
};
use crate::read_models::{
    Direction, OrderFilter, OrderSort, OrderWork, PaymentFilter,
    list_sql::{Bound, ListSql},
    order_lists::filters_of_work,
};

fn plan_of(sql: &str, values: &[Bound]) -> Vec<String> {
    let connection = Connection::open_in_memory().unwrap();
    create_tables(&connection).unwrap();
    create_indexes(&connection).unwrap();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    statement.query_map(params_from_iter(values), |row| row.get(3)).unwrap().map(Result::unwrap).collect()
}

fn plan(sql: &str, parameters: usize) -> Vec<String> {
    plan_of(sql, &vec![Bound::Number(0); parameters])
}

/// Asserts that rows are only looked up, or walked in the order of an index, and that nothing but pages is sorted.
fn assert_walks(filter: &dyn std::fmt::Debug, plan: &[String]) {
    let tables = ["orders", "order_skus", "payments"];
    for step in plan.iter().filter(|step| tables.iter().any(|table| step.contains(table))) {
        let walks_an_index = step.starts_with("SCAN") && step.contains("USING INDEX payments_declined");
        let walks_arrivals = step.starts_with("SCAN payments") && step.len() == "SCAN payments".len();
        assert!(
            step.starts_with("SEARCH") || walks_an_index || walks_arrivals,
            "{filter:?} has {step:?} in {plan:#?}"
        );
    }
    for steps in plan.windows(2).filter(|steps| steps[1].contains("TEMP B-TREE")) {
        let of_pages = ["SCAN (subquery", "SCAN walked", "SCAN branch", "SCAN found"];
        let is_page = of_pages.iter().any(|begin| steps[0].starts_with(begin));
        // The few orders that payments or texts have found.
        let is_found = steps[0].contains("_by_id") || steps[0].starts_with("SEARCH payments");
        assert!(is_page || is_found, "{filter:?} sorts rows: {plan:#?}");
    }
}

/// A list for each index, and for filters that an index does not have.
fn order_lists() -> Vec<OrderFilter> {
    let none = OrderFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let mut lists = vec![
        none(),
        OrderFilter { customer_id: text("ann"), ..none() },
        OrderFilter { sku: Some(domain::Sku::new("A").unwrap()), ..none() },
        OrderFilter { reference: text("ref"), ..none() },
        OrderFilter { country: text("France"), ..none() },
        OrderFilter { terms: Some(PaymentTerms::Net), ..none() },
        OrderFilter { terms: Some(PaymentTerms::Prepaid), ..none() },
        OrderFilter {
            payment_status: vec![PaymentStatus::Pending, PaymentStatus::PartiallyRefunded],
            ..none()
        },
        OrderFilter { payment_status: vec![PaymentStatus::Paid], ..none() },
        OrderFilter { fulfilment_status: vec![FulfilmentStatus::PartiallyShipped], ..none() },
        OrderFilter { fulfilment_status: vec![FulfilmentStatus::Delivered], ..none() },
        OrderFilter { payment_reference: text("ch_1"), ..none() },
        OrderFilter { text: text("5363"), ..none() },
        OrderFilter { sort: OrderSort::Updated, updated_since: Some(Timestamp::UNIX_EPOCH), ..none() },
        OrderFilter { sort: OrderSort::Total, currency: Some("GBP".parse().unwrap()), ..none() },
        OrderFilter {
            customer_id: text("ann"),
            sku: Some(domain::Sku::new("A").unwrap()),
            work: Some(OrderWork::Overdue),
            ..none()
        },
        OrderFilter { sort: OrderSort::Updated, work: Some(OrderWork::Declined), ..none() },
    ];
    lists.extend(filters_of_work(Timestamp::UNIX_EPOCH));
    lists
}

#[test]
fn no_order_list_scans_a_table_or_sorts_more_than_pages() {
    for list in order_lists() {
        for status in [vec![], vec![OrderStatus::Cancelled]] {
            for direction in [Direction::Asc, Direction::Desc] {
                let filter = OrderFilter { status: status.clone(), direction, ..list.clone() };
                let mut walked = ListSql::new(&DIALECT);
                let keys = walked.page_keys(&filter, 51).unwrap();
                assert_walks(&filter, &plan_of(&keys.sql, &walked.values));
                let mut look_up = ListSql::new(&DIALECT);
                let sql = look_up_sql(&mut look_up, &filter);
                assert_walks(&filter, &plan_of(&sql, &look_up.values));
                let mut counting = ListSql::new(&DIALECT);
                let sql = counting.count(&filter).unwrap();
                assert_walks(&filter, &plan_of(&sql, &counting.values));
            }
        }
    }
}

#[test]
fn every_combination_that_is_documented_as_indexed_leaves_no_filter_to_check() {
    let checked = order_lists().into_iter().filter(|filter| {
        let mut sql = ListSql::new(&DIALECT);
        !sql.page_keys(filter, 51).unwrap().has_all_filters
    });
    let checked: Vec<_> = checked.collect();
    let is_expected = |filter: &OrderFilter| {
        filter.terms == Some(PaymentTerms::Prepaid)
            || filter.payment_status == [PaymentStatus::Paid]
            || filter.fulfilment_status == [FulfilmentStatus::Delivered]
            || filter.sku.is_some() && filter.work.is_some()
            || filter.sort == OrderSort::Updated && filter.work.is_some()
    };
    assert!(checked.len() == 5 && checked.iter().all(is_expected), "{checked:#?}");
}

#[test]
fn no_payment_list_scans_a_table_or_sorts_more_than_pages() {
    let none = PaymentFilter::default;
    let lists = [
        none(),
        PaymentFilter { state: vec![PaymentState::Failed, PaymentState::OutcomeUnknown], ..none() },
        PaymentFilter { failure: Some("card_declined".to_owned()), ..none() },
        PaymentFilter { reference: Some("ch_1".to_owned()), ..none() },
        PaymentFilter { is_declined: true, ..none() },
    ];
    for list in lists {
        for direction in [Direction::Asc, Direction::Desc] {
            let filter = PaymentFilter { direction, ..list.clone() };
            let mut walked = ListSql::new(&DIALECT);
            let keys = walked.payment_keys(&filter, 51);
            assert!(keys.has_all_filters);
            assert_walks(&filter, &plan_of(&keys.sql, &walked.values));
        }
    }
}

#[test]
fn work_is_counted_by_small_indexes() {
    let mut counting = ListSql::new(&DIALECT);
    let sql = counting.work_counts(&filters_of_work(Timestamp::UNIX_EPOCH));
    assert_walks(&"work", &plan_of(&sql, &counting.values));
}

#[test]
fn waits_are_read_from_small_indexes() {
    let plan = plan(&waits_sql(), 5);
    let of_tables = |table: &str| plan.iter().filter(|step| step.contains(table)).collect::<Vec<_>>();
    for step in of_tables("orders") {
        assert!(step.starts_with("SEARCH") || step.contains("reservations_of_ended_orders"), "{plan:#?}");
    }
    for step in of_tables("payments") {
        assert!(step.contains("INDEX payments_awaiting_provider"), "{plan:#?}");
    }
}

#[test]
fn due_orders_payments_for_timers_stock_and_sold_units_are_read_from_one_index_in_order() {
    let lists = [
        (ORDERS_DUE, 4),
        (RUN_OUT, 4),
        (PAYMENTS_AWAITING, 3),
        (BY_AVAILABLE, 4),
        (BY_SKU, 3),
        (UNITS_SOLD, 4),
    ];
    for (sql, parameters) in lists {
        let plan = plan(sql, parameters);
        assert!(plan.len() == 1 && plan[0].starts_with("SEARCH"), "{plan:#?}");
    }
}

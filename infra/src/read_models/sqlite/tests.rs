//! Query plans: no query reads more rows than it needs.

use domain::order::{OrderStatus, PaymentTerms};
use rusqlite::Connection;

use super::{
    connections::{create_indexes, create_tables},
    order_lists::list_sql,
    orders::terms::OVERDUE,
    waits::{ORDERS_DUE, PAYMENTS_AWAITING, RUN_OUT, waits_sql},
};
use crate::read_models::orders::{OrderBalance, OrderList};

fn plan_of(sql: &str, parameters: usize) -> Vec<String> {
    let connection = Connection::open_in_memory().unwrap();
    create_tables(&connection).unwrap();
    create_indexes(&connection).unwrap();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let values = rusqlite::params_from_iter(vec![0; parameters]);
    statement.query_map(values, |row| row.get(3)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn no_order_list_scans_a_table_or_sorts_more_than_pages() {
    let lists = [
        (OrderList::Time, 4),
        (OrderList::Customer, 5),
        (OrderList::Sku, 5),
        (OrderList::CustomerAndSku, 6),
        (OrderList::Balance(OrderBalance::Overpaid), 6),
        (OrderList::Balance(OrderBalance::RefundDue), 6),
    ];
    let net = Some(PaymentTerms::Net);
    let balance = OrderList::Balance(OrderBalance::Overpaid);
    let of_terms = [(OrderList::Terms, 4, net), (OrderList::Customer, 5, net), (balance, 6, net)];
    let lists = lists.map(|(list, parameters)| (list, parameters, None)).into_iter().chain(of_terms);
    for (list, parameters, terms) in lists {
        for status in [None, Some(OrderStatus::Cancelled)] {
            let plan = plan_of(&list_sql(list, status, terms), parameters);
            let walks = plan.iter().filter(|step| step.contains("orders") || step.contains("order_skus"));
            for step in walks {
                assert!(step.starts_with("SEARCH"), "{list:?} {status:?} has {step:?} in {plan:#?}");
            }
            // Only pages are sorted, which the branches have cut already.
            for steps in plan.windows(2).filter(|steps| steps[1].contains("TEMP B-TREE")) {
                assert!(steps[0].starts_with("SCAN (subquery"), "{list:?} {status:?} sorts rows: {plan:#?}");
            }
        }
    }
}

#[test]
fn waits_are_read_from_small_indexes() {
    let plan = plan_of(&waits_sql(), 5);
    let of_tables = |table: &str| plan.iter().filter(|step| step.contains(table)).collect::<Vec<_>>();
    for step in of_tables("orders") {
        assert!(step.starts_with("SEARCH") || step.contains("reservations_of_ended_orders"), "{plan:#?}");
    }
    for step in of_tables("payments") {
        assert!(step.contains("INDEX payments_awaiting_provider"), "{plan:#?}");
    }
}

#[test]
fn due_and_overdue_orders_and_payments_for_timers_are_read_from_small_indexes_in_order() {
    for (sql, parameters) in [(ORDERS_DUE, 4), (RUN_OUT, 4), (PAYMENTS_AWAITING, 3), (OVERDUE, 9)] {
        let plan = plan_of(sql, parameters);
        assert!(plan.len() == 1 && plan[0].starts_with("SEARCH"), "{plan:#?}");
    }
}

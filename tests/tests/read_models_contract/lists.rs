//! Filters, order and pages of lists.

use domain::{
    Amount, Decider, OrderId, Timestamp,
    order::{OrderDecider, OrderPaymentRecorded, OrderStatus, PaymentTerms},
    payment::{PaymentState, PaymentVoided},
};
use infra::read_models::{
    OrderBalance, OrderFilter, OrderRow, OrderStockEvent, OrderSummaryRow, PaymentFilter, Queries,
    ReservationRow, Rows, StockFilter, StockRow,
};

use super::{Fixture, Sample, at, order_id, payment_id, rows::payment_row, sku, step_with};

const STATUSES: [OrderStatus; 4] =
    [OrderStatus::Placed, OrderStatus::Allocated, OrderStatus::Rejected, OrderStatus::Cancelled];
const CUSTOMERS: [Option<&str>; 3] = [None, Some("ann"), Some("bob")];
const SKUS: [&[&str]; 3] = [&["A"], &["A", "B", "A"], &["C", "B"]];

/// 60 orders, ten at each of six instants, with every combination of status, customer and SKUs.
fn orders() -> Vec<OrderRow> {
    let row = |number: u32| {
        let index = number as usize;
        let sample = Sample {
            number,
            customer: CUSTOMERS[index % 3],
            skus: SKUS[index / 3 % 3],
            placed_at: at(i64::from(number % 6) * 100),
            payment_due_at: None,
            status: STATUSES[index / 9 % 4],
            terms: PaymentTerms::ALL[index / 4 % 3],
        };
        let mut row = OrderRow::clone(&sample.row());
        // Too much money for an open order, and money that an ended one gives back.
        if number.is_multiple_of(2) && row.order.payment_id().is_some() {
            let captured = domain::Amount::new(10_000).unwrap();
            let recorded = OrderPaymentRecorded { captured, ..OrderPaymentRecorded::default() };
            OrderDecider::evolve(&mut row.order, &recorded.into());
        }
        row
    };
    (0..60).map(row).collect()
}

/// The ids of all pages.
async fn pages(queries: &dyn Queries, filter: &OrderFilter, limit: usize) -> Vec<OrderId> {
    let mut filter = filter.clone();
    let mut found = Vec::new();
    loop {
        let page = queries.orders(&filter, limit).await.unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items.iter().map(|row| row.order_id));
        let last = page.items.last().map(|row| (row.summary.placed_at.unwrap(), row.order_id));
        if !page.has_more {
            return found;
        }
        filter.after = last;
    }
}

pub async fn every_order_filter_selects_its_orders_page_by_page<F: Fixture>(fixture: F) {
    let mut rows = orders();
    let by_key = {
        let mut rows: Vec<_> = rows.iter().cloned().map(std::sync::Arc::new).collect();
        rows.sort_by_key(|row| row.order_id);
        rows
    };
    fixture.models().commit(step_with(1, Rows { orders: by_key, ..Rows::default() })).await.unwrap();
    rows.sort_by_key(|row| std::cmp::Reverse((row.order.placed_at(), row.order_id)));
    let queries = fixture.queries();
    let mut matched = 0;
    for filter in filters() {
        let expected: Vec<OrderId> =
            rows.iter().filter(|row| matches(&filter, row)).map(|row| row.order_id).collect();
        matched += usize::from(!expected.is_empty());
        let page = queries.orders(&filter, 100).await.unwrap();
        let listed = page.items.iter().zip(rows.iter().filter(|row| matches(&filter, row)));
        assert!(listed.into_iter().all(|(listed, row)| *listed == OrderSummaryRow::from(row)), "{page:?}");
        for limit in [3, 100] {
            assert_eq!(pages(queries.as_ref(), &filter, limit).await, expected, "{filter:?}");
        }
    }
    assert!(matched > 40, "only {matched} filters matched an order");
}

fn filters() -> Vec<OrderFilter> {
    let statuses = STATUSES.into_iter().map(Some).chain([None, Some(OrderStatus::Expired)]);
    let times: [(Option<Timestamp>, Option<Timestamp>); 4] =
        [(None, None), (Some(at(200)), None), (None, Some(at(300))), (Some(at(100)), Some(at(400)))];
    let mut filters = Vec::new();
    let of_terms = |terms| OrderFilter { terms: Some(terms), ..OrderFilter::default() };
    for terms in PaymentTerms::ALL {
        filters.push(of_terms(terms));
        filters.push(OrderFilter { status: Some(OrderStatus::Allocated), ..of_terms(terms) });
        filters.push(OrderFilter { customer_id: Some("ann".to_owned()), ..of_terms(terms) });
        filters.push(OrderFilter { placed_from: Some(at(200)), ..of_terms(terms) });
    }
    for status in statuses {
        for customer in CUSTOMERS {
            for name in [None, Some("A"), Some("B")] {
                let filter = OrderFilter {
                    status,
                    sku: name.map(sku),
                    customer_id: customer.map(str::to_owned),
                    ..OrderFilter::default()
                };
                for (placed_from, placed_to) in times {
                    filters.push(OrderFilter { placed_from, placed_to, ..filter.clone() });
                }
                for balance in [OrderBalance::Overpaid, OrderBalance::RefundDue] {
                    filters.push(OrderFilter {
                        balance: Some(balance),
                        placed_from: Some(at(100)),
                        ..filter.clone()
                    });
                }
            }
        }
    }
    filters
}

fn matches(filter: &OrderFilter, row: &OrderRow) -> bool {
    let placed_at = row.order.placed_at().unwrap();
    filter.status.is_none_or(|status| row.order.status() == status)
        && filter.customer_id.as_deref().is_none_or(|customer| row.order.customer_id() == Some(customer))
        && filter.sku.as_ref().is_none_or(|sku| row.order.lines().iter().any(|line| line.sku == *sku))
        && filter.balance.is_none_or(|balance| balance.is_of(&row.order))
        && filter.placed_from.is_none_or(|from| placed_at >= from)
        && filter.placed_to.is_none_or(|to| placed_at < to)
        && filter.terms.is_none_or(|terms| row.order.terms() == terms)
}

pub async fn overdue_orders_come_by_the_time_from_which_they_are_overdue<F: Fixture>(fixture: F) {
    let (models, queries) = (fixture.models(), fixture.queries());
    let (status, terms) = (OrderStatus::Allocated, PaymentTerms::Net);
    let net = |number: u32, due: i64| {
        let customer = [None, Some("ann")][number as usize % 2];
        Sample { payment_due_at: Some(at(due)), customer, status, terms, ..Sample::numbered(number) }.row()
    };
    let prepaid =
        Sample { terms: PaymentTerms::Prepaid, payment_due_at: Some(at(1)), status, ..Sample::numbered(9) };
    let orders = vec![net(1, 300), net(2, 100), net(3, 200), net(4, 150), net(5, 900), prepaid.row()];
    models.commit(step_with(1, Rows { orders, ..Rows::default() })).await.unwrap();
    let list = async |filter: OrderFilter| {
        let mut filter = OrderFilter { overdue_at: Some(at(300)), ..filter };
        let mut found = Vec::new();
        loop {
            let page = queries.orders(&filter, 2).await.unwrap();
            filter.after = page.items.last().map(|row| (row.summary.overdue_from.unwrap(), row.order_id));
            found.extend(page.items.into_iter().map(|row| row.order_id));
            if !page.has_more {
                return found;
            }
        }
    };
    let all = [order_id(2), order_id(4), order_id(3), order_id(1)];
    assert_eq!(list(OrderFilter::default()).await, all);
    assert_eq!(
        list(OrderFilter { terms: Some(terms), status: Some(status), ..OrderFilter::default() }).await,
        all
    );
    let of_ann = OrderFilter { customer_id: Some("ann".to_owned()), ..OrderFilter::default() };
    assert_eq!(list(of_ann).await, [order_id(3), order_id(1)]);
    let none = OrderFilter { placed_from: Some(at(1)), ..OrderFilter::default() };
    assert!(list(none).await.is_empty());

    // A paid order leaves the list.
    let paid =
        OrderPaymentRecorded { captured: Amount::new(100).unwrap(), ..OrderPaymentRecorded::default() };
    let mut row = OrderRow::clone(&net(2, 100));
    OrderDecider::evolve(&mut row.order, &paid.into());
    row.revision += 1;
    models
        .commit(step_with(2, Rows { orders: vec![std::sync::Arc::new(row)], ..Rows::default() }))
        .await
        .unwrap();
    assert_eq!(list(OrderFilter::default()).await, all[1..]);
}

pub async fn payments_come_in_order_of_arrival<F: Fixture>(fixture: F) {
    let (models, queries) = (fixture.models(), fixture.queries());
    for number in 1..=7 {
        let payments = vec![payment_row(number, &[])];
        models.commit(step_with(number.into(), Rows { payments, ..Rows::default() })).await.unwrap();
    }
    let voided = PaymentVoided { reason: None, ran_out: false };
    let payments = vec![payment_row(3, &[voided.clone().into()])];
    models.commit(step_with(8, Rows { payments, ..Rows::default() })).await.unwrap();
    let payments = vec![payment_row(1, &[voided.into()])];
    models.commit(step_with(9, Rows { payments, ..Rows::default() })).await.unwrap();

    let list = async |state, order_id| {
        let mut filter = PaymentFilter { order_id, state, after: None };
        let mut found = Vec::new();
        loop {
            let page = queries.payments(&filter, 2).await.unwrap();
            filter.after = page.items.last().map(|row| row.payment_id);
            found.extend(page.items.into_iter().map(|row| row.payment_id));
            if !page.has_more {
                return found;
            }
        }
    };
    assert_eq!(list(None, None).await, (1..=7).map(payment_id).collect::<Vec<_>>());
    let requested = [2, 4, 5, 6, 7].map(payment_id);
    assert_eq!(list(Some(PaymentState::Requested), None).await, requested);
    assert_eq!(list(Some(PaymentState::Voided), None).await, [1, 3].map(payment_id));
    assert_eq!(list(None, Some(order_id(3))).await, [payment_id(3)]);
    assert_eq!(list(Some(PaymentState::Requested), Some(order_id(3))).await, []);
    assert_eq!(list(None, Some(order_id(99))).await, []);
}

pub async fn stock_is_listed_by_sku_and_by_available_units<F: Fixture>(fixture: F) {
    let row = |name: &str, on_hand, reserved| StockRow { sku: sku(name), on_hand, reserved, revision: 0 };
    let stock = vec![row("A", 10, 10), row("B", 10, 5), row("C", 3, 0), row("a", 0, 0), row("é", 7, 1)];
    fixture.models().commit(step_with(1, Rows { stock: stock.clone(), ..Rows::default() })).await.unwrap();
    let queries = fixture.queries();
    let first = queries.stock_list(&StockFilter::default(), 2).await.unwrap();
    assert_eq!((first.items.as_slice(), first.has_more), (&stock[..2], true));
    let after = StockFilter { after: Some(sku("B")), ..StockFilter::default() };
    let rest = queries.stock_list(&after, 3).await.unwrap();
    assert_eq!((rest.items.as_slice(), rest.has_more), (&stock[2..], false));
    let below = StockFilter { available_below: Some(5), after: None };
    let low = queries.stock_list(&below, 10).await.unwrap().items;
    assert_eq!(low.iter().map(|row| row.sku.as_str()).collect::<Vec<_>>(), ["A", "C", "a"]);
}

pub async fn reservations_of_a_sku_are_paged_by_order<F: Fixture>(fixture: F) {
    let mut expected: Vec<_> = (1..=5).map(order_id).collect();
    expected.sort_unstable();
    let mut reservations: Vec<_> = ["A", "B"]
        .into_iter()
        .flat_map(|name| {
            let held = |id: &OrderId| ReservationRow { sku: sku(name), order_id: *id, quantity: 1 };
            expected.iter().map(held).collect::<Vec<_>>()
        })
        .collect();
    reservations.sort_by(|a, b| (&a.sku, a.order_id).cmp(&(&b.sku, b.order_id)));
    fixture.models().commit(step_with(1, Rows { reservations, ..Rows::default() })).await.unwrap();
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = fixture.queries().reservations(&sku("A"), after, 2).await.unwrap();
        assert!(page.items.iter().all(|row| row.sku == sku("A")));
        found.extend(page.items.iter().map(|row| row.order_id));
        after = found.last().copied();
        if !page.has_more {
            break;
        }
    }
    assert_eq!(found, expected);
}

pub async fn stock_events_of_an_order_are_paged_in_the_order_of_the_log<F: Fixture>(fixture: F) {
    let event = |number, position: u64, name: &str| OrderStockEvent {
        order_id: order_id(number),
        position,
        sku: sku(name),
        revision: position / 2,
    };
    let first = vec![event(1, 3, "A"), event(1, 5, "B"), event(2, 4, "A")];
    // A partition that lags may add events with earlier positions.
    let second = vec![event(1, 2, "gift/set é"), event(1, u64::from(u32::MAX) + 7, "A")];
    for (position, mut order_stock_events) in (1..).zip([first, second]) {
        order_stock_events.sort_unstable();
        fixture
            .models()
            .commit(step_with(position, Rows { order_stock_events, ..Rows::default() }))
            .await
            .unwrap();
    }
    let expected = [
        event(1, 2, "gift/set é"),
        event(1, 3, "A"),
        event(1, 5, "B"),
        event(1, u64::from(u32::MAX) + 7, "A"),
    ];
    for limit in [1, 2, 4] {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = fixture.queries().order_stock_events(order_id(1), after, limit).await.unwrap();
            after = page.items.last().map(|event| event.position);
            found.extend(page.items);
            if !page.has_more {
                break;
            }
        }
        assert_eq!(found, expected, "{limit} at a time");
    }
    assert_eq!(fixture.queries().order_stock_events(order_id(3), None, 9).await.unwrap().items, []);
}

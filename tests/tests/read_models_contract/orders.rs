//! Filters, order and pages of lists of orders.

use std::sync::Arc;

use domain::{
    Amount, Decider, OrderId, ReturnId, ShipmentId,
    order::{
        FulfilmentStatus, LineQuantity, OrderDecider, OrderEvent, OrderPaymentRecorded, OrderReturned,
        OrderShipped, OrderStatus, PaymentStatus, PaymentTerms, ReturnedLine,
    },
};
use infra::read_models::{
    Direction, OrderFilter, OrderRow, OrderSort, OrderSummaryRow, OrderWork, PaymentRow, Queries, Rows,
};
use simulation::memory::ListedRows;
use uuid::Uuid;

use super::{Fixture, Sample, at, order_id, payments::sample_payment, sku, step_with};

const STATUSES: [OrderStatus; 4] =
    [OrderStatus::Placed, OrderStatus::Allocated, OrderStatus::Rejected, OrderStatus::Cancelled];
const CUSTOMERS: [Option<&str>; 3] = [None, Some("ann"), Some("bob")];
const SKUS: [&[&str]; 3] = [&["A"], &["A", "B", "A"], &["C", "B"]];
const REFERENCES: [Option<&str>; 4] = [None, Some("ref-1"), Some("ref-10"), Some("536365")];
const COUNTRIES: [Option<&str>; 3] = [None, Some("United Kingdom"), Some("France")];
const CURRENCIES: [&str; 2] = ["GBP", "EUR"];
const PAYMENT_STATUSES: [PaymentStatus; 4] =
    [PaymentStatus::Pending, PaymentStatus::Paid, PaymentStatus::PartiallyRefunded, PaymentStatus::NotDue];
const FULFILMENT_STATUSES: [FulfilmentStatus; 3] =
    [FulfilmentStatus::Unfulfilled, FulfilmentStatus::PartiallyShipped, FulfilmentStatus::PartiallyReturned];

/// 60 orders, ten at each of six instants, of many kinds.
fn orders() -> Vec<Arc<OrderRow>> {
    let row = |number: u32| {
        let index = number as usize;
        let sample = Sample {
            number,
            customer: CUSTOMERS[index % 3],
            skus: SKUS[index / 3 % 3],
            placed_at: at(i64::from(number % 6) * 100),
            payment_due_at: Some(at(i64::from(number) * 10)),
            status: STATUSES[index / 9 % 4],
            terms: PaymentTerms::ALL[index / 4 % 3],
            reference: REFERENCES[index / 2 % 4],
            country: COUNTRIES[index / 5 % 3],
            currency: CURRENCIES[index / 7 % 2],
            unit_price: 50 + 10 * i64::from(number % 4),
        };
        let mut row = OrderRow::clone(&sample.row());
        if row.order.payment_id().is_some() {
            for event in later_events(number, &row) {
                OrderDecider::evolve(&mut row.order, &event);
            }
        }
        row.times.add(&row.order, row.updated_at);
        Arc::new(row)
    };
    (0..60).map(row).collect()
}

/// What happened to an allocated or cancelled order.
fn later_events(number: u32, row: &OrderRow) -> Vec<OrderEvent> {
    let amount = |minor_units| Amount::new(minor_units).unwrap();
    let recorded = |captured, refunded| -> OrderEvent {
        let (captured, refunded) = (amount(captured), amount(refunded));
        OrderPaymentRecorded { captured, refunded, ..OrderPaymentRecorded::default() }.into()
    };
    let total = row.order.total().minor_units();
    let shipped = || -> OrderEvent {
        OrderShipped {
            shipment_id: ShipmentId(Uuid::from_u128(number.into())),
            lines: vec![LineQuantity { line: 1, quantity: 1 }],
            carrier: None,
            tracking_number: None,
        }
        .into()
    };
    let returned = || -> OrderEvent {
        OrderReturned {
            return_id: ReturnId(Uuid::from_u128(number.into())),
            lines: vec![ReturnedLine { line: 1, quantity: 1, restock: true, value: Some(amount(0)) }],
            refund_amount: amount(0),
            withheld: amount(0),
            reason: None,
            refunds: Vec::new(),
            credit: None,
        }
        .into()
    };
    match number % 6 {
        0 => vec![recorded(10_000, 0)],
        1 => vec![recorded(total, 0)],
        2 => vec![recorded(total, 0), shipped()],
        3 => vec![recorded(total, 0), shipped(), returned()],
        4 => vec![recorded(total, 10)],
        _ => Vec::new(),
    }
}

/// A payment for every second order, of which some have failed and some have a reference.
fn payments() -> Vec<Arc<PaymentRow>> {
    (0..60).step_by(2).map(sample_payment).collect()
}

/// The ids of all pages.
async fn pages(queries: &dyn Queries, filter: &OrderFilter, limit: usize) -> Vec<OrderId> {
    let mut filter = filter.clone();
    let mut found = Vec::new();
    loop {
        let page = queries.orders(&filter, limit).await.unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items.iter().map(|row| row.order_id));
        filter.after = page.next;
        if page.next.is_none() {
            return found;
        }
    }
}

/// Numbers that look random.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    /// One of the values, in one of three cases.
    fn maybe<T: Clone>(&mut self, values: &[T]) -> Option<T> {
        (self.below(4) == 0).then(|| values[self.below(values.len())].clone())
    }

    fn some<T: Clone + PartialEq>(&mut self, values: &[T]) -> Vec<T> {
        let mut chosen: Vec<T> = Vec::new();
        for value in [self.maybe(values), self.maybe(values)].into_iter().flatten() {
            if !chosen.contains(&value) {
                chosen.push(value);
            }
        }
        chosen
    }
}

fn filter(seed: u64) -> OrderFilter {
    let mut chance = Chance(seed);
    let sort =
        [OrderSort::Placed, OrderSort::Placed, OrderSort::Updated, OrderSort::Total, OrderSort::Overdue];
    let sort = sort[chance.below(5)];
    let texts = ["ref-1", "ann", "ch_", "536365", "a", "0", "b"].map(str::to_owned);
    let (first, second) = (chance.below(6), chance.below(6));
    let mut filter = OrderFilter {
        status: chance.some(&[STATUSES.as_slice(), &[OrderStatus::Expired]].concat()),
        payment_status: chance.some(&PAYMENT_STATUSES),
        fulfilment_status: chance.some(&FULFILMENT_STATUSES),
        customer_id: chance.maybe(&["ann".to_owned(), "bob".to_owned()]),
        sku: chance.maybe(&["A", "B", "C"].map(sku)),
        reference: chance.maybe(&["ref-1".to_owned(), "ref-10".to_owned()]),
        country: chance.maybe(&["United Kingdom".to_owned(), "France".to_owned()]),
        currency: chance.maybe(&CURRENCIES.map(|code| code.parse().unwrap())),
        work: chance.maybe(&OrderWork::ALL),
        terms: chance.maybe(&PaymentTerms::ALL),
        placed_from: chance.maybe(&[at(100 * i64::try_from(first).unwrap())]),
        placed_to: chance.maybe(&[at(100 * i64::try_from(second).unwrap())]),
        updated_since: chance.maybe(&[at(20), at(40)]),
        now: at(300),
        sort,
        direction: [Direction::Asc, Direction::Desc][chance.below(2)],
        ..OrderFilter::default()
    };
    if chance.below(6) == 0 {
        filter.text = Some(texts[chance.below(texts.len())].clone());
    }
    if chance.below(12) == 0 {
        filter.payment_reference = Some("ch_6".to_owned());
    }
    // Few filters at once, so that many lists have orders.
    for _ in 0..chance.below(12) {
        match chance.below(9) {
            0 => filter.status.clear(),
            1 => filter.payment_status.clear(),
            2 => filter.fulfilment_status.clear(),
            3 => filter.customer_id = None,
            4 => filter.sku = None,
            5 => filter.reference = None,
            6 => filter.country = None,
            7 => filter.terms = None,
            _ => filter.work = None,
        }
    }
    match sort {
        OrderSort::Total => filter.currency = Some("GBP".parse().unwrap()),
        OrderSort::Overdue => filter.work = Some(OrderWork::Overdue),
        OrderSort::Placed | OrderSort::Updated => {}
    }
    filter
}

pub async fn every_filter_and_order_of_lists_gives_its_orders_page_by_page<F: Fixture>(fixture: F) {
    let (mut orders, mut payments) = (orders(), payments());
    orders.sort_by_key(|row| row.order_id);
    payments.sort_by_key(|row| row.payment_id);
    let rows = Rows { orders: orders.clone(), payments: payments.clone(), ..Rows::default() };
    fixture.models().commit(step_with(1, rows)).await.unwrap();
    let expected = ListedRows {
        orders: orders.iter().map(AsRef::as_ref).collect(),
        payments: payments.iter().map(AsRef::as_ref).collect(),
    };
    let queries = fixture.queries();
    let counts = queries.work_counts(at(300)).await.unwrap();
    assert_eq!(counts, expected.work_counts(at(300)));
    assert!(counts.iter().all(|(_, count)| count.value > 0), "{counts:?}");
    let single =
        OrderWork::ALL.map(|work| OrderFilter { work: Some(work), now: at(300), ..OrderFilter::default() });
    let mut matched = 0;
    for filter in single.into_iter().chain((0..600).map(filter)) {
        let all: Vec<OrderSummaryRow> = expected.orders(&filter, usize::MAX).items;
        let page = queries.orders(&filter, 100).await.unwrap();
        assert_eq!(page.items, all, "{filter:?}");
        let ids: Vec<OrderId> = all.iter().map(|row| row.order_id).collect();
        assert_eq!(pages(queries.as_ref(), &filter, 3).await, ids, "{filter:?}");
        assert_eq!(queries.order_count(&filter).await.unwrap(), expected.order_count(&filter), "{filter:?}");
        matched += usize::from(!ids.is_empty());
    }
    assert!(matched > 150, "only {matched} filters matched an order");
}

pub async fn a_list_that_looks_at_many_orders_finds_all_of_them_page_by_page<F: Fixture>(fixture: F) {
    let sample = |number: u32| {
        let country = (number % 1_000 == 7).then_some("Iceland");
        Sample { country, customer: Some("ann"), placed_at: at(number.into()), ..Sample::numbered(number) }
            .row()
    };
    let mut orders: Vec<_> = (0..4_500).map(sample).collect();
    orders.sort_by_key(|row| row.order_id);
    fixture.models().commit(step_with(1, Rows { orders, ..Rows::default() })).await.unwrap();
    let queries = fixture.queries();
    // No index has both.
    let filter = OrderFilter {
        customer_id: Some("ann".to_owned()),
        country: Some("Iceland".to_owned()),
        ..OrderFilter::default()
    };
    let expected = [4_007, 3_007, 2_007, 1_007, 7].map(order_id);
    for limit in [1, 2, 100] {
        assert_eq!(pages(queries.as_ref(), &filter, limit).await, expected, "{limit} at a time");
    }
    let upwards = OrderFilter { direction: Direction::Asc, ..filter };
    assert_eq!(pages(queries.as_ref(), &upwards, 3).await, [7, 1_007, 2_007, 3_007, 4_007].map(order_id));
    let count = queries.order_count(&upwards).await.unwrap();
    assert_eq!((count.value, count.is_exact), (5, true));
}

pub async fn a_count_of_many_declined_orders_does_not_claim_to_be_exact<F: Fixture>(fixture: F) {
    let allocated = |number: u32| Sample { status: OrderStatus::Allocated, ..Sample::numbered(number) }.row();
    // Each fifth payment was declined.
    let mut orders: Vec<_> = (0..2_001).map(|index| allocated(5 * index)).collect();
    let mut payments: Vec<_> = (0..2_001).map(|index| sample_payment(5 * index)).collect();
    let (last_order, last_payment) = (orders.split_off(2_000), payments.split_off(2_000));
    let queries = fixture.queries();
    let declined = OrderFilter { work: Some(OrderWork::Declined), ..OrderFilter::default() };
    for (step, all, orders, payments) in [(1, 2_000, orders, payments), (2, 2_001, last_order, last_payment)]
    {
        fixture.models().commit(step_with(step, Rows { orders, payments, ..Rows::default() })).await.unwrap();
        let of_work = queries.work_counts(at(0)).await.unwrap();
        let (_, of_work) = of_work.into_iter().find(|(work, _)| *work == OrderWork::Declined).unwrap();
        for count in [of_work, queries.order_count(&declined).await.unwrap()] {
            // A database looks at 2,000 of them.
            let is_exact = count.value == all;
            assert!(is_exact || count.value == 2_000, "{count:?} of {all}");
            assert_eq!(count.is_exact, is_exact, "{count:?} of {all}");
        }
    }
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
        let (sort, direction) = (OrderSort::Overdue, OrderSort::Overdue.direction());
        let work = Some(OrderWork::Overdue);
        pages(queries.as_ref(), &OrderFilter { work, now: at(300), sort, direction, ..filter }, 2).await
    };
    let all = [order_id(2), order_id(4), order_id(3), order_id(1)];
    assert_eq!(list(OrderFilter::default()).await, all);
    assert_eq!(
        list(OrderFilter { terms: Some(terms), status: vec![status], ..OrderFilter::default() }).await,
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

//! Rows are written, loaded and deleted.

use std::sync::Arc;

use domain::{
    Amount, Decider, OrderId, RefundId,
    order::OrderStatus,
    payment::{PaymentDecider, PaymentEvent, PaymentRequested, PaymentTerms},
};
use infra::read_models::{
    OrderSummaryRow, PaymentFilter, PaymentRow, PaymentSummaryRow, Queries, RefundTimes, ReservationRow,
    RowKeys, Rows, StockRow, WaitFilter, WaitKind,
};

use super::{Fixture, Sample, at, order_id, payment_id, sku, step_with};

pub fn payment_row(number: u32, events: &[PaymentEvent]) -> Arc<PaymentRow> {
    let requested = PaymentRequested {
        payment_id: payment_id(number),
        order_id: order_id(number),
        amount: Amount::new(100).unwrap(),
        currency: "GBP".parse().unwrap(),
        terms: PaymentTerms::Prepaid,
        credit: None,
    };
    let mut payment = domain::payment::Payment::default();
    PaymentDecider::evolve(&mut payment, &requested.into());
    for event in events {
        PaymentDecider::evolve(&mut payment, event);
    }
    let revision = events.len() as u64;
    Arc::new(PaymentRow {
        payment_id: payment_id(number),
        revision,
        recorded_at: at(5),
        updated_at: at(6),
        awaits_provider_since: (!payment.provider_work().is_empty()).then(|| at(6)),
        refund_times: RefundTimes {
            requested: [(RefundId::of_provider(payment_id(1), "re"), at(6))].into(),
            ..RefundTimes::default()
        },
        payment,
    })
}

fn reservation(number: u32, quantity: u32) -> ReservationRow {
    ReservationRow { sku: sku("A"), order_id: order_id(number), quantity }
}

pub async fn rows_read_back_equal_to_the_rows_written<F: Fixture>(fixture: F) {
    let (models, queries) = (fixture.models(), fixture.queries());
    let stock = StockRow { sku: sku("gift/set é"), on_hand: u32::MAX, reserved: 6, revision: 1 << 40 };
    let mut order = Sample { customer: Some("17850"), skus: &["A", "B", "A"], ..Sample::numbered(1) };
    let mut changes = step_with(
        1,
        Rows {
            stock: vec![stock.clone()],
            reservations: vec![reservation(1, 4)],
            orders: vec![order.row()],
            payments: vec![payment_row(1, &[])],
            ..Rows::default()
        },
    );
    for position in 1..=2 {
        let expected = (changes.rows.orders[0].clone(), changes.rows.payments[0].clone());
        models.commit(changes).await.unwrap();
        assert_eq!(queries.order(order_id(1)).await.unwrap().as_ref(), Some(expected.0.as_ref()));
        assert_eq!(queries.payment(payment_id(1)).await.unwrap().as_ref(), Some(expected.1.as_ref()));
        let summary = queries.order_summary(order_id(1)).await.unwrap();
        assert_eq!(summary, Some(OrderSummaryRow::from(expected.0.as_ref())));
        let listed = queries.payments(&PaymentFilter::default(), 1).await.unwrap().items;
        assert_eq!(listed, [PaymentSummaryRow::from(expected.1.as_ref())]);
        let keys = RowKeys {
            stock: [stock.sku.clone()].into(),
            reservations: [(sku("A"), order_id(1))].into(),
            orders: [order_id(1)].into(),
            payments: [payment_id(1)].into(),
        };
        let loaded = models.load(keys).await.unwrap();
        assert_eq!((&loaded.orders[0], &loaded.payments[0]), (&expected.0, &expected.1));
        assert_eq!(loaded.stock, std::slice::from_ref(&stock));
        assert_eq!(loaded.reservations, [reservation(1, 4)]);
        // The second round writes changed rows.
        order.status = OrderStatus::Allocated;
        let voided = domain::payment::PaymentVoided { reason: None, ran_out: false };
        changes = step_with(
            position + 1,
            Rows {
                orders: vec![order.row()],
                payments: vec![payment_row(1, &[voided.into()])],
                ..Rows::default()
            },
        );
    }
    assert_eq!(queries.order(order_id(2)).await.unwrap(), None);
    assert_eq!(queries.payment(payment_id(2)).await.unwrap(), None);
    assert_eq!(queries.stock(&sku("B")).await.unwrap(), None);
}

pub async fn only_rows_that_exist_are_loaded<F: Fixture>(fixture: F) {
    let models = fixture.models();
    models
        .commit(step_with(1, Rows { orders: vec![Sample::numbered(1).row()], ..Rows::default() }))
        .await
        .unwrap();
    let keys = RowKeys {
        stock: [sku("A")].into(),
        reservations: [(sku("A"), order_id(1))].into(),
        orders: [order_id(1), order_id(2)].into(),
        payments: [payment_id(1)].into(),
    };
    let loaded = models.load(keys).await.unwrap();
    assert_eq!(loaded.orders.len(), 1);
    assert!(loaded.stock.is_empty() && loaded.reservations.is_empty() && loaded.payments.is_empty());
}

pub async fn closed_reservations_are_deleted<F: Fixture>(fixture: F) {
    let models = fixture.models();
    let mut reservations = vec![reservation(1, 1), reservation(2, 2)];
    reservations.sort_by_key(|row| row.order_id);
    models.commit(step_with(1, Rows { reservations, ..Rows::default() })).await.unwrap();
    let reservations_closed = vec![(sku("A"), order_id(1)), (sku("B"), order_id(7))];
    models.commit(step_with(2, Rows { reservations_closed, ..Rows::default() })).await.unwrap();
    let left = fixture.queries().reservations(&sku("A"), None, 10).await.unwrap();
    assert_eq!(left.items, [reservation(2, 2)]);
}

/// The ended orders that wait for the release of their stock, in ascending order of id.
pub async fn releases(queries: &dyn Queries) -> Vec<OrderId> {
    let all = WaitFilter { since_before: at(1_000), after: None };
    let waits = queries.waits(&all, 100).await.unwrap().items.into_iter();
    let mut waiting: Vec<_> =
        waits.filter(|wait| wait.kind == WaitKind::Release).map(|wait| OrderId(wait.id)).collect();
    waiting.sort_unstable();
    waiting
}

pub async fn open_reservations_of_ended_orders_are_found_in_either_order_of_writing<F: Fixture>(fixture: F) {
    let (models, overdue) = (fixture.models(), fixture.overdue());
    let waiting = async || releases(&*fixture.queries()).await;
    let found = async || {
        let (mut found, mut after): (Vec<OrderId>, _) = (Vec::new(), None);
        loop {
            let page = overdue.ended_orders_with_reservations(after, 2).await.unwrap();
            assert!(page.len() <= 2);
            after = page.last().copied();
            if page.is_empty() {
                return found;
            }
            found.extend(page);
        }
    };
    let order = |number, status| Sample { status, ..Sample::numbered(number) }.row();
    // Order 1: held, then ended. Order 2: ended, then held. Order 3: both in one commit. Order 4 stays open.
    models
        .commit(step_with(1, Rows { reservations: vec![reservation(1, 1)], ..Rows::default() }))
        .await
        .unwrap();
    models
        .commit(step_with(2, Rows { orders: vec![order(2, OrderStatus::Rejected)], ..Rows::default() }))
        .await
        .unwrap();
    assert_eq!(found().await, []);
    assert_eq!(waiting().await, []);
    models
        .commit(step_with(3, Rows { orders: vec![order(1, OrderStatus::Cancelled)], ..Rows::default() }))
        .await
        .unwrap();
    models
        .commit(step_with(4, Rows { reservations: vec![reservation(2, 1)], ..Rows::default() }))
        .await
        .unwrap();
    let at_once = step_with(
        5,
        Rows {
            reservations: vec![reservation(3, 1)],
            orders: vec![order(3, OrderStatus::Cancelled)],
            ..Rows::default()
        },
    );
    models.commit(at_once).await.unwrap();
    let going_on = step_with(
        6,
        Rows {
            reservations: vec![reservation(4, 1)],
            orders: vec![order(4, OrderStatus::Allocated)],
            ..Rows::default()
        },
    );
    models.commit(going_on).await.unwrap();
    let mut expected = vec![order_id(1), order_id(2), order_id(3)];
    expected.sort_unstable();
    assert_eq!(found().await, expected);
    assert_eq!(waiting().await, expected);

    // A partial release leaves the reservation open; closing deletes it.
    models
        .commit(step_with(7, Rows { reservations: vec![reservation(1, 1)], ..Rows::default() }))
        .await
        .unwrap();
    assert_eq!(found().await, expected);
    assert_eq!(waiting().await, expected);
    for (position, number) in (8..).zip(1..=3) {
        let reservations_closed = vec![(sku("A"), order_id(number))];
        models.commit(step_with(position, Rows { reservations_closed, ..Rows::default() })).await.unwrap();
    }
    assert_eq!(found().await, []);
    assert_eq!(waiting().await, []);
}

pub async fn orders_left_placed_are_found<F: Fixture>(fixture: F) {
    let (models, overdue) = (fixture.models(), fixture.overdue());
    let mut orders: Vec<_> = (1..=6)
        .map(|number| {
            let status = if number % 2 == 0 { OrderStatus::Allocated } else { OrderStatus::Placed };
            Sample { status, ..Sample::numbered(number) }.row()
        })
        .collect();
    orders.sort_by_key(|row| row.order_id);
    models.commit(step_with(1, Rows { orders, ..Rows::default() })).await.unwrap();
    // Order n was recorded in second n.
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = overdue.placed_orders_recorded_before(at(5), after, 1).await.unwrap();
        assert!(page.len() <= 1);
        after = page.last().copied();
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert!(found.is_sorted(), "{found:?}");
    let mut found: Vec<OrderId> = found.into_iter().map(|(_, id)| id).collect();
    found.sort_unstable();
    let mut expected = vec![order_id(1), order_id(3)];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

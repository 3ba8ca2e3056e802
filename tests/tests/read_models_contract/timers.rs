//! Overdue work: due payments, waits, and payments that wait for their provider.

use std::sync::Arc;

use domain::{
    Amount, Decider, OrderId, PaymentId, RefundId, Timestamp,
    order::{OrderDecider, OrderPaid, OrderPaymentRecorded, OrderStatus},
    payment::{
        PaymentAuthorized, PaymentCaptured, PaymentEvent, PaymentRefundFailed, PaymentRefundRequested,
        PaymentRefunded, PaymentVoidRequested, PaymentVoided, RefundReason,
    },
};
use infra::read_models::{
    OrderRow, OverdueQueries, PaymentRow, ReservationRow, Rows, Wait, WaitFilter, WaitKind,
};

use super::{Fixture, Sample, at, order_id, payment_id, rows::payment_row, sku, step_with};

fn due(number: u32, second: i64, status: OrderStatus) -> Arc<OrderRow> {
    Sample { payment_due_at: Some(at(second)), status, ..Sample::numbered(number) }.row()
}

fn paid(number: u32, second: i64) -> Arc<OrderRow> {
    let mut row = OrderRow::clone(&due(number, second, OrderStatus::Allocated));
    let recorded = OrderPaymentRecorded { captured: amount(100), ..OrderPaymentRecorded::default() };
    for event in [recorded.into(), OrderPaid {}.into()] {
        OrderDecider::evolve(&mut row.order, &event);
        row.revision += 1;
    }
    Arc::new(row)
}

fn sorted(mut orders: Vec<Arc<OrderRow>>) -> Vec<Arc<OrderRow>> {
    orders.sort_by_key(|row| row.order_id);
    orders
}

pub async fn orders_are_due_while_they_wait_for_their_payment<F: Fixture>(fixture: F) {
    let (models, overdue) = (fixture.models(), fixture.overdue());
    let orders = vec![
        due(1, 30, OrderStatus::Allocated),
        due(2, 10, OrderStatus::Placed),
        due(3, 20, OrderStatus::Allocated),
        due(4, 10, OrderStatus::Rejected),
        due(5, 10, OrderStatus::Cancelled),
        paid(6, 10),
        // Has no due time.
        Sample { status: OrderStatus::Allocated, ..Sample::numbered(7) }.row(),
        // Due before the earliest time of Postgres.
        Sample { payment_due_at: Some(Timestamp::MIN), ..Sample::numbered(8) }.row(),
    ];
    models.commit(step_with(1, Rows { orders: sorted(orders), ..Rows::default() })).await.unwrap();
    let due_by = async |second| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = overdue.orders_due_before(at(second), after, 3).await.unwrap();
            assert!(page.len() <= 3);
            after = page.last().copied();
            if page.is_empty() {
                return found;
            }
            found.extend(page.into_iter().map(|(_, id)| id));
        }
    };
    let numbered = |numbers: &[u32]| numbers.iter().copied().map(order_id).collect::<Vec<OrderId>>();
    assert_eq!(due_by(9).await, numbered(&[8]));
    assert_eq!(due_by(10).await, numbered(&[8, 2]));
    assert_eq!(due_by(30).await, numbered(&[8, 2, 3, 1]));

    // An allocated order still waits; a paid or ended one does not.
    let orders = vec![due(2, 10, OrderStatus::Allocated), due(3, 20, OrderStatus::Cancelled), paid(1, 30)];
    models.commit(step_with(2, Rows { orders: sorted(orders), ..Rows::default() })).await.unwrap();
    assert_eq!(due_by(30).await, numbered(&[8, 2]));
}

fn amount(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn refund_requested(refund_id: RefundId) -> PaymentEvent {
    PaymentRefundRequested {
        refund_id,
        amount: amount(10),
        reason: RefundReason::Requested,
        source: None,
        part_of: None,
    }
    .into()
}

/// All payments that have waited since before a time, read page by page.
async fn awaiting(overdue: &dyn OverdueQueries, updated_before: Timestamp) -> Vec<PaymentId> {
    let mut found: Vec<PaymentId> = Vec::new();
    loop {
        let after = found.last().copied();
        let page = overdue.payments_awaiting_provider(updated_before, after, 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

fn expected<const N: usize>(numbers: [u32; N]) -> Vec<PaymentId> {
    let mut ids: Vec<PaymentId> = numbers.into_iter().map(payment_id).collect();
    ids.sort_unstable();
    ids
}

pub async fn payments_wait_until_their_provider_has_nothing_to_do<F: Fixture>(fixture: F) {
    let (models, overdue) = (fixture.models(), fixture.overdue());
    let authorized: PaymentEvent =
        PaymentAuthorized { amount: amount(100), reference: None, charge: Some(1), until: None }.into();
    let captured: PaymentEvent =
        PaymentCaptured { amount: amount(100), reference: None, charge: Some(1), late: false }.into();
    let void_requested: PaymentEvent = PaymentVoidRequested {}.into();
    // Captured by hand: no provider to ask.
    let by_hand: PaymentEvent =
        PaymentCaptured { amount: amount(100), reference: None, charge: None, late: false }.into();
    let refund_id = RefundId(payment_id(1).0);
    let requested = refund_requested(refund_id);
    let refunded = PaymentRefunded { refund_id, amount: amount(10), reference: None };
    let failed = PaymentRefundFailed { refund_id, amount: amount(10), reason: None, by_provider: false };
    let changed_at = |number, second, events: &[&PaymentEvent]| {
        let events: Vec<PaymentEvent> = events.iter().copied().cloned().collect();
        let row = PaymentRow::clone(&payment_row(number, &events));
        let awaits_provider_since = row.awaits_provider_since.map(|_| at(second));
        Arc::new(PaymentRow { updated_at: at(second), awaits_provider_since, ..row })
    };
    let commit = async |position, mut payments: Vec<Arc<PaymentRow>>| {
        payments.sort_by_key(|row| row.payment_id);
        models.commit(step_with(position, Rows { payments, ..Rows::default() })).await.unwrap();
    };
    commit(
        1,
        vec![
            changed_at(1, 10, &[]),
            changed_at(2, 10, &[&authorized, &void_requested]),
            changed_at(3, 20, &[&captured, &requested]),
            changed_at(4, 10, &[&captured, &requested, &refunded.into()]),
            changed_at(5, 10, &[&captured, &requested, &failed.into()]),
            changed_at(6, 20, &[&authorized, &void_requested]),
            changed_at(7, 20, &[&captured, &requested]),
            changed_at(8, 10, &[&by_hand, &requested]),
        ],
    )
    .await;
    let overdue = overdue.as_ref();
    assert_eq!(awaiting(overdue, at(10)).await, expected([]));
    assert_eq!(awaiting(overdue, at(20)).await, expected([2]));
    assert_eq!(awaiting(overdue, at(21)).await, expected([2, 3, 6, 7]));

    // Payment 1 begins to wait, payment 2 is answered, payment 3 changes and still waits.
    let voided: PaymentEvent = PaymentVoided { reason: None, ran_out: false }.into();
    let other = refund_requested(RefundId(payment_id(2).0));
    commit(
        2,
        vec![
            changed_at(1, 15, &[&authorized, &void_requested]),
            changed_at(2, 30, &[&authorized, &void_requested, &voided]),
            changed_at(3, 30, &[&captured, &requested, &other]),
        ],
    )
    .await;
    assert_eq!(awaiting(overdue, at(21)).await, expected([1, 6, 7]));
    assert_eq!(awaiting(overdue, at(31)).await, expected([1, 3, 6, 7]));
}

pub async fn authorisations_run_out_while_they_hold_money<F: Fixture>(fixture: F) {
    let (models, overdue) = (fixture.models(), fixture.overdue());
    let authorized = |until: Option<i64>| -> PaymentEvent {
        PaymentAuthorized { amount: amount(100), reference: None, charge: Some(1), until: until.map(at) }
            .into()
    };
    let captured = |minor| -> PaymentEvent {
        PaymentCaptured { amount: amount(minor), reference: None, charge: Some(1), late: false }.into()
    };
    let voided: PaymentEvent = PaymentVoided { reason: None, ran_out: true }.into();
    let commit = async |position, mut payments: Vec<Arc<PaymentRow>>| {
        payments.sort_by_key(|row| row.payment_id);
        models.commit(step_with(position, Rows { payments, ..Rows::default() })).await.unwrap();
    };
    commit(
        1,
        vec![
            payment_row(1, &[authorized(Some(30))]),
            payment_row(2, &[authorized(Some(10))]),
            payment_row(3, &[authorized(Some(20)), captured(60)]),
            payment_row(4, &[authorized(Some(10)), captured(100)]),
            payment_row(5, &[authorized(Some(10)), voided.clone()]),
            payment_row(6, &[authorized(None)]),
            payment_row(7, &[]),
        ],
    )
    .await;
    let run_out_by = async |second| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = overdue.authorizations_run_out_by(at(second), after, 2).await.unwrap();
            assert!(page.len() <= 2);
            after = page.last().copied();
            if page.is_empty() {
                return found;
            }
            found.extend(page.into_iter().map(|(_, id)| id));
        }
    };
    let numbered = |numbers: &[u32]| numbers.iter().copied().map(payment_id).collect::<Vec<PaymentId>>();
    assert_eq!(run_out_by(9).await, numbered(&[]));
    assert_eq!(run_out_by(10).await, numbered(&[2]));
    assert_eq!(run_out_by(30).await, numbered(&[2, 3, 1]));
    // Payment 2 is held longer, payment 1 has ended.
    let longer = payment_row(2, &[authorized(Some(10)), authorized(Some(40))]);
    commit(2, vec![payment_row(1, &[authorized(Some(30)), voided]), longer]).await;
    assert_eq!(run_out_by(40).await, numbered(&[3, 2]));
}

pub async fn waits_are_listed_the_longest_first_page_by_page<F: Fixture>(fixture: F) {
    let (models, queries) = (fixture.models(), fixture.queries());
    let captured: PaymentEvent =
        PaymentCaptured { amount: amount(100), reference: None, charge: Some(1), late: false }.into();
    let requested = refund_requested(RefundId(payment_id(1).0));
    // Order n was recorded in second n, and updated a second later.
    let order = |number, status| Sample { status, ..Sample::numbered(number) }.row();
    let orders = vec![
        order(1, OrderStatus::Placed),
        order(2, OrderStatus::Allocated),
        due(3, 7, OrderStatus::Allocated),
        // Placed and due: only the wait for the allocation is listed.
        due(4, 2, OrderStatus::Placed),
        order(5, OrderStatus::Cancelled),
        order(6, OrderStatus::Rejected),
        paid(7, 1),
        order(8, OrderStatus::Placed),
    ];
    let held = |number| ReservationRow { sku: sku("A"), order_id: order_id(number), quantity: 1 };
    let mut reservations = vec![held(2), held(3), held(6), ReservationRow { sku: sku("B"), ..held(6) }];
    reservations.sort_by(|a, b| (&a.sku, a.order_id).cmp(&(&b.sku, b.order_id)));
    // Payment rows were updated in second 6.
    let payments = vec![payment_row(7, &[captured, requested]), payment_row(9, &[])];
    models
        .commit(step_with(1, Rows { orders: sorted(orders), reservations, payments, ..Rows::default() }))
        .await
        .unwrap();
    let wait = |second, id, kind| Wait { since: at(second), id, kind };
    let mut expected = [
        wait(1, order_id(1).0, WaitKind::Allocation),
        wait(4, order_id(4).0, WaitKind::Allocation),
        wait(6, payment_id(7).0, WaitKind::Provider),
        wait(7, order_id(3).0, WaitKind::Expiry),
        wait(7, order_id(6).0, WaitKind::Release),
        wait(8, order_id(8).0, WaitKind::Allocation),
    ];
    expected.sort_unstable();
    for limit in 1..=7 {
        for (before, count) in [(9, 6), (8, 5), (7, 3), (1, 0)] {
            let (mut after, mut found) = (None, Vec::new());
            loop {
                let filter = WaitFilter { since_before: at(before), after };
                let page = queries.waits(&filter, limit).await.unwrap();
                after = page.items.last().map(|wait| (wait.since, wait.id, wait.kind.code()));
                found.extend(page.items);
                if !page.has_more {
                    break;
                }
            }
            assert_eq!(found, expected[..count], "before {before}, {limit} at a time");
        }
    }
}

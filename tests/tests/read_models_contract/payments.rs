//! Filters, order and pages of the list of payments.

use std::sync::Arc;

use domain::{
    Amount, PaymentId,
    payment::{PaymentCaptured, PaymentFailed, PaymentState, PaymentVoided},
};
use infra::read_models::{Direction, PaymentFilter, PaymentRow, Queries, Rows};
use simulation::memory::ListedRows;

use super::{Fixture, order_id, payment_id, rows::payment_row, step_with};

/// A payment that was captured, has failed, or waits.
pub fn sample_payment(number: u32) -> Arc<PaymentRow> {
    let failed = |retryable, code: &str| PaymentFailed {
        reason: Some(code.to_owned()),
        retryable,
        code: Some(code.to_owned()),
    };
    let captured = PaymentCaptured {
        amount: Amount::new(100).unwrap(),
        reference: Some(format!("ch_{}", number % 8)),
        charge: None,
        late: false,
    };
    match number % 5 {
        0 => payment_row(number, &[failed(true, "card_declined").into()]),
        1 => payment_row(number, &[captured.into()]),
        2 => payment_row(number, &[failed(false, "expired_card").into()]),
        3 => payment_row(number, &[failed(true, "expired_card").into()]),
        _ => payment_row(number, &[]),
    }
}

async fn pages(queries: &dyn Queries, filter: &PaymentFilter, limit: usize) -> Vec<PaymentId> {
    let mut filter = filter.clone();
    let mut found = Vec::new();
    loop {
        let page = queries.payments(&filter, limit).await.unwrap();
        filter.after = page.next;
        found.extend(page.items.into_iter().map(|row| row.payment_id));
        if page.next.is_none() {
            return found;
        }
    }
}

pub async fn every_filter_selects_its_payments_page_by_page<F: Fixture>(fixture: F) {
    let rows: Vec<_> = (1..=40).map(sample_payment).collect();
    for (position, row) in (1..).zip(&rows) {
        let payments = vec![Arc::clone(row)];
        fixture.models().commit(step_with(position, Rows { payments, ..Rows::default() })).await.unwrap();
    }
    let expected = ListedRows { orders: Vec::new(), payments: rows.iter().map(AsRef::as_ref).collect() };
    let queries = fixture.queries();
    let mut matched = 0;
    let states = [vec![], vec![PaymentState::Failed], vec![PaymentState::Requested, PaymentState::Captured]];
    for state in states {
        for reference in [None, Some("ch_1".to_owned())] {
            for failure in [None, Some("expired_card".to_owned())] {
                for (is_declined, direction) in
                    [(false, Direction::Asc), (false, Direction::Desc), (true, Direction::Desc)]
                {
                    let (state, reference, failure) = (state.clone(), reference.clone(), failure.clone());
                    let filter = PaymentFilter {
                        state,
                        reference,
                        failure,
                        is_declined,
                        direction,
                        ..PaymentFilter::default()
                    };
                    let all = expected.payments(&filter, usize::MAX).items;
                    assert_eq!(queries.payments(&filter, 100).await.unwrap().items, all, "{filter:?}");
                    let ids: Vec<_> = all.iter().map(|row| row.payment_id).collect();
                    assert_eq!(pages(queries.as_ref(), &filter, 3).await, ids, "{filter:?}");
                    matched += usize::from(!ids.is_empty());
                }
            }
        }
    }
    assert!(matched > 12, "only {matched} filters matched a payment");
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
        let (state, direction) = (Option::into_iter(state).collect(), Direction::Asc);
        let filter = PaymentFilter { order_id, state, direction, ..PaymentFilter::default() };
        pages(queries.as_ref(), &filter, 2).await
    };
    assert_eq!(list(None, None).await, (1..=7).map(payment_id).collect::<Vec<_>>());
    let requested = [2, 4, 5, 6, 7].map(payment_id);
    assert_eq!(list(Some(PaymentState::Requested), None).await, requested);
    assert_eq!(list(Some(PaymentState::Voided), None).await, [1, 3].map(payment_id));
    assert_eq!(list(None, Some(order_id(3))).await, [payment_id(3)]);
    assert_eq!(list(Some(PaymentState::Requested), Some(order_id(3))).await, []);
    assert_eq!(list(None, Some(order_id(99))).await, []);
}

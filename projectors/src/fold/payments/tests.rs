use domain::{
    Amount, OrderId, RefundId,
    payment::{
        PaymentCaptured, PaymentClosed, PaymentRefundFailed, PaymentRefundFound, PaymentRefundOutcomeUnknown,
        PaymentRefundRequested, PaymentRefunded, PaymentRequested, PaymentTerms, RefundReason, RefundSource,
    },
};
use infra::read_models::RefundTimes;
use uuid::Uuid;

use super::*;

const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(1));

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

fn refund(number: u64) -> RefundId {
    RefundId::of_closing(PAYMENT, number)
}

fn requested(number: u64) -> PaymentEvent {
    PaymentRefundRequested {
        refund_id: refund(number),
        amount: amount(100),
        reason: RefundReason::OrderClosed,
        source: Some(RefundSource::Charge(1)),
        part_of: None,
    }
    .into()
}

fn failed(number: u64) -> PaymentEvent {
    let (refund_id, reason) = (refund(number), Some("account_closed".to_owned()));
    PaymentRefundFailed { refund_id, amount: amount(100), reason, by_provider: true }.into()
}

/// Folds events of these minutes. Returns the minute since which the payment waits, after each event.
fn waits(events: impl IntoIterator<Item = (i64, PaymentEvent)>) -> Vec<Option<i64>> {
    let at = |minute: i64| Timestamp::from_second(60 * minute).unwrap();
    let mut row: Option<PaymentRow> = None;
    let mut waits = Vec::new();
    for (minute, data) in events {
        let mut payment = row.as_ref().map(|row| row.payment.clone()).unwrap_or_default();
        PaymentDecider::evolve(&mut payment, &data);
        let since = waits_since(row.as_ref(), &payment, &data, at(minute));
        waits.push(since.map(|since| since.as_second() / 60));
        row = Some(PaymentRow {
            payment_id: PAYMENT,
            revision: 0,
            recorded_at: at(0),
            updated_at: at(minute),
            awaits_provider_since: since,
            refund_times: RefundTimes::default(),
            payment,
        });
    }
    waits
}

/// A payment of 100 that a charge captured, and whose order has ended.
fn ended() -> [(i64, PaymentEvent); 3] {
    let order_id = OrderId(Uuid::from_u128(2));
    let currency = "GBP".parse().unwrap();
    [
        (
            1,
            PaymentRequested {
                payment_id: PAYMENT,
                order_id,
                amount: amount(100),
                currency,
                terms: PaymentTerms::Prepaid,
                credit: None,
            }
            .into(),
        ),
        (2, PaymentCaptured { amount: amount(100), reference: None, charge: Some(1), late: false }.into()),
        (3, PaymentClosed { order_id, amount_due: Amount::ZERO }.into()),
    ]
}

/// Finding: a refund that had failed for 14 minutes was shown as waiting since its last attempt.
#[test]
fn a_refund_that_fails_and_is_requested_again_waits_since_its_first_attempt() {
    let at_provider = RefundId::of_provider(PAYMENT, "re_1");
    let found = PaymentRefundFound { refund_id: at_provider, charge: 1, amount: amount(40), reference: None };
    let attempts = [
        (3, requested(0)),
        (4, failed(0)),
        (4, requested(1)),
        (9, PaymentRefundOutcomeUnknown { refund_id: refund(1) }.into()),
        (17, failed(1)),
        (17, requested(2)),
        (18, found.into()),
        (19, PaymentRefunded { refund_id: at_provider, amount: amount(40), reference: None }.into()),
        (20, PaymentRefunded { refund_id: refund(2), amount: amount(100), reference: None }.into()),
    ];
    let waits = waits(ended().into_iter().chain(attempts));
    let since_the_first = [Some(3); 8];
    assert_eq!(waits[3..], [&since_the_first[..], &[None]].concat());
}

#[test]
fn a_payment_that_gave_its_refunds_up_does_not_wait() {
    let attempts = (0..20).flat_map(|number| [(3, requested(number)), (4, failed(number))]);
    let waits = waits(ended().into_iter().chain(attempts));
    assert_eq!((waits[waits.len() - 2], waits[waits.len() - 1]), (Some(3), None));
}

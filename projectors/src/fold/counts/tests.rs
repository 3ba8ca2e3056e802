use domain::{
    Amount, Decider, OrderId, PaymentId,
    payment::{
        PaymentAuthorized, PaymentCaptured, PaymentDecider, PaymentFailed, PaymentOutcomeUnknown,
        PaymentRequested, PaymentTerms, PaymentVoided,
    },
};
use uuid::Uuid;

use super::*;

const ORDER: OrderId = OrderId(Uuid::from_u128(1));

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

fn requested() -> PaymentEvent {
    PaymentRequested {
        payment_id: PaymentId::of_order(ORDER),
        order_id: ORDER,
        amount: amount(100),
        currency: "GBP".parse().unwrap(),
        terms: PaymentTerms::Prepaid,
        credit: None,
    }
    .into()
}

fn authorized() -> PaymentEvent {
    PaymentAuthorized { amount: amount(100), reference: None, charge: None, until: None }.into()
}

fn captured(minor_units: i64) -> PaymentEvent {
    PaymentCaptured { amount: amount(minor_units), reference: None, charge: None, late: false }.into()
}

fn failed(code: Option<&str>) -> PaymentEvent {
    PaymentFailed { reason: None, retryable: true, code: code.map(str::to_owned) }.into()
}

/// What each event answers: `-` nothing, `ok`, or the code of a failure.
fn answers(events: impl IntoIterator<Item = PaymentEvent>) -> Vec<String> {
    let mut payment: Option<Payment> = None;
    let mut answers = Vec::new();
    for event in events {
        let mut after = payment.clone().unwrap_or_default();
        PaymentDecider::evolve(&mut after, &event);
        let answered = answered(payment.as_ref(), &after, &event, Timestamp::from_second(1_800).unwrap());
        answers.push(match answered {
            None => "-".to_owned(),
            Some((CountKey { counted: Counted::Charges { failure }, start: 2 }, 1)) => {
                failure.unwrap_or("ok".to_owned())
            }
            other => panic!("{other:?}"),
        });
        payment = Some(after);
    }
    answers
}

#[test]
fn each_answer_to_a_charge_counts_once() {
    let events =
        [requested(), failed(Some("card_declined")), failed(None), authorized(), captured(40), captured(60)];
    assert_eq!(answers(events), ["-", "card_declined", "failed", "ok", "-", "-"]);
    assert_eq!(answers([requested(), captured(40), captured(60)]), ["-", "ok", "-"]);
}

#[test]
fn a_new_authorisation_counts_again_and_a_lost_answer_to_a_capture_does_not() {
    let ran_out = PaymentVoided { reason: None, ran_out: true };
    let events = [requested(), authorized(), ran_out.into(), authorized()];
    assert_eq!(answers(events), ["-", "ok", "-", "ok"]);
    let lost = PaymentOutcomeUnknown { operation: domain::payment::Operation::Capture };
    assert_eq!(answers([requested(), authorized(), lost.into(), captured(100)]), ["-", "ok", "-", "-"]);
    let lost = PaymentOutcomeUnknown { operation: domain::payment::Operation::Authorize };
    assert_eq!(answers([requested(), lost.into(), failed(Some("expired_card"))]), ["-", "-", "expired_card"]);
}

#[test]
fn units_are_counted_by_the_day_of_the_order() {
    let key = |dimension| SalesKey { dimension, currency: "GBP".parse().unwrap(), quarter: 2 * 96 + 95 };
    let units = |units| SalesTotals { units, ..SalesTotals::default() };
    let sku = domain::Sku::new("A").unwrap();
    let sales = [
        (key(SalesDimension::All), units(5)),
        (key(SalesDimension::Sku(sku.clone())), units(5)),
        (key(SalesDimension::Sku(domain::Sku::new("B").unwrap())), units(0)),
        (key(SalesDimension::NoLine), units(0)),
    ];
    assert_eq!(sold(&sales), [(CountKey { counted: Counted::Sold(sku), start: 2 * 96 }, 5)]);
}

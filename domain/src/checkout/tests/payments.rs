use super::*;
use crate::payment::{
    CaptureMode, Operation, PaymentAdjusted, PaymentAuthorized, PaymentCaptureRequested, PaymentCaptured,
    PaymentChargePending, PaymentChargeRequested, PaymentClosed, PaymentDecider, PaymentDisputeLost,
    PaymentDisputeWon, PaymentDisputed, PaymentFailed, PaymentOutcomeUnknown, PaymentRefundFailed,
    PaymentRefundFound, PaymentRefundOutcomeUnknown, PaymentRefundPending, PaymentRefundRequested,
    PaymentRefunded, PaymentRequested, PaymentVoidRequested, PaymentVoided, ProviderWork,
};

fn payment_requested() -> PaymentEvent {
    let currency = "GBP".parse().unwrap();
    PaymentRequested {
        payment_id: payment_id(),
        order_id: ORDER,
        amount: pence(45),
        currency,
        terms: PaymentTerms::Prepaid,
        credit: None,
    }
    .into()
}

fn requested_on_shipment() -> PaymentEvent {
    let PaymentEvent::Requested(requested) = payment_requested() else { panic!("the payment is requested") };
    PaymentRequested { terms: PaymentTerms::OnShipment, ..requested }.into()
}

fn captured(amount: i64) -> PaymentEvent {
    PaymentCaptured { amount: pence(amount), reference: None, charge: None, late: false }.into()
}

/// The reaction to the last of `events`, on the state after `since`.
fn reaction_to_payment(events: &[PaymentEvent], since: &[PaymentEvent]) -> Reaction {
    let payment = PaymentDecider::fold(&[&[payment_requested()], events, since].concat());
    react_to_payment(events.last().unwrap(), &payment)
}

fn to_order(command: OrderCommand) -> Reaction {
    Reaction::Send(vec![Step::Order(ORDER, command)])
}

#[test]
fn the_order_records_the_current_amounts_of_its_payment() {
    let requested = PaymentRefundRequested {
        refund_id: REFUND,
        amount: pence(5),
        reason: RefundReason::Return,
        source: None,
        part_of: None,
    };
    let refunded = PaymentRefunded { refund_id: REFUND, amount: pence(5), reference: None };
    let record = |captured, refunded| {
        let (captured, refunded) = (pence(captured), pence(refunded));
        let payment_id = Some(payment_id());
        let amounts =
            OrderPaymentRecorded { payment_id, captured, refunded, ..OrderPaymentRecorded::default() };
        to_order(OrderCommand::RecordPayment(amounts))
    };
    assert_eq!(reaction_to_payment(&[captured(30)], &[]), record(30, 0));
    assert_eq!(reaction_to_payment(&[captured(30)], &[captured(15)]), record(45, 0));
    assert_eq!(reaction_to_payment(&[captured(30), requested.into(), refunded.into()], &[]), record(30, 5));
}

#[test]
fn a_finally_failed_or_voided_payment_ends_on_its_order() {
    let failed = |retryable| PaymentEvent::from(PaymentFailed { reason: None, retryable, code: None });
    let voided = || PaymentEvent::from(PaymentVoided { reason: None, ran_out: false });
    let closed = || PaymentEvent::from(PaymentClosed { order_id: ORDER, amount_due: Amount::ZERO });
    let end = |ending, captured| {
        let (payment_id, captured) = (payment_id(), pence(captured));
        to_order(OrderCommand::EndPayment { payment_id, ending, captured })
    };

    assert_eq!(reaction_to_payment(&[failed(false)], &[]), end(TenderEnding::Failed, 0));
    assert_eq!(reaction_to_payment(&[voided()], &[]), end(TenderEnding::Voided, 0));
    assert_eq!(reaction_to_payment(&[captured(30), voided()], &[]), end(TenderEnding::Voided, 30));

    for (events, since) in [
        (vec![failed(true)], vec![]),
        // Money was captured later or before.
        (vec![failed(false)], vec![captured(45)]),
        // The order has ended already and caused the void.
        (vec![closed(), voided()], vec![]),
        (vec![closed(), failed(false)], vec![]),
    ] {
        assert_eq!(reaction_to_payment(&events, &since), Reaction::None, "{events:?} {since:?}");
    }
}

/// A history that ends with an event of this kind, in a state in which a reaction has work to do.
fn payment_history(kind: PaymentEventKind) -> Vec<PaymentEvent> {
    let charge: PaymentEvent = PaymentChargeRequested {
        charge: 1,
        provider: "provider".into(),
        method: "card".into(),
        amount: pence(45),
        capture: CaptureMode::Manual,
    }
    .into();
    let authorized = PaymentAuthorized { amount: pence(45), reference: None, charge: Some(1), until: None };
    let captured = PaymentCaptured { amount: pence(45), reference: None, charge: Some(1), late: false };
    let refund = PaymentRefundRequested {
        refund_id: REFUND,
        amount: pence(5),
        reason: RefundReason::Return,
        source: None,
        part_of: None,
    };
    let held = [payment_requested(), charge, authorized.into()];
    let taken = [&held[..], &[captured.into()]].concat();
    let dispute = PaymentDisputed { dispute: "dp".into(), charge: 1, amount: pence(5), reason: None };
    let disputed = [&taken[..], &[dispute.into()]].concat();
    let asked_back = [&taken[..], &[refund.into()]].concat();
    let after_charge = |event: PaymentEvent| [&held[..2], &[event]].concat();
    let after_authorisation = |event: PaymentEvent| [&held[..], &[event]].concat();
    let after_refund = |event: PaymentEvent| [&asked_back[..], &[event]].concat();
    let (refund_id, amount) = (REFUND, pence(5));
    match kind {
        PaymentEventKind::Requested => held[..1].to_vec(),
        PaymentEventKind::ChargeRequested => held[..2].to_vec(),
        PaymentEventKind::ChargePending => {
            after_charge(PaymentChargePending { charge: 1, reference: "pi".into() }.into())
        }
        PaymentEventKind::Authorized => [&[requested_on_shipment()], &held[1..]].concat(),
        PaymentEventKind::Adjusted => {
            let adjusted =
                PaymentAdjusted { amount: None, capture_due: pence(5), amount_due: None, number: 1 };
            after_authorisation(adjusted.into())
        }
        PaymentEventKind::CaptureRequested => {
            let (amount, total) = (pence(45), pence(45));
            after_authorisation(PaymentCaptureRequested { charge: 1, amount, total }.into())
        }
        PaymentEventKind::Captured => taken,
        PaymentEventKind::Failed => {
            after_charge(PaymentFailed { reason: None, retryable: false, code: None }.into())
        }
        PaymentEventKind::VoidRequested => after_authorisation(PaymentVoidRequested {}.into()),
        PaymentEventKind::Voided => {
            after_authorisation(PaymentVoided { reason: None, ran_out: false }.into())
        }
        PaymentEventKind::OutcomeUnknown => {
            after_charge(PaymentOutcomeUnknown { operation: Operation::Authorize }.into())
        }
        PaymentEventKind::RefundRequested => asked_back,
        PaymentEventKind::Refunded => {
            after_refund(PaymentRefunded { refund_id, amount, reference: None }.into())
        }
        PaymentEventKind::RefundFailed => {
            after_refund(PaymentRefundFailed { refund_id, amount, reason: None, by_provider: false }.into())
        }
        PaymentEventKind::RefundFound => {
            let found = PaymentRefundFound { refund_id, charge: 1, amount, reference: None };
            [&taken[..], &[found.into()]].concat()
        }
        PaymentEventKind::RefundPending => after_refund(PaymentRefundPending { refund_id }.into()),
        PaymentEventKind::RefundOutcomeUnknown => {
            after_refund(PaymentRefundOutcomeUnknown { refund_id }.into())
        }
        PaymentEventKind::Disputed => disputed,
        PaymentEventKind::DisputeWon => {
            [&disputed[..], &[PaymentDisputeWon { dispute: "dp".into() }.into()]].concat()
        }
        PaymentEventKind::DisputeLost => {
            [&disputed[..], &[PaymentDisputeLost { dispute: "dp".into() }.into()]].concat()
        }
        PaymentEventKind::Closed => {
            [&held[..1], &[PaymentClosed { order_id: ORDER, amount_due: Amount::ZERO }.into()]].concat()
        }
    }
}

#[test]
fn a_payment_event_has_a_reaction_exactly_if_its_kind_says_so() {
    for &kind in PaymentEventKind::ALL {
        let history = payment_history(kind);
        assert_eq!(history.last().map(PaymentEvent::kind), Some(kind));
        let reaction = react_to_payment(history.last().unwrap(), &PaymentDecider::fold(&history));
        assert_eq!(has_steps(&reaction), payment_event_has_reaction(kind), "{kind:?}: {reaction:?}");
    }
}

#[test]
fn a_payment_event_adds_work_for_the_provider_exactly_if_its_kind_says_so() {
    for &kind in PaymentEventKind::ALL {
        let history = payment_history(kind);
        let (_, before) = history.split_last().unwrap();
        let known = PaymentDecider::fold(before).provider_work();
        let mut added = PaymentDecider::fold(&history).provider_work();
        added.retain(|work| !known.contains(work) && !matches!(work, ProviderWork::LookUp(_)));
        assert_eq!(!added.is_empty(), payment_event_asks_provider(kind), "{kind:?}: {added:?}");
    }
}

#[test]
fn an_authorisation_that_ran_out_is_recorded_and_cancels_only_a_prepaid_order() {
    let held = |terms| {
        let PaymentEvent::Requested(requested) = payment_requested() else { panic!("it is requested") };
        let authorized = PaymentAuthorized { amount: pence(45), reference: None, charge: None, until: None };
        vec![PaymentRequested { terms, ..requested }.into(), authorized.into()]
    };
    let after = |terms, ran_out| {
        let voided: PaymentEvent = PaymentVoided { reason: None, ran_out }.into();
        let payment = PaymentDecider::fold(&[held(terms), vec![voided.clone()]].concat());
        react_to_payment(&voided, &payment)
    };
    let (payment_id, authorized, until) = (payment_id(), Amount::ZERO, None);
    let (ending, captured) = (TenderEnding::Voided, Amount::ZERO);
    let end = Step::Order(ORDER, OrderCommand::EndPayment { payment_id, ending, captured });
    let recorded = OrderAuthorizationRecorded { payment_id, authorized, until, number: 2 };
    let record = Step::Order(ORDER, OrderCommand::RecordAuthorization(recorded));
    assert_eq!(after(PaymentTerms::Prepaid, true), Reaction::Send(vec![end.clone()]));
    assert_eq!(after(PaymentTerms::OnShipment, true), Reaction::Send(vec![record.clone()]));
    assert_eq!(after(PaymentTerms::OnShipment, false), Reaction::Send(vec![record, end.clone()]));
    assert_eq!(after(PaymentTerms::Net, true), Reaction::None);
    // A void on request ends the payment of a net order, and not the order.
    assert_eq!(after(PaymentTerms::Net, false), Reaction::Send(vec![end]));
}

#[test]
fn an_event_that_moves_no_money_has_no_reaction_on_the_order() {
    let authorized = PaymentAuthorized { amount: pence(45), reference: None, charge: None, until: None };
    assert_eq!(reaction_to_payment(&[authorized.into()], &[]), Reaction::None);
    let orphan = PaymentDecider::fold(&[captured(1)]);
    assert_eq!(react_to_payment(&captured(1), &orphan), Reaction::None);
}

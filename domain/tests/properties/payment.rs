use domain::{
    Amount, OrderId, PaymentId, RefundId,
    checkout::{Reaction, payment_event_asks_provider, payment_event_has_reaction, react_to_payment},
    payment::{
        CaptureMode, Charge, ChargeEnding, ChargeState, DisputeReport, DisputeState, NewCharge, Operation,
        Payment, PaymentCommand, PaymentDecider, PaymentEvent, PaymentTerms, ProviderReport, ProviderWork,
        RefundOutcome, RefundReason, RefundReport, RefundState,
    },
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::Run;

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const REQUESTED: i64 = 100;

fn pence(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

fn request() -> PaymentCommand {
    PaymentCommand::Request {
        payment_id: PaymentId(Uuid::from_u128(2)),
        order_id: ORDER,
        amount: pence(REQUESTED),
        currency: "GBP".parse().unwrap(),
        charge: None,
        terms: PaymentTerms::Prepaid,
        credit: None,
    }
}

fn close() -> impl Strategy<Value = PaymentCommand> {
    (0..=REQUESTED).prop_map(|due| PaymentCommand::Close {
        order_id: ORDER,
        amount_due: pence(due),
        refund: None,
    })
}

/// A report of the provider: often of the latest charge, sometimes of one that was never requested.
fn report() -> impl Strategy<Value = PaymentCommand> {
    let ending = prop_oneof![
        4 => Just(None),
        1 => Just(Some(ChargeEnding::Voided)),
        1 => any::<bool>().prop_map(|retryable| Some(ChargeEnding::Failed { reason: None, retryable })),
    ];
    let captured = prop_oneof![Just(0i64), 0..130i64];
    (0..3u32, 0..130i64, captured, ending, any::<bool>()).prop_map(
        |(charge, authorized, captured, ending, is_answer)| {
            let reference = format!("pi_{charge}");
            let (authorized, captured) = (pence(authorized.max(captured)), pence(captured));
            let amounts = ProviderReport::of_amounts(charge, reference, authorized, captured);
            let report = ProviderReport { ending, ..amounts };
            PaymentCommand::Report { report, is_answer }
        },
    )
}

fn charge() -> PaymentCommand {
    let capture = CaptureMode::Automatic;
    PaymentCommand::Charge(NewCharge { provider: "provider".into(), method: "card".into(), capture })
}

fn amount() -> impl Strategy<Value = Option<Amount>> {
    prop::option::of((0..130i64).prop_map(pence))
}

/// A command, or the outcome of a requested refund.
#[derive(Debug, Clone)]
enum Step {
    Command(PaymentCommand),
    RefundEnded {
        which: prop::sample::Index,
        refunded: bool,
    },
    /// The provider reports a refund of this payment.
    RefundReported {
        which: prop::sample::Index,
        outcome: RefundOutcome,
    },
}

fn refund_outcome() -> impl Strategy<Value = RefundOutcome> {
    prop_oneof![
        Just(RefundOutcome::Pending),
        Just(RefundOutcome::Refunded),
        Just(RefundOutcome::Failed { reason: None }),
    ]
}

/// A refund that the provider made without a request.
fn found_refund() -> impl Strategy<Value = PaymentCommand> {
    (10u128..13, 1..80i64, refund_outcome()).prop_map(|(number, amount, outcome)| {
        let refund_id = RefundId(Uuid::from_u128(number));
        refund_report(refund_id, pence(amount), outcome)
    })
}

fn refund_report(refund_id: RefundId, amount: Amount, outcome: RefundOutcome) -> PaymentCommand {
    let reference = "re".to_owned();
    PaymentCommand::ReportRefund(RefundReport { refund_id, charge: None, amount, reference, outcome })
}

fn dispute() -> impl Strategy<Value = PaymentCommand> {
    let state = prop_oneof![Just(DisputeState::Open), Just(DisputeState::Won), Just(DisputeState::Lost)];
    (0..2u32, 1..80i64, state).prop_map(|(number, amount, state)| {
        let (reference, amount) = (format!("dp_{number}"), pence(amount));
        PaymentCommand::ReportDispute(DisputeReport { charge: 1, reference, amount, reason: None, state })
    })
}

impl Step {
    fn command(self, payment: &Payment) -> PaymentCommand {
        match self {
            Self::Command(command) => command,
            Self::RefundReported { which, outcome } => {
                let refunds = payment.refunds();
                let known = (!refunds.is_empty()).then(|| which.get(refunds));
                let named = known.map(|refund| (refund.refund_id, refund.amount));
                let (refund_id, amount) = named.unwrap_or((RefundId(Uuid::from_u128(10)), pence(1)));
                refund_report(refund_id, amount, outcome)
            }
            Self::RefundEnded { which, refunded } => {
                let refunds = payment.refunds();
                let known = (!refunds.is_empty()).then(|| which.get(refunds).refund_id);
                let refund_id = known.unwrap_or(RefundId(Uuid::nil()));
                if refunded {
                    PaymentCommand::RecordRefunded { refund_id, reference: None }
                } else {
                    PaymentCommand::RecordRefundFailed { refund_id, reason: None }
                }
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let operation = prop_oneof![Just(Operation::Authorize), Just(Operation::Capture), Just(Operation::Void)];
    let refund = (1u128..6, 0..80i64).prop_map(|(number, amount)| PaymentCommand::RequestRefund {
        refund_id: RefundId(Uuid::from_u128(number)),
        amount: pence(amount),
        reason: RefundReason::Requested,
    });
    prop_oneof![
        1 => Just(request()).prop_map(Step::Command),
        4 => amount().prop_map(|amount| Step::Command(PaymentCommand::Authorize { amount, reference: None })),
        4 => amount().prop_map(|amount| Step::Command(PaymentCommand::Capture { amount, reference: None })),
        3 => Just(charge()).prop_map(Step::Command),
        6 => report().prop_map(Step::Command),
        1 => any::<bool>()
            .prop_map(|retryable| Step::Command(PaymentCommand::Fail { reason: None, retryable })),
        1 => Just(PaymentCommand::Void { reason: None }).prop_map(Step::Command),
        1 => operation.prop_map(|operation| Step::Command(PaymentCommand::MarkOutcomeUnknown { operation })),
        3 => refund.prop_map(Step::Command),
        4 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, refunded)| Step::RefundEnded { which, refunded }),
        4 => (any::<prop::sample::Index>(), refund_outcome())
            .prop_map(|(which, outcome)| Step::RefundReported { which, outcome }),
        1 => found_refund().prop_map(Step::Command),
        1 => dispute().prop_map(Step::Command),
        1 => close().prop_map(Step::Command),
    ]
}

/// True if the provider has refunded or disputed money by itself, or has contradicted an earlier word. It may then have
/// given back more than this platform requested.
fn provider_acted_by_itself(payment: &Payment) -> bool {
    payment.corrections() > 0
        || !payment.disputes().is_empty()
        || payment.refunds().iter().any(|refund| refund.reason == RefundReason::Provider)
}

fn requested_back(payment: &Payment) -> Amount {
    let standing = payment.refunds().iter().filter(|refund| refund.state != RefundState::Failed);
    standing.fold(Amount::ZERO, |sum, refund| sum.checked_add(refund.amount).unwrap())
}

fn refunds_stay_within_the_captured_amount(payment: &Payment) {
    assert!(payment.captured() <= payment.authorized());
    if provider_acted_by_itself(payment) {
        return;
    }
    assert!(payment.refunded() <= payment.captured());
    assert!(requested_back(payment) <= payment.captured());
}

fn a_closed_payment_keeps_only_the_amount_due(payment: &Payment) {
    let Some(amount_due) = payment.amount_due_at_closing() else { return };
    let returned = requested_back(payment).checked_add(payment.disputed()).unwrap();
    let kept = payment.captured().checked_sub(returned).unwrap();
    let amount_due = amount_due.checked_add(payment.captured_late()).unwrap();
    assert!(kept <= amount_due, "kept {kept} of {amount_due} due: {payment:?}");
    let is_open = payment.charge().is_some_and(Charge::is_open);
    let is_voidable = payment.capturable().is_positive() || is_open;
    assert!(!is_voidable || payment.void_requested(), "not voided: {payment:?}");
}

/// Except in a correction, which the payment counts.
fn amounts_only_grow(before: &Payment, after: &Payment) {
    assert!(before.captured() <= after.captured());
    assert!(before.corrections() <= after.corrections());
    if before.corrections() == after.corrections() {
        assert!(before.refunded() <= after.refunded());
        assert!(before.refunds_failed() <= after.refunds_failed());
        assert!(before.refunded_at_provider() <= after.refunded_at_provider());
        assert!(before.disputed() <= after.disputed());
    }
    assert!(before.refunds().len() <= after.refunds().len());
    assert!(before.amount_due_at_closing().is_none_or(|due| after.amount_due_at_closing() == Some(due)));
}

/// The process manager skips events whose kind has no reaction, so those must never have one.
fn only_kinds_with_a_reaction_have_one(events: &[PaymentEvent], payment: &Payment) {
    for event in events.iter().filter(|event| !payment_event_has_reaction(event.kind())) {
        assert_eq!(react_to_payment(event, payment), Reaction::None, "{event:?} on {payment:?}");
    }
}

/// The process manager calls the provider only after events whose kind asks for it, so other decisions may
/// only leave work that was requested before. Look-ups are left to timers.
fn only_kinds_that_ask_the_provider_add_work(before: &Payment, decided: &[PaymentEvent], after: &Payment) {
    if decided.iter().any(|event| payment_event_asks_provider(event.kind())) {
        return;
    }
    let of_charge = |number: u32| before.charges().iter().find(move |charge| charge.number == number);
    for work in after.provider_work() {
        let was_requested = match work {
            ProviderWork::LookUp(_) => true,
            ProviderWork::Charge(number) => {
                of_charge(number).is_some_and(|charge| charge.state == ChargeState::Requested)
            }
            ProviderWork::Void(_) => before.void_requested(),
            ProviderWork::Capture { charge, total, .. } => {
                of_charge(charge).is_some_and(|charge| charge.capture_requested == total)
            }
            // A refund that an operator recorded as failed may be pending after all.
            ProviderWork::Refund { refund_id, .. } => before.refund(refund_id).is_some(),
        };
        assert!(was_requested, "{decided:?} adds {work:?}: {before:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_amounts_of_a_payment_always_add_up(
        begins_closed in prop::option::weighted(0.1, close()),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut run = Run::<PaymentDecider>::new();
        for command in begins_closed.into_iter().chain([request()]) {
            prop_assert!(run.execute(command, |_, _, _| ()).is_ok());
        }
        for step in steps {
            let command = step.command(&run.state);
            let _refusal_is_fine = run.execute(command, |before, _, after| amounts_only_grow(before, after));
            refunds_stay_within_the_captured_amount(&run.state);
            a_closed_payment_keeps_only_the_amount_due(&run.state);
        }
        run.snapshots_are_faithful();
    }

    #[test]
    fn only_events_whose_kind_says_so_cause_reactions_and_provider_calls(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut run = Run::<PaymentDecider>::new();
        prop_assert!(run.execute(request(), |_, _, _| ()).is_ok());
        for step in steps {
            let command = step.command(&run.state);
            let (before, known) = (run.state.clone(), run.events.len());
            let _refusal_is_fine = run.execute(command, |_, _, _| ());
            only_kinds_that_ask_the_provider_add_work(&before, &run.events[known..], &run.state);
            only_kinds_with_a_reaction_have_one(&run.events, &run.state);
        }
    }

    #[test]
    fn an_operator_takes_no_more_than_was_requested_and_nothing_after_closing(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut run = Run::<PaymentDecider>::new();
        prop_assert!(run.execute(request(), |_, _, _| ()).is_ok());
        for step in steps {
            let command = match step.command(&run.state) {
                PaymentCommand::MarkOutcomeUnknown { .. } | PaymentCommand::Report { .. } => continue,
                other => other,
            };
            let _refusal_is_fine = run.execute(command, |before, event, _| {
                let takes = matches!(event, PaymentEvent::Authorized(_) | PaymentEvent::Captured(_));
                let is_late = matches!(event, PaymentEvent::Captured(captured) if captured.late);
                assert!(!takes || before.is_closed() == is_late);
            });
            let in_time = run.state.authorized().checked_sub(run.state.captured_late()).unwrap();
            prop_assert!(in_time <= pence(REQUESTED));
        }
    }

    #[test]
    fn no_two_refunds_share_an_id(steps in prop::collection::vec(step(), 1..60)) {
        let mut run = Run::<PaymentDecider>::new();
        for command in [request(), PaymentCommand::Close { order_id: ORDER, amount_due: Amount::ZERO, refund: None }] {
            prop_assert!(run.execute(command, |_, _, _| ()).is_ok());
        }
        for step in steps {
            let command = step.command(&run.state);
            let _refusal_is_fine = run.execute(command, |_, _, _| ());
        }
        let ids: std::collections::HashSet<_> =
            run.state.refunds().iter().map(|refund| refund.refund_id).collect();
        prop_assert_eq!(ids.len(), run.state.refunds().len());
    }
}

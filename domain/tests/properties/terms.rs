//! Orders with each kind of payment terms, together with their payment and a provider that answers at once.

use domain::{
    Amount, CancellationId, Decider, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Timestamp,
    checkout::{Reaction, Step as Reacting, payment_requests, react_to_order, react_to_payment},
    order::{
        CancelReason, LineQuantity, NewCancellation, NewReturn, Order, OrderCommand, OrderDecider,
        OrderEvent, OrderStatus, PaymentTerms, PlaceOrder, ReturnLine, Shipment,
    },
    payment::{
        CaptureMode, ChargeEnding, NewCharge, Payment, PaymentCommand, PaymentDecider, PaymentEvent,
        ProviderReport, ProviderWork, RefundOutcome, RefundReport,
    },
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::refunds::{amount, new_order};

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[derive(Debug, Clone)]
enum Step {
    Ship(Option<LineQuantity>),
    UndoLast,
    Return(LineQuantity, Option<i64>),
    CancelPart(LineQuantity),
    CancelRest,
    Refund(i64),
    Charge,
    /// The authorisation ends at the provider.
    RunOut,
    /// From now on the provider captures nothing, or everything again.
    Captures(bool),
    Expire,
}

fn part() -> impl Strategy<Value = LineQuantity> {
    (1..5u32, 1..4u32).prop_map(|(line, quantity)| LineQuantity { line, quantity })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::option::weighted(0.8, part()).prop_map(Step::Ship),
        1 => Just(Step::UndoLast),
        3 => (part(), prop::option::weighted(0.3, 0..20_000i64)).prop_map(|(part, amount)| Step::Return(part, amount)),
        2 => part().prop_map(Step::CancelPart),
        1 => Just(Step::CancelRest),
        1 => (1..20_000i64).prop_map(Step::Refund),
        2 => Just(Step::Charge),
        1 => Just(Step::RunOut),
        1 => any::<bool>().prop_map(Step::Captures),
        1 => Just(Step::Expire),
    ]
}

/// An order, its payment, and what the provider has done.
struct Shop {
    order: Order,
    payment: Payment,
    used: u128,
    captures: bool,
    /// True if the provider failed to capture, or an authorisation ran out.
    has_failed: bool,
}

impl Shop {
    fn new(place: PlaceOrder) -> Self {
        let (order, payment) = (Order::default(), Payment::default());
        let mut shop = Self { order, payment, used: 10, captures: true, has_failed: false };
        assert!(shop.on_order(OrderCommand::Place(Box::new(place))));
        assert!(shop.on_order(OrderCommand::Allocate { payment_id: PaymentId::of_order(ORDER) }));
        for (_, request) in payment_requests(ORDER, &shop.order.summary()) {
            shop.on_payment(request);
        }
        shop
    }

    fn id(&mut self) -> Uuid {
        self.used += 1;
        Uuid::from_u128(self.used)
    }

    /// Runs a command on the order and the reactions of its payment. False if it is refused.
    fn on_order(&mut self, command: OrderCommand) -> bool {
        let Ok(events) = OrderDecider::decide(&self.order, command) else { return false };
        for event in &events {
            OrderDecider::evolve(&mut self.order, event);
        }
        let is_payment = |step: &Reacting| matches!(step, Reacting::Payment(..));
        for event in
            events.iter().filter(|event| !matches!(event, OrderEvent::Placed(_) | OrderEvent::Allocated(_)))
        {
            if let Reaction::Send(steps) = react_to_order(ORDER, event, &self.order) {
                for step in steps.into_iter().filter(is_payment) {
                    self.run(step);
                }
            }
        }
        true
    }

    fn on_payment(&mut self, command: PaymentCommand) {
        let Ok(events) = PaymentDecider::decide(&self.payment, command) else { return };
        for event in &events {
            PaymentDecider::evolve(&mut self.payment, event);
        }
        self.react(&events);
        for work in self.payment.provider_work() {
            if let Some(answer) = self.answer(work) {
                self.on_payment(answer);
            }
        }
    }

    fn react(&mut self, events: &[PaymentEvent]) {
        for event in events {
            if let Reaction::Send(steps) = react_to_payment(event, &self.payment) {
                for step in steps {
                    self.run(step);
                }
            }
        }
    }

    fn run(&mut self, step: Reacting) {
        match step {
            Reacting::Payment(_, command) => self.on_payment(command),
            Reacting::Order(_, command) => {
                self.on_order(command);
            }
            Reacting::Stock(..) | Reacting::Exchange(..) => {}
        }
    }

    /// What the provider answers. It may fail to capture.
    fn answer(&mut self, work: ProviderWork) -> Option<PaymentCommand> {
        let charge_of =
            |number| self.payment.charges().iter().find(|charge| charge.number == number).cloned();
        let report = |charge: u32, authorized, captured, ending| {
            let amounts = ProviderReport::of_amounts(charge, "ch", authorized, captured);
            let report = ProviderReport { ending, ..amounts };
            Some(PaymentCommand::Report { report, is_answer: true })
        };
        match work {
            ProviderWork::Charge(number) | ProviderWork::LookUp(number) => {
                let charge = charge_of(number)?;
                let captured = match charge.capture {
                    CaptureMode::Automatic => charge.amount,
                    CaptureMode::Manual => Amount::ZERO,
                };
                report(number, charge.amount, captured, None)
            }
            ProviderWork::Capture { charge, total, .. } => {
                let known = charge_of(charge)?;
                assert!(total <= known.authorized, "captures more than it authorized");
                if self.captures {
                    return report(charge, known.authorized, total, None);
                }
                self.has_failed = true;
                report(charge, known.authorized, known.captured, Some(ChargeEnding::Voided))
            }
            ProviderWork::Void(number) => {
                let charge = charge_of(number)?;
                report(number, charge.authorized, charge.captured, Some(ChargeEnding::Voided))
            }
            ProviderWork::Refund { charge, refund_id, amount } => {
                let (reference, outcome) = ("re".to_owned(), RefundOutcome::Refunded);
                let charge = Some(charge);
                Some(PaymentCommand::ReportRefund(RefundReport {
                    refund_id,
                    charge,
                    amount,
                    reference,
                    outcome,
                }))
            }
        }
    }

    fn take(&mut self, step: &Step) {
        let id = self.id();
        match *step {
            Step::Ship(part) => {
                let (shipment_id, lines) = (ShipmentId(id), part.map(|part| vec![part]));
                let (carrier, tracking_number) = (None, None);
                self.on_order(OrderCommand::Ship { shipment_id, lines, carrier, tracking_number, now: NOW });
            }
            Step::UndoLast => {
                let last = self.order.shipments().last().map(|shipment| shipment.shipment_id);
                let shipment_id = last.unwrap_or(ShipmentId(Uuid::nil()));
                self.on_order(OrderCommand::UndoShipment { shipment_id, reason: None });
            }
            Step::Return(part, minor_units) => {
                let lines = vec![ReturnLine { line: part.line, quantity: part.quantity, restock: true }];
                let (return_id, refund_amount) = (ReturnId(id), minor_units.map(amount));
                self.on_order(OrderCommand::Return(NewReturn {
                    return_id,
                    lines,
                    refund_amount,
                    reason: None,
                }));
            }
            Step::CancelPart(part) => {
                let rest = NewCancellation::of_the_rest(CancellationId(id), CancelReason::Requested);
                self.on_order(OrderCommand::Cancel(NewCancellation { lines: Some(vec![part]), ..rest }));
            }
            Step::CancelRest => {
                let rest = NewCancellation::of_the_rest(CancellationId(id), CancelReason::Requested);
                self.on_order(OrderCommand::Cancel(rest));
            }
            Step::Refund(minor_units) => {
                let (refund_id, amount, lines) = (RefundId(id), amount(minor_units), Vec::new());
                self.on_order(OrderCommand::Refund {
                    refund_id,
                    amount,
                    lines,
                    payment_id: None,
                    reason: None,
                });
            }
            Step::Charge => {
                let (provider, method) = ("provider".to_owned(), "card".to_owned());
                let capture = CaptureMode::Automatic;
                self.on_payment(PaymentCommand::Charge(NewCharge { provider, method, capture }));
            }
            Step::RunOut => self.run_out(),
            Step::Captures(captures) => self.captures = captures,
            Step::Expire => {
                self.on_order(OrderCommand::Expire { now: Timestamp::MAX });
            }
        }
    }

    fn run_out(&mut self) {
        let Some(charge) = self.payment.charge_under_way().cloned() else { return };
        self.has_failed = true;
        let amounts = ProviderReport::of_amounts(charge.number, "ch", charge.authorized, charge.captured);
        let report = ProviderReport { ending: Some(ChargeEnding::Voided), ..amounts };
        self.on_payment(PaymentCommand::Report { report, is_answer: false });
    }

    /// What was captured for shipped goods and is not refunded, and what is still due for them.
    fn check(&self) {
        let (order, payment) = (&self.order, &self.payment);
        // A refund before the order is paid leaves what it owes as it is, so its money is asked for again.
        assert!(
            payment.captured().saturating_sub(payment.refunded()) <= order.total(),
            "captured more than the total: {payment:?} of {order:?}"
        );
        assert_eq!(payment.captured(), order.captured());
        match order.terms() {
            PaymentTerms::Prepaid => {}
            PaymentTerms::Net => assert_ne!(order.status(), OrderStatus::Expired, "a net order expired"),
            PaymentTerms::OnShipment => self.check_captures(),
        }
    }

    fn check_captures(&self) {
        let order = &self.order;
        let has_undone = order.shipments().iter().any(Shipment::is_undone);
        let accounted = order.kept().saturating_add(order.due_for_shipped());
        assert!(accounted >= order.owed_for_shipped(), "shipped goods are not paid for: {order:?}");
        // A refund for no line lowers the price of the whole order. What it lowers beyond the shipped goods counts for
        // the next shipment.
        let for_no_line = order.refunds().iter().filter(|refund| refund.lines.is_empty());
        let carried = for_no_line.fold(Amount::ZERO, |sum, refund| sum.saturating_add(refund.amount));
        let most = order.owed_for_shipped().saturating_add(carried);
        assert!(has_undone || accounted <= most, "captured too much: {order:?}");
        if !self.has_failed {
            assert!(order.due_for_shipped().is_zero(), "not captured: {:?} of {order:?}", self.payment);
        }
        assert_eq!(order.due_for_shipped().is_positive(), order.overdue_from().is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_shipment_captures_its_share_and_a_net_order_never_expires(
        place in new_order(),
        terms in prop::sample::select(PaymentTerms::ALL.to_vec()),
        charged in any::<bool>(),
        steps in prop::collection::vec(step(), 1..25),
    ) {
        let charge = || {
            let (provider, method) = ("provider".to_owned(), "card".to_owned());
            NewCharge { provider, method, capture: CaptureMode::Automatic }
        };
        let payment = charged.then(charge);
        let mut shop = Shop::new(PlaceOrder { terms, payment, payment_due_at: Some(NOW), ..place });
        shop.check();
        for step in &steps {
            shop.take(step);
            shop.check();
        }
    }
}

//! Every event whose kind has a reaction gets it, even if the process crashes right after the event.

use domain::{
    Event, StreamName,
    checkout::{order_event_has_reaction, payment_event_has_reaction},
    order::{OrderEventKind, PaymentTerms},
    payment::{DisputeState, PaymentEventKind, RefundOutcome},
};

use crate::{
    scene::{NEW_SLOT, SLOT, Scene},
    shop::{Deed, order_id},
};

const EVERYTHING: Deed = Deed::Ship { slot: SLOT, part: None };
const REFUND: Deed = Deed::Refund { slot: SLOT, amount: 20 };

impl Scene {
    /// Finishes all reactions, then sends the command.
    fn then(mut self, deed: &Deed) -> Self {
        self.first.drain(&mut self.world);
        self.act(deed);
        self
    }

    /// Advances the reaction to the placed order until an event of this kind is the last of the log.
    fn until(mut self, kind: OrderEventKind) -> Self {
        for _step in 0..10 {
            if self.ends_with_order_event(kind) {
                return self;
            }
            self.first.advance_on(&mut self.world, order_id(SLOT));
        }
        panic!("the order never reached {kind:?}");
    }

    fn ends_with_order_event(&self, kind: OrderEventKind) -> bool {
        let last = self.world.log.last().map(|logged| &logged.event);
        matches!(last, Some(Event::Order(event)) if event.kind() == kind)
    }

    fn ends_with_payment_event(&self, kind: PaymentEventKind) -> bool {
        let last = self.world.log.last().map(|logged| &logged.event);
        matches!(last, Some(Event::Payment(event)) if event.kind() == kind)
    }

    /// Advances any reaction until an event of this kind is the last of the log.
    fn advanced_until(mut self, kind: OrderEventKind) -> Self {
        while !self.ends_with_order_event(kind) {
            assert!(self.first.advance(&mut self.world, 0), "no order reached {kind:?}");
        }
        self
    }

    fn shipped() -> Self {
        Self::paid().then(&EVERYTHING)
    }
}

/// The payment of an order that ships on an authorisation has one.
fn authorized_on_shipment() -> Scene {
    Scene::allocated_on(PaymentTerms::OnShipment).then(&Deed::Authorize { slot: SLOT, amount: None })
}

/// A scene whose last event is of this kind, before any reaction to it.
fn order_scene(kind: OrderEventKind) -> Scene {
    match kind {
        OrderEventKind::Placed => Scene::placed(10, 10),
        OrderEventKind::Allocated => Scene::placed(10, 10).until(kind),
        OrderEventKind::Rejected => Scene::placed(10, 0).until(kind),
        OrderEventKind::PaymentRecorded => {
            let part = Deed::Capture { slot: SLOT, amount: Some(1) };
            let authorized = Scene::allocated().then(&Deed::Authorize { slot: SLOT, amount: None });
            let mut captured = authorized.then(&part);
            captured.first.drain(&mut captured.world);
            captured
        }
        OrderEventKind::PaymentAdded => Scene::with_two_payments(),
        OrderEventKind::PaymentEnded => {
            let mut ended = Scene::with_two_payments().then(&Deed::Fail { slot: SLOT, retryable: false });
            ended.first.drain(&mut ended.world);
            ended
        }
        OrderEventKind::Paid => Scene::paid(),
        OrderEventKind::Shipped => Scene::shipped(),
        OrderEventKind::Delivered => Scene::shipped().then(&Deed::Deliver { slot: SLOT }),
        OrderEventKind::ShipmentUndone => Scene::shipped().then(&Deed::Undo { slot: SLOT }),
        OrderEventKind::AuthorizationRecorded => {
            let mut authorized = authorized_on_shipment();
            authorized.first.drain(&mut authorized.world);
            authorized
        }
        OrderEventKind::DueMoved => Scene::allocated().then(&Deed::MoveDue { slot: SLOT }),
        OrderEventKind::Returned => {
            Scene::shipped().then(&Deed::Return { slot: SLOT, part: (1, 2), restock: true, amount: None })
        }
        OrderEventKind::CreditTakenBack => {
            Scene::exchanged().then(&Deed::Cancel { slot: NEW_SLOT }).advanced_until(kind)
        }
        OrderEventKind::RefundRequested => Scene::paid().then(&REFUND),
        OrderEventKind::LinesCancelled => {
            Scene::paid().then(&Deed::CancelPart { slot: SLOT, part: (1, 1), amount: None })
        }
        OrderEventKind::Cancelled => Scene::allocated().then(&Deed::Cancel { slot: SLOT }),
        OrderEventKind::Expired => Scene::allocated().then(&Deed::Expire { slot: SLOT }),
    }
}

/// A scene whose last event is of this kind. None for kinds without a reaction: a crash cannot lose it.
fn payment_scene(kind: PaymentEventKind) -> Option<Scene> {
    let refund_ends = |refunded| Deed::RefundEnds { slot: SLOT, refunded };
    let reported = |outcome| Deed::RefundReported { slot: SLOT, outcome };
    let dispute = |state| Deed::Dispute { slot: SLOT, amount: 30, state };
    match kind {
        PaymentEventKind::Authorized => Some(authorized_on_shipment()),
        PaymentEventKind::Captured => Some(Scene::allocated().then(&Deed::PayAll { slot: SLOT })),
        PaymentEventKind::Refunded => Some(Scene::paid().then(&REFUND).then(&refund_ends(true))),
        PaymentEventKind::RefundFailed => Some(Scene::paid().then(&REFUND).then(&refund_ends(false))),
        PaymentEventKind::Failed => {
            Some(Scene::allocated().then(&Deed::Fail { slot: SLOT, retryable: false }))
        }
        PaymentEventKind::Voided => Some(Scene::allocated().then(&Deed::Void { slot: SLOT })),
        PaymentEventKind::RefundFound => Some(Scene::paid().then(&reported(RefundOutcome::Pending))),
        PaymentEventKind::RefundPending => {
            let failed = Scene::paid().then(&REFUND).then(&refund_ends(false));
            Some(failed.then(&reported(RefundOutcome::Pending)))
        }
        PaymentEventKind::Disputed => Some(Scene::paid().then(&dispute(DisputeState::Open))),
        PaymentEventKind::DisputeWon => {
            Some(Scene::paid().then(&dispute(DisputeState::Open)).then(&dispute(DisputeState::Won)))
        }
        PaymentEventKind::DisputeLost => {
            Some(Scene::paid().then(&dispute(DisputeState::Won)).then(&dispute(DisputeState::Lost)))
        }
        PaymentEventKind::Requested
        | PaymentEventKind::ChargeRequested
        | PaymentEventKind::ChargePending
        | PaymentEventKind::CaptureRequested
        | PaymentEventKind::VoidRequested
        | PaymentEventKind::OutcomeUnknown
        | PaymentEventKind::RefundRequested
        | PaymentEventKind::RefundOutcomeUnknown
        | PaymentEventKind::Adjusted
        | PaymentEventKind::Closed => None,
    }
}

/// Crashes before the reaction to the last event. Returns whether the restarted process adds an event to
/// another stream.
fn reacts_after_a_crash(mut scene: Scene) -> bool {
    let (cause, known) = (scene.world.log.last().unwrap().stream.clone(), scene.world.log.len());
    scene.first.save_checkpoint();
    scene.first.crash();
    scene.first.drain(&mut scene.world);
    let is_reaction = |stream: &StreamName| *stream != cause;
    let reacted = scene.world.log[known..].iter().any(|logged| is_reaction(&logged.stream));
    scene.quiesced();
    reacted
}

#[test]
fn every_kind_of_order_event_with_a_reaction_gets_it_after_a_crash() {
    for &kind in OrderEventKind::ALL {
        let scene = order_scene(kind);
        assert!(scene.ends_with_order_event(kind), "{:?} is not {kind:?}", scene.world.log.last());
        assert_eq!(reacts_after_a_crash(scene), order_event_has_reaction(kind), "{kind:?}");
    }
}

#[test]
fn every_kind_of_payment_event_with_a_reaction_gets_it_after_a_crash() {
    for &kind in PaymentEventKind::ALL {
        let scene = payment_scene(kind);
        assert_eq!(scene.is_some(), payment_event_has_reaction(kind), "{kind:?}");
        let Some(scene) = scene else { continue };
        assert!(scene.ends_with_payment_event(kind), "{:?} is not {kind:?}", scene.world.log.last());
        assert!(reacts_after_a_crash(scene), "{kind:?}");
    }
}

//! The rules of checkout, each with the interleaving that would break it.

use domain::{
    Amount, PaymentId,
    checkout::{self, Step},
    order::{OrderStatus, PaymentTerms},
    payment::{DisputeState, RefundReason},
};

use crate::{
    process::Process,
    scene::{BOWL, MUG, SLOT, Scene},
    shop::{Deed, act, order_id, pence, request, sku},
    world::Answer,
};

#[test]
fn reactions_that_run_twice_change_nothing() {
    let mut scene = Scene::paid();
    scene.act(&Deed::Ship { slot: SLOT, part: Some((1, 3)) });
    scene.act(&Deed::Return { slot: SLOT, part: (1, 2), restock: true, amount: None });
    scene.act(&Deed::Cancel { slot: SLOT });
    scene.first.drain(&mut scene.world);
    let events = scene.world.log.len();

    scene.second.drain(&mut scene.world);
    scene.first = Process::default();
    let scene = scene.quiesced();
    assert_eq!(scene.world.log.len(), events);
    assert_eq!(scene.world.units(&sku(MUG), order_id(SLOT)), (3, 2));
}

#[test]
fn a_reaction_that_runs_again_does_not_adjust_a_payment_that_was_added_later() {
    let mut scene = Scene::with_stock(10, 10);
    (scene.baskets[SLOT].terms, scene.baskets[SLOT].payments) = (PaymentTerms::Net, vec![50]);
    scene.act(&Deed::Place { slot: SLOT });
    scene.first.drain(&mut scene.world);
    scene.act(&Deed::Ship { slot: SLOT, part: None });
    scene.act(&Deed::AddPayment { slot: SLOT, amount: None });
    scene.first.drain(&mut scene.world);
    let events = scene.world.log.len();
    assert_eq!(scene.quiesced().world.log.len(), events);
}

#[test]
fn a_reaction_that_runs_again_after_the_end_does_not_adjust_a_closed_payment() {
    let mut scene = Scene::allocated_on(PaymentTerms::OnShipment);
    for deed in [
        Deed::Authorize { slot: SLOT, amount: None },
        Deed::Ship { slot: SLOT, part: Some((1, 3)) },
        Deed::Capture { slot: SLOT, amount: Some(50) },
        Deed::Cancel { slot: SLOT },
    ] {
        scene.act(&deed);
        scene.first.drain(&mut scene.world);
    }
    let events = scene.world.log.len();
    assert_eq!(scene.quiesced().world.log.len(), events);
}

#[test]
fn a_repeated_command_is_answered_with_the_recorded_outcome() {
    let mut scene = Scene::paid();
    let again = act(&mut scene.world, &scene.baskets, &Deed::Place { slot: SLOT }, scene.requests - 1);
    assert_eq!(again, Answer::Recorded);
    // Another key makes it another command.
    let other = act(&mut scene.world, &scene.baskets, &Deed::Place { slot: SLOT }, 99);
    assert!(matches!(other, Answer::Refused(_)), "{other:?}");
}

/// The first process finds a bowl short. Before it rejects the order, a bowl arrives and the second
/// allocates.
#[test]
fn an_outdated_shortage_does_not_reject_an_order_that_another_process_allocated() {
    let mut scene = Scene::placed(3, 1);
    let order = order_id(SLOT);
    for _begin_and_two_reserves in 0..3 {
        scene.first.advance_on(&mut scene.world, order);
    }
    assert_eq!(scene.held(), [3, 0]);
    scene.act(&Deed::Receive { sku: BOWL, quantity: 1 });
    scene.second.drain(&mut scene.world);
    assert_eq!(scene.order().status(), OrderStatus::Allocated);

    let scene = scene.quiesced();
    assert_eq!(scene.order().status(), OrderStatus::Allocated);
    assert_eq!(scene.held(), [3, 2]);
}

/// The first process rejects the order after the second has reserved the bowls and before it allocates: the
/// units are released.
#[test]
fn a_rejected_order_stays_rejected_and_reserves_nothing() {
    let mut scene = Scene::placed(3, 1);
    let order = order_id(SLOT);
    for _begin_and_two_reserves in 0..3 {
        scene.first.advance_on(&mut scene.world, order);
    }
    scene.act(&Deed::Receive { sku: BOWL, quantity: 1 });
    for _begin_and_two_reserves in 0..3 {
        scene.second.advance_on(&mut scene.world, order);
    }
    assert_eq!(scene.held(), [3, 2]);
    scene.first.drain(&mut scene.world);
    assert_eq!((scene.order().status(), scene.held()), (OrderStatus::Rejected, [0, 0]));

    let scene = scene.quiesced();
    assert_eq!((scene.order().status(), scene.held()), (OrderStatus::Rejected, [0, 0]));
}

#[test]
fn an_order_cancelled_before_its_reaction_began_reserves_nothing() {
    let mut scene = Scene::placed(10, 10);
    scene.act(&Deed::Cancel { slot: SLOT });
    let scene = scene.quiesced();
    assert_eq!(scene.reservations_made(), 0);
}

/// The next reaction waits for the reserve: otherwise the release would find nothing and the reserve would
/// stay.
#[test]
fn the_release_of_a_cancelled_order_follows_its_reserve_under_way() {
    let mut scene = Scene::placed(10, 10);
    scene.first.advance_on(&mut scene.world, order_id(SLOT));
    scene.act(&Deed::Cancel { slot: SLOT });
    scene.first.drain(&mut scene.world);
    assert_eq!((scene.reservations_made(), scene.held()), (2, [0, 0]));
}

/// The second process read the order as placed and reserves after the first has released.
#[test]
fn the_sweep_releases_a_reserve_that_came_after_the_release() {
    let mut scene = Scene::placed(10, 10);
    scene.second.advance_on(&mut scene.world, order_id(SLOT));
    scene.act(&Deed::Cancel { slot: SLOT });
    scene.first.drain(&mut scene.world);
    for _two_reserves in 0..2 {
        scene.second.advance_on(&mut scene.world, order_id(SLOT));
    }
    scene.second.crash();
    assert_eq!(scene.held(), [3, 2]);

    scene.first.sweep(&scene.world);
    scene.first.drain(&mut scene.world);
    assert_eq!(scene.held(), [0, 0]);
}

#[test]
fn an_order_interrupted_by_a_crash_is_finished_from_the_checkpoint() {
    let mut scene = Scene::placed(10, 10);
    for _begin_and_one_reserve in 0..2 {
        scene.first.advance_on(&mut scene.world, order_id(SLOT));
    }
    scene.first.save_checkpoint();
    scene.first.crash();
    scene.first.drain(&mut scene.world);
    assert_eq!((scene.order().status(), scene.held()), (OrderStatus::Allocated, [3, 2]));
}

#[test]
fn the_sweep_settles_an_order_that_was_left_placed() {
    let mut scene = Scene::placed(10, 10);
    scene.first = Process::behind(&scene.world);
    scene.first.drain(&mut scene.world);
    assert_eq!(scene.order().status(), OrderStatus::Placed);
    scene.first.sweep(&scene.world);
    scene.first.drain(&mut scene.world);
    assert_eq!(scene.order().status(), OrderStatus::Allocated);
}

/// The second process read the order as placed, reserves after everything was shipped, and then ships again.
#[test]
fn a_lagging_process_ships_nothing_twice() {
    let mut scene = Scene::placed(10, 10);
    scene.second.advance_on(&mut scene.world, order_id(SLOT));
    scene.first.drain(&mut scene.world);
    scene.act(&Deed::PayAll { slot: SLOT });
    scene.first.drain(&mut scene.world);
    scene.act(&Deed::Ship { slot: SLOT, part: None });
    scene.first.drain(&mut scene.world);

    let scene = scene.quiesced();
    assert_eq!(scene.reservations_made(), 2);
    assert_eq!(scene.world.units(&sku(MUG), order_id(SLOT)), (3, 0));
    assert_eq!(scene.world.stock(&sku(MUG)).levels().on_hand, 7);
}

/// The release of the cancelled rest reaches stock before the shipment: each moves its own units.
#[test]
fn a_release_leaves_the_units_that_a_shipment_still_has_to_take() {
    let mut scene = Scene::paid();
    scene.act(&Deed::Ship { slot: SLOT, part: Some((1, 2)) });
    scene.act(&Deed::Cancel { slot: SLOT });
    for step in checkout::releases(order_id(SLOT), &scene.order()) {
        scene.world.send(step, request(99));
    }
    assert_eq!(scene.held(), [2, 0]);

    let scene = scene.quiesced();
    assert_eq!(scene.world.units(&sku(MUG), order_id(SLOT)), (2, 0));
    assert_eq!(scene.world.stock(&sku(MUG)).levels().on_hand, 8);
}

/// The sweep finds the ended order before the reaction to the first cancellation has run.
#[test]
fn a_release_leaves_the_units_that_an_earlier_cancellation_still_has_to_release() {
    let mut scene = Scene::paid();
    scene.act(&Deed::CancelPart { slot: SLOT, part: (1, 1), amount: None });
    scene.act(&Deed::Cancel { slot: SLOT });
    for step in checkout::releases(order_id(SLOT), &scene.order()) {
        scene.world.send(step, request(99));
    }
    assert_eq!(scene.held(), [1, 0]);
    assert_eq!(scene.quiesced().held(), [0, 0]);
}

/// In the other order, closing would refund everything and the payment would refuse the requested refund.
#[test]
fn a_refund_requested_before_the_end_reaches_the_payment_before_it_closes() {
    let mut scene = Scene::paid();
    scene.act(&Deed::Refund { slot: SLOT, amount: 40 });
    scene.act(&Deed::Cancel { slot: SLOT });
    let scene = scene.quiesced();
    let refunds: Vec<_> =
        scene.payment().refunds().iter().map(|refund| (refund.reason, refund.amount)).collect();
    assert_eq!(refunds, [(RefundReason::Requested, pence(40)), (RefundReason::OrderClosed, pence(30))]);
}

/// The first process is about to request the payment of an order whose payment the second closes.
#[test]
fn an_ended_order_requests_no_payment() {
    let mut scene = Scene::placed(10, 10);
    let order = order_id(SLOT);
    for _begin_two_reserves_settle in 0..4 {
        scene.first.advance_on(&mut scene.world, order);
    }
    scene.first.advance_on(&mut scene.world, order);
    scene.act(&Deed::Cancel { slot: SLOT });
    scene.second.drain(&mut scene.world);
    assert!(scene.payment().is_closed());

    let scene = scene.quiesced();
    assert_eq!(scene.payment().amount(), Amount::ZERO);
}

fn provider_takes(amount: i64) -> Deed {
    let (authorized, captured, ending, is_answer) = (amount, amount, None, false);
    Deed::Report { slot: SLOT, authorized, captured, ending, is_answer }
}

#[test]
fn money_captured_after_the_end_is_refunded_and_recorded_on_the_order() {
    let mut scene = Scene::allocated();
    scene.act(&Deed::Cancel { slot: SLOT });
    scene.first.drain(&mut scene.world);
    scene.act(&provider_takes(70));
    scene.act(&Deed::RefundEnds { slot: SLOT, refunded: true });
    let scene = scene.quiesced();
    assert_eq!((scene.order().captured(), scene.order().refunded()), (pence(70), pence(70)));
}

/// Three mugs, 30 in total, were shipped, and one of them comes back after the end.
#[test]
fn an_ended_order_does_not_keep_money_for_units_that_came_back_before_it_arrived() {
    let ship = Deed::Ship { slot: SLOT, part: Some((1, 3)) };
    let end = Deed::Cancel { slot: SLOT };
    let take_back = Deed::Return { slot: SLOT, part: (1, 1), restock: true, amount: None };
    let disputed = |state| Deed::Dispute { slot: SLOT, amount: 70, state };
    let (opened, won) = (disputed(DisputeState::Open), disputed(DisputeState::Won));
    // A true after a deed lets the first process react to all before the next one.
    for (mut scene, deeds) in [
        (
            Scene::allocated_on(PaymentTerms::Net),
            vec![(&ship, true), (&end, true), (&take_back, true), (&provider_takes(30), true)],
        ),
        (
            Scene::allocated_on(PaymentTerms::Net),
            vec![(&ship, true), (&end, true), (&provider_takes(30), false), (&take_back, true)],
        ),
        (
            Scene::allocated_on(PaymentTerms::Net),
            vec![(&ship, false), (&end, false), (&take_back, false), (&provider_takes(30), true)],
        ),
        (Scene::paid(), vec![(&ship, true), (&opened, true), (&end, true), (&take_back, true), (&won, true)]),
    ] {
        for (deed, reacts) in deeds {
            scene.act(deed);
            if reacts {
                scene.first.drain(&mut scene.world);
            }
        }
        let scene = scene.quiesced();
        let back =
            scene.payment().refunds().iter().fold(Amount::ZERO, |sum, one| sum.saturating_add(one.amount));
        assert_eq!(scene.payment().captured().saturating_sub(back), pence(20));
        assert_eq!((scene.order().owed(), scene.order().refundable()), (pence(20), pence(20)));
    }
}

/// The first process is about to cancel the unpaid order when the money is captured.
#[test]
fn a_failure_followed_by_a_capture_cancels_nothing() {
    let mut scene = Scene::allocated();
    let payment = PaymentId::of_order(order_id(SLOT));
    scene.act(&Deed::Fail { slot: SLOT, retryable: false });
    scene.first.advance_on(&mut scene.world, payment);
    scene.act(&provider_takes(70));
    scene.second.drain(&mut scene.world);
    assert!(scene.order().is_paid());

    let scene = scene.quiesced();
    assert_eq!(scene.order().status(), OrderStatus::Allocated);
}

#[test]
fn a_finally_failed_or_voided_payment_cancels_its_order() {
    for deed in [Deed::Fail { slot: SLOT, retryable: false }, Deed::Void { slot: SLOT }] {
        let mut scene = Scene::allocated();
        scene.act(&deed);
        let scene = scene.quiesced();
        assert_eq!((scene.order().status(), scene.held()), (OrderStatus::Cancelled, [0, 0]), "{deed:?}");
    }
}

#[test]
fn a_retryable_failure_leaves_the_order_allocated() {
    let mut scene = Scene::allocated();
    scene.act(&Deed::Fail { slot: SLOT, retryable: true });
    let scene = scene.quiesced();
    assert_eq!((scene.order().status(), scene.held()), (OrderStatus::Allocated, [3, 2]));
}

#[test]
fn a_return_restocks_the_marked_units_and_is_refunded_under_its_own_id() {
    let mut scene = Scene::paid();
    scene.act(&Deed::Ship { slot: SLOT, part: None });
    scene.act(&Deed::Return { slot: SLOT, part: (1, 2), restock: true, amount: None });
    scene.act(&Deed::Return { slot: SLOT, part: (2, 1), restock: false, amount: Some(0) });
    let scene = scene.quiesced();
    assert_eq!(scene.world.units(&sku(MUG), order_id(SLOT)), (3, 2));
    assert_eq!(scene.world.units(&sku(BOWL), order_id(SLOT)), (2, 0));
    let payment = scene.payment();
    let [refund] = payment.refunds() else { panic!("{:?}", payment.refunds()) };
    assert_eq!((refund.reason, refund.amount), (RefundReason::Return, pence(20)));
    assert_eq!(refund.refund_id, scene.order().returns()[0].return_id.into());
}

#[test]
fn a_step_names_its_target_stream_and_its_command() {
    let order = Scene::allocated().order();
    let steps = checkout::releases(order_id(SLOT), &order);
    let named: Vec<_> =
        steps.iter().map(|step: &Step| (step.target().to_string(), step.command_name())).collect();
    assert_eq!(
        named,
        [("stock-BOWL".to_owned(), "stock.release"), ("stock-MUG".to_owned(), "stock.release")]
    );
}

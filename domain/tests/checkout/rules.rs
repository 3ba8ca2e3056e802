//! The rules that keep checkout right, each with the interleaving that breaks it otherwise.
//!
//! `first` and `second` are processes that both react to everything, as when one takes over from another that
//! was only slow. The order is of three mugs at 10 and two bowls at 20: 70 in all.

use domain::{
    Amount, Event, PaymentId,
    checkout::{self, Step},
    order::{Order, OrderStatus},
    payment::{Payment, RefundReason},
    stock::StockEvent,
};

use crate::{
    process::Process,
    settled::{everything_adds_up, quiesce},
    shop::{Basket, Deed, act, order_id, pence, request, sku},
    world::{Answer, World},
};

const MUG: usize = 0;
const BOWL: usize = 1;
const SLOT: usize = 0;

struct Scene {
    world: World,
    baskets: Vec<Basket>,
    first: Process,
    second: Process,
    requests: usize,
}

impl Scene {
    fn with_stock(mugs: u32, bowls: u32) -> Self {
        let basket = Basket { lines: vec![(Some(MUG), 3, 10), (Some(BOWL), 2, 20)], adjustment: 0 };
        let mut scene = Self {
            world: World::default(),
            baskets: vec![basket],
            first: Process::default(),
            second: Process::default(),
            requests: 0,
        };
        for (sku, quantity) in [(MUG, mugs), (BOWL, bowls)].into_iter().filter(|(_, quantity)| *quantity > 0)
        {
            scene.act(&Deed::Receive { sku, quantity });
        }
        scene
    }

    /// The order is placed, and no process has looked at it.
    fn placed(mugs: u32, bowls: u32) -> Self {
        let mut scene = Self::with_stock(mugs, bowls);
        scene.act(&Deed::Place { slot: SLOT });
        scene
    }

    /// Placed, allocated by the first process, and its payment requested.
    fn allocated() -> Self {
        let mut scene = Self::placed(10, 10);
        scene.first.drain(&mut scene.world);
        assert_eq!(scene.order().status(), OrderStatus::Allocated);
        scene
    }

    fn paid() -> Self {
        let mut scene = Self::allocated();
        scene.act(&Deed::PayAll { slot: SLOT });
        scene.first.drain(&mut scene.world);
        assert!(scene.order().is_paid());
        scene
    }

    #[track_caller]
    fn act(&mut self, deed: &Deed) {
        self.requests += 1;
        let answer = act(&mut self.world, &self.baskets, deed, self.requests);
        assert!(matches!(answer, Answer::Done(events) if events > 0), "{answer:?} to {deed:?}");
    }

    fn order(&self) -> Order {
        self.world.order(order_id(SLOT))
    }

    fn payment(&self) -> Payment {
        self.world.payment(PaymentId::of_order(order_id(SLOT)))
    }

    /// Units of mugs and of bowls that are held for the order.
    fn held(&self) -> [u32; 2] {
        let of =
            |index| self.world.stock(&sku(index)).reservation(order_id(SLOT)).map_or(0, |held| held.quantity);
        [of(MUG), of(BOWL)]
    }

    fn reservations_made(&self) -> usize {
        let reserved = |event: &Event| matches!(event, Event::Stock(StockEvent::Reserved(_)));
        self.world.log.iter().filter(|logged| reserved(&logged.event)).count()
    }

    fn comes_to_rest(mut self) -> Self {
        let mut processes = [std::mem::take(&mut self.first), std::mem::take(&mut self.second)];
        quiesce(&mut self.world, &mut processes);
        everything_adds_up(&self.world);
        self
    }
}

#[test]
fn reactions_that_run_again_change_nothing() {
    let mut scene = Scene::paid();
    scene.act(&Deed::Ship { slot: SLOT, part: Some((1, 3)) });
    scene.act(&Deed::Return { slot: SLOT, part: (1, 2), restock: true, amount: None });
    scene.act(&Deed::Cancel { slot: SLOT });
    scene.first.drain(&mut scene.world);
    let events = scene.world.log.len();

    scene.second.drain(&mut scene.world);
    scene.first = Process::default();
    let scene = scene.comes_to_rest();
    assert_eq!(scene.world.log.len(), events);
    assert_eq!(scene.world.units(&sku(MUG), order_id(SLOT)), (3, 2));
}

#[test]
fn a_command_that_was_executed_answers_with_the_recorded_outcome() {
    let mut scene = Scene::paid();
    let again = act(&mut scene.world, &scene.baskets, &Deed::Place { slot: SLOT }, scene.requests - 1);
    assert_eq!(again, Answer::Recorded);
    // Under another key it is another command.
    let other = act(&mut scene.world, &scene.baskets, &Deed::Place { slot: SLOT }, 99);
    assert!(matches!(other, Answer::Refused(_)), "{other:?}");
}

/// The first process finds a bowl short; before it rejects the order, bowls come in and the second allocates.
#[test]
fn a_shortage_that_is_over_takes_nothing_from_an_order_that_another_process_allocated() {
    let mut scene = Scene::placed(3, 1);
    let order = order_id(SLOT);
    for _begin_and_two_reserves in 0..3 {
        scene.first.advance_on(&mut scene.world, order);
    }
    assert_eq!(scene.held(), [3, 0]);
    scene.act(&Deed::Receive { sku: BOWL, quantity: 1 });
    scene.second.drain(&mut scene.world);
    assert_eq!(scene.order().status(), OrderStatus::Allocated);

    let scene = scene.comes_to_rest();
    assert_eq!(scene.order().status(), OrderStatus::Allocated);
    assert_eq!(scene.held(), [3, 2]);
}

/// As above, but the rejection comes first: then what the second process has reserved is released.
#[test]
fn a_rejected_order_stays_rejected_and_holds_nothing() {
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

    let scene = scene.comes_to_rest();
    assert_eq!((scene.order().status(), scene.held()), (OrderStatus::Rejected, [0, 0]));
}

#[test]
fn nothing_is_reserved_for_an_order_that_was_cancelled_before_its_reaction_began() {
    let mut scene = Scene::placed(10, 10);
    scene.act(&Deed::Cancel { slot: SLOT });
    let scene = scene.comes_to_rest();
    assert_eq!(scene.reservations_made(), 0);
}

/// The next reaction waits for the reserve: otherwise its release would find nothing, and the reserve would stay.
#[test]
fn the_release_of_a_cancelled_order_follows_the_reserve_that_is_under_way() {
    let mut scene = Scene::placed(10, 10);
    scene.first.advance_on(&mut scene.world, order_id(SLOT));
    scene.act(&Deed::Cancel { slot: SLOT });
    scene.first.drain(&mut scene.world);
    assert_eq!((scene.reservations_made(), scene.held()), (2, [0, 0]));
}

/// The second process has read the order as placed, and reserves after the first has released.
#[test]
fn a_reserve_that_lands_after_the_release_is_swept() {
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
fn an_order_cut_off_by_a_crash_is_finished_from_the_checkpoint() {
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
fn an_order_left_placed_is_taken_up_by_the_sweep() {
    let mut scene = Scene::placed(10, 10);
    scene.first = Process::behind(&scene.world);
    scene.first.drain(&mut scene.world);
    assert_eq!(scene.order().status(), OrderStatus::Placed);
    scene.first.sweep(&scene.world);
    scene.first.drain(&mut scene.world);
    assert_eq!(scene.order().status(), OrderStatus::Allocated);
}

/// The second process has read the order as placed, reserves when all is shipped, and then ships again.
#[test]
fn a_process_that_lags_behind_ships_nothing_twice() {
    let mut scene = Scene::placed(10, 10);
    scene.second.advance_on(&mut scene.world, order_id(SLOT));
    scene.first.drain(&mut scene.world);
    scene.act(&Deed::PayAll { slot: SLOT });
    scene.first.drain(&mut scene.world);
    scene.act(&Deed::Ship { slot: SLOT, part: None });
    scene.first.drain(&mut scene.world);

    let scene = scene.comes_to_rest();
    assert_eq!(scene.reservations_made(), 2);
    assert_eq!(scene.world.units(&sku(MUG), order_id(SLOT)), (3, 0));
    assert_eq!(scene.world.stock(&sku(MUG)).levels().on_hand, 7);
}

/// The release of the cancelled rest comes to stock before the shipment does: each takes its own units.
#[test]
fn a_release_leaves_what_a_shipment_still_has_to_take() {
    let mut scene = Scene::paid();
    scene.act(&Deed::Ship { slot: SLOT, part: Some((1, 2)) });
    scene.act(&Deed::Cancel { slot: SLOT });
    for step in checkout::releases(order_id(SLOT), &scene.order()) {
        scene.world.send(step, request(99));
    }
    assert_eq!(scene.held(), [2, 0]);

    let scene = scene.comes_to_rest();
    assert_eq!(scene.world.units(&sku(MUG), order_id(SLOT)), (2, 0));
    assert_eq!(scene.world.stock(&sku(MUG)).levels().on_hand, 8);
}

/// In the other order the payment would give all back at its closing, and the refund would be refused.
#[test]
fn a_refund_asked_for_before_the_end_is_asked_of_the_payment_before_it_closes() {
    let mut scene = Scene::paid();
    scene.act(&Deed::Refund { slot: SLOT, amount: 40 });
    scene.act(&Deed::Cancel { slot: SLOT });
    let scene = scene.comes_to_rest();
    let refunds: Vec<_> =
        scene.payment().refunds().iter().map(|refund| (refund.reason, refund.amount)).collect();
    assert_eq!(refunds, [(RefundReason::Requested, pence(40)), (RefundReason::OrderClosed, pence(30))]);
}

/// The first process is about to request the payment of an order that the second closes.
#[test]
fn no_payment_is_requested_for_an_order_that_has_ended() {
    let mut scene = Scene::placed(10, 10);
    let order = order_id(SLOT);
    for _begin_two_reserves_settle in 0..4 {
        scene.first.advance_on(&mut scene.world, order);
    }
    scene.first.advance_on(&mut scene.world, order);
    scene.act(&Deed::Cancel { slot: SLOT });
    scene.second.drain(&mut scene.world);
    assert!(scene.payment().is_closed());

    let scene = scene.comes_to_rest();
    assert_eq!(scene.payment().amount(), Amount::ZERO);
}

fn provider_takes(amount: i64) -> Deed {
    let (authorized, captured, ending, is_answer) = (amount, amount, None, false);
    Deed::Report { slot: SLOT, authorized, captured, ending, is_answer }
}

#[test]
fn money_that_comes_after_the_end_is_given_back_and_the_order_knows() {
    let mut scene = Scene::allocated();
    scene.act(&Deed::Cancel { slot: SLOT });
    scene.first.drain(&mut scene.world);
    scene.act(&provider_takes(70));
    scene.act(&Deed::RefundEnds { slot: SLOT, refunded: true });
    let scene = scene.comes_to_rest();
    assert_eq!((scene.order().captured(), scene.order().refunded()), (pence(70), pence(70)));
}

/// The first process is about to cancel for want of payment when the money comes after all.
#[test]
fn a_failure_that_was_overtaken_by_the_money_cancels_nothing() {
    let mut scene = Scene::allocated();
    let payment = PaymentId::of_order(order_id(SLOT));
    scene.act(&Deed::Fail { slot: SLOT, retryable: false });
    scene.first.advance_on(&mut scene.world, payment);
    scene.act(&provider_takes(70));
    scene.second.drain(&mut scene.world);
    assert!(scene.order().is_paid());

    let scene = scene.comes_to_rest();
    assert_eq!(scene.order().status(), OrderStatus::Allocated);
}

#[test]
fn a_payment_that_fails_for_good_or_is_voided_cancels_its_order() {
    for deed in [Deed::Fail { slot: SLOT, retryable: false }, Deed::Void { slot: SLOT }] {
        let mut scene = Scene::allocated();
        scene.act(&deed);
        let scene = scene.comes_to_rest();
        assert_eq!((scene.order().status(), scene.held()), (OrderStatus::Cancelled, [0, 0]), "{deed:?}");
    }
}

#[test]
fn a_payment_that_may_be_tried_again_leaves_its_order_waiting() {
    let mut scene = Scene::allocated();
    scene.act(&Deed::Fail { slot: SLOT, retryable: true });
    let scene = scene.comes_to_rest();
    assert_eq!((scene.order().status(), scene.held()), (OrderStatus::Allocated, [3, 2]));
}

#[test]
fn a_return_puts_back_what_is_restocked_and_refunds_under_its_own_id() {
    let mut scene = Scene::paid();
    scene.act(&Deed::Ship { slot: SLOT, part: None });
    scene.act(&Deed::Return { slot: SLOT, part: (1, 2), restock: true, amount: None });
    scene.act(&Deed::Return { slot: SLOT, part: (2, 1), restock: false, amount: Some(0) });
    let scene = scene.comes_to_rest();
    assert_eq!(scene.world.units(&sku(MUG), order_id(SLOT)), (3, 2));
    assert_eq!(scene.world.units(&sku(BOWL), order_id(SLOT)), (2, 0));
    let payment = scene.payment();
    let [refund] = payment.refunds() else { panic!("{:?}", payment.refunds()) };
    assert_eq!((refund.reason, refund.amount), (RefundReason::Return, pence(20)));
    assert_eq!(refund.refund_id, scene.order().returns()[0].return_id.into());
}

#[test]
fn a_step_names_its_stream_and_its_command() {
    let order = Scene::allocated().order();
    let steps = checkout::releases(order_id(SLOT), &order);
    let named: Vec<_> =
        steps.iter().map(|step: &Step| (step.target().to_string(), step.command_name())).collect();
    assert_eq!(
        named,
        [("stock-BOWL".to_owned(), "stock.release"), ("stock-MUG".to_owned(), "stock.release")]
    );
}

//! One order of three mugs at 10 and two bowls at 20: 70 in total. It may be exchanged for a second order.
//!
//! `first` and `second` both react to every event, as if the second took over while the first was only slow.

use domain::{
    Event, PaymentId,
    order::{Order, OrderStatus, PaymentTerms},
    payment::Payment,
    stock::StockEvent,
};

use crate::{
    process::Process,
    settled::{everything_adds_up, quiesce},
    shop::{Basket, Deed, act, order_id, sku},
    world::{Answer, World},
};

pub const MUG: usize = 0;
pub const BOWL: usize = 1;
pub const SLOT: usize = 0;
/// The new order of an exchange: one bowl, for 20.
pub const NEW_SLOT: usize = 1;

/// A shop with its order, and the two processes.
pub struct Scene {
    pub world: World,
    pub baskets: Vec<Basket>,
    pub first: Process,
    pub second: Process,
    pub requests: usize,
}

impl Scene {
    pub fn with_stock(mugs: u32, bowls: u32) -> Self {
        let basket = Basket { lines: vec![(Some(MUG), 3, 10), (Some(BOWL), 2, 20)], ..Basket::default() };
        let new = Basket { lines: vec![(Some(BOWL), 1, 20)], ..Basket::default() };
        let mut scene = Self {
            world: World::default(),
            baskets: vec![basket, new],
            first: Process::default(),
            second: Process::default(),
            requests: 0,
        };
        for (sku, quantity) in [(MUG, mugs), (BOWL, bowls)] {
            if quantity > 0 {
                scene.act(&Deed::Receive { sku, quantity });
            }
        }
        scene
    }

    /// The order is placed, and no process has reacted yet.
    pub fn placed(mugs: u32, bowls: u32) -> Self {
        let mut scene = Self::with_stock(mugs, bowls);
        scene.act(&Deed::Place { slot: SLOT });
        scene
    }

    /// The first process allocated an order with these terms and requested its payment.
    pub fn allocated_on(terms: PaymentTerms) -> Self {
        let mut scene = Self::with_stock(10, 10);
        scene.baskets[SLOT].terms = terms;
        scene.act(&Deed::Place { slot: SLOT });
        scene.first.drain(&mut scene.world);
        scene
    }

    /// The first process allocated the order and requested its payment.
    pub fn allocated() -> Self {
        let mut scene = Self::placed(10, 10);
        scene.first.drain(&mut scene.world);
        assert_eq!(scene.order().status(), OrderStatus::Allocated);
        scene
    }

    /// The order has a payment of 50, and a second one of what is left.
    pub fn with_two_payments() -> Self {
        let mut scene = Self::with_stock(10, 10);
        scene.baskets[SLOT].payments = vec![50];
        scene.act(&Deed::Place { slot: SLOT });
        scene.first.drain(&mut scene.world);
        scene.act(&Deed::AddPayment { slot: SLOT, amount: None });
        scene
    }

    pub fn paid() -> Self {
        let mut scene = Self::allocated();
        scene.act(&Deed::PayAll { slot: SLOT });
        scene.first.drain(&mut scene.world);
        assert!(scene.order().is_paid());
        scene
    }

    /// All is shipped, and the exchange of two mugs, of 20, for the new order is requested.
    pub fn exchanging() -> Self {
        let mut scene = Self::paid();
        scene.act(&Deed::Ship { slot: SLOT, part: None });
        scene.first.drain(&mut scene.world);
        scene.act(&Deed::Exchange { slot: SLOT, part: (1, 2), new: NEW_SLOT });
        scene
    }

    /// The exchange is settled.
    pub fn exchanged() -> Self {
        let mut scene = Self::exchanging();
        scene.first.drain(&mut scene.world);
        assert!(scene.world.order(order_id(NEW_SLOT)).is_paid());
        scene
    }

    #[track_caller]
    pub fn act(&mut self, deed: &Deed) {
        self.requests += 1;
        let answer = act(&mut self.world, &self.baskets, deed, self.requests);
        assert!(matches!(answer, Answer::Done(events) if events > 0), "{answer:?} to {deed:?}");
    }

    pub fn order(&self) -> Order {
        self.world.order(order_id(SLOT))
    }

    pub fn payment(&self) -> Payment {
        self.world.payment(PaymentId::of_order(order_id(SLOT)))
    }

    /// The mugs and bowls reserved for the order.
    pub fn held(&self) -> [u32; 2] {
        let of =
            |index| self.world.stock(&sku(index)).reservation(order_id(SLOT)).map_or(0, |held| held.quantity);
        [of(MUG), of(BOWL)]
    }

    pub fn reservations_made(&self) -> usize {
        let reserved = |event: &Event| matches!(event, Event::Stock(StockEvent::Reserved(_)));
        self.world.log.iter().filter(|logged| reserved(&logged.event)).count()
    }

    /// Finishes all reactions of both processes and checks that everything adds up.
    pub fn quiesced(mut self) -> Self {
        let mut processes = [std::mem::take(&mut self.first), std::mem::take(&mut self.second)];
        quiesce(&mut self.world, &mut processes);
        everything_adds_up(&self.world);
        self
    }
}

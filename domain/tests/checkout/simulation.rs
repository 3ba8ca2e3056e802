//! Random commands, and random progress of two processes that both react to every event.

use domain::payment::{ChargeEnding, Operation, PaymentTerms};
use proptest::prelude::*;

use crate::{
    process::Process,
    settled::{everything_adds_up, quiesce},
    shop::{Basket, Deed, act},
    world::World,
};

/// Slots whose orders are placed by a request of their own. The others are for the new orders of exchanges.
const PLACED_SLOTS: usize = 3;
const SLOTS: usize = 6;

#[derive(Debug, Clone)]
enum Action {
    Do(Deed),
    /// Sends the last request again.
    RetryLast,
    /// Makes `steps` steps, chosen by `pick`. With many steps, the other process lags far behind.
    Advance {
        process: usize,
        pick: usize,
        steps: usize,
    },
    Drain {
        process: usize,
    },
    Crash {
        process: usize,
    },
    /// The second process ends and loses its work. Its replacement starts at the checkpoint of the first, so
    /// it does not see what the ended one left undone.
    TakeOver,
    SaveCheckpoint {
        process: usize,
    },
    Sweep {
        process: usize,
    },
}

fn basket() -> impl Strategy<Value = Basket> {
    let line = (prop::option::weighted(0.8, 0..3usize), 1..4u32, 0..20i64);
    let terms = prop_oneof![
        3 => Just(PaymentTerms::Prepaid),
        3 => Just(PaymentTerms::OnShipment),
        2 => Just(PaymentTerms::Net),
    ];
    let deposit = prop::option::weighted(0.4, 1..100i64);
    let content = (prop::collection::vec(line, 1..4), -5..10i64, deposit, terms);
    content.prop_map(|(mut lines, adjustment, percent, terms)| {
        // Adds the discount to a price, so the total is never negative. It may be 0.
        lines[0].2 += adjustment.min(0).abs();
        let value: i64 = lines.iter().map(|(_, quantity, price)| i64::from(*quantity) * price).sum();
        let total = value + adjustment;
        // A deposit and the balance, or a deposit alone. An order that ships on an authorisation has one payment.
        let percent = percent.filter(|_| terms != PaymentTerms::OnShipment);
        let payments = percent.map_or(Vec::new(), |percent| match total * percent / 100 {
            0 => Vec::new(),
            deposit if percent % 3 == 0 => vec![deposit],
            deposit => vec![deposit, total - deposit],
        });
        Basket { lines, adjustment, terms, payments }
    })
}

fn deed() -> impl Strategy<Value = Deed> {
    let on_second = |deed: Deed| Deed::OnTender { tender: 1, deed: Box::new(deed) };
    prop_oneof![
        3 => deed_on_first(),
        2 => deed_on_first().prop_map(on_second),
        1 => (0..SLOTS, prop::option::of(1..30i64)).prop_map(|(slot, amount)| Deed::AddPayment { slot, amount }),
    ]
}

fn deed_on_first() -> impl Strategy<Value = Deed> {
    let slot = 0..SLOTS;
    let part = (1..4u32, 1..3u32);
    let ending = prop_oneof![
        4 => Just(None),
        1 => Just(Some(ChargeEnding::Voided)),
        1 => any::<bool>().prop_map(|retryable| Some(ChargeEnding::Failed { reason: None, retryable })),
    ];
    let amount = prop::option::of(1..40i64);
    let operation = prop_oneof![Just(Operation::Authorize), Just(Operation::Capture), Just(Operation::Void)];
    prop_oneof![
        1 => (0..3usize, 1..6u32).prop_map(|(sku, quantity)| Deed::Receive { sku, quantity }),
        1 => (0..3usize, -3..3i64).prop_map(|(sku, delta)| Deed::Adjust { sku, delta }),
        6 => (0..PLACED_SLOTS).prop_map(|slot| Deed::Place { slot }),
        6 => (slot.clone(), (1..4u32, 1..3u32), PLACED_SLOTS..SLOTS)
            .prop_map(|(slot, part, new)| Deed::Exchange { slot, part, new }),
        2 => slot.clone().prop_map(|slot| Deed::Cancel { slot }),
        1 => slot.clone().prop_map(|slot| Deed::Undo { slot }),
        1 => slot.clone().prop_map(|slot| Deed::MoveDue { slot }),
        2 => (slot.clone(), (1..4u32, 1..3u32), prop::option::of(0..30i64))
            .prop_map(|(slot, part, amount)| Deed::CancelPart { slot, part, amount }),
        1 => slot.clone().prop_map(|slot| Deed::Expire { slot }),
        8 => (slot.clone(), prop::option::weighted(0.6, part.clone())).prop_map(|(slot, part)| Deed::Ship { slot, part }),
        1 => slot.clone().prop_map(|slot| Deed::Deliver { slot }),
        5 => (slot.clone(), part, prop::bool::weighted(0.8), prop::option::of(0..20i64))
            .prop_map(|(slot, part, restock, amount)| Deed::Return { slot, part, restock, amount }),
        3 => (slot.clone(), 1..30i64).prop_map(|(slot, amount)| Deed::Refund { slot, amount }),
        2 => (slot.clone(), amount.clone()).prop_map(|(slot, amount)| Deed::Authorize { slot, amount }),
        2 => (slot.clone(), amount).prop_map(|(slot, amount)| Deed::Capture { slot, amount }),
        3 => slot.clone().prop_map(|slot| Deed::Charge { slot }),
        6 => (slot.clone(), 0..40i64, prop_oneof![Just(0i64), 0..40i64], ending, any::<bool>()).prop_map(
            |(slot, authorized, captured, ending, is_answer)| Deed::Report {
                slot, authorized, captured, ending, is_answer,
            }
        ),
        8 => slot.clone().prop_map(|slot| Deed::PayAll { slot }),
        1 => (slot.clone(), any::<bool>()).prop_map(|(slot, retryable)| Deed::Fail { slot, retryable }),
        1 => slot.clone().prop_map(|slot| Deed::Void { slot }),
        1 => (slot.clone(), operation).prop_map(|(slot, operation)| Deed::LoseAnswer { slot, operation }),
        3 => (slot, any::<bool>()).prop_map(|(slot, refunded)| Deed::RefundEnds { slot, refunded }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let process = 0..2usize;
    prop_oneof![
        10 => deed().prop_map(Action::Do),
        1 => Just(Action::RetryLast),
        8 => (process.clone(), any::<prop::sample::Index>(), 1..8usize).prop_map(|(process, pick, steps)| {
            Action::Advance { process, pick: pick.index(60), steps }
        }),
        4 => process.clone().prop_map(|process| Action::Drain { process }),
        1 => process.clone().prop_map(|process| Action::Crash { process }),
        1 => Just(Action::TakeOver),
        2 => process.clone().prop_map(|process| Action::SaveCheckpoint { process }),
        1 => process.prop_map(|process| Action::Sweep { process }),
    ]
}

/// `on_hand` is the initial stock: sometimes too little for all orders.
fn run(on_hand: &[u32], baskets: &[Basket], actions: Vec<Action>) -> World {
    let mut world = World::default();
    for (sku, &quantity) in on_hand.iter().enumerate() {
        act(&mut world, baskets, &Deed::Receive { sku, quantity }, usize::MAX - sku);
    }
    let mut processes = [Process::default(), Process::default()];
    let mut last = None;
    for (number, action) in actions.into_iter().enumerate() {
        match action {
            Action::Do(deed) => {
                act(&mut world, baskets, &deed, number);
                last = Some((deed, number));
            }
            Action::RetryLast => {
                if let Some((deed, number)) = &last {
                    act(&mut world, baskets, deed, *number);
                }
            }
            Action::Advance { process, pick, steps } => {
                for step in 0..steps {
                    processes[process].advance(&mut world, pick + step);
                }
            }
            Action::Drain { process } => processes[process].drain(&mut world),
            Action::Crash { process } => processes[process].crash(),
            Action::TakeOver => processes[1] = processes[0].successor(),
            Action::SaveCheckpoint { process } => processes[process].save_checkpoint(),
            Action::Sweep { process } => processes[process].sweep(&world),
        }
    }
    quiesce(&mut world, &mut processes);
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn stock_orders_and_payments_agree_after_any_interleaving(
        on_hand in prop::collection::vec(0..15u32, 3),
        baskets in prop::collection::vec(basket(), SLOTS),
        actions in prop::collection::vec(action(), 10..150),
    ) {
        everything_adds_up(&run(&on_hand, &baskets, actions));
    }
}

use domain::{
    CancellationId, Decider, OrderId, ReturnId, ShipmentId,
    stock::{Stock, StockCommand, StockDecider, StockEvent, StockRefusal},
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::Run;

fn order() -> impl Strategy<Value = OrderId> {
    (1u128..5).prop_map(|number| OrderId(Uuid::from_u128(number)))
}

fn shipment() -> impl Strategy<Value = ShipmentId> {
    (1u128..4).prop_map(|number| ShipmentId(Uuid::from_u128(number)))
}

fn command() -> impl Strategy<Value = StockCommand> {
    prop_oneof![
        2 => (0u32..20).prop_map(|quantity| StockCommand::Receive { quantity, reference: None }),
        1 => (0u32..20).prop_map(|quantity| StockCommand::ReceiveAccepted { quantity, reference: None }),
        1 => (-10i64..5).prop_map(|delta| StockCommand::Adjust { delta, reason: None }),
        4 => (order(), 1u32..8).prop_map(|(order_id, quantity)| StockCommand::Reserve { order_id, quantity }),
        1 => (order(), 1u32..8).prop_map(|(order_id, quantity)| {
            StockCommand::CheckReserve { order_id, quantity }
        }),
        2 => (order(), 0u32..8).prop_map(|(order_id, quantity)| StockCommand::Release { order_id, quantity }),
        3 => (order(), shipment(), 0u32..8).prop_map(|(order_id, shipment_id, quantity)| {
            StockCommand::Ship { order_id, shipment_id, quantity }
        }),
        2 => (order(), 1u128..4, 0u32..4).prop_map(|(order_id, number, quantity)| {
            let cancellation_id = CancellationId(Uuid::from_u128(number));
            StockCommand::ReleasePart { order_id, cancellation_id, quantity }
        }),
        1 => (order(), shipment(), 1u32..8).prop_map(|(order_id, shipment_id, quantity)| {
            StockCommand::Unship { order_id, shipment_id, quantity, shipments: Vec::new() }
        }),
        1 => (order(), 1u32..8).prop_map(|(order_id, quantity)| {
            StockCommand::Return { order_id, return_id: ReturnId(Uuid::nil()), quantity }
        }),
    ]
}

/// The units on hand, counted without the fold.
fn counted(events: &[StockEvent]) -> i64 {
    let moved = events.iter().map(|event| match event {
        StockEvent::Received(event) => i64::from(event.quantity),
        StockEvent::Adjusted(event) => event.delta,
        StockEvent::Shipped(event) => -i64::from(event.quantity),
        StockEvent::Unshipped(event) => i64::from(event.quantity),
        StockEvent::Returned(event) => i64::from(event.quantity),
        StockEvent::Reserved(_) | StockEvent::Released(_) => 0,
    });
    moved.sum()
}

fn never_oversold(stock: &Stock) {
    let levels = stock.levels();
    let open: u32 = stock.open_reservations().values().map(|held| held.quantity).sum();
    assert_eq!(levels.reserved, open);
    assert!(levels.reserved <= levels.on_hand);
    assert!(stock.open_reservations().values().all(|held| held.quantity > 0));
}

/// The state recognises a retry of these commands. The others are recognised by their command ids.
fn is_recognised_by_state(command: &StockCommand) -> bool {
    match command {
        StockCommand::Reserve { .. }
        | StockCommand::CheckReserve { .. }
        | StockCommand::Release { .. }
        | StockCommand::Ship { .. } => true,
        StockCommand::Receive { .. }
        | StockCommand::ReceiveAccepted { .. }
        | StockCommand::Adjust { .. }
        | StockCommand::ReleasePart { .. }
        | StockCommand::Unship { .. }
        | StockCommand::Return { .. } => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn stock_is_never_oversold_and_always_adds_up(
        commands in prop::collection::vec(command(), 1..60)
    ) {
        let mut run = Run::<StockDecider>::new();
        for command in commands {
            let _refusal_is_fine = run.execute(command, |_, event, stock| {
                never_oversold(stock);
                assert_eq!(StockDecider::recorded_summary(event), Some(stock.levels()));
            });
            prop_assert_eq!(i64::from(run.state.levels().on_hand), counted(&run.events));
        }
        run.snapshots_are_faithful();
    }

    #[test]
    fn a_repeated_command_of_an_order_changes_nothing(
        commands in prop::collection::vec(command(), 1..60)
    ) {
        let mut run = Run::<StockDecider>::new();
        let mut done: Vec<StockCommand> = Vec::new();
        for command in commands {
            let is_recognised_by_id = StockDecider::deduplicated_by_command_id(command.name());
            prop_assert_ne!(is_recognised_by_id, is_recognised_by_state(&command), "{:?}", command);
            // It is sent only for shipments that the order has, and never after a release.
            if matches!(command, StockCommand::Unship { .. }) {
                continue;
            }
            let took_effect = run.execute(command.clone(), |_, _, _| ()).is_ok_and(|events| events > 0);
            if took_effect && is_recognised_by_state(&command) {
                done.push(command);
            }
            for earlier in &done {
                prop_assert_eq!(run.execute(earlier.clone(), |_, _, _| ()), Ok(0), "{:?}", earlier);
            }
        }
    }

    #[test]
    fn a_refused_reservation_names_what_was_available(
        commands in prop::collection::vec(command(), 1..60)
    ) {
        let mut run = Run::<StockDecider>::new();
        for command in commands {
            let levels = run.state.levels();
            if let Err(StockRefusal::Insufficient { requested, available }) = run.execute(command, |_, _, _| ()) {
                prop_assert_eq!(available, levels.available());
                prop_assert!(requested > available);
            }
        }
    }
}

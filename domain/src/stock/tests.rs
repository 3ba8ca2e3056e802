use uuid::Uuid;

use super::*;
use crate::{CancellationId, OrderId, ReturnId, ShipmentId, testing};

fn given(events: impl IntoIterator<Item = StockEvent>) -> testing::Given<StockDecider> {
    testing::given(events)
}

fn order(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(number))
}

fn shipment(number: u128) -> ShipmentId {
    ShipmentId(Uuid::from_u128(number))
}

fn returned(order_id: OrderId, quantity: u32) -> StockEvent {
    StockReturned { order_id, return_id: ReturnId(Uuid::from_u128(9)), quantity, levels: None }.into()
}

fn received(quantity: u32) -> StockEvent {
    StockReceived { quantity, reference: None, levels: None }.into()
}

fn reserved(order_id: OrderId, quantity: u32) -> StockEvent {
    StockReserved { order_id, quantity, levels: None }.into()
}

fn released(order_id: OrderId, quantity: u32) -> StockEvent {
    StockReleased { order_id, quantity, cancellation_id: None, levels: None }.into()
}

fn shipped(order_id: OrderId, shipment_id: ShipmentId, quantity: u32) -> StockEvent {
    StockShipped { order_id, shipment_id, quantity, levels: None }.into()
}

fn reserve(order_id: OrderId, quantity: u32) -> StockCommand {
    StockCommand::Reserve { order_id, quantity }
}

fn release(order_id: OrderId, quantity: u32) -> StockCommand {
    StockCommand::Release { order_id, quantity }
}

fn ship(order_id: OrderId, shipment_id: ShipmentId, quantity: u32) -> StockCommand {
    StockCommand::Ship { order_id, shipment_id, quantity }
}

fn put_back(order_id: OrderId, quantity: u32) -> StockCommand {
    StockCommand::Return { order_id, return_id: ReturnId(Uuid::from_u128(9)), quantity }
}

fn receive(quantity: u32) -> StockCommand {
    StockCommand::Receive { quantity, reference: None }
}

fn adjust(delta: i64) -> StockCommand {
    StockCommand::Adjust { delta, reason: None }
}

fn adjusted(delta: i64) -> StockEvent {
    StockAdjusted { delta, reason: None, levels: None }.into()
}

#[test]
fn received_units_are_on_hand_and_available() {
    given([received(3)])
        .when(StockCommand::Receive { quantity: 4, reference: Some("po-1".into()) })
        .then([StockReceived { quantity: 4, reference: Some("po-1".into()), levels: None }.into()])
        .when(reserve(order(1), 7))
        .then([reserved(order(1), 7)]);
}

#[test]
fn a_receipt_may_reach_the_limit_of_a_sku_and_not_exceed_it() {
    given([received(UNITS_MAX - 1)]).when(receive(1)).then([received(1)]);
    given([received(UNITS_MAX)]).when(receive(1)).then_refused(StockRefusal::AboveLimit);
}

#[test]
fn a_quantity_below_1_or_above_the_limit_and_an_adjustment_by_0_are_refused() {
    let held = [received(10), reserved(order(1), 5)];
    for command in
        [receive(0), receive(UNITS_MAX + 1), adjust(0), reserve(order(2), 0), put_back(order(1), 0)]
    {
        given(held.clone()).when(command).then_refused(StockRefusal::InvalidQuantity);
    }
}

#[test]
fn an_adjustment_may_reach_the_limit_and_the_reserved_units_and_no_further() {
    let held = [received(10), reserved(order(1), 4)];
    given(held.clone()).when(adjust(5)).then([adjusted(5)]);
    given(held.clone()).when(adjust(-6)).then([adjusted(-6)]);
    let refusal = StockRefusal::BelowReserved { delta: -7, on_hand: 3, reserved: 4 };
    given(held.clone()).when(adjust(-7)).then_refused(refusal);
    given(held.clone()).when(adjust(i64::from(UNITS_MAX) - 9)).then_refused(StockRefusal::AboveLimit);
    given(held).when(adjust(i64::MAX)).then_refused(StockRefusal::AboveLimit);
}

#[test]
fn an_adjustment_by_the_smallest_integer_is_refused_and_does_not_overflow() {
    let refusal = StockRefusal::BelowReserved { delta: i64::MIN, on_hand: i64::MIN, reserved: 0 };
    given([]).when(adjust(i64::MIN)).then_refused(refusal);
}

#[test]
fn a_reservation_may_take_the_last_unit_and_not_one_more() {
    given([received(5), reserved(order(1), 2)]).when(reserve(order(2), 3)).then([reserved(order(2), 3)]);
    given([received(5), reserved(order(1), 2)])
        .when(reserve(order(2), 4))
        .then_refused(StockRefusal::Insufficient { requested: 4, available: 3 });
    given([])
        .when(reserve(order(1), 1))
        .then_refused(StockRefusal::Insufficient { requested: 1, available: 0 });
}

#[test]
fn a_second_reserve_of_the_same_order_changes_nothing() {
    given([received(5)])
        .when(reserve(order(1), 5))
        .then([reserved(order(1), 5)])
        .when(reserve(order(1), 5))
        .then_nothing();
}

#[test]
fn a_second_reserve_with_another_quantity_is_refused() {
    given([received(9), reserved(order(1), 5)])
        .when(reserve(order(1), 6))
        .then_refused(StockRefusal::ReservedOtherwise { held: 5, requested: 6 });
}

#[test]
fn a_late_reserve_changes_nothing_if_the_reservation_was_reduced_since() {
    let part_shipped = [received(9), reserved(order(1), 5), shipped(order(1), shipment(1), 2)];
    given(part_shipped).when(reserve(order(1), 5)).then_nothing();
    let part_released = [received(9), reserved(order(1), 5), released(order(1), 3)];
    given(part_released).when(reserve(order(1), 5)).then_nothing();
}

#[test]
fn a_late_reserve_of_a_shipped_order_reserves_nothing() {
    given([received(9), reserved(order(1), 5), shipped(order(1), shipment(1), 5)])
        .when(reserve(order(1), 5))
        .then_nothing()
        .when(ship(order(1), shipment(1), 5))
        .then_nothing();
}

#[test]
fn the_number_of_remembered_closed_reservations_is_bounded() {
    let others = (2..).take(state::CLOSED_REMEMBERED_MAX);
    let closed_later = others.flat_map(|number| [reserved(order(number), 1), released(order(number), 1)]);
    let first = [received(1), reserved(order(1), 1), released(order(1), 1)];
    let state = StockDecider::fold(&first.into_iter().chain(closed_later).collect::<Vec<_>>());
    // The buffer doubles when it grows.
    assert!(state.heap_bytes() <= 2 * state::CLOSED_REMEMBERED_MAX * size_of::<OrderId>() + 1_000);
    assert!(!state.was_closed(order(1)) && state.was_closed(order(2)));
}

#[test]
fn a_release_frees_the_reserved_units_once() {
    given([received(5), reserved(order(1), 5)])
        .when(release(order(1), 5))
        .then([released(order(1), 5)])
        .when(release(order(1), 5))
        .then_nothing()
        .when(reserve(order(2), 5))
        .then([reserved(order(2), 5)]);
}

#[test]
fn a_release_leaves_the_units_of_a_shipment_that_stock_has_not_recorded_yet() {
    given([received(5), reserved(order(1), 5)])
        .when(release(order(1), 2))
        .then([released(order(1), 2)])
        .when(release(order(1), 2))
        .then_nothing()
        .when(ship(order(1), shipment(1), 3))
        .then([shipped(order(1), shipment(1), 3)])
        .when(reserve(order(2), 3))
        .then_refused(StockRefusal::Insufficient { requested: 3, available: 2 });
}

#[test]
fn a_release_frees_no_more_than_is_reserved() {
    given([received(5), reserved(order(1), 2)]).when(release(order(1), 5)).then([released(order(1), 2)]);
}

#[test]
fn a_release_or_shipment_without_open_reservation_or_without_units_changes_nothing() {
    let commands = [
        release(order(1), 1),
        ship(order(1), shipment(1), 1),
        release(order(2), 0),
        ship(order(2), shipment(1), 0),
    ];
    for command in commands {
        given([received(5), reserved(order(2), 2)]).when(command).then_nothing();
    }
}

#[test]
fn each_shipment_reduces_a_reservation_once() {
    given([received(5), reserved(order(1), 5)])
        .when(ship(order(1), shipment(1), 2))
        .then([shipped(order(1), shipment(1), 2)])
        .when(ship(order(1), shipment(1), 2))
        .then_nothing()
        .when(ship(order(1), shipment(2), 3))
        .then([shipped(order(1), shipment(2), 3)])
        .when(ship(order(1), shipment(2), 3))
        .then_nothing();
}

#[test]
fn a_shipment_takes_no_units_that_are_reserved_for_other_orders() {
    given([received(5), reserved(order(1), 2), reserved(order(2), 3)])
        .when(ship(order(1), shipment(1), 4))
        .then([shipped(order(1), shipment(1), 2)]);
}

#[test]
fn returned_units_are_on_hand_again_even_above_the_limit_of_receipts() {
    given([received(UNITS_MAX)])
        .when(put_back(order(1), 2))
        .then([returned(order(1), 2)])
        .when(adjust(1))
        .then_refused(StockRefusal::AboveLimit);
    given([received(UNITS_MAX), returned(order(1), 2)]).when(adjust(-1)).then([adjusted(-1)]);
    given([received(UNITS_MAX), returned(order(1), 2)])
        .when(receive(1))
        .then_refused(StockRefusal::AboveLimit);
}

#[test]
fn a_check_answers_as_the_reservation_would_and_records_nothing() {
    let check = |order_id, quantity| StockCommand::CheckReserve { order_id, quantity };
    given([received(5)]).when(check(order(1), 5)).then_nothing();
    let refused = StockRefusal::Insufficient { requested: 6, available: 5 };
    given([received(5)]).when(check(order(1), 6)).then_refused(refused);
    // An order is not short of the units that it holds already.
    given([received(5), reserved(order(1), 5)]).when(check(order(1), 5)).then_nothing();
    given([received(5), reserved(order(1), 5), released(order(1), 5)])
        .when(check(order(1), 5))
        .then_nothing();
}

#[test]
fn an_accepted_receipt_is_received_even_above_the_limit() {
    let accepted = StockCommand::ReceiveAccepted { quantity: 2, reference: None };
    given([received(UNITS_MAX)]).when(accepted).then([received(2)]);
}

#[test]
fn units_that_overflow_the_count_are_refused() {
    let full = || std::iter::repeat_n(returned(order(1), UNITS_MAX), 4);
    given(full()).when(put_back(order(1), UNITS_MAX)).then_refused(StockRefusal::AboveLimit);
    let accepted = StockCommand::ReceiveAccepted { quantity: UNITS_MAX, reference: None };
    given(full()).when(accepted).then_refused(StockRefusal::AboveLimit);
}

#[test]
#[should_panic(expected = "oversold")]
fn folding_a_log_that_oversells_panics() {
    given([received(1), reserved(order(1), 2)]);
}

#[test]
fn cancelled_units_are_released_once_and_the_rest_stays_reserved() {
    let (order_id, cancellation_id) = (order(1), CancellationId(Uuid::from_u128(9)));
    let command = || StockCommand::ReleasePart { order_id, cancellation_id, quantity: 2 };
    let part = StockReleased { order_id, quantity: 2, cancellation_id: Some(cancellation_id), levels: None };
    given([received(10), reserved(order_id, 5)])
        .when(command())
        .then([part.into()])
        .when(command())
        .then_nothing()
        .when(reserve(order_id, 5))
        .then_nothing()
        .when(StockCommand::Release { order_id, quantity: 3 })
        .then([released(order_id, 3)]);
}

#[test]
fn cancelled_units_are_released_once_also_after_the_rest() {
    let (order_id, cancellation_id) = (order(1), CancellationId(Uuid::from_u128(9)));
    let command = || StockCommand::ReleasePart { order_id, cancellation_id, quantity: 2 };
    let part = |quantity| -> StockEvent {
        StockReleased { order_id, quantity, cancellation_id: Some(cancellation_id), levels: None }.into()
    };
    given([received(10), reserved(order_id, 5), released(order_id, 2)])
        .when(command())
        .then([part(2)])
        .when(command())
        .then_nothing();
    given([received(10), reserved(order_id, 5), part(2), released(order_id, 3)])
        .when(command())
        .then_nothing();
}

#[test]
fn an_undone_shipment_opens_its_reservation_again_and_delayed_commands_do_not_reduce_it() {
    let (order_id, first, second) = (order(1), shipment(1), shipment(2));
    let unship = StockCommand::Unship { order_id, shipment_id: second, quantity: 3, shipments: vec![first] };
    let unshipped = |shipments: Vec<ShipmentId>| -> StockEvent {
        StockUnshipped { order_id, shipment_id: second, quantity: 3, shipments, levels: None }.into()
    };
    let ship = |shipment_id, quantity| StockCommand::Ship { order_id, shipment_id, quantity };
    let start = vec![received(10), reserved(order_id, 5), shipped(order_id, first, 2)];
    given([start.clone(), vec![shipped(order_id, second, 3)]].concat())
        .when(unship.clone())
        .then([unshipped(vec![first, second])])
        .when(ship(first, 2))
        .then_nothing()
        .when(ship(second, 3))
        .then_nothing()
        .when(ship(shipment(3), 3))
        .then([shipped(order_id, shipment(3), 3)]);
    // The reservation is still open: another unit was not shipped.
    let open =
        [received(10), reserved(order_id, 6), shipped(order_id, first, 2), shipped(order_id, second, 3)];
    given(open).when(unship).then([unshipped(Vec::new())]);
}

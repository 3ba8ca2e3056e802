use domain::Sku;

use super::*;

fn events(of: &[(&str, Revision)]) -> Vec<OrderStockEvent> {
    let event = |(position, (sku, revision)): (Position, &(&str, Revision))| OrderStockEvent {
        order_id: OrderId(Uuid::nil()),
        position,
        sku: Sku::new(sku).unwrap(),
        revision: *revision,
    };
    (1..).zip(of).map(event).collect()
}

#[test]
fn consecutive_events_are_read_together_and_no_other_events_are_read() {
    let runs = runs(&events(&[("B", 7), ("A", 3), ("A", 4), ("B", 9), ("A", 5), ("A", 8)]));
    let expected = [("A", 3, 5), ("A", 8, 8), ("B", 7, 7), ("B", 9, 9)];
    let expected =
        expected.map(|(sku, from, last)| Run { stream: Sku::new(sku).unwrap().into(), from, last });
    assert_eq!(runs, expected);
    assert_eq!(super::runs(&[]), []);
}

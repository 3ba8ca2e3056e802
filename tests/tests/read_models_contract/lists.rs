//! Filters, order and pages of lists of stock.

use domain::OrderId;
use infra::read_models::{OrderStockEvent, ReservationRow, Rows, StockFilter, StockRow};

use super::{Fixture, order_id, sku, step_with};

pub async fn stock_is_listed_by_sku_and_by_available_units<F: Fixture>(fixture: F) {
    let row = |name: &str, on_hand, reserved| StockRow { sku: sku(name), on_hand, reserved, revision: 0 };
    let stock = vec![row("A", 10, 10), row("B", 10, 5), row("C", 3, 0), row("a", 0, 0), row("é", 7, 1)];
    fixture.models().commit(step_with(1, Rows { stock: stock.clone(), ..Rows::default() })).await.unwrap();
    let queries = fixture.queries();
    let list = async |filter: StockFilter| {
        let mut by_limit = Vec::new();
        for limit in [1, 2, 100] {
            let (mut filter, mut found) = (filter.clone(), Vec::new());
            loop {
                let page = queries.stock_list(&filter, limit).await.unwrap();
                assert!(page.items.len() <= limit);
                found.extend(page.items);
                filter.after = page.next;
                if filter.after.is_none() {
                    break;
                }
            }
            by_limit.push(found);
        }
        assert!(by_limit.iter().all(|found| *found == by_limit[0]), "{by_limit:?}");
        by_limit.remove(0)
    };
    let skus = async |filter| -> Vec<String> {
        list(filter).await.iter().map(|row: &StockRow| row.sku.to_string()).collect()
    };
    let none = StockFilter::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(list(none()).await, stock);
    assert_eq!(skus(StockFilter { available_below: Some(5), ..none() }).await, ["A", "a", "C"]);
    assert_eq!(
        skus(StockFilter { available_below: Some(1 << 33), ..none() }).await,
        ["A", "a", "C", "B", "é"]
    );
    assert_eq!(skus(StockFilter { prefix: text("A"), ..none() }).await, ["A"]);
    assert_eq!(skus(StockFilter { contains: text("A"), ..none() }).await, ["A", "a"]);
    assert_eq!(skus(StockFilter { contains: text("É"), ..none() }).await, [""; 0]);
    let both = StockFilter { available_below: Some(7), prefix: text("é"), contains: text("é"), ..none() };
    assert_eq!(skus(both).await, ["é"]);

    // A page that looks at many SKUs.
    let many = (0..4_100).map(|number| row(&format!("S{number:04}"), 1, 0)).collect();
    fixture.models().commit(step_with(2, Rows { stock: many, ..Rows::default() })).await.unwrap();
    assert_eq!(skus(StockFilter { contains: text("s4099"), ..none() }).await, ["S4099"]);
}

pub async fn reservations_of_a_sku_are_paged_by_order<F: Fixture>(fixture: F) {
    let mut expected: Vec<_> = (1..=5).map(order_id).collect();
    expected.sort_unstable();
    let mut reservations: Vec<_> = ["A", "B"]
        .into_iter()
        .flat_map(|name| {
            let held = |id: &OrderId| ReservationRow { sku: sku(name), order_id: *id, quantity: 1 };
            expected.iter().map(held).collect::<Vec<_>>()
        })
        .collect();
    reservations.sort_by(|a, b| (&a.sku, a.order_id).cmp(&(&b.sku, b.order_id)));
    fixture.models().commit(step_with(1, Rows { reservations, ..Rows::default() })).await.unwrap();
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let page = fixture.queries().reservations(&sku("A"), after, 2).await.unwrap();
        assert!(page.items.iter().all(|row| row.sku == sku("A")));
        found.extend(page.items.iter().map(|row| row.order_id));
        after = found.last().copied();
        if !page.has_more {
            break;
        }
    }
    assert_eq!(found, expected);
}

pub async fn stock_events_of_an_order_are_paged_in_the_order_of_the_log<F: Fixture>(fixture: F) {
    let event = |number, position: u64, name: &str| OrderStockEvent {
        order_id: order_id(number),
        position,
        sku: sku(name),
        revision: position / 2,
    };
    let first = vec![event(1, 3, "A"), event(1, 5, "B"), event(2, 4, "A")];
    // A partition that lags may add events with earlier positions.
    let second = vec![event(1, 2, "gift/set é"), event(1, u64::from(u32::MAX) + 7, "A")];
    for (position, mut order_stock_events) in (1..).zip([first, second]) {
        order_stock_events.sort_unstable();
        fixture
            .models()
            .commit(step_with(position, Rows { order_stock_events, ..Rows::default() }))
            .await
            .unwrap();
    }
    let expected = [
        event(1, 2, "gift/set é"),
        event(1, 3, "A"),
        event(1, 5, "B"),
        event(1, u64::from(u32::MAX) + 7, "A"),
    ];
    for limit in [1, 2, 4] {
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = fixture.queries().order_stock_events(order_id(1), after, limit).await.unwrap();
            after = page.items.last().map(|event| event.position);
            found.extend(page.items);
            if !page.has_more {
                break;
            }
        }
        assert_eq!(found, expected, "{limit} at a time");
    }
    assert_eq!(fixture.queries().order_stock_events(order_id(3), None, 9).await.unwrap().items, []);
}

use domain::{
    Decider, OrderId,
    stock::{Stock, StockDecider, StockEvent, StockReceived, StockReserved},
};
use uuid::Uuid;

use super::*;

#[test]
fn the_stock_of_a_million_open_orders_fits_into_its_cache() {
    const SKUS: usize = 1_000;
    const ORDERS_OF_A_SKU: u32 = 1_000;
    let mut stock = Stock::default();
    let received = StockReceived { quantity: ORDERS_OF_A_SKU, reference: None, levels: None };
    StockDecider::evolve(&mut stock, &received.into());
    for number in 0..ORDERS_OF_A_SKU {
        let order_id = OrderId(Uuid::from_u128(number.into()));
        let reserved: StockEvent = StockReserved { order_id, quantity: 1, levels: None }.into();
        StockDecider::evolve(&mut stock, &reserved);
    }
    let bytes = SKUS * StockDecider::heap_bytes(&stock);
    let bytes_max = options_of_stock(ExecutorOptions::default()).cache_bytes_max;
    assert!(bytes < bytes_max, "{bytes} bytes of {bytes_max}");
}

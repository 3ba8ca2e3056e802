//! The size of an order's events. Event stores and Kafka limit the size of one event, so an order whose largest event
//! would be larger is refused when it is placed. No other event of an order is larger than these two.

use serde::Serialize;

use super::{EVENT_BYTES_MAX, METADATA_BYTES_MAX, OrderPlaced, OrderRefusal, OrderRejected, Shortage};

/// Bytes of JSON for the longest text: 500 characters of 4 bytes.
const TEXT_BYTES_MAX: usize = 2_000;
/// Bytes of JSON for a line without adjustments, whose SKU has 64 characters of 4 bytes.
const LINE_BYTES_MAX: usize = 500;

pub(super) fn check(placed: &OrderPlaced) -> Result<(), OrderRefusal> {
    let data_bytes_max = EVENT_BYTES_MAX - METADATA_BYTES_MAX;
    if at_most(placed) <= data_bytes_max {
        return Ok(());
    }
    let stocked = placed.lines.iter().filter(|line| line.stocked);
    let shortage = |sku: &crate::Sku| Shortage { sku: sku.clone(), requested: u32::MAX, available: u32::MAX };
    let rejected = OrderRejected { shortages: stocked.map(|line| shortage(&line.sku)).collect() };
    let data_bytes = json_bytes(placed).max(json_bytes(&rejected));
    if data_bytes > data_bytes_max {
        return Err(OrderRefusal::TooLarge { bytes: data_bytes + METADATA_BYTES_MAX });
    }
    Ok(())
}

/// An upper bound of both events that needs no JSON: almost every order is far below the limit.
fn at_most(placed: &OrderPlaced) -> usize {
    let of_lines: usize = placed.lines.iter().map(|line| line.adjustments.len()).sum();
    let payments = 1 + placed.payments.len();
    let texts = 6 + 2 * payments + placed.adjustments.len() + of_lines + 2 * placed.metadata.len();
    placed.lines.len() * LINE_BYTES_MAX + texts * (TEXT_BYTES_MAX + 100)
}

fn json_bytes(event: &impl Serialize) -> usize {
    let json = serde_json::to_vec(event).expect("event data has string keys and no failing serializers");
    json.len()
}

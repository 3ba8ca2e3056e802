//! The memory of an order: every member that can own bytes on the heap.

use super::{Adjustment, Line, LineQuantity, RefundRecord, ReturnLine, ReturnRecord, Shipment, Shortage};
use crate::heap::HeapBytes;

impl HeapBytes for Line {
    fn heap_bytes(&self) -> usize {
        let Self {
            sku,
            quantity: _,
            unit_price: _,
            stocked: _,
            shipped: _,
            delivered: _,
            returned: _,
            cancelled: _,
        } = self;
        sku.heap_bytes()
    }
}

impl HeapBytes for Adjustment {
    fn heap_bytes(&self) -> usize {
        let Self { code, amount: _ } = self;
        code.heap_bytes()
    }
}

impl HeapBytes for Shortage {
    fn heap_bytes(&self) -> usize {
        let Self { sku, requested: _, available: _ } = self;
        sku.heap_bytes()
    }
}

impl HeapBytes for Shipment {
    fn heap_bytes(&self) -> usize {
        let Self { shipment_id: _, lines, carrier, tracking_number, delivered: _ } = self;
        lines.heap_bytes() + carrier.heap_bytes() + tracking_number.heap_bytes()
    }
}

impl HeapBytes for ReturnRecord {
    fn heap_bytes(&self) -> usize {
        let Self { return_id: _, lines, refund_amount: _ } = self;
        lines.heap_bytes()
    }
}

impl HeapBytes for LineQuantity {
    fn heap_bytes(&self) -> usize {
        let Self { line: _, quantity: _ } = self;
        0
    }
}

impl HeapBytes for ReturnLine {
    fn heap_bytes(&self) -> usize {
        let Self { line: _, quantity: _, restock: _ } = self;
        0
    }
}

impl HeapBytes for RefundRecord {
    fn heap_bytes(&self) -> usize {
        let Self { refund_id: _, amount: _ } = self;
        0
    }
}

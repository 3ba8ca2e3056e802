//! The memory of an order: every member that can own bytes on the heap.

use super::{
    Adjustment, CancellationRecord, CancelledLine, Line, LineAdjustment, LineAmount, LineQuantity, NewTender,
    OrderAuthorizationRecorded, RefundRecord, ReturnRecord, ReturnedLine, Shipment, Shortage, Tender,
};
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
            adjustments,
            shares: _,
            tax_included: _,
            balance: _,
        } = self;
        sku.heap_bytes() + adjustments.heap_bytes()
    }
}

impl HeapBytes for Adjustment {
    fn heap_bytes(&self) -> usize {
        let Self { kind: _, code, amount: _, spread: _ } = self;
        code.heap_bytes()
    }
}

impl HeapBytes for LineAdjustment {
    fn heap_bytes(&self) -> usize {
        let Self { kind: _, code, amount: _ } = self;
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
        let Self { shipment_id: _, lines, carrier, tracking_number, delivered: _, undone_among: _ } = self;
        lines.heap_bytes() + carrier.heap_bytes() + tracking_number.heap_bytes()
    }
}

impl HeapBytes for ReturnRecord {
    fn heap_bytes(&self) -> usize {
        let Self { return_id: _, lines, refund_amount: _ } = self;
        lines.heap_bytes()
    }
}

impl HeapBytes for LineAmount {
    fn heap_bytes(&self) -> usize {
        let Self { line: _, amount: _ } = self;
        0
    }
}

impl HeapBytes for LineQuantity {
    fn heap_bytes(&self) -> usize {
        let Self { line: _, quantity: _ } = self;
        0
    }
}

impl HeapBytes for ReturnedLine {
    fn heap_bytes(&self) -> usize {
        let Self { line: _, quantity: _, restock: _, value: _ } = self;
        0
    }
}

impl HeapBytes for CancellationRecord {
    fn heap_bytes(&self) -> usize {
        let Self { cancellation_id: _, lines } = self;
        lines.heap_bytes()
    }
}

impl HeapBytes for CancelledLine {
    fn heap_bytes(&self) -> usize {
        let Self { line: _, quantity: _, value: _ } = self;
        0
    }
}

impl HeapBytes for OrderAuthorizationRecorded {
    fn heap_bytes(&self) -> usize {
        let Self { payment_id: _, authorized: _, until: _, number: _ } = self;
        0
    }
}

impl HeapBytes for RefundRecord {
    fn heap_bytes(&self) -> usize {
        let Self { refund_id: _, payment_id: _, amount: _, lines, at_closing: _, part_of: _ } = self;
        lines.heap_bytes()
    }
}

impl HeapBytes for NewTender {
    fn heap_bytes(&self) -> usize {
        let Self { amount: _, charge, credit: _ } = self;
        charge.heap_bytes()
    }
}

impl HeapBytes for Tender {
    fn heap_bytes(&self) -> usize {
        let Self { payment_id: _, amount: _, recorded: _, ending: _, kept_at_closing: _, added_at: _ } = self;
        0
    }
}

use serde::{Deserialize, Serialize};

use crate::{Sku, decider::stored_events};

stored_events! {
    /// What happened to a receipt of several SKUs.
    pub enum ReceiptEvent of ReceiptEventKind {
        Accepted(ReceiptAccepted) = "receipt.accepted.v1",
    }
}

/// The goods are accepted. Each SKU receives its units after this event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptAccepted {
    /// 1 to [`ITEMS_MAX`](super::ITEMS_MAX), each SKU once.
    pub items: Vec<ReceiptItem>,
}

/// Received units of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptItem {
    pub sku: Sku,
    pub quantity: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

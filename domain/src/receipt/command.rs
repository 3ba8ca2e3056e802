use super::ReceiptItem;

/// Commands to a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptCommand {
    /// Accepts the goods. The caller has checked the limits of each SKU's stock.
    Accept { items: Vec<ReceiptItem> },
}

impl ReceiptCommand {
    /// Stored in metadata, so it never changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accept { .. } => "receipt.accept",
        }
    }
}

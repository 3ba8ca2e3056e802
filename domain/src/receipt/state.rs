use serde::{Deserialize, Serialize};

use super::ReceiptEvent;

/// A receipt. Its items are in its event only: nothing is decided on them later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    accepted: bool,
}

impl Receipt {
    pub fn is_accepted(&self) -> bool {
        self.accepted
    }
}

pub(super) fn evolve(receipt: &mut Receipt, event: &ReceiptEvent) {
    match event {
        ReceiptEvent::Accepted(_) => receipt.accepted = true,
    }
}

use std::{collections::HashSet, fmt};

use super::{
    ITEMS_MAX, REFERENCES_BYTES_MAX, Receipt, ReceiptAccepted, ReceiptCommand, ReceiptEvent, ReceiptItem,
};
use crate::{
    Sku,
    stock::UNITS_MAX,
    text::{self, InvalidText},
};

/// Why a receipt is refused: every reason, so that the caller can correct all of them at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ReceiptRefusals(pub Vec<ReceiptRefusal>);

impl fmt::Display for ReceiptRefusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, refusal) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{refusal}")?;
        }
        Ok(())
    }
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptRefusal {
    #[error("a receipt has 1 to {ITEMS_MAX} SKUs")]
    ItemCount,
    #[error("all references together have at most {REFERENCES_BYTES_MAX} bytes")]
    ReferencesTooLong,
    /// `index` counts from 0.
    #[error("{sku}: {why}")]
    Item { index: usize, sku: Sku, why: ItemRefusal },
}

/// What is wrong with one item of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ItemRefusal {
    #[error("an earlier item has the same SKU")]
    Repeated,
    #[error("a quantity is between 1 and {UNITS_MAX} units")]
    Quantity,
    #[error("the reference {0}")]
    Reference(InvalidText),
}

pub(super) fn decide(
    receipt: &Receipt,
    command: ReceiptCommand,
) -> Result<Vec<ReceiptEvent>, ReceiptRefusals> {
    let ReceiptCommand::Accept { items } = command;
    if receipt.is_accepted() {
        return Ok(Vec::new());
    }
    check(&items)?;
    Ok(vec![ReceiptAccepted { items }.into()])
}

/// Checks the items without the stock of their SKUs.
pub fn check(items: &[ReceiptItem]) -> Result<(), ReceiptRefusals> {
    if items.is_empty() || items.len() > ITEMS_MAX {
        return Err(ReceiptRefusals(vec![ReceiptRefusal::ItemCount]));
    }
    let mut refusals = Vec::new();
    let (mut skus, mut references_bytes) = (HashSet::new(), 0);
    for (index, ReceiptItem { sku, quantity, reference }) in items.iter().enumerate() {
        references_bytes += reference.as_ref().map_or(0, String::len);
        let reference = reference.as_deref().and_then(|reference| text::check(reference).err());
        let found = [
            (!skus.insert(sku)).then_some(ItemRefusal::Repeated),
            (!(1..=UNITS_MAX).contains(quantity)).then_some(ItemRefusal::Quantity),
            reference.map(ItemRefusal::Reference),
        ];
        let refused = |why| ReceiptRefusal::Item { index, sku: sku.clone(), why };
        refusals.extend(found.into_iter().flatten().map(refused));
    }
    if references_bytes > REFERENCES_BYTES_MAX {
        refusals.push(ReceiptRefusal::ReferencesTooLong);
    }
    if refusals.is_empty() { Ok(()) } else { Err(ReceiptRefusals(refusals)) }
}

//! The books of a payment provider: the charges and refunds that it made, to compare with what is recorded here.

use domain::{Amount, Currency, PaymentId, RefundId, Timestamp};

/// What a page of the books lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Book {
    Charges,
    Refunds,
}

/// The instants from `from` on and before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Period {
    pub fn contains(&self, instant: Timestamp) -> bool {
        self.from <= instant && instant < self.to
    }
}

/// A charge or a refund in the books, in its current state. Its metadata names a payment of this platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookEntry {
    pub payment_id: PaymentId,
    /// The number of the charge.
    pub charge: u32,
    /// The provider's id of the charge: what [`super::PaymentProvider::look_up_reference`] takes.
    pub charge_reference: String,
    /// `None`: the entry is the charge.
    pub refund_id: Option<RefundId>,
    /// The provider's id of the charge or of the refund.
    pub reference: String,
    pub currency: Currency,
    /// The money that has moved: what the charge captured, or what the refund paid out. 0 for a refund that failed or
    /// is not paid yet. Minor units.
    pub amount: Amount,
    /// When the provider made the charge or the refund.
    pub made_at: Timestamp,
}

/// A page of the books. May be empty although more pages follow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BookPage {
    pub entries: Vec<BookEntry>,
    /// The cursor of the next page. `None` on the last page.
    pub next: Option<String>,
}

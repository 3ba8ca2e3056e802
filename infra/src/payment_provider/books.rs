//! The books of a payment provider: the charges and refunds that it made, and the disputes of its customers, to compare
//! with what is recorded here.

use domain::{Amount, Currency, PaymentId, RefundId, Timestamp};

/// What a page of the books lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Book {
    Charges,
    Refunds,
    Disputes,
}

impl Book {
    pub const ALL: [Self; 3] = [Self::Charges, Self::Refunds, Self::Disputes];
}

/// What an entry of the books is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookItem {
    Charge,
    Refund(RefundId),
    /// Its provider's id is [`BookEntry::reference`].
    Dispute,
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

/// A charge, a refund or a dispute in the books, in its current state. The metadata of its charge names a payment of this
/// platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookEntry {
    pub payment_id: PaymentId,
    /// The number of the charge.
    pub charge: u32,
    /// The provider's id of the charge: what [`super::PaymentProvider::look_up_reference`] takes.
    pub charge_reference: String,
    pub item: BookItem,
    /// The provider's id of the charge, of the refund or of the dispute.
    pub reference: String,
    pub currency: Currency,
    /// The money that has moved: what the charge captured, what the refund paid out, or what the dispute took. 0 for a
    /// refund that failed or is not paid yet, and for a dispute that was won. Minor units.
    pub amount: Amount,
    /// When the provider made it.
    pub made_at: Timestamp,
}

/// A page of the books. May be empty although more pages follow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BookPage {
    pub entries: Vec<BookEntry>,
    /// The cursor of the next page. `None` on the last page.
    pub next: Option<String>,
}

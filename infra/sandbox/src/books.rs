//! The books of the sandbox, for the adapter. The sandbox lists all its charges, and the adapter selects.

use infra::payment_provider::{Book, BookEntry, BookItem, BookPage, Period};

use crate::resource::{ChargePage, ChargeResource, DisputeResource, RefundResource, RefundStatus};
use domain::{Amount, PaymentId};

/// The entries of a page of charges that were made in a period.
pub fn page_of(charges: ChargePage, book: Book, period: Period) -> BookPage {
    let entries = charges.items.iter().flat_map(|charge| match book {
        Book::Charges => charge_entry(charge).into_iter().collect::<Vec<_>>(),
        Book::Refunds => charge.refunds.iter().filter_map(|refund| refund_entry(charge, refund)).collect(),
        Book::Disputes => {
            charge.disputes.iter().filter_map(|dispute| dispute_entry(charge, dispute)).collect()
        }
    });
    let entries = entries.filter(|entry| period.contains(entry.made_at)).collect();
    BookPage { entries, next: charges.next_cursor }
}

/// `None` for a charge that was voided before it was requested.
fn charge_entry(charge: &ChargeResource) -> Option<BookEntry> {
    Some(BookEntry {
        payment_id: charge.payment_id,
        charge: charge.charge,
        charge_reference: charge.reference.clone(),
        item: BookItem::Charge,
        reference: charge.reference.clone(),
        currency: charge.terms.as_ref()?.currency,
        amount: charge.captured,
        made_at: charge.created_at,
    })
}

fn refund_entry(charge: &ChargeResource, refund: &RefundResource) -> Option<BookEntry> {
    let amount = match refund.status {
        RefundStatus::Succeeded => refund.amount,
        RefundStatus::Pending | RefundStatus::Failed => Amount::ZERO,
    };
    let made_at = refund.created_at.unwrap_or(charge.created_at);
    let (item, reference) = (BookItem::Refund(refund.refund_id), refund.reference.clone());
    Some(BookEntry { item, reference, amount, made_at, ..charge_entry(charge)? })
}

fn dispute_entry(charge: &ChargeResource, dispute: &DisputeResource) -> Option<BookEntry> {
    let amount = if dispute.status.takes_money() { dispute.amount } else { Amount::ZERO };
    let made_at = dispute.created_at.unwrap_or(charge.created_at);
    let (item, reference) = (BookItem::Dispute, dispute.dispute_id.clone());
    Some(BookEntry { item, reference, amount, made_at, ..charge_entry(charge)? })
}

/// The reference of a charge.
pub fn reference_of(payment_id: PaymentId, number: u32) -> String {
    format!("sandbox-{payment_id}-{number}")
}

/// The charge with this reference: see [`reference_of`].
pub fn charge_of(reference: &str) -> Option<(PaymentId, u32)> {
    let (payment_id, number) = reference.strip_prefix("sandbox-")?.rsplit_once('-')?;
    Some((payment_id.parse().ok()?, number.parse().ok()?))
}

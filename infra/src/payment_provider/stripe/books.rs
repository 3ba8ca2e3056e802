//! The books of an account at Stripe: its intents, refunds and disputes by the second in which they were created.

use domain::{Amount, Currency, RefundId, Timestamp};

use super::{
    StripeProvider,
    movements::{amount_of, dispute_state},
    object::{BookedDispute, BookedRefund, Intent, StripePage, currency_of},
};
use crate::payment_provider::{Book, BookEntry, BookItem, BookPage, Period, ProviderError};

impl StripeProvider {
    pub(super) async fn page_of_book(
        &self,
        book: Book,
        period: Period,
        after: Option<&str>,
    ) -> Result<BookPage, ProviderError> {
        match book {
            Book::Charges => {
                book_page(&self.api.list_intents_of(period, after).await?, |intent| &intent.id, charge_entry)
            }
            Book::Refunds => {
                book_page(&self.api.list_refunds_of(period, after).await?, |refund| &refund.id, refund_entry)
            }
            Book::Disputes => {
                let page = self.api.list_disputes_of(period, after).await?;
                book_page(&page, |dispute| &dispute.id, dispute_entry)
            }
        }
    }
}

/// The entries of a page. Objects that do not belong to this platform have none.
fn book_page<T>(
    page: &StripePage<T>,
    id: fn(&T) -> &String,
    entry: fn(&T) -> Result<Option<BookEntry>, ProviderError>,
) -> Result<BookPage, ProviderError> {
    let next = page.data.last().filter(|_| page.has_more).map(|last| id(last).clone());
    let entries = page.data.iter().filter_map(|object| entry(object).transpose());
    Ok(BookPage { entries: entries.collect::<Result<_, _>>()?, next })
}

/// `None` for an intent that this platform did not create.
fn charge_entry(intent: &Intent) -> Result<Option<BookEntry>, ProviderError> {
    let Some((payment_id, charge)) = intent.ids() else { return Ok(None) };
    let (currency, amount) = money(&intent.id, intent.amount_received, &intent.currency)?;
    Ok(Some(BookEntry {
        payment_id,
        charge,
        charge_reference: intent.id.clone(),
        item: BookItem::Charge,
        reference: intent.id.clone(),
        currency,
        amount,
        made_at: instant(&intent.id, intent.created)?,
    }))
}

/// `None` for a refund of an intent that this platform did not create.
fn refund_entry(refund: &BookedRefund) -> Result<Option<BookEntry>, ProviderError> {
    let Some(intent) = &refund.payment_intent else { return Ok(None) };
    let Some((payment_id, charge)) = intent.ids() else { return Ok(None) };
    let requested = refund.ids().filter(|(of, _)| *of == payment_id).map(|(_, refund_id)| refund_id);
    let refund_id = requested.unwrap_or_else(|| RefundId::of_provider(payment_id, &refund.id));
    let is_paid = refund.status.as_deref() == Some("succeeded");
    let (currency, amount) = money(&refund.id, refund.amount, &refund.currency)?;
    Ok(Some(BookEntry {
        payment_id,
        charge,
        charge_reference: intent.id.clone(),
        item: BookItem::Refund(refund_id),
        reference: refund.id.clone(),
        currency,
        amount: if is_paid { amount } else { Amount::ZERO },
        made_at: instant(&refund.id, refund.created)?,
    }))
}

/// `None` for a dispute of an intent that this platform did not create, and for an inquiry, which takes no money.
fn dispute_entry(dispute: &BookedDispute) -> Result<Option<BookEntry>, ProviderError> {
    let Some(intent) = &dispute.payment_intent else { return Ok(None) };
    let Some((payment_id, charge)) = intent.ids() else { return Ok(None) };
    let Some(state) = dispute_state(&dispute.status) else { return Ok(None) };
    let (currency, amount) = money(&dispute.id, dispute.amount, &dispute.currency)?;
    Ok(Some(BookEntry {
        payment_id,
        charge,
        charge_reference: intent.id.clone(),
        item: BookItem::Dispute,
        reference: dispute.id.clone(),
        currency,
        amount: if state.takes_money() { amount } else { Amount::ZERO },
        made_at: instant(&dispute.id, dispute.created)?,
    }))
}

fn money(id: &str, units: i64, currency: &str) -> Result<(Currency, Amount), ProviderError> {
    let amount = amount_of(id, units, currency)?;
    let known = currency_of(currency).ok_or_else(|| unreadable(id, "currency"))?;
    Ok((known, amount))
}

fn instant(id: &str, seconds: i64) -> Result<Timestamp, ProviderError> {
    Timestamp::from_second(seconds).map_err(|_| unreadable(id, "time"))
}

fn unreadable(id: &str, member: &str) -> ProviderError {
    ProviderError::OutcomeUnknown(format!("{id} cannot be read: its {member} is unknown"))
}

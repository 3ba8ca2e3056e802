//! Compares the charges, refunds and disputes of a period with the books of the payment provider.
//!
//! Each belongs to the period in which the provider made it. One that the provider does not have belongs
//! to the period in which its money was recorded here first. So each belongs to one period, although the two clocks and
//! the way between them differ. Both amounts are those of now: a refund of an earlier day may have failed since.

mod recorded;

use std::collections::{BTreeMap, HashSet};

use domain::{Amount, Currency, DecodeError, PaymentId, RefundId, StreamName, Timestamp};
use infra::{
    event_store::{EventLog, ReadError},
    operations::reconciliations::{Difference, Finding, Kind, Sums},
    payment_provider::{Book, BookEntry, BookItem, PaymentProvider, Period, ProviderError},
};
use jiff::SignedDuration;
use uuid::Uuid;

use self::recorded::{Recorded, money_of};

/// Events read from the store at a time.
const PAGE_EVENTS: usize = 1_000;
/// Largest difference between the clocks of the nodes of an event store: recorded times may go back by this much.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(1);

/// A movement of money at the provider, named within its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Item {
    Charge(u32),
    Refund(RefundId),
    /// Made from the provider's id, which has any length.
    Dispute(Uuid),
}

impl Item {
    fn of_dispute(reference: &str) -> Self {
        Self::Dispute(Uuid::new_v5(&Uuid::NAMESPACE_OID, reference.as_bytes()))
    }

    fn of_entry(entry: &BookEntry) -> Self {
        match entry.item {
            BookItem::Charge => Self::Charge(entry.charge),
            BookItem::Refund(id) => Self::Refund(id),
            BookItem::Dispute => Self::of_dispute(&entry.reference),
        }
    }
}

fn kind_of(item: BookItem) -> Kind {
    match item {
        BookItem::Charge => Kind::Charge,
        BookItem::Refund(_) => Kind::Refund,
        BookItem::Dispute => Kind::Dispute,
    }
}

/// The result of a comparison.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    pub sums: BTreeMap<(Kind, Currency), Sums>,
    pub differences: Vec<Difference>,
}

/// Why a comparison was not finished.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("{stream} cannot be read: {source}")]
    Unreadable { stream: StreamName, source: DecodeError },
}

/// Compares the books of the provider with the log, page by page. Holds about 50 bytes for each charge, refund and
/// dispute of the period.
pub async fn reconcile(
    log: &dyn EventLog,
    provider: &dyn PaymentProvider,
    period: Period,
) -> Result<Compared, ReconcileError> {
    let mut comparison =
        Comparison { log, provider, period, seen: HashSet::new(), found: Compared::default() };
    comparison.read_books().await?;
    comparison.read_log().await?;
    Ok(comparison.found)
}

struct Comparison<'a> {
    log: &'a dyn EventLog,
    provider: &'a dyn PaymentProvider,
    period: Period,
    /// What is compared already.
    seen: HashSet<(PaymentId, Item)>,
    found: Compared,
}

impl Comparison<'_> {
    /// Compares every entry of the books with what is recorded. It may have been recorded on another day.
    async fn read_books(&mut self) -> Result<(), ReconcileError> {
        for book in Book::ALL {
            let mut after: Option<String> = None;
            loop {
                let page = self.provider.read_book(book, self.period, after.as_deref()).await?;
                for entry in page.entries {
                    self.compare(entry).await?;
                }
                if page.next.is_none() {
                    break;
                }
                after = page.next;
            }
        }
        Ok(())
    }

    async fn compare(&mut self, entry: BookEntry) -> Result<(), ReconcileError> {
        let item = Item::of_entry(&entry);
        // Books that grow while they are read may list an entry twice.
        if !self.seen.insert((entry.payment_id, item)) {
            return Ok(());
        }
        let recorded = Recorded::read(self.log, entry.payment_id).await?;
        let ours = recorded.amount(item, self.provider.name());
        let theirs = entry.amount;
        if ours.is_zero() && theirs.is_zero() {
            return Ok(());
        }
        let finding = if recorded.payment.order_id().is_none() {
            Some(Finding::UnknownPayment)
        } else if ours.is_zero() && !recorded.has_dispute(item) {
            Some(Finding::OnlyAtProvider)
        } else if recorded.payment.currency() != Some(entry.currency) {
            Some(Finding::OtherCurrency)
        } else {
            (ours != theirs).then_some(Finding::OtherAmount)
        };
        self.add(entry, &recorded, ours, finding);
        Ok(())
    }

    fn add(&mut self, entry: BookEntry, recorded: &Recorded, ours: Amount, finding: Option<Finding>) {
        let kind = kind_of(entry.item);
        let refund_id = match entry.item {
            BookItem::Refund(id) => Some(id),
            BookItem::Charge | BookItem::Dispute => None,
        };
        let (currency, theirs) = (entry.currency, entry.amount);
        let sums = self.found.sums.entry((kind, currency)).or_default();
        sums.count += 1;
        sums.ours = sums.ours.saturating_add(ours);
        sums.theirs = sums.theirs.saturating_add(theirs);
        self.found.differences.extend(finding.map(|finding| Difference {
            kind,
            finding,
            payment_id: entry.payment_id,
            order_id: recorded.payment.order_id(),
            charge: entry.charge,
            charge_reference: Some(entry.charge_reference).filter(|reference| !reference.is_empty()),
            refund_id,
            reference: Some(entry.reference).filter(|reference| !reference.is_empty()),
            at: entry.made_at,
            currency,
            ours,
            theirs,
        }));
    }

    /// Looks for what was recorded in the period and is not in the books of the period.
    async fn read_log(&mut self) -> Result<(), ReconcileError> {
        let begin = self.period.from.saturating_sub(CLOCK_SKEW).unwrap_or(Timestamp::MIN);
        let end = self.period.to.saturating_add(CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        let mut after = self.log.position_before(begin).await?;
        loop {
            let page = self.log.read_all(after, PAGE_EVENTS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.position);
            let is_past = last.recorded_at >= end;
            let period = self.period;
            for event in page.iter().filter(|event| period.contains(event.recorded_at)) {
                let StreamName::Payment(payment_id) = event.stream else { continue };
                let unreadable = |source| ReconcileError::Unreadable { stream: event.stream.clone(), source };
                let data = event.decode_as().map_err(unreadable)?;
                if let Some(item) = money_of(&data)
                    && self.seen.insert((payment_id, item))
                {
                    self.look_for(payment_id, item).await?;
                }
            }
            if is_past {
                return Ok(());
            }
        }
    }

    /// Adds a difference unless the provider has the item in the books of another period.
    async fn look_for(&mut self, payment_id: PaymentId, item: Item) -> Result<(), ReconcileError> {
        let recorded = Recorded::read(self.log, payment_id).await?;
        let ours = recorded.amount(item, self.provider.name());
        let Some((at, currency)) = recorded.since(item).zip(recorded.payment.currency()) else {
            return Ok(());
        };
        if ours.is_zero() || !self.period.contains(at) {
            return Ok(());
        }
        let Some(number) = recorded.charge_of(item) else { return Ok(()) };
        let charge_reference = recorded.reference(number).map(str::to_owned);
        if let Some(reference) = &charge_reference
            && let Some((of, report)) = self.provider.look_up_reference(reference).await?
            && (of, report.charge) == (payment_id, number)
        {
            let is_there = match item {
                Item::Charge(_) => true,
                Item::Refund(id) => report.refunds.iter().any(|refund| refund.refund_id == id),
                Item::Dispute(_) => {
                    report.disputes.iter().any(|dispute| Item::of_dispute(&dispute.reference) == item)
                }
            };
            if is_there {
                return Ok(());
            }
        }
        let (item, reference) = match item {
            Item::Charge(_) => (BookItem::Charge, charge_reference.clone()),
            Item::Refund(id) => (BookItem::Refund(id), None),
            Item::Dispute(_) => {
                (BookItem::Dispute, recorded.dispute(item).map(|dispute| dispute.reference.clone()))
            }
        };
        let entry = BookEntry {
            payment_id,
            charge: number,
            charge_reference: charge_reference.unwrap_or_default(),
            item,
            reference: reference.unwrap_or_default(),
            currency,
            amount: Amount::ZERO,
            made_at: at,
        };
        self.add(entry, &recorded, ours, Some(Finding::OnlyHere));
        Ok(())
    }
}

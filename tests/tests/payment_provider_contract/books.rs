//! The books: every charge, refund and dispute, once, by the time at which the provider made it.

use domain::Timestamp;
use infra::payment_provider::{Book, BookEntry, BookItem, Period};
use jiff::SignedDuration;

use super::{Behaviour, Fixture, given_charge, refund_of, request};

/// An hour around now, in whole seconds.
fn this_hour() -> Period {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let half = SignedDuration::from_mins(30);
    Period { from: now - half, to: now + half }
}

/// All pages of a book.
async fn read(fixture: &impl Fixture, book: Book, period: Period) -> Vec<BookEntry> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = fixture.provider().read_book(book, period, after.as_deref()).await.unwrap();
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return entries;
        }
    }
}

fn amounts(entries: &[BookEntry]) -> Vec<i64> {
    let mut amounts: Vec<i64> = entries.iter().map(|entry| entry.amount.minor_units()).collect();
    amounts.sort_unstable();
    amounts
}

pub(super) async fn the_books_list_each_charge_and_refund_once(fixture: impl Fixture) {
    let paid = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    let declined = given_charge(&fixture, request(fixture.method(Behaviour::Declines))).await;
    let requested = refund_of(&paid, 4_000);
    fixture.provider().refund(&requested).await.unwrap();
    fixture.refund_at_provider(&paid, 1_000).await;

    let charges = read(&fixture, Book::Charges, this_hour()).await;
    assert_eq!(amounts(&charges), [0, 10_000], "{charges:?}");
    let of_paid = charges.iter().find(|entry| entry.payment_id == paid.payment_id).unwrap();
    assert_eq!((of_paid.charge, of_paid.item, of_paid.currency), (1, BookItem::Charge, paid.currency));
    assert_eq!(Some(&of_paid.reference), paid.charge.reference.as_ref());
    assert!(charges.iter().any(|entry| entry.payment_id == declined.payment_id));

    let refunds = read(&fixture, Book::Refunds, this_hour()).await;
    assert_eq!(amounts(&refunds), [1_000, 4_000], "{refunds:?}");
    assert!(refunds.iter().all(|entry| entry.payment_id == paid.payment_id && entry.charge == 1));
    let item = BookItem::Refund(requested.refund_id);
    let of_request = refunds.iter().find(|entry| entry.item == item).unwrap();
    assert_eq!(of_request.amount.minor_units(), 4_000);
}

pub(super) async fn a_look_up_by_reference_finds_what_the_books_list(fixture: impl Fixture) {
    let paid = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    fixture.refund_at_provider(&paid, 1_000).await;
    let refunds = read(&fixture, Book::Refunds, this_hour()).await;
    let found = fixture.provider().look_up_reference(&refunds[0].charge_reference).await.unwrap();
    let (payment_id, report) = found.expect("the charge");
    assert_eq!((payment_id, report.captured), (paid.payment_id, paid.charge.captured));
    assert_eq!(
        report.refunds.iter().map(|refund| BookItem::Refund(refund.refund_id)).collect::<Vec<_>>(),
        [refunds[0].item]
    );
    for unknown in ["pi_unknown", "sandbox-unknown-1", "sandbox-00000000-0000-0000-0000-000000000000-1", ""] {
        assert_eq!(fixture.provider().look_up_reference(unknown).await, Ok(None), "{unknown:?}");
    }
}

pub(super) async fn a_period_of_the_books_begins_with_its_first_second_and_ends_before_its_last(
    fixture: impl Fixture,
) {
    let paid = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    fixture.refund_at_provider(&paid, 1_000).await;
    fixture.dispute(&paid, 500).await;
    for book in Book::ALL {
        let made_at = read(&fixture, book, this_hour()).await[0].made_at;
        let second = SignedDuration::from_secs(1);
        let from = Timestamp::from_second(made_at.as_second()).unwrap();
        let periods = [(from - second, from), (from, from + second), (from + second, from + second + second)];
        let mut listed = Vec::new();
        for (from, to) in periods {
            listed.push(read(&fixture, book, Period { from, to }).await.len());
        }
        assert_eq!(listed, [0, 1, 0], "{book:?}");
    }
}

pub(super) async fn a_refund_counts_in_the_books_while_it_is_paid(fixture: impl Fixture) {
    let paid = given_charge(&fixture, request(fixture.method(Behaviour::RefundsWait))).await;
    let refund = refund_of(&paid, 4_000);
    fixture.provider().refund(&refund).await.unwrap();
    let mut listed = Vec::new();
    for settled in [None, Some(true), Some(false)] {
        if let Some(succeeds) = settled {
            fixture.settle_refund(&refund, succeeds).await;
        }
        let refunds = read(&fixture, Book::Refunds, this_hour()).await;
        listed.push(amounts(&refunds));
    }
    assert_eq!(listed, [[0], [4_000], [0]]);
}

pub(super) async fn a_dispute_counts_in_the_books_until_it_is_won(fixture: impl Fixture) {
    for (is_won, decided) in [(true, 0), (false, 4_000)] {
        let paid = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
        let only = async || {
            let entries = read(&fixture, Book::Disputes, this_hour()).await;
            let mut of_paid = entries.into_iter().filter(|entry| entry.payment_id == paid.payment_id);
            let entry = of_paid.next().expect("the dispute");
            assert!(of_paid.next().is_none());
            entry
        };
        fixture.dispute(&paid, 4_000).await;
        let opened = only().await;
        assert_eq!((opened.charge, opened.item, opened.amount.minor_units()), (1, BookItem::Dispute, 4_000));
        let found = fixture.provider().look_up_reference(&opened.charge_reference).await.unwrap();
        let (_, report) = found.expect("the charge");
        assert_eq!(report.disputes[0].reference, opened.reference);
        fixture.close_dispute(&paid, is_won).await;
        assert_eq!(only().await.amount.minor_units(), decided);
    }
}

//! The rules of the contract.

use infra::operations::reconciliations::Reconciliation;

use super::{Fixture, comparison, day};

pub async fn a_comparison_reads_back_unchanged_in_another_process(fixture: impl Fixture) {
    assert_eq!(fixture.store().latest(None).await.unwrap(), None);
    let kept = comparison(1, 60);
    fixture.store().keep(&kept).await.unwrap();
    let store = fixture.store_elsewhere().await;
    assert_eq!(store.latest(None).await.unwrap(), Some(kept.clone()));
    assert_eq!(store.latest(Some(day(1))).await.unwrap(), Some(kept.clone()));
    assert_eq!(store.latest(Some(day(2))).await.unwrap(), None);
    assert_eq!(store.list(10).await.unwrap(), [kept.head()]);
}

pub async fn a_later_comparison_of_a_period_replaces_the_earlier_one(fixture: impl Fixture) {
    let store = fixture.store();
    let repaired = Reconciliation { differences: Vec::new(), differences_count: 0, ..comparison(1, 90) };
    let of_other = Reconciliation { provider: "stripe".to_owned(), ..comparison(1, 80) };
    for kept in [&comparison(1, 60), &of_other, &repaired] {
        store.keep(kept).await.unwrap();
    }
    assert_eq!(store.latest(Some(day(1))).await.unwrap(), Some(repaired.clone()));
    assert_eq!(store.list(10).await.unwrap(), [of_other.head(), repaired.head()]);
}

pub async fn the_latest_periods_are_listed_first_and_the_oldest_are_forgotten(fixture: impl Fixture) {
    let store = fixture.store();
    let days = i64::try_from(Reconciliation::PERIODS_MAX).unwrap();
    for number in 0..=days {
        store.keep(&comparison(number, 60)).await.unwrap();
    }
    // An earlier day that is compared later does not push out a later day.
    store.keep(&comparison(-1, 999_999_999)).await.unwrap();
    assert_eq!(store.list(2).await.unwrap(), [comparison(days, 60).head(), comparison(days - 1, 60).head()]);
    assert_eq!(store.list(usize::MAX / 2).await.unwrap().len(), Reconciliation::PERIODS_MAX);
    assert_eq!(store.latest(Some(day(0))).await.unwrap(), None);
    assert_eq!(store.latest(Some(day(1))).await.unwrap(), Some(comparison(1, 60)));
}

//! The contract of the store of reconciliations: one suite that runs over every adapter.

mod postgres;
mod rules;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Amount, PaymentId, Timestamp};
use infra::operations::reconciliations::{Difference, Finding, Kind, Reconciliation, Reconciliations, Sums};
use uuid::Uuid;

/// A store under test.
#[async_trait]
trait Fixture: Send + Sync + Sized {
    /// A new, empty store.
    async fn fresh() -> Self;

    fn store(&self) -> Arc<dyn Reconciliations>;

    /// The same store as another process opens it.
    async fn store_elsewhere(&self) -> Arc<dyn Reconciliations>;
}

/// Generates one test per rule of the contract, for one adapter.
macro_rules! reconciliations_contract {
    ($fixture:ty) => { reconciliations_contract!(#[cfg(test)] $fixture); };
    (#[$attribute:meta] $fixture:ty) => {
        reconciliations_contract! { #[$attribute] $fixture:
            a_comparison_reads_back_unchanged_in_another_process,
            a_later_comparison_of_a_period_replaces_the_earlier_one,
            the_latest_periods_are_listed_first_and_the_oldest_are_forgotten,
        }
    };
    (#[$attribute:meta] $fixture:ty: $($rule:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[$attribute]
        async fn $rule() {
            let fixture = <$fixture as super::Fixture>::fresh().await;
            super::rules::$rule(fixture).await;
        }
    )*};
}
use reconciliations_contract;

/// The beginning of a day.
fn day(number: i64) -> Timestamp {
    Timestamp::from_second(1_700_006_400 + number * 86_400).unwrap()
}

/// A comparison of a day that was made so many seconds after its end.
pub fn comparison(number: i64, seconds: i64) -> Reconciliation {
    let amount = |minor_units: i64| Amount::new(minor_units).unwrap();
    let currency = "GBP".parse().unwrap();
    let difference = Difference {
        kind: Kind::Refund,
        finding: Finding::OnlyAtProvider,
        payment_id: PaymentId(Uuid::from_u128(7)),
        order_id: None,
        charge: 1,
        charge_reference: Some("ch_1".to_owned()),
        refund_id: None,
        reference: Some("re_1".to_owned()),
        at: day(number),
        currency,
        ours: amount(0),
        theirs: amount(70),
    };
    Reconciliation {
        provider: "sandbox".to_owned(),
        from: day(number),
        to: day(number + 1),
        compared_at: day(number + 1).checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap(),
        totals: vec![(Kind::Refund, currency, Sums { count: 1, ours: amount(0), theirs: amount(70) })],
        differences: vec![difference],
        differences_count: 1,
        recorded: Vec::new(),
        recorded_count: 0,
    }
}

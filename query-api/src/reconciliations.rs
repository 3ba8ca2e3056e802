//! `/v1/reconciliations`: what the comparisons with the books of the payment provider found. `orderly payments reconcile`
//! makes them; no request of this API asks the provider.

use std::sync::Arc;

use axum::{Json, extract::State};
use domain::{Amount, Currency, OrderId, PaymentId, RefundId, Timestamp};
use infra::{
    http::{
        Failure,
        answers::{QueryProblems, ResourceProblems},
        parameters::Params,
        path::{Id, NoSuch},
        vocabulary::CurrencyValue,
    },
    operations::reconciliations::{
        Difference, Kind, Reconciliation, ReconciliationHead, Reconciliations, Sums,
    },
};
use jiff::{civil::Date, tz::TimeZone};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{QueryApi, error::QueryError, freshness::NotModified};

const RESOURCE: &str = "comparison";
/// Names the comparison that was made last.
const LATEST: &str = "latest";

/// The days that were compared
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReconciliationList)]
pub struct ComparedDays {
    /// The latest day first. At most 400 are kept.
    items: Vec<ComparedDay>,
}

/// The last comparison of a day with one payment provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReconciledDay)]
pub struct ComparedDay {
    /// In UTC.
    #[schema(value_type = String, format = "date", example = "2026-11-28")]
    pub(crate) day: Date,
    #[schema(example = "stripe")]
    provider: String,
    #[schema(value_type = String, format = "date-time")]
    compared_at: Timestamp,
    /// Charges, refunds and disputes that differ.
    pub(crate) differences: u64,
    /// Those that differed until the comparison recorded them.
    recorded: u64,
}

/// What a comparison found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reconciliation)]
pub struct Comparison {
    #[serde(flatten)]
    day: ComparedDay,
    /// Inclusive.
    #[schema(value_type = String, format = "date-time")]
    from: Timestamp,
    /// Exclusive.
    #[schema(value_type = String, format = "date-time")]
    to: Timestamp,
    /// By kind and currency.
    totals: Vec<ComparedTotals>,
    /// At most 500 of them.
    different: Vec<Differing>,
    /// What was recorded by this comparison; at most 500.
    recorded_now: Vec<Differing>,
}

/// Sums of one kind in one currency, in minor units.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReconciledTotals)]
pub struct ComparedTotals {
    /// `charge`, `refund` or `dispute`.
    #[schema(example = "charge")]
    kind: &'static str,
    #[schema(value_type = CurrencyValue)]
    currency: Currency,
    count: u64,
    #[schema(value_type = i64)]
    ours: Amount,
    #[schema(value_type = i64)]
    theirs: Amount,
    /// `theirs` - `ours`.
    #[schema(value_type = i64)]
    difference: Amount,
}

/// A charge, a refund or a dispute that differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReconciledDifference)]
pub struct Differing {
    /// `charge`, `refund` or `dispute`.
    #[schema(example = "refund")]
    kind: &'static str,
    /// In words.
    #[schema(example = "only the provider has it")]
    why: &'static str,
    #[schema(value_type = String, format = "uuid")]
    payment_id: PaymentId,
    #[schema(value_type = Option<String>, format = "uuid")]
    order_id: Option<OrderId>,
    /// The number of the charge.
    charge: u32,
    #[schema(value_type = Option<String>, format = "uuid")]
    refund_id: Option<RefundId>,
    /// The provider's id.
    reference: Option<String>,
    /// When the provider made it, or if only this platform has it, when it was recorded.
    #[schema(value_type = String, format = "date-time")]
    at: Timestamp,
    #[schema(value_type = CurrencyValue)]
    currency: Currency,
    #[schema(value_type = i64)]
    ours: Amount,
    #[schema(value_type = i64)]
    theirs: Amount,
    /// `theirs` - `ours`.
    #[schema(value_type = i64)]
    difference: Amount,
}

/// The days that were compared with the payment provider
#[utoipa::path(
    get, path = "/v1/reconciliations", operation_id = "listReconciliations", tag = "payments",
    responses((status = 200, description = "The days.", body = ComparedDays), NotModified, QueryProblems),
)]
pub async fn reconciliations(
    State(api): State<Arc<QueryApi>>,
    Params(()): Params<()>,
) -> Result<Json<ComparedDays>, Failure<QueryProblems>> {
    Ok(Json(ComparedDays { items: days(&api, Reconciliation::PERIODS_MAX).await? }))
}

/// What the last comparison of a day with the payment provider found
#[utoipa::path(
    get, path = "/v1/reconciliations/{day}", operation_id = "getReconciliation", tag = "payments",
    params(("day" = String, Path, description = "A day in UTC, such as `2026-11-28`, or `latest`: the comparison \
        that was made last.", example = "latest")),
    responses((status = 200, description = "The comparison.", body = Comparison), NotModified, ResourceProblems),
)]
pub async fn reconciliation(
    State(api): State<Arc<QueryApi>>,
    Id(day): Id<String>,
    Params(()): Params<()>,
) -> Result<Json<Comparison>, Failure<ResourceProblems>> {
    let found = read(&api, &day).await?.ok_or(NoSuch(RESOURCE))?;
    Ok(Json(Comparison::of(&found)))
}

/// The latest compared days, at most `limit`.
pub(crate) async fn days(api: &QueryApi, limit: usize) -> Result<Vec<ComparedDay>, QueryError> {
    let Some(store) = &api.reconciliations else { return Ok(Vec::new()) };
    Ok(api.query(store.list(limit)).await?.into_iter().map(ComparedDay::of).collect())
}

/// The comparison of a day, or the latest. `None` if there is none.
pub(crate) async fn read(api: &QueryApi, day: &str) -> Result<Option<Reconciliation>, QueryError> {
    let Some(store) = &api.reconciliations else { return Ok(None) };
    let from = match day.parse::<Date>().map(|day| day.to_zoned(TimeZone::UTC)) {
        Ok(Ok(start)) => Some(start.timestamp()),
        Ok(Err(_)) | Err(_) if day == LATEST => None,
        Ok(Err(_)) | Err(_) => return Ok(None),
    };
    api.query(store.latest(from)).await
}

pub(crate) async fn latest(api: &QueryApi) -> Result<Option<Reconciliation>, QueryError> {
    read(api, LATEST).await
}

pub(crate) fn day_of(from: Timestamp) -> Date {
    from.to_zoned(TimeZone::UTC).date()
}

impl ComparedDay {
    fn of(head: ReconciliationHead) -> Self {
        let ReconciliationHead { provider, from, to: _, compared_at, differences_count, recorded_count } =
            head;
        let (differences, recorded) = (differences_count, recorded_count);
        Self { day: day_of(from), provider, compared_at, differences, recorded }
    }
}

impl Comparison {
    fn of(found: &Reconciliation) -> Self {
        Self {
            day: ComparedDay::of(found.head()),
            from: found.from,
            to: found.to,
            totals: found.totals.iter().map(ComparedTotals::of).collect(),
            different: found.differences.iter().map(Differing::of).collect(),
            recorded_now: found.recorded.iter().map(Differing::of).collect(),
        }
    }
}

impl ComparedTotals {
    fn of(&(kind, currency, sums): &(Kind, Currency, Sums)) -> Self {
        let Sums { count, ours, theirs } = sums;
        let difference = theirs.saturating_sub(ours);
        Self { kind: kind.as_str(), currency, count, ours, theirs, difference }
    }
}

impl Differing {
    fn of(found: &Difference) -> Self {
        Self {
            kind: found.kind.as_str(),
            why: found.finding.why(),
            payment_id: found.payment_id,
            order_id: found.order_id,
            charge: found.charge,
            refund_id: found.refund_id,
            reference: found.reference.clone(),
            at: found.at,
            currency: found.currency,
            ours: found.ours,
            theirs: found.theirs,
            difference: found.difference(),
        }
    }
}

impl QueryApi {
    /// Shows what comparisons with the payment provider found.
    pub fn with_reconciliations(self, store: Arc<dyn Reconciliations>) -> Self {
        Self { reconciliations: Some(store), ..self }
    }
}

//! `/v1/declines`: how many charges were answered and declined, by the code of the failure and by hour, day or month.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use infra::{
    http::{
        Failure,
        answers::ListProblems,
        paging::TablePaging,
        parameters::{FromParameters, Parameters, Params, one_of},
    },
    read_models::{ChargeQuery, ChargeTotals, RowPage, TimeGroup},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    QueryApi,
    reports::{ReportTime, TIME_GROUPS, TimeGroupWord, time_group_name},
};

/// Answered charges of all payments in every currency, by the time at which the answer was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeclineReport {
    /// The zone of the groups.
    #[schema(example = "UTC")]
    time_zone: String,
    /// Over all groups, also those of other pages.
    total: Declines,
    /// The declined charges by code, the most frequent first; at most 100 codes.
    reasons: Vec<DeclineReason>,
    /// A page of groups, by ascending key. Omitted without `group_by`.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<DeclineGroup>>,
    /// Pass it as `cursor` for the next groups. Null on the last page and without `group_by`.
    next_cursor: Option<String>,
}

/// Charges that were approved or declined. A charge that is asked for again counts again. One whose answer is not known
/// does not count yet, and the credit of an exchange never.
#[derive(Debug, Serialize, ToSchema)]
pub struct Declines {
    attempts: i64,
    declined: i64,
    /// `declined` / `attempts`, with four digits. Null without attempts.
    #[schema(example = 0.0417)]
    decline_rate: Option<f64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeclineReason {
    /// As `failure_code` of a payment.
    #[schema(example = "card_declined")]
    code: String,
    declined: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeclineGroup {
    /// `2010-12-01T08:00:00Z`, `2010-12-01` or `2010-12`.
    key: String,
    #[serde(flatten)]
    totals: Declines,
}

infra::table_row! { DeclineGroup: key attempts declined decline_rate }

/// The charges to count.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeclineParams {
    /// If omitted: only the total.
    #[param(value_type = Option<TimeGroupWord>, inline)]
    group_by: Option<TimeGroup>,
    #[param(ignore)]
    time: ReportTime,
    #[param(ignore)]
    paging: TablePaging,
}

impl FromParameters for DeclineParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let group_by = parameters.optional("group_by", |text| one_of(text, &TIME_GROUPS, time_group_name));
        let time = ReportTime::read(parameters)?;
        Some(Self { group_by, time, paging: TablePaging::read(parameters)? })
    }
}

/// Charges that were approved and declined
#[utoipa::path(
    get, path = "/v1/declines", operation_id = "reportDeclines", tag = "payments",
    params(DeclineParams, ReportTime, TablePaging),
    responses((status = 200, description = "The counts.", body = DeclineReport), ListProblems),
)]
pub async fn declines(
    State(api): State<Arc<QueryApi>>,
    Params(wanted): Params<DeclineParams>,
) -> Result<Response, Failure<ListProblems>> {
    let DeclineParams { group_by, time, paging } = wanted;
    let query = ChargeQuery { range: time.range(), group: group_by, after: paging.after()? };
    let charges = api.query(api.queries.charges(&query, paging.limit)).await?;
    let RowPage { items, has_more } = &charges.groups;
    let group = |(key, totals): &(String, ChargeTotals)| DeclineGroup {
        key: key.clone(),
        totals: Declines::of(totals),
    };
    let page = paging.listing(items, *has_more, group, |(key, _)| key);
    let groups = group_by.map(|_| page.items);
    let next_cursor = page.next_cursor.filter(|_| groups.is_some());
    let reason = |(code, declined): (String, i64)| DeclineReason { code, declined };
    let reasons = charges.failures.into_iter().map(reason).collect();
    let (time_zone, total) = (time.zone_name(), Declines::of(&charges.total));
    let report = DeclineReport { time_zone, total, reasons, groups, next_cursor };
    let total = [DeclineGroup { key: String::new(), totals: Declines::of(&charges.total) }];
    let rows = report.groups.as_deref().unwrap_or(&total);
    Ok(paging.respond_with(&report, rows, report.next_cursor.as_deref()))
}

impl Declines {
    fn of(totals: &ChargeTotals) -> Self {
        let ChargeTotals { attempts, declined } = *totals;
        Self { attempts, declined, decline_rate: rate(totals) }
    }
}

/// The declined share of the attempts, with four digits. `None` without attempts.
#[expect(clippy::cast_precision_loss, reason = "four digits")]
pub(crate) fn rate(totals: &ChargeTotals) -> Option<f64> {
    let share = totals.declined as f64 / totals.attempts as f64;
    (totals.attempts > 0).then(|| (share * 10_000.0).round() / 10_000.0)
}

//! `/v1/money`: what was captured and paid out, in total and by hour, day or month.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::Currency;
use infra::{
    http::{
        Failure,
        answers::ListProblems,
        paging::TablePaging,
        parameters::{FromParameters, Parameters, Params, one_of},
        vocabulary::CurrencyValue,
    },
    read_models::{MoneyQuery, MoneyTotals, RowPage, TimeGroup},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    QueryApi,
    reports::{ReportTime, TIME_GROUPS, TimeGroupWord, time_group_name},
};

/// Sums over all payments, by the time at which each movement of money was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub struct MoneyReport {
    #[schema(value_type = CurrencyValue)]
    currency: Currency,
    /// The zone of the groups.
    #[schema(example = "UTC")]
    time_zone: String,
    /// Over all groups, also those of other pages.
    total: MoneySums,
    /// A page of groups, by ascending key. Omitted without `group_by`.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<MoneyGroupSums>>,
    /// Pass it as `cursor` for the next groups. Null on the last page and without `group_by`.
    next_cursor: Option<String>,
}

/// Amounts are in minor units. `net` = `captured` - `refunded` - `disputed`. An amount is negative if more was taken
/// back than moved: a refund failed after it was paid out, or a dispute was won.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MoneyTotals)]
pub struct MoneySums {
    #[schema(value_type = i64)]
    captured: i128,
    /// Paid out.
    #[schema(value_type = i64)]
    refunded: i128,
    /// Taken by disputes that are open or lost.
    #[schema(value_type = i64)]
    disputed: i128,
    #[schema(value_type = i64)]
    net: i128,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MoneyGroup)]
pub struct MoneyGroupSums {
    /// `2010-12-01T08:00:00Z`, `2010-12-01` or `2010-12`.
    key: String,
    #[serde(flatten)]
    totals: MoneySums,
}

infra::table_row! { MoneyGroupSums: key captured refunded disputed net }

/// The movements to sum.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MoneyParams {
    /// ISO 4217. Amounts of different currencies are never added.
    #[param(value_type = CurrencyValue)]
    currency: Currency,
    /// If omitted: only the total.
    #[param(value_type = Option<TimeGroupWord>, inline)]
    group_by: Option<TimeGroup>,
    #[param(ignore)]
    time: ReportTime,
    #[param(ignore)]
    paging: TablePaging,
}

impl FromParameters for MoneyParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let currency = parameters.required("currency", str::parse::<Currency>);
        let group_by = parameters.optional("group_by", |text| one_of(text, &TIME_GROUPS, time_group_name));
        let time = ReportTime::read(parameters)?;
        Some(Self { currency: currency?, group_by, time, paging: TablePaging::read(parameters)? })
    }
}

/// Money captured and paid out in one currency
#[utoipa::path(
    get, path = "/v1/money", operation_id = "reportMoney", tag = "payments",
    params(MoneyParams, ReportTime, TablePaging),
    responses((status = 200, description = "The sums.", body = MoneyReport), ListProblems),
)]
pub async fn money(
    State(api): State<Arc<QueryApi>>,
    Params(wanted): Params<MoneyParams>,
) -> Result<Response, Failure<ListProblems>> {
    let MoneyParams { currency, group_by, time, paging } = wanted;
    let query = MoneyQuery { currency, range: time.range(), group: group_by, after: paging.after()? };
    let money = api.query(api.queries.money(&query, paging.limit)).await?;
    let RowPage { items, has_more } = &money.groups;
    let group = |(key, totals): &(String, MoneyTotals)| MoneyGroupSums {
        key: key.clone(),
        totals: MoneySums::of(totals),
    };
    let page = paging.listing(items, *has_more, group, |(key, _)| key);
    let groups = group_by.map(|_| page.items);
    let next_cursor = page.next_cursor.filter(|_| groups.is_some());
    let (time_zone, total) = (time.zone_name(), MoneySums::of(&money.total));
    let report = MoneyReport { currency, time_zone, total, groups, next_cursor };
    let total = [MoneyGroupSums { key: String::new(), totals: MoneySums::of(&money.total) }];
    let rows = report.groups.as_deref().unwrap_or(&total);
    Ok(paging.respond_with(&report, rows, report.next_cursor.as_deref()))
}

impl MoneySums {
    fn of(totals: &MoneyTotals) -> Self {
        let MoneyTotals { captured, refunded, disputed } = *totals;
        Self { captured, refunded, disputed, net: totals.net() }
    }
}

//! `/v1/sales`: sums of sales, in total and by hour, day, month, SKU or country.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{Currency, Timestamp};
use infra::{
    http::{
        Failure,
        answers::ListProblems,
        paging::Paging,
        parameters::{FromParameters, Parameters, Params, check_range, instant, one_of},
    },
    read_models::{RowPage, Sales, SalesGroup, SalesQuery, SalesTotals},
};
use serde::Serialize;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{Object, RefOr, Schema, Type},
};

use crate::QueryApi;

const GROUPS: &[SalesGroup] =
    &[SalesGroup::Hour, SalesGroup::Day, SalesGroup::Month, SalesGroup::Sku, SalesGroup::Country];

fn group_name(group: SalesGroup) -> &'static str {
    match group {
        SalesGroup::Hour => "hour",
        SalesGroup::Day => "day",
        SalesGroup::Month => "month",
        SalesGroup::Sku => "sku",
        SalesGroup::Country => "country",
    }
}

/// Describes `group_by`.
#[derive(Debug)]
enum SalesGroupWord {}

impl PartialSchema for SalesGroupWord {
    fn schema() -> RefOr<Schema> {
        let words = GROUPS.iter().map(|group| group_name(*group));
        Object::builder().schema_type(Type::String).enum_values(Some(words)).into()
    }
}

impl ToSchema for SalesGroupWord {}

/// Sums over all orders that were ever allocated, by the time they were placed, in UTC.
#[derive(Debug, Serialize, ToSchema)]
pub struct SalesReport {
    #[schema(value_type = String, example = "GBP")]
    currency: Currency,
    /// Over all groups, also those of other pages.
    total: Totals,
    /// A page of groups, by ascending key. Omitted without `group_by`.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Group>>,
    /// Pass it as `cursor` for the next groups. Null on the last page; omitted without `group_by`.
    #[allow(clippy::option_option, reason = "null and absent differ")]
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<Option<String>>,
}

/// Amounts are in minor units. Cancellations and refunds do not reduce `gross`; they have their own sums.
#[derive(Debug, Serialize, ToSchema)]
pub struct Totals {
    orders: i64,
    lines: i64,
    units: i64,
    /// Quantity x unit price of the lines, without adjustments.
    #[schema(value_type = i64)]
    gross: i128,
    /// The cancelled part of `gross`.
    #[schema(value_type = i64)]
    cancelled: i128,
    #[schema(value_type = i64)]
    refunded: i128,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Group {
    /// `2010-12-01T08:00:00Z`, `2010-12-01`, `2010-12`, a SKU or a country (empty for orders without a
    /// country).
    key: String,
    #[serde(flatten)]
    totals: Totals,
}

/// The sales to sum.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SalesParams {
    /// ISO 4217. Amounts of different currencies are never added.
    #[param(value_type = String, example = "GBP")]
    currency: Currency,
    /// If omitted: only the total.
    #[param(value_type = Option<SalesGroupWord>, inline)]
    group_by: Option<SalesGroup>,
    /// Placed at this instant or later: a whole hour, or a date, which means its midnight in UTC.
    #[param(value_type = Option<String>, example = "2010-12-01")]
    from: Option<Timestamp>,
    /// Placed before this instant: a whole hour, or a date, which means its midnight in UTC.
    #[param(value_type = Option<String>, example = "2011-01-01T00:00:00Z")]
    to: Option<Timestamp>,
    #[param(ignore)]
    paging: Paging,
}

impl FromParameters for SalesParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let currency = parameters.required("currency", str::parse::<Currency>);
        let group_by = parameters.optional("group_by", |text| one_of(text, GROUPS, group_name));
        let from = parameters.optional("from", whole_hour);
        let to = parameters.optional("to", whole_hour);
        check_range(parameters, from, ("to", to));
        Some(Self { currency: currency?, group_by, from, to, paging: Paging::read(parameters)? })
    }
}

const SECONDS_PER_HOUR: i64 = 3_600;

fn whole_hour(text: &str) -> Result<Timestamp, &'static str> {
    let at = instant(text)?;
    let is_whole = at.as_second() % SECONDS_PER_HOUR == 0 && at.subsec_nanosecond() == 0;
    if is_whole { Ok(at) } else { Err("is not a whole hour; sales are summed by hour") }
}

/// Sales in one currency
#[utoipa::path(
    get, path = "/v1/sales", tag = "sales",
    params(SalesParams, Paging),
    responses((status = 200, description = "The sums.", body = SalesReport), ListProblems),
)]
pub async fn sales(
    State(api): State<Arc<QueryApi>>,
    Params(wanted): Params<SalesParams>,
) -> Result<Response, Failure<ListProblems>> {
    let hour = |at: Timestamp| at.as_second() / SECONDS_PER_HOUR;
    let query = SalesQuery {
        currency: wanted.currency,
        from_hour: wanted.from.map(hour),
        to_hour: wanted.to.map(hour),
        group: wanted.group_by,
        after: wanted.paging.after()?,
    };
    let sales = api.query(api.queries.sales(&query, wanted.paging.limit)).await?;
    Ok(Json(SalesReport::of(&query, &wanted.paging, &sales)).into_response())
}

impl SalesReport {
    fn of(query: &SalesQuery, paging: &Paging, sales: &Sales) -> Self {
        let RowPage { items, has_more } = &sales.groups;
        let group =
            |(key, totals): &(String, SalesTotals)| Group { key: key.clone(), totals: Totals::of(totals) };
        let page = paging.listing(items, *has_more, group, |(key, _)| key);
        let (groups, next_cursor) = query.group.map(|_| (page.items, page.next_cursor)).unzip();
        Self { currency: query.currency, total: Totals::of(&sales.total), groups, next_cursor }
    }
}

impl Totals {
    fn of(totals: &SalesTotals) -> Self {
        let SalesTotals { orders, lines, units, gross, cancelled, refunded } = *totals;
        Self { orders, lines, units, gross, cancelled, refunded }
    }
}

//! `/v1/sales`: sums of sales, in total and by hour, day, month, SKU or country. `/v1/currencies`: what currencies
//! they are in.

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use domain::Currency;
use infra::{
    http::{
        Failure,
        answers::{ListProblems, QueryProblems},
        paging::TablePaging,
        parameters::{FromParameters, Parameters, Params, one_of},
        vocabulary::CurrencyValue,
    },
    read_models::{RowPage, Sales, SalesGroup, SalesQuery, SalesTotals},
};
use serde::Serialize;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{Object, RefOr, Schema, Type},
};

use crate::{
    QueryApi,
    freshness::NotModified,
    reports::{ReportTime, TIME_GROUPS, time_group_name},
};

const GROUPS: [SalesGroup; 5] = [
    SalesGroup::Time(TIME_GROUPS[0]),
    SalesGroup::Time(TIME_GROUPS[1]),
    SalesGroup::Time(TIME_GROUPS[2]),
    SalesGroup::Sku,
    SalesGroup::Country,
];

fn group_name(group: SalesGroup) -> &'static str {
    match group {
        SalesGroup::Time(group) => time_group_name(group),
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

/// Sums over all orders that were ever allocated, by the time they were placed.
#[derive(Debug, Serialize, ToSchema)]
pub struct SalesReport {
    #[schema(value_type = CurrencyValue)]
    currency: Currency,
    /// The zone of the groups of time.
    #[schema(example = "UTC")]
    time_zone: String,
    /// Over all groups, also those of other pages.
    total: SalesSums,
    /// A page of groups, by ascending key. Omitted without `group_by`.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<SalesGroupSums>>,
    /// Pass it as `cursor` for the next groups. Null on the last page and without `group_by`.
    next_cursor: Option<String>,
}

/// Amounts are in minor units. `net` = `gross` + `discounts` + `tax` + `shipping` + `fees` - `cancelled` - `refunded`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SalesTotals)]
pub struct SalesSums {
    orders: i64,
    lines: i64,
    units: i64,
    /// Quantity x unit price of the lines. Taxes that prices include are in `tax` alone.
    #[schema(value_type = i64)]
    gross: i128,
    /// 0 or less.
    #[schema(value_type = i64)]
    discounts: i128,
    #[schema(value_type = i64)]
    tax: i128,
    #[schema(value_type = i64)]
    shipping: i128,
    #[schema(value_type = i64)]
    fees: i128,
    /// The worth of what was cancelled or returned before it was paid.
    #[schema(value_type = i64)]
    cancelled: i128,
    /// What was refunded of the money that was paid, also for cancelled and returned units.
    #[schema(value_type = i64)]
    refunded: i128,
    /// What was sold and neither cancelled nor refunded.
    #[schema(value_type = i64)]
    net: i128,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SalesGroup)]
pub struct SalesGroupSums {
    /// `2010-12-01T08:00:00Z`, `2010-12-01`, `2010-12`, a SKU or a country. Empty for orders without a country, and
    /// among SKUs for what belongs to no line of an order.
    key: String,
    #[serde(flatten)]
    totals: SalesSums,
}

infra::table_row! {
    SalesGroupSums: key orders lines units gross discounts tax shipping fees cancelled refunded net
}

/// The sales to sum.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SalesParams {
    /// ISO 4217. Amounts of different currencies are never added.
    #[param(value_type = CurrencyValue)]
    currency: Currency,
    /// If omitted: only the total.
    #[param(value_type = Option<SalesGroupWord>, inline)]
    group_by: Option<SalesGroup>,
    #[param(ignore)]
    time: ReportTime,
    #[param(ignore)]
    paging: TablePaging,
}

impl FromParameters for SalesParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let currency = parameters.required("currency", str::parse::<Currency>);
        let group_by = parameters.optional("group_by", |text| one_of(text, &GROUPS, group_name));
        let time = ReportTime::read(parameters)?;
        Some(Self { currency: currency?, group_by, time, paging: TablePaging::read(parameters)? })
    }
}

/// Sales in one currency
#[utoipa::path(
    get, path = "/v1/sales", operation_id = "reportSales", tag = "sales",
    params(SalesParams, ReportTime, TablePaging),
    responses((status = 200, description = "The sums.", body = SalesReport), ListProblems),
)]
pub async fn sales(
    State(api): State<Arc<QueryApi>>,
    Params(wanted): Params<SalesParams>,
) -> Result<Response, Failure<ListProblems>> {
    let query = SalesQuery {
        currency: wanted.currency,
        range: wanted.time.range(),
        group: wanted.group_by,
        after: wanted.paging.after()?,
    };
    let sales = api.query(api.queries.sales(&query, wanted.paging.limit)).await?;
    let report = SalesReport::of(&wanted, &sales);
    let total = [SalesGroupSums { key: String::new(), totals: SalesSums::of(&sales.total) }];
    let rows = report.groups.as_deref().unwrap_or(&total);
    Ok(wanted.paging.respond_with(&report, rows, report.next_cursor.as_deref()))
}

impl SalesReport {
    fn of(wanted: &SalesParams, sales: &Sales) -> Self {
        let RowPage { items, has_more } = &sales.groups;
        let group = |(key, totals): &(String, SalesTotals)| SalesGroupSums {
            key: key.clone(),
            totals: SalesSums::of(totals),
        };
        let page = wanted.paging.listing(items, *has_more, group, |(key, _)| key);
        let groups = wanted.group_by.map(|_| page.items);
        let next_cursor = page.next_cursor.filter(|_| groups.is_some());
        let (currency, time_zone) = (wanted.currency, wanted.time.zone_name());
        Self { currency, time_zone, total: SalesSums::of(&sales.total), groups, next_cursor }
    }
}

impl SalesSums {
    fn of(totals: &SalesTotals) -> Self {
        let SalesTotals { orders, lines, units, gross, discounts, tax, shipping, fees, cancelled, refunded } =
            *totals;
        let net = totals.net();
        Self { orders, lines, units, gross, discounts, tax, shipping, fees, cancelled, refunded, net }
    }
}

/// A currency with sales.
#[derive(Debug, Serialize, ToSchema)]
pub struct CurrencyInUse {
    #[schema(value_type = CurrencyValue)]
    currency: Currency,
}

/// The currencies in use
#[derive(Debug, Serialize, ToSchema)]
pub struct Currencies {
    /// By code.
    items: Vec<CurrencyInUse>,
}

/// Currencies of the orders that were ever allocated
#[utoipa::path(
    get, path = "/v1/currencies", operation_id = "listCurrencies", tag = "sales",
    responses((status = 200, description = "All of them.", body = Currencies), NotModified, QueryProblems),
)]
pub async fn currencies(
    State(api): State<Arc<QueryApi>>,
    Params(()): Params<()>,
) -> Result<Json<Currencies>, Failure<QueryProblems>> {
    let currencies = api.query(api.queries.currencies()).await?;
    let items = currencies.into_iter().map(|currency| CurrencyInUse { currency }).collect();
    Ok(Json(Currencies { items }))
}

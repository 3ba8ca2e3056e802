//! `/v1/summary`: the day so far, beside the day before, and the work that waits for people. One answer for a dashboard.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use domain::{Currency, Timestamp, order::OrderStatus, payment::PaymentState};
use infra::{
    http::{
        Failure,
        answers::QueryProblems,
        parameters::{FromParameters, Parameters, Params},
        vocabulary::CurrencyValue,
    },
    read_models::{
        Count, Money, MoneyQuery, MoneyTotals, OrderFilter, OrderWork, PaymentFilter, QUARTER_SECONDS,
        Queries, ReadModelError, Sales, SalesGroup, SalesQuery, SalesTotals, TimeGroup, TimeRange,
        WaitFilter, quarter_of,
    },
};
use jiff::{SignedDuration, Zoned, tz::TimeZone};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    QueryApi,
    freshness::NotModified,
    orders::count_text,
    reports::{zone, zone_name},
    stuck::OLDER_THAN_DEFAULT_S,
};

/// More hours than a day has.
const HOURS_MAX: usize = 26;
/// Up to this number, stuck orders are counted.
const STUCK_MAX: usize = 1_000;

/// The day so far, beside the day before, and the work that waits.
#[derive(Debug, Serialize, ToSchema)]
pub struct Summary {
    /// The zone of the days and hours.
    #[schema(example = "Europe/London")]
    time_zone: String,
    #[schema(value_type = String, format = "date-time")]
    now: Timestamp,
    today: Span,
    /// Until the same time of the day, up to the end of its quarter hour.
    yesterday: Span,
    /// By code. Amounts of different currencies are never added.
    currencies: Vec<CurrencyDay>,
    work: Work,
}

/// A part of a day.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = SummarySpan)]
pub struct Span {
    /// Inclusive.
    #[schema(value_type = String, format = "date-time")]
    from: Timestamp,
    /// Exclusive.
    #[schema(value_type = String, format = "date-time")]
    to: Timestamp,
}

/// The day in one currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SummaryOfCurrency)]
pub struct CurrencyDay {
    #[schema(value_type = CurrencyValue)]
    currency: Currency,
    today: Tiles,
    yesterday: Tiles,
    /// The hours of today that have orders or movements of money.
    hours: Vec<Hour>,
}

/// Sums over a part of a day. Amounts are in minor units.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SummaryTiles)]
pub struct Tiles {
    /// Allocated orders that were placed in this time.
    orders: i64,
    units: i64,
    /// What these orders cost: lines, discounts, taxes, shipping and fees.
    #[schema(value_type = i64)]
    ordered: i128,
    /// `ordered` / `orders`, rounded down. Null without orders.
    #[schema(value_type = Option<i64>)]
    average_order: Option<i128>,
    /// Recorded in this time.
    #[schema(value_type = i64)]
    captured: i128,
    /// Paid out in this time.
    #[schema(value_type = i64)]
    refunded: i128,
    /// Orders that were placed in this time and refused because stock was short. `10000+`: more.
    #[schema(example = "3")]
    refused: String,
}

/// An hour of the day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SummaryHour)]
pub struct Hour {
    /// When it begins.
    #[schema(example = "2010-12-01T08:00:00Z")]
    hour: String,
    orders: i64,
    units: i64,
    #[schema(value_type = i64)]
    ordered: i128,
    #[schema(value_type = i64)]
    captured: i128,
    #[schema(value_type = i64)]
    refunded: i128,
}

/// How much work waits for people. `10000+`: more. The lists: `/v1/orders?work=`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Work {
    #[schema(example = "12")]
    pub(crate) to_ship: String,
    pub(crate) unpaid: String,
    pub(crate) overpaid: String,
    pub(crate) refund_due: String,
    pub(crate) returns: String,
    pub(crate) declined: String,
    pub(crate) overdue: String,
    /// Orders that wait longer than a minute for an automatic step: `/v1/orders/stuck`.
    pub(crate) stuck: String,
    /// Payments whose outcome is unknown: `/v1/payments?status=outcome_unknown`.
    pub(crate) outcome_unknown: String,
    /// Streams that the read models have not applied: `/v1/projections`.
    pub(crate) parked_streams: usize,
}

/// The day to sum.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SummaryParams {
    /// The zone of the IANA database whose day it is. If omitted: UTC.
    #[param(value_type = Option<String>, example = "Europe/London")]
    time_zone: TimeZone,
}

impl FromParameters for SummaryParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        Some(Self { time_zone: parameters.optional("time_zone", zone).unwrap_or(TimeZone::UTC) })
    }
}

/// The day so far, and the work that waits
#[utoipa::path(
    get, path = "/v1/summary", operation_id = "getSummary", tag = "sales",
    params(SummaryParams),
    responses((status = 200, description = "The summary.", body = Summary), NotModified, QueryProblems),
)]
pub async fn summary(
    State(api): State<Arc<QueryApi>>,
    Params(wanted): Params<SummaryParams>,
) -> Result<Json<Summary>, Failure<QueryProblems>> {
    let now = api.clock.now();
    let (today, yesterday) = days(&now.to_zoned(wanted.time_zone.clone()));
    let reading = async {
        let queries = api.queries.as_ref();
        let mut currencies = Vec::new();
        for currency in queries.currencies().await? {
            currencies.push(CurrencyDay::read(queries, currency, &wanted.time_zone, today, yesterday).await?);
        }
        Ok::<_, ReadModelError>((currencies, Work::read(queries, now).await?))
    };
    let (currencies, work) = api.query(reading).await?;
    let time_zone = zone_name(&wanted.time_zone);
    Ok(Json(Summary { time_zone, now, today, yesterday, currencies, work }))
}

/// Today until now, and yesterday until the same time. Sums are by quarter hours, so both end with one.
fn days(now: &Zoned) -> (Span, Span) {
    let day_before = now.checked_sub(jiff::Span::new().days(1)).unwrap_or_else(|_| now.clone());
    (Span::of_day_until(now), Span::of_day_until(&day_before))
}

impl Span {
    fn of_day_until(time: &Zoned) -> Self {
        let begin = time.start_of_day().map_or(time.timestamp(), |begin| begin.timestamp());
        let end = (quarter_of(time.timestamp()) + 1).saturating_mul(QUARTER_SECONDS);
        Self { from: begin, to: Timestamp::from_second(end).unwrap_or(Timestamp::MAX) }
    }

    fn range(self, zone: &TimeZone) -> TimeRange {
        let (from, to) = (Some(quarter_of(self.from)), Some(quarter_of(self.to)));
        TimeRange { from, to, zone: zone.clone() }
    }
}

impl CurrencyDay {
    async fn read(
        queries: &dyn Queries,
        currency: Currency,
        zone: &TimeZone,
        today: Span,
        yesterday: Span,
    ) -> Result<Self, ReadModelError> {
        let today = Part::read(queries, currency, zone, today, true).await?;
        let yesterday = Part::read(queries, currency, zone, yesterday, false).await?;
        Ok(Self { currency, hours: today.hours(), today: today.tiles(), yesterday: yesterday.tiles() })
    }
}

/// What the read models have of a part of a day in one currency.
struct Part {
    sales: Sales,
    money: Money,
    refused: Count,
}

impl Part {
    async fn read(
        queries: &dyn Queries,
        currency: Currency,
        zone: &TimeZone,
        span: Span,
        by_hour: bool,
    ) -> Result<Self, ReadModelError> {
        let group = by_hour.then_some(TimeGroup::Hour);
        let of_sales =
            SalesQuery { currency, range: span.range(zone), group: group.map(SalesGroup::Time), after: None };
        let of_money = MoneyQuery { currency, range: span.range(zone), group, after: None };
        let of_refused = OrderFilter {
            status: vec![OrderStatus::Rejected],
            currency: Some(currency),
            placed_from: Some(span.from),
            placed_to: Some(span.to),
            ..OrderFilter::default()
        };
        Ok(Self {
            sales: queries.sales(&of_sales, HOURS_MAX).await?,
            money: queries.money(&of_money, HOURS_MAX).await?,
            refused: queries.order_count(&of_refused).await?,
        })
    }

    fn tiles(&self) -> Tiles {
        let (sales, money) = (&self.sales.total, &self.money.total);
        Tiles {
            orders: sales.orders,
            units: sales.units,
            ordered: ordered(sales),
            average_order: ordered(sales).checked_div_euclid(sales.orders.into()),
            captured: money.captured,
            refunded: money.refunded,
            refused: count_text(self.refused),
        }
    }

    fn hours(&self) -> Vec<Hour> {
        let mut hours: BTreeMap<&str, (SalesTotals, MoneyTotals)> = BTreeMap::new();
        for (hour, sales) in &self.sales.groups.items {
            hours.entry(hour).or_default().0 = *sales;
        }
        for (hour, money) in &self.money.groups.items {
            hours.entry(hour).or_default().1 = *money;
        }
        let hour = |(hour, (sales, money)): (&str, (SalesTotals, MoneyTotals))| Hour {
            hour: hour.to_owned(),
            orders: sales.orders,
            units: sales.units,
            ordered: ordered(&sales),
            captured: money.captured,
            refunded: money.refunded,
        };
        hours.into_iter().map(hour).collect()
    }
}

fn ordered(sales: &SalesTotals) -> i128 {
    sales.gross + sales.discounts + sales.tax + sales.shipping + sales.fees
}

impl Work {
    pub(crate) async fn read(queries: &dyn Queries, now: Timestamp) -> Result<Self, ReadModelError> {
        let older_than = SignedDuration::from_secs(i64::from(OLDER_THAN_DEFAULT_S));
        let since_before = now.checked_sub(older_than).unwrap_or(Timestamp::MIN);
        let stuck = queries.waits(&WaitFilter { since_before, after: None }, STUCK_MAX).await?;
        let stuck = Count { value: stuck.items.len(), is_exact: !stuck.has_more };
        let unknown = PaymentFilter { state: vec![PaymentState::OutcomeUnknown], ..PaymentFilter::default() };
        let counts = queries.work_counts(now).await?;
        let count = |wanted: OrderWork| {
            let counted = counts.iter().find(|(work, _)| *work == wanted);
            count_text(counted.map(|(_, count)| *count).unwrap_or_default())
        };
        Ok(Self {
            to_ship: count(OrderWork::ToShip),
            unpaid: count(OrderWork::Unpaid),
            overpaid: count(OrderWork::Overpaid),
            refund_due: count(OrderWork::RefundDue),
            returns: count(OrderWork::Returns),
            declined: count(OrderWork::Declined),
            overdue: count(OrderWork::Overdue),
            stuck: count_text(stuck),
            outcome_unknown: count_text(queries.payment_count(&unknown).await?),
            parked_streams: queries.parked_streams().await?.len(),
        })
    }
}

//! How many days the available units of a SKU last, at the rate at which they were sold of late.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use domain::{Sku, Timestamp};
use infra::{
    http::{
        Failure,
        answers::ResourceProblems,
        parameters::Params,
        path::{Id, NoSuch, PathId},
    },
    read_models::{StockRow, day_of, quarter_of},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::Stock;
use crate::{QueryApi, error::QueryError, freshness::NotModified};

/// Days of sales that the rate is taken from: whole days in UTC, the last one unfinished.
pub(crate) const DAYS: i64 = 28;
const QUARTERS_PER_DAY: i64 = 96;

/// What was sold, and how long the rest lasts.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = StockCover)]
pub struct Cover {
    /// Units on allocated orders that were placed on the last 28 days in UTC, today included. Cancelled and returned units
    /// count, as in the report of sales.
    units_sold_28_days: i64,
    /// `available` x 28 / `units_sold_28_days`, with one digit. Null if nothing was sold.
    #[schema(example = 21.3)]
    days_of_cover: Option<f64>,
}

impl Cover {
    /// `sold`: units of [`DAYS`].
    #[expect(clippy::cast_precision_loss, reason = "one digit")]
    fn of(row: &StockRow, sold: i64) -> Self {
        let available = f64::from(row.on_hand - row.reserved);
        let days = available * DAYS as f64 / sold as f64;
        let days_of_cover = (sold > 0).then(|| (days * 10.0).round() / 10.0);
        Self { units_sold_28_days: sold, days_of_cover }
    }

    pub(crate) fn units_sold(&self) -> i64 {
        self.units_sold_28_days
    }

    pub(crate) fn days(&self) -> Option<f64> {
        self.days_of_cover
    }
}

/// The cover of each of these SKUs, in their order. Reads at most [`DAYS`] rows for each SKU and partition.
pub(crate) async fn of_rows(api: &QueryApi, rows: &[StockRow]) -> Result<Vec<Cover>, QueryError> {
    let skus: Vec<Sku> = rows.iter().map(|row| row.sku.clone()).collect();
    let sold = match skus.as_slice() {
        [] => BTreeMap::new(),
        skus => api.query(api.queries.units_sold(skus, days(api.clock.now()))).await?,
    };
    Ok(rows.iter().map(|row| Cover::of(row, sold.get(&row.sku).copied().unwrap_or_default())).collect())
}

fn days(now: Timestamp) -> (i64, i64) {
    let end = day_of(quarter_of(now)) + QUARTERS_PER_DAY;
    (end - DAYS * QUARTERS_PER_DAY, end)
}

/// Levels of one SKU, in units, and how long they last.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StockLevel)]
pub struct StockLevel<'a> {
    #[serde(flatten)]
    stock: Stock<'a>,
    #[serde(flatten)]
    cover: Cover,
}

infra::table_row! {
    StockLevel<'_>: sku on_hand reserved available revision units_sold_28_days days_of_cover
}

impl<'a> StockLevel<'a> {
    pub(super) fn of(row: &'a StockRow, cover: Cover) -> Self {
        Self { stock: Stock::of(row), cover }
    }
}

/// How long the stock of a SKU lasts
#[utoipa::path(
    get, path = "/v1/stock/{sku}/cover", operation_id = "getStockCover", tag = "stock",
    params(("sku" = infra::http::vocabulary::SkuValue, Path)),
    responses((status = 200, description = "The cover.", body = Cover), NotModified, ResourceProblems),
)]
pub async fn cover(
    State(api): State<Arc<QueryApi>>,
    Id(sku): Id<Sku>,
    Params(()): Params<()>,
) -> Result<Json<Cover>, Failure<ResourceProblems>> {
    let row = api.query(api.queries.stock(&sku)).await?.ok_or(NoSuch(Sku::RESOURCE))?;
    let cover = of_rows(&api, std::slice::from_ref(&row)).await?.into_iter().next();
    Ok(Json(cover.unwrap_or_else(|| Cover::of(&row, 0))))
}

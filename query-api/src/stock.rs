//! `/v1/stock`: levels of SKUs, and their open reservations by order.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{OrderId, Revision, Sku};
use infra::{
    http::{
        Failure,
        answers::{ListProblems, ResourceProblems, SublistProblems},
        paging::{Listing, Paging},
        parameters::{FromParameters, Parameters, Params, whole_number},
        path::{Id, NoSuch, PathId},
    },
    read_models::{ReservationRow, StockFilter, StockRow},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    QueryApi,
    freshness::{Freshness, IfNoneMatch, NotModified},
};

/// Levels of one SKU, in units.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stock<'a> {
    #[schema(value_type = String)]
    sku: &'a Sku,
    on_hand: u32,
    reserved: u32,
    /// On hand minus reserved.
    available: u32,
    /// Revision of the SKU's stream that this answer reflects.
    #[schema(value_type = u64)]
    revision: Revision,
}

/// Units reserved for an order.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reservation {
    #[schema(value_type = String, format = "uuid")]
    order_id: OrderId,
    quantity: u32,
}

/// The stock to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StockParams {
    /// Only SKUs with fewer available units than this.
    available_below: Option<u32>,
    #[param(ignore)]
    paging: Paging,
}

impl FromParameters for StockParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let available_below = parameters.optional("available_below", whole_number);
        Some(Self { available_below, paging: Paging::read(parameters)? })
    }
}

/// The stock of one SKU
#[utoipa::path(
    get, path = "/v1/stock/{sku}", operation_id = "getStock", tag = "stock",
    params(
        ("sku" = infra::http::vocabulary::SkuValue, Path),
        Freshness,
        IfNoneMatch,
    ),
    responses(
        (
            status = 200, description = "The levels.", body = Stock,
            headers(("ETag" = String, description = "The revision, in quotes.")),
        ),
        NotModified,
        ResourceProblems,
    ),
)]
pub async fn stock(
    State(api): State<Arc<QueryApi>>,
    Id(sku): Id<Sku>,
    Params(freshness): Params<Freshness>,
    known: IfNoneMatch,
) -> Result<Response, Failure<ResourceProblems>> {
    let row = freshness.read(&api, sku.clone().into(), || api.queries.stock(&sku)).await?;
    let row = row.ok_or(NoSuch(Sku::RESOURCE))?;
    Ok(known.answer(row.revision, || Stock::of(&row)))
}

/// Stock, by SKU
#[utoipa::path(
    get, path = "/v1/stock", operation_id = "listStock", tag = "stock",
    params(StockParams, Paging),
    responses((status = 200, description = "A page.", body = Listing<Stock>), ListProblems),
)]
pub async fn stock_list(
    State(api): State<Arc<QueryApi>>,
    Params(wanted): Params<StockParams>,
) -> Result<Response, Failure<ListProblems>> {
    let paging = wanted.paging;
    let filter = StockFilter { available_below: wanted.available_below, after: paging.after()? };
    let page = api.query(api.queries.stock_list(&filter, paging.limit)).await?;
    Ok(Json(paging.listing(&page.items, page.has_more, Stock::of, |row| &row.sku)).into_response())
}

/// The open reservations of a SKU, by order
#[utoipa::path(
    get, path = "/v1/stock/{sku}/reservations", operation_id = "listReservations", tag = "stock",
    params(("sku" = infra::http::vocabulary::SkuValue, Path), Paging),
    responses((status = 200, description = "A page.", body = Listing<Reservation>), SublistProblems),
)]
pub async fn reservations(
    State(api): State<Arc<QueryApi>>,
    Id(sku): Id<Sku>,
    Params(paging): Params<Paging>,
) -> Result<Response, Failure<SublistProblems>> {
    let page = api.query(api.queries.reservations(&sku, paging.after()?, paging.limit)).await?;
    if page.items.is_empty() && api.query(api.queries.stock(&sku)).await?.is_none() {
        return Err(NoSuch(Sku::RESOURCE).into());
    }
    Ok(Json(paging.listing(&page.items, page.has_more, Reservation::of, |row| row.order_id)).into_response())
}

impl<'a> Stock<'a> {
    fn of(row: &'a StockRow) -> Self {
        Self {
            sku: &row.sku,
            on_hand: row.on_hand,
            reserved: row.reserved,
            available: row.on_hand - row.reserved,
            revision: row.revision,
        }
    }
}

impl Reservation {
    fn of(row: &ReservationRow) -> Self {
        Self { order_id: row.order_id, quantity: row.quantity }
    }
}

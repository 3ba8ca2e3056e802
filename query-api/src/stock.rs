//! `/v1/stock`: levels of SKUs, what changed them, and their open reservations by order.

pub mod cover;
pub mod movements;

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{OrderId, Revision, Sku, text};
use infra::{
    http::{
        Failure,
        answers::{ListProblems, ResourceProblems, SublistProblems},
        paging::{Listing, TablePaging},
        parameters::{FromParameters, Parameters, Params, whole_number},
        path::{Id, NoSuch, PathId},
        vocabulary::TextValue,
    },
    read_models::{ReservationRow, StockFilter, StockRow},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    QueryApi,
    as_of::Version,
    freshness::{IfNoneMatch, NotModified},
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

infra::table_row! { Reservation: order_id quantity }

/// The stock to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StockParams {
    /// Only SKUs with fewer available units than this, the fewest first.
    available_below: Option<u32>,
    /// Only SKUs with this many available units or fewer, the fewest first: a level at which stock is ordered again.
    available_max: Option<u32>,
    /// The beginning of the SKU. Case matters.
    #[param(value_type = Option<TextValue>)]
    prefix: Option<String>,
    /// A part of the SKU, in any case of ASCII letters.
    #[param(value_type = Option<TextValue>)]
    q: Option<String>,
    #[param(ignore)]
    paging: TablePaging,
}

impl FromParameters for StockParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let checked = |value: &str| text::check(value).map(|()| value.to_owned());
        Some(Self {
            available_below: parameters.optional("available_below", whole_number),
            available_max: parameters.optional("available_max", whole_number),
            prefix: parameters.optional("prefix", checked),
            q: parameters.optional("q", checked),
            paging: TablePaging::read(parameters)?,
        })
    }
}

/// The stock of one SKU
#[utoipa::path(
    get, path = "/v1/stock/{sku}", operation_id = "getStock", tag = "stock",
    params(
        ("sku" = infra::http::vocabulary::SkuValue, Path),
        Version,
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
    Params(version): Params<Version>,
    known: IfNoneMatch,
) -> Result<Response, Failure<ResourceProblems>> {
    let row = version.stock(&api, &sku).await?.ok_or(NoSuch(Sku::RESOURCE))?;
    Ok(known.answer(row.revision, || Stock::of(&row)))
}

/// Stock, by SKU
///
/// With `available_below` or `available_max`: the fewest available units first. With `q`, and with `prefix` beside a bound
/// of available units, a page looks at 2,000 SKUs: it may have few items or none although more follow.
#[utoipa::path(
    get, path = "/v1/stock", operation_id = "listStock", tag = "stock",
    params(StockParams, TablePaging),
    responses((status = 200, description = "A page.", body = Listing<cover::StockLevel>), ListProblems),
)]
pub async fn stock_list(
    State(api): State<Arc<QueryApi>>,
    Params(wanted): Params<StockParams>,
) -> Result<Response, Failure<ListProblems>> {
    let paging = wanted.paging;
    let below = wanted.available_below.map(u64::from);
    let up_to = wanted.available_max.map(|max| u64::from(max) + 1);
    let filter = StockFilter {
        available_below: [below, up_to].into_iter().flatten().min(),
        prefix: wanted.prefix,
        contains: wanted.q,
        after: paging.after()?,
    };
    let page = api.query(api.queries.stock_list(&filter, paging.limit)).await?;
    let covers = cover::of_rows(&api, &page.items).await?;
    let items = page.items.iter().zip(covers).map(|(row, cover)| cover::StockLevel::of(row, cover)).collect();
    Ok(paging.respond(&Listing { items, next_cursor: paging.cursor_after(page.next) }))
}

/// The open reservations of a SKU, by order
#[utoipa::path(
    get, path = "/v1/stock/{sku}/reservations", operation_id = "listReservations", tag = "stock",
    params(("sku" = infra::http::vocabulary::SkuValue, Path), TablePaging),
    responses((status = 200, description = "A page.", body = Listing<Reservation>), SublistProblems),
)]
pub async fn reservations(
    State(api): State<Arc<QueryApi>>,
    Id(sku): Id<Sku>,
    Params(paging): Params<TablePaging>,
) -> Result<Response, Failure<SublistProblems>> {
    let page = api.query(api.queries.reservations(&sku, paging.after()?, paging.limit)).await?;
    if page.items.is_empty() && api.query(api.queries.stock(&sku)).await?.is_none() {
        return Err(NoSuch(Sku::RESOURCE).into());
    }
    Ok(paging.respond(&paging.listing(&page.items, page.has_more, Reservation::of, |row| row.order_id)))
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

//! `/stock`: levels by SKU, and the open reservations of one.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use domain::Sku;
use infra::{
    http::{
        paging::Paging,
        parameters::{FromParameters, Parameters, Params, whole_number},
        path::{Id, NoSuch, PathId},
    },
    read_models::{OrderFilter, StockFilter, StockRow},
};
use maud::{Markup, html};

use super::{
    Refused,
    format::{self, Tone, chip, count, order_link, short_time, sku_link},
    layout::{Content, Section},
    orders::pager,
    url,
    view::View,
};
use crate::{
    QueryApi,
    error::QueryError,
    stock::{
        cover::{self, Cover},
        movements::{self, Balance, Movement},
    },
};

/// Fewer available units than this are marked.
const LOW: u32 = 5;
/// The latest movements on the page of a SKU.
const MOVEMENTS: usize = 20;
/// The latest orders on the page of a SKU.
const ORDERS: usize = 20;

#[derive(Debug)]
pub(super) struct StockParams {
    search: Option<String>,
    available_below: Option<u32>,
    paging: Paging,
}

impl FromParameters for StockParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let search = parameters.optional("q", |text| Ok::<_, &str>(text.trim().to_owned()));
        let below = parameters.optional("available_below", |text| match text.trim() {
            "" => Ok(None),
            text => whole_number(text).map(Some),
        });
        Some(Self {
            search: search.filter(|text| !text.is_empty()),
            available_below: below.flatten(),
            paging: Paging::read(parameters)?,
        })
    }
}

/// `GET /stock`
pub(super) async fn stock(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Params(wanted): Params<StockParams>,
) -> Result<Response, Refused> {
    let found = match wanted.search.as_deref().map(Sku::new) {
        Some(Ok(sku)) => api.query(api.queries.stock(&sku)).await?,
        Some(Err(_)) | None => None,
    };
    if let Some(row) = found {
        return Ok(Redirect::to(&format!("/stock/{}", url::segment(row.sku.as_str()))).into_response());
    }
    let filter = StockFilter {
        available_below: wanted.available_below.map(u64::from),
        contains: wanted.search.clone(),
        after: wanted.paging.after()?,
        ..StockFilter::default()
    };
    let page = api.query(api.queries.stock_list(&filter, wanted.paging.limit)).await?;
    let next = wanted.paging.cursor_after(page.next);
    let covers = cover::of_rows(&api, &page.items).await?;
    let main = html! {
        div.head {
            h1 { "Stock" }
            nav.views aria-label="Views" {
                a.view href="/stock" aria-current=[wanted.available_below.is_none().then_some("page")] { "All" }
                a.view href="/stock?available_below=1" aria-current=[(wanted.available_below == Some(1)).then_some("page")] { "Sold out" }
                a.view href="/stock?available_below=5" aria-current=[(wanted.available_below == Some(LOW)).then_some("page")] { "Low" }
            }
        }
        form.filters action="/stock" {
            label { span { "SKU contains" } input type="search" name="q" value=(wanted.search.as_deref().unwrap_or_default()); }
            label {
                span { "Available below" }
                input type="number" name="available_below" min="0" value=[wanted.available_below];
            }
            button { "Filter" }
        }
        div #stock.box data-live role="region" aria-label="Stock" tabindex="0" {
            @if page.items.is_empty() && next.is_some() { p.empty { "No SKU here matches. The next page looks further." } }
            @else if page.items.is_empty() { p.empty { "No SKU matches." } }
            @else { (levels(&page.items, &covers)) }
        }
        (pager(&view, next.as_deref()))
    };
    let given = || view.parameters(&["cursor"]).filter(|(_, value)| !value.is_empty());
    let json = url::with_query("/v1/stock", given());
    let csv = url::with_query("/v1/stock", given().chain([("format", "csv")]));
    let content = Content::new("Stock", Section::Stock, main).live("/v1/feed?topic=tiles");
    Ok(view.page(content.json(json).csv(csv)))
}

fn levels(rows: &[StockRow], covers: &[Cover]) -> Markup {
    html! {
        table {
            caption.visually-hidden { "Levels by SKU, in units" }
            thead { tr { th { "SKU" } th.number { "On hand" } th.number { "Reserved" } th.number { "Available" } th.number { "Sold in 28 days" } th.number { "Days of cover" } td {} } }
            tbody {
                @for (row, cover) in rows.iter().zip(covers) {
                    tr {
                        td { (sku_link(&row.sku)) }
                        td.number { (count(row.on_hand)) }
                        td.number { (count(row.reserved)) }
                        td.number { strong { (count(row.on_hand - row.reserved)) } }
                        td.number { (count(cover.units_sold())) }
                        td.number { (days_of(cover)) }
                        td { (level(row)) }
                    }
                }
            }
        }
    }
}

fn level(row: &StockRow) -> Markup {
    html! {
        @match row.on_hand - row.reserved {
            0 => (chip("sold out", Tone::Bad)),
            1..LOW => (chip("low", Tone::Warn)),
            _ => {},
        }
    }
}

/// The days that the available units last at the rate of the last 28 days.
fn days_of(cover: &Cover) -> Markup {
    html! {
        @match cover.days() {
            Some(days) if days < 10.0 => (format!("{days:.1}")),
            Some(days) => (format!("{days:.0}")),
            None => "–",
        }
    }
}

/// The reservations to list.
#[derive(Debug)]
pub(super) struct SkuParams {
    paging: Paging,
}

impl FromParameters for SkuParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        Some(Self { paging: Paging::read(parameters)? })
    }
}

/// `GET /stock/{sku}`
pub(super) async fn sku(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Id(sku): Id<Sku>,
    Params(SkuParams { paging }): Params<SkuParams>,
) -> Result<Response, Refused> {
    let row = api.query(api.queries.stock(&sku)).await?.ok_or(NoSuch(Sku::RESOURCE))?;
    let reserved = api.query(api.queries.reservations(&sku, paging.after()?, paging.limit)).await?;
    let next = paging.listing(&reserved.items, reserved.has_more, |_| (), |row| row.order_id).next_cursor;
    let of_sku = OrderFilter { sku: Some(sku.clone()), ..OrderFilter::default() };
    let orders = api.query(api.queries.orders(&of_sku, ORDERS)).await?;
    let cover = cover::of_rows(&api, std::slice::from_ref(&row)).await?;
    let latest =
        Balance { revision: row.revision, on_hand: row.on_hand.into(), reserved: row.reserved.into() };
    let movements = match &view.caller {
        Some(caller) => movements::read(&api, caller, &sku, latest, MOVEMENTS).await,
        None => Ok((Vec::new(), None)),
    };
    let main = html! {
        div.head { h1 { "SKU " (sku) } (level(&row)) }
        div #levels data-live {
            dl.tiles {
                div.tile { dt { "On hand" } dd.value { (count(row.on_hand)) } }
                div.tile { dt { "Reserved" } dd.value { (count(row.reserved)) } }
                div.tile { dt { "Available" } dd.value { (count(row.on_hand - row.reserved)) } }
                @for cover in &cover {
                    div.tile {
                        dt { "Days of cover" }
                        dd.value { (days_of(cover)) }
                        dd.muted { (count(cover.units_sold())) " sold in 28 days" }
                    }
                }
            }
        }
        div.columns.even {
            section.panel {
                h2 { "Open reservations" }
                div #reservations.box data-live role="region" aria-label="Open reservations" tabindex="0" {
                    @if reserved.items.is_empty() { p.empty { "No order holds units of it." } }
                    @else {
                        table {
                            caption.visually-hidden { "Orders that hold units" }
                            thead { tr { th { "Order" } th.number { "Units" } } }
                            tbody {
                                @for row in &reserved.items {
                                    tr { td { (order_link(row.order_id)) } td.number { (count(row.quantity)) } }
                                }
                            }
                        }
                    }
                }
                (pager(&view, next.as_deref()))
            }
            section.panel {
                h2 { "Latest orders" }
                div.box role="region" aria-label="Latest orders" tabindex="0" {
                    @if orders.items.is_empty() { p.empty { "No order has it on a line." } }
                    @else {
                        table {
                            caption.visually-hidden { "The latest orders with the SKU on a line" }
                            thead { tr { th { "Placed" } th { "Order" } th { "State" } th { "Fulfilment" } } }
                            tbody {
                                @for row in &orders.items {
                                    tr {
                                        td { (short_time(row.summary.placed_at.unwrap_or(row.recorded_at), &view)) }
                                        td { (order_link(row.order_id)) }
                                        td { (format::order_status(row.summary.status)) }
                                        td { (format::fulfilment_status(row.summary.fulfilment_status, row.summary.status)) }
                                    }
                                }
                            }
                        }
                        p { a href=(url::with_query("/orders", [("sku", sku.as_str())])) { "All orders with it" } }
                    }
                }
            }
        }
        section.panel #movements data-live {
            h2 { "Movements" }
            @match &movements {
                Ok((movements, _)) => (moved(&view, movements)),
                Err(error) => {
                    (log_failure(error))
                    p.notice.warn { "The event log cannot be read now, so the movements are missing." }
                },
            }
            p { a href={ "/v1/stock/" (url::segment(sku.as_str())) "/movements" } { "All movements as JSON" } }
        }
    };
    let segment = url::segment(sku.as_str());
    let content =
        Content::new(format!("SKU {sku}"), Section::Stock, main).json(format!("/v1/stock/{segment}"));
    Ok(view.page(content.live(format!("/v1/feed?stream=stock-{}", url::value(sku.as_str())))))
}

fn log_failure(error: &QueryError) -> Markup {
    tracing::warn!(%error, "Cannot read the movements of a SKU; its page is shown without them");
    html! {}
}

/// What changed the levels, the latest first.
fn moved(view: &View, movements: &[Movement]) -> Markup {
    let change = |units: i64| html! { @if units == 0 { span.muted { "–" } } @else { (format!("{units:+}").replace('-', "\u{2212}")) } };
    html! {
        div.box role="region" aria-label="Movements" tabindex="0" {
            table {
                caption.visually-hidden { "What changed the levels, the latest first" }
                thead {
                    tr {
                        th { "Time" } th { "Movement" } th { "Order" } th.number { "On hand" } th.number { "Reserved" }
                        th.number { "Left on hand" } th.number { "Available" } th { "Why" } th { "By" }
                    }
                }
                tbody {
                    @for one in movements {
                        tr {
                            td { (short_time(one.recorded_at, view)) }
                            td { (chip(one.kind.as_str(), Tone::Idle)) }
                            td { @if let Some(order_id) = one.order_id { (order_link(order_id)) } }
                            td.number { (change(one.on_hand_change)) }
                            td.number { (change(one.reserved_change)) }
                            td.number { (one.on_hand) }
                            td.number { strong { (one.available) } }
                            td.wrap { (one.reason.as_deref().or(one.reference.as_deref()).unwrap_or_default()) }
                            td { (one.person.as_deref().or(one.principal.as_deref()).unwrap_or_default()) }
                        }
                    }
                }
            }
        }
    }
}

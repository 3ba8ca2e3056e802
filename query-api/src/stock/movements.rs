//! `/v1/stock/{sku}/movements`: what changed the levels of a SKU, the latest first.
//!
//! The events come from the stream of the SKU in the log. The levels after the first of them are those of the row; each
//! event tells the levels before it. So a page costs the same however long the stream is.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use domain::{
    Event, EventId, EventMetadata, OrderId, RecordedEvent, ReturnId, Revision, ShipmentId, Sku, StreamName,
    Timestamp, stock::StockEvent,
};
use infra::{
    auth::{Caller, Scope},
    event_store::ReadError,
    http::{
        Failure,
        answers::TimelineProblems,
        paging::{InvalidCursor, Listing, TablePaging},
        parameters::{FromParameters, Parameters, Params},
        path::{Id, NoSuch, PathId},
    },
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::{QueryApi, error::QueryError, freshness::Freshness, timeline::read_range};

/// A change of the levels of a SKU, in units.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StockMovement)]
pub struct Movement {
    /// Revision of the SKU's stream.
    #[schema(value_type = u64)]
    revision: Revision,
    #[schema(value_type = String, format = "date-time")]
    pub(crate) recorded_at: Timestamp,
    #[serde(rename = "type")]
    pub(crate) kind: MovementKind,
    pub(crate) on_hand_change: i64,
    pub(crate) reserved_change: i64,
    /// After the change.
    pub(crate) on_hand: i64,
    /// After the change.
    pub(crate) reserved: i64,
    /// After the change: on hand minus reserved.
    pub(crate) available: i64,
    /// Why an operator adjusted the units on hand.
    pub(crate) reason: Option<String>,
    /// The reference of a receipt.
    pub(crate) reference: Option<String>,
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(crate) order_id: Option<OrderId>,
    #[schema(value_type = Option<String>, format = "uuid")]
    shipment_id: Option<ShipmentId>,
    #[schema(value_type = Option<String>, format = "uuid")]
    return_id: Option<ReturnId>,
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// The event that the command reacts to. Null for a command of a caller.
    #[schema(value_type = Option<String>, format = "uuid")]
    cause: Option<EventId>,
    /// The stored name of the command.
    command: Option<String>,
    /// The caller, or the part of Orderly that acts by itself. Null without the scope `audit`, and if an earlier build
    /// recorded the event.
    pub(crate) principal: Option<String>,
    /// The person behind the caller, as `Orderly-Actor` named it.
    pub(crate) person: Option<String>,
}

infra::table_row! {
    Movement: revision recorded_at type on_hand_change reserved_change on_hand reserved available reason reference
        order_id shipment_id return_id event_id cause command principal person
}

/// What changed the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StockMovementType)]
pub enum MovementKind {
    Received,
    /// By an operator.
    Adjusted,
    /// For an order.
    Reserved,
    /// The units are not for an order any more.
    Released,
    Shipped,
    /// A shipment never left: its units are on hand and reserved again.
    Unshipped,
    /// Units came back and were added to stock.
    Returned,
}

impl MovementKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Adjusted => "adjusted",
            Self::Reserved => "reserved",
            Self::Released => "released",
            Self::Shipped => "shipped",
            Self::Unshipped => "unshipped",
            Self::Returned => "returned",
        }
    }
}

/// The levels after an event, and its revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Balance {
    pub revision: Revision,
    pub on_hand: i64,
    pub reserved: i64,
}

/// The movements to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MovementsParams {
    #[param(ignore)]
    freshness: Freshness,
    #[param(ignore)]
    paging: TablePaging,
}

impl FromParameters for MovementsParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let freshness = <Freshness as FromParameters>::read(parameters)?;
        Some(Self { freshness, paging: TablePaging::read(parameters)? })
    }
}

/// What changed the stock of a SKU, the latest first
///
/// The events come from the event store: 503 `unavailable` if this process cannot reach it.
#[utoipa::path(
    get, path = "/v1/stock/{sku}/movements", operation_id = "listStockMovements", tag = "stock",
    params(("sku" = infra::http::vocabulary::SkuValue, Path), Freshness, TablePaging),
    responses((status = 200, description = "A page.", body = Listing<Movement>), TimelineProblems),
)]
pub async fn movements(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    Id(sku): Id<Sku>,
    Params(wanted): Params<MovementsParams>,
) -> Result<Response, Failure<TimelineProblems>> {
    let MovementsParams { freshness, paging } = wanted;
    let after: Option<(Revision, i64, i64)> = paging.after()?;
    let row = freshness.read(&api, sku.clone().into(), || api.queries.stock(&sku)).await?;
    let row = row.ok_or(NoSuch(Sku::RESOURCE))?;
    let latest = (row.revision, i64::from(row.on_hand), i64::from(row.reserved));
    let (revision, on_hand, reserved) = after.unwrap_or(latest);
    if revision > row.revision {
        return Err(InvalidCursor.into());
    }
    let latest = Balance { revision, on_hand, reserved };
    let (items, next) = read(&api, &caller, &sku, latest, paging.limit).await?;
    let next = next.map(|Balance { revision, on_hand, reserved }| (revision, on_hand, reserved));
    Ok(paging.respond(&Listing { items, next_cursor: paging.cursor_after(next) }))
}

/// At most `limit` movements of a SKU up to this balance, the latest first, and the balance before them if there are more.
pub(crate) async fn read(
    api: &QueryApi,
    caller: &Caller,
    sku: &Sku,
    latest: Balance,
    limit: usize,
) -> Result<(Vec<Movement>, Option<Balance>), QueryError> {
    let stream = StreamName::from(sku.clone());
    let first = (latest.revision + 1).saturating_sub(limit as u64);
    let reading = async {
        let log = api.log.get().await?;
        read_range(log, &stream, first, latest.revision).await
    };
    let events = api.query(reading).await?;
    let shows_actors = caller.may(Scope::Audit);
    let mut balance = latest;
    let mut items = Vec::with_capacity(events.len());
    for event in events.iter().rev() {
        let movement = Movement::of(event, balance, shows_actors)?;
        balance.on_hand = balance.on_hand.saturating_sub(movement.on_hand_change);
        balance.reserved = balance.reserved.saturating_sub(movement.reserved_change);
        balance.revision = event.revision.saturating_sub(1);
        items.push(movement);
    }
    Ok((items, (first > 0).then_some(balance)))
}

impl Movement {
    /// `after`: the levels after the event.
    fn of(event: &RecordedEvent, after: Balance, shows_actor: bool) -> Result<Self, QueryError> {
        let decoded = event.decode().map_err(|error| ReadError::Corrupt(error.to_string().into()))?;
        let Event::Stock(data) = decoded else {
            let text = format!("{} has an event of another kind", event.stream);
            return Err(ReadError::Corrupt(text.into()).into());
        };
        let metadata: Option<EventMetadata> = event.decode_metadata().ok();
        let change = Change::of(data);
        let actor = metadata.as_ref().and_then(|metadata| metadata.actor.as_ref());
        let actor = actor.filter(|_| shows_actor);
        Ok(Self {
            revision: event.revision,
            recorded_at: event.recorded_at,
            kind: change.kind,
            on_hand_change: change.on_hand,
            reserved_change: change.reserved,
            on_hand: after.on_hand,
            reserved: after.reserved,
            available: after.on_hand.saturating_sub(after.reserved),
            reason: change.reason,
            reference: change.reference,
            order_id: change.order_id,
            shipment_id: change.shipment_id,
            return_id: change.return_id,
            event_id: event.id,
            cause: metadata.as_ref().and_then(|metadata| metadata.causation_id),
            command: metadata.as_ref().map(|metadata| metadata.command.clone()),
            principal: actor.map(|actor| actor.principal.clone().into_owned()),
            person: actor.and_then(|actor| actor.person.clone()),
        })
    }
}

/// What an event changes.
struct Change {
    kind: MovementKind,
    on_hand: i64,
    reserved: i64,
    reason: Option<String>,
    reference: Option<String>,
    order_id: Option<OrderId>,
    shipment_id: Option<ShipmentId>,
    return_id: Option<ReturnId>,
}

impl Change {
    fn of(event: StockEvent) -> Self {
        let change = |kind, on_hand: i64, reserved: i64, order_id: Option<OrderId>| Self {
            kind,
            on_hand,
            reserved,
            reason: None,
            reference: None,
            order_id,
            shipment_id: None,
            return_id: None,
        };
        match event {
            StockEvent::Received(event) => {
                let received = change(MovementKind::Received, event.quantity.into(), 0, None);
                Self { reference: event.reference, ..received }
            }
            StockEvent::Adjusted(event) => {
                Self { reason: event.reason, ..change(MovementKind::Adjusted, event.delta, 0, None) }
            }
            StockEvent::Reserved(event) => {
                change(MovementKind::Reserved, 0, event.quantity.into(), Some(event.order_id))
            }
            StockEvent::Released(event) => {
                change(MovementKind::Released, 0, -i64::from(event.quantity), Some(event.order_id))
            }
            StockEvent::Shipped(event) => {
                let quantity = -i64::from(event.quantity);
                let shipped = change(MovementKind::Shipped, quantity, quantity, Some(event.order_id));
                Self { shipment_id: Some(event.shipment_id), ..shipped }
            }
            StockEvent::Unshipped(event) => {
                let quantity = i64::from(event.quantity);
                let unshipped = change(MovementKind::Unshipped, quantity, quantity, Some(event.order_id));
                Self { shipment_id: Some(event.shipment_id), ..unshipped }
            }
            StockEvent::Returned(event) => {
                let returned = change(MovementKind::Returned, event.quantity.into(), 0, Some(event.order_id));
                Self { return_id: Some(event.return_id), ..returned }
            }
        }
    }
}

//! How values stand in columns, and rows read back from them.

use domain::{
    EventId, OrderId, PaymentId, Position, Revision, Sku, Timestamp,
    order::{Order, OrderStatus},
    payment::PaymentState,
};
use rusqlite::{
    ErrorCode, Row,
    types::{FromSqlError, Type},
};
use serde::de::DeserializeOwned;

use crate::{
    event_source::Partition,
    read_models::{
        OrderRow, OrderStockEvent, ParkedStream, PaymentRow, Projection, ReadModelError, ReservationRow,
        SalesDimension, SalesTotals, StockRow, WaitKind, awaited_payment_due_at, spans::Span,
    },
};

/// The statuses that orders with a row can have. Stored: changing a number needs a new schema version.
pub(super) const ORDER_STATUSES: [OrderStatus; 5] = [
    OrderStatus::Placed,
    OrderStatus::Allocated,
    OrderStatus::Rejected,
    OrderStatus::Cancelled,
    OrderStatus::Expired,
];

pub(super) fn status_code(status: OrderStatus) -> i64 {
    match status {
        OrderStatus::New => 0,
        OrderStatus::Placed => 1,
        OrderStatus::Allocated => 2,
        OrderStatus::Rejected => 3,
        OrderStatus::Cancelled => 4,
        OrderStatus::Expired => 5,
    }
}

pub(super) fn is_final_code(code: i64) -> bool {
    ORDER_STATUSES.iter().any(|status| status.is_final() && status_code(*status) == code)
}

/// Stored: changing a number needs a new schema version.
pub(super) fn state_code(state: PaymentState) -> i64 {
    match state {
        PaymentState::New => 0,
        PaymentState::Requested => 1,
        PaymentState::Authorized => 2,
        PaymentState::Captured => 3,
        PaymentState::Failed => 4,
        PaymentState::Voided => 5,
        PaymentState::OutcomeUnknown => 6,
    }
}

/// Stored: changing a number needs a new schema version.
pub(super) fn dimension_code(dimension: &SalesDimension) -> (i64, &str) {
    match dimension {
        SalesDimension::All => (0, ""),
        SalesDimension::Sku(sku) => (1, sku.as_str()),
        SalesDimension::Country(country) => (2, country),
    }
}

pub(super) fn dimension_of(code: i64, key: &str) -> rusqlite::Result<SalesDimension> {
    match code {
        0 => Ok(SalesDimension::All),
        1 => sku_of(key).map(SalesDimension::Sku),
        2 => Ok(SalesDimension::Country(key.to_owned())),
        _ => Err(unreadable("dimension", &code.to_string())),
    }
}

/// Stored: changing a number needs a new schema version.
pub(super) fn span_code(span: Span) -> i64 {
    match span {
        Span::Hour => 0,
        Span::Month => 1,
    }
}

/// What an order is searched by besides its SKUs; `None` for one that was never placed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OrderColumns<'a> {
    pub(super) status: i64,
    pub(super) customer_id: Option<&'a str>,
    pub(super) placed_at: i64,
    pub(super) payment_due_at: Option<i64>,
}

impl<'a> OrderColumns<'a> {
    pub(super) fn of(order: &'a Order) -> Option<Self> {
        Some(Self {
            status: status_code(order.status()),
            customer_id: order.customer_id(),
            placed_at: order.placed_at()?.as_microsecond(),
            payment_due_at: awaited_payment_due_at(order).map(Timestamp::as_microsecond),
        })
    }
}

pub(super) const STOCK_COLUMNS: &str = "sku, on_hand, reserved, revision";

pub(super) fn stock_row(row: &Row<'_>) -> rusqlite::Result<StockRow> {
    Ok(StockRow {
        sku: sku_of(row.get_ref(0)?.as_str()?)?,
        on_hand: row.get(1)?,
        reserved: row.get(2)?,
        revision: revision(row, 3)?,
    })
}

pub(super) const RESERVATION_COLUMNS: &str = "sku, order_id, quantity";

pub(super) fn reservation_row(row: &Row<'_>) -> rusqlite::Result<ReservationRow> {
    Ok(ReservationRow {
        sku: sku_of(row.get_ref(0)?.as_str()?)?,
        order_id: OrderId(row.get(1)?),
        quantity: row.get(2)?,
    })
}

pub(super) const STOCK_EVENT_COLUMNS: &str = "order_id, position, sku, revision";

pub(super) fn stock_event(row: &Row<'_>) -> rusqlite::Result<OrderStockEvent> {
    Ok(OrderStockEvent {
        order_id: OrderId(row.get(0)?),
        position: row.get::<_, i64>(1)?.cast_unsigned(),
        sku: sku_of(row.get_ref(2)?.as_str()?)?,
        revision: revision(row, 3)?,
    })
}

pub(super) const ORDER_COLUMNS: &str = "order_id, revision, recorded_at, updated_at, body";

pub(super) fn order_row(row: &Row<'_>) -> rusqlite::Result<OrderRow> {
    Ok(OrderRow {
        order_id: OrderId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        order: json(row, 4)?,
    })
}

pub(super) const PAYMENT_COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, body";

pub(super) fn payment_row(row: &Row<'_>) -> rusqlite::Result<PaymentRow> {
    Ok(PaymentRow {
        payment_id: PaymentId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        payment: json(row, 4)?,
    })
}

pub(super) const PARKED_COLUMNS: &str =
    "projection, stream, partition, event_id, revision, position, reason, parked_at";

pub(super) fn parked_row(row: &Row<'_>) -> rusqlite::Result<ParkedStream> {
    let name = row.get_ref(0)?.as_str()?;
    let projection = Projection::ALL.into_iter().find(|projection| projection.as_str() == name);
    let stream = row.get_ref(1)?.as_str()?;
    Ok(ParkedStream {
        projection: projection.ok_or_else(|| unreadable("projection", name))?,
        stream: stream.parse().map_err(|_| unreadable("stream", stream))?,
        partition: Partition(row.get(2)?),
        event_id: EventId(row.get(3)?),
        revision: revision(row, 4)?,
        position: row.get::<_, i64>(5)?.cast_unsigned(),
        reason: row.get(6)?,
        parked_at: time(row, 7)?,
    })
}

/// Six sums, from column `first` on.
pub(super) fn totals(row: &Row<'_>, first: usize) -> rusqlite::Result<SalesTotals> {
    Ok(SalesTotals {
        orders: row.get(first)?,
        lines: row.get(first + 1)?,
        units: row.get(first + 2)?,
        gross: row.get(first + 3)?,
        cancelled: row.get(first + 4)?,
        refunded: row.get(first + 5)?,
    })
}

pub(super) fn signed_position(position: Option<Position>) -> Option<i64> {
    position.map(u64::cast_signed)
}

pub(super) fn position(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Position>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
}

fn revision(row: &Row<'_>, column: usize) -> rusqlite::Result<Revision> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let microseconds: i64 = row.get(column)?;
    Timestamp::from_microsecond(microseconds).map_err(|error| conversion(column, Type::Integer, error))
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| conversion(column, Type::Text, error))
}

pub(super) fn wait_kind(code: i64) -> rusqlite::Result<WaitKind> {
    let kind = WaitKind::ALL.into_iter().find(|kind| i64::from(kind.code()) == code);
    kind.ok_or_else(|| unreadable("kind of wait", &code.to_string()))
}

pub(super) fn sku_of(text: &str) -> rusqlite::Result<Sku> {
    Sku::new(text).map_err(|_| unreadable("SKU", text))
}

fn conversion(
    column: usize,
    stored_as: Type,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, stored_as, Box::new(error))
}

fn unreadable(what: &str, text: &str) -> rusqlite::Error {
    FromSqlError::Other(format!("{text:?} is no {what}").into()).into()
}

impl From<rusqlite::Error> for ReadModelError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string().into();
        let damaged = match &error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..) => true,
            other => matches!(
                other.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseCorrupt
                        | ErrorCode::NotADatabase
                        | ErrorCode::ConstraintViolation
                        | ErrorCode::TypeMismatch
                )
            ),
        };
        if damaged { Self::Corrupt(text) } else { Self::Unavailable(text) }
    }
}

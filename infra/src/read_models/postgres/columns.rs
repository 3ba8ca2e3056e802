//! How values stand in columns, and rows read back from them.

use bytes::BytesMut;
use domain::{
    EventId, OrderId, PaymentId, Position, Revision, Sku, Timestamp,
    order::{Order, OrderStatus},
    payment::{Payment, PaymentState},
};
use postgres_types::{FromSql, IsNull, Json, ToSql, Type, accepts, to_sql_checked};
use tokio_postgres::Row;

use crate::{
    event_source::Partition,
    read_models::{
        self, OrderRow, OrderStockEvent, ParkedStream, PaymentRow, ReadModelError, ReservationRow,
        SalesDimension, SalesTotals, StockRow, WaitKind, awaited_payment_due_at, awaits_provider_since,
        spans,
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "projection", rename_all = "snake_case")]
pub(super) enum Projection {
    Stock,
    Orders,
    Payments,
    Sales,
}

impl From<read_models::Projection> for Projection {
    fn from(projection: read_models::Projection) -> Self {
        match projection {
            read_models::Projection::Stock => Self::Stock,
            read_models::Projection::Orders => Self::Orders,
            read_models::Projection::Payments => Self::Payments,
            read_models::Projection::Sales => Self::Sales,
        }
    }
}

impl From<Projection> for read_models::Projection {
    fn from(projection: Projection) -> Self {
        match projection {
            Projection::Stock => Self::Stock,
            Projection::Orders => Self::Orders,
            Projection::Payments => Self::Payments,
            Projection::Sales => Self::Sales,
        }
    }
}

/// The statuses that orders with a row can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "order_status", rename_all = "snake_case")]
pub(super) enum Status {
    Placed,
    Allocated,
    Rejected,
    Cancelled,
    Expired,
}

impl Status {
    pub(super) const ALL: [Self; 5] =
        [Self::Placed, Self::Allocated, Self::Rejected, Self::Cancelled, Self::Expired];

    /// `None` for an order that was never placed, and has no row.
    pub(super) fn of(status: OrderStatus) -> Option<Self> {
        match status {
            OrderStatus::New => None,
            OrderStatus::Placed => Some(Self::Placed),
            OrderStatus::Allocated => Some(Self::Allocated),
            OrderStatus::Rejected => Some(Self::Rejected),
            OrderStatus::Cancelled => Some(Self::Cancelled),
            OrderStatus::Expired => Some(Self::Expired),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Allocated => "allocated",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }
}

/// The states that payments with a row can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "payment_state", rename_all = "snake_case")]
pub(super) enum State {
    Requested,
    Authorized,
    Captured,
    Failed,
    Voided,
    OutcomeUnknown,
}

impl State {
    /// `None` for a payment that was never requested, and has no row.
    pub(super) fn of(state: PaymentState) -> Option<Self> {
        match state {
            PaymentState::New => None,
            PaymentState::Requested => Some(Self::Requested),
            PaymentState::Authorized => Some(Self::Authorized),
            PaymentState::Captured => Some(Self::Captured),
            PaymentState::Failed => Some(Self::Failed),
            PaymentState::Voided => Some(Self::Voided),
            PaymentState::OutcomeUnknown => Some(Self::OutcomeUnknown),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "sales_dimension", rename_all = "snake_case")]
pub(super) enum Dimension {
    All,
    Sku,
    Country,
}

impl Dimension {
    /// The dimension, and which SKU or country of it.
    pub(super) fn of(dimension: &SalesDimension) -> (Self, &str) {
        match dimension {
            SalesDimension::All => (Self::All, ""),
            SalesDimension::Sku(sku) => (Self::Sku, sku.as_str()),
            SalesDimension::Country(country) => (Self::Country, country),
        }
    }

    pub(super) fn with_key(self, key: &str) -> Result<SalesDimension, ReadModelError> {
        Ok(match self {
            Self::All => SalesDimension::All,
            Self::Sku => SalesDimension::Sku(sku_of(key)?),
            Self::Country => SalesDimension::Country(key.to_owned()),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "sales_span", rename_all = "snake_case")]
pub(super) enum Span {
    Hour,
    Month,
}

impl From<spans::Span> for Span {
    fn from(span: spans::Span) -> Self {
        match span {
            spans::Span::Hour => Self::Hour,
            spans::Span::Month => Self::Month,
        }
    }
}

/// A `timestamptz`: microseconds since 2000-01-01T00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(i64);

impl Instant {
    /// `-infinity` and `infinity`.
    pub(super) const MIN: Self = Self(i64::MIN);
    pub(super) const MAX: Self = Self(i64::MAX);

    const EPOCH_AS_UNIX: i64 = 946_684_800_000_000;
    /// 4714-11-24 BC, before which Postgres knows no time.
    const EARLIEST: i64 = -211_813_488_000_000_000;

    pub(crate) fn timestamp(self) -> Result<Timestamp, jiff::Error> {
        Timestamp::from_microsecond(self.0.saturating_add(Self::EPOCH_AS_UNIX))
    }
}

impl From<Timestamp> for Instant {
    fn from(timestamp: Timestamp) -> Self {
        let microseconds = timestamp.as_microsecond() - Self::EPOCH_AS_UNIX;
        if microseconds < Self::EARLIEST { Self::MIN } else { Self(microseconds) }
    }
}

impl ToSql for Instant {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(&Type::INT8, out)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Instant {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        i64::from_sql(&Type::INT8, raw).map(Self)
    }

    accepts!(TIMESTAMPTZ);
}

/// A column of a row; one that cannot be read is damage.
pub(super) fn cell<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, ReadModelError> {
    row.try_get(column).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        ReadModelError::Corrupt(format!("{error}: {cause}").into())
    })
}

/// What an order is searched by besides its SKUs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OrderColumns<'a> {
    pub(super) status: Status,
    pub(super) customer_id: Option<&'a str>,
    pub(super) placed_at: Instant,
    pub(super) payment_due_at: Option<Instant>,
}

impl<'a> OrderColumns<'a> {
    pub(super) fn of(row: &'a OrderRow) -> Result<Self, ReadModelError> {
        let columns = || {
            let status = Status::of(row.order.status())?;
            let placed_at = row.order.placed_at()?.into();
            let payment_due_at = awaited_payment_due_at(&row.order).map(Instant::from);
            Some(Self { status, customer_id: row.order.customer_id(), placed_at, payment_due_at })
        };
        columns()
            .ok_or_else(|| corrupt(format!("order {} was never placed, and cannot be kept", row.order_id)))
    }
}

/// What a payment is searched by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PaymentColumns {
    pub(super) state: State,
    pub(super) awaits_provider_since: Option<Instant>,
}

impl PaymentColumns {
    pub(super) fn of(row: &PaymentRow) -> Result<Self, ReadModelError> {
        let state = State::of(row.payment.state()).ok_or_else(|| {
            corrupt(format!("payment {} was never requested, and cannot be kept", row.payment_id))
        })?;
        Ok(Self { state, awaits_provider_since: awaits_provider_since(row).map(Instant::from) })
    }
}

pub(super) const STOCK_COLUMNS: &str = "sku, on_hand, reserved, revision";

pub(super) fn stock_row(row: &Row) -> Result<StockRow, ReadModelError> {
    Ok(StockRow {
        sku: sku_of(cell(row, 0)?)?,
        on_hand: quantity(row, 1)?,
        reserved: quantity(row, 2)?,
        revision: revision(row, 3)?,
    })
}

pub(super) const RESERVATION_COLUMNS: &str = "sku, order_id, quantity";

pub(super) fn reservation_row(row: &Row) -> Result<ReservationRow, ReadModelError> {
    Ok(ReservationRow {
        sku: sku_of(cell(row, 0)?)?,
        order_id: OrderId(cell(row, 1)?),
        quantity: quantity(row, 2)?,
    })
}

pub(super) const STOCK_EVENT_COLUMNS: &str = "order_id, position, sku, revision";

pub(super) fn stock_event(row: &Row) -> Result<OrderStockEvent, ReadModelError> {
    Ok(OrderStockEvent {
        order_id: OrderId(cell(row, 0)?),
        position: cell::<i64>(row, 1)?.cast_unsigned(),
        sku: sku_of(cell(row, 2)?)?,
        revision: revision(row, 3)?,
    })
}

pub(super) const ORDER_COLUMNS: &str = "order_id, revision, recorded_at, updated_at, body";

pub(super) fn order_row(row: &Row) -> Result<OrderRow, ReadModelError> {
    let Json(order): Json<Order> = cell(row, 4)?;
    Ok(OrderRow {
        order_id: OrderId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        order,
    })
}

pub(super) const PAYMENT_COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, body";

pub(super) fn payment_row(row: &Row) -> Result<PaymentRow, ReadModelError> {
    let Json(payment): Json<Payment> = cell(row, 4)?;
    Ok(PaymentRow {
        payment_id: PaymentId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        payment,
    })
}

pub(super) const PARKED_COLUMNS: &str =
    "projection, stream, partition, event_id, revision, position, reason, parked_at";

pub(super) fn parked_row(row: &Row) -> Result<ParkedStream, ReadModelError> {
    let stream: &str = cell(row, 1)?;
    Ok(ParkedStream {
        projection: cell::<Projection>(row, 0)?.into(),
        stream: stream.parse().map_err(|_| corrupt(format!("{stream:?} is no stream")))?,
        partition: Partition(cell(row, 2)?),
        event_id: EventId(cell(row, 3)?),
        revision: revision(row, 4)?,
        position: cell::<i64>(row, 5)?.cast_unsigned(),
        reason: cell(row, 6)?,
        parked_at: time(row, 7)?,
    })
}

/// The sums of some rows, in the order that [`totals`] reads them in. Postgres sums to `numeric`.
pub(super) const TOTALS: &str = "sum(orders)::bigint, sum(lines)::bigint, sum(units)::bigint,
    sum(gross)::bigint, sum(cancelled)::bigint, sum(refunded)::bigint";

/// Six sums, from column `first` on.
pub(super) fn totals(row: &Row, first: usize) -> Result<SalesTotals, ReadModelError> {
    Ok(SalesTotals {
        orders: cell(row, first)?,
        lines: cell(row, first + 1)?,
        units: cell(row, first + 2)?,
        gross: cell(row, first + 3)?,
        cancelled: cell(row, first + 4)?,
        refunded: cell(row, first + 5)?,
    })
}

pub(super) fn signed_position(position: Option<Position>) -> Option<i64> {
    position.map(u64::cast_signed)
}

pub(super) fn position(row: &Row, column: usize) -> Result<Option<Position>, ReadModelError> {
    Ok(cell::<Option<i64>>(row, column)?.map(i64::cast_unsigned))
}

pub(super) fn time(row: &Row, column: usize) -> Result<Timestamp, ReadModelError> {
    let time: Instant = cell(row, column)?;
    time.timestamp().map_err(|error| corrupt(error.to_string()))
}

pub(super) fn wait_kind(code: i64) -> Result<WaitKind, ReadModelError> {
    let kind = WaitKind::ALL.into_iter().find(|kind| i64::from(kind.code()) == code);
    kind.ok_or_else(|| corrupt(format!("{code} is no kind of wait")))
}

pub(super) fn sku_of(text: &str) -> Result<Sku, ReadModelError> {
    Sku::new(text).map_err(|_| corrupt(format!("{text:?} is no SKU")))
}

fn revision(row: &Row, column: usize) -> Result<Revision, ReadModelError> {
    Ok(cell::<i64>(row, column)?.cast_unsigned())
}

fn quantity(row: &Row, column: usize) -> Result<u32, ReadModelError> {
    let stored: i64 = cell(row, column)?;
    u32::try_from(stored).map_err(|_| corrupt(format!("{stored} is no quantity")))
}

fn corrupt(text: String) -> ReadModelError {
    ReadModelError::Corrupt(text.into())
}

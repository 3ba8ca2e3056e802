//! Rows as the adapters store them, with their JSON made once. A rebuild sorts and writes them. A verification
//! compares them before it decodes any row.
//!
//! Rows with equal encodings are equal. Equal rows have different encodings if an earlier version of the program
//! wrote one of them.

use domain::{
    Amount, Currency, OrderId, PaymentId, Revision, Sku, Timestamp,
    order::{FulfilmentStatus, OrderStatus, PaymentStatus, PaymentTerms},
    payment::PaymentState,
};
use jiff::fmt::serde::timestamp::microsecond;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    OrderRow, OrderStockEvent, OrderSummary, PartitionCounts, PartitionMoney, PartitionSales, PaymentRow,
    PaymentSummary, ReadModelError, ReservationRow, StockRow, StoredRow,
    orders::{awaited_payment_due_at, never_placed, skus_of},
};

/// A row with three JSON columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded<H> {
    /// The other columns.
    pub head: H,
    /// JSON of the times of its parts.
    pub times: String,
    /// JSON of what lists show.
    pub summary: String,
    /// JSON of the aggregate.
    pub body: String,
}

pub type EncodedOrder = Encoded<OrderHead>;
pub type EncodedPayment = Encoded<PaymentHead>;

/// The columns of an order besides its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderHead {
    pub order_id: OrderId,
    pub revision: Revision,
    #[serde(with = "microsecond::required")]
    pub recorded_at: Timestamp,
    #[serde(with = "microsecond::required")]
    pub updated_at: Timestamp,
    pub status: OrderStatus,
    pub payment_status: PaymentStatus,
    pub fulfilment_status: FulfilmentStatus,
    pub customer_id: Option<String>,
    pub reference: Option<String>,
    pub country: Option<String>,
    #[serde(with = "microsecond::required")]
    pub placed_at: Timestamp,
    pub currency: Currency,
    pub total: Amount,
    /// `None` unless the order still waits for its payment.
    #[serde(with = "microsecond::optional")]
    pub payment_due_at: Option<Timestamp>,
    pub to_ship: bool,
    pub overpaid: bool,
    pub refund_due: bool,
    pub terms: PaymentTerms,
    #[serde(with = "microsecond::optional")]
    pub overdue_from: Option<Timestamp>,
}

/// The columns of a payment besides its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentHead {
    pub payment_id: PaymentId,
    pub revision: Revision,
    #[serde(with = "microsecond::required")]
    pub recorded_at: Timestamp,
    #[serde(with = "microsecond::required")]
    pub updated_at: Timestamp,
    pub state: PaymentState,
    /// `None` if the order ended before the payment was requested.
    pub order_id: Option<OrderId>,
    /// The provider's.
    pub reference: Option<String>,
    /// The code of the failure of a failed payment.
    pub failure: Option<String>,
    /// The payment has failed and can be tried again.
    pub declined: bool,
    #[serde(with = "microsecond::optional")]
    pub awaits_provider_since: Option<Timestamp>,
    /// `None` unless an authorisation holds money and its end is known.
    #[serde(with = "microsecond::optional")]
    pub authorized_until: Option<Timestamp>,
}

/// An entry of the index of orders by SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSku {
    pub sku: Sku,
    pub status: OrderStatus,
    #[serde(with = "microsecond::required")]
    pub placed_at: Timestamp,
    pub order_id: OrderId,
}

impl<H: Serialize + DeserializeOwned> Encoded<H> {
    fn of(
        head: H,
        times: &impl Serialize,
        summary: &impl Serialize,
        body: &impl Serialize,
    ) -> Result<Self, ReadModelError> {
        Ok(Self { head, times: to_json(times)?, summary: to_json(summary)?, body: to_json(body)? })
    }

    pub fn to_bytes(&self) -> Result<Vec<u8>, ReadModelError> {
        let head = to_json(&self.head)?;
        let parts = [&head, &self.times, &self.summary, &self.body];
        let bytes = parts.iter().map(|part| size_of::<u64>() + part.len()).sum();
        let mut bytes = Vec::with_capacity(bytes);
        for part in parts {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Ok(bytes)
    }

    /// `None` if the bytes are not those of [`Encoded::to_bytes`].
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut part = || {
            let (length, rest) = bytes.split_first_chunk()?;
            let (part, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            bytes = rest;
            std::str::from_utf8(part).ok()
        };
        let (head, times, summary, body) = (part()?, part()?, part()?, part()?);
        let head = serde_json::from_str(head).ok()?;
        Some(Self { head, times: times.to_owned(), summary: summary.to_owned(), body: body.to_owned() })
    }
}

fn to_json(value: &impl Serialize) -> Result<String, ReadModelError> {
    serde_json::to_string(value).map_err(|error| ReadModelError::Row(error.to_string().into()))
}

impl OrderHead {
    /// Fails for an order that was never placed, which has no row.
    pub fn of(row: &OrderRow) -> Result<Self, ReadModelError> {
        let order = &row.order;
        let unplaced = || never_placed(row.order_id);
        Ok(Self {
            order_id: row.order_id,
            revision: row.revision,
            recorded_at: row.recorded_at,
            updated_at: row.updated_at,
            status: order.status(),
            payment_status: order.payment_status(),
            fulfilment_status: order.fulfilment_status(),
            customer_id: order.customer_id().map(str::to_owned),
            reference: order.reference().map(str::to_owned),
            country: order.country().map(str::to_owned),
            placed_at: order.placed_at().ok_or_else(unplaced)?,
            currency: order.currency().ok_or_else(unplaced)?,
            total: order.total(),
            payment_due_at: awaited_payment_due_at(order),
            to_ship: order.is_to_ship(),
            overpaid: order.overpaid().is_positive(),
            refund_due: order.refund_due().is_positive(),
            terms: order.terms(),
            overdue_from: order.overdue_from(),
        })
    }
}

impl EncodedOrder {
    /// Fails for an order that was never placed, which has no row.
    pub fn of_row(row: &OrderRow) -> Result<Self, ReadModelError> {
        Self::of(OrderHead::of(row)?, &row.times, &OrderSummary::of(&row.order), &row.order)
    }

    /// The entries of the order in the index by SKU.
    pub fn skus_of(&self, row: &OrderRow) -> impl Iterator<Item = OrderSku> {
        let OrderHead { status, placed_at, order_id, .. } = self.head;
        skus_of(&row.order).into_iter().map(move |sku| OrderSku {
            sku: sku.clone(),
            status,
            placed_at,
            order_id,
        })
    }
}

impl PaymentHead {
    /// `summary`: that of the payment.
    pub fn of(row: &PaymentRow, summary: &PaymentSummary) -> Self {
        Self {
            payment_id: row.payment_id,
            revision: row.revision,
            recorded_at: row.recorded_at,
            updated_at: row.updated_at,
            state: summary.state,
            order_id: summary.order_id,
            reference: summary.reference.clone(),
            failure: summary.failure.clone(),
            declined: summary.is_declined(),
            awaits_provider_since: row.awaits_provider_since,
            authorized_until: summary.authorized_until,
        }
    }
}

impl EncodedPayment {
    pub fn of_row(row: &PaymentRow) -> Result<Self, ReadModelError> {
        let summary = PaymentSummary::of(&row.payment);
        Self::of(PaymentHead::of(row, &summary), &row.refund_times, &summary, &row.payment)
    }
}

/// Rows that a rebuild writes.
#[derive(Debug, Default)]
pub struct EncodedRows {
    pub stock: Vec<StockRow>,
    pub reservations: Vec<ReservationRow>,
    pub order_stock_events: Vec<OrderStockEvent>,
    pub orders: Vec<EncodedOrder>,
    pub order_skus: Vec<OrderSku>,
    pub payments: Vec<EncodedPayment>,
    pub sales: Vec<PartitionSales>,
    pub money: Vec<PartitionMoney>,
    pub counts: Vec<PartitionCounts>,
}

/// One row as it is stored, not decoded.
#[derive(Debug)]
pub enum EncodedRow {
    Order(EncodedOrder),
    OrderSku(OrderSku),
    Payment(EncodedPayment),
    /// A row without JSON, or a fault. Never an order or a payment.
    Plain(StoredRow),
}

impl From<StoredRow> for EncodedRow {
    fn from(row: StoredRow) -> Self {
        Self::Plain(row)
    }
}

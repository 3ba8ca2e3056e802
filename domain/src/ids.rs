//! Identifiers. Each kind is a type of its own, so the compiler rejects one in place of another.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Revision, text};

/// The root namespace of the name-based ids (UUID version 5) that Orderly derives.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f72_6465_726c_7900_8000_c0de_0000_0001);

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    )*};
}

uuid_ids! {
    /// Identifies an order and its stream.
    OrderId;
    /// Identifies a payment and its stream.
    PaymentId;
    /// Identifies one shipment of an order.
    ShipmentId;
    /// Identifies one return of an order.
    ReturnId;
    /// Identifies one cancellation of an order or of a part of it.
    CancellationId;
    /// Identifies one refund. The refund of a return or cancellation has its id.
    RefundId;
    /// Identifies a receipt of several SKUs and its stream.
    ReceiptId;
    /// Identifies an exchange and its stream.
    ExchangeId;
    /// Identifies one command. A command sent twice under one id is executed once.
    CommandId;
    /// The deduplication key of an event.
    EventId;
}

/// Joins the parts of a name, each after its length, so different lists of parts never give the same bytes.
fn length_prefixed(parts: &[&str]) -> Vec<u8> {
    let mut name = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    name
}

impl CommandId {
    /// The id of a command sent over HTTP with an `Idempotency-Key`.
    pub fn of_request(caller: &str, method: &str, path: &str, key: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, &length_prefixed(&[caller, method, path, key])))
    }

    /// The id of the command that a reaction to `cause` sends to `target`.
    pub fn of_reaction(cause: EventId, target: &StreamName, command: &str) -> Self {
        Self(Uuid::new_v5(&cause.0, &length_prefixed(&[&target.to_string(), command])))
    }

    /// The id of a timer's command. Same revision of the target stream, same command.
    pub fn of_timer(target: &StreamName, command: &str, revision: Option<Revision>) -> Self {
        let at = revision.map_or_else(String::new, |revision| revision.to_string());
        Self(Uuid::new_v5(&NAMESPACE, &length_prefixed(&["timer", &target.to_string(), command, &at])))
    }

    /// The id of the command that records a webhook. `notice` is the provider's id of the webhook.
    pub fn of_notice(provider: &str, notice: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, &length_prefixed(&["notice", provider, notice])))
    }
}

impl EventId {
    /// The id of the event number `index` (from 0) that `command` caused.
    pub fn of_command(command: CommandId, index: u32) -> Self {
        Self(Uuid::new_v5(&command.0, &index.to_be_bytes()))
    }

    /// The id of the first event of a command that fills an empty stream with the content of a request. A store
    /// that recognises events by their ids then refuses another content under the same key. `fingerprint` is
    /// [`crate::Idempotency::fingerprint`].
    pub fn of_content(command: CommandId, fingerprint: &str) -> Self {
        Self(Uuid::new_v5(&command.0, fingerprint.as_bytes()))
    }
}

macro_rules! derived_from_command {
    ($($name:ident = $label:literal),*) => {$(
        impl $name {
            /// Derived from the command that creates it, so a retry gives the same id.
            pub fn of_command(command: CommandId) -> Self {
                Self(Uuid::new_v5(&command.0, $label))
            }
        }
    )*};
}

derived_from_command!(
    OrderId = b"order",
    ShipmentId = b"shipment",
    ReturnId = b"return",
    CancellationId = b"cancellation",
    RefundId = b"refund",
    PaymentId = b"payment"
);

impl PaymentId {
    /// The first payment of an order.
    pub fn of_order(order: OrderId) -> Self {
        Self(Uuid::new_v5(&order.0, b"payment"))
    }

    /// A further payment that an order is placed with. `number` counts from 2.
    pub fn of_tender(order: OrderId, number: usize) -> Self {
        Self(Uuid::new_v5(&order.0, format!("payment {number}").as_bytes()))
    }
}

impl RefundId {
    /// The id of an automatic refund of a closed payment. `earlier` counts all its refunds so far.
    pub fn of_closing(payment: PaymentId, earlier: u64) -> Self {
        Self(Uuid::new_v5(&payment.0, &earlier.to_be_bytes()))
    }

    /// The id of a further part of a refund that goes to several sources. `number` counts from 1.
    pub fn of_part(refund: Self, number: u64) -> Self {
        Self(Uuid::new_v5(&refund.0, format!("part {number}").as_bytes()))
    }

    /// The id of the part of an order's refund that goes to a further payment.
    pub fn of_payment(refund: Self, payment: PaymentId) -> Self {
        Self(Uuid::new_v5(&refund.0, payment.0.as_bytes()))
    }

    /// The id of a refund that the provider made without a request. `reference` is its id at the provider.
    pub fn of_provider(payment: PaymentId, reference: &str) -> Self {
        Self(Uuid::new_v5(&payment.0, reference.as_bytes()))
    }
}

/// A retry has the same command id, so it finds the stream of its first request.
impl From<CommandId> for ReceiptId {
    fn from(id: CommandId) -> Self {
        Self(id.0)
    }
}

/// As of a receipt.
impl From<CommandId> for ExchangeId {
    fn from(id: CommandId) -> Self {
        Self(id.0)
    }
}

/// An exchange has one return, one new order and at most one cancellation: their ids are those that its command gives.
impl From<ExchangeId> for CommandId {
    fn from(id: ExchangeId) -> Self {
        Self(id.0)
    }
}

impl From<ReturnId> for RefundId {
    fn from(id: ReturnId) -> Self {
        Self(id.0)
    }
}

impl From<CancellationId> for RefundId {
    fn from(id: CancellationId) -> Self {
        Self(id.0)
    }
}

/// A payment cancels its order at most once.
impl From<PaymentId> for CancellationId {
    fn from(id: PaymentId) -> Self {
        Self(id.0)
    }
}

/// A stock keeping unit. Case matters; spaces inside are allowed.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(Arc<str>);

/// A text that is not a SKU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SKU has 1 to {} characters, no control character and no space at either end", Sku::CHARS_MAX)]
pub struct InvalidSku;

impl Sku {
    /// The most characters a SKU may have.
    pub const CHARS_MAX: usize = 64;

    /// Accepts 1 to [`Sku::CHARS_MAX`] characters without control characters or outer white space.
    pub fn new(text: &str) -> Result<Self, InvalidSku> {
        text::check_within(text, Self::CHARS_MAX).map_err(|_| InvalidSku)?;
        if text.trim() != text {
            return Err(InvalidSku);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sku {
    type Error = InvalidSku;
    fn try_from(text: String) -> Result<Self, InvalidSku> {
        Self::new(&text)
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.0.as_ref().to_owned()
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sku({:?})", self.as_str())
    }
}

/// The name of an event stream: one stream per aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamName {
    Stock(Sku),
    Order(OrderId),
    Payment(PaymentId),
    Receipt(ReceiptId),
    Exchange(ExchangeId),
}

/// A text that is not a stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a stream name: expected stock-SKU, order-UUID, payment-UUID, receipt-UUID or exchange-UUID"
)]
pub struct InvalidStreamName(String);

impl StreamName {
    /// The kind of aggregate: the first part of the stream's name.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Stock(_) => "stock",
            Self::Order(_) => "order",
            Self::Payment(_) => "payment",
            Self::Receipt(_) => "receipt",
            Self::Exchange(_) => "exchange",
        }
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stock(sku) => write!(f, "stock-{sku}"),
            Self::Order(id) => write!(f, "order-{id}"),
            Self::Payment(id) => write!(f, "payment-{id}"),
            Self::Receipt(id) => write!(f, "receipt-{id}"),
            Self::Exchange(id) => write!(f, "exchange-{id}"),
        }
    }
}

impl FromStr for StreamName {
    type Err = InvalidStreamName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidStreamName(text.to_owned());
        let (category, id) = text.split_once('-').ok_or_else(invalid)?;
        match category {
            "stock" => Sku::new(id).map(Self::Stock).map_err(|_| invalid()),
            "order" => id.parse().map(Self::Order).map_err(|_| invalid()),
            "payment" => id.parse().map(Self::Payment).map_err(|_| invalid()),
            "receipt" => id.parse().map(Self::Receipt).map_err(|_| invalid()),
            "exchange" => id.parse().map(Self::Exchange).map_err(|_| invalid()),
            _ => Err(invalid()),
        }
    }
}

impl From<Sku> for StreamName {
    fn from(sku: Sku) -> Self {
        Self::Stock(sku)
    }
}

impl From<OrderId> for StreamName {
    fn from(id: OrderId) -> Self {
        Self::Order(id)
    }
}

impl From<PaymentId> for StreamName {
    fn from(id: PaymentId) -> Self {
        Self::Payment(id)
    }
}

impl From<ReceiptId> for StreamName {
    fn from(id: ReceiptId) -> Self {
        Self::Receipt(id)
    }
}

impl From<ExchangeId> for StreamName {
    fn from(id: ExchangeId) -> Self {
        Self::Exchange(id)
    }
}

impl Serialize for StreamName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
